"""A Messages stream that passes through untouched.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming: the stream is
complete at ``message_stop``; an event ``error`` says that it never will be; pings may
come at any time.
"""

from __future__ import annotations

from gandalf.dialects import sse
from gandalf.dialects.anthropic.answers import (
    UsageView,
    prompt_of,
    tokens_of,
    updated,
)
from gandalf.dialects.anthropic.errors import ErrorDetail, failed_of
from gandalf.dialects.anthropic.events import Event, data_of, decode_event
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import Failed
from gandalf.domain.usage import TokenUsage

STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


class MessagesStream:
    """Follows one upstream's stream: what of it the client gets, and what it says.

    Whole events go on as they came, many at a time, unless something in them needs a
    closer look: the beginning, the end, an error, or an event that is broken.
    """

    __slots__ = (
        "_buffer",
        "_usage",
        "content_seen",
        "done",
        "ending",
        "failed",
        "finish_reason",
        "malformed",
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
        self.malformed = 0
        """Events that were not JSON, and were left out."""
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
        if self.done or self.failed is not None or data_of(rest) is None:
            return b""
        return rest + b"\n\n" if self._keeps(rest) else b""

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
        if data is None:
            return True
        try:
            said = decode_event(data)
        except UNREADABLE:
            self.malformed += 1
            return False
        return self._note(said, event)

    def _note(self, said: Event, event: bytes) -> bool:
        kind = said.type
        if kind == "message_stop":
            self.done = True
            self.ending = event.rstrip(b"\r\n") + b"\n\n"
            return False
        if kind == "error":
            self.failed = failed_of(said.error or ErrorDetail())
            return False
        if kind == "message_start" and said.message is not None:
            self._count(prompt_of(said.message.usage))
        elif kind == "message_delta":
            self._note_end(said)
        elif kind.startswith("content_block_"):
            self.content_seen = True
        return True

    def _note_end(self, said: Event) -> None:
        if said.usage is not None:
            self._count(updated(self._usage, said.usage))
        if said.delta is not None and said.delta.stop_reason is not None:
            self.finish_reason = said.delta.stop_reason
            self.content_seen = True

    def _count(self, usage: UsageView | None) -> None:
        self._usage = usage
        self.usage = tokens_of(usage)


def _is_content(event: bytes) -> bool:
    return event.startswith(b"event: content_block_") and event.endswith(b"}\n\n")


def _unremarkable(block: bytes) -> bool:
    """Whether ``block`` holds nothing but well-formed content and pings.

    Counting bytes is many times cheaper than decoding each event. Inside a JSON string
    no line ends, so these patterns match the lines of events only.
    """
    count = block.count
    events = count(b"\n\n")
    plain = count(b"\n\nevent: content_block_") + count(b"\n\nevent: ping\n")
    if block.startswith((b"event: content_block_", b"event: ping\n")):
        plain += 1
    return events == plain == count(b"}\n\n") == count(b'\ndata: {"')
