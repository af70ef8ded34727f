"""One answer on an HTTP/1.1 connection: its header section and its framing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

import trio

from gandalf.http.channel import HeaderList
from gandalf.http.client_wire import ClientWire
from gandalf.http.parser import Request

log = logging.getLogger("gandalf.http")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode())
    for status in HTTPStatus
}
# Answers that end with their header section, whatever it says (RFC 9112, 6.3).
_NO_BODY = frozenset({204, 304})
_NO_CONTROLS = bytes.maketrans(b"\r\n\0", b"   ")


class Arriving(Protocol):
    """A body that is on its way."""

    @property
    def complete(self) -> bool: ...


class Response:
    """Carries one response to one request: the ``Channel`` of this server.

    The header section waits for the first bytes of the body, to leave with them.

    Args:
        wire: Where the bytes go.
        request: What is answered. None for an answer to what was no request.
        keep_alive: Whether the connection may be used again afterwards.
        date: The value of the ``date`` field.
        client_left: Called when the client turns out to have left.
    """

    __slots__ = (
        "_chunked",
        "_client_left",
        "_date",
        "_head_only",
        "_held",
        "_version",
        "_wire",
        "done",
        "gone",
        "hurried",
        "keep_alive",
        "sent_at",
        "started",
        "upload",
    )

    def __init__(
        self,
        wire: ClientWire,
        request: Request | None,
        keep_alive: bool,
        date: bytes,
        client_left: Callable[[], None],
    ) -> None:
        self._wire = wire
        self._date = date
        self._client_left = client_left
        self._version = "1.1" if request is None else request.version
        self._head_only = request is not None and request.method == b"HEAD"
        self._chunked = False
        self._held = b""
        self.keep_alive = keep_alive
        self.started = False
        self.done = False
        """Whether all of it is on its way."""
        self.upload: Arriving | None = None
        """The request's body, if it may not have arrived whole yet."""
        self.gone = False
        """Whether the client has left, so that nothing need be sent any more."""
        self.hurried = False
        """Whether nothing may wait: what the kernel does not take now goes later."""
        self.sent_at = 0.0
        """``trio.current_time()`` of the last write of a body that is streamed."""

    async def whole(self, status: int, headers: HeaderList, body: bytes) -> None:
        if self.gone:
            return
        self.started = self.done = True
        if status in _NO_BODY:
            if not self._push(self._head(status, headers, b"")):
                await self._drain()
            return
        framing = b"content-length: %d\r\n" % len(body)
        if self._head_only:
            # Of a body that need not be made the application may know the length.
            declared = [value for name, value in headers if name == b"content-length"]
            if declared:
                framing = b"content-length: %b\r\n" % declared[0]
                headers = [field for field in headers if field[0] != b"content-length"]
            body = b""
        if not self._push(self._head(status, headers, framing) + body):
            await self._drain()

    async def start(self, status: int, headers: HeaderList) -> None:
        if self.gone:
            return
        self.started = True
        framing = b""
        if status in _NO_BODY:
            self._head_only = True
        elif not self._head_only and self._version == "1.1":
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        elif not self._head_only:
            # All that HTTP/1.0 knows: the body ends with the connection.
            self.keep_alive = False
        self._held = self._head(status, headers, framing)

    async def send(self, data: bytes) -> None:
        if self.gone or self.done or not data:
            return
        self.sent_at = trio.current_time()
        # At once, for each step would copy all of the data.
        if self._chunked:
            piece = b"%b%x\r\n%b\r\n" % (self._take_held(), len(data), data)
        else:
            piece = self._take_held() + self._frame(data)
        if not self._push(piece):
            await self._drain()

    async def end(self, data: bytes) -> None:
        if self.gone or self.done:
            return
        self.done = True
        piece = self._frame(data) if data else b""
        if self._chunked:
            piece += b"0\r\n\r\n"
        if not self._push(self._take_held() + piece):
            await self._drain()

    async def abort(self, data: bytes) -> None:
        self.keep_alive = False
        if self.gone:
            return
        piece = self._take_held()
        if data and not self.done:
            piece += self._frame(data)
        # One that was whole already but is still on its way arrives whole.
        self.done = True
        if not self._push(piece):
            await self._drain()

    def _frame(self, data: bytes) -> bytes:
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(data), data)
        return b"" if self._head_only else data

    def _take_held(self) -> bytes:
        held, self._held = self._held, b""
        return held

    def _head(self, status: int, headers: HeaderList, framing: bytes) -> bytes:
        connection = b""
        if self.upload is not None and not self.upload.complete:
            # Nobody is going to read the rest, so nothing can come after it.
            self.keep_alive = False
        if not self.keep_alive:
            connection = b"connection: close\r\n"
        elif self._version == "1.0":
            connection = b"connection: keep-alive\r\n"
        fields = b"".join([b"%b: %b\r\n" % field for field in headers])
        if fields.count(b"\n") != len(headers) or b"\0" in fields:
            fields = _without_controls(headers)
        return b"%b%b%b%bdate: %b\r\n\r\n" % (
            _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status,
            fields,
            framing,
            connection,
            self._date,
        )

    def _push(self, data: bytes) -> bool:
        """Send ``data``; return whether there is nothing to wait for."""
        return self._wire.push(data) or self.hurried

    async def _drain(self) -> None:
        try:
            await self._wire.drain()
        except trio.ClosedResourceError:
            self._client_left()


def _without_controls(headers: HeaderList) -> bytes:
    """Return the field lines, so that no value can begin a line of its own."""
    log.error("a header field was to be sent with control characters: %r", headers)
    return b"".join(
        b"%b: %b\r\n" % (name.translate(_NO_CONTROLS), value.translate(_NO_CONTROLS))
        for name, value in headers
    )
