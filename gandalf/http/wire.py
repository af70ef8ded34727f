"""A TCP connection to an upstream, without anything that the hot path does not need."""

from __future__ import annotations

import select
import socket

import trio
from trio.lowlevel import notify_closing, wait_readable, wait_writable

# One read takes in what has arrived, up to this. It bounds what a response that
# nobody reads holds in memory: nothing more is read until it is asked for.
READ_SIZE = 64 * 1024

# The file descriptor of a wire that has none any more.
CLOSED = -1

Buffer = bytes | bytearray | memoryview


class Wire(trio.abc.Stream):
    """A connected, non-blocking socket; a stream, so that TLS can run over it.

    Sending never fails. An upstream may answer and close before it has read the
    request: what cannot be sent is dropped, and reading tells how it really ended.
    """

    __slots__ = ("_fd", "_poll", "_sock", "sending")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self.sending = True
        """False once what is sent is dropped."""

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

        Raises:
            trio.BrokenResourceError: The connection failed.
            trio.ClosedResourceError: It is closed, or was while we waited.
        """
        while True:
            if self._fd == CLOSED:
                raise trio.ClosedResourceError
            await wait_readable(self._fd)
            try:
                return self._sock.recv(max_bytes or READ_SIZE)
            except BlockingIOError:
                continue  # Woken for nothing: the kernel may do that.
            except OSError as error:
                raise trio.BrokenResourceError(error.strerror) from None

    def quiet(self) -> bool:
        """Whether it is open and nothing has arrived, not even its end."""
        return self._fd != CLOSED and not self._poll.poll(0)

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
        # The system gives the number to the next connection that anybody makes; to
        # wait for it from here on would be to wait for theirs.
        self._fd = CLOSED
        self._sock.close()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await wait_writable(self._fd)
