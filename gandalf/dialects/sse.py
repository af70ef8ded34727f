"""Server-sent events: where one ends, and what it says.

Rules, from https://html.spec.whatwg.org/multipage/server-sent-events.html:
lines end with CRLF, LF or CR and nothing else (not U+2028); a blank line ends an
event; a line that begins with a colon is a comment; ``data`` lines of one event are
joined with LF; one space after the colon is not part of the value; a byte order mark
may precede the first line, and no other. Bytes are never decoded here.
"""

from __future__ import annotations

import re

from gandalf.dialects.base import EventTooLarge as EventTooLarge
from gandalf.dialects.unread import is_json

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOUNDARY = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_BOM = b"\xef\xbb\xbf"
_FIELDS = frozenset((b"", b"data", b"event", b"id", b"retry"))

# An image in base64 arrives as one event; what is larger than this is an attack or a
# bug, and would otherwise fill the memory of the gateway.
MAX_EVENT_BYTES = 32 * 1024 * 1024


class EventBuffer:
    """Cuts a byte stream after its last complete event, in linear time.

    A byte order mark before the first one is left out: to whoever reads an event by
    itself it would be part of a field's name.
    """

    __slots__ = ("_begun", "_pending")

    def __init__(self) -> None:
        self._pending = bytearray()
        self._begun = False
        """What comes now is no byte order mark any more."""

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of all events that ``data`` completes; may be empty.

        Raises:
            EventTooLarge: The event under way does not end.
        """
        if not self._begun:
            data = self._without_mark(data)
        pending = self._pending
        if not pending and data.endswith(b"\n\n"):
            return data
        if b"\n" not in data and b"\r" not in data:
            return self._keep(data)
        # A boundary may straddle the old bytes and the new, by three at the most.
        tail = bytes(pending[-3:])
        end = _last_boundary(tail + data) - len(tail)
        if end <= 0:
            return self._keep(data)
        complete = bytes(pending) + data[:end] if pending else data[:end]
        pending[:] = data[end:]
        return complete

    def _keep(self, data: bytes) -> bytes:
        self._pending += data
        if len(self._pending) > MAX_EVENT_BYTES:
            raise EventTooLarge
        return b""

    def _without_mark(self, data: bytes) -> bytes:
        """Return what ``data`` brings of the stream's text; it may be its beginning."""
        if data and not self._pending and data[0] != _BOM[0]:
            self._begun = True
            return data
        beginning = bytes(self._pending) + data
        self._pending.clear()
        if len(beginning) < len(_BOM) and _BOM.startswith(beginning):
            self._pending += beginning
            return b""
        self._begun = True
        return beginning.removeprefix(_BOM)

    def flush(self) -> bytes:
        """Return what is left when the stream ends without a last blank line."""
        rest = bytes(self._pending)
        self._pending.clear()
        return rest


def split(block: bytes) -> list[bytes]:
    """Return the events of ``block``, each with the blank line that ends it."""
    if b"\r" not in block:
        # The usual case, in which a search is many times faster than the expression.
        pieces = block.split(b"\n\n")
        rest = pieces.pop()
        events = [piece + b"\n\n" for piece in pieces]
        if rest:
            events.append(rest)
        return events
    events = []
    start = 0
    for boundary in _BOUNDARY.finditer(block):
        events.append(block[start : boundary.end()])
        start = boundary.end()
    if start < len(block):
        events.append(block[start:])
    return events


def data_of(event: bytes) -> bytes | None:
    """Return the joined ``data`` of ``event``; None if it has none (a comment)."""
    values = []
    for line in _LINE_END.split(event):
        name, _, value = line.partition(b":")
        if name == b"data":
            values.append(value.removeprefix(b" "))
    return b"\n".join(values) if values else None


def is_whole(rest: bytes) -> bool:
    """Return whether ``rest``, the end of a stream, is an event without a blank line.

    An event that was cut off is none: it must not reach a client.
    """
    data = data_of(rest)
    return data is not None and (data.strip() == b"[DONE]" or is_json(data))


def is_strange(event: bytes) -> bool:
    """Return whether ``event`` has a field that the specification does not know.

    Clients are to ignore it, but where one stands a part of an answer may be lost: a
    broken field name or line end makes one of what was data, or a part of the type.
    """
    for line in _LINE_END.split(event):
        name, _, value = line.partition(b":")
        if name not in _FIELDS or (name == b"event" and b"data:" in value):
            return True
    return False


def name_of(event: bytes) -> bytes:
    """Return the type that ``event`` has in its ``event`` field; empty if none."""
    name = b""
    for line in _LINE_END.split(event):
        field, _, value = line.partition(b":")
        if field == b"event":
            name = value.strip()
    return name


def event(data: bytes, name: bytes = b"") -> bytes:
    """Return the event that says ``data``, which must hold no line end."""
    head = b"event: %b\n" % name if name else b""
    return b"%bdata: %b\n\n" % (head, data)


def _last_boundary(data: bytes) -> int:
    """Return the offset just past the last event boundary; -1 if there is none."""
    if b"\r" not in data:
        found = data.rfind(b"\n\n")
        return found + 2 if found >= 0 else -1
    end = -1
    for boundary in _BOUNDARY.finditer(data):
        end = boundary.end()
    return end
