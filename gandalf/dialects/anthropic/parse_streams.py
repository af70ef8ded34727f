"""From a Messages stream to neutral events.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming. Rules:

- Calls are counted by the blocks that begin them.
- The output in ``message_start`` is no count yet; that of ``message_delta`` is the
  total.
- New types of events and of blocks may come at any time
  (https://platform.claude.com/docs/en/api/versioning): they are skipped and counted.
  What the provider's own tools do is skipped. Anything else that cannot be read, not
  even for what it means (``lenient``), may be a part of the answer: the stream has
  failed.
- ``message_stop`` without a good stop reason is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from gandalf.dialects import signatures, sse
from gandalf.dialects.anthropic import events as wire
from gandalf.dialects.anthropic.answers import (
    UsageView,
    prompt_of,
    tokens_of,
    updated,
)
from gandalf.dialects.anthropic.errors import failed_of, read_error
from gandalf.dialects.anthropic.finishes import finish_of
from gandalf.dialects.anthropic.parse_answers import ASIDE, NAME, PROVIDERS_BLOCKS
from gandalf.dialects.arguments import fresh_call_id, named, text_of, text_of_raw
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import (
    CitationDelta,
    Ended,
    Event,
    Failed,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    Unread,
    UsageReported,
)
from gandalf.dialects.ends import bad_end
from gandalf.dialects.lenient import Reader, is_scalar
from gandalf.dialects.unread import is_utf8

_BROKEN = Failed(message="the upstream has sent an event that is not what its API says")
_UNKNOWN = Unread("unknown_type")
_UNKNOWN_BLOCK = Unread("unknown_block")
_KEEP_ALIVES = ("ping", "heartbeat", "keepalive", "keep-alive")

_NO_DELTA = wire.Delta()
_NO_BLOCK = wire.Block()
_read = Reader(wire.Event, ASIDE)

# From so many events on it is worth while to see whether they are alike.
ALIKE = 3


class Parser:
    """Turns one upstream's stream into neutral events."""

    __slots__ = (
        "_blocks",
        "_buffer",
        "_calls",
        "_finished",
        "_inputs",
        "_over",
        "_skipped",
        "_usage",
    )

    def __init__(self) -> None:
        self._buffer = sse.EventBuffer()
        self._calls: dict[int, int] = {}
        """The number of each block's call."""
        self._inputs: dict[int, str] = {}
        """What a block gave as its input at its beginning, until pieces of it come."""
        self._usage: UsageView | None = None
        self._blocks: set[int] = set()
        """Blocks that were opened."""
        self._skipped: set[int] = set()
        """Blocks that are no part of the answer."""
        self._finished = False
        """Whether a good stop reason has come."""
        self._over = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that ``data`` completes.

        Raises:
            sse.EventTooLarge: An event does not end.
        """
        block = self._buffer.feed(data)
        if not block:
            return []
        return self._parsed(sse.split(block), whole=is_utf8(block))

    def flush(self) -> list[Event]:
        """Return the events of what is left when the upstream has ended."""
        rest = self._buffer.flush()
        events = self._parsed((rest,), whole=is_utf8(rest)) if rest else []
        # What is cut off is no hole: that the end is missing tells enough.
        return [event for event in events if event is not _BROKEN]

    def _parsed(self, events: Sequence[bytes], *, whole: bool) -> list[Event]:
        parsed: list[Event] = []
        at, count = 0, len(events)
        tried = count < ALIKE
        while at < count and not self._over:
            event = events[at]
            at += 1
            if not whole and not is_utf8(event):
                self._break(_BROKEN, parsed)
                break
            data = wire.line_of(event)
            if data is None:
                data = sse.data_of(event)
                if sse.is_strange(event):
                    # JSON where events should be is an error.
                    bare = event.strip()
                    error = bare.startswith(b"{")
                    self._break(_error_of(bare) if error else _BROKEN, parsed)
                    break
            if data is None:
                continue
            try:
                said = wire.decode_event(data)
                take = _TAKE[said.type]
            except (*UNREADABLE, KeyError):
                self._odd(event, data, parsed)
                continue
            take(self, said, parsed)
            if not (tried or self._over) and said.delta and said.delta.text:
                tried = True
                texts, at = _texts_from(events, at)
                parsed += [TextDelta(text=text) for text in texts if text]
        return parsed

    def _odd(self, event: bytes, data: bytes, parsed: list[Event]) -> None:
        """Add what ``event`` means, which is not what Anthropic writes, or is new."""
        name = sse.name_of(event).decode(errors="replace")
        if name in _KEEP_ALIVES or data.strip().lower() in (b"", b"ping"):
            return
        if data.strip() == b"[DONE]":
            self._stop(wire.Event(), parsed)
            return
        try:
            said, lost = _read(data)
        except UNREADABLE:
            if is_scalar(data):
                parsed.append(_UNKNOWN)
            else:
                self._break(_error_of(data) if name == "error" else _BROKEN, parsed)
            return
        parsed += [Unread(f"unreadable_{member}") for member in lost]
        kind = said.type or name
        take = _TAKE.get(kind)
        if take is not None:
            take(self, said, parsed)
        elif kind == "error" or name == "error" or said.error is not None:
            self._break(_error_of(data), parsed)
        elif kind not in _KEEP_ALIVES:
            # A type that says another thing than the event's own is no new one.
            self._break(_BROKEN, parsed) if name in _TAKE else parsed.append(_UNKNOWN)

    def _break(self, failed: Failed, parsed: list[Event]) -> None:
        self._over = True
        parsed.append(failed)

    # One of these for each kind of event; it adds what the event means.

    def _delta(self, said: wire.Event, parsed: list[Event]) -> None:
        delta = said.delta or _NO_DELTA
        # Nothing can be told of a block that has not been opened.
        kind = delta.type if said.index in self._blocks else ""
        if kind == "text_delta" and delta.text is not None:
            if delta.text:
                parsed.append(TextDelta(text=delta.text))
        elif kind == "input_json_delta" and delta.partial_json is not None:
            self._input(said.index, text_of(delta.partial_json), parsed)
        elif kind == "thinking_delta" and delta.thinking is not None:
            if delta.thinking:
                parsed.append(ThinkingDelta(text=delta.thinking))
        elif kind == "signature_delta":
            self._seal(delta.signature or "", parsed)
        elif kind == "citations_delta":
            if delta.citation is not None:
                parsed.append(CitationDelta(citation=delta.citation))
        elif said.index not in self._skipped:
            self._break(_BROKEN, parsed)

    def _begin(self, said: wire.Event, parsed: list[Event]) -> None:
        block = said.content_block or _NO_BLOCK
        kind = block.type
        self._blocks.add(said.index)
        if kind == "text":
            if block.text:
                parsed.append(TextDelta(text=block.text))
        elif kind == "tool_use":
            self._begin_call(said.index, block, parsed)
        elif kind == "thinking":
            if block.thinking:
                parsed.append(ThinkingDelta(text=block.thinking))
            self._seal(block.signature or "", parsed)
        elif kind == "redacted_thinking":
            origin, data = signatures.unwrap(block.data or "", NAME)
            parsed.append(ThinkingDelta(redacted=data, origin=origin))
        elif not kind:
            self._break(_BROKEN, parsed)
        else:
            self._skipped.add(said.index)
            if kind not in PROVIDERS_BLOCKS:
                parsed.append(_UNKNOWN_BLOCK)

    def _begin_call(self, index: int, block: wire.Block, parsed: list[Event]) -> None:
        try:
            # A call without arguments may be all that its beginning says.
            given = text_of_raw(block.input)
            name = named(block.name)
        except UNREADABLE:
            self._break(_BROKEN, parsed)
            return
        call = self._calls[index] = len(self._calls)
        call_id = block.id or fresh_call_id()
        parsed.append(ToolCallStarted(call=call, id=call_id, name=name))
        self._inputs[index] = given

    def _end(self, said: wire.Event, parsed: list[Event]) -> None:
        whole = self._inputs.pop(said.index, None)
        if whole is not None:
            parsed.append(ToolCallDelta(call=self._calls[said.index], arguments=whole))

    def _input(self, index: int, json: str, parsed: list[Event]) -> None:
        call = self._calls.get(index)
        if call is not None:
            if json:
                self._inputs.pop(index, None)
                parsed.append(ToolCallDelta(call=call, arguments=json))
        elif index not in self._skipped:
            self._break(_BROKEN, parsed)

    def _seal(self, signature: str, parsed: list[Event]) -> None:
        if signature:
            origin, seal = signatures.unwrap(signature, NAME)
            parsed.append(ThinkingDelta(signature=seal, origin=origin))

    def _start(self, said: wire.Event, parsed: list[Event]) -> None:
        message = said.message
        if message is None:
            return
        parsed.append(Started(id=message.id, model=message.model))
        self._count(prompt_of(message.usage), parsed)

    def _finish(self, said: wire.Event, parsed: list[Event]) -> None:
        if said.usage is not None:
            self._count(updated(self._usage, said.usage), parsed)
        delta = said.delta
        if delta is None or delta.stop_reason is None:
            return
        finish = finish_of(delta.stop_reason)
        if finish is None:
            self._break(bad_end(delta.stop_reason), parsed)
            return
        self._finished = True
        parsed.append(Finished(finish=finish, stop_sequence=delta.stop_sequence))

    def _count(self, usage: UsageView | None, parsed: list[Event]) -> None:
        self._usage = usage
        tokens = tokens_of(usage)
        if tokens is not None:
            parsed.append(UsageReported(tokens))

    def _stop(self, said: wire.Event, parsed: list[Event]) -> None:
        self._over = True
        parsed.append(Ended() if self._finished else bad_end(None))

    def _ping(self, said: wire.Event, parsed: list[Event]) -> None:
        """Add nothing: a ping only keeps the connection open."""


_TAKE: dict[str, Callable[[Parser, wire.Event, list[Event]], None]] = {
    "content_block_delta": Parser._delta,
    "content_block_start": Parser._begin,
    "content_block_stop": Parser._end,
    "message_start": Parser._start,
    "message_delta": Parser._finish,
    "message_stop": Parser._stop,
    "ping": Parser._ping,
}


def _error_of(data: bytes) -> Failed:
    """Return what an error in whatever shape tells."""
    try:
        detail = wire.decode_event(data).error
    except UNREADABLE:
        detail = None
    if detail is not None:
        return failed_of(detail)
    details = read_error(data)
    return Failed(message=details.message, code=details.code)


_decode_texts = msgspec.json.Decoder(str).decode_lines


def _texts_from(events: Sequence[bytes], at: int) -> tuple[list[str], int]:
    """Return what is said by the events that follow one of text, and where they end.

    Those of one block are most often the same but for the text. All of these that can
    be put together again of what stands around it, and of strings, are decoded at once.
    """
    first = events[at - 1]
    start = first.rfind(b'"text":"') + 8
    tail_at = first.find(b'"', start)
    head, tail = first[:start], first[tail_at:]
    end = len(events)
    while end > at and not events[end - 1].startswith(head):
        end -= 1
    if end - at < ALIKE or tail_at < 0 or not _is_text_between(head, tail):
        return [], at
    between = slice(len(head), -len(tail))
    texts = [event[between] for event in events[at:end]]
    together = (tail + head).join(texts)
    if b"%b%b%b" % (head, together, tail) != b"".join(events[at:end]):
        return [], at
    try:
        # A string has no line end in it, so one for each line is one for each text.
        decoded = _decode_texts(b'"%b"' % b'"\n"'.join(texts))
    except UNREADABLE:
        return [], at
    return (decoded, end) if len(decoded) == len(texts) else ([], at)


def _is_text_between(head: bytes, tail: bytes) -> bool:
    """Whether what stands between the two is the text of a delta."""
    data = wire.data_of(head + b"?" + tail)
    try:
        said = wire.decode_event(data or b"")
    except UNREADABLE:
        return False
    delta = said.delta
    return (
        said.type == "content_block_delta"
        and delta is not None
        and (delta.type, delta.text) == ("text_delta", "?")
    )


def stream_parser() -> Parser:
    """Return what parses one stream."""
    return Parser()
