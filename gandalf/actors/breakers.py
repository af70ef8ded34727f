"""Which targets are left alone for a while, because they fail or asked for it.

    closed --- failures: a share of the window, or some in a row ---> open
       |  ^                                                            ^ |
       |  '--- the probe succeeds --- half open --- the probe fails ---' |
       |                                 ^                               |
       |                                 '--- the first request after ---'
       '--- benched: Retry-After, a dead key ---> open

Rules:

- Every state is left by an event that is bound to come: a closed or half-open breaker
  by the end of an attempt, which always settles its permit; an open one by time.
- What an attempt says counts only in the state that admitted it: an attempt that
  began before the breaker opened neither closes nor prolongs anything.
- Only what the target is to blame for is a sample. Refused requests, clients that
  hang up and our own faults release their permit and leave no trace.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Collection

import msgspec
import trio

from gandalf.actors.window import Window
from gandalf.config import CircuitBreaker

log = logging.getLogger("gandalf.breakers")

FULL_FAILURE = 1.0
"""Weight from which failures in a row are counted. A lighter one (429) comes from a
target that is there, and the row goes on after it."""

MAX_BENCH = 3600.0
"""Seconds after which a target is probed again, however long it asked for."""

PROBE_PENDING = 1.0
"""Seconds to tell a client to wait while a probe is under way."""


class BreakerState(enum.StrEnum):
    """What a breaker does with the requests for its target."""

    CLOSED = "closed"
    """Lets them through."""
    OPEN = "open"
    """Refuses them."""
    HALF_OPEN = "half_open"
    """Lets one through at a time, to see."""


CLOSED, OPEN, HALF_OPEN = BreakerState

OnChange = Callable[[str, BreakerState, BreakerState], None]


class TargetHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What is thought of one target."""

    target: str
    state: BreakerState
    reason: str
    """Why it is not closed. Empty if it is."""
    until: float | None
    """Clock time at which an open breaker admits a probe. None if it is not open."""


class Permit:
    """Leave to make one attempt. Its first report counts; later ones do nothing.

    Whoever holds it must report in the end, ``release`` at the least.
    """

    __slots__ = ("_breaker", "_epoch")

    def __init__(self, breaker: Breaker, epoch: int) -> None:
        self._breaker: Breaker | None = breaker
        self._epoch = epoch

    def begun(self) -> None:
        """Report that the target is answering. Does not settle the permit.

        A probe that turns out to be a long stream would otherwise keep everybody else
        away until its end. The end is still to be reported, like any other.
        """
        breaker = self._breaker
        if breaker is not None and breaker.state is not CLOSED:
            self._epoch = breaker.begun(self._epoch)

    def success(self, now: float | None = None) -> None:
        """Report that the target did its part to the end.

        ``now`` is for whoever has just asked what time it is.
        """
        if (breaker := self._settle()) is not None:
            breaker.succeeded(self._epoch, now)

    def failure(self, weight: float, reason: str = "") -> None:
        """Report a failure that weighs ``weight`` against the target. 0: a release."""
        if (breaker := self._settle()) is not None:
            if weight > 0:
                breaker.failed(self._epoch, weight, reason)
            else:
                breaker.released(self._epoch)

    def release(self) -> None:
        """Report that nothing was learned about the target."""
        if (breaker := self._settle()) is not None:
            breaker.released(self._epoch)

    def _settle(self) -> Breaker | None:
        breaker, self._breaker = self._breaker, None
        return breaker


class Breaker:
    """The state machine of one target. A pure one: it is told the time."""

    __slots__ = (
        "_in_a_row",
        "_owner",
        "_probing",
        "_samples",
        "_weights",
        "epoch",
        "reason",
        "state",
        "target",
        "until",
    )

    def __init__(self, target: str, owner: Breakers) -> None:
        self.target = target
        self.state = CLOSED
        self.reason = ""
        self.until = 0.0
        self._owner = owner
        self.epoch = 0
        """Changes with the state: permits of other epochs are history, and in the
        half-open state only the probe's is of the current one."""
        self._probing = False
        self._in_a_row = 0
        self._samples = Window(owner.settings.window_seconds)
        self._weights = Window(owner.settings.window_seconds)

    def admit(self) -> Permit | None:
        """Return leave to make an attempt now, if there is."""
        if self.state is not CLOSED:
            if self.state is OPEN:
                if self._owner.clock() < self.until:
                    return None
                self._enter(HALF_OPEN, self.reason)
            if self._probing:
                return None
            self._probing = True
        return Permit(self, self.epoch)

    def retry_after(self) -> float:
        """Return the seconds until ``admit`` can succeed; 0 if it would now."""
        if self.state is OPEN:
            return max(0.0, self.until - self._owner.clock())
        return PROBE_PENDING if self._probing else 0.0

    def bench(self, duration: float, reason: str) -> None:
        """Refuse for ``duration`` seconds. The later of two deadlines stands."""
        until = self._owner.clock() + min(duration, MAX_BENCH)
        if self.state is not OPEN:
            self._open(until, reason)
        elif until > self.until:
            self.until, self.reason = until, reason

    def resize(self, window_seconds: int) -> None:
        """Judge by the last ``window_seconds`` from now on."""
        self._samples.seconds = self._weights.seconds = window_seconds

    # What permits report.

    def begun(self, epoch: int) -> int:
        """Close if the probe says so, and return the epoch that its permit is of."""
        if epoch == self.epoch and self.state is HALF_OPEN:
            self._close()
            return self.epoch
        return epoch

    def succeeded(self, epoch: int, now: float | None = None) -> None:
        """Count a success, or close if it was the probe's."""
        if epoch != self.epoch:
            return
        if self.state is HALF_OPEN:
            self._close()
        elif self._owner.settings.enabled:
            self._in_a_row = 0
            self._samples.add(1, self._owner.clock() if now is None else now)

    def failed(self, epoch: int, weight: float, reason: str) -> None:
        """Count a failure, and open if it is one too many."""
        settings = self._owner.settings
        if epoch != self.epoch:
            return
        if not settings.enabled:
            self.released(epoch)
            return
        now = self._owner.clock()
        if self.state is HALF_OPEN:
            self._open(now + settings.open_timeout, f"the probe failed: {reason}")
            return
        self._samples.add(1, now)
        self._weights.add(weight, now)
        self._in_a_row += weight >= FULL_FAILURE
        if (verdict := self._verdict(settings, now)) is not None:
            self._open(now + settings.open_timeout, f"{verdict}, the last: {reason}")

    def released(self, epoch: int) -> None:
        """Let the next request be the probe, if it was the probe's permit."""
        if epoch == self.epoch and self.state is HALF_OPEN:
            self._probing = False

    def _verdict(self, settings: CircuitBreaker, now: float) -> str | None:
        if 0 < settings.consecutive_failures <= self._in_a_row:
            return f"{self._in_a_row} failures in a row"
        samples, weights = self._samples.total(now), self._weights.total(now)
        if (
            samples >= settings.min_samples
            and weights >= settings.error_threshold * samples
        ):
            return f"failures weighing {weights:g} in {samples:g} requests"
        return None

    def _open(self, until: float, reason: str) -> None:
        self.until = until
        self._enter(OPEN, reason)

    def _close(self) -> None:
        self._samples.clear()
        self._weights.clear()
        self._in_a_row = 0
        self._enter(CLOSED, "")

    def _enter(self, state: BreakerState, reason: str) -> None:
        old, self.state, self.reason = self.state, state, reason
        self.epoch += 1
        self._probing = False
        self._owner.changed(self, old)


class Breakers:
    """Owns the breaker of every target. Synchronous throughout, so atomic.

    Args:
        settings: When to open, and for how long. A disabled breaker counts nothing,
            but a target is benched all the same: it asked for it.
        on_change: Called with target, old and new state at each change, for metrics.
        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        settings: CircuitBreaker,
        *,
        on_change: OnChange | None = None,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self._on_change = on_change
        self._breakers: dict[str, Breaker] = {}

    def admit(self, target: str) -> Permit | None:
        """Return leave to make an attempt at ``target``, or None: leave it alone."""
        breaker = self._breakers.get(target)
        if breaker is not None and breaker.state is CLOSED:
            return Permit(breaker, breaker.epoch)
        return self._breaker(target).admit()

    def bench(self, target: str, duration: float, reason: str) -> None:
        """Leave ``target`` alone for ``duration`` seconds; the later deadline wins."""
        if duration > 0:
            self._breaker(target).bench(duration, reason)

    def bench_provider(self, provider: str, duration: float, reason: str) -> None:
        """Bench every target of ``provider`` that was used so far: its key is dead."""
        for target in self._breakers:
            if target.startswith(f"{provider}/"):
                self.bench(target, duration, reason)

    def retry_after(self, targets: Collection[str]) -> float:
        """Return the seconds until one of ``targets`` can be admitted; 0 if now."""
        return min((self._breaker(t).retry_after() for t in targets), default=0.0)

    def snapshot(self) -> tuple[TargetHealth, ...]:
        """Return what is thought of every target that was used so far, by name."""
        return tuple(
            TargetHealth(
                target=breaker.target,
                state=breaker.state,
                reason=breaker.reason,
                until=breaker.until if breaker.state is OPEN else None,
            )
            for _, breaker in sorted(self._breakers.items())
        )

    def configure(self, settings: CircuitBreaker) -> None:
        """Go by ``settings`` from now on; what was counted still counts."""
        self.settings = settings
        for breaker in self._breakers.values():
            breaker.resize(settings.window_seconds)

    def keep_only(self, targets: Collection[str]) -> None:
        """Forget every target but ``targets``: the others are no longer configured."""
        for target in self._breakers.keys() - set(targets):
            del self._breakers[target]

    def changed(self, breaker: Breaker, old: BreakerState) -> None:
        """Tell of a state change: one log line, one call of the hook."""
        if breaker.state is OPEN:
            log.warning(
                "target %s: %s -> open for %.1fs: %s",
                breaker.target,
                old,
                breaker.until - self.clock(),
                breaker.reason,
            )
        else:
            log.info("target %s: %s -> %s", breaker.target, old, breaker.state)
        if self._on_change is not None:
            self._on_change(breaker.target, old, breaker.state)

    def _breaker(self, target: str) -> Breaker:
        breaker = self._breakers.get(target)
        if breaker is None:
            breaker = self._breakers[target] = Breaker(target, self)
        return breaker
