"""Counts over the last seconds, for decisions by what happened recently."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

MAX_KEYS: Final = 1000
"""Client keys that a ``KeyedWindow`` tells apart; those above it share one count."""

NO_KEY: Final = ""
"""Attribution of a failure that cannot depend on the request: no connection."""

ANONYMOUS: Final = "-"
"""Attribution of a request without a client key."""

_SHARED: Final = "*"


class Window:
    """A running sum over the last ``seconds``, in buckets of one second."""

    __slots__ = ("_buckets", "_second", "_total", "seconds")

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        # Each its second and its sum.
        self._buckets: deque[list[float]] = deque()
        # The latest of them.
        self._second: list[float] = [-math.inf, 0.0]
        self._total = 0.0

    def add(self, amount: float, now: float) -> None:
        """Count ``amount`` into the current second."""
        second = int(now)
        if self._second[0] != second:
            # ``total`` may not be called for days, and the buckets must not pile up.
            self.total(now)
            self._second = [second, 0.0]
            self._buckets.append(self._second)
        self._second[1] += amount
        self._total += amount

    def total(self, now: float) -> float:
        """Return the sum of what was added in the last ``seconds``."""
        oldest = int(now) - self.seconds
        while self._buckets and self._buckets[0][0] <= oldest:
            self._total -= self._buckets.popleft()[1]
        if not self._buckets:
            self._second = [-math.inf, 0.0]
        return self._total

    def clear(self) -> None:
        """Forget everything."""
        self._buckets.clear()
        self._second = [-math.inf, 0.0]
        self._total = 0.0


class Count:
    """The attempts of one client key, and how many of them failed."""

    __slots__ = ("failures", "samples")

    def __init__(self) -> None:
        self.samples = 0
        self.failures = 0


class KeyedWindow:
    """Counts of attempts and failures by client key, over about the last ``seconds``.

    There are two halves, so that counting costs the same however long the window is:
    the current one, and the one before it. The counts cover between half of the
    seconds and all of them.
    """

    __slots__ = ("_before", "_current", "_half", "_turn_at")

    def __init__(self, seconds: float) -> None:
        self._half = seconds / 2
        self._turn_at = -math.inf
        self._current: dict[str, Count] = {}
        self._before: dict[str, Count] = {}

    def add(self, key: str, failed: bool, now: float) -> None:
        """Count an attempt for ``key``."""
        if now >= self._turn_at:
            self._turn(now)
        count = self._current.get(key)
        if count is None:
            if len(self._current) >= MAX_KEYS:
                key = _SHARED
            count = self._current.setdefault(key, Count())
        count.samples += 1
        if failed:
            count.failures += 1

    def by_key(self, now: float) -> dict[str, Count]:
        """Return the counts of each key, for reading."""
        if now >= self._turn_at:
            self._turn(now)
        if not self._before:
            return self._current
        counts: dict[str, Count] = {}
        for half in (self._before, self._current):
            for key, each in half.items():
                count = counts.get(key)
                if count is None:
                    count = counts[key] = Count()
                count.samples += each.samples
                count.failures += each.failures
        return counts

    def total(self, now: float) -> Count:
        """Return the counts of all keys together."""
        total = Count()
        for each in self.by_key(now).values():
            total.samples += each.samples
            total.failures += each.failures
        return total

    def resize(self, seconds: float) -> None:
        """Cover ``seconds`` from now on. What was counted in the current half stays."""
        if seconds / 2 != self._half:
            self._turn_at += seconds / 2 - self._half
            self._half = seconds / 2

    def clear(self) -> None:
        """Forget everything."""
        self._current.clear()
        self._before.clear()

    def _turn(self, now: float) -> None:
        late = now - self._turn_at
        self._before = self._current if late < self._half else {}
        self._current = {}
        self._turn_at = now + self._half
