"""The token buckets of every key: requests per minute and tokens per minute.

A bucket holds one minute's allowance and starts full, so that in any 60 seconds a key
gets at most its limit (what flows in) plus its limit (the burst it had saved up).

Levels are integers of such a unit that a microsecond's inflow is a whole number of
them. So nothing drifts: what is taken and given back leaves exactly what there was.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import trio

from gandalf.domain.errors import BadRequest, RateLimited
from gandalf.domain.identity import Limits

MICROSECONDS = 1_000_000
UNITS = 60 * MICROSECONDS
"""Units in one request or token: N of them a minute are N units a microsecond."""

MAX_DEBT_MINUTES = 60
"""An upstream that reports a trillion tokens must not lock its caller out for good."""

SWEEP_AT = 1024
"""Keys below which looking for forgettable buckets is not worth the while."""


CONCURRENT_RETRY_AFTER = 1.0
"""Seconds to tell a client whose requests in flight are too many: one may end soon."""


class Allowance(msgspec.Struct, frozen=True, gc=False):
    """What is left of one limit."""

    limit: int
    remaining: int
    reset: float
    """Seconds until the whole limit is there again, if nothing more is taken."""


class LimitState(msgspec.Struct, frozen=True, gc=False):
    """What is left of a key's limits. None where it is unlimited."""

    requests: Allowance | None
    tokens: Allowance | None


class Bucket:
    """A token bucket that refills when it is looked at. Its level may be negative."""

    __slots__ = ("capacity", "level", "per_minute", "touched")

    def __init__(self, per_minute: int, now: int) -> None:
        self.per_minute = per_minute
        self.capacity = self.level = per_minute * UNITS
        self.touched = now

    def refill(self, now: int) -> None:
        """Add what has flowed in since the last look, up to capacity."""
        level = self.level + (now - self.touched) * self.per_minute
        # Not min(): it takes several times as long.
        self.level = level if level < self.capacity else self.capacity  # noqa: FURB136
        self.touched = now

    def resize(self, per_minute: int) -> None:
        """Change the limit: a level keeps its proportion, a debt its size."""
        if self.level > 0:
            self.level = self.level * per_minute // self.per_minute
        self.per_minute = per_minute
        self.capacity = per_minute * UNITS

    def add(self, amount: int) -> None:
        """Give back ``amount``, or take it if it is negative, into debt if need be."""
        capacity = self.capacity
        level = self.level + amount * UNITS
        if level > capacity:
            level = capacity
        elif level < 0:
            level = max(level, -MAX_DEBT_MINUTES * capacity)
        self.level = level

    def wait_for(self, amount: int) -> float:
        """Return the seconds until ``amount`` is there; 0 if it is now."""
        missing = amount * UNITS - self.level
        if missing <= 0:
            return 0.0
        # Rounded up, and one more because the clock's reading was rounded down.
        return (-(-missing // self.per_minute) + 1) / MICROSECONDS

    def allowance(self) -> Allowance:
        """Return what is left."""
        level, per_minute = self.level, self.per_minute
        return Allowance(
            per_minute,
            level // UNITS if level > 0 else 0,
            (self.capacity - level) / (per_minute * MICROSECONDS),
        )


Buckets = dict[str, Bucket]


class RateLimiter:
    """Owns the buckets. Every method is synchronous, so every method is atomic.

    A limit of None or 0 is none at all. Buckets that are full again are forgotten now
    and then: a full bucket and a new one are the same.
    """

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._requests: Buckets = {}
        self._tokens: Buckets = {}
        self._in_flight: dict[str, int] = {}
        self._sweep_at = SWEEP_AT
        self._clock = clock

    def take(self, key_id: str, limits: Limits, estimated_tokens: int) -> LimitState:
        """Take one request and ``estimated_tokens`` tokens, and tell what is left.

        Raises:
            RateLimited: One of them falls short; nothing was taken. ``retry_after`` is
                when both suffice, provided that nothing else is taken until then.
            BadRequest: The tokens are more than a whole minute's: they never suffice.
        """
        now = int(self._clock() * MICROSECONDS)
        rpm, tpm = limits.rpm, limits.tpm
        requests = self._bucket(self._requests, key_id, rpm, now) if rpm else None
        tokens = self._bucket(self._tokens, key_id, tpm, now) if tpm else None
        cost = estimated_tokens * UNITS
        if tokens is not None and cost > tokens.capacity:
            raise _too_large(estimated_tokens, tokens.per_minute)
        if (requests is not None and requests.level < UNITS) or (
            tokens is not None and tokens.level < cost
        ):
            raise _too_soon(requests, tokens, estimated_tokens)
        if requests is not None:
            requests.level -= UNITS
        if tokens is not None:
            tokens.level -= cost
        return _state(requests, tokens)

    def settle(
        self, key_id: str, limits: Limits, estimated_tokens: int, actual_tokens: int
    ) -> None:
        """Correct the estimate once the truth is known; the key may end up in debt.

        Args:
            key_id: As given to ``take``.
            limits: As given to ``take``: what was unlimited was not taken from.
            estimated_tokens: As given to ``take``.
            actual_tokens: What was used.
        """
        if limits.tpm and estimated_tokens != actual_tokens:
            self._add(
                self._tokens, key_id, limits.tpm, estimated_tokens - actual_tokens
            )

    def undo(self, key_id: str, limits: Limits, estimated_tokens: int) -> None:
        """Give back the request and the tokens: it is as if ``take`` had not been."""
        if limits.rpm:
            self._add(self._requests, key_id, limits.rpm, 1)
        if limits.tpm:
            self._add(self._tokens, key_id, limits.tpm, estimated_tokens)

    def state(self, key_id: str, limits: Limits) -> LimitState:
        """Tell what is left without taking anything."""
        now = int(self._clock() * MICROSECONDS)
        rpm, tpm = limits.rpm, limits.tpm
        return _state(
            self._bucket(self._requests, key_id, rpm, now) if rpm else None,
            self._bucket(self._tokens, key_id, tpm, now) if tpm else None,
        )

    def enter(self, key_id: str, max_concurrent: int) -> None:
        """Count a request of ``key_id`` in flight; ``leave`` ends it.

        Raises:
            RateLimited: There are ``max_concurrent`` already.
        """
        count = self._in_flight.get(key_id, 0)
        if count >= max_concurrent:
            raise RateLimited("concurrent requests", CONCURRENT_RETRY_AFTER)
        self._in_flight[key_id] = count + 1

    def leave(self, key_id: str) -> None:
        """Count a request of ``key_id`` in flight no longer."""
        count = self._in_flight[key_id] - 1
        if count:
            self._in_flight[key_id] = count
        else:
            del self._in_flight[key_id]

    def in_flight(self, key_id: str) -> int:
        """Return the number of requests between ``enter`` and ``leave``."""
        return self._in_flight.get(key_id, 0)

    def key_count(self) -> int:
        """Return the number of keys that have a bucket."""
        return len(self._requests.keys() | self._tokens.keys())

    def _bucket(self, table: Buckets, key_id: str, per_minute: int, now: int) -> Bucket:
        bucket = table.get(key_id)
        if bucket is None:
            return self._new_bucket(table, key_id, per_minute, now)
        bucket.refill(now)
        if bucket.per_minute != per_minute:
            bucket.resize(per_minute)
        return bucket

    def _new_bucket(
        self, table: Buckets, key_id: str, per_minute: int, now: int
    ) -> Bucket:
        if len(table) >= self._sweep_at:
            self._forget_full(now, key_id)
        bucket = table[key_id] = Bucket(per_minute, now)
        return bucket

    def _add(self, table: Buckets, key_id: str, per_minute: int, amount: int) -> None:
        now = int(self._clock() * MICROSECONDS)
        bucket = table.get(key_id)
        if bucket is None:
            # It was full and forgotten while its exchange ran on for very long.
            bucket = self._new_bucket(table, key_id, per_minute, now)
        # Not resized: the exchange may have begun under limits that are history.
        bucket.refill(now)
        bucket.add(amount)

    def _forget_full(self, now: int, but: str) -> None:
        """Forget full buckets, ``but`` those of a key that is being taken from."""
        largest = 0
        for table in (self._requests, self._tokens):
            for bucket in table.values():
                bucket.refill(now)
            full = [k for k, b in table.items() if b.level == b.capacity and k != but]
            for key_id in full:
                del table[key_id]
            largest = max(largest, len(table))
        # Twice what remains: the sweeps cost a constant for each key that comes.
        self._sweep_at = max(SWEEP_AT, 2 * largest)


def _state(requests: Bucket | None, tokens: Bucket | None) -> LimitState:
    return LimitState(
        requests.allowance() if requests is not None else None,
        tokens.allowance() if tokens is not None else None,
    )


def _too_soon(
    requests: Bucket | None, tokens: Bucket | None, estimated_tokens: int
) -> RateLimited:
    for_requests = requests.wait_for(1) if requests is not None else 0.0
    for_tokens = tokens.wait_for(estimated_tokens) if tokens is not None else 0.0
    limit = "rpm" if for_requests >= for_tokens else "tpm"
    return RateLimited(limit, max(for_requests, for_tokens))


def _too_large(estimated_tokens: int, tpm: int) -> BadRequest:
    return BadRequest(
        f"the request needs about {estimated_tokens} tokens and this key may use {tpm}"
        " a minute, so it can never be served; send a shorter one or raise the limit",
        code="request_exceeds_tpm_limit",
    )
