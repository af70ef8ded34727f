"""Waiting for sockets, at a third of what trio's own way costs.

``trio.lowlevel.wait_readable`` asks the kernel anew each time, and is four coroutines
deep, which each of thousands of open streams pays for in memory. Here a socket is
registered once, for as long as it is open, and its events are looked for where trio
has just looked for its own: by an instrument, before the tasks of a turn run. So
nothing is later than it would be, and a hang-up is noticed also while nobody reads.

What is waited for with trio's own means goes on as ever: the two do not know of each
other.
"""

from __future__ import annotations

import logging
import select
import socket

import trio
from trio.lowlevel import (
    Abort,
    RaiseCancelT,
    Task,
    current_task,
    reschedule,
    wait_task_rescheduled,
)

log = logging.getLogger("gandalf.http")

_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_WRITABLE = select.EPOLLOUT
_ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
# Events taken in one turn of the loop; what is left is taken in the next.
_AT_ONCE = 1024

CLOSED = -1
"""The file descriptor of a ``Readable`` that has none any more."""

# One read takes in what has arrived, up to this. It bounds what somebody whom nobody
# reads holds in memory: nothing more is read until it is asked for.
READ_SIZE = 64 * 1024

# What is read is looked at before anybody else can read: one buffer serves them all.
_buffer = memoryview(bytearray(READ_SIZE))

Buffer = bytes | bytearray | memoryview


class Readable:
    """A non-blocking socket that one task at a time reads from."""

    __slots__ = (
        "_fd",
        "_over",
        "_poller",
        "_sock",
        "_waiting",
        "blocked",
        "interrupted",
        "readable",
    )

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self.readable = False
        """Whether something has come since somebody last waited, as far as is known."""
        self.blocked = False
        """Whether there is something to send that the system did not take."""
        # Whether the end has been told of. It comes behind what is still to be read,
        # and is told once.
        self._over = False
        self.interrupted = False
        """Whether ``receive`` is to raise where it would wait."""
        self._waiting: Task | None = None
        self._poller = poller()
        self._poller.watch(self, self._fd)

    async def receive(self) -> Buffer:
        """Return what has arrived, waiting for some; b"" at the connection's end.

        It is good until the next ``await``, when it may be overwritten.

        Raises:
            OSError: The connection failed.
            trio.ClosedResourceError: It is closed, or was while we waited; or we were
                interrupted.
        """
        while True:
            if self._waiting is not None:
                raise trio.BusyResourceError("another task reads this socket")
            if self.readable:
                # Others must get their turn, however fast this comes.
                await trio.lowlevel.checkpoint()
            else:
                self._waiting = current_task()
                await wait_task_rescheduled(self._stop_waiting)
            if self._fd == CLOSED:
                raise trio.ClosedResourceError
            self.readable = False
            try:
                size = self._sock.recv_into(_buffer)
            except BlockingIOError:
                # Woken for nothing, or by an event that was read already.
                if self.interrupted:
                    self.interrupted = False
                    raise trio.ClosedResourceError from None
                continue
            self.readable = size == READ_SIZE or self._over
            return _buffer[:size]

    def wake(self) -> None:
        """Let who reads try, as if something had come."""
        self.readable = True
        if (task := self._waiting) is not None:
            self._waiting = None
            reschedule(task)

    def writable(self) -> None:
        """Send on. Called while ``blocked``, once the system takes some again.

        Overridden by who sends. Must not raise.
        """

    def interrupt(self) -> None:
        """Let who reads fail if nothing has come. It may go on reading later."""
        self.interrupted = True
        self.wake()

    def end(self) -> None:
        """Let who reads come to the end, and know that it has been reached.

        Overridden by who wants to know at once. Must neither raise nor close anything.
        """
        self._over = True

    def forget(self) -> None:
        """Let who reads fail, now and ever after. To be called before closing."""
        if self._fd != CLOSED:
            self._poller.forget(self, self._fd)
            # The system gives the number to the next connection that anybody makes; to
            # wait for it from here on would be to wait for theirs.
            self._fd = CLOSED
            self.wake()

    def _stop_waiting(self, _: RaiseCancelT) -> Abort:
        self._waiting = None
        return Abort.SUCCEEDED


class Poller(trio.abc.Instrument):
    """Watches the sockets of one trio run. Made by ``poller``."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._poll = self._epoll.poll
        self._watched: dict[int, Readable] = {}

    def watch(self, readable: Readable, fd: int) -> None:
        """Tell ``readable`` of what comes on ``fd``."""
        self._watched[fd] = readable
        self._epoll.register(fd, _EVENTS)

    def forget(self, readable: Readable, fd: int) -> None:
        """Tell it no more. The kernel forgets ``fd`` when it is closed."""
        if self._watched.get(fd) is readable:
            del self._watched[fd]

    def after_io_wait(self, timeout: float) -> None:
        """Wake who has something to read. Called by trio, once a turn."""
        watched = self._watched
        for fd, events in self._poll(0, _AT_ONCE):
            readable = watched.get(fd)
            if readable is None:
                continue
            if events & _ENDED:
                try:
                    readable.end()
                except Exception:
                    # trio would take us for broken, and nobody would ever wake again.
                    log.exception("a hang-up was not dealt with")
            if events & _WRITABLE and readable.blocked:
                readable.writable()
            if events != _WRITABLE:
                readable.wake()

    async def run(self) -> None:
        """Keep trio from sleeping while there is something to read."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
        finally:
            trio.lowlevel.remove_instrument(self)
            self._epoll.close()


_POLLERS: trio.lowlevel.RunVar[Poller] = trio.lowlevel.RunVar("poller")


def poller() -> Poller:
    """Return the poller of this trio run."""
    try:
        return _POLLERS.get()
    except LookupError:
        found = Poller()
        _POLLERS.set(found)
        trio.lowlevel.spawn_system_task(found.run)
        trio.lowlevel.add_instrument(found)
        return found
