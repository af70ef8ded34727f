"""The server: its listener, accepting in bursts, sweeping, and the graceful end.

hypercorn makes the TLS context, and is not imported before one is wanted: it brings
all of its protocols with it. What it does with a connection is replaced, for the speed
and for the faults that its own handler has (one bad request ends the process, no limit
to writing, h2c).
"""

from __future__ import annotations

import errno
import logging
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable

import trio

from gandalf.config import Server, Tls, split_address
from gandalf.domain.errors import Overloaded
from gandalf.http.client_wire import UNSENT_BYTES, ClientWire, TlsClientWire
from gandalf.http.connection import SWEEP_INTERVAL, Connection, Counters, Service
from gandalf.http.edge_asgi import ASGI
from gandalf.http.gateway import Gateway
from gandalf.http.lifespan import lifespan
from gandalf.http.page import OnRefused, not_reported
from gandalf.http.parser import BodyBudget
from gandalf.http.poller import poller

log = logging.getLogger("gandalf.http")

# Connections accepted in a row before the others get their turn.
BURST = 64
# Connections above ``max_connections`` that are told so; the rest are just closed.
TOLD_OVERLOADED = 64
# How long accepting rests when the system has no more files or buffers.
EXHAUSTED_PAUSE = 0.2
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# Connections swept in a row before the others get their turn.
SWEPT_AT_ONCE = 500
# How long the last errors may take to leave, once what still ran has been stopped.
LAST_WORDS = 2.0


async def serve(
    app: ASGI,
    gateway: Gateway,
    settings: Server,
    *,
    shutdown_trigger: Callable[[], Awaitable[object]],
    counters: Counters | None = None,
    on_refused: OnRefused = not_reported,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until ``shutdown_trigger`` returns and the last connection is closed.

    Args:
        app: Answers every request that is not of ``http.endpoints``.
        gateway: Answers those. Told that it is draining, and at last to stop.
        settings: Where to listen, and every limit.
        shutdown_trigger: Returns when it is time to end.
        counters: What happened so far is kept up to date here.
        on_refused: Called for every request that is refused half-read.
        task_status: Started with the URLs that are served, once connections can come.
    """
    _raise_file_limit(settings.max_connections)
    service = Service(
        app=app,
        gateway=gateway,
        settings=settings,
        counters=counters or Counters(),
        budget=BodyBudget(settings.max_body_bytes_total),
        scheme="http" if settings.tls is None else "https",
        on_refused=on_refused,
    )
    tls = None if settings.tls is None else tls_context(settings.tls)
    async with lifespan(app, service.state):
        await _Edge(service, tls).serve(shutdown_trigger, task_status)


def tls_context(settings: Tls) -> ssl.SSLContext:
    """Return what clients are spoken to with: TLS 1.2 at least, and no HTTP/2."""
    from hypercorn.config import Config as HypercornConfig

    config = HypercornConfig()
    config.certfile = settings.cert_file
    config.keyfile = settings.key_file
    config.alpn_protocols = ["http/1.1"]
    context = config.create_ssl_context()
    if context is None:
        raise ValueError("TLS takes a certificate and its key")
    return context


def bind(address: str) -> socket.socket:
    """Return a socket bound to ``address``; with no host in it, to all there are.

    Raises:
        OSError: It cannot be had.
    """
    host, port = split_address(address)
    if not host:
        host = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 asked
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _raise_file_limit(max_connections: int) -> None:
    """Allow this process as many files as ``max_connections`` can need, if it may."""
    # One for the client, one for the upstream, and some for everything else.
    wanted = 2 * max_connections + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit < wanted:
        log.warning(
            "%d connections can need %d open files, and the limit is %d",
            max_connections,
            wanted,
            limit,
        )


class _Edge:
    """One server, while it runs."""

    def __init__(self, service: Service, tls: ssl.SSLContext | None) -> None:
        self._service = service
        self._tls = tls
        self._exhausted = False

    async def serve(
        self,
        shutdown_trigger: Callable[[], Awaitable[object]],
        task_status: trio.TaskStatus[list[str]],
    ) -> None:
        listener = self._listen()
        poller()  # Its task is of the server, and not of the first connection.
        try:
            async with trio.open_nursery() as nursery:
                async with trio.open_nursery() as front:
                    front.start_soon(self._accept, listener, nursery)
                    nursery.start_soon(self._sweep)
                    task_status.started([self._url(listener)])
                    await shutdown_trigger()
                    front.cancel_scope.cancel()
                listener.close()
                await self._drain()
                nursery.cancel_scope.cancel()
        finally:
            listener.close()

    def _listen(self) -> socket.socket:
        settings = self._service.settings
        try:
            listener = bind(settings.addr)
        except OSError as error:
            # As it comes it does not say which address.
            message = f"cannot listen on {settings.addr}: {error.strerror or error}"
            raise OSError(error.errno, message) from error
        # Accepted sockets inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        listener.listen(settings.backlog)
        return listener

    def _url(self, listener: socket.socket) -> str:
        host, port = listener.getsockname()[:2]
        if listener.family == socket.AF_INET6:
            host = f"[{host}]"
        return f"{self._service.scheme}://{host}:{port}"

    # Accepting.

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                for _ in range(BURST):
                    self._admit(*listener.accept(), nursery)
            except BlockingIOError:
                pass
            except OSError as error:
                # Anything else is about the one connection that was to be accepted.
                if error.errno in _EXHAUSTED:
                    await self._rest(error)
                    continue
            self._exhausted = False

    async def _rest(self, error: OSError) -> None:
        self._service.counters.accept_failures += 1
        if not self._exhausted:
            log.error("cannot accept connections for now: %s", error)
        self._exhausted = True
        await trio.sleep(EXHAUSTED_PAUSE)

    def _admit(self, sock: socket.socket, peer: object, nursery: trio.Nursery) -> None:
        service = self._service
        service.counters.accepted += 1
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            sock.close()  # Already gone again.
            return
        wire = ClientWire(sock) if self._tls is None else TlsClientWire(sock, self._tls)
        client = (peer[0], peer[1]) if isinstance(peer, tuple) else None
        connection = Connection(service, wire, client)
        excess = len(service.connections) - service.settings.max_connections
        if excess >= 0:
            service.counters.refused_connections += 1
            if excess >= TOLD_OVERLOADED or self._tls is not None:
                wire.close()
                return
            connection.refuse(Overloaded("too many connections"))
        # Now, not when its task runs: a burst would not see itself.
        service.enlist(connection)
        nursery.start_soon(connection.run)

    # Sweeping.

    async def _sweep(self) -> None:
        service = self._service
        while True:
            await trio.sleep(SWEEP_INTERVAL)
            service.tell_date()
            for count, connection in enumerate(list(service.connections), 1):
                await self._sweep_one(connection)
                if count % SWEPT_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()

    async def _sweep_one(self, connection: Connection) -> None:
        try:
            await connection.sweep(trio.current_time())
        except Exception:
            # Without the sweeper nothing would ever time out again.
            self._service.counters.crashes += 1
            log.exception("sweeping a connection failed")

    # Ending.

    async def _drain(self) -> None:
        service = self._service
        service.draining = service.gateway.draining = True
        for connection in list(service.connections):
            connection.drain()
        with trio.move_on_after(service.settings.shutdown_timeout):
            await service.wait_empty()
            return
        service.gateway.stop_all()
        for connection in list(service.connections):
            connection.stop()
        with trio.move_on_after(LAST_WORDS):
            await service.wait_empty()
