"""What an exchange cost, all of its attempts together."""

from __future__ import annotations

from gandalf.domain.prices import Rating
from gandalf.domain.usage import TokenUsage
from gandalf.pipeline.exchange import Exchange


def cost_of(
    exchange: Exchange, spent: TokenUsage | None, at: float
) -> tuple[int | None, Rating | None]:
    """Return what all attempts of ``exchange`` cost, and by which unit prices.

    The cost is in nano-USD; 0 if nothing was spent, None if it is not known. The prices
    are those of the target that served; what failed has its own in its attempt.

    Args:
        exchange: An exchange that has ended.
        spent: The usage to charge for its answer; None if there is none.
        at: Unix time at which its request was received.
    """
    cost: int | None = 0
    rating: Rating | None = None
    if spent is not None:
        price = exchange.price
        cost, rating = (None, None) if price is None else price.rate(spent, at)
    attempts = exchange.attempts
    if len(attempts) > 1 or spent is None:
        for attempt in attempts:
            if attempt.billed is not None:
                cost = _sum(cost, attempt.billed.cost_nanousd)
    return cost, rating


def _sum(one: int | None, more: int | None) -> int | None:
    return None if one is None or more is None else one + more
