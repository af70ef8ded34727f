"""Circuit breakers: which targets are avoided for a while, and what is sent to them.

    closed --- failures: a share of the window, or some in a row ----> open
       ^                                                               |  ^
       |                                             a probe is due    |  |
       '--- probes succeed --- half open <-----------------------------'  |
                                   '------- a probe fails ----------------'

A breaker serves the requests, not itself: it may only change *in which order* targets
are tried, never make a request fail that would have been served without it.

Rules:

- **Opening** takes a share *and* a number: ``error_threshold`` of at least
  ``min_samples`` attempts within the window; or ``consecutive_failures`` in a row where
  there are fewer samples than that, and ``min_samples`` in a row where there are more.
  (Envoy's outlier detection has the same two; a fixed "5 in a row" opens every few
  minutes at 100 requests a second of which 15 % fail independently.)
- **One caller opens nothing for the others.** Where several client keys use a target,
  a row must hold failures of two of them, and the share must be reached without the key
  that failed most. Failures to connect cannot depend on the request and count for all.
- **Probes.** An open target gets one request at a time as a probe (and one more where
  that has no outcome after ``open_timeout``): a second after the breaker opened, and
  then ten times the cost of the last failed probe apart, from
  ``PROBE_EVERY`` to ``open_timeout`` seconds. Where it could not be connected to, the
  connector asks in the background instead (``unreachable``, ``reachable``), so that no
  request waits for a dead host. After a row of failures one success closes it; after a
  share, in which successes were the rule, three in a row do.
- **There is always some way.** Requests that no other target can serve are sent to the
  open ones, the least bad first (Envoy's panic threshold). Only a target that serves
  next to nothing is spared, in the way of adaptive throttling (Google's SRE book,
  chapter 21; Finagle's and gRPC's retry throttling): ``LAST_RESORT_RATE`` requests a
  second, and ``LAST_RESORT_FACTOR`` for each success of the last ten seconds.
- **A request's own retry** is no probe, and its failure is no further failure.
- **Faults.** Only ``Fault.TARGET`` counts. A rate limit makes a wait
  (``gandalf.actors.rate_limit_waits``), refused credentials take out the provider
  (``gandalf.actors.credentials_ejection``); the faults of the request and of the
  gateway leave no trace.
- An outcome counts only in the state that admitted its attempt: one that began before
  the breaker opened neither closes nor prolongs anything.
- Every state is left by an event that is bound to come: a closed or half-open breaker
  by the end of an attempt, which always settles its permit; an open one by time.
- With ``circuit_breaker.enabled: false`` nothing is counted and nothing avoided.
- **By hand.** ``trip`` opens a breaker: its first probe comes at the end of the time
  asked for, and neither a success nor the connector brings it forward. The way of last
  resort stays open. ``reset`` closes it and ends every wait.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec
import trio

from gandalf.actors.credentials_ejection import CredentialsEjection
from gandalf.actors.rate_limit_waits import DEFAULT_WAIT, RateLimitWaits
from gandalf.actors.window import ANONYMOUS, NO_KEY, Count, KeyedWindow, Window
from gandalf.config import CircuitBreaker
from gandalf.domain.errors import Fault

log = logging.getLogger("gandalf.breakers")

PROBE_EVERY: Final = 1.0
"""Seconds between two probes of an open target, at the least."""

COST_FACTOR: Final = 10.0
"""A probe that failed after a second is followed by the next ten seconds later."""

SUCCESSES_TO_CLOSE: Final = 3
"""Probes in a row that close a breaker which a share of failures had opened."""

LAST_RESORT_SECONDS: Final = 10
"""Window of the throttle for requests that have no better target, in seconds."""

LAST_RESORT_RATE: Final = 10
"""Such requests a second that are always sent to an open target."""

LAST_RESORT_FACTOR: Final = 100
"""Such requests for each success: at the most one request in a hundred is lost."""

DEAD: Final = 0.9
"""Share of failures from which a target is a worse choice than any retry elsewhere."""


class BreakerState(enum.StrEnum):
    """The treatment of a target's requests."""

    CLOSED = "closed"
    """Sends them."""
    OPEN = "open"
    """Sends them only if no other target can serve them."""
    HALF_OPEN = "half_open"
    """Sends one at a time, to learn from it."""


CLOSED, OPEN, HALF_OPEN = BreakerState

OnChange = Callable[[str, BreakerState, BreakerState], None]


class Cause(enum.StrEnum):
    """The reason why a target is avoided."""

    FAILURES = "failures"
    RATE_LIMIT = "rate_limit"
    CREDENTIALS = "credentials"


class Avoidance(msgspec.Struct, frozen=True):
    """The reason why a request is not sent to a target, and for how long."""

    cause: Cause
    reason: str
    wait: float
    """Seconds until a request is sent to the target again."""


class TargetHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one target."""

    target: str
    state: BreakerState
    """Open also while the provider refuses the gateway's credentials."""
    cause: Cause | None
    """Why the target is avoided; None if it is not. A rate limit leaves the breaker
    closed, for it may bind only some keys."""
    reason: str
    """The same in words. Empty if it is not avoided."""
    until: float | None
    """Clock time of the next probe, or of the end of a wait."""
    samples: int
    """Attempts in the window."""
    failures: int
    """Failures among them."""


class Role(enum.IntEnum):
    """The reason why an attempt was admitted, which says what its outcome means."""

    NORMAL = 0
    PROBE = 1
    LAST_RESORT = 2
    """No other target could serve the request."""
    RETRY = 3
    """The request was sent to this target before."""


NORMAL, PROBE, LAST_RESORT, RETRY = Role


class Permit:
    """Leave to make one attempt. Its first report counts; later ones do nothing.

    The holder must report in the end, ``release`` at the least.
    """

    __slots__ = ("_breaker", "_epoch", "_key", "_role")

    def __init__(self, breaker: Breaker, epoch: int, key: str, role: Role) -> None:
        self._breaker: Breaker | None = breaker
        self._epoch = epoch
        self._key = key
        self._role = role

    def begun(self) -> None:
        """Report that the target is answering. Does not settle the permit.

        It ends waits and ejections, and a probe that turns out to be a long stream does
        not block the next one until its end. The end is still to be reported.
        """
        breaker = self._breaker
        if breaker is not None and not breaker.clear:
            role = breaker.begun(self._epoch, self._key, self._role)
            if role is not self._role:
                self._role, self._epoch = role, breaker.epoch

    def success(self, now: float | None = None) -> None:
        """Report that the target answered to the end.

        ``now`` is for a caller that knows the time already.
        """
        if (breaker := self._settle()) is not None:
            breaker.succeeded(self._epoch, self._key, self._role, now)

    def failure(
        self,
        fault: Fault,
        reason: str = "",
        *,
        wait: float | None = None,
        sent: bool = True,
    ) -> None:
        """Report a failure.

        Args:
            fault: The party at fault, which decides what follows.
            reason: The words for logs and pages.
            wait: Seconds that a rate limit asks to wait.
            sent: Whether the target may have seen the request. If not, the failure
                counts for every client key.
        """
        breaker = self._settle()
        if breaker is None:
            return
        if fault is Fault.TARGET:
            key = self._key if sent else NO_KEY
            breaker.failed(self._epoch, key, self._role, reason)
            return
        breaker.released(self._epoch, self._role)
        if fault is Fault.RATE_LIMIT:
            breaker.limited(self._key, self._role, wait, reason)
        elif fault is Fault.CREDENTIALS:
            breaker.credentials_refused(reason)

    def release(self) -> None:
        """Report that nothing was learned about the target."""
        if (breaker := self._settle()) is not None:
            breaker.released(self._epoch, self._role)

    def _settle(self) -> Breaker | None:
        breaker, self._breaker = self._breaker, None
        return breaker


class Breaker:
    """The state machine of one target."""

    __slots__ = (
        "_ejection",
        "_good",
        "_in_a_row",
        "_needed",
        "_owner",
        "_probe_began",
        "_probing",
        "_row_key",
        "_row_mixed",
        "_successes",
        "_tried",
        "_waits",
        "_window",
        "clear",
        "epoch",
        "held_until",
        "probe_at",
        "reason",
        "state",
        "target",
        "unreachable",
    )

    def __init__(
        self, target: str, owner: Breakers, ejection: CredentialsEjection
    ) -> None:
        self.target = target
        self.state = CLOSED
        self.clear = False
        """Whether every request is sent: closed, no wait, credentials accepted. May be
        late in becoming True, never in becoming False."""
        self.reason = ""
        self.probe_at = 0.0
        """Clock time of the next probe, while open."""
        self.held_until = 0.0
        """Clock time before which there is no probe: it was tripped by hand."""
        self.unreachable = False
        """Whether the last failure was one to connect."""
        self.epoch = 0
        """Changes with the state: permits of other epochs are history, and in the
        half-open state only the probe's is of the current one."""
        self._owner = owner
        self._ejection = ejection
        self._waits = RateLimitWaits()
        self._window = KeyedWindow(owner.settings.window_seconds)
        self._in_a_row = 0
        self._row_key = NO_KEY
        self._row_mixed = False
        self._probing = False
        self._probe_began = 0.0
        self._needed = 1
        self._successes = 0
        self._tried = Window(LAST_RESORT_SECONDS)
        self._good = Window(LAST_RESORT_SECONDS)

    # Admission.

    def admit(self, key: str, *, retry: bool) -> Permit | None:
        """Return leave to send to this target now, as the target of first choice."""
        if self.clear or not self._owner.settings.enabled:
            return Permit(self, self.epoch, key, RETRY if retry else NORMAL)
        now = self._owner.clock()
        if not self._passes_ejection(now):
            return None
        if (
            not retry
            and self._waits.current(key, now) is not None
            and not self._waits.take_trickle(now)
        ):
            return None
        if self.state is CLOSED:
            self._set_clear(now)
            return Permit(self, self.epoch, key, RETRY if retry else NORMAL)
        if retry or self._probe_is_out(now):
            return None
        if self.state is OPEN and now < self.probe_at:
            return None
        if self.state is OPEN:
            self._enter(HALF_OPEN, self.reason)
        self._probing = True
        self._probe_began = now
        return Permit(self, self.epoch, key, PROBE)

    def admit_last(self, key: str, *, retry: bool) -> Permit | None:
        """Return leave to send although ``admit`` refused: no other target is left."""
        now = self._owner.clock()
        ejection = self._ejection
        if ejection.strict and ejection.concerns(self.target, now):
            return None
        wait = self._waits.current(key, now)
        if wait is not None and wait.strict and not retry:
            return None
        if self.state is CLOSED:
            return Permit(self, self.epoch, key, RETRY if retry else NORMAL)
        allowed = (
            LAST_RESORT_RATE * LAST_RESORT_SECONDS
            + LAST_RESORT_FACTOR * self._good.total(now)
        )
        if self._tried.total(now) >= allowed:
            return None
        self._tried.add(1, now)
        return Permit(self, self.epoch, key, LAST_RESORT)

    def avoidance(self, key: str) -> Avoidance | None:
        """Return why a request of ``key`` is not sent now; None if it would be."""
        now = self._owner.clock()
        if self.clear or not self._owner.settings.enabled:
            return None
        ejection = self._ejection
        if ejection.concerns(self.target, now):
            return Avoidance(Cause.CREDENTIALS, ejection.reason, ejection.until - now)
        if self.state is not CLOSED:
            left = max(self.probe_at - now, PROBE_EVERY)
            return Avoidance(Cause.FAILURES, self.reason, left)
        wait = self._waits.current(key, now)
        if wait is not None:
            return Avoidance(Cause.RATE_LIMIT, wait.reason, wait.until - now)
        return None

    def badness(self, now: float) -> float:
        """Return the share of failures of the last minute: how bad a choice it is."""
        if self.state is CLOSED:
            return 0.0
        total = self._window.total(now)
        return total.failures / total.samples if total.samples else 0.0

    # Reports of permits.

    def begun(self, epoch: int, key: str, role: Role) -> Role:
        """Take the beginning of an answer for a success; return the permit's role."""
        now = self._owner.clock()
        self._accepted(key, now)
        if role is PROBE and epoch == self.epoch:
            self._probe_succeeded(now)
            # Its end is one more sample of the state that it has brought about.
            return NORMAL if self.state is CLOSED else LAST_RESORT
        return role

    def succeeded(
        self, epoch: int, key: str, role: Role, now: float | None = None
    ) -> None:
        """Count a success, and close if it was the last probe that is needed."""
        if not self._owner.settings.enabled:
            return
        if now is None:
            now = self._owner.clock()
        if role is LAST_RESORT:
            if self.state is not CLOSED:
                self._window.add(key, False, now)
                self._good.add(1, now)
                # It is served: high time to find out whether it is well.
                self.probe_at = min(self.probe_at, max(now, self.held_until))
                self.unreachable = False
            return
        if epoch != self.epoch:
            return
        self._window.add(key, False, now)
        if role is PROBE:
            self._good.add(1, now)
            self._probe_succeeded(now)
        else:
            self._in_a_row = 0

    def failed(self, epoch: int, key: str, role: Role, reason: str) -> None:
        """Count a failure, and open if it is one too many."""
        settings = self._owner.settings
        if not settings.enabled or role is RETRY:
            self.released(epoch, role)
            return
        now = self._owner.clock()
        if role is LAST_RESORT:
            if self.state is not CLOSED:
                self._window.add(key, True, now)
            return
        if epoch != self.epoch:
            return
        self._window.add(key, True, now)
        if role is PROBE:
            self._probe_failed(key, reason, now)
            return
        self._lengthen_row(key)
        if (verdict := self._row_verdict(settings, now)) is not None:
            self._open(key, f"{verdict}, the last: {reason}", now, needed=1)
        elif (verdict := self._share_verdict(settings, now)) is not None:
            served = self._window.total(now)
            self._good.add(served.samples - served.failures, now)
            why = f"{verdict}, the last: {reason}"
            self._open(key, why, now, needed=SUCCESSES_TO_CLOSE)

    def limited(self, key: str, role: Role, wait: float | None, reason: str) -> None:
        """Wait, for ``key`` at the least, as long as the rate limit asks for."""
        settings, now = self._owner.settings, self._owner.clock()
        if not settings.enabled:
            return
        seconds = min(wait or DEFAULT_WAIT, settings.max_ejection)
        if role is RETRY:
            self._waits.renew(key, seconds, now)
        else:
            self._waits.limited(key, seconds, self.samples(now), reason, now)
        self.clear = False

    def credentials_refused(self, reason: str) -> None:
        """Avoid all targets of the provider for a while."""
        if self._owner.settings.enabled:
            self._owner.eject(self, self._ejection, reason)

    def samples(self, now: float) -> int:
        """Return the number of attempts in the window."""
        return self._window.total(now).samples

    def released(self, epoch: int, role: Role) -> None:
        """Let the next request be the probe, if it was the probe's permit."""
        if role is PROBE and epoch == self.epoch:
            self._probing = False

    # What others tell.

    def reachable(self) -> None:
        """Note that the target can be connected to again: a probe is due."""
        if self.unreachable:
            self.unreachable = False
            due = max(self._owner.clock(), self.held_until)
            self.probe_at = min(self.probe_at, due)

    def trip(self, seconds: float, reason: str) -> None:
        """Open, and send no probe for ``seconds``."""
        now = self._owner.clock()
        self._needed, self._successes = 1, 0
        self._enter(OPEN, reason)
        self.unreachable = False
        self.held_until = self.probe_at = now + seconds
        self._owner.tell_opened(self)

    def reset(self) -> None:
        """Close, forget the failures, and end every wait."""
        now = self._owner.clock()
        self._close()
        self._waits = RateLimitWaits()
        self._ejection.accepted(self.target, now)
        self._set_clear(now)

    def resize(self, window_seconds: int) -> None:
        """Decide by the last ``window_seconds`` from now on."""
        self._window.resize(window_seconds)

    def health(self, now: float) -> TargetHealth:
        """Return the state, for pages and metrics."""
        cause, reason, until = self._avoided(now)
        total = self._window.total(now)
        return TargetHealth(
            target=self.target,
            state=OPEN if cause is Cause.CREDENTIALS else self.state,
            cause=cause,
            reason=reason,
            until=until,
            samples=total.samples,
            failures=total.failures,
        )

    # Inside.

    def _avoided(self, now: float) -> tuple[Cause | None, str, float | None]:
        ejection = self._ejection
        if ejection.concerns(self.target, now):
            return Cause.CREDENTIALS, ejection.reason, ejection.until
        if self.state is not CLOSED:
            until = self.probe_at if self.state is OPEN else None
            return Cause.FAILURES, self.reason, until
        wait = self._waits.longest(now)
        if wait is not None:
            return Cause.RATE_LIMIT, wait.reason, wait.until
        return None, "", None

    def _probe_is_out(self, now: float) -> bool:
        """Whether a probe is under way and may still be waited for."""
        patience = self._owner.settings.open_timeout
        return self._probing and now < self._probe_began + patience

    def _passes_ejection(self, now: float) -> bool:
        ejection = self._ejection
        return not ejection.concerns(self.target, now) or ejection.take_trickle(now)

    def _accepted(self, key: str, now: float) -> None:
        """End whatever an answer disproves: the wait, the ejection."""
        self._waits.served(key)
        if now < self._ejection.until:
            self._owner.accepted(self, self._ejection, now)
        self._set_clear(now)

    def _set_clear(self, now: float) -> None:
        self.clear = (
            self.state is CLOSED
            and self._waits.over(now)
            and now >= self._ejection.until
        )

    def _probe_succeeded(self, now: float) -> None:
        self._probing = False
        self._successes += 1
        if self._successes >= self._needed:
            self._close()
            self._set_clear(now)

    def _probe_failed(self, key: str, reason: str, now: float) -> None:
        most = self._owner.settings.open_timeout
        cost = now - self._probe_began
        self._successes = 0
        self._enter(OPEN, f"the probe failed: {reason}")
        self._schedule(key, min(max(PROBE_EVERY, COST_FACTOR * cost), most), now)

    def _lengthen_row(self, key: str) -> None:
        if self._in_a_row == 0:
            self._row_key = key
            self._row_mixed = key == NO_KEY
        elif key != self._row_key:
            self._row_mixed = True
        self._in_a_row += 1

    def _row_verdict(self, settings: CircuitBreaker, now: float) -> str | None:
        row = self._in_a_row
        if not 0 < settings.consecutive_failures <= row:
            return None
        counts = self._window.by_key(now)
        if not self._row_mixed and len(counts) > (1 + (NO_KEY in counts)):
            return None
        samples = _sum(counts, but=None).samples
        if samples >= settings.min_samples > row:
            return None
        return f"{row} failures in a row"

    def _share_verdict(self, settings: CircuitBreaker, now: float) -> str | None:
        counts = self._window.by_key(now)
        all_of_them = _sum(counts, but=None)
        samples, failures = all_of_them.samples, all_of_them.failures
        threshold = settings.error_threshold
        if samples < settings.min_samples or failures < threshold * samples:
            return None
        callers = [key for key in counts if key != NO_KEY]
        if len(callers) > 1:
            worst = max(callers, key=lambda key: counts[key].failures)
            others = _sum(counts, but=worst)
            if others.failures < threshold * others.samples:
                return None
        return f"{failures} failures in {samples} requests"

    def _open(self, key: str, reason: str, now: float, *, needed: int) -> None:
        self._needed = needed
        self._successes = 0
        self._enter(OPEN, reason)
        self._schedule(key, PROBE_EVERY, now)
        self._owner.tell_opened(self)

    def _schedule(self, key: str, wait: float, now: float) -> None:
        self.unreachable = key == NO_KEY
        if self.unreachable:
            # The connector finds out, and says so (``reachable``).
            wait = self._owner.settings.open_timeout
        self.probe_at = now + wait

    def _close(self) -> None:
        self._window.clear()
        self._tried.clear()
        self._good.clear()
        self._in_a_row = 0
        self.unreachable = False
        self.held_until = 0.0
        self._enter(CLOSED, "")

    def _enter(self, state: BreakerState, reason: str) -> None:
        old, self.state, self.reason = self.state, state, reason
        self.clear = False
        self.epoch += 1
        self._probing = False
        self._owner.changed(self, old)


class Breakers:
    """Owns the breaker of every target. Synchronous throughout, so atomic.

    Args:
        settings: When to open, and for how long.
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
        self._ejections: dict[str, CredentialsEjection] = {}

    # Requests.

    def admit(
        self, target: str, key: str = ANONYMOUS, *, retry: bool = False
    ) -> Permit | None:
        """Return leave to send to ``target``; None if another one is preferable.

        Args:
            target: Its name.
            key: Id of the client key.
            retry: Whether the request was sent to this target before.
        """
        breaker = self._breakers.get(target)
        if breaker is None:
            breaker = self._breaker(target)
        elif breaker.clear and not retry:
            return Permit(breaker, breaker.epoch, key, NORMAL)
        return breaker.admit(key, retry=retry)

    def admit_last(
        self, target: str, key: str = ANONYMOUS, *, retry: bool = False
    ) -> Permit | None:
        """Return leave to send to ``target`` for a request that no other can serve."""
        return self._breaker(target).admit_last(key, retry=retry)

    def least_bad(self, targets: Sequence[str]) -> list[str]:
        """Return ``targets`` that ``admit`` refused, the best choice first."""
        now = self.clock()
        return sorted(targets, key=lambda each: self._breaker(each).badness(now))

    def is_dead(self, target: str) -> bool:
        """Whether nearly everything that is sent to ``target`` fails."""
        return self._breaker(target).badness(self.clock()) >= DEAD

    def avoidance(self, target: str, key: str = ANONYMOUS) -> Avoidance | None:
        """Return why a request of ``key`` is not sent to ``target`` now, if it is."""
        return self._breaker(target).avoidance(key)

    def retry_after(self, targets: Collection[str], key: str = ANONYMOUS) -> float:
        """Return the seconds until one of ``targets`` is tried again; 0 if now."""
        waits = [self.avoidance(target, key) for target in targets]
        return min((each.wait if each else 0.0 for each in waits), default=0.0)

    # Connections.

    def unreachable(self) -> list[str]:
        """Return the open targets whose last failure was one to connect."""
        return [
            name
            for name, breaker in self._breakers.items()
            if breaker.unreachable and breaker.state is not CLOSED
        ]

    def reachable(self, target: str) -> None:
        """Note that ``target`` can be connected to again."""
        breaker = self._breakers.get(target)
        if breaker is not None:
            breaker.reachable()

    # By hand.

    def trip(self, target: str, seconds: float, reason: str) -> TargetHealth:
        """Avoid ``target`` for ``seconds``; return its state.

        Only requests that no other target can serve are sent to it meanwhile. Then a
        probe decides.
        """
        breaker = self._breaker(target)
        breaker.trip(seconds, reason)
        return breaker.health(self.clock())

    def reset(self, target: str) -> TargetHealth:
        """Avoid ``target`` no longer, whatever the reason; return its state."""
        breaker = self._breaker(target)
        breaker.reset()
        return breaker.health(self.clock())

    def health(self, target: str) -> TargetHealth:
        """Return the state of ``target``, used before or not."""
        return self._breaker(target).health(self.clock())

    # Everything else.

    def statistics(self) -> tuple[TargetHealth, ...]:
        """Return the state of every target that was used so far, by name."""
        now = self.clock()
        return tuple(each.health(now) for _, each in sorted(self._breakers.items()))

    def configure(self, settings: CircuitBreaker) -> None:
        """Go by ``settings`` from now on; what was counted still counts."""
        self.settings = settings
        for breaker in self._breakers.values():
            breaker.resize(settings.window_seconds)

    def keep_only(self, targets: Collection[str]) -> None:
        """Forget every target but ``targets``: the others are no longer configured."""
        for target in self._breakers.keys() - set(targets):
            del self._breakers[target]
        providers = {target.partition("/")[0] for target in targets}
        for provider in self._ejections.keys() - providers:
            del self._ejections[provider]

    def __repr__(self) -> str:
        avoided = [each.target for each in self.statistics() if each.cause]
        return f"<Breakers of {len(self._breakers)} targets, avoided: {avoided}>"

    # What breakers tell.

    def eject(
        self, breaker: Breaker, ejection: CredentialsEjection, reason: str
    ) -> None:
        """Avoid every target of the provider: ``breaker``'s has refused its key.

        One log line for each ejection, not for each refusal.
        """
        now, seconds = self.clock(), self.settings.max_ejection
        if now >= ejection.until:
            log.warning(
                "provider %s: avoided for up to %.0fs, %s refused the credentials: %s",
                breaker.target.partition("/")[0],
                seconds,
                breaker.target,
                reason,
            )
        samples = breaker.samples(now)
        ejection.refused(breaker.target, now + seconds, samples, reason, now)
        for each in self._breakers.values():
            each.clear = False

    def accepted(
        self, breaker: Breaker, ejection: CredentialsEjection, now: float
    ) -> None:
        """End an ejection that an answer of ``breaker``'s target has disproved."""
        ejection.accepted(breaker.target, now)
        if now >= ejection.until:
            provider = breaker.target.partition("/")[0]
            log.info("provider %s: the credentials are accepted again", provider)

    def tell_opened(self, breaker: Breaker) -> None:
        """Log that a breaker has opened."""
        log.warning(
            "target %s: open, next probe in %.1fs: %s",
            breaker.target,
            breaker.probe_at - self.clock(),
            breaker.reason,
        )

    def changed(self, breaker: Breaker, old: BreakerState) -> None:
        """Tell of a state change. Probes are told of at the level debug."""
        if breaker.state is old:
            return
        if breaker.state is CLOSED:
            log.info("target %s: closed", breaker.target)
        else:
            log.debug("target %s: %s -> %s", breaker.target, old, breaker.state)
        if self._on_change is not None:
            self._on_change(breaker.target, old, breaker.state)

    def _breaker(self, target: str) -> Breaker:
        breaker = self._breakers.get(target)
        if breaker is None:
            provider = target.partition("/")[0]
            ejection = self._ejections.setdefault(provider, CredentialsEjection())
            breaker = self._breakers[target] = Breaker(target, self, ejection)
        return breaker


def _sum(counts: dict[str, Count], *, but: str | None) -> Count:
    total = Count()
    for key, each in counts.items():
        if key != but:
            total.samples += each.samples
            total.failures += each.failures
    return total
