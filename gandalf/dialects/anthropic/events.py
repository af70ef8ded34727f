"""The events of a Messages stream, as far as anybody here reads them.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming and the
``Raw*Event`` types of Anthropic's SDK. One struct holds all kinds, for that is decoded
in one go and unknown kinds of events, blocks and deltas are no errors: more may come.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gandalf.dialects import sse
from gandalf.dialects.anthropic.answers import UsageView
from gandalf.dialects.anthropic.errors import ErrorDetail


class Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | dict[str, msgspec.Raw] | None = None
    """Text; an object from careless servers."""
    citation: dict[str, Any] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    id: str = ""
    model: str = ""
    usage: UsageView | None = None


class Event(msgspec.Struct):
    """What one event says; ``type`` is its kind."""

    type: str = ""
    index: int = 0
    delta: Delta | None = None
    content_block: Block | None = None
    message: _Message | None = None
    usage: UsageView | None = None
    error: ErrorDetail | None = None


decode_event = msgspec.json.Decoder(Event).decode


def data_of(event: bytes) -> bytes | None:
    """Return the data of ``event``, at once if it is written as Anthropic does."""
    data = line_of(event)
    return sse.data_of(event) if data is None else data


def line_of(event: bytes) -> bytes | None:
    """Return the data of ``event`` if it is written as Anthropic does, else None."""
    if event.startswith(b"event: ") and event.endswith(b"}\n\n"):
        line = event.find(b"\n") + 1
        if event.startswith(b"data: ", line) and event.find(b"\n", line + 6) == (
            len(event) - 2
        ):
            return event[line + 6 : -2]
    return None
