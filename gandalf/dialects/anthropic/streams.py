"""A Messages stream that passes through untouched.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming: the stream is
complete at ``message_stop``; an event ``error`` says that it never will be; pings may
come at any time. What cannot be read is treated by the rule in
``gandalf.dialects.unread``.
"""

from __future__ import annotations

import msgspec

from gandalf.dialects import sse
from gandalf.dialects.anthropic.answers import (
    UsageView,
    failure_in,
    has_error,
    prompt_of,
    tokens_of,
    updated,
)
from gandalf.dialects.anthropic.events import Event, data_of, decode_event
from gandalf.dialects.anthropic.finishes import GOOD_ENDS
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import Failed
from gandalf.dialects.ends import bad_end
from gandalf.dialects.unread import (
    NOT_JSON,
    UNKNOWN_SHAPE,
    count,
    is_silence,
    is_utf8,
    read_leniently,
)
from gandalf.domain.usage import TokenUsage

STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


class MessagesStream:
    """Follows one upstream's stream: what of it the client gets, and what it says.

    Whole events go on as they came, many at a time, unless something in them needs a
    closer look: the beginning, the end, an error, or an event that cannot be read.
    """

    __slots__ = (
        "_buffer",
        "_usage",
        "content_seen",
        "done",
        "ending",
        "failed",
        "finish_reason",
        "unread",
        "usage",
    )

    def __init__(self) -> None:
        self._buffer = sse.EventBuffer()
        self._usage: UsageView | None = None
        self.usage: TokenUsage | None = None
        self.finish_reason: str | None = None
        self.done = False
        """The stream's own end marker was seen."""
        self.failed: Failed | None = None
        """The error that the upstream put into the stream."""
        self.content_seen = False
        """Something of the answer itself, not just its frame, has come."""
        self.unread: dict[str, int] = {}
        """Events that were not read, counted by reason."""
        self.ending = STOP
        """The end marker, as the upstream wrote it if it did."""

    def feed(self, data: bytes) -> bytes:
        """Return the client's share of the events that ``data`` completes.

        Raises:
            sse.EventTooLarge: An event does not end.
        """
        if self.done or self.failed is not None:
            return b""
        block = self._buffer.feed(data)
        if not block or (self.content_seen and _unremarkable(block)):
            return block
        return b"".join(map(self._takes, sse.split(block)))

    def flush(self) -> bytes:
        """Return the client's share of what is left when the upstream has ended."""
        rest = self._buffer.flush()
        return self._takes(rest + b"\n\n") if sse.is_whole(rest) else b""

    def finished(self, choices: int) -> bool:
        """Whether the answer has its stop reason; there is only one answer."""
        return self.finish_reason is not None and choices <= 1

    def _takes(self, event: bytes) -> bytes:
        if self.done or self.failed is not None:
            return b""
        plain = self.content_seen and _is_content(event)
        return event if plain or self._keeps(event) else b""

    def _keeps(self, event: bytes) -> bool:
        """Note what ``event`` says; return whether the client gets it."""
        data = data_of(event)
        if data is None or is_silence(data):
            return True
        said = self._read(data)
        # Of an event that is no JSON only its name is known.
        return said is None or self._note(said, event, data)

    def _read(self, data: bytes) -> Event | None:
        try:
            said = decode_event(data)
            if is_utf8(data):
                return said
        except UNREADABLE:
            pass
        lenient = read_leniently(data, Event)
        count(self.unread, NOT_JSON if lenient is None else UNKNOWN_SHAPE)
        return lenient

    def _note(self, said: Event, event: bytes, data: bytes) -> bool:
        kind = said.type
        if kind == "message_stop":
            self._stop(event)
            return False
        named = event.startswith(b"event: error")
        if kind == "error" or named or said.error or (not kind and has_error(data)):
            self.failed = failure_in(data)
            return False
        if kind == "message_start" and said.message is not None:
            self._count(prompt_of(said.message.usage))
        elif kind == "message_delta":
            return self._note_end(said)
        elif not self.content_seen and kind.startswith("content_block_"):
            self.content_seen = _is_begun(said)
        elif not kind or (kind not in _KINDS and not kind.startswith("content_block_")):
            count(self.unread, UNKNOWN_SHAPE)
        return True

    def _stop(self, event: bytes) -> None:
        if self.finish_reason is None:
            self.failed = bad_end(None)
        else:
            self.done = True
            self.ending = event.rstrip(b"\r\n") + b"\n\n"

    def _note_end(self, said: Event) -> bool:
        if said.usage is not None:
            self._count(updated(self._usage, said.usage))
        reason = None if said.delta is None else said.delta.stop_reason
        if reason is None:
            return True
        if reason not in GOOD_ENDS:
            self.failed = bad_end(reason)
            return False
        self.finish_reason = reason
        self.content_seen = True
        return True

    def _count(self, usage: UsageView | None) -> None:
        self._usage = usage
        self.usage = tokens_of(usage)


# Kinds of blocks that begin empty: their content comes in deltas.
_OPENED = frozenset({"text", "thinking", "tool_use", "server_tool_use", "mcp_tool_use"})
_KINDS = frozenset({"message_start", "message_delta", "ping"})


def _is_begun(said: Event) -> bool:
    """Return whether an event of a block has content, rather than only opening it."""
    if said.type == "content_block_stop":
        return False
    delta, block = said.delta, said.content_block
    if delta is not None:
        text = delta.text or delta.thinking or delta.partial_json or delta.signature
        return bool(text or delta.citation) or delta.type not in _DELTAS
    if block is not None:
        return bool(block.text or block.thinking) or block.type not in _OPENED
    return True


_DELTAS = frozenset(
    {
        "citations_delta",
        "input_json_delta",
        "signature_delta",
        "text_delta",
        "thinking_delta",
    }
)


class _Content(msgspec.Struct):
    """An event of a block. Decoded to see that it is JSON, and no error."""

    type: str
    error: None = None


_decode_content = msgspec.json.Decoder(_Content)


def _is_content(event: bytes) -> bool:
    return event.startswith(b"event: content_block_") and _unremarkable(event)


def _unremarkable(block: bytes) -> bool:
    """Whether ``block`` holds nothing but well-formed content and pings.

    Inside a JSON string no line ends, so these patterns match the lines of events only.
    """
    lines = block.split(b"\n")
    # An event has three lines: its name, its data and a blank one.
    names, data, blanks = lines[:-1:3], lines[1::3], lines[2::3]
    if lines[-1] or not len(names) == len(data) == len(blanks) or any(blanks):
        return False
    if not all(name.startswith(_CONTENT_NAMES) for name in names):
        return False
    said = b"\n".join(data)
    if said.count(b"data: {") != len(data) or b"\r" in said or not is_utf8(said):
        return False
    try:
        # All at once: that is several times faster than one after the other.
        read = _decode_content.decode_lines(said.replace(b"data: {", b"{"))
    except UNREADABLE:
        return False
    return len(read) == len(data)


_CONTENT_NAMES = (b"event: content_block_", b"event: ping")
