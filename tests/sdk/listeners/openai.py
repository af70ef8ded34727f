"""OpenAI's client, and the one for Azure in the same package."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import openai

from tests.sdk.listeners.base import (
    NOTHING,
    TIMEOUT,
    Listener,
    Messages,
    Reply,
    Wishes,
)


class OpenAI(Listener[openai.OpenAI]):
    name = dialect = "openai"
    broken = (openai.APIError, httpx.RemoteProtocolError)

    def connect(self) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=self.key, **self._options()
        )

    def _options(self) -> dict[str, Any]:
        http = openai.DefaultHttpxClient(**self._http())
        return {"http_client": http, "max_retries": 0, "timeout": TIMEOUT}

    def user(self, text: str, image: str = "") -> Messages:
        if not image:
            return [{"role": "user", "content": text}]
        url = {"url": f"data:image/png;base64,{image}"}
        parts = [
            {"type": "text", "text": text},
            {"type": "image_url", "image_url": url},
        ]
        return [{"role": "user", "content": parts}]

    def results(self, reply: Reply, texts: Sequence[str]) -> Messages:
        return [
            {"role": "tool", "tool_call_id": call_id, "content": text}
            for call_id, text in zip(reply.ids, texts, strict=True)
        ]

    def ask(
        self,
        model: str,
        messages: Messages,
        wishes: Wishes = NOTHING,
        *,
        stream: bool = False,
    ) -> Reply:
        asked = self._asked(model, messages, wishes)
        chats = self.client.chat.completions
        if stream:
            asked["stream_options"] = {"include_usage": True}
            with chats.stream(**asked) as events:
                for _ in events:
                    pass
                return _openai_reply(events.get_final_completion())
        if wishes.schema:
            return _openai_reply(chats.parse(**asked))
        return _openai_reply(chats.create(**asked))

    def _asked(self, model: str, messages: Messages, wishes: Wishes) -> Any:
        asked: dict[str, Any] = {"model": model, "messages": messages}
        if wishes.system:
            system = {"role": "system", "content": wishes.system}
            asked["messages"] = [system, *messages]
        if wishes.tools:
            asked["tools"] = [
                {"type": "function", "function": {"name": name, "parameters": schema}}
                for name, schema in wishes.tools.items()
            ]
        if wishes.schema:
            asked["response_format"] = wishes.schema
        if wishes.thinking:
            asked["reasoning_effort"] = "high"
        return asked

    def pieces(self, model: str, messages: Messages) -> Iterator[str]:
        with self.client.chat.completions.create(
            model=model, messages=messages, stream=True
        ) as chunks:
            for chunk in chunks:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content

    def listed(self) -> list[str]:
        return [model.id for model in self.client.models.list()]

    def refused(self, status: int) -> type[Exception]:
        return {
            400: openai.BadRequestError,
            401: openai.AuthenticationError,
            404: openai.NotFoundError,
            429: openai.RateLimitError,
        }.get(status, openai.InternalServerError)

    def status_of(self, error: Exception) -> int:
        assert isinstance(error, openai.APIStatusError)
        return error.status_code


def _openai_reply(completion: Any) -> Reply:
    choice = completion.choices[0]
    message = choice.message
    calls = list(message.tool_calls or ())
    usage = completion.usage
    return Reply(
        text=message.content or "",
        thinking=getattr(message, "reasoning_content", None) or "",
        calls=[(c.function.name, json.loads(c.function.arguments)) for c in calls],
        ids=[call.id for call in calls],
        finish=choice.finish_reason,
        prompt=usage.prompt_tokens,
        output=usage.completion_tokens,
        parsed=getattr(message, "parsed", None),
        native=[message],
    )


class AzureOpenAI(OpenAI):
    """The same package's client for Azure: another URL, another header for the key."""

    name = "azure-openai"

    def connect(self) -> openai.OpenAI:
        return openai.AzureOpenAI(
            azure_endpoint=self.url,
            api_key=self.key,
            api_version="2024-10-21",
            **self._options(),
        )
