"""Deletes usage by age, in steps that leave the database to others.

Each step is a transaction of a few milliseconds, followed by a pause that is longer
than the step was, so records are written meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from gandalf.config import Usage
from gandalf.storage.errors import StorageError

log = logging.getLogger("gandalf.usage")

SWEEP_EVERY = 60.0
# A step is to take about this long; the number of rows of the next one follows from it.
STEP = 0.004
MIN_ROWS, MAX_ROWS = 20, 2000
# A pause of twice the step leaves two thirds of the writer's time to records.
PAUSE = 2.0


class Upkeep(Protocol):
    """What deletes; ``storage.usage_upkeep`` does."""

    async def delete_rows(self, before: float, limit: int) -> int: ...

    async def delete_rollups(self, before: float, limit: int) -> int: ...


class UsageKeeper:
    """Deletes rows and roll-ups that are older than ``usage.keep_*`` says.

    Args:
        upkeep: What deletes.
        current: The settings in force.
        now: Unix time.
        clock: The time by which steps are measured.
    """

    name = "usage-keeper"

    def __init__(
        self,
        upkeep: Upkeep,
        current: Callable[[], Usage],
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._upkeep = upkeep
        self._current = current
        self._now = now
        self._clock = clock
        self._closed = trio.Event()
        self.deleted_rows = 0
        self.deleted_rollups = 0

    async def run(self) -> None:
        """Look for what is too old every ``SWEEP_EVERY`` seconds, until closed."""
        while not self._closed.is_set():
            try:
                await self._sweep()
            except StorageError as error:
                log.warning("old usage is not deleted now: %s", error)
            await self._sleep(SWEEP_EVERY)

    def close(self) -> None:
        """Begin no further step. Synchronous, idempotent."""
        self._closed.set()

    async def _sweep(self) -> None:
        settings = self._current()
        if settings.keep_rows is not None:
            before = self._now() - settings.keep_rows
            self.deleted_rows += await self._delete(self._upkeep.delete_rows, before)
        if settings.keep_rollups is not None:
            before = self._now() - settings.keep_rollups
            self.deleted_rollups += await self._delete(
                self._upkeep.delete_rollups, before
            )

    async def _delete(
        self, step: Callable[[float, int], Awaitable[int]], before: float
    ) -> int:
        """Take steps until nothing is left to be deleted; return how much was."""
        rows, deleted = MIN_ROWS, 0
        while not self._closed.is_set():
            started = self._clock()
            count = await step(before, rows)
            took = self._clock() - started
            deleted += count
            if not count:
                break
            # By half at the most: one slow step tells of the disk, not of the rows.
            ratio = min(2.0, max(0.5, STEP / took)) if took > 0 else 2.0
            rows = min(MAX_ROWS, max(MIN_ROWS, int(rows * ratio)))
            await self._sleep(PAUSE * took)
        return deleted

    async def _sleep(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._closed.wait()
