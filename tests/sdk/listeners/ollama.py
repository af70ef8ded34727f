"""Ollama's client."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import ollama
from pydantic import BaseModel

from tests.sdk.listeners.base import (
    NOTHING,
    TIMEOUT,
    Listener,
    Messages,
    Reply,
    Wishes,
)


class Ollama(Listener[ollama.Client]):
    name = dialect = "ollama"
    ends = ("stop", "stop")
    returns_seals = False
    broken = (ollama.ResponseError, httpx.RemoteProtocolError)

    def connect(self) -> ollama.Client:
        return ollama.Client(
            self.url,
            headers={"authorization": f"Bearer {self.key}"},
            timeout=TIMEOUT,
            **self._http(),
        )

    def user(self, text: str, image: str = "") -> Messages:
        images = [ollama.Image(value=base64.b64decode(image))] if image else None
        return [ollama.Message(role="user", content=text, images=images)]

    def results(self, reply: Reply, texts: Sequence[str]) -> Messages:
        return [
            {"role": "tool", "tool_name": name, "content": text}
            for (name, _), text in zip(reply.calls, texts, strict=True)
        ]

    def ask(
        self,
        model: str,
        messages: Messages,
        wishes: Wishes = NOTHING,
        *,
        stream: bool = False,
    ) -> Reply:
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
            asked["format"] = wishes.schema.model_json_schema()
        if wishes.thinking:
            asked["think"] = "high"
        if stream:
            chunks = list(self.client.chat(**asked, stream=True))
        else:
            chunks = [self.client.chat(**asked)]
        return _ollama_reply(chunks, wishes.schema)

    def pieces(self, model: str, messages: Messages) -> Iterator[str]:
        for chunk in self.client.chat(model, messages, stream=True):
            if chunk.message.content:
                yield chunk.message.content

    def listed(self) -> list[str]:
        return [model.model or "" for model in self.client.list().models]

    def refused(self, status: int) -> type[Exception]:
        return ollama.ResponseError

    def status_of(self, error: Exception) -> int:
        assert isinstance(error, ollama.ResponseError)
        return error.status_code


def _ollama_reply(
    chunks: list[ollama.ChatResponse], schema: type[BaseModel] | None
) -> Reply:
    text = "".join(chunk.message.content or "" for chunk in chunks)
    thinking = "".join(chunk.message.thinking or "" for chunk in chunks)
    calls = [call for chunk in chunks for call in chunk.message.tool_calls or ()]
    last = chunks[-1]
    assert last.done
    message = ollama.Message(
        role="assistant",
        content=text,
        thinking=thinking or None,
        tool_calls=calls or None,
    )
    return Reply(
        text=text,
        thinking=thinking,
        calls=[(call.function.name, call.function.arguments) for call in calls],
        ids=[None] * len(calls),
        finish=last.done_reason,
        prompt=last.prompt_eval_count,
        output=last.eval_count,
        parsed=schema.model_validate_json(text) if schema else None,
        native=[message],
    )
