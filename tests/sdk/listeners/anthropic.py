"""Anthropic's client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import anthropic

from tests.sdk.listeners.base import (
    NOTHING,
    TIMEOUT,
    Listener,
    Messages,
    Reply,
    Wishes,
)


class Anthropic(Listener[anthropic.Anthropic]):
    name = dialect = "anthropic"
    ends = ("end_turn", "tool_use")
    broken = (anthropic.APIError,)

    def connect(self) -> anthropic.Anthropic:
        return anthropic.Anthropic(
            base_url=self.url,
            api_key=self.key,
            http_client=anthropic.DefaultHttpxClient(**self._http()),
            max_retries=0,
            timeout=TIMEOUT,
        )

    def user(self, text: str, image: str = "") -> Messages:
        if not image:
            return [{"role": "user", "content": text}]
        source = {"type": "base64", "media_type": "image/png", "data": image}
        parts = [{"type": "text", "text": text}, {"type": "image", "source": source}]
        return [{"role": "user", "content": parts}]

    def results(self, reply: Reply, texts: Sequence[str]) -> Messages:
        blocks = [
            {"type": "tool_result", "tool_use_id": call_id, "content": text}
            for call_id, text in zip(reply.ids, texts, strict=True)
        ]
        return [{"role": "user", "content": blocks}]

    def ask(
        self,
        model: str,
        messages: Messages,
        wishes: Wishes = NOTHING,
        *,
        stream: bool = False,
    ) -> Reply:
        asked = self._asked(model, messages, wishes)
        if stream:
            with self.client.messages.stream(**asked) as events:
                for _ in events:
                    pass
                return _anthropic_reply(events.get_final_message())
        if wishes.schema:
            return _anthropic_reply(self.client.messages.parse(**asked))
        return _anthropic_reply(self.client.messages.create(**asked))

    def _asked(self, model: str, messages: Messages, wishes: Wishes) -> Any:
        asked: dict[str, Any] = {
            "model": model,
            "max_tokens": 4096,
            "messages": messages,
        }
        if wishes.system:
            asked["system"] = wishes.system
        if wishes.tools:
            asked["tools"] = [
                {"name": name, "input_schema": schema}
                for name, schema in wishes.tools.items()
            ]
        if wishes.schema:
            asked["output_format"] = wishes.schema
        if wishes.thinking:
            asked["thinking"] = {"type": "enabled", "budget_tokens": 2048}
        return asked

    def pieces(self, model: str, messages: Messages) -> Iterator[str]:
        asked = self._asked(model, messages, NOTHING)
        with self.client.messages.stream(**asked) as events:
            yield from events.text_stream

    def listed(self) -> list[str]:
        return [model.id for model in self.client.models.list()]

    def refused(self, status: int) -> type[Exception]:
        return {
            400: anthropic.BadRequestError,
            401: anthropic.AuthenticationError,
            404: anthropic.NotFoundError,
            429: anthropic.RateLimitError,
        }.get(status, anthropic.InternalServerError)

    def status_of(self, error: Exception) -> int:
        assert isinstance(error, anthropic.APIStatusError)
        return error.status_code


def _anthropic_reply(message: Any) -> Reply:
    calls = [block for block in message.content if block.type == "tool_use"]
    usage = message.usage
    cached = usage.cache_read_input_tokens or 0
    written = usage.cache_creation_input_tokens or 0
    return Reply(
        text="".join(block.text for block in message.content if block.type == "text"),
        thinking="".join(b.thinking for b in message.content if b.type == "thinking"),
        calls=[(call.name, call.input) for call in calls],
        ids=[call.id for call in calls],
        finish=message.stop_reason,
        prompt=usage.input_tokens + cached + written,
        output=usage.output_tokens,
        parsed=getattr(message, "parsed_output", None),
        native=[{"role": "assistant", "content": message.content}],
    )
