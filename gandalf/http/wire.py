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

    __slots__ = ("_held", "_outbox", "sending", "unasked")

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._held = b""
        self._outbox = outbox()
        self.sending = True
        """False once what is sent is dropped."""
        self.unasked = False
        """Whether what comes now was not asked for.

        Set by who is about to send a request; the first byte that is sent ends it. If
        something has come by then, it cannot be the answer: all that was to be sent is
        dropped, and this stays.
        """

    def send_soon(self, data: bytes) -> None:
        """Send ``data`` at the end of this turn, and as the system takes it.

        Nothing else may be sent before it is on its way: ``sent`` tells.
        """
        self._held = data
        self._outbox.add(self)

    @property
    def sent(self) -> bool:
        """Whether nothing is left of what ``send_soon`` was given."""
        return not self._held

    def send_held(self) -> None:
        if held := self._held:
            sent = self.try_send(held)
            self._held = held[sent:]
            self.blocked = bool(self._held)

    def writable(self) -> None:
        self.send_held()

    def try_send(self, data: Buffer) -> int:
        """Send what the system takes at once; return how many bytes that were."""
        if self.unasked:
            # Asked for as late as can be: nobody has been told of what came in this
            # turn. Who waits for the answer will be woken by it.
            self.unasked = not self.quiet()
            self.sending = self.sending and not self.unasked
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
        self._outbox.prepare()  # The line of the request must be in the journal.
        sent = self.try_send(data)
        if self.unasked:
            # Of what has come TLS may make nothing, and whoever reads would wait.
            self.close()
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
            data = bytes(await self.receive())
        except OSError as error:
            raise trio.BrokenResourceError(error.strerror) from None
        if self.unasked:
            # Half a record would go unnoticed until its end is taken for an answer.
            raise trio.BrokenResourceError("it speaks unasked")
        return data

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
