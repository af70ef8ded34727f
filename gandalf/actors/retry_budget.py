"""How many second tries the gateway may make, so that it never amplifies an outage."""

from __future__ import annotations

from collections.abc import Callable

import trio

from gandalf.actors.window import Window
from gandalf.config import Retries

TTL = 10
"""Seconds for which a request justifies retries (Linkerd's default)."""


class RetryBudget:
    """Allows retries up to a share of the recent requests, plus a few per second.

    The few are what lets a gateway with one request a minute retry at all. Whatever
    is not used within the window is lost: a quiet hour saves up nothing.
    """

    def __init__(
        self, settings: Retries, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._requests = Window(TTL)
        self._retries = Window(TTL)
        self.refused = 0
        """Retries not allowed since the start."""

    def configure(self, settings: Retries) -> None:
        """Go by ``settings`` from now on; what was counted still counts."""
        self._settings = settings

    def note_request(self, now: float) -> None:
        """Count a request, once, before its first attempt.

        Args:
            now: The time, which whoever makes the attempt has asked for already.
        """
        self._requests.add(1, now)

    def allow_retry(self) -> bool:
        """Whether one more retry may be made. If so, it is counted as made."""
        now = self._clock()
        settings = self._settings
        budget = (
            settings.budget_ratio * self._requests.total(now)
            + settings.budget_min_per_second * TTL
        )
        if self._retries.total(now) + 1 > budget:
            self.refused += 1
            return False
        self._retries.add(1, now)
        return True
