"""From an answer of Anthropic's to the neutral completion.

Source: https://platform.claude.com/docs/en/api/messages/create (the response).
"""

from __future__ import annotations

from typing import Any

import msgspec

from gandalf.dialects import signatures
from gandalf.dialects.anthropic.answers import UsageView, tokens_of
from gandalf.dialects.conversation import (
    Choice,
    Completion,
    Finish,
    Part,
    Text,
    Thinking,
    ToolCall,
)

NAME = "anthropic"

FINISHES = {
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP_SEQUENCE,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "tool_use": Finish.TOOL_CALLS,
    "pause_turn": Finish.PAUSE,
    "refusal": Finish.REFUSAL,
}
"""https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons."""


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    citations: list[dict[str, Any]] | None = None
    thinking: str = ""
    signature: str | None = None
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Answer(msgspec.Struct):
    content: list[_Block]
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: UsageView | None = None


class _Count(msgspec.Struct):
    input_tokens: int


_decode = msgspec.json.Decoder(_Answer).decode
_decode_count = msgspec.json.Decoder(_Count).decode


def parse_answer(body: bytes) -> Completion:
    """Return a whole answer.

    Raises:
        UNREADABLE: It is none.
    """
    said = _decode(body)
    parts = [part for block in said.content if (part := _part(block)) is not None]
    choice = Choice(
        parts=tuple(parts),
        finish=finish_of(said.stop_reason),
        stop_sequence=said.stop_sequence,
    )
    return Completion(
        id=said.id, model=said.model, choices=(choice,), usage=tokens_of(said.usage)
    )


def parse_count(body: bytes) -> int:
    """Return the prompt's tokens.

    Raises:
        UNREADABLE: It is no answer.
    """
    return _decode_count(body).input_tokens


def finish_of(stop_reason: str | None) -> Finish | None:
    """Return why the model stopped; None if it has not yet."""
    return None if stop_reason is None else FINISHES.get(stop_reason, Finish.OTHER)


def _part(block: _Block) -> Part | None:
    match block.type:
        case "text":
            return Text(text=block.text, citations=tuple(block.citations or ()))
        case "thinking":
            return _thinking(block)
        case "redacted_thinking":
            origin, data = signatures.unwrap(block.data, NAME)
            return Thinking(redacted=data, origin=origin)
        case "tool_use":
            arguments = bytes(block.input).decode()
            return ToolCall(id=block.id, name=block.name, arguments=arguments)
    # What the provider's own tools did is of no use to a client of another dialect.
    return None


def _thinking(block: _Block) -> Thinking:
    if not block.signature:
        return Thinking(text=block.thinking)
    origin, seal = signatures.unwrap(block.signature, NAME)
    return Thinking(text=block.thinking, signature=seal, origin=origin)
