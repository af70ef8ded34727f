from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.domain.prices import UnitPrices
from gandalf.domain.usage import OtherUsage, TokenUsage
from gandalf.pricing.rates import MAX_COST_NANOUSD, Rates, nano_of

GPT = UnitPrices(input=2_500_000, cache_read=1_250_000, output=10_000_000)
CLAUDE = UnitPrices(
    input=3_000_000,
    cache_read=300_000,
    cache_write=3_750_000,
    cache_write_1h=6_000_000,
    output=15_000_000,
)


def cost(prices, **usage):
    return Rates("test", "", prices).cost(TokenUsage(**usage))


def test_every_class_is_charged_once_at_its_own_price():
    used = {"input": 1, "cache_read": 10, "cache_write": 100, "cache_write_1h": 1000}

    # 3,000,000 + 3,000,000 + 375,000,000 + 6,000,000,000 + 150,000,000,000 pico-USD.
    assert cost(CLAUDE, **used, output=10_000) == 156_381_000


def test_what_is_kept_for_an_hour_is_not_charged_as_if_for_five_minutes():
    assert cost(CLAUDE, cache_write=1000) == 3_750_000
    assert cost(CLAUDE, cache_write_1h=1000) == 6_000_000


def test_an_hour_in_the_cache_without_a_price_is_unknown_rather_than_too_cheap():
    without = UnitPrices(input=3_000_000, cache_write=3_750_000, output=15_000_000)

    assert cost(without, cache_write_1h=1000) is None


def test_reasoning_without_a_price_of_its_own_is_output():
    assert cost(GPT, reasoning=7) == 70_000
    assert cost(UnitPrices(output=2, reasoning=3_000), reasoning=7) == 21


def test_cached_tokens_and_images_without_a_price_are_plain_ones():
    plain = UnitPrices(input=1_000, output=2_000)
    images = OtherUsage(image_input=1, image_output=1)

    assert cost(plain, cache_read=1, cache_write=1, other=images) == 5


@pytest.mark.parametrize("medium", ["audio_input", "audio_output"])
def test_audio_without_a_price_is_unknown_rather_than_as_cheap_as_text(medium):
    assert cost(UnitPrices(input=1_000, output=2_000), **{medium: 1}) is None


def test_a_class_that_was_not_reported_costs_nothing():
    assert cost(GPT, input=1000, output=None) == 2_500_000


def test_a_used_class_without_any_price_makes_the_cost_unknown():
    assert cost(UnitPrices(input=1_000), input=5, output=1) is None
    assert cost(UnitPrices(input=1_000), input=5, output=0) == 5


@pytest.mark.parametrize("unit", OtherUsage.__struct_fields__[:-3])
def test_other_units_are_charged_or_make_the_cost_unknown(unit):
    usage = {"other": OtherUsage(**{unit: 3})}

    assert cost(UnitPrices(**{unit: 2_000}), **usage) == 6
    assert cost(UnitPrices(requests=1_000), **usage) is None


def test_a_price_for_each_request_is_charged_once():
    assert cost(UnitPrices(input=1_000, requests=12 * 10**9), input=1) == 12_000_001


def test_no_float_is_near():
    # 0.1 + 0.2 USD for a million tokens: 0.3 exactly, which floats cannot say.
    tenths = UnitPrices(input=100_000, output=200_000)

    assert cost(tenths, input=10_000, output=10_000) == 3_000_000


@pytest.mark.parametrize(
    ("pico", "nano"),
    [(499, 0), (500, 0), (501, 1), (1499, 1), (1500, 2), (2500, 2), (2501, 3)],
)
def test_rounding_is_half_to_even(pico, nano):
    assert nano_of(pico) == nano


@given(st.integers(0, 10**21))
def test_rounding_is_what_python_rounds_a_fraction_to(pico):
    assert nano_of(pico) == round(Fraction(pico, 1000))


def test_a_row_is_rounded_once_and_not_by_class():
    # 0.4 nano-USD each: 0 + 0 if rounded by class.
    assert cost(UnitPrices(input=400, output=400), input=1, output=1) == 1


def test_the_monsters_of_an_upstream_stay_within_what_the_database_keeps_exactly():
    assert cost(GPT, input=2**80) == MAX_COST_NANOUSD


def test_the_upper_bound_takes_each_token_as_the_dearest_it_may_be():
    rates = Rates("test", "", CLAUDE)

    assert rates.upper_bound(1000, 100) == 1000 * 6_000 + 100 * 15_000
    assert Rates("test", "", GPT).upper_bound(1, 0) == 2_500


def test_the_upper_bound_of_a_request_with_media_counts_media_prices():
    rates = Rates("t", "", UnitPrices(input=1_000, audio_input=40_000, output=2_000))

    assert rates.upper_bound(10, 10) == 30
    assert rates.upper_bound(10, 10, media=True) == 420


def test_the_upper_bound_is_rounded_up_and_unknown_without_a_price():
    assert Rates("t", "", UnitPrices(input=1, output=1)).upper_bound(1, 0) == 1
    assert Rates("t", "", UnitPrices(input=1)).upper_bound(1, 1) is None


counts = st.none() | st.integers(0, 10**7)
usages = st.builds(
    TokenUsage,
    input=counts,
    cache_read=counts,
    cache_write=counts,
    cache_write_1h=counts,
    output=counts,
    reasoning=counts,
)


@given(usages)
def test_no_text_request_costs_more_than_its_upper_bound(usage):
    rates = Rates("test", "", CLAUDE)

    bound = rates.upper_bound(usage.prompt_tokens, usage.completion_tokens)

    assert rates.cost(usage) <= bound
