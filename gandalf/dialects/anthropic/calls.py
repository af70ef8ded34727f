"""What a client asks for: messages, and the count of their tokens.

Source: https://platform.claude.com/docs/en/api/messages/create and
.../messages/count_tokens. Unlike elsewhere, ``max_tokens`` must be there.
"""

from __future__ import annotations

import msgspec

from gandalf.dialects import json_object
from gandalf.dialects.anthropic.foreign import without_foreign_thinking
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.base import Call as BaseCall
from gandalf.dialects.estimate import estimate_tokens
from gandalf.dialects.refusals import refusal
from gandalf.domain.errors import BadRequest

_NOTHING = msgspec.Raw(b"")


class _CountView(msgspec.Struct):
    model: str
    messages: msgspec.Raw
    system: msgspec.Raw = _NOTHING
    tools: msgspec.Raw = _NOTHING


class _MessagesView(_CountView, kw_only=True):
    max_tokens: int
    stream: bool | None = None
    temperature: float | None = None


GOVERNED = json_object.Governed(
    "model", "stream", "max_tokens", "messages", "system", "temperature"
)

_decode_messages = msgspec.json.Decoder(_MessagesView).decode
_decode_count = msgspec.json.Decoder(_CountView).decode


class Call(BaseCall, kw_only=True):
    """A call of Anthropic's."""

    def body_for(self, model: str) -> bytes:
        """Return the client's body; only the model name may be another.

        And what a model of another provider has thought is not in it.
        """
        body = self.body
        if model != self.model:
            span = GOVERNED.place(body, "model")
            assert span is not None  # noqa: S101 - what has no model is no call
            body = json_object.splice(body, [(span, msgspec.json.encode(model))])
        cleaned = without_foreign_thinking(body)
        self.lost = () if cleaned is body else ("thinking",)
        return cleaned


def read_call(
    operation: str, body: bytes, model: str = "", *, stream: bool = False
) -> Call:
    """Return what ``body`` asks for; nothing of it is in the URL.

    Raises:
        BadRequest: It is not JSON, lacks what every call has, has it in the wrong
            type, or says twice what may be said once.
    """
    try:
        if operation == "count_tokens":
            return _count_call(body)
        return _messages_call(body)
    except UNREADABLE as error:
        raise refusal(error) from error


def _messages_call(body: bytes) -> Call:
    view = _decode_messages(body)
    GOVERNED.check(body)
    return Call(
        operation="chat",
        model=_named(view.model),
        body=body,
        stream=bool(view.stream),
        temperature=view.temperature,
        max_tokens=view.max_tokens,
        estimated_tokens=_estimated(view),
    )


def _count_call(body: bytes) -> Call:
    view = _decode_count(body)
    GOVERNED.check(body)
    return Call(
        operation="count_tokens",
        model=_named(view.model),
        body=body,
        estimated_tokens=_estimated(view),
    )


def _estimated(view: _CountView) -> int:
    return estimate_tokens(view.messages) + (len(view.system) + len(view.tools)) // 4


def _named(model: str) -> str:
    if not model:
        raise BadRequest("model is empty", param="model")
    return model
