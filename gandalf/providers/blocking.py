"""Runs the fetchers of credentials, which block, in threads.

Each credential has slots of its own, so that one whose server hangs holds no thread
that another waits for. A fetch that is given up goes on in its thread until the
library's own time limit; two slots let it be tried again meanwhile, and no more than
that pile up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")

SLOTS = 2


class Blocking:
    """Where one credential's fetcher runs."""

    def __init__(self) -> None:
        self._slots = trio.CapacityLimiter(SLOTS)

    async def run(self, function: Callable[[], T]) -> T:
        """Return what ``function`` returns; if cancelled, leave it to itself."""
        return await trio.to_thread.run_sync(
            function, limiter=self._slots, abandon_on_cancel=True
        )
