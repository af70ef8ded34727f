"""A sum over the last seconds, for whoever decides by what happened recently."""

from __future__ import annotations

import math
from collections import deque


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
            # Nobody may ask for the total for days: it is failures that make one ask.
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
