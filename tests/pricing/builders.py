"""Prices for tests."""

from gandalf.domain.prices import UnitPrices
from gandalf.pricing.price import Period, Price, Tiers
from gandalf.pricing.rates import Rates


def a_price(target="openai/gpt-4o", **prices):
    """A price that holds always, for prompts of any length."""
    tiers = Tiers((Rates("test", "", UnitPrices(**prices)),))
    return Price(target, (Period({"": tiers}),))
