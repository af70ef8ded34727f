"""A TCP connection to an upstream, without anything that the hot path does not need."""

from __future__ import annotations

import select
import socket

import trio
from trio.lowlevel import notify_closing, wait_writable

from gandalf.http.outbox import outbox
from gandalf.http.poller import CLOSED, Buffer, Readable

# To ask of one socket at a time.
_poll = select.poll()


class Wire(Readable, trio.abc.Stream):
    """A connected, non-blocking socket; a stream, so that TLS can run over it.

    Sending never fails. An upstream may answer and close before it has read the
    request: what cannot be sent is dropped, and reading tells how it really ended.
    """

    __slots__ = ("_held", "_only_if_quiet", "_outbox", "sending", "spoiled")

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._held = b""
        self._outbox = outbox()
        self.sending = True
        """False once what is sent is dropped."""
        self._only_if_quiet = False
        self.spoiled = False
        """Whether something had come before what was to be sent only if quiet."""

    def send_soon(self, data: bytes, *, only_if_quiet: bool = False) -> None:
        """Send ``data`` at the end of this turn, and as the system takes it.

        Nothing else may be sent before it is on its way: ``sent`` tells.

        Args:
            data: What to send.
            only_if_quiet: Whether it is dropped, and the connection ``spoiled``, if
                anything has come by then: that cannot be an answer to it.
        """
        self._held = data
        self._only_if_quiet = only_if_quiet
        self._outbox.add(self)

    @property
    def sent(self) -> bool:
        """Whether nothing is left of what ``send_soon`` was given."""
        return not self._held

    def send_held(self) -> None:
        if self._only_if_quiet:
            self._only_if_quiet = False
            # Asked for as late as can be: nobody has been told of what came in this
            # turn. Who waits for the answer will be woken by it.
            if not self.quiet():
                self.spoiled = True
                self.sending = False
        if held := self._held:
            sent = self.try_send(held)
            self._held = held[sent:]
            self.blocked = bool(self._held)

    def writable(self) -> None:
        self.send_held()

    def try_send(self, data: Buffer) -> int:
        """Send what the system takes at once; return how many bytes that were."""
        if not self.sending:
            return len(data)
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self.sending = False
            return len(data)

    async def send_all(self, data: Buffer) -> None:
        sent = self.try_send(data)
        if sent == len(data):
            return
        with memoryview(data) as rest:
            while sent < len(data):
                try:
                    await wait_writable(self._fd)
                except trio.ClosedResourceError:
                    return  # stop_sending() or close()
                sent += self.try_send(rest[sent:])

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what has arrived, waiting for some; b"" at the connection's end.

        For TLS, which asks for as much as ``receive`` returns.

        Raises:
            trio.BrokenResourceError: The connection failed.
            trio.ClosedResourceError: It is closed, or was while we waited.
        """
        try:
            return bytes(await self.receive())
        except OSError as error:
            raise trio.BrokenResourceError(error.strerror) from None

    def quiet(self) -> bool:
        """Whether it is open and nothing has arrived, not even its end."""
        fd = self._fd
        if fd == CLOSED:
            return False
        _poll.register(fd, select.POLLIN)
        arrived = _poll.poll(0)
        _poll.unregister(fd)
        if arrived:
            return False
        self.readable = False  # What the event was about has been read already.
        return True

    def stop_sending(self) -> None:
        """Drop what is being sent and all that comes after. Synchronous."""
        self.sending = False
        if self._fd != CLOSED:
            notify_closing(self._fd)

    def close(self) -> None:
        """Close the connection at once, whoever uses it. Synchronous, idempotent."""
        if self._fd == CLOSED:
            return
        self.stop_sending()
        self._held = b""
        self.forget()
        self._sock.close()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await wait_writable(self._fd)
