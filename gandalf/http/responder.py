"""One exchange's answer, error or stream, as an HTTP response."""

from __future__ import annotations

import math

import trio

from gandalf.domain.errors import GatewayError, MethodNotAllowed
from gandalf.http.channel import Channel
from gandalf.pipeline.exchange import Exchange, Reply

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
STREAM_HEADERS = (
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)

# Of the fields lost in translation, as many are named as fit into a header.
MAX_NAMES = 50
MAX_NAMES_BYTES = 2000


class ExchangeResponder:
    """Sends what the pipeline replies; turns an error into the dialect's own shape."""

    __slots__ = ("_channel", "_exchange")

    def __init__(self, exchange: Exchange, channel: Channel) -> None:
        self._exchange = exchange
        self._channel = channel

    @property
    def started(self) -> bool:
        return self._channel.started

    async def begin(self, reply: Reply) -> None:
        if isinstance(reply.body, bytes):
            return
        await self._open_stream(reply.status, reply.content_type)
        exchange = self._exchange
        receive, send = reply.body.receive, self._channel.send
        while data := await receive():
            before = trio.current_time()
            await send(data)
            exchange.client_time += trio.current_time() - before

    async def finish(self, reply: Reply) -> None:
        if not isinstance(reply.body, bytes):
            await self._channel.end(reply.body.ending)
        elif self.started:
            # A keep-alive opened the stream before the answer was known to be short.
            await self._channel.end(reply.body)
        else:
            headers = [(b"content-type", reply.content_type), *self._headers()]
            await self._channel.whole(reply.status, headers, reply.body)

    async def fail(self, error: GatewayError) -> None:
        """Tell the client of ``error``: as a status if it can still be one."""
        if self.started:
            form = self._exchange.stream_format
            tell = self._exchange.dialect.stream_error if form is None else form.error
            await self._channel.abort(tell(error))
            return
        headers = [
            (b"content-type", b"application/json"),
            *self._headers(),
            *error_headers(error),
        ]
        body = self._exchange.dialect.error_body(error)
        await self._channel.whole(error.status, headers, body)

    async def keep_alive(self) -> None:
        """Say that we are still there; called after a while of silence on a stream.

        Opens the stream if dispatch is still waiting for its first content: the
        status is 200 from then on, and a failure becomes an error event.
        """
        dialect, form = self._exchange.dialect, self._exchange.stream_format
        sign_of_life = dialect.KEEP_ALIVE if form is None else form.keep_alive
        if sign_of_life and self._exchange.streaming:
            kind = dialect.STREAM_CONTENT_TYPE if form is None else form.content_type
            await self._open_stream(200, kind)
            await self._channel.send(sign_of_life)

    async def _open_stream(self, status: int, content_type: bytes) -> None:
        if not self.started:
            kind = (b"content-type", content_type)
            headers = [kind, *STREAM_HEADERS, *self._headers()]
            await self._channel.start(status, headers)

    def _headers(self) -> list[tuple[bytes, bytes]]:
        exchange = self._exchange
        request_id = exchange.request_id.encode()
        headers = [(b"x-request-id", request_id)]
        if own := exchange.dialect.ID_HEADER:
            headers.append((own, request_id))
        headers += _attempt_headers(exchange)
        if exchange.dropped or exchange.approximated:
            headers += _loss_headers(exchange)
        headers += exchange.reply_headers
        headers += SECURITY_HEADERS
        return headers


def _attempt_headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    sent = [a.target for a in exchange.attempts if a.decision != "skipped"]
    if not sent:
        return [(b"x-gandalf-attempts", b"0")]
    return [
        (b"x-gandalf-attempts", b"%d" % len(sent)),
        (b"x-gandalf-target", sent[-1].encode()),
    ]


def _loss_headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    headers = []
    if exchange.dropped:
        headers.append((b"x-gandalf-dropped", _names(exchange.dropped)))
    if exchange.approximated:
        headers.append((b"x-gandalf-approximated", _names(exchange.approximated)))
    return headers


def _names(fields: tuple[str, ...]) -> bytes:
    # They come from the client, who may have called them anything.
    shown = ", ".join(fields[:MAX_NAMES])
    return "".join(c if " " <= c <= "~" else "?" for c in shown).encode()[
        :MAX_NAMES_BYTES
    ]


def error_headers(error: GatewayError) -> list[tuple[bytes, bytes]]:
    """Return the header fields that ``error`` calls for beside its body."""
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after is not None and math.isfinite(error.retry_after):
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after))))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    return headers
