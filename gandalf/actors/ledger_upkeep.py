"""Keeps the ledger in step with the database: raises, expiry, the hourly audit."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from gandalf.actors.ledger import Ledger
from gandalf.domain.budgets import Drift, Raise
from gandalf.storage.errors import StorageError

log = logging.getLogger("gandalf.budgets")

POLL_EVERY = 1.0
"""Seconds between two looks for raises that were made elsewhere."""

FIRST_AUDIT = 60.0
AUDIT_EVERY = 3600.0


class Raises(Protocol):
    """Knows the raises. Implemented by ``gandalf.storage.budgets``."""

    async def raises(self, now: int) -> tuple[Raise, ...]: ...


class Auditor(Protocol):
    """Compares balances with records. Implemented by ``gandalf.storage.usage``."""

    async def audit(self, since: int) -> list[Drift]:
        """Return what differs in the windows that end after ``since``."""


class LedgerUpkeep:
    """Does what the ledger needs done now and then.

    Args:
        ledger: The ledger.
        raises: Knows the raises of the database.
        auditor: Compares balances with records.
    """

    name = "ledger-upkeep"

    def __init__(
        self,
        ledger: Ledger,
        raises: Raises,
        auditor: Auditor,
        *,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._raises = raises
        self._auditor = auditor
        self._unix_time = unix_time
        self._known: tuple[Raise, ...] = ()
        self._closed = trio.Event()
        self._lost = False
        self.drift = 0
        """Sum of all differences that the last audit found, in each unit alike."""

    async def load(self) -> None:
        """Give the ledger the raises that hold now.

        Raises:
            StorageError: They could not be read.
        """
        found = await self._raises.raises(int(self._unix_time()))
        if found != self._known:
            self._known = found
            self._ledger.set_raises(found)

    async def run(self) -> None:
        """Follow the database until closed."""
        next_audit = trio.current_time() + FIRST_AUDIT
        while not await self._closed_after(POLL_EVERY):
            await self._guarded(self.load)
            if expired := self._ledger.expire():
                log.error("%d reservation(s) expired: nobody has settled them", expired)
            if trio.current_time() >= next_audit:
                next_audit = trio.current_time() + AUDIT_EVERY
                await self._guarded(self.audit)

    def close(self) -> None:
        """Stop following."""
        self._closed.set()

    async def audit(self) -> None:
        """Compare the balances of the present windows with their records."""
        since = int(self._unix_time() - 2 * AUDIT_EVERY)
        found = await self._auditor.audit(since)
        self.drift = sum(abs(each.total - each.spent) for each in found)
        for each in found:
            log.error(
                "balance %s %r of window %d is %d, its records sum up to %d; first row"
                " that differs: %s",
                each.rule,
                each.subject,
                each.window_start,
                each.spent,
                each.total,
                each.first_row or "none",
            )

    async def _guarded(self, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except StorageError as error:
            if not self._lost:
                log.error("budgets cannot be read from the database: %s", error)
            self._lost = True
        else:
            self._lost = False

    async def _closed_after(self, seconds: float) -> bool:
        with trio.move_on_after(seconds):
            await self._closed.wait()
        return self._closed.is_set()
