"""A stream's events: where each ends, and the JSON it carries.

With ``alt=sse`` a stream is server-sent events, one answer object each, lines ended by
CRLF, without an end marker. An error within it may be JSON outside of any event.
Without ``alt=sse`` it is one JSON array of the same objects.
"""

from __future__ import annotations

from collections.abc import Iterator

from gandalf.dialects import sse
from gandalf.dialects.base import Follower
from gandalf.dialects.conversation import Failed
from gandalf.dialects.gemini.errors import stream_error
from gandalf.domain.errors import GatewayError
from gandalf.domain.usage import TokenUsage

_END = b"\r\n\r\n"

ARRAY_CONTENT_TYPE = b"application/json"


class Events:
    """``sse.EventBuffer`` for streams whose lines usually end with CRLF.

    It needs no search while whole events come, and does not cut a CRLF in two.
    """

    __slots__ = ("_at_boundary", "_buffer", "_feeds_lines", "_return")

    def __init__(self) -> None:
        self._buffer = sse.EventBuffer()
        self._at_boundary = True
        self._return = b""
        self._feeds_lines = False

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of all events that ``data`` completes.

        Raises:
            sse.EventTooLarge: The event under way does not end.
        """
        if self._at_boundary and data.startswith(b"data:") and data.endswith(_END):
            return data
        if not self._feeds_lines:
            self._feeds_lines = b"\n" in data
        if self._return:
            data = self._return + data
            self._return = b""
        if self._feeds_lines and data.endswith(b"\r"):
            # Whether it ends an event is known with the next byte.
            self._return, data = b"\r", data[:-1]
        self._at_boundary = data.endswith((_END, b"\n\n"))
        return self._buffer.feed(data)

    def flush(self) -> bytes:
        """Return what is left when the stream ends without a last blank line."""
        return self._buffer.flush() + self._return


def split(block: bytes) -> Iterator[bytes]:
    """Yield the events of ``block``, each with the blank line that ends it."""
    events = block.split(_END)
    ends = 2 * (len(events) - 1)
    if events[-1] or not ends == block.count(b"\r") == block.count(b"\n"):
        # Not as Google writes it: read it by the book.
        yield from sse.split(block)
        return
    events.pop()
    for event in events:
        yield event + _END


def payloads(block: bytes) -> Iterator[bytes]:
    """Yield the JSON of each event in ``block``, which holds whole events only."""
    for event in split(block):
        payload = payload_of(event)
        if payload is not None:
            yield payload


def payload_of(event: bytes) -> bytes | None:
    """Return the JSON that ``event`` carries; None if it is a comment."""
    line = event.rstrip(b"\r\n")
    if line.startswith(b"data: ") and b"\n" not in line and b"\r" not in line:
        return line[6:]
    data = sse.data_of(event)
    if data is not None:
        return data
    bare = event.strip()
    if bare.startswith(b"[{"):
        bare = bare[1:].rstrip(b"],\r\n ")
    return bare if bare.startswith(b"{") else None


class ArrayFollower:
    """Makes of another follower's events the JSON array that a stream without SSE is.

    For clients that do not ask with ``alt=sse``: REST transports of older SDKs, curl.
    """

    __slots__ = ("_begun", "_inner")

    def __init__(self, inner: Follower) -> None:
        self._inner = inner
        self._begun = False

    @property
    def usage(self) -> TokenUsage | None:
        return self._inner.usage

    @usage.setter
    def usage(self, usage: TokenUsage | None) -> None:
        self._inner.usage = usage

    @property
    def finish_reason(self) -> str | None:
        return self._inner.finish_reason

    @finish_reason.setter
    def finish_reason(self, reason: str | None) -> None:
        self._inner.finish_reason = reason

    @property
    def done(self) -> bool:
        return self._inner.done

    @done.setter
    def done(self, done: bool) -> None:
        self._inner.done = done

    @property
    def failed(self) -> Failed | None:
        return self._inner.failed

    @failed.setter
    def failed(self, failed: Failed | None) -> None:
        self._inner.failed = failed

    @property
    def content_seen(self) -> bool:
        return self._inner.content_seen

    @content_seen.setter
    def content_seen(self, seen: bool) -> None:
        self._inner.content_seen = seen

    @property
    def unread(self) -> dict[str, int]:
        return self._inner.unread

    @unread.setter
    def unread(self, unread: dict[str, int]) -> None:
        self._inner.unread = unread

    def feed(self, data: bytes) -> bytes:
        """As ``Follower.feed``."""
        return self._elements(self._inner.feed(data))

    def flush(self) -> bytes:
        """As ``Follower.flush``."""
        return self._elements(self._inner.flush())

    def finished(self, choices: int) -> bool:
        """As ``Follower.finished``."""
        return self._inner.finished(choices)

    @property
    def ending(self) -> bytes:
        """The last elements and the end of the array."""
        last = list(payloads(self._inner.ending))
        before = b",\n" if self._begun and last else b"" if self._begun else b"["
        return before + b",\n".join(last) + b"]"

    def _elements(self, block: bytes) -> bytes:
        found = list(payloads(block))
        if not found:
            return b""
        before = b",\n" if self._begun else b"["
        self._begun = True
        return before + b",\n".join(found)


def array_error(error: GatewayError) -> bytes:
    """Return what tells of ``error`` in an array that has begun."""
    return b",\n" + stream_error(error).strip() + b"]"
