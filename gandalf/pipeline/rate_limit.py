"""Takes requests and tokens from the buckets of a key and of the tenants above it.

Each level has buckets of its own: a team's requests per minute are shared by its keys.
A request takes from all levels or from none.

What a request costs that no upstream was asked for: no tokens. As a request it counts
only if it was refused for what it is (4xx): a client that repeats it without a pause
is stopped. It does not count if it was abandoned, or could not be served. An answer
from the cache counts as a request, and costs no tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from gandalf.actors.limiter import Allowance, LimitState, RateLimiter
from gandalf.config import Config, RateLimits
from gandalf.domain.errors import BadRequest, RateLimited
from gandalf.domain.identity import Identity, Limits
from gandalf.domain.usage import EndReason
from gandalf.pipeline.exchange import Exchange, Reply

_REQUESTS, _TOKENS = (
    b"x-ratelimit-limit-%b: %%d\r\n"
    b"x-ratelimit-remaining-%b: %%d\r\n"
    b"x-ratelimit-reset-%b: %%b\r\n" % (what, what, what)
    for what in (b"requests", b"tokens")
)


class RateLimit:
    """Admits an exchange while its key and its tenants have something left.

    That is: requests and tokens this minute, and requests in flight.
    """

    def __init__(self, limiter: RateLimiter, current: Callable[[], Config]) -> None:
        self._limiter = limiter
        self._current = current

    def enter(self, exchange: Exchange) -> Reply | None:
        identity, call = exchange.identity, exchange.call
        assert identity is not None  # noqa: S101 - authenticate comes before
        assert call is not None  # noqa: S101 - read_call comes before
        limits = effective_limits(identity, self._current().rate_limits)
        estimate = call.estimated_tokens
        exchange.limits = limits
        exchange.estimated_tokens = estimate
        try:
            state = self._limiter.take(identity.key_id, limits, estimate)
            if identity.levels or identity.max_concurrent is not None:
                state = self._take_shared(identity, limits, estimate, state)
        except (RateLimited, BadRequest) as refusal:
            limit = refusal.limit if isinstance(refusal, RateLimited) else ""
            state = self._limiter.state(identity.key_id, limits)
            exchange.reply_lines += limit_lines(state, refused=limit)
            raise
        exchange.reply_lines += limit_lines(state)
        return None

    def settle(self, exchange: Exchange) -> None:
        identity, limits = exchange.identity, exchange.limits
        assert identity is not None  # noqa: S101 - see enter
        assert limits is not None  # noqa: S101 - enter sets it
        if identity.max_concurrent is not None:
            self._limiter.leave(identity.key_id)
        for level in identity.levels:
            if level.max_concurrent is not None:
                self._limiter.leave(level.name)
            self._settle(exchange, level.name, level.limits)
        self._settle(exchange, identity.key_id, limits)

    def _settle(self, exchange: Exchange, name: str, limits: Limits) -> None:
        estimate = exchange.estimated_tokens
        if _cost_nothing(exchange) and not _refused(exchange):
            self._limiter.undo(name, limits, estimate)
        else:
            # What was taken and not spent goes back, also after a hang-up mid-stream.
            self._limiter.settle(name, limits, estimate, exchange.tokens_spent)

    def _take_shared(
        self, identity: Identity, limits: Limits, estimate: int, state: LimitState
    ) -> LimitState:
        """Take from the limits that a key shares, all or none.

        Args:
            identity: Whose key it is.
            limits: The key's own, which ``state`` was taken from.
            estimate: Tokens of the request.
            state: What is left of the key's own limits.

        Returns:
            The least that is left on any level.
        """
        limiter = self._limiter
        undo = [partial(limiter.undo, identity.key_id, limits, estimate)]
        at = "this key"
        try:
            if identity.max_concurrent is not None:
                limiter.enter(identity.key_id, identity.max_concurrent)
                undo.append(partial(limiter.leave, identity.key_id))
            for level in identity.levels:
                at = level.name
                shared = limiter.take(level.name, level.limits, estimate)
                undo.append(partial(limiter.undo, level.name, level.limits, estimate))
                state = _tighter(state, shared)
                if level.max_concurrent is not None:
                    limiter.enter(level.name, level.max_concurrent)
                    undo.append(partial(limiter.leave, level.name))
        except (RateLimited, BadRequest) as refusal:
            for step in reversed(undo):
                step()
            refusal.message = f"{at}: {refusal.message}"
            raise
        return state


def _tighter(one: LimitState, other: LimitState) -> LimitState:
    return LimitState(
        _less(one.requests, other.requests), _less(one.tokens, other.tokens)
    )


def _less(one: Allowance | None, other: Allowance | None) -> Allowance | None:
    if one is None or other is None:
        return one or other
    return one if one.remaining <= other.remaining else other


def effective_limits(identity: Identity, defaults: RateLimits) -> Limits:
    """Return the key's own limits, each replaced by the default if it has none.

    A limit of 0 is a value of the key's own: unlimited, whatever the default is.
    """
    own = identity.limits
    if own is None:
        return Limits(defaults.default_rpm, defaults.default_tpm)
    return Limits(
        rpm=own.rpm if own.rpm is not None else defaults.default_rpm,
        tpm=own.tpm if own.tpm is not None else defaults.default_tpm,
    )


def limit_lines(state: LimitState, *, refused: str = "") -> bytes:
    """Return the lines of the ``x-ratelimit-*`` fields for ``state``.

    Args:
        state: What is left of the key's limits.
        refused: ``rpm`` or ``tpm`` if that was too little: shown as 0 remaining, for
            clients read it as "may I send", and a few tokens left are as good as none.
    """
    lines = b""
    if (left := state.requests) is not None:
        lines = _REQUESTS % (
            left.limit,
            0 if refused == "rpm" else left.remaining,
            format_duration(left.reset),
        )
    if (left := state.tokens) is not None:
        lines += _TOKENS % (
            left.limit,
            0 if refused == "tpm" else left.remaining,
            format_duration(left.reset),
        )
    return lines


def format_duration(seconds: float) -> bytes:
    """Return ``seconds`` as OpenAI writes them: ``120ms``, ``1.5s``, ``6m0s``.

    Rounded up to the millisecond, so that waiting for it is enough.
    """
    milliseconds = math.ceil(seconds * 1000)
    if 0 < milliseconds < 1000:
        return b"%dms" % milliseconds
    if milliseconds < 60_000:
        return b"%gs" % (milliseconds / 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = b"%dm%gs" % (minutes, milliseconds / 1000)
    return b"%dh%b" % (hours, text) if hours else text


def _refused(exchange: Exchange) -> bool:
    """Whether the request was refused for what it is."""
    error = exchange.error
    return error is not None and 400 <= error.status < 500


def _cost_nothing(exchange: Exchange) -> bool:
    if exchange.end_reason is EndReason.COMPLETE:
        return False
    # Targets that were passed over, their breakers open, were not asked.
    return all(attempt.decision == "skipped" for attempt in exchange.attempts)
