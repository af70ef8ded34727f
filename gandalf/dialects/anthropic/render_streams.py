"""From neutral events to a Messages stream.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming: first
``message_start``, then blocks one after the other, each with its own index, its start,
deltas and stop, then ``message_delta`` with the stop reason and the total usage, and
``message_stop``.

Rules:
- Usage may come last, so ``message_delta`` waits for the end.
- Only one block is open at a time. Where an upstream mixes the pieces of several calls,
  the later call waits until the earlier one's arguments are a whole.
- A signature ends its block of thinking.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gandalf.dialects.anthropic.finishes import reason_of
from gandalf.dialects.anthropic.parse_blocks import OF_CALL, OF_TEXT
from gandalf.dialects.anthropic.render_answers import (
    carried,
    is_own_citation,
    new_id,
    sealed,
    usage_of,
)
from gandalf.dialects.base import Call
from gandalf.dialects.conversation import (
    CitationDelta,
    Event,
    Finish,
    Finished,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from gandalf.domain.usage import TokenUsage

_encode = msgspec.json.Encoder().encode

_START = b'event: message_start\ndata: {"type":"message_start","message":%b}\n\n'
_BEGIN = (
    b"event: content_block_start\n"
    b'data: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
)
_DELTA = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":%d,"delta":{"type":"%b":%b}}\n\n'
)
_END = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_FINISH = b'event: message_delta\ndata: {"type":"message_delta",%b}\n\n'
_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

_TEXT = b'text_delta","text'
_THINKING = b'thinking_delta","thinking'
_SIGNATURE = b'signature_delta","signature'
_INPUT = b'input_json_delta","partial_json'
_CITATION = b'citations_delta","citation'

_EMPTY_TEXT = b'{"type":"text","text":""}'
_EMPTY_THINKING = b'{"type":"thinking","thinking":"","signature":""}'


_BRACKET = re.compile(r'[{}\[\]"]|\\.?', re.DOTALL)


class _Arguments:
    """Tells whether the pieces of a call's arguments are a whole, in linear time."""

    __slots__ = ("_begun", "_depth", "_escaped", "_in_string", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._depth = 0
        self._begun = False
        self._in_string = False
        self._escaped = False

    def add(self, piece: str) -> None:
        self._pieces.append(piece)

    @property
    def whole(self) -> bool:
        """Whether the object that they are has ended."""
        for piece in self._pieces:
            self._scan(piece)
        self._pieces.clear()
        return self._begun and self._depth <= 0 and not self._in_string

    def _scan(self, piece: str) -> None:
        # A backslash at the end of one piece escapes the beginning of the next.
        start = 1 if self._escaped and piece else 0
        self._escaped = self._escaped and not piece
        for token in _BRACKET.finditer(piece, start):
            mark = token[0]
            if mark[0] == "\\":
                self._escaped = len(mark) == 1
            elif mark == '"':
                self._in_string = not self._in_string
            elif not self._in_string:
                self._begun = True
                self._depth += 1 if mark in "{[" else -1


class Renderer:
    """Turns neutral events into one client's stream."""

    __slots__ = (
        "_arguments",
        "_call",
        "_finish",
        "_index",
        "_model",
        "_open",
        "_queue",
        "_signature",
        "_started",
        "_stop_sequence",
        "_usage",
    )

    def __init__(self, model: str) -> None:
        self._model = model
        self._started = False
        self._index = -1
        self._open = ""
        """The kind of block that is open: ``text``, ``thinking``, ``call`` or none."""
        self._call = -1
        """The call whose block is open, or was the last one open."""
        self._arguments = _Arguments()
        self._queue: list[Event] = []
        """What has to wait until the open call's arguments are a whole."""
        self._signature: str | None = None
        """Of the text, if it has one. It comes after the text, and can only travel
        before a call that follows: a block of thinking behind the text would be the
        last one, which agents take for the result."""
        self._finish: Finish | None = None
        self._stop_sequence: str | None = None
        self._usage: TokenUsage | None = None

    def render(self, events: Sequence[Event]) -> bytes:
        """Return what the client gets for ``events``."""
        out: list[bytes] = []
        for event in events:
            # There is room for one answer only.
            if not getattr(event, "choice", 0):
                self._take(event, out)
        return b"".join(out)

    @property
    def ending(self) -> bytes:
        """What completes the stream: the stop reason, the usage and the end."""
        out: list[bytes] = []
        self._close_all(out)
        if not self._started:
            self._start(Started(), out)
        finish = self._finish or Finish.STOP
        if finish is Finish.STOP and self._call >= 0:
            finish = Finish.TOOL_CALLS
        said = {
            "delta": {
                "stop_reason": reason_of(finish),
                "stop_sequence": self._stop_sequence,
            },
            "usage": usage_of(self._usage),
        }
        out += (_FINISH % _encode(said)[1:-1], _STOP)
        return b"".join(out)

    def _take(self, event: Event, out: list[bytes]) -> None:
        kind = type(event)
        if self._open == "call" and kind in _CONTENT and self._must_wait(event):
            self._queue.append(event)
            return
        take = _TAKE.get(kind)
        if take is not None:
            take(self, event, out)

    def _must_wait(self, event: Event) -> bool:
        if isinstance(event, ToolCallDelta) and event.call == self._call:
            return False
        return bool(self._queue) or not self._arguments.whole

    # One of these for each kind of event.

    def _start(self, event: Started, out: list[bytes]) -> None:
        if self._started:
            return
        self._started = True
        message: dict[str, Any] = {
            "id": event.id or new_id(),
            "type": "message",
            "role": "assistant",
            "model": event.model or self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(self._usage),
        }
        out.append(_START % _encode(message))

    def _text(self, event: TextDelta, out: list[bytes]) -> None:
        if event.text:
            if self._open != "text":
                self._begin("text", _EMPTY_TEXT, out)
            out.append(_DELTA % (self._index, _TEXT, _encode(event.text)))
        if event.signature is not None:
            self._signature = event.signature

    def _refusal(self, event: RefusalDelta, out: list[bytes]) -> None:
        self._text(TextDelta(text=event.text), out)

    def _citation(self, event: CitationDelta, out: list[bytes]) -> None:
        if is_own_citation(event.citation):
            if self._open != "text":
                self._begin("text", _EMPTY_TEXT, out)
            out.append(_DELTA % (self._index, _CITATION, _encode(event.citation)))

    def _thinking(self, event: ThinkingDelta, out: list[bytes]) -> None:
        if event.redacted is not None:
            data = sealed(event.origin, event.redacted)
            block = _encode({"type": "redacted_thinking", "data": data})
            self._begin("redacted", block, out)
            self._close(out)
            return
        if self._open != "thinking":
            self._begin("thinking", _EMPTY_THINKING, out)
        if event.text:
            out.append(_DELTA % (self._index, _THINKING, _encode(event.text)))
        if event.signature is not None:
            seal = sealed(event.origin, event.signature)
            out.append(_DELTA % (self._index, _SIGNATURE, _encode(seal)))
            self._close(out)

    def _call_started(self, event: ToolCallStarted, out: list[bytes]) -> None:
        block = {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
        self._close(out)
        self._carry_texts_signature(out)
        if event.signature is not None:
            self._carry(carried(OF_CALL, event.signature), out)
        self._begin("call", _encode(block), out)
        self._call = event.call
        self._arguments = _Arguments()

    def _call_delta(self, event: ToolCallDelta, out: list[bytes]) -> None:
        if not event.arguments or event.call != self._call or self._open != "call":
            return
        self._arguments.add(event.arguments)
        out.append(_DELTA % (self._index, _INPUT, _encode(event.arguments)))
        if self._queue and self._arguments.whole:
            self._take_queued(out)

    def _finished(self, event: Finished, out: list[bytes]) -> None:
        self._finish = event.finish
        self._stop_sequence = event.stop_sequence
        self._close_all(out)

    def _usage_reported(self, event: UsageReported, out: list[bytes]) -> None:
        self._usage = event.usage

    # Blocks.

    def _begin(self, kind: str, block: bytes, out: list[bytes]) -> None:
        if not self._started:
            self._start(Started(), out)
        self._close(out)
        self._index += 1
        self._open = kind
        out.append(_BEGIN % (self._index, block))

    def _close(self, out: list[bytes]) -> None:
        if self._open:
            out.append(_END % self._index)
            self._open = ""

    def _close_all(self, out: list[bytes]) -> None:
        self._close(out)
        while self._queue:
            self._take_queued(out)
            self._close(out)

    def _take_queued(self, out: list[bytes]) -> None:
        queue, self._queue = self._queue, []
        for event in queue:
            self._take(event, out)

    def _carry_texts_signature(self, out: list[bytes]) -> None:
        if self._signature is not None:
            seal, self._signature = carried(OF_TEXT, self._signature), None
            self._carry(seal, out)

    def _carry(self, seal: str, out: list[bytes]) -> None:
        self._begin("carrier", _EMPTY_THINKING, out)
        out.append(_DELTA % (self._index, _SIGNATURE, _encode(seal)))
        self._close(out)


_CONTENT = frozenset(
    (
        TextDelta,
        CitationDelta,
        ThinkingDelta,
        RefusalDelta,
        ToolCallStarted,
        ToolCallDelta,
    )
)

_TAKE: dict[type, Callable[..., None]] = {
    Started: Renderer._start,
    TextDelta: Renderer._text,
    CitationDelta: Renderer._citation,
    ThinkingDelta: Renderer._thinking,
    RefusalDelta: Renderer._refusal,
    ToolCallStarted: Renderer._call_started,
    ToolCallDelta: Renderer._call_delta,
    Finished: Renderer._finished,
    UsageReported: Renderer._usage_reported,
}


def stream_renderer(call: Call) -> Renderer:
    """Return what renders the stream that answers ``call``."""
    return Renderer(call.model)
