"""What an HTTP response is made through: the edge's own, or any ASGI server's."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

log = logging.getLogger("gandalf.http")

HeaderList = Sequence[tuple[bytes, bytes]]

_NO_CONTROLS = bytes.maketrans(b"\r\n\0", b"   ")


def field_lines(headers: HeaderList) -> bytes:
    """Return the lines of a header section that tell ``headers``.

    No value can begin a line of its own, whatever is in it.
    """
    lines = b"".join([b"%b: %b\r\n" % field for field in headers])
    if not lines.count(b"\n") == lines.count(b"\r") == len(headers) or b"\0" in lines:
        return _without_controls(headers)
    return lines


def fields_of(lines: bytes) -> list[tuple[bytes, bytes]]:
    """Return the header fields that ``lines`` tell, which ``field_lines`` has made."""
    fields = []
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        fields.append((name, value))
    return fields


def _without_controls(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    log.error("a header field was to be sent with control characters: %r", headers)
    return b"".join(
        b"%b: %b\r\n" % (name.translate(_NO_CONTROLS), value.translate(_NO_CONTROLS))
        for name, value in headers
    )


class Channel(Protocol):
    """Carries one response to one request: ``whole``, or ``start`` and what follows.

    Every method returns once the bytes are handed to the operating system, which is
    what holds back whoever produces them. Once the client has left, all do nothing.
    Framing (content-length, chunks, connection) is the channel's business. Header
    fields come as ``field_lines`` makes them: what never changes is made only once.
    """

    @property
    def started(self) -> bool:
        """Whether any byte of the response may have left."""

    async def whole(self, status: int, fields: bytes, body: bytes) -> None:
        """Send a complete response."""

    async def start(self, status: int, fields: bytes) -> None:
        """Send the header section of a response of unknown length."""

    async def send(self, data: bytes) -> None:
        """Send a piece of the body."""

    async def end(self, data: bytes) -> None:
        """Send the last piece and complete the response."""

    async def abort(self, data: bytes) -> None:
        """Send ``data``, then close the connection with the response incomplete."""
