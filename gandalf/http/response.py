"""One answer on an HTTP/1.1 connection: its header section and its framing."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

import trio

from gandalf.http.client_wire import ClientWire
from gandalf.http.parser import Request

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode())
    for status in HTTPStatus
}
# Answers that end with their header section, whatever it says (RFC 9112, 6.3).
_NO_BODY = frozenset({204, 304})
_LENGTH = re.compile(rb"^content-length: [^\r]*\r\n", re.MULTILINE)


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

    async def whole(self, status: int, fields: bytes, body: bytes) -> None:
        if self.gone:
            return
        self.started = self.done = True
        if status in _NO_BODY:
            data = self._head(status, fields, b"")
        elif self._head_only:
            # Of a body that need not be made the application may know the length.
            declared = _LENGTH.search(fields)
            framing = declared[0] if declared else b"content-length: %d\r\n" % len(body)
            data = self._head(status, _LENGTH.sub(b"", fields), framing)
        else:
            # As ``_head`` does it, at once with the body.
            data = b"%b%bcontent-length: %d\r\n%bdate: %b\r\n\r\n%b" % (
                _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status,
                fields,
                len(body),
                self._connection(),
                self._date,
                body,
            )
        if not self._push(data):
            await self._drain()

    async def start(self, status: int, fields: bytes) -> None:
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
        self._held = self._head(status, fields, framing)

    async def send(self, data: bytes) -> None:
        if self.gone or self.done or not data:
            return
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
        held = self._take_held()
        if self._chunked and data:
            piece = b"%b%x\r\n%b\r\n0\r\n\r\n" % (held, len(data), data)
        elif self._chunked:
            piece = held + b"0\r\n\r\n"
        else:
            piece = held + self._frame(data)
        if not self._push(piece):
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

    def _head(self, status: int, fields: bytes, framing: bytes) -> bytes:
        return b"%b%b%b%bdate: %b\r\n\r\n" % (
            _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status,
            fields,
            framing,
            self._connection(),
            self._date,
        )

    def _connection(self) -> bytes:
        """Return the line that says what becomes of the connection, if one must."""
        if self.upload is not None and not self.upload.complete:
            # Nobody is going to read the rest, so nothing can come after it.
            self.keep_alive = False
        if not self.keep_alive:
            return b"connection: close\r\n"
        return b"connection: keep-alive\r\n" if self._version == "1.0" else b""

    def _push(self, data: bytes) -> bool:
        """Send ``data``; return whether there is nothing to wait for."""
        return self._wire.push(data) or self.hurried

    async def _drain(self) -> None:
        try:
            await self._wire.drain()
        except trio.ClosedResourceError:
            self._client_left()
