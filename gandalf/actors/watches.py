"""Keeps the time limits of attempts, all of them with one task.

A trio deadline costs some microseconds each time that it moves, and those of an
attempt move with every piece of its answer. Here moving one is an assignment; a
sweep every ``INTERVAL`` finds those that have passed.
"""

from __future__ import annotations

import trio

from gandalf.providers.watch import Watch

# How late a limit can be noticed, in seconds. They are seconds long themselves.
INTERVAL = 0.1


class Watches:
    """The clocks of all attempts under way."""

    name = "watches"

    def __init__(self) -> None:
        self._watches: set[Watch] = set()
        self._closed = trio.Event()

    def add(self, watch: Watch) -> None:
        """Keep the limits of ``watch`` until it is discarded."""
        self._watches.add(watch)

    def discard(self, watch: Watch) -> None:
        """Keep them no longer. Idempotent."""
        self._watches.discard(watch)

    def __len__(self) -> int:
        return len(self._watches)

    async def run(self) -> None:
        """Sweep until closed."""
        while not self._closed.is_set():
            with trio.move_on_after(INTERVAL):
                await self._closed.wait()
            now = trio.current_time()
            for watch in tuple(self._watches):
                watch.sweep(now)

    def close(self) -> None:
        """Sweep no more. Synchronous, idempotent."""
        self._closed.set()
