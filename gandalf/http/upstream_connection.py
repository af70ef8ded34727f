"""HTTP/1.1 on one connection to an upstream: a request, its response, the next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NoReturn

import trio

from gandalf.domain.errors import GatewayError
from gandalf.http.lone_cancelled import lone_cancelled
from gandalf.http.poller import READ_SIZE, Buffer
from gandalf.http.response_parser import ResponseParser
from gandalf.http.wire import Wire
from gandalf.providers.base import Upload
from gandalf.providers.watch import UpstreamBroken, Watch

# A request up to this size is handed over in one go before the answer is looked for.
# A socket's buffers take that much over TLS, where it cannot be asked what they take,
# even if the upstream reads nothing; without TLS, more is only tried.
SENT_AT_ONCE = 64 * 1024
SENT_AT_ONCE_TLS = 16 * 1024

# Larger ones go in pieces of this size; each that is taken renews the time limit.
PIECE = 64 * 1024


# How a read can fail.
_FAILURES = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


def _nothing() -> None:
    """Stops nothing."""


class NoAnswer(UpstreamBroken):
    """The connection ended without a single byte of an answer."""


class Connection:
    """Carries one exchange at a time. Whoever holds it may use it, nobody else.

    Args:
        wire: The TCP connection.
        tls: The TLS connection over it, if there is one.
    """

    __slots__ = (
        "_read",
        "_request_sent",
        "_stream",
        "_tls",
        "_wire",
        "idle_since",
        "parser",
    )

    def __init__(self, wire: Wire, tls: trio.SSLStream[Wire] | None) -> None:
        self._wire = wire
        self._tls = tls
        self._stream = wire if tls is None else tls
        self._read: Callable[[], Coroutine[Any, Any, Buffer]] = (
            wire.receive if tls is None else partial(tls.receive_some, READ_SIZE)
        )
        self._request_sent = True
        self.parser = ResponseParser()
        self.idle_since = 0.0

    def request(
        self,
        head: bytes,
        body: bytes,
        watch: Watch,
        limit: float | None,
        upload: Upload | None = None,
        *,
        again: bool = False,
    ) -> Coroutine[Any, Any, None]:
        """Send a request and read up to the end of the response's header section.

        What is returned is to be awaited.

        Args:
            head: The request line and the header section.
            body: The body, or its beginning.
            watch: Gets the phase ``response_headers`` again as the upload goes on.
            limit: How long that phase may last.
            upload: The rest of the body.
            again: Whether the connection was idle: what comes on it before the request
                has left answers something else.

        Raises:
            UpstreamBroken: There is no valid response.
            NoAnswer: There is nothing at all, or not for this request.
            GatewayError: The rest of the body did not come.
        """
        self.parser.begin(head_request=head.startswith(b"HEAD "))
        self._wire.unasked = again
        if upload is not None:
            return self._pass_on(head, body, upload, watch, limit)
        if self._tls is None and len(body) <= SENT_AT_ONCE:
            self._wire.send_soon(head + body)
            return self._answer()
        if len(body) <= SENT_AT_ONCE_TLS:
            return self._send_and_answer(head + body)
        return self._upload((head, body), watch, limit)

    async def receive(self) -> bytes:
        """Return the body bytes that are there, waiting for some; b"" at the end.

        Raises:
            UpstreamBroken: The body broke off, or is not validly framed.
        """
        parser = self.parser
        while not parser.chunks:
            if parser.complete:
                return b""
            try:
                data = await self._read()
            except _FAILURES:
                self._fail()
            if not data and parser.silent:
                self._fail()
            parser.feed(data)
        return parser.take()

    async def _answer(self) -> None:
        """Read up to the end of the response's header section."""
        parser, wire = self.parser, self._wire
        while not parser.status:
            try:
                data = await self._read()
            except _FAILURES:
                self._fail()
            if (not data and parser.silent) or wire.unasked:
                self._fail()
            parser.feed(data)

    def _fail(self) -> NoReturn:
        """Tell that the connection has ended, or failed."""
        if self.parser.silent:
            raise NoAnswer(
                "the upstream closed the connection unanswered", sent=True
            ) from None
        raise UpstreamBroken(
            "the connection broke during the answer", sent=True
        ) from None

    @property
    def reusable(self) -> bool:
        """Whether the exchange left the connection fit for another one."""
        parser = self.parser
        return (
            parser.complete
            and parser.reusable
            and self._request_sent
            and self._wire.sent
            and self._wire.sending
        )

    def quiet(self) -> bool:
        """Whether nothing has come while the connection was idle: it is still good.

        As far as anybody has been told by the last turn; ``request`` looks closer.
        """
        # trio does not show what TLS has received and not yet decrypted, but such
        # bytes would become the beginning of the next response.
        if self._tls is not None and self._tls._incoming.pending:
            return False
        return not self._wire.readable or self._wire.quiet()

    def close(self) -> None:
        """Close at once, without TLS's farewell. Synchronous, idempotent."""
        self._wire.close()

    async def _upload(
        self, parts: Sequence[bytes | memoryview], watch: Watch, limit: float | None
    ) -> None:
        """Send ``parts`` while reading the answer, which may come before their end.

        Otherwise an upstream that has refused the request and reads no more of it
        would wait for us to read, and we for it. What it did not take is dropped,
        unless its answer is a good one: then it is reading still.
        """
        self._request_sent = False
        await self._answer_during(partial(self._send_pieces, parts, watch, limit))

    async def _pass_on(
        self,
        head: bytes,
        body: bytes,
        upload: Upload,
        watch: Watch,
        limit: float | None,
    ) -> None:
        """Do as ``_upload`` does, with a body whose rest is still to come."""
        self._request_sent = False
        frame = _as_it_is if upload.length is not None else _chunk
        sending = _Sending(self, upload, watch, limit, frame)
        await self._send(head + (frame(body) if body else b""))
        try:
            await self._answer_during(sending.run, sending.stop)
        finally:
            if sending.error is not None:
                raise sending.error

    async def _send_and_answer(self, data: bytes) -> None:
        await self._send(data)
        await self._answer()

    async def _answer_during(
        self,
        send: Callable[[], Awaitable[None]],
        stop: Callable[[], object] = _nothing,
    ) -> None:
        broken: UpstreamBroken | None = None
        with lone_cancelled():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                try:
                    await self._answer()
                except UpstreamBroken as error:
                    broken = error
                refused = broken is not None or self.parser.status >= 300
                if refused and not self._request_sent:
                    self._wire.stop_sending()
                    stop()
        if broken is not None:
            raise broken

    async def _send_pieces(
        self, parts: Sequence[bytes | memoryview], watch: Watch, limit: float | None
    ) -> None:
        for part in parts:
            with memoryview(part) as whole:
                for start in range(0, len(whole), PIECE):
                    await self._send(whole[start : start + PIECE])
                    if not self._wire.sending:
                        return
                    watch.phase("response_headers", limit)
        self._request_sent = True

    async def _send(self, data: bytes | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            # TLS is at odds with the other side; reading finds out, as after any
            # other failure to send.
            self._wire.stop_sending()


class _Sending:
    """Passes an upload on, until it ends or the upstream wants no more of it."""

    def __init__(
        self,
        connection: Connection,
        upload: Upload,
        watch: Watch,
        limit: float | None,
        frame: Callable[[bytes], bytes],
    ) -> None:
        self._connection = connection
        self._upload = upload
        self._watch = watch
        self._limit = limit
        self._frame = frame
        self._scope = trio.CancelScope()
        self.error: GatewayError | None = None
        """Why the rest of the upload did not come."""

    async def run(self) -> None:
        """Send it all, but for an error that is noted."""
        try:
            with self._scope:
                await self._run()
        except GatewayError as error:
            self.error = error
            # Nobody knows what the upstream would make of half a request.
            self._connection.close()

    def stop(self) -> None:
        """Wait no longer for more of it."""
        self._scope.cancel()

    async def _run(self) -> None:
        connection, watch = self._connection, self._watch
        while True:
            # It is the client who takes its time now, and who has limits of its own.
            watch.phase("client", None)
            piece = await self._upload.receive()
            watch.phase("response_headers", self._limit)
            data = self._frame(piece)
            if data:
                await connection._send(data)
            if not connection._wire.sending:
                return
            if not piece:
                break
        connection._request_sent = True


def _as_it_is(piece: bytes) -> bytes:
    return piece


def _chunk(piece: bytes) -> bytes:
    """Return ``piece`` as a chunk; an empty one ends the body."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)
