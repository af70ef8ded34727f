"""Measures how late the event loop runs what is due: the wait everybody shares."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import trio

from gandalf.telemetry.metrics import Metrics

log = logging.getLogger("gandalf.loop")

# Often enough to be there when something blocks, seldom enough to cost nothing.
INTERVAL = 0.05
WARN_ABOVE = 0.05
WARN_EVERY = 60.0


class LoopLag:
    """Sleeps, and looks how much longer it slept than it asked for."""

    name = "loop-lag"

    def __init__(
        self, metrics: Metrics, *, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._closing = trio.Event()
        self._warned_at = -math.inf

    async def run(self) -> None:
        """Measure until closed."""
        while not self._closing.is_set():
            due = self._clock() + INTERVAL
            with trio.move_on_at(due):
                await self._closing.wait()
                return
            self._measured(max(0.0, self._clock() - due))

    def close(self) -> None:
        """Measure no more. Synchronous, idempotent."""
        self._closing.set()

    def _measured(self, lag: float) -> None:
        self._metrics.loop_lagged(lag)
        now = self._clock()
        if lag > WARN_ABOVE and now - self._warned_at >= WARN_EVERY:
            self._warned_at = now
            log.warning("event loop was blocked", extra={"lag_ms": round(lag * 1000)})
