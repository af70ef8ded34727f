"""Costs of past requests, computed again."""

from __future__ import annotations

import msgspec

from gandalf.domain.usage import Attempt, Billed, TokenUsage, UsageRecord, UsageSource
from gandalf.pricing.price import PROVIDER, Price
from gandalf.pricing.rates import Rates
from gandalf.pricing.table import PriceTable

_PROVIDER = PROVIDER.source


class Rerater:
    """Computes the cost of a usage record again.

    What a provider reported stays as it is, and so does the cost of a target that has
    no price any more.

    Args:
        prices: Those to apply, as they were at the time of each request. None: the unit
            prices that each record keeps.
    """

    def __init__(self, prices: PriceTable | None) -> None:
        self._prices = prices

    def __call__(self, record: UsageRecord) -> UsageRecord:
        """Return ``record`` with its cost and its unit prices of now."""
        if record.usage_source is UsageSource.NONE and not _billed(record):
            return record
        attempts = tuple(
            self._attempt(one, record.received_at) for one in record.attempts
        )
        served = self._served(record)
        costs = [one.billed.cost_nanousd for one in attempts if one.billed is not None]
        costs.append(served.cost_nanousd)
        known = [cost for cost in costs if cost is not None]
        return msgspec.structs.replace(
            record,
            attempts=attempts,
            cost_nanousd=sum(known) if len(known) == len(costs) else None,
            rating=served.rating,
        )

    def _served(self, record: UsageRecord) -> Billed:
        """Return the part of the attempt that served, the record's own tokens."""
        tokens, rating = record.tokens, record.rating
        if record.usage_source is UsageSource.NONE:
            return Billed(tokens, 0, None)
        if record.usage_source is UsageSource.ESTIMATED and not tokens.total_tokens:
            tokens = TokenUsage(input=record.estimated_tokens)
        reported = tokens.other.cost_nanousd if tokens.other is not None else None
        if rating is not None and rating.source == _PROVIDER:
            return Billed(tokens, reported, rating)
        model = record.model or (tokens.other.model if tokens.other else "")
        at = record.received_at
        cost = self._served_cost(record)
        return self._rated(Billed(tokens, cost, rating), record.provider, model, at)

    def _served_cost(self, record: UsageRecord) -> int | None:
        """Return what of the record's cost is not that of attempts that failed."""
        cost = record.cost_nanousd
        for attempt in record.attempts:
            if attempt.billed is not None and cost is not None:
                cost -= attempt.billed.cost_nanousd or 0
        return cost

    def _attempt(self, attempt: Attempt, at: float) -> Attempt:
        billed = attempt.billed
        if billed is None or (billed.rating and billed.rating.source == _PROVIDER):
            return attempt
        provider, _, model = attempt.target.partition("/")
        return msgspec.structs.replace(
            attempt, billed=self._rated(billed, provider, model, at)
        )

    def _rated(self, billed: Billed, provider: str, model: str, at: float) -> Billed:
        tokens, rating = billed.tokens, billed.rating
        if self._prices is not None:
            price = self._prices.of_model(provider, model) or Price("")
            cost, now = price.rate(tokens, at)
            return billed if cost is None else Billed(tokens, cost, now)
        if rating is None:
            return billed
        rates = Rates(rating.source, rating.variant, rating.unit_prices)
        return Billed(tokens, rates.cost(tokens), rating)


def _billed(record: UsageRecord) -> bool:
    return any(attempt.billed is not None for attempt in record.attempts)
