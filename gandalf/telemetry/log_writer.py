"""Writes lines from a thread, so that a pipe nobody reads stops only that thread.

Whoever reads our stderr may pause it for as long as he likes: a terminal on hold, a
log shipper that hangs. A plain write would then stop the event loop, and with it every
request. Here the lines wait, up to a bound in bytes; beyond it, they are dropped and
counted.
"""

from __future__ import annotations

import os
import select
import threading
from queue import SimpleQueue

# Some ten thousand lines. More means that the reader has been away for long.
MAX_WAITING_BYTES = 4 * 1024 * 1024
# Lines that one write may carry.
BATCH = 256
# Lines are gathered for so long before they are written: waking the thread for each
# would make the loop share the interpreter with it a thousand times a second.
GATHER = 0.05
# Seconds that the last lines may take at the exit.
CLOSE_WITHIN = 2.0


class LogWriter:
    """Takes lines without ever waiting, and writes them in order."""

    def __init__(self, fd: int, *, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self._fd = fd
        self._max_bytes = max_bytes
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        # For what posters count. What the thread counts, nobody else changes. Whoever
        # is interrupted in ``post`` by a signal may log something about it.
        self._lock = threading.RLock()
        self._posted = 0
        self._refused = 0
        self._taken = 0
        self._unwritable = 0
        self._closing = threading.Event()
        # A daemon: if its write never returns, the process may still exit.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """Return the size of the lines that are not written yet."""
        return self._posted - self._taken

    @property
    def dropped(self) -> int:
        """Return how many lines were never written."""
        return self._refused + self._unwritable

    def post(self, line: bytes) -> None:
        """Hand over a line, newline included. Never waits; drops it when full."""
        size = len(line)
        with self._lock:
            waiting = self._posted - self._taken
            if waiting + size > self._max_bytes or self._closing.is_set():
                self._refused += 1
                return
            self._posted += size
        self._queue.put(line)

    def close(self, within: float = CLOSE_WITHIN) -> None:
        """Write what waits, but give up after ``within`` seconds. Idempotent."""
        if not self._closing.is_set():
            self._closing.set()
            self._queue.put(None)
        self._thread.join(within)

    def _run(self) -> None:
        more = True
        while more:
            first = self._queue.get()
            if self._queue.qsize() < BATCH:
                self._closing.wait(GATHER)
            # Nobody else takes anything out.
            rest = min(self._queue.qsize(), BATCH)
            waiting = [first, *[self._queue.get_nowait() for _ in range(rest)]]
            lines = [line for line in waiting if line is not None]
            more = len(lines) == len(waiting)
            batch = b"".join(lines)
            try:
                self._write(batch)
            except OSError:
                self._unwritable += len(lines)
            self._taken += len(batch)

    def _write(self, batch: bytes) -> None:
        rest = memoryview(batch)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # Somebody made our stderr non-blocking.
                writable = select.poll()
                writable.register(self._fd, select.POLLOUT)
                writable.poll()
