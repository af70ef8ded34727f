"""From an answer of Anthropic's to the neutral completion.

Source: https://platform.claude.com/docs/en/api/messages/create (the response).
"""

from __future__ import annotations

from typing import Any

import msgspec

from gandalf.dialects import signatures
from gandalf.dialects.anthropic.answers import UsageView, tokens_of
from gandalf.dialects.anthropic.errors import ErrorDetail, failed_of
from gandalf.dialects.anthropic.finishes import finish_of
from gandalf.dialects.arguments import fresh_call_id, named, text_of_raw
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import (
    Choice,
    Completion,
    Failed,
    Finish,
    Part,
    Text,
    Thinking,
    ToolCall,
)
from gandalf.dialects.ends import AnswerFailed, bad_end
from gandalf.dialects.lenient import Reader, checked

NAME = "anthropic"
ASIDE = ("id", "model", "usage", "citation", "citations", "stop_sequence")
"""Members that hold nothing of the answer's own text; see ``lenient``."""
PROVIDERS_BLOCKS = frozenset(
    (
        "server_tool_use",
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "mcp_tool_use",
        "mcp_tool_result",
        "container_upload",
        "advisor_tool_result",
        "mcp_tool_listing",
        "compaction",
        "fallback",
    )
)
"""Blocks of what the provider's own tools do, which a client of another dialect cannot
be told."""


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    citations: list[dict[str, Any]] | None = None
    thinking: str = ""
    signature: str | None = None
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Answer(msgspec.Struct):
    content: list[_Block] | None = None
    error: ErrorDetail | str | None = None
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: UsageView | None = None


class _Count(msgspec.Struct):
    input_tokens: int


_decode = msgspec.json.Decoder(_Answer).decode
_read = Reader(_Answer, ASIDE).view
_decode_count = msgspec.json.Decoder(_Count).decode


def parse_answer(body: bytes) -> Completion:
    """Return a whole answer.

    Raises:
        UNREADABLE: It is none.
        AnswerFailed: It reports a failure.
    """
    try:
        said = _decode(checked(body))
    except UNREADABLE:
        said = _read(body)
    if said.error is not None:
        raise AnswerFailed(failure_of(said.error))
    if said.content is None:
        raise msgspec.ValidationError("the answer has no content")
    parts = [part for block in said.content if (part := _part(block)) is not None]
    choice = Choice(
        parts=tuple(parts),
        finish=_finish(said.stop_reason),
        stop_sequence=said.stop_sequence,
    )
    return Completion(
        id=said.id, model=said.model, choices=(choice,), usage=tokens_of(said.usage)
    )


def failure_of(error: ErrorDetail | str) -> Failed:
    """Return what the member ``error`` of an answer or of an event tells."""
    return Failed(message=error) if isinstance(error, str) else failed_of(error)


def parse_count(body: bytes) -> int:
    """Return the prompt's tokens.

    Raises:
        UNREADABLE: It is no answer.
    """
    return _decode_count(body).input_tokens


def _finish(reason: str | None) -> Finish:
    finish = finish_of(reason or "")
    if finish is None:
        raise AnswerFailed(bad_end(reason))
    return finish


def _part(block: _Block) -> Part | None:
    match block.type:
        case "text":
            if block.text is None:
                raise msgspec.ValidationError("a block of text has no text")
            return Text(text=block.text, citations=tuple(block.citations or ()))
        case "thinking":
            return _thinking(block)
        case "redacted_thinking":
            origin, data = signatures.unwrap(block.data, NAME)
            return Thinking(redacted=data, origin=origin)
        case "tool_use":
            return ToolCall(
                id=block.id or fresh_call_id(),
                name=named(block.name),
                arguments=text_of_raw(block.input),
            )
    # What the provider's own tools did is of no use to a client of another dialect.
    return None


def _thinking(block: _Block) -> Thinking:
    if not block.signature:
        return Thinking(text=block.thinking)
    origin, seal = signatures.unwrap(block.signature, NAME)
    return Thinking(text=block.thinking, signature=seal, origin=origin)
