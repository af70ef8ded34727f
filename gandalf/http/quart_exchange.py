"""An exchange behind Quart: under any ASGI server, and under Quart's own test client.

The exchange runs *around* the sending of its answer, at the ASGI level: a Quart body
generator that is cancelled before its first chunk never runs its ``finally``, and
what it should have settled is lost.
"""

from __future__ import annotations

from typing import Any

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope
from quart import Request, Response
from quart.asgi import ASGIHTTPConnection
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from werkzeug.exceptions import RequestEntityTooLarge

from gandalf.domain.errors import PayloadTooLarge, RequestTimeout
from gandalf.http.channel import fields_of
from gandalf.http.gateway import Gateway
from gandalf.http.outbox import outbox
from gandalf.http.responder import ExchangeResponder
from gandalf.pipeline.exchange import Exchange


class ExchangeResponse(Response):
    """What a view returns to have its exchange run and answered."""

    def __init__(self, gateway: Gateway, exchange: Exchange, interval: float) -> None:
        super().__init__()
        self.timeout = None
        self.gateway = gateway
        self.exchange = exchange
        self.keep_alive_interval = interval


class ExchangeConnection(TrioASGIHTTPConnection):
    """One ASGI request; tells an exchange that its client left, instead of killing it.

    So that a provider that bills the rest anyway may be read to the end.
    """

    def __init__(self, app: QuartTrio, scope: HTTPScope) -> None:
        super().__init__(app, scope)
        self._exchange: Exchange | None = None

    async def handle_messages(  # type: ignore[override] # as quart-trio's own
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        await ASGIHTTPConnection.handle_messages(self, request, receive)
        if self._exchange is not None:
            self._exchange.hang_up()
        else:
            nursery.cancel_scope.cancel()

    async def _send_response(self, send: ASGISendCallable, response: Any) -> None:  # noqa: ANN401 - Quart's signature
        if not isinstance(response, ExchangeResponse):
            await super()._send_response(send, response)
            return
        self._exchange = exchange = response.exchange
        channel = AsgiChannel(exchange, send)
        responder = ExchangeResponder(exchange, channel)
        async with trio.open_nursery() as nursery:
            interval = response.keep_alive_interval
            nursery.start_soon(_keep_alive, channel, responder, interval)
            with exchange.scope:
                await response.gateway.answer(exchange, responder)
            await response.gateway.apologize(exchange, responder)
            nursery.cancel_scope.cancel()


class QuartUpload:
    """The ``Upload`` of an exchange behind Quart.

    Quart takes what the server gives it; that it is not more than a while's worth is
    for the server's own flow control to see to.
    """

    def __init__(self, request: Request, limit: int, timeout: float) -> None:
        self._pieces = aiter(request.body)
        self._limit = limit
        self._timeout = timeout
        self._size = 0
        self.length = request.content_length

    async def receive(self) -> bytes:
        """Return the bytes that are there, waiting for some; b"" at the end.

        Raises:
            PayloadTooLarge: They are more than may be.
            RequestTimeout: There were none for too long.
        """
        try:
            with trio.fail_after(self._timeout):
                data = await anext(self._pieces)
        except trio.TooSlowError:
            raise RequestTimeout("the request body took too long") from None
        except StopAsyncIteration:
            return b""
        except RequestEntityTooLarge:
            raise self._too_large() from None
        self._size += len(data)
        if self._size > self._limit:
            raise self._too_large()
        return bytes(data)

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"the request body is larger than {self._limit} bytes")


class AsgiChannel:
    """A response through an ASGI server's ``send``."""

    def __init__(self, exchange: Exchange, send: ASGISendCallable) -> None:
        self._exchange = exchange
        self._send = send
        self.started = False
        self.busy = False
        """Whether a send is under way; another must not be begun beside it."""
        self.silent_since = trio.current_time()

    async def whole(self, status: int, fields: bytes, body: bytes) -> None:
        length = (b"content-length", b"%d" % len(body))
        await self._start(status, [*fields_of(fields), length])
        await self._body(body, more=False)

    async def start(self, status: int, fields: bytes) -> None:
        await self._start(status, fields_of(fields))

    async def send(self, data: bytes) -> None:
        await self._body(data, more=True)

    async def end(self, data: bytes) -> None:
        await self._body(data, more=False)

    async def abort(self, data: bytes) -> None:
        # A body that is never completed: the server must close the connection.
        await self._body(data, more=True)

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.started = True
        await self._event(
            {"type": "http.response.start", "status": status, "headers": headers}
        )

    async def _body(self, data: bytes, *, more: bool) -> None:
        if not more:
            # Whatever the server sends with: the record comes before the last byte.
            outbox().flush()
        await self._event(
            {"type": "http.response.body", "body": data, "more_body": more}
        )

    async def _event(self, event: Any) -> None:  # noqa: ANN401 - one of ASGI's dicts
        if self._exchange.client_left:
            return
        self.busy = True
        try:
            await self._send(event)
        finally:
            self.busy = False
        self.silent_since = trio.current_time()


async def _keep_alive(
    channel: AsgiChannel, responder: ExchangeResponder, interval: float
) -> None:
    while True:
        await trio.sleep_until(channel.silent_since + interval)
        if trio.current_time() < channel.silent_since + interval:
            continue
        if channel.busy:
            await trio.sleep(interval)
        else:
            await responder.keep_alive()
            channel.silent_since = trio.current_time()
