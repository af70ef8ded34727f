import pytest

from gandalf.domain.prices import UnitPrices
from gandalf.domain.usage import OtherUsage, TokenUsage
from gandalf.pricing.price import Period, Price, Tiers
from gandalf.pricing.rates import Rates

NOON = 1_800_014_400.0  # 2027-01-15T12:00:00Z
HOUR = 3600


def rates(variant="", **prices):
    return Rates("test", variant, UnitPrices(**prices))


def flat(**prices):
    return Tiers((rates(**prices),))


def a_price(*periods, **changes):
    return Price("p/m", periods, **changes)


def test_an_unknown_price_makes_the_cost_unknown_and_not_zero():
    price = a_price()

    assert not price.known
    assert price.rate(TokenUsage(input=1), NOON) == (None, None)
    assert price.upper_bound(1, 1, at=NOON) is None


def test_a_long_prompt_is_charged_at_its_tier_for_all_of_its_tokens():
    tiers = Tiers((rates(input=1_000), rates(">200", input=2_000)), (200,))
    price = a_price(Period({"": tiers}))

    assert price.cost(TokenUsage(input=200), NOON) == 200
    assert price.cost(TokenUsage(input=201), NOON) == 402


def test_cached_tokens_count_for_the_length_of_a_prompt():
    tiers = Tiers((rates(input=1_000), rates(">200", input=2_000)), (200,))
    price = a_price(Period({"": tiers}))

    assert price.cost(TokenUsage(input=101, cache_read=100), NOON) == 402


def test_the_rating_says_which_prices_were_applied():
    tiers = Tiers((rates(input=1_000), rates(">200", input=2_000)), (200,))
    price = a_price(Period({"": tiers}))

    _, rating = price.rate(TokenUsage(input=201), NOON)

    assert (rating.source, rating.variant) == ("test", ">200")
    assert rating.unit_prices == UnitPrices(input=2_000)


def test_the_service_tier_that_was_used_is_the_one_charged():
    tiers = {"": flat(input=1_000), "flex": flat(input=500)}
    price = a_price(Period(tiers))

    def cost(tier):
        other = OtherUsage(service_tier=tier)
        return price.cost(TokenUsage(input=10, other=other), NOON)

    assert (cost("flex"), cost(""), cost("scale")) == (5, 10, 10)


def test_a_price_holds_from_its_date_on():
    price = a_price(
        Period({"": flat(input=1_000)}),
        Period({"": flat(input=3_000)}, starts_at=NOON),
    )

    assert price.cost(TokenUsage(input=1), NOON - 1) == 1
    assert price.cost(TokenUsage(input=1), NOON) == 3


@pytest.mark.parametrize(
    ("hours", "cheap"),
    [((11 * HOUR, 13 * HOUR), True), ((13 * HOUR, 11 * HOUR), False)],
)
def test_a_price_may_hold_for_some_hours_of_the_day(hours, cheap):
    price = a_price(
        Period({"": flat(input=2_000)}), Period({"": flat(input=1_000)}, hours=hours)
    )

    assert price.cost(TokenUsage(input=1), NOON) == (1 if cheap else 2)


def test_hours_may_span_midnight_and_end_before_their_end():
    price = a_price(
        Period({"": flat(input=2_000)}),
        Period({"": flat(input=1_000)}, hours=(22 * HOUR, 2 * HOUR)),
    )

    def cost(hour):
        return price.cost(TokenUsage(input=1), NOON + (hour - 12) * HOUR)

    assert [cost(hour) for hour in (21, 22, 25, 26)] == [2, 1, 1, 2]


def test_what_the_provider_reports_counts_only_where_that_is_configured():
    usage = TokenUsage(input=10, other=OtherUsage(cost_nanousd=77))
    period = Period({"": flat(input=1_000)})

    assert a_price(period).cost(usage, NOON) == 10
    cost, rating = a_price(period, reported=True).rate(usage, NOON)
    assert (cost, rating.source) == (77, "provider")
    assert a_price(reported=True).cost(usage, NOON) == 77
    assert a_price(period, reported=True).cost(TokenUsage(input=10), NOON) == 10


def test_the_upper_bound_is_that_of_the_dearer_service_tier():
    tiers = {"": flat(input=1_000), "priority": flat(input=2_000)}
    price = a_price(Period(tiers | {"flex": flat(input=500)}))

    assert price.upper_bound(10, 0, at=NOON, service_tier="priority") == 20
    assert price.upper_bound(10, 0, at=NOON, service_tier="flex") == 10
