"""A client's request body, passed on while it arrives.

Whoever reads it reads from the client: what is not asked for stays in the system's
buffers, which holds the client back. At any time no more of it is in memory than one
read took in.
"""

from __future__ import annotations

import math

import trio

from gandalf.domain.errors import GatewayError
from gandalf.http.client_wire import ClientWire
from gandalf.http.parser import Incoming, RequestParser
from gandalf.http.response import CONTINUE


class BodyBrokeOff(GatewayError):
    """The client ended in the middle of the body. It can hardly read of it."""

    status = 400
    code = "body_broke_off"

    def __init__(self) -> None:
        super().__init__("the request body broke off")


class ClientUpload:
    """The ``Upload`` of an exchange at the edge."""

    __slots__ = ("_error", "_incoming", "_parser", "_wire", "length", "waiting_since")

    def __init__(
        self, wire: ClientWire, parser: RequestParser, incoming: Incoming
    ) -> None:
        self._wire = wire
        self._parser = parser
        self._incoming = incoming
        self._error: GatewayError | None = None
        self.length = incoming.length
        self.waiting_since = math.inf
        """Since when the client has been waited for. inf: it is not."""

    @property
    def complete(self) -> bool:
        """Whether all of it has arrived, so that another request may follow."""
        return self._incoming.complete

    async def receive(self) -> bytes:
        """Return the bytes that are there, waiting for some; b"" at the end.

        Raises:
            GatewayError: The client sent it too slowly, too much of it, or not well
                framed; or it has left.
        """
        incoming = self._incoming
        while not incoming.pieces:
            if incoming.complete:
                return b""
            self._error = self._error or incoming.fault
            if self._error is not None:
                raise self._error
            await self._read()
        data = b"".join(incoming.pieces)
        incoming.pieces.clear()
        return data

    def fail(self, error: GatewayError) -> None:
        """Have ``receive`` raise ``error``, at once if somebody waits in there."""
        if self._error is None:
            self._error = error
            self._wire.interrupt()

    def close(self) -> GatewayError | None:
        """Hand out no more, for the exchange is over; return what was wrong with it.

        If it is complete nonetheless, that is wrong with what comes after it.
        """
        fault = self._error
        self._error = fault or BodyBrokeOff()
        self._incoming.pieces.clear()
        return fault

    async def _read(self) -> None:
        parser, wire = self._parser, self._wire
        if parser.expecting:
            parser.expecting = False
            wire.push(CONTINUE)
        self.waiting_since = trio.current_time()
        try:
            data = await wire.receive()
        except (OSError, trio.ClosedResourceError):
            self._error = self._error or BodyBrokeOff()
            return
        finally:
            self.waiting_since = math.inf
        if not data:
            self._error = BodyBrokeOff()
            return
        try:
            parser.feed(data)
        except GatewayError as error:
            self._error = error
