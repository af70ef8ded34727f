"""From a Messages stream to neutral events.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming. Calls are
counted by the blocks that begin them. The output in ``message_start`` is no count yet;
that of ``message_delta`` is the total.
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
from gandalf.dialects.anthropic.errors import ErrorDetail, failed_of
from gandalf.dialects.anthropic.parse_answers import NAME, finish_of
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import (
    CitationDelta,
    Ended,
    Event,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)

_EMPTY = (b"", b"{}", b"null")

# From so many events on it is worth while to see whether they are alike.
ALIKE = 3


class Parser:
    """Turns one upstream's stream into neutral events."""

    __slots__ = ("_buffer", "_calls", "_inputs", "_over", "_usage")

    def __init__(self) -> None:
        self._buffer = sse.EventBuffer()
        self._calls: dict[int, int] = {}
        """The number of each block's call."""
        self._inputs: dict[int, str] = {}
        """What a block gave as its input at its beginning, until pieces of it come."""
        self._usage: UsageView | None = None
        self._over = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that ``data`` completes.

        Raises:
            sse.EventTooLarge: An event does not end.
        """
        block = self._buffer.feed(data)
        return self._parsed(sse.split(block)) if block else []

    def flush(self) -> list[Event]:
        """Return the events of what is left when the upstream has ended."""
        rest = self._buffer.flush()
        return self._parsed((rest,)) if rest else []

    def _parsed(self, events: Sequence[bytes]) -> list[Event]:
        parsed: list[Event] = []
        at, count = 0, len(events)
        tried = count < ALIKE
        while at < count and not self._over:
            event = events[at]
            at += 1
            data = wire.data_of(event)
            if data is None:
                continue
            try:
                said = wire.decode_event(data)
            except UNREADABLE:
                # One broken event does not make the rest worthless.
                continue
            take = _TAKE.get(said.type)
            if take is not None:
                take(self, said, parsed)
            if not tried and said.delta is not None and said.delta.text:
                tried = True
                texts, at = _texts_from(events, at)
                parsed += [TextDelta(text=text) for text in texts if text]
        return parsed

    # One of these for each kind of event; it adds what the event means.

    def _delta(self, said: wire.Event, parsed: list[Event]) -> None:
        delta = said.delta
        if delta is None:
            return
        kind = delta.type
        if kind == "text_delta":
            if delta.text:
                parsed.append(TextDelta(text=delta.text))
        elif kind == "input_json_delta":
            self._input(said.index, delta.partial_json, parsed)
        elif kind == "thinking_delta":
            if delta.thinking:
                parsed.append(ThinkingDelta(text=delta.thinking))
        elif kind == "signature_delta":
            self._seal(delta.signature, parsed)
        elif kind == "citations_delta" and delta.citation is not None:
            parsed.append(CitationDelta(citation=delta.citation))

    def _begin(self, said: wire.Event, parsed: list[Event]) -> None:
        block = said.content_block
        if block is None:
            return
        if block.type == "text" and block.text:
            parsed.append(TextDelta(text=block.text))
        elif block.type == "tool_use":
            call = self._calls[said.index] = len(self._calls)
            parsed.append(ToolCallStarted(call=call, id=block.id, name=block.name))
            given = bytes(block.input)
            # A call without arguments may be all that its beginning says.
            whole = "{}" if given in _EMPTY else given.decode(errors="replace")
            self._inputs[said.index] = whole
        elif block.type == "thinking":
            if block.thinking:
                parsed.append(ThinkingDelta(text=block.thinking))
            self._seal(block.signature or "", parsed)
        elif block.type == "redacted_thinking":
            origin, data = signatures.unwrap(block.data or "", NAME)
            parsed.append(ThinkingDelta(redacted=data, origin=origin))

    def _end(self, said: wire.Event, parsed: list[Event]) -> None:
        whole = self._inputs.pop(said.index, None)
        if whole is not None:
            parsed.append(ToolCallDelta(call=self._calls[said.index], arguments=whole))

    def _input(self, index: int, json: str, parsed: list[Event]) -> None:
        call = self._calls.get(index)
        # Those of the provider's own tools are no calls of the client's.
        if call is not None and json:
            self._inputs.pop(index, None)
            parsed.append(ToolCallDelta(call=call, arguments=json))

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
        finish = finish_of(said.delta.stop_reason) if said.delta else None
        if finish is not None and said.delta is not None:
            stop_sequence = said.delta.stop_sequence
            parsed.append(Finished(finish=finish, stop_sequence=stop_sequence))

    def _count(self, usage: UsageView | None, parsed: list[Event]) -> None:
        self._usage = usage
        tokens = tokens_of(usage)
        if tokens is not None:
            parsed.append(UsageReported(tokens))

    def _stop(self, said: wire.Event, parsed: list[Event]) -> None:
        self._over = True
        parsed.append(Ended())

    def _fail(self, said: wire.Event, parsed: list[Event]) -> None:
        self._over = True
        parsed.append(failed_of(said.error or ErrorDetail()))


_TAKE: dict[str, Callable[[Parser, wire.Event, list[Event]], None]] = {
    "content_block_delta": Parser._delta,
    "content_block_start": Parser._begin,
    "content_block_stop": Parser._end,
    "message_start": Parser._start,
    "message_delta": Parser._finish,
    "message_stop": Parser._stop,
    "error": Parser._fail,
}


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
