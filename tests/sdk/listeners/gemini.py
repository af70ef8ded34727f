"""Google's client."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
from google import genai
from google.genai import errors as google_errors
from google.genai import types

from tests.sdk.listeners.base import (
    NOTHING,
    TIMEOUT,
    Listener,
    Messages,
    Reply,
    Wishes,
)


class Gemini(Listener[genai.Client]):
    name = "google-genai"
    dialect = "gemini"
    ends = ("STOP", "STOP")
    broken = (google_errors.APIError, httpx.RemoteProtocolError)

    def connect(self) -> genai.Client:
        self.http = httpx.Client(**self._http())
        options = types.HttpOptions(
            base_url=self.url, httpx_client=self.http, timeout=int(TIMEOUT * 1000)
        )
        return genai.Client(api_key=self.key, http_options=options)

    def close(self) -> None:
        # The client leaves alone what it was given, streams that were left included.
        self.client.close()
        self.http.close()

    def user(self, text: str, image: str = "") -> Messages:
        parts = [types.Part.from_text(text=text)]
        if image:
            data = base64.b64decode(image)
            parts.append(types.Part.from_bytes(data=data, mime_type="image/png"))
        return [types.Content(role="user", parts=parts)]

    def results(self, reply: Reply, texts: Sequence[str]) -> Messages:
        parts = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=call_id, name=name, response={"result": text}
                )
            )
            for (name, _), call_id, text in zip(
                reply.calls, reply.ids, texts, strict=True
            )
        ]
        return [types.Content(role="user", parts=parts)]

    def ask(
        self,
        model: str,
        messages: Messages,
        wishes: Wishes = NOTHING,
        *,
        stream: bool = False,
    ) -> Reply:
        asked: Any = {"model": model, "contents": messages, "config": _config(wishes)}
        if stream:
            return _gemini_reply(
                list(self.client.models.generate_content_stream(**asked))
            )
        return _gemini_reply([self.client.models.generate_content(**asked)])

    def pieces(self, model: str, messages: Messages) -> Iterator[str]:
        chunks = self.client.models.generate_content_stream(
            model=model, contents=messages
        )
        try:
            for chunk in chunks:
                if chunk.text:
                    yield chunk.text
        except GeneratorExit:
            self.close()
            raise

    def listed(self) -> list[str]:
        return [
            (model.name or "").removeprefix("models/")
            for model in self.client.models.list()
        ]

    def refused(self, status: int) -> type[Exception]:
        return google_errors.ClientError if status < 500 else google_errors.ServerError

    def status_of(self, error: Exception) -> int:
        assert isinstance(error, google_errors.APIError)
        return error.code


def _config(wishes: Wishes) -> types.GenerateContentConfig:
    config = types.GenerateContentConfig()
    if wishes.system:
        config.system_instruction = wishes.system
    if wishes.tools:
        declared = [
            types.FunctionDeclaration(name=name, parameters_json_schema=schema)
            for name, schema in wishes.tools.items()
        ]
        config.tools = [types.Tool(function_declarations=declared)]
    if wishes.schema:
        config.response_mime_type = "application/json"
        config.response_schema = wishes.schema
    if wishes.thinking:
        config.thinking_config = types.ThinkingConfig(
            include_thoughts=True, thinking_budget=2048
        )
    return config


def _gemini_reply(chunks: list[types.GenerateContentResponse]) -> Reply:
    parts = [
        part
        for chunk in chunks
        for candidate in (chunk.candidates or [])[:1]
        if candidate.content
        for part in candidate.content.parts or ()
    ]
    calls = [part.function_call for part in parts if part.function_call]
    last = chunks[-1]
    assert last.candidates and last.usage_metadata  # noqa: PT018
    usage = last.usage_metadata
    finish = last.candidates[0].finish_reason
    return Reply(
        text="".join(p.text for p in parts if p.text and not p.thought),
        thinking="".join(p.text for p in parts if p.text and p.thought),
        calls=[(call.name or "", call.args) for call in calls],
        ids=[call.id for call in calls],
        finish=finish.value if finish else None,
        prompt=usage.prompt_token_count,
        output=(usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
        parsed=last.parsed,
        native=[types.Content(role="model", parts=parts)],
    )
