"""How a connection to an upstream comes about: its addresses, TCP, TLS.

Nothing here keeps a time limit: whoever connects runs it inside one.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import certifi
import trio

from gandalf.domain.errors import Fault
from gandalf.http.lone_cancelled import lone_cancelled
from gandalf.http.wire import Wire
from gandalf.providers.watch import UpstreamBroken

# Seconds for which the addresses of a name are believed. Load balancers change theirs
# within a minute; asking at every connect would make the resolver part of each.
RESOLVE_TTL = 30.0

# Seconds for which a failure to resolve is the answer to all who ask, so that a
# thousand requests do not queue for a resolver that is down.
RESOLVE_FAILURE_TTL = 1.0

# Seconds an address has to itself before the next one is tried as well (RFC 8305).
HEAD_START = 0.25

# The system has no more files, buffers or local ports for the gateway.
_EXHAUSTED = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
# The gateway's own resolver does not answer, as opposed to: there is no such name.
_NO_NAME_SERVER = frozenset({socket.EAI_AGAIN, socket.EAI_SYSTEM, socket.EAI_MEMORY})


class Address(NamedTuple):
    """Where to connect to, as the socket module wants it."""

    family: int
    sockaddr: tuple[Any, ...]


class Origin(NamedTuple):
    """Scheme, host and port of a base URL."""

    secure: bool
    host: str
    port: int

    @property
    def authority(self) -> bytes:
        """The value of the ``host`` field."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.secure else 80
        text = host if self.port == default else f"{host}:{self.port}"
        return text.encode("ascii")


def origin_of(base_url: str) -> Origin:
    """Return the origin of an ``http`` or ``https`` URL.

    Raises:
        ValueError: It is not such a URL. The message does not repeat it.
    """
    url = urlsplit(base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("a base URL must be http://host or https://host")
    host = url.hostname
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    secure = url.scheme == "https"
    return Origin(secure, host, url.port or (443 if secure else 80))


class Resolver:
    """Knows the addresses of one host, and asks again when they have aged.

    However many connections are being made, one question is under way at a time.
    While the name system fails, the last addresses known are used.
    """

    def __init__(
        self, host: str, port: int, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._host = host
        self._port = port
        self._clock = clock
        self._addresses: tuple[Address, ...] = _literal(host, port)
        self._fresh_until = float("inf") if self._addresses else float("-inf")
        self._failure = ""
        self._fault = Fault.TARGET
        self._asking: trio.Event | None = None

    async def addresses(self) -> Sequence[Address]:
        """Return where the host can be reached, the best address first.

        Raises:
            UpstreamBroken: The name cannot be resolved.
        """
        while self._clock() >= self._fresh_until:
            if self._asking is None:
                await self._ask()
            else:
                await self._asking.wait()
        if not self._addresses:
            raise UpstreamBroken(self._failure, sent=False, fault=self._fault)
        return self._addresses

    def prefer(self, address: Address) -> None:
        """Put the address that answered first: the next connection starts there."""
        if self._addresses[0] != address:
            others = (other for other in self._addresses if other != address)
            self._addresses = (address, *others)

    def forget(self) -> None:
        """Ask again before the next connection: no address answered."""
        if self._fresh_until != float("inf"):
            self._fresh_until = float("-inf")

    async def _ask(self) -> None:
        self._asking = asking = trio.Event()
        try:
            found = await trio.socket.getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM
            )
        except OSError as error:
            self._failure = f"cannot resolve the upstream's name: {error.strerror}"
            self._fault = _fault_of_resolving(error)
            self._fresh_until = self._clock() + RESOLVE_FAILURE_TTL
        else:
            self._addresses = tuple(Address(info[0], info[4]) for info in found)
            self._fresh_until = self._clock() + RESOLVE_TTL
        finally:
            self._asking = None
            asking.set()


def _fault_of_resolving(error: OSError) -> Fault:
    """Return the party at fault: a name that does not exist is the target's."""
    ours = isinstance(error, socket.gaierror) and error.errno in _NO_NAME_SERVER
    return Fault.GATEWAY if ours or error.errno in _EXHAUSTED else Fault.TARGET


def _literal(host: str, port: int) -> tuple[Address, ...]:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ()
    if address.version == 6:
        return (Address(socket.AF_INET6, (host, port, 0, 0)),)
    return (Address(socket.AF_INET, (host, port)),)


async def dial(resolver: Resolver) -> Wire:
    """Connect to whichever address of the host answers first.

    Raises:
        UpstreamBroken: None does.
    """
    addresses = await resolver.addresses()
    try:
        if len(addresses) == 1:
            return Wire(await _connect(addresses[0]))
        address, sock = await race(addresses, _connect)
    except OSError as error:
        resolver.forget()
        reason = os.strerror(error.errno) if error.errno else "no address answers"
        fault = Fault.GATEWAY if error.errno in _EXHAUSTED else Fault.TARGET
        whose = "the gateway " if fault is Fault.GATEWAY else ""
        raise UpstreamBroken(
            f"{whose}cannot connect: {reason}", sent=False, fault=fault
        ) from None
    resolver.prefer(address)
    return Wire(sock)


async def race(
    addresses: Sequence[Address],
    connect: Callable[[Address], Awaitable[socket.socket]],
) -> tuple[Address, socket.socket]:
    """Try one address after another, without waiting for a dead one to say so.

    Raises:
        OSError: Of the first that failed, when all did.
    """
    won: list[tuple[Address, socket.socket]] = []
    errors: list[OSError] = []

    async def attempt(address: Address, failed: trio.Event) -> None:
        try:
            sock = await connect(address)
        except OSError as error:
            errors.append(error)
            failed.set()
            return
        won.append((address, sock))
        nursery.cancel_scope.cancel()

    try:
        with lone_cancelled():
            async with trio.open_nursery() as nursery:
                for address in addresses:
                    failed = trio.Event()
                    nursery.start_soon(attempt, address, failed)
                    with trio.move_on_after(HEAD_START):
                        await failed.wait()
    except BaseException:
        for _, sock in won:
            sock.close()
        raise
    for _, sock in won[1:]:  # Two may connect in the same turn of the loop.
        sock.close()
    if not won:
        raise errors[0]
    return won[0]


async def _connect(address: Address) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        failure = sock.connect_ex(address.sockaddr)
        if failure == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(sock)
            failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            raise OSError(failure, os.strerror(failure))
    except BaseException:
        trio.lowlevel.notify_closing(sock)
        sock.close()
        raise
    return sock


def tls_context(extra_ca: str | None = None) -> ssl.SSLContext:
    """Return what TLS to an upstream must satisfy: certificates and names are checked.

    Args:
        extra_ca: A PEM file with certificates to trust besides the system's.
    """
    context = ssl.create_default_context()
    if not _system_trusts_anyone():
        context.load_verify_locations(certifi.where())
    if extra_ca is not None:
        context.load_verify_locations(extra_ca)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _system_trusts_anyone() -> bool:
    # A slim container image has no certificates at all.
    paths = ssl.get_default_verify_paths()
    if paths.cafile is not None:
        return True
    return paths.capath is not None and any(Path(paths.capath).iterdir())


async def secure(
    wire: Wire, context: ssl.SSLContext, host: str
) -> trio.SSLStream[Wire]:
    """Run the TLS handshake over ``wire``, which is closed if it fails.

    Raises:
        UpstreamBroken: It fails, or the upstream is not who it should be.
    """
    # Not "https compatible": there, the end of a connection that anybody on the way
    # can bring about counts as the end of the answer.
    stream = trio.SSLStream(wire, context, server_hostname=host)
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        wire.close()
        raise UpstreamBroken(_handshake_failure(error), sent=False) from None
    except BaseException:
        wire.close()
        raise
    return stream


def _handshake_failure(error: trio.BrokenResourceError) -> str:
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the upstream's certificate is refused: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError) and cause.reason:
        return f"the TLS handshake failed: {cause.reason}"
    return "the connection broke during the TLS handshake"
