import pytest

from gandalf.pricing.amounts import usd, usd_per_million, usd_per_unit


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (3_750_000, "0.00375"),
        (12_000_000_000, "12"),
        (1_500_000_000, "1.5"),
        (-250_000_000, "-0.25"),
        (9_007_199_254_740_991, "9007199.254740991"),
    ],
)
def test_an_amount_is_written_exactly(nano, text):
    assert usd(nano) == text


def test_a_price_is_written_for_a_million_units_or_for_one():
    assert usd_per_million(2_500_000) == "2.5"
    assert usd_per_million(1) == "0.000001"
    assert usd_per_unit(10**10) == "0.01"
