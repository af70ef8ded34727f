"""The connections to one upstream: a pool of them, and requests over it.

A slot is the right to have one exchange under way. Whoever holds a slot takes the
connection that was used last, or makes one. Slots are a counter and connections a
stack, both changed without waiting in between, so a cancellation finds them right:
what holds a slot gives it back in one ``except`` or in ``Response.close``.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import trio

from gandalf.config import Timeouts
from gandalf.http.decoded_response import decoded
from gandalf.http.dial import Resolver, dial, origin_of, secure, tls_context
from gandalf.http.upstream_connection import Connection, NoAnswer
from gandalf.providers.base import Upload, UpstreamRequest, UpstreamResponse
from gandalf.providers.watch import UpstreamBroken, Watch


class Response:
    """An answer whose header section has arrived; holds a slot until it is closed."""

    __slots__ = ("_connection", "_pool", "headers", "status")

    def __init__(self, pool: Pool, connection: Connection) -> None:
        parser = connection.parser
        self._pool = pool
        self._connection: Connection | None = connection
        self.status = parser.status
        self.headers = parser.headers

    @property
    def complete(self) -> bool:
        """Whether all of it has been received."""
        connection = self._connection
        return (
            connection is not None
            and connection.parser.complete
            and not connection.parser.chunks
        )

    def receive(self) -> Coroutine[Any, Any, bytes]:
        """Return the body bytes that are there, waiting for some; b"" at the end.

        Raises:
            UpstreamBroken: The body broke off, or is not validly framed.
            trio.ClosedResourceError: The response is closed.
        """
        # No coroutine of its own, which thousands of streams would wait in.
        if self._connection is None:
            raise trio.ClosedResourceError
        return self._connection.receive()

    def rest(self) -> bytes | None:
        """Return the rest of the body if all of it has come; None: ``receive`` it."""
        connection = self._connection
        if connection is None or not connection.parser.complete:
            return None
        return connection.parser.take()

    def close(self) -> None:
        """Give the connection back if all was read, else close it. Idempotent."""
        connection = self._connection
        if connection is not None:
            self._connection = None
            self._pool._release(connection)


class Pool:
    """Sends requests to one base URL over kept-alive HTTP/1.1 connections.

    Args:
        base_url: Where to. The path is not looked at: a request's target is whole.
        max_connections: Exchanges under way at once; more wait, first come first
            served, and their waiting is the phase ``pool``.
        keepalive_expiry: Seconds a connection may be idle and still be used.
        tls: Whom to trust when the URL is ``https``. None: the system's authorities.
        clock: The time, in seconds; that of the watches.

    Raises:
        ValueError: ``base_url`` is not an ``http`` or ``https`` URL.
    """

    def __init__(
        self,
        base_url: str,
        *,
        max_connections: int = 1000,
        keepalive_expiry: float = 30.0,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self.origin = origin_of(base_url)
        self.max_connections = max_connections
        self.keepalive_expiry = keepalive_expiry
        self._tls = (tls or tls_context()) if self.origin.secure else None
        self._clock = clock
        self._resolver = Resolver(self.origin.host, self.origin.port, clock)
        self._host_field = b"host: %b\r\n" % self.origin.authority
        self._idle: deque[Connection] = deque()
        self._busy = 0
        self._connecting = 0
        self._queue = trio.lowlevel.ParkingLot()
        self._closed = False

    @property
    def open(self) -> int:
        """Connections that are idle, in use or being made."""
        return self._busy + self._connecting + len(self._idle)

    @property
    def idle(self) -> int:
        """Connections kept for a next request."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Requests that wait for one of ``max_connections``."""
        return len(self._queue)

    async def send(
        self,
        request: UpstreamRequest,
        timeouts: Timeouts,
        watch: Watch,
        *,
        decode: bool = True,
    ) -> UpstreamResponse:
        """Send ``request`` and wait for the response's header section.

        Args:
            request: What to send.
            timeouts: How long its phases may last.
            watch: Who keeps them.
            decode: Whether to decode a body that has a content coding.

        Raises:
            UpstreamBroken: No connection, or no valid answer.
            GatewayError: The rest of the request's body did not come.
        """
        body, limit = request.body, timeouts.response_headers
        if b"\n" in request.target or b"\r" in request.target:
            raise UpstreamBroken("the target holds a line break", sent=False)
        head = b"%b %b HTTP/1.1\r\n%b%b%b\r\n\r\n" % (
            request.method,
            request.target,
            self._host_field,
            request.headers,
            b"content-length: %d" % len(body)
            if request.upload is None
            else _framing(body, request.upload),
        )
        if self._busy < self.max_connections:
            self._busy += 1
        else:
            watch.phase("pool", timeouts.pool)
            with watch.guard():
                await self._queue.park()  # Whoever frees a slot hands it over.
        connection, now = None, 0.0
        try:
            # What is consumed could not be sent again, should an idle one turn out to
            # be closed.
            if request.upload is None and self._idle:
                now = self._clock()
                connection = self._take_idle(now)
            if connection is not None:
                _begin(connection, limit, watch, now)
                try:
                    await connection.request(head, body, watch, limit, again=True)
                except NoAnswer:
                    if watch.expired:
                        raise
                    # It was closed as we sent. Nothing came back, so the request goes
                    # out once more, where this cannot be the reason.
                    watch.resent_at = self._clock()
                    connection.close()
                    connection = None
            if connection is None:
                watch.phase("connect", timeouts.connect)
                with watch.guard():
                    connection = await self._connect()
                _begin(connection, limit, watch, trio.current_time())
                await connection.request(head, body, watch, limit, request.upload)
            response = Response(self, connection)
            coding = connection.parser.headers.get(b"content-encoding")
            if coding is not None and decode:
                return decoded(response, coding)
            return response
        except BaseException:
            if connection is not None:
                connection.close()
            self._free_slot()
            raise

    async def connect(self, limit: float) -> None:
        """Open a connection within ``limit`` seconds and keep it for a next request.

        Does nothing if there are ``max_connections`` already.

        Raises:
            UpstreamBroken: There is no connection.
        """
        if self.open >= self.max_connections:
            return
        self._connecting += 1
        connection: Connection | None = None
        try:
            with trio.move_on_after(limit):
                connection = await self._connect()
        finally:
            self._connecting -= 1
        if connection is None:
            raise UpstreamBroken("connect took too long", sent=False)
        if self._closed:
            connection.close()
            return
        connection.idle_since = self._clock()
        self._idle.append(connection)

    def close(self) -> None:
        """Close what is idle now and the rest when it becomes so. Idempotent.

        Requests are served still: one may be on its way here when the configuration
        that it was routed by is replaced.
        """
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def close_expired(self) -> None:
        """Close the connections that have been idle for too long."""
        idle = self._idle
        horizon = self._clock() - self.keepalive_expiry
        while idle and idle[0].idle_since <= horizon:
            idle.popleft().close()

    async def _connect(self) -> Connection:
        wire = await dial(self._resolver)
        if self._tls is None:
            return Connection(wire, None)
        return Connection(wire, await secure(wire, self._tls, self.origin.host))

    def _take_idle(self, now: float) -> Connection | None:
        idle = self._idle
        horizon = now - self.keepalive_expiry
        while idle:
            connection = idle.pop()
            if connection.idle_since > horizon and connection.quiet():
                return connection
            connection.close()
        return None

    def _release(self, connection: Connection) -> None:
        if connection.reusable and not self._closed:
            connection.idle_since = self._clock()
            idle = self._idle
            idle.append(connection)
            # The least used ones sink to the bottom, where no request finds them.
            if idle[0].idle_since <= connection.idle_since - self.keepalive_expiry:
                self.close_expired()
        else:
            connection.close()
        self._free_slot()

    def _free_slot(self) -> None:
        if self._queue:
            self._queue.unpark()
        else:
            self._busy -= 1


def _begin(
    connection: Connection, limit: float | None, watch: Watch, now: float
) -> None:
    """Let ``watch`` stop ``connection`` from here on."""
    if watch.expired:
        # Its time was over in the very turn that ended the wait for a connection: too
        # late to cancel that wait, and it is said only once.
        raise UpstreamBroken(f"{watch.name} took too long", sent=False)
    watch.stop = connection.close
    watch.phase("response_headers", limit, now)


def _framing(body: bytes, upload: Upload) -> bytes:
    """Return the field that tells where a body ends that begins with ``body``."""
    if upload.length is None:
        return b"transfer-encoding: chunked"
    return b"content-length: %d" % (len(body) + upload.length)
