"""The price of one target: its unit prices by time, service tier and prompt length."""

from __future__ import annotations

from bisect import bisect_left

from gandalf.domain.prices import Rating
from gandalf.domain.usage import TokenUsage
from gandalf.pricing.rates import Rates

DAY = 86_400

PROVIDER = Rating("provider")
"""The rating of a cost that the provider itself reported."""


class Tiers:
    """Rates by prompt length. The longest tier that applies holds for all tokens.

    Args:
        rates: Of the shortest prompts first.
        starts: For each of the rates but the first one, the prompt tokens above which
            it applies; ascending.
    """

    def __init__(self, rates: tuple[Rates, ...], starts: tuple[int, ...] = ()) -> None:
        self._rates = rates
        self._starts = starts
        self.flat = None if starts else rates[0]
        """The rates if the prompt's length does not matter."""

    def at(self, prompt_tokens: int) -> Rates:
        """Return the rates of a prompt of this many tokens, cached ones included."""
        if not self._starts:
            return self._rates[0]
        return self._rates[bisect_left(self._starts, prompt_tokens)]

    @property
    def all(self) -> tuple[tuple[int, Rates], ...]:
        """The rates, each with the prompt tokens above which it applies."""
        return tuple(zip((0, *self._starts), self._rates, strict=True))


class Period:
    """What a target costs from a date on, or during some hours of each day.

    Args:
        tiers: By service tier; "" is the standard one.
        starts_at: Unix time from which the period holds; 0: always.
        hours: First second of the day (UTC) and the one after the last; None: all day.
            They may span midnight.
    """

    def __init__(
        self,
        tiers: dict[str, Tiers],
        *,
        starts_at: float = 0.0,
        hours: tuple[int, int] | None = None,
    ) -> None:
        self.tiers = tiers
        self.starts_at = starts_at
        self.hours = hours

    def holds(self, at: float) -> bool:
        """Tell whether these are the prices at the Unix time ``at``."""
        if at < self.starts_at:
            return False
        if self.hours is None:
            return True
        first, end = self.hours
        second = at % DAY
        if end < first:
            return second >= first or second < end
        return first <= second < end


class Price:
    """What requests to one target cost. Immutable; resolved when a snapshot is made.

    An unknown price is one without periods: its costs are None, never 0.

    Args:
        target: ``provider/model``.
        periods: The last one that holds is in force; the first one if none does.
        entry: Which entry of the price list was matched; "" if there is none.
        match: How: ``override``, ``exact``, ``alias``, ``fuzzy`` or ``none``.
        version: Of the price list, or ``config``.
        reported: Whether a cost that the provider reports is used instead.
        refuse: Whether requests must be refused if there is no price
            (``on_unknown_price: refuse``).
    """

    def __init__(
        self,
        target: str,
        periods: tuple[Period, ...] = (),
        *,
        entry: str = "",
        match: str = "none",
        version: str = "",
        reported: bool = False,
        refuse: bool = False,
    ) -> None:
        self.target = target
        self.periods = periods
        self.entry = entry
        self.match = match
        self.version = version
        self.reported = reported
        self.refuse = refuse
        self._only = periods[0] if len(periods) == 1 else None
        # The usual case: one price for the standard tier, whenever and however long.
        self._flat = self._only.tiers[""].flat if self._only is not None else None

    @property
    def known(self) -> bool:
        """Whether there is a price; without one every cost is None."""
        return bool(self.periods)

    def rates(
        self, prompt_tokens: int, at: float, service_tier: str = ""
    ) -> Rates | None:
        """Return the unit prices in force; None if there is no price.

        Args:
            prompt_tokens: Tokens sent in, cached ones included: some models have
                higher prices for long prompts.
            at: Unix time of the request.
            service_tier: As the provider names it. One that has no prices of its own
                is charged as the standard one.
        """
        period = self._only or self._period(at)
        if period is None:
            return None
        tiers = period.tiers.get(service_tier) or period.tiers[""]
        return tiers.at(prompt_tokens)

    def cost(self, usage: TokenUsage, at: float) -> int | None:
        """Return what ``usage`` costs in nano-USD; None if that is not known.

        Args:
            usage: Tokens and other units, by class.
            at: Unix time of the request.
        """
        return self.rate(usage, at)[0]

    def rate(self, usage: TokenUsage, at: float) -> tuple[int | None, Rating | None]:
        """Return what ``usage`` costs in nano-USD, and the unit prices behind it.

        The cost is None if it is not known: there is no price, or none for a unit that
        was used.
        """
        other = usage.other
        if self.reported and other is not None and other.cost_nanousd is not None:
            return other.cost_nanousd, PROVIDER
        rates = self._flat if other is None else None
        if rates is None:
            tier = "" if other is None else other.service_tier
            rates = self.rates(usage.prompt_tokens, at, tier)
            if rates is None:
                return None, None
        return rates.cost(usage), rates.rating

    def upper_bound(
        self,
        prompt_tokens: int,
        max_output_tokens: int,
        *,
        at: float,
        service_tier: str = "",
        media: bool = False,
    ) -> int | None:
        """Return the most that a request may cost, nano-USD; None if not known.

        Each token is taken as the dearest class that it may be: written to the cache,
        or reasoning. Rounded up. Searches that the provider makes are not part of it.

        Args:
            prompt_tokens: Tokens sent in, at the most.
            max_output_tokens: Tokens generated, at the most, reasoning included.
            at: Unix time of the request.
            service_tier: As the request asks for it; the dearer one of it and the
                standard one counts, as providers may fall back to that.
            media: Whether the request or its answer may hold audio or images.
        """
        if self._flat is not None and not service_tier:
            return self._flat.upper_bound(prompt_tokens, max_output_tokens, media=media)
        bounds = [
            rates.upper_bound(prompt_tokens, max_output_tokens, media=media)
            for tier in {"", service_tier}
            if (rates := self.rates(prompt_tokens, at, tier)) is not None
        ]
        known = [bound for bound in bounds if bound is not None]
        return max(known) if known else None

    def _period(self, at: float) -> Period | None:
        periods = self.periods
        for period in reversed(periods):
            if period.holds(at):
                return period
        return periods[0] if periods else None

    def __repr__(self) -> str:
        return f"<Price {self.target} {self.match} {self.entry}>"
