"""Newline-delimited JSON: where a line ends, and what it says.

Rules, from https://github.com/ndjson/ndjson-spec: a line ends with LF and nothing
else (not U+2028, not a lone CR, which is white space in JSON); a CR before the LF is
not part of the value; a line of white space says nothing; the last line may lack its
LF. Bytes are never decoded here.
"""

from __future__ import annotations

from collections.abc import Iterator

from gandalf.dialects import sse

# Characters that end a line for many a reader (``str.splitlines``, and so httpx and all
# that is built on it), though not in NDJSON. JSON has an escape for each.
_LINE_ENDS_OF_OTHERS = (
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
    (b"\xc2\x85", b"\\u0085"),
)


class LineBuffer:
    """Cuts a byte stream after its last complete line, in linear time."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of all lines that ``data`` completes; may be empty.

        Raises:
            sse.EventTooLarge: The line under way does not end.
        """
        pending = self._pending
        if not pending and data.endswith(b"\n"):
            return data
        end = data.rfind(b"\n") + 1
        if end == 0:
            pending += data
            complete = b""
        else:
            complete = bytes(pending) + data[:end] if pending else data[:end]
            pending[:] = data[end:]
        if len(pending) > sse.MAX_EVENT_BYTES:
            raise sse.EventTooLarge
        return complete

    def flush(self) -> bytes:
        """Return what is left when the stream ends without a last LF."""
        rest = bytes(self._pending)
        self._pending.clear()
        return rest


def split(block: bytes) -> Iterator[bytes]:
    """Yield the lines of ``block``, each with the LF that ends it."""
    start = 0
    while end := block.find(b"\n", start) + 1:
        yield block[start:end]
        start = end
    if start < len(block):
        yield block[start:]


def line(value: bytes) -> bytes:
    """Return the line that says ``value``, JSON that may have line ends in it.

    Those between its tokens become spaces; those in its strings that some readers take
    for ends of the line are escaped.
    """
    if b"\n" in value or b"\r" in value:
        value = value.replace(b"\n", b" ").replace(b"\r", b" ")
    if b"\xe2\x80" in value or b"\xc2\x85" in value:
        for character, escaped in _LINE_ENDS_OF_OTHERS:
            value = value.replace(character, escaped)
    return value + b"\n"
