"""Where httpx and the upstream transport meet; the only module that imports httpx.

``PoolTransport`` puts an ``httpx.AsyncClient`` on the connections of a ``Pool``, for
all that is not hot. ``HttpxUpstream`` is the opposite: httpx's own connections for
the hot path, for who needs a proxy or HTTP/2 more than speed.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from typing import Any, cast

import httpx
import trio

from gandalf.config import Timeouts
from gandalf.domain.errors import Fault
from gandalf.http.decoded_response import decoded
from gandalf.http.dial import origin_of, tls_context
from gandalf.http.outbox import outbox
from gandalf.http.upstream import Pool
from gandalf.providers.base import (
    Headers,
    Upload,
    UpstreamRequest,
    UpstreamResponse,
)
from gandalf.providers.fields import parse, render
from gandalf.providers.watch import ScopedWatch, UpstreamBroken, Watch

# Seconds in which an abandoned response must have been closed. HTTP/2 tells the
# upstream with a frame, which a dead connection would not take.
ABANDON_WITHIN = 1.0

# What the pool writes itself, or what describes a connection that is not httpx's.
_TIMEOUTS = {"pool": httpx.PoolTimeout, "connect": httpx.ConnectTimeout}
_FRAMING = {b"host", b"content-length", b"transfer-encoding", b"connection"}


class PoolTransport(httpx.AsyncBaseTransport):
    """Lets an ``httpx.AsyncClient`` send over ``pool``, and nowhere else.

    A request for another origin is refused, so a redirect that somebody follows can
    never carry credentials away. The client's ``pool`` and ``write`` time limits are
    parts of ``connect`` and ``read`` here.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if origin_of(str(request.url)) != self._pool.origin:
            raise httpx.UnsupportedProtocol("not the origin of this client")
        await request.aread()
        limits: dict[str, float | None] = request.extensions.get("timeout", {})
        read = limits.get("read")
        response = await self._send(
            request, Timeouts(connect=limits.get("connect"), response_headers=read)
        )
        return httpx.Response(
            response.status,
            headers=list(response.headers.items()),
            stream=_PoolStream(response, read),
        )

    async def aclose(self) -> None:
        """Leave the pool as it is: others use it too."""

    async def _send(
        self, request: httpx.Request, timeouts: Timeouts
    ) -> UpstreamResponse:
        response: UpstreamResponse | None = None
        with trio.CancelScope() as scope:
            watch = ScopedWatch(scope)
            try:
                response = await self._pool.send(
                    _as_sent(request), timeouts, watch, decode=False
                )
            except UpstreamBroken as error:
                failure = (
                    httpx.RemoteProtocolError if error.sent else httpx.ConnectError
                )
                raise failure(str(error)) from error
        if response is None:
            late = _TIMEOUTS.get(watch.name, httpx.ReadTimeout)
            raise late(f"{watch.name} took over {watch.limit:g}s")
        return response


def _as_sent(request: httpx.Request) -> UpstreamRequest:
    fields = [f for f in request.headers.raw if f[0].lower() not in _FRAMING]
    return UpstreamRequest(
        request.method.encode(), request.url.raw_path, render(fields), request.content
    )


class _PoolStream(httpx.AsyncByteStream):
    """A response's body; no generator, which would need care if not read to its end."""

    def __init__(self, response: UpstreamResponse, limit: float | None) -> None:
        self._response = response
        self._limit = math.inf if limit is None else limit

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            with trio.fail_after(self._limit):
                data = await self._response.receive()
        except trio.TooSlowError:
            raise httpx.ReadTimeout(f"nothing for {self._limit:g}s") from None
        except UpstreamBroken as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        self._response.close()


class HttpxUpstream:
    """Sends with httpx's own transport: proxies from the environment, HTTP/2.

    Of an upload it sends all before it looks for an answer.

    Args:
        base_url: Where to; only its origin is used, a request's target is whole.
        max_connections: As many are also kept alive: httpcore compares the number of
            those to keep with that of all connections, and would keep none.
        keepalive_expiry: Seconds a connection may be idle and still be used.
        transport: In place of the network, for tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        max_connections: int = 1000,
        keepalive_expiry: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        origin = origin_of(base_url)
        scheme = "https" if origin.secure else "http"
        self._base = httpx.URL(f"{scheme}://{origin.authority.decode()}")
        self._client = httpx.AsyncClient(
            verify=tls_context() if origin.secure else False,
            http2=True,
            limits=httpx.Limits(
                max_connections=max_connections,
                max_keepalive_connections=max_connections,
                keepalive_expiry=keepalive_expiry,
            ),
            timeout=None,  # noqa: S113  # the watch keeps the time, by phase
            follow_redirects=False,
            trust_env=True,
            transport=transport,
        )
        self._in_flight = 0
        self._closed = False

    async def send(
        self, request: UpstreamRequest, timeouts: Timeouts, watch: Watch
    ) -> UpstreamResponse:
        """Send ``request`` and wait for the response's header section.

        Raises:
            UpstreamBroken: No connection, or it broke before the header section.
        """
        sent = False

        async def trace(event: str, info: dict[str, Any]) -> None:
            nonlocal sent
            if not event.endswith("send_request_headers.started"):
                return
            if info["request"].method != b"CONNECT":  # That one is for the proxy.
                sent = True
                watch.phase("response_headers", timeouts.response_headers)

        self._in_flight += 1
        # httpx may send at once, and the line of the request comes before that.
        outbox().prepare()
        watch.phase("connect", timeouts.connect)
        try:
            with watch.guard():
                response = await self._client.send(
                    httpx.Request(
                        request.method.decode(),
                        self._base.copy_with(raw_path=request.target),
                        headers=_headers(request),
                        content=_content(request, timeouts, watch),
                        extensions={"trace": trace},
                    ),
                    stream=True,
                )
        except BaseException as error:
            self._let_go()
            if isinstance(error, httpx.HTTPError):
                raise _broken(error, sent=sent) from None
            raise
        answer = HttpxResponse(response, watch, self._let_go)
        coding = answer.headers.get(b"content-encoding")
        return answer if coding is None else decoded(answer, coding)

    def close(self) -> None:
        """Close all connections as soon as none is in use. Synchronous, idempotent."""
        if not self._closed:
            self._closed = True
            self._close_if_unused()

    def _let_go(self) -> None:
        self._in_flight -= 1
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._closed and not self._in_flight:
            trio.lowlevel.spawn_system_task(_close_client, self._client)


class HttpxResponse:
    """An answer that httpx is receiving."""

    __slots__ = (
        "_chunks",
        "_closed",
        "_given_up",
        "_let_go",
        "_response",
        "_watch",
        "complete",
        "headers",
        "status",
    )

    def __init__(
        self, response: httpx.Response, watch: Watch, let_go: Callable[[], None]
    ) -> None:
        self._response = response
        self._watch = watch
        self._let_go = let_go
        # An async generator, though declared as less: see _abandon.
        self._chunks = cast("AsyncGenerator[bytes]", response.aiter_raw())
        self._closed = False
        self._given_up = False
        self.complete = False
        """Whether all of it is known to have been received."""
        self.status = response.status_code
        self.headers: Headers = {}
        for name, value in response.headers.raw:
            name = name.lower()
            known = self.headers.get(name)
            self.headers[name] = value if known is None else b"%b, %b" % (known, value)
        if response.http_version == "HTTP/2":
            # Its frames tell where a body ends, as well as chunks do.
            self.headers.setdefault(b"transfer-encoding", b"chunked")

    async def receive(self) -> bytes:
        """Return the body bytes that are there, waiting for some; b"" at the end.

        Raises:
            UpstreamBroken: The body broke off, or is not validly framed.
            trio.ClosedResourceError: The response is closed.
        """
        if self._closed:
            raise trio.ClosedResourceError
        if self._given_up:
            raise UpstreamBroken("an earlier read of the body failed", sent=True)
        try:
            with self._watch.guard():
                async for data in self._chunks:
                    if data:
                        return data
                self.complete = True
        except BaseException as error:
            self._given_up = True  # From now on httpx would say that the body is over.
            if isinstance(error, httpx.HTTPError):
                raise _broken(error, sent=True) from None
            raise
        return b""

    def rest(self) -> bytes | None:
        """Return None: httpx does not tell what it has."""
        return None

    def close(self) -> None:
        """Let go of the response. Synchronous, idempotent."""
        if self._closed:
            return
        self._closed = True
        if not self._response.is_closed:
            trio.lowlevel.spawn_system_task(_abandon, self._response, self._chunks)
        self._let_go()


def _headers(request: UpstreamRequest) -> list[tuple[bytes, bytes]]:
    upload = request.upload
    if upload is None or upload.length is None:
        return parse(request.headers)  # httpx adds what tells where the body ends.
    length = len(request.body) + upload.length
    return [*parse(request.headers), (b"content-length", b"%d" % length)]


def _content(
    request: UpstreamRequest, timeouts: Timeouts, watch: Watch
) -> bytes | AsyncIterator[bytes]:
    if request.upload is None:
        return request.body
    return _passed_on(request.body, request.upload, timeouts, watch)


async def _passed_on(
    body: bytes, upload: Upload, timeouts: Timeouts, watch: Watch
) -> AsyncIterator[bytes]:
    piece = body
    while True:
        if piece:
            watch.phase("response_headers", timeouts.response_headers)
            yield piece
        # It is the client who takes its time now, and who has limits of its own.
        watch.phase("client", None)
        piece = await upload.receive()
        if not piece:
            break
    watch.phase("response_headers", timeouts.response_headers)


def _broken(error: httpx.HTTPError, *, sent: bool) -> UpstreamBroken:
    # The kind only: httpx's texts may hold the URL, and a proxy's its password.
    fault = Fault.GATEWAY if isinstance(error, httpx.PoolTimeout) else Fault.TARGET
    return UpstreamBroken(f"httpx: {type(error).__name__}", sent=sent, fault=fault)


async def _abandon(response: httpx.Response, chunks: AsyncGenerator[bytes]) -> None:
    """Close a response that was not read to its end."""
    # httpx reads through generators in generators. Closing the outermost leaves the
    # inner ones to the garbage collector; a cancelled read unwinds them all.
    with trio.CancelScope() as cancelled:
        cancelled.cancel()
        with suppress(httpx.HTTPError):
            async for _ in chunks:
                pass
    with trio.move_on_after(ABANDON_WITHIN):
        with suppress(httpx.HTTPError):
            await response.aclose()


async def _close_client(client: httpx.AsyncClient) -> None:
    with trio.move_on_after(ABANDON_WITHIN):
        await client.aclose()
