"""HTTP/1.1 with one client: one task, and none for a request.

It reads until a request is complete, answers, and reads on. While it answers, nobody
reads, which holds the client back; that the client leaves is noticed all the same, for
the system tells (``gandalf.http.poller``), and the answer under way is then stopped.

Nothing here waits with a time limit of its own. The sweeper, one task for all
connections, calls ``sweep`` every ``SWEEP_INTERVAL``: it closes what is idle, refuses
what arrives too slowly, lets go of clients that do not take their answers, and speaks
up on streams that are silent. So the way of a request costs no timers.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import trio

from gandalf.config import Server
from gandalf.dialects.base import Dialect
from gandalf.domain.errors import GatewayError, RequestTimeout, ShuttingDown
from gandalf.http import endpoints
from gandalf.http.channel import field_lines
from gandalf.http.client_upload import BodyBrokeOff, ClientUpload
from gandalf.http.client_wire import ClientWire, nobody
from gandalf.http.edge_asgi import ASGI, Address, Cycle, scope_of
from gandalf.http.gateway import Gateway, request_id
from gandalf.http.page import OnRefused, not_reported, refused
from gandalf.http.parser import BodyBudget, Phase, Request, RequestParser
from gandalf.http.poller import Buffer
from gandalf.http.refused_paths import is_anothers
from gandalf.http.responder import (
    SECURITY_HEADERS,
    ExchangeResponder,
    error_headers,
)
from gandalf.http.response import CONTINUE, Response
from gandalf.http.spoken import spoken_at
from gandalf.pipeline.exchange import Exchange
from gandalf.providers.base import Headers

log = logging.getLogger("gandalf.http")

# How late a time limit can be noticed; all of them are seconds.
SWEEP_INTERVAL = 0.5
# How long a client gets to read our last bytes and close its side, before we do.
LINGER = 2.0


def _clock() -> Callable[[], float]:
    return trio.lowlevel.current_clock().current_time


@dataclass(slots=True)
class Counters:
    """What happened at the edge so far. Read by whoever shows it."""

    open_connections: int = 0
    accepted: int = 0
    refused_connections: int = 0
    """Turned away because ``max_connections`` were open."""
    accept_failures: int = 0
    """Times that the system had no more files or buffers to give."""
    bad_requests: int = 0
    """What was refused before it was a request: malformed, too large, too slow."""
    stalled: int = 0
    """Clients let go because they did not take their answer."""
    crashes: int = 0
    """Connections and pages that ended in a bug of ours."""


@dataclass(slots=True, kw_only=True, eq=False)
class Service:
    """What all connections of a server share."""

    app: ASGI
    gateway: Gateway
    settings: Server
    counters: Counters
    budget: BodyBudget
    scheme: str = "http"
    on_refused: OnRefused = not_reported
    state: dict[str, Any] = field(default_factory=dict)
    """What the application's lifespan has left for its requests."""
    connections: set[Connection] = field(default_factory=set)
    draining: bool = False
    """Whether every answer is the last of its connection."""
    date: bytes = b""
    clock: Callable[[], float] = field(default_factory=_clock)
    """As ``trio.current_time``, which looks up what tells the time for each reading."""
    _emptied: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    def __post_init__(self) -> None:
        self.tell_date()

    def tell_date(self) -> None:
        """Bring the ``date`` field of the next answers up to date."""
        self.date = formatdate(time.time(), usegmt=True).encode()

    def enlist(self, connection: Connection) -> None:
        """Count a connection in, once it is accepted."""
        self.connections.add(connection)
        self.counters.open_connections = len(self.connections)

    def discharge(self, connection: Connection) -> None:
        """Count a connection out, once it is over."""
        self.connections.discard(connection)
        self.counters.open_connections = len(self.connections)
        if not self.connections:
            self._emptied.unpark_all()

    async def wait_empty(self) -> None:
        """Wait until the last connection is gone."""
        while self.connections:
            await self._emptied.park()


class Connection:
    """One client connection, from accepted to closed."""

    __slots__ = (
        "_app_scope",
        "_body_size",
        "_client",
        "_cut_short",
        "_ended",
        "_exchange",
        "_gone",
        "_lingering",
        "_opened",
        "_parser",
        "_refusal",
        "_refused",
        "_responder",
        "_response",
        "_scope",
        "_service",
        "_since",
        "_upload",
        "_wire",
    )

    def __init__(self, service: Service, wire: ClientWire, client: Address) -> None:
        self._service = service
        self._wire = wire
        self._client = client
        settings = service.settings
        self._parser = RequestParser(
            settings.max_header_bytes,
            settings.max_body_bytes,
            service.budget,
            service.clock,
            uploads=endpoints.UPLOADS,
            max_upload_bytes=settings.max_upload_bytes,
        )
        # Every exchange runs in this one: to enter a scope costs several microseconds,
        # and an exchange that is cancelled takes its connection with it.
        self._scope = trio.CancelScope()
        self._cut_short: tuple[Exchange, ExchangeResponder] | None = None
        self._refusal: GatewayError | None = None
        self._refused: tuple[bytes, Headers] = b"", {}
        # What is under way; nothing between two requests.
        self._response: Response | None = None
        self._body_size = 0
        self._exchange: Exchange | None = None
        self._responder: ExchangeResponder | None = None
        self._upload: ClientUpload | None = None
        self._app_scope: trio.CancelScope | None = None

        self._opened = False
        self._lingering = False
        self._ended = False
        self._gone = False
        # When the state that ``_overdue`` judges began.
        self._since = trio.current_time()
        wire.on_end = self._note_end

    async def run(self) -> None:
        """Serve the client until either side is done. Raises nothing but Cancelled."""
        service = self._service
        try:
            await self._wire.handshake()
            self._since = trio.current_time()
            self._opened = True
            with self._scope:
                await self._work()
            if self._cut_short is not None:
                await self._apologize(*self._cut_short)
        except (OSError, trio.ClosedResourceError):
            pass  # The client has left, or its time was over.
        except Exception:
            # A bug of ours costs this connection and nothing else.
            service.counters.crashes += 1
            log.exception("a connection broke")
        finally:
            service.discharge(self)
            self._release()

    def refuse(self, error: GatewayError) -> None:
        """Answer ``error`` after what is complete, take no more, and close."""
        if self._refusal is None and not self._lingering:
            self._service.counters.bad_requests += 1
            self._refusal = error
            self._refused = self._parser.arriving
            error.request_id = request_id(self._refused[1])
            self._parser.close(error)

    def drain(self) -> None:
        """Close if idle; otherwise the answer under way is the last one."""
        if self._is_idle():
            self._close()
        elif self._response is not None:
            self._response.keep_alive = False

    def stop(self) -> None:
        """Cut a page of the application short. Exchanges are the gateway's to stop."""
        if self._app_scope is not None:
            self._app_scope.cancel()

    async def sweep(self, now: float) -> None:
        """Do what is due by now. Never waits for the client."""
        if self._gone:
            return
        settings = self._service.settings
        wire, parser = self._wire, self._parser
        if wire.unsent:
            self._sweep_unsent(now)
        elif self._responder is not None:
            await self._break_silence(self._responder, now)
        if self._response is not None:
            if self._upload is not None:
                self._sweep_upload(self._upload, now)
            elif wire.said_goodbye():
                self._client_left()
        elif parser.phase is Phase.HEADERS:
            if now >= parser.phase_since + settings.header_timeout:
                self._refuse_late("the header section took too long")
        elif parser.phase is Phase.BODY:
            if now >= parser.phase_since + settings.read_timeout:
                self._refuse_late("the request body took too long")
        elif self._overdue(now):
            self._close()

    # Reading and answering by turns.

    async def _work(self) -> None:
        # What waits in here has no coroutine of its own: each costs every connection.
        parser, wire = self._parser, self._wire
        requests = parser.requests
        again = True
        while again and not self._gone:
            if requests:
                try:
                    # The request is not at hand either: the exchange lets go of it.
                    await self._answer(requests.pop(0))
                except trio.Cancelled:
                    if self._exchange is not None and self._responder is not None:
                        self._cut_short = self._exchange, self._responder
                    raise
                finally:
                    again = self._end()
            elif self._refusal is not None:
                again = await self._answer_refusal(self._refusal)
            else:
                if parser.expecting:
                    parser.expecting = False
                    wire.push(CONTINUE)
                try:
                    self._take(await wire.receive())
                except trio.ClosedResourceError:
                    continue  # There is something to do that is more urgent.
        if not self._gone:
            await self._linger()

    def _take(self, data: Buffer) -> None:
        if not data:
            self._gone = True
            return
        try:
            self._parser.feed(data)
        except GatewayError as error:
            self.refuse(error)

    def _answer(self, request: Request) -> Awaitable[None]:
        """Return what answers ``request``; call ``_end`` once it is done."""
        service = self._service
        keep_alive = request.keep_alive and not service.draining
        self._body_size = len(request.body)
        response = self._response = Response(
            self._wire, request, keep_alive, service.date, self._client_left
        )
        endpoint = endpoints.find(request.method, request.path)
        if endpoint is None or (
            # Nothing to look at for what is asked all the time: it has no path.
            endpoint.path
            and is_anothers(endpoint, request.path.decode("latin-1"), request.headers)
        ):
            return self._run_app(request, response)
        if request.incoming is not None:
            self._upload = ClientUpload(self._wire, self._parser, request.incoming)
            response.upload = self._upload
        exchange = self._exchange = service.gateway.open(
            endpoint,
            request.headers,
            request.body,
            request.received_at,
            self._scope,
            query=request.query,
            upload=self._upload,
        )
        exchange.on_let_go = self._give_room_back
        exchange.take_room = self._take_room
        responder = self._responder = ExchangeResponder(exchange, response)
        responder.sent_at = request.received_at
        if self._ended:
            self._client_left()
        return service.gateway.answer(exchange, responder)

    def _end(self) -> bool:
        """Be done with a request; return whether the connection can be used again."""
        service, response = self._service, self._response
        self._response = self._exchange = self._responder = None
        self._give_room_back()
        if self._upload is not None:
            self._end_upload(self._upload)
        # The client could not go on: its time begins now.
        self._since = self._parser.phase_since = service.clock()
        return (
            response is not None
            and response.done
            and response.keep_alive
            and not service.draining
        )

    def _take_room(self, size: int) -> None:
        """Count ``size`` bytes more for the body of the request under way."""
        self._service.budget.take(size)
        self._body_size += size

    def _give_room_back(self) -> None:
        """Say that the body of the request under way is held no longer. Idempotent."""
        size, self._body_size = self._body_size, 0
        self._service.budget.give_back(size)

    def _end_upload(self, upload: ClientUpload) -> None:
        self._upload = None
        if (fault := upload.close()) is None:
            return
        if upload.complete:
            self.refuse(fault)
        elif not isinstance(fault, BodyBrokeOff):
            self._service.counters.bad_requests += 1

    async def _apologize(
        self, exchange: Exchange, responder: ExchangeResponder
    ) -> None:
        self._since = trio.current_time()
        await self._service.gateway.apologize(exchange, responder)
        if not self._gone:
            await self._linger()

    async def _run_app(self, request: Request, response: Response) -> None:
        service = self._service
        scope = scope_of(
            request,
            scheme=service.scheme,
            client=self._client,
            server=self._wire.local_address(),
            state=service.state,
        )
        cycle = Cycle(request, response)
        error: GatewayError | None = None
        try:
            with trio.CancelScope() as self._app_scope:
                await service.app(scope, cycle.receive, cycle.send)
            if self._app_scope.cancelled_caught:
                error = ShuttingDown()
        except Exception:
            service.counters.crashes += 1
            log.exception("%s %s failed", scope["method"], scope["path"])
            error = GatewayError()
        finally:
            self._app_scope = None
        if not cycle.complete:
            dialect = _dialect_of(request.path, request.headers)
            await self._send_error(response, error or GatewayError(), dialect)

    async def _answer_refusal(self, error: GatewayError) -> bool:
        self._refusal = None
        self._response = Response(
            self._wire, None, False, self._service.date, self._client_left
        )
        target, headers = self._refused
        path = target.decode("latin-1").partition("?")[0]
        self._service.on_refused(refused(error, error.request_id, "", path))
        dialect = _dialect_of(target, headers)
        await self._send_error(self._response, error, dialect)
        self._response = None
        return False

    async def _send_error(
        self, response: Response, error: GatewayError, dialect: Dialect
    ) -> None:
        response.keep_alive = False
        if response.started:
            await response.abort(b"")
            return
        headers = [
            (b"content-type", b"application/json"),
            *error_headers(error),
            *SECURITY_HEADERS,
        ]
        if error.request_id:
            headers.append((b"x-request-id", error.request_id.encode()))
        fields = field_lines(headers)
        await response.whole(error.status, fields, dialect.error_body(error))

    async def _linger(self) -> None:
        """Say that this is the end, and give the client the time to read it.

        Closing while bytes of the client are unread or on their way would make the
        system reset the connection, and the client lose our answer.
        """
        # Until it has taken the answer, its time is that of any other.
        self._since = math.inf
        self._lingering = True
        self._parser.close()
        wire = self._wire
        await wire.drain()
        self._since = trio.current_time()
        wire.half_close()
        wire.interrupted = False
        while not self._gone and await wire.receive():
            pass  # The client may want to send it all before it reads.

    def _release(self) -> None:
        self._parser.close()
        for request in self._parser.requests:
            self._service.budget.give_back(len(request.body))
        self._parser.requests.clear()
        self._wire.close()
        # Who holds whom in a circle waits for the collector, which comes seldom.
        self._wire.on_end = nobody
        self._cut_short = None

    # The end.

    def _note_end(self) -> None:
        """Know that the client will send nothing more: for us, it has left."""
        self._ended = True
        if self._response is not None or self._wire.unsent:
            self._client_left()

    def _client_left(self) -> None:
        """Stop what is done for the client. Idempotent."""
        if self._gone:
            return
        self._gone = True
        if self._response is not None:
            self._response.gone = True
        if self._exchange is not None:
            self._exchange.hang_up()
        if self._app_scope is not None:
            self._app_scope.cancel()
        self._wire.interrupt()

    def _close(self) -> None:
        """Let go of a client for whom nothing is under way."""
        self._gone = True
        self._wire.interrupt()

    def _is_idle(self) -> bool:
        """Whether all is answered and sent, and nothing of a request has come."""
        return (
            self._response is None
            and self._refusal is None
            and not self._parser.requests
            and self._parser.phase is Phase.IDLE
            and self._wire.all_sent
        )

    # The sweeper.

    def _sweep_upload(self, upload: ClientUpload, now: float) -> None:
        if now >= upload.waiting_since + self._service.settings.read_timeout:
            upload.fail(RequestTimeout("the request body took too long"))

    def _refuse_late(self, what: str) -> None:
        self.refuse(RequestTimeout(what))
        self._wire.interrupt()

    def _overdue(self, now: float) -> bool:
        settings = self._service.settings
        if self._lingering:
            return now >= self._since + LINGER
        if not self._opened:
            return now >= self._since + settings.header_timeout
        if not self._is_idle():
            return False
        return self._service.draining or now >= self._since + settings.idle_timeout

    def _sweep_unsent(self, now: float) -> None:
        wire = self._wire
        if now >= wire.blocked_since + self._service.settings.write_timeout:
            self._service.counters.stalled += 1
            wire.reset_on_close()
            self._client_left()
        elif self._opened:
            self._since = now  # It is not idle before it has taken the answer.

    async def _break_silence(self, responder: ExchangeResponder, now: float) -> None:
        response = self._response
        interval = self._service.settings.keep_alive_interval
        if response is None or response.done or now < responder.sent_at + interval:
            return
        # The worker must not find a half-written event: nothing waits in there, so
        # nobody else runs before it is complete.
        response.hurried = True
        try:
            await responder.keep_alive()
        finally:
            response.hurried = False


def _dialect_of(target: bytes, headers: Headers) -> Dialect:
    """Return what the client of a request speaks that is refused half-read."""
    return spoken_at(target.decode("latin-1"), headers).dialect
