"""One client's socket: bytes in, bytes out, plain or through TLS.

Non-blocking sockets instead of trio's streams, for the speed; and for one more thing
that streams do not have: what the kernel has not taken yet is known, and kept in
order. ``push`` never waits, and what the kernel does not take at once follows as it
does. TLS is the standard library's, between two memory buffers, so that both hold for
it, too.
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import struct
from collections.abc import Callable

import trio
from trio.lowlevel import (
    Abort,
    RaiseCancelT,
    Task,
    current_task,
    reschedule,
    wait_task_rescheduled,
)

from gandalf.http.outbox import outbox
from gandalf.http.poller import READ_SIZE, Buffer, Readable

# Unsent bytes the kernel may hold for one client: what a slow reader can cost us.
UNSENT_BYTES = 256 * 1024
# What the kernel nearly always takes of a client that reads. If it does not, the rest
# follows, but nobody has waited for it.
TAKEN_AT_ONCE = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def nobody() -> None:
    """Nobody wants to know."""


class ClientWire(Readable):
    """A connected, non-blocking socket.

    ``receive`` raises OSError, or trio.ClosedResourceError, once the connection is of
    no use any more.
    """

    __slots__ = ("_draining", "_held", "_outbox", "blocked_since", "on_end", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.unsent = bytearray()
        """What the kernel was given and did not take."""
        self.blocked_since = math.inf
        """``trio.current_time()`` when the client last took some of ``unsent``."""
        self.on_end: Callable[[], object] = nobody
        """Called when the client has ended, even behind bytes that nobody has read."""
        self._draining: Task | None = None
        self._held = b""
        self._outbox = outbox()

    async def handshake(self) -> None:
        """Do what comes before the first byte can be received."""

    def end(self) -> None:
        super().end()
        self.on_end()

    def push(self, data: bytes) -> bool:
        """Have ``data`` sent at the end of this turn, after all that came before.

        Returns:
            Whether there is no need to wait: the kernel has taken what came before,
            and is going to take this. Otherwise ``drain`` waits for both.
        """
        if self.unsent:
            self.unsent += data
            return False
        if self._held:
            self._held += data
        else:
            self._held = data
            self._outbox.add(self)
        return len(self._held) <= TAKEN_AT_ONCE

    @property
    def all_sent(self) -> bool:
        """Whether the kernel has taken all there is to send."""
        return not self._held and not self.unsent

    async def drain(self) -> None:
        """Wait until the kernel has taken all there is to send.

        Raises:
            trio.ClosedResourceError: It is not going to.
        """
        if self._held:
            self._outbox.flush()
        if self.unsent:
            self._draining = current_task()
            await wait_task_rescheduled(self._stop_draining)
            if self.unsent:
                raise trio.ClosedResourceError

    def send_held(self) -> None:
        held, self._held = self._held, b""
        if not held:
            return
        try:
            sent = self._sock.send(held)
        except OSError:
            # No room; or the end, which whoever reads is told of, or has been. Kept in
            # any case: nothing may follow with a gap before it.
            sent = 0
        if sent < len(held):
            self.unsent += memoryview(held)[sent:]
            self.blocked = True
            self.blocked_since = trio.current_time()

    def writable(self) -> None:
        try:
            sent = self._sock.send(self.unsent)
        except OSError:
            return  # As above.
        del self.unsent[:sent]
        if self.unsent:
            self.blocked_since = trio.current_time()
            return
        self.blocked = False
        self.blocked_since = math.inf
        self._wake_draining()

    def interrupt(self) -> None:
        """Let who waits in ``receive`` or ``drain`` fail."""
        super().interrupt()
        self._wake_draining()

    def _wake_draining(self) -> None:
        if (task := self._draining) is not None:
            self._draining = None
            reschedule(task)

    def _stop_draining(self, _: RaiseCancelT) -> Abort:
        self._draining = None
        return Abort.SUCCEEDED

    def said_goodbye(self) -> bool:
        """Whether the client has ended in a way that the system cannot see.

        To be asked while nobody reads.
        """
        return False

    def half_close(self) -> None:
        """Tell the client that nothing more will come. To be called once all is sent.

        ``receive`` returns bytes that mean nothing from then on.
        """
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def reset_on_close(self) -> None:
        """Make ``close`` throw away what the client has not taken."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._held = b""
        self.forget()
        self._sock.close()

    def local_address(self) -> tuple[str, int] | None:
        """Return where the client has connected to, if that has a host and a port."""
        address = self._sock.getsockname()
        return address[:2] if isinstance(address, tuple) else None


class TlsClientWire(ClientWire):
    """A socket that speaks TLS."""

    __slots__ = ("_early", "_incoming", "_outgoing", "_parted", "_tls")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        # What came while nobody read, and was looked into for a goodbye.
        self._early = b""
        self._parted = False

    async def handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._relay()
            except ssl.SSLError:
                # The client is told why, if it still listens.
                self._relay()
                self.send_held()
                raise
            else:
                self._relay()
                return
            await self._fill()

    async def receive(self) -> Buffer:
        if self._parted:
            return await super().receive()
        if self._early:
            early, self._early = self._early, b""
            return early
        while (data := self._decrypted()) is None:
            await self._fill()
        return data

    def said_goodbye(self) -> bool:
        if self._early or not self.readable:
            return False
        self.readable = False
        try:
            come = self._sock.recv(READ_SIZE)
        except BlockingIOError:
            return False
        except OSError:
            return True
        # As in ``Readable.receive``: there may be more.
        self.readable = len(come) == READ_SIZE or self._over
        self._incoming.write(come)
        data = self._decrypted()
        self._early = data or b""
        return data == b""

    def _decrypted(self) -> bytes | None:
        try:
            return self._tls.read(READ_SIZE)
        except ssl.SSLWantReadError:
            # Reading can have something to say: a new key, for one.
            self._relay()
            return None
        except ssl.SSLError:
            return b""  # It has said goodbye, or speaks no TLS any more.

    def push(self, data: bytes) -> bool:
        try:
            if data:
                self._tls.write(data)
        except ssl.SSLError:
            # Nothing more can be told to a client with whom TLS has failed.
            self.on_end()
            return True
        return self._relay()

    def half_close(self) -> None:
        # Says goodbye, then wants to read the client's own, and fails on anything else.
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        self._parted = True
        self._relay()
        self.send_held()
        super().half_close()

    def _relay(self) -> bool:
        ciphertext = self._outgoing.read()
        return super().push(ciphertext) if ciphertext else not self.unsent

    async def _fill(self) -> None:
        data = await super().receive()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
