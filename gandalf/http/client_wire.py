"""One client's socket: bytes in, bytes out, plain or through TLS.

Non-blocking sockets and ``trio.lowlevel`` instead of trio's streams, for the speed;
and for one more thing that streams do not have: what the kernel has not taken yet is
known, and kept in order. A write that is cancelled half-way is completed by the next
one, and ``push`` writes without ever waiting. TLS is the standard library's, between
two memory buffers, so that both hold for it, too.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import ssl
import struct

import trio
from trio.lowlevel import wait_readable, wait_writable

RECEIVE_BYTES = 65536
# Unsent bytes the kernel may hold for one client: what a slow reader can cost us.
UNSENT_BYTES = 256 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_LEFT = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class ClientWire:
    """A connected, non-blocking socket.

    ``receive``, ``push`` and ``drain`` raise OSError, or trio.ClosedResourceError, once
    the connection is of no use any more.
    """

    __slots__ = ("_socket", "blocked_since", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.unsent = bytearray()
        """What was given to ``push`` and not taken by the kernel."""
        self.blocked_since = math.inf
        """``trio.current_time()`` when the client last took some of ``unsent``."""

    async def handshake(self) -> None:
        """Do what comes before the first byte can be received."""

    async def receive(self) -> bytes:
        """Return what has arrived, waiting for some; b"" when the client has ended."""
        while True:
            await wait_readable(self._socket)
            try:
                return self._socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                continue

    def push(self, data: bytes) -> bool:
        """Hand ``data`` to the kernel; keep what it does not take, after what is kept.

        Returns:
            Whether nothing is kept: otherwise ``drain`` waits for that.
        """
        if self.unsent:
            self.unsent += data
            return self._push_unsent()
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return True
        self.unsent += memoryview(data)[sent:]
        self.blocked_since = trio.current_time()
        return False

    async def drain(self) -> None:
        """Wait until the kernel has taken all there is to send."""
        while self.unsent:
            await wait_writable(self._socket)
            self._push_unsent()

    def wake(self) -> None:
        """Make the tasks that wait in ``receive`` and ``drain`` raise."""
        trio.lowlevel.notify_closing(self._socket)

    def client_left(self) -> bool:
        """Whether the client has ended, even behind bytes that nobody has read."""
        poll = select.poll()
        poll.register(self._socket, _LEFT)
        return bool(poll.poll(0))

    def half_close(self) -> None:
        """Tell the client that nothing more will come."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def reset_on_close(self) -> None:
        """Make ``close`` throw away what the client has not taken."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE
            )

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._socket.close()

    def local_address(self) -> tuple[str, int] | None:
        """Return where the client has connected to, if that has a host and a port."""
        address = self._socket.getsockname()
        return address[:2] if isinstance(address, tuple) else None

    def _push_unsent(self) -> bool:
        try:
            sent = self._socket.send(self.unsent)
        except BlockingIOError:
            return False
        del self.unsent[:sent]
        self.blocked_since = trio.current_time() if self.unsent else math.inf
        return not self.unsent


class TlsClientWire(ClientWire):
    """A socket that speaks TLS."""

    __slots__ = ("_incoming", "_outgoing", "_tls")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._relay()
            except ssl.SSLError:
                # The client is told why, if it still listens.
                self._relay()
                raise
            else:
                self._relay()
                return
            await self._fill()

    async def receive(self) -> bytes:
        while True:
            try:
                data = self._tls.read(RECEIVE_BYTES)
            except ssl.SSLWantReadError:
                # Reading can have something to say: a new key, for one.
                self._relay()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            else:
                return data
            await self._fill()

    def push(self, data: bytes) -> bool:
        if data:
            self._tls.write(data)
        return self._relay()

    def half_close(self) -> None:
        with contextlib.suppress(OSError):
            # Says goodbye, then wants to read the client's own: that is our caller's.
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.unwrap()
            self._relay()
        super().half_close()

    def _relay(self) -> bool:
        ciphertext = self._outgoing.read()
        if ciphertext or self.unsent:
            return super().push(ciphertext)
        return True

    async def _fill(self) -> None:
        data = await super().receive()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
