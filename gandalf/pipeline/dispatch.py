"""Sends the request to its targets in order until one answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import trio

from gandalf.actors.breakers import Breakers
from gandalf.actors.retry_budget import RetryBudget
from gandalf.actors.routes import RouteTable, Snapshot
from gandalf.actors.watches import Watches
from gandalf.config import Config
from gandalf.dialects.base import Call
from gandalf.dialects.estimate import estimate_tokens
from gandalf.domain.errors import BadRequest, Fault, UpstreamError, UpstreamUnavailable
from gandalf.domain.routing import Target
from gandalf.domain.usage import Attempt
from gandalf.pipeline.attempt import Lane, Sending
from gandalf.pipeline.drains import Drains
from gandalf.pipeline.exchange import Exchange, Reply
from gandalf.pipeline.failure_policy import FailurePolicy, classify
from gandalf.providers.base import Provider

# Lanes remembered; a request about a stored object may name a target of its own.
MAX_LANES = 10_000


class _Failure(NamedTuple):
    sending: Sending
    error: UpstreamError
    policy: FailurePolicy


class Dispatch:
    """Tries targets until one has produced the first content of its answer.

    That content is the point of no return: before it the next target may be tried,
    after it the client has part of an answer and a failure can only end it. Each
    target is asked once, in order; if all fail, those that may recover are asked again
    after a pause, within ``retries.max_attempts`` and the retry budget.
    """

    def __init__(
        self,
        routes: RouteTable,
        breakers: Breakers,
        retry_budget: RetryBudget,
        current: Callable[[], Config],
        watches: Watches,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._routes = routes
        self._breakers = breakers
        self._retry_budget = retry_budget
        self._current = current
        self._watches = watches
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
        failures: list[_Failure] = []
        impossible: BadRequest | None = None
        call = exchange.call
        assert call is not None  # noqa: S101 - read_call comes before
        for target in exchange.targets:
            if failures and not call.replayable:
                break  # What it was sent is gone, and cannot be sent again.
            lane = self._lane(snapshot, target)
            if lane is None:
                # A reload has taken it away since the targets were chosen.
                exchange.attempts.append(_skipped(exchange, target, "provider_removed"))
                continue
            if exchange.operation == "count_tokens" and _must_guess(lane.provider):
                return _guess(exchange, target)
            sending = self._begin(exchange, call, lane)
            if sending is None:
                continue
            try:
                reply = await sending.run()
            except BadRequest as error:
                if not call.replayable:
                    raise  # It was the rest of what this target was being sent.
                # This target cannot be asked for it at all; another one may.
                impossible = impossible or error
                continue
            if reply is not None:
                return reply
            failures.append(self._judge(sending))
        if call.replayable:
            reply = await self._try_again(exchange, call, failures)
            if reply is not None:
                return reply
        if failures:
            raise _worst(failures)
        if impossible is not None:
            raise impossible
        wait = self._breakers.retry_after([target.name for target in exchange.targets])
        raise UpstreamUnavailable(
            "", "no target of this model may be tried now", retry_after=wait
        )

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
            )
        return lane

    def _begin(self, exchange: Exchange, call: Call, lane: Lane) -> Sending | None:
        """Return what sends to ``lane``; None if that is not to be tried now."""
        permit = self._breakers.admit(lane.name)
        if permit is None:
            exchange.attempts.append(_skipped(exchange, lane.target, "breaker_open"))
            return None
        exchange.drains = lane.drains
        return Sending(exchange, call, lane, permit, self._watches)

    def _judge(self, sending: Sending) -> _Failure:
        """Return what has become of ``sending``, and let the breaker know.

        Raises:
            UpstreamError: No other target is to be tried.
        """
        # Taken away: its traceback holds the sending, and only the collector would
        # part them.
        error, sending.error = sending.error, None
        assert error is not None  # noqa: S101 - it has no reply
        target, policy = sending.lane.target, classify(error)
        sending.permit.failure(policy.weight, error.message)
        self._bench(target, policy, error)
        sending.attempt.decision = "failover" if policy.failover else "give_up"
        if not policy.failover:
            raise error
        return _Failure(sending, error, policy)

    def _bench(
        self, target: Target, policy: FailurePolicy, error: UpstreamError
    ) -> None:
        if policy.bench <= 0:
            return
        if policy.fault is Fault.CREDENTIALS:
            # The key is the provider's, so its other models would fail as well.
            self._breakers.bench_provider(target.provider, policy.bench, error.message)
        else:
            self._breakers.bench(target.name, policy.bench, error.message)

    def _drains_of(self, provider: Provider) -> Drains:
        disconnect = provider.on_client_disconnect
        drains = self._drains.get(provider.name)
        if drains is None or (
            drains.disconnect is not disconnect and drains.disconnect != disconnect
        ):
            drains = self._drains[provider.name] = Drains(disconnect)
        return drains

    # All targets have failed once.

    async def _try_again(
        self, exchange: Exchange, call: Call, failures: list[_Failure]
    ) -> Reply | None:
        settings = self._current().retries
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
            sending = self._begin(exchange, call, again.sending.lane)
            if sending is not None:
                reply = await sending.run()
                if reply is not None:
                    return reply
                failure = self._judge(sending)
                failures.append(failure)
                if failure.policy.retry:
                    pending.append(failure)
            delay = min(delay * 2, settings.max_delay)
        return None


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
