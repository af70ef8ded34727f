"""One exchange's answer, error or stream, as an HTTP response."""

from __future__ import annotations

import math
from collections.abc import Awaitable
from functools import lru_cache

import trio

from gandalf.domain.errors import (
    GatewayError,
    MethodNotAllowed,
    UnsupportedEncoding,
    UpgradeRequired,
)
from gandalf.domain.usage import Attempt
from gandalf.http.channel import Channel, field_lines
from gandalf.pipeline.exchange import Exchange, Reply

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
STREAM_HEADERS = (
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)

_SECURITY = field_lines(SECURITY_HEADERS)
_STREAM = field_lines(STREAM_HEADERS)
_NOBODY_ASKED = b"x-gandalf-attempts: 0\r\n"

# Lines remembered of each kind: for targets and content types that are in use.
MAX_KNOWN = 200

# Of the fields lost in translation, as many are named as fit into a header.
MAX_NAMES = 50
MAX_NAMES_BYTES = 2000


class ExchangeResponder:
    """Sends what the pipeline replies; turns an error into the dialect's own shape."""

    __slots__ = ("_channel", "_exchange", "sent_at")

    def __init__(self, exchange: Exchange, channel: Channel) -> None:
        self._exchange = exchange
        self._channel = channel
        self.sent_at = 0.0
        """``trio.current_time()`` when a stream's last piece so far was to be sent."""

    @property
    def started(self) -> bool:
        return self._channel.started

    async def begin(self, reply: Reply) -> None:
        if isinstance(reply.body, bytes):
            return
        await self._open_stream(reply.status, reply.content_type)
        exchange = self._exchange
        receive, send = reply.body.receive, self._channel.send
        clock = trio.lowlevel.current_clock().current_time
        while data := await receive():
            self.sent_at = before = clock()
            await send(data)
            exchange.client_time += clock() - before

    def finish(self, reply: Reply) -> Awaitable[None]:
        channel = self._channel
        if not isinstance(reply.body, bytes):
            return channel.end(reply.body.ending)
        if channel.started:
            # A keep-alive opened the stream before the answer was known to be short.
            return channel.end(reply.body)
        fields = _content_type(reply.content_type) + self._fields()
        return channel.whole(reply.status, fields, reply.body)

    async def fail(self, error: GatewayError) -> None:
        """Tell the client of ``error``: as a status if it can still be one."""
        error.request_id = self._exchange.request_id
        if self.started:
            form = self._exchange.stream_format
            tell = self._exchange.dialect.stream_error if form is None else form.error
            await self._channel.abort(tell(error))
            return
        fields = b"%b%b%b" % (
            _content_type(b"application/json"),
            field_lines(error_headers(error)),
            self._fields(),
        )
        body = self._exchange.dialect.error_body(error)
        await self._channel.whole(error.status, fields, body)

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
            self.sent_at = trio.current_time()
            await self._channel.send(sign_of_life)

    async def _open_stream(self, status: int, content_type: bytes) -> None:
        if not self.started:
            fields = _content_type(content_type) + _STREAM + self._fields()
            self._exchange.reply_lines = b""  # Told; a stream may be open for long.
            await self._channel.start(status, fields)

    def _fields(self) -> bytes:
        """Return the lines that every answer has beside those of its body."""
        exchange = self._exchange
        request_id = exchange.request_id.encode()
        fields = b"x-request-id: %b\r\n%b%b%b" % (
            request_id,
            _asked(exchange.attempts),
            exchange.reply_lines,
            _SECURITY,
        )
        if own := exchange.dialect.ID_HEADER:
            fields += b"%b: %b\r\n" % (own, request_id)
        if exchange.reply_headers:
            fields += field_lines(exchange.reply_headers)
        if exchange.dropped or exchange.approximated:
            fields += field_lines(_loss_headers(exchange))
        return fields


def _asked(attempts: list[Attempt]) -> bytes:
    times, target = 0, ""
    for attempt in attempts:
        if attempt.decision != "skipped":
            times += 1
            target = attempt.target
    return _asked_lines(times, target) if times else _NOBODY_ASKED


# What is asked for again and again, so that it is made and looked through but once.


@lru_cache(maxsize=MAX_KNOWN)
def _asked_lines(times: int, target: str) -> bytes:
    headers = [
        (b"x-gandalf-attempts", b"%d" % times),
        (b"x-gandalf-target", target.encode()),
    ]
    return field_lines(headers)


@lru_cache(maxsize=MAX_KNOWN)
def _content_type(value: bytes) -> bytes:
    return field_lines([(b"content-type", value)])


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
    if error.should_retry is False:
        headers.append((b"x-should-retry", b"false"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    if isinstance(error, UnsupportedEncoding):
        headers.append((b"accept-encoding", error.accepted.encode()))
    if isinstance(error, UpgradeRequired):
        headers.append((b"upgrade", b"HTTP/1.1"))  # RFC 9110, section 15.5.22
    return headers
