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

HeaderList = list[tuple[bytes, bytes]]


class RateLimit:
    """Admits an exchange while its key has requests and tokens left this minute."""

    def __init__(self, limiter: RateLimiter, current: Callable[[], Config]) -> None:
        self._limiter = limiter
        self._current = current

    async def enter(self, exchange: Exchange) -> Reply | None:
        identity, call = exchange.identity, exchange.call
        assert identity is not None  # noqa: S101 - authenticate comes before
        assert call is not None  # noqa: S101 - read_call comes before
        limits = effective_limits(identity, self._current().rate_limits)
        exchange.limits = limits
        exchange.estimated_tokens = call.estimated_tokens
        key_id = identity.key_id
        try:
            state = self._limiter.take(key_id, limits, call.estimated_tokens)
        except (RateLimited, BadRequest) as refusal:
            limit = refusal.limit if isinstance(refusal, RateLimited) else ""
            state = self._limiter.state(key_id, limits)
            exchange.reply_headers += limit_headers(state, refused=limit)
            raise
        exchange.reply_headers += limit_headers(state)
        return None

    def settle(self, exchange: Exchange) -> None:
        identity, limits = exchange.identity, exchange.limits
        assert identity is not None  # noqa: S101 - see enter
        assert limits is not None  # noqa: S101 - enter sets it
        if _cost_nothing(exchange):
            self._limiter.undo(identity.key_id, limits, exchange.estimated_tokens)
        else:
            # What was taken and not spent goes back, also after a hang-up mid-stream.
            self._limiter.settle(
                identity.key_id,
                limits,
                exchange.estimated_tokens,
                exchange.tokens_spent,
            )


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


def limit_headers(state: LimitState, *, refused: str = "") -> HeaderList:
    """Return the ``x-ratelimit-*`` fields for ``state``.

    Args:
        state: What is left of the key's limits.
        refused: ``rpm`` or ``tpm`` if that was too little: shown as 0 remaining, for
            clients read it as "may I send", and a few tokens left are as good as none.
    """
    headers: HeaderList = []
    if (left := state.requests) is not None:
        remaining = 0 if refused == "rpm" else left.remaining
        headers += (
            (b"x-ratelimit-limit-requests", b"%d" % left.limit),
            (b"x-ratelimit-remaining-requests", b"%d" % remaining),
            (b"x-ratelimit-reset-requests", format_duration(left.reset)),
        )
    if (left := state.tokens) is not None:
        remaining = 0 if refused == "tpm" else left.remaining
        headers += (
            (b"x-ratelimit-limit-tokens", b"%d" % left.limit),
            (b"x-ratelimit-remaining-tokens", b"%d" % remaining),
            (b"x-ratelimit-reset-tokens", format_duration(left.reset)),
        )
    return headers


def format_duration(seconds: float) -> bytes:
    """Return ``seconds`` as OpenAI writes them: ``120ms``, ``1.5s``, ``6m0s``.

    Rounded up to the millisecond, so that waiting for it is enough.
    """
    milliseconds = math.ceil(seconds * 1000)
    if 0 < milliseconds < 1000:
        return b"%dms" % milliseconds
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{milliseconds / 1000:g}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return (f"{hours}h{text}" if hours else text).encode()


def _cost_nothing(exchange: Exchange) -> bool:
    if exchange.end_reason is EndReason.COMPLETE:
        return False
    # Targets that were passed over, their breakers open, were not asked.
    return all(attempt.decision == "skipped" for attempt in exchange.attempts)
