"""Takes requests and tokens from the key's buckets; gives back what was not used.

What a refused or abandoned request costs: nothing, if no upstream was asked. Neither
its request nor its tokens then count, whichever later stage turned it away. An answer
from the cache counts as a request, and costs no tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from gandalf.actors.limiter import LimitState, RateLimiter
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
    """Admits an exchange while its key has requests and tokens left this minute."""

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
        estimate = exchange.estimated_tokens
        if _cost_nothing(exchange):
            self._limiter.undo(identity.key_id, limits, estimate)
        else:
            # What was taken and not spent goes back, also after a hang-up mid-stream.
            spent = exchange.tokens_spent
            self._limiter.settle(identity.key_id, limits, estimate, spent)


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


def _cost_nothing(exchange: Exchange) -> bool:
    if exchange.end_reason is EndReason.COMPLETE:
        return False
    # Targets that were passed over, their breakers open, were not asked.
    return all(attempt.decision == "skipped" for attempt in exchange.attempts)
