"""Sends the request to its targets in order until one answers.

The order: targets whose breaker admits the request, as SelectTargets has put them; then
the avoided ones, the least bad first; then, within ``retries.max_attempts`` and the
retry budget, those again that may recover. docs/failover.md describes it for operators.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import trio

from gandalf.actors.breakers import Avoidance, Breakers, Cause, Permit
from gandalf.actors.connector import HEAD_START, Connector
from gandalf.actors.retry_budget import RetryBudget
from gandalf.actors.routes import RouteTable, Snapshot
from gandalf.actors.watches import Watches
from gandalf.actors.window import ANONYMOUS
from gandalf.config import Config
from gandalf.dialects.base import Call
from gandalf.dialects.estimate import estimate_tokens
from gandalf.domain.errors import (
    BadRequest,
    CredentialsRefused,
    Fault,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gandalf.domain.routing import Target
from gandalf.domain.usage import Attempt
from gandalf.pipeline.attempt import Lane, Sending
from gandalf.pipeline.drains import Drains
from gandalf.pipeline.exchange import Exchange, Reply
from gandalf.pipeline.failure_policy import FailurePolicy, classify
from gandalf.providers.base import Provider
from gandalf.providers.watch import UpstreamBroken

# Request bodies from this size on (some 60,000 tokens) may be slow for their size:
# that a time limit passed says nothing of the target.
LARGE_BODY = 256 * 1024

# A failure within so many seconds is worth a second try before the next target's turn,
# and so is one that asks for no longer wait than this.
QUICK = 1.0
SHORT_WAIT = 2.0

# Lanes remembered; a request about a stored object may name a target of its own.
MAX_LANES = 10_000


class _Failure(NamedTuple):
    sending: Sending
    error: UpstreamError
    policy: FailurePolicy


class _Progress:
    """The course of one exchange through its targets."""

    __slots__ = ("call", "exchange", "failures", "impossible", "key", "uncounted")

    def __init__(self, exchange: Exchange, call: Call) -> None:
        identity = exchange.identity
        self.exchange = exchange
        self.call = call
        self.key = ANONYMOUS if identity is None else identity.key_id
        self.failures: list[_Failure] = []
        self.impossible: BadRequest | None = None
        """Why some target cannot be asked for it at all."""
        self.uncounted: Target | None = None
        """A target without the endpoint that counts tokens."""

    @property
    def stuck(self) -> bool:
        """Whether the request was sent and cannot be sent again: it is consumed."""
        return bool(self.failures) and not self.call.replayable


class Dispatch:
    """Tries targets until one has produced the first content of its answer.

    That content is the point of no return: before it the next target may be tried,
    after it the client has part of an answer and a failure can only end it. Each
    target is asked once; if all fail, those that may recover are asked again after a
    pause, within ``retries.max_attempts`` and the retry budget.
    """

    def __init__(
        self,
        routes: RouteTable,
        breakers: Breakers,
        retry_budget: RetryBudget,
        current: Callable[[], Config],
        watches: Watches,
        connector: Connector,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._routes = routes
        self._breakers = breakers
        self._retry_budget = retry_budget
        self._current = current
        self._watches = watches
        self._connector = connector
        self._uniform = uniform
        self._drains: dict[str, Drains] = {}
        self._snapshot = routes.current
        """What ``_lanes`` are of."""
        self._lanes: dict[Target, Lane] = {}

    async def enter(self, exchange: Exchange) -> Reply | None:
        exchange.dispatching = True
        exchange.dispatched_at = now = trio.current_time()
        self._retry_budget.note_request(now)
        snapshot = self._routes.current
        call = exchange.call
        assert call is not None  # noqa: S101 - read_call comes before
        progress = _Progress(exchange, call)
        avoided: list[Lane] = []
        targets = exchange.targets
        for place, target in enumerate(targets, 1):
            if progress.stuck:
                break
            lane = self._lane(snapshot, target)
            if lane is None:
                # A reload has taken it away since the targets were chosen.
                exchange.attempts.append(_skipped(exchange, target, "provider_removed"))
                continue
            if exchange.operation == "count_tokens" and _must_guess(lane.provider):
                return _guess(exchange, target)
            permit = self._breakers.admit(lane.name, progress.key)
            if permit is None:
                self._pass_over(progress, lane)
                avoided.append(lane)
                continue
            following = targets[place:]
            reply = await self._send(progress, lane, permit, following)
            if reply is None and following and len(progress.failures) == 1:
                reply = await self._repeat(progress, following)
            if reply is not None:
                return reply
        if avoided and not progress.stuck:
            reply = await self._try_avoided(progress, avoided)
            if reply is not None:
                return reply
        if progress.failures and call.replayable:
            reply = await self._try_again(progress)
            if reply is not None:
                return reply
        if progress.uncounted is not None:
            return _guess(exchange, progress.uncounted)
        if progress.failures:
            raise _worst(progress.failures)
        if progress.impossible is not None:
            raise progress.impossible
        raise self._nothing_tried(progress)

    def settle(self, exchange: Exchange) -> None:
        # Forgotten first: each holds the other, and only the collector would part them.
        served, exchange.served = exchange.served, None
        if served is not None:
            served.settle(exchange)

    # One target.

    def _lane(self, snapshot: Snapshot, target: Target) -> Lane | None:
        """Return what requests to ``target`` need; None if its provider is gone."""
        lanes = self._lanes
        if snapshot is not self._snapshot or len(lanes) > MAX_LANES:
            self._snapshot = snapshot
            lanes.clear()
        lane = lanes.get(target)
        if lane is None:
            provider = snapshot.providers.get(target.provider)
            if provider is None:
                return None
            lanes[target] = lane = Lane(
                target,
                provider,
                snapshot.upstreams[provider.name],
                self._drains_of(provider),
                snapshot.prices,
            )
        return lane

    async def _send(
        self,
        progress: _Progress,
        lane: Lane,
        permit: Permit,
        following: tuple[Target, ...] = (),
    ) -> Reply | None:
        """Send to ``lane``; return the reply, or None after noting why there is none.

        If it takes long to connect, one of the ``following`` targets may be connected
        to meanwhile, and then there is no reply.

        Raises:
            UpstreamError: No other target is to be tried.
            BadRequest: The target cannot be asked for it, and what it was being sent
                cannot be sent again.
        """
        exchange, call = progress.exchange, progress.call
        exchange.drains = lane.drains
        sending = Sending(exchange, call, lane, permit, self._watches)
        if following:
            sending.has_next = True
            upstream = lane.connectable
            if upstream is not None and not upstream.idle:
                self._prepare_race(progress, sending, following)
        try:
            reply = await sending.run()
        except BadRequest as error:
            if not call.replayable:
                raise
            progress.impossible = progress.impossible or error
            return None
        if reply is None:
            progress.failures.append(self._judge(progress, sending))
        return reply

    def _judge(self, progress: _Progress, sending: Sending) -> _Failure:
        """Return what has become of ``sending``, and let the breaker know.

        Raises:
            UpstreamError: No other target is to be tried.
        """
        # Taken away: its traceback holds the sending, and only the collector would
        # part them.
        error, sending.error = sending.error, None
        assert error is not None  # noqa: S101 - it has no reply
        policy = classify(error)
        if _falls_back(progress.exchange, error):
            policy = policy._replace(failover=True)
        cause = error.__cause__
        lane, permit = sending.lane, sending.permit
        if (
            progress.exchange.operation == "count_tokens"
            and error.upstream_status in _NO_SUCH_PATH
        ):
            progress.uncounted = lane.target
            policy = policy._replace(failover=True)
        if sending.overtaken and lane.connectable is not None:
            # Dead or only slow: the connector finds out, and settles the permit.
            limit = lane.provider.timeouts.connect
            self._connector.settle(lane.connectable, limit, permit)
            sending.attempt.decision = "failover"
            sending.attempt.reason = "another target had connected first"
            return _Failure(sending, error, policy._replace(retry=True))
        permit.failure(
            _fault(error, progress.call),
            error.detail,
            wait=error.retry_after,
            sent=not isinstance(cause, UpstreamBroken) or cause.sent,
        )
        sending.attempt.decision = "failover" if policy.failover else "give_up"
        if not policy.failover:
            raise error
        return _Failure(sending, error, policy)

    def _pass_over(self, progress: _Progress, lane: Lane) -> None:
        """Put on the record that ``lane`` is avoided, and why."""
        avoidance = self._breakers.avoidance(lane.name, progress.key)
        attempt = _skipped(progress.exchange, lane.target, _outcome(avoidance))
        if avoidance is not None:
            attempt.reason = avoidance.reason[:200]
        progress.exchange.attempts.append(attempt)

    def _drains_of(self, provider: Provider) -> Drains:
        disconnect = provider.on_client_disconnect
        drains = self._drains.get(provider.name)
        if drains is None or (
            drains.disconnect is not disconnect and drains.disconnect != disconnect
        ):
            drains = self._drains[provider.name] = Drains(disconnect)
        return drains

    async def _repeat(
        self, progress: _Progress, following: tuple[Target, ...]
    ) -> Reply | None:
        """Send once more to the target of the only failure, if that is promising.

        A target that is well and failed at once usually answers the second time, and
        the next one may be another model. One that asks for a short wait gets it.
        """
        failure = progress.failures[0]
        sending, error = failure.sending, failure.error
        settings = self._current().retries
        wait = error.retry_after or 0.0
        if (
            not failure.policy.retry
            or progress.stuck
            or sending.overtaken
            or sending.attempt.status is None
            or sending.attempt.duration > QUICK
            or wait > SHORT_WAIT
            or settings.max_attempts <= len(progress.exchange.targets)
        ):
            return None
        name = sending.lane.name
        if failure.policy.fault is Fault.RATE_LIMIT:
            if not wait:
                return None
        elif self._breakers.avoidance(name, progress.key) is not None:
            return None
        if not self._retry_budget.allow_retry():
            return None
        sending.attempt.decision = "retry"
        # Either this is the retry, or the next target has its turn first.
        progress.failures[0] = failure._replace(
            policy=failure.policy._replace(retry=False)
        )
        await trio.sleep(wait + self._uniform(0, settings.base_delay))
        permit = self._breakers.admit(name, progress.key, retry=True)
        if permit is None:
            return None
        return await self._send(progress, sending.lane, permit, following)

    # Connecting to two.

    def _prepare_race(
        self, progress: _Progress, sending: Sending, following: tuple[Target, ...]
    ) -> None:
        """Have the next target connected to if ``sending`` is slow to connect."""
        if progress.call.replayable:
            race = partial(self._race, progress, sending, following)
            sending.hedge_after(HEAD_START, race)

    def _race(
        self, progress: _Progress, sending: Sending, following: tuple[Target, ...]
    ) -> None:
        """Connect to the first of the ``following`` targets that is well."""

        def connected(error: UpstreamBroken | None) -> None:
            if error is None:
                sending.overtake()

        snapshot = self._routes.current
        for target in following:
            lane = self._lane(snapshot, target)
            upstream = None if lane is None else lane.connectable
            if (
                lane is None
                or upstream is None
                or upstream is sending.lane.connectable
                or self._breakers.avoidance(lane.name, progress.key) is not None
            ):
                continue
            if upstream.idle:
                connected(None)
            else:
                limit = lane.provider.timeouts.connect
                self._connector.post(upstream, limit, connected)
            return

    # No target of first choice has answered.

    async def _try_avoided(
        self, progress: _Progress, avoided: list[Lane]
    ) -> Reply | None:
        """Send to the ``avoided`` targets all the same, the least bad first."""
        breakers = self._breakers
        lanes = {lane.name: lane for lane in avoided}
        # A retry at a target that is well promises more than one that is dead.
        others = bool(progress.failures)
        for name in breakers.least_bad(tuple(lanes)):
            if progress.stuck:
                break
            if others and breakers.is_dead(name):
                continue
            permit = breakers.admit_last(name, progress.key)
            if permit is not None:
                reply = await self._send(progress, lanes[name], permit)
                if reply is not None:
                    return reply
        return None

    async def _try_again(self, progress: _Progress) -> Reply | None:
        """Send again to those targets that may recover, the soonest first."""
        settings = self._current().retries
        failures = progress.failures
        pending = [failure for failure in failures if failure.policy.retry]
        delay = settings.base_delay
        while pending and len(failures) < settings.max_attempts:
            again = min(pending, key=lambda failure: failure.error.retry_after or 0.0)
            pause = self._uniform(0, delay) + (again.error.retry_after or 0.0)
            if pause > settings.max_delay or not self._retry_budget.allow_retry():
                return None
            again.sending.attempt.decision = "retry"
            await trio.sleep(pause)
            pending.remove(again)
            lane = again.sending.lane
            permit = self._admit_again(lane.name, progress.key)
            if permit is not None:
                count = len(failures)
                reply = await self._send(progress, lane, permit)
                if reply is not None:
                    return reply
                pending += [each for each in failures[count:] if each.policy.retry]
            delay = min(delay * 2, settings.max_delay)
        return None

    def _admit_again(self, name: str, key: str) -> Permit | None:
        breakers = self._breakers
        permit = breakers.admit(name, key, retry=True)
        if permit is None:
            permit = breakers.admit_last(name, key, retry=True)
        return permit

    def _nothing_tried(self, progress: _Progress) -> UpstreamError:
        """Return the error of a request that no target was asked for."""
        waits: list[tuple[Target, Avoidance]] = []
        for target in progress.exchange.targets:
            avoidance = self._breakers.avoidance(target.name, progress.key)
            if avoidance is not None:
                waits.append((target, avoidance))
        if not waits:
            return UpstreamUnavailable("", "no target of this model may be tried now")
        target, soonest = min(waits, key=lambda each: each[1].wait)
        name, wait = target.provider, soonest.wait
        if all(each.cause is Cause.RATE_LIMIT for _, each in waits):
            return UpstreamRateLimited.waiting(name, wait)
        if all(each.cause is Cause.CREDENTIALS for _, each in waits):
            return CredentialsRefused(name, retry_after=wait, detail=soonest.reason)
        return UpstreamUnavailable(
            "",
            "no target of this model may be tried now: they keep failing",
            retry_after=wait,
        )


def _falls_back(exchange: Exchange, error: UpstreamError) -> bool:
    """Whether the route wants the next target tried after this refusal."""
    route = exchange.route
    return (
        route is not None
        and bool(route.fallback_on)
        and isinstance(error, UpstreamRefused)
        and error.refusal in route.fallback_on
    )


def _fault(error: UpstreamError, call: Call) -> Fault:
    """Return the party at fault, as far as the request's size does not excuse it."""
    if (
        isinstance(error, UpstreamTimeout)
        and error.phase not in ("connect", "pool")
        and len(call.body) >= LARGE_BODY
    ):
        return Fault.REQUEST
    return error.fault


def _outcome(avoidance: Avoidance | None) -> str:
    if avoidance is None or avoidance.cause is Cause.FAILURES:
        return "breaker_open"
    if avoidance.cause is Cause.RATE_LIMIT:
        return "rate_limited"
    return "credentials_refused"


_NO_SUCH_PATH = frozenset({404, 405, 501})
"""Statuses of upstreams that speak a dialect but have no counts of tokens."""


def _must_guess(provider: Provider) -> bool:
    """Whether there is no way to have the prompt's tokens counted."""
    return provider.dialect.parse_count is None


def _guess(exchange: Exchange, target: Target) -> Reply:
    """Return about as many tokens as the request has; nothing is sent for it."""
    call = exchange.call
    assert call is not None  # noqa: S101 - read_call comes before
    exchange.approximated = ("tokens",)
    exchange.served_by = target
    render = exchange.dialect.render_count
    assert render is not None  # noqa: S101 - its client asks
    body = render(estimate_tokens(call.body))
    return Reply(200, b"application/json", body)


def _skipped(exchange: Exchange, target: Target, why: str) -> Attempt:
    return Attempt(
        target=target.name,
        started=trio.current_time() - exchange.received_at,
        outcome=why,
        decision="skipped",
    )


def _worst(failures: list[_Failure]) -> UpstreamError:
    """Return the failure that the client is told of when no target has answered."""
    failures[-1].sending.attempt.decision = "give_up"
    # The rate limit of one target is no reason to wait if another one just failed:
    # the worst of them is what the client should know, the latest among equals.
    return max(reversed(failures), key=lambda failure: failure.error.status).error
