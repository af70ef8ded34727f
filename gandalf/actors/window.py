"""A sum over the last seconds, for whoever decides by what happened recently."""

from __future__ import annotations

from collections import deque


class Window:
    """A running sum over the last ``seconds``, in buckets of one second."""

    __slots__ = ("_buckets", "_total", "seconds")

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        # Each its second and its sum.
        self._buckets: deque[list[float]] = deque()
        self._total = 0.0

    def add(self, amount: float, now: float) -> None:
        """Count ``amount`` into the current second."""
        second = int(now)
        buckets = self._buckets
        if buckets and buckets[-1][0] == second:
            buckets[-1][1] += amount
        else:
            # Nobody may ask for the total for days: it is failures that make one ask.
            self.total(now)
            buckets.append([second, amount])
        self._total += amount

    def total(self, now: float) -> float:
        """Return the sum of what was added in the last ``seconds``."""
        oldest = int(now) - self.seconds
        while self._buckets and self._buckets[0][0] <= oldest:
            self._total -= self._buckets.popleft()[1]
        return self._total

    def clear(self) -> None:
        """Forget everything."""
        self._buckets.clear()
        self._total = 0.0
