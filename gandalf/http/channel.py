"""What an HTTP response is made through: the edge's own, or any ASGI server's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

HeaderList = Sequence[tuple[bytes, bytes]]


class Channel(Protocol):
    """Carries one response to one request: ``whole``, or ``start`` and what follows.

    Every method returns once the bytes are handed to the operating system, which is
    what holds back whoever produces them. Once the client has left, all do nothing.
    Framing (content-length, chunks, connection) is the channel's business.
    """

    @property
    def started(self) -> bool:
        """Whether any byte of the response may have left."""

    async def whole(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Send a complete response."""

    async def start(self, status: int, headers: HeaderList) -> None:
        """Send the header section of a response of unknown length."""

    async def send(self, data: bytes) -> None:
        """Send a piece of the body."""

    async def end(self, data: bytes) -> None:
        """Send the last piece and complete the response."""

    async def abort(self, data: bytes) -> None:
        """Send ``data``, then close the connection with the response incomplete."""
