from gandalf.domain.prices import Rating, UnitPrices
from gandalf.domain.usage import Billed, OtherUsage, TokenUsage, UsageSource
from gandalf.pricing.rerate import Rerater
from gandalf.pricing.table import PriceTable
from tests.storage.builders import a_record, an_attempt

from .builders import a_price

OLD = Rating("old", "", UnitPrices(input=1_000, output=2_000))
NOW = PriceTable(
    {
        "openai-eu/gpt-4o": a_price("openai-eu/gpt-4o", input=2_000, output=4_000),
        "a/m": a_price("a/m", input=5_000),
    }
)
USED = TokenUsage(input=100, output=20)


def test_a_cost_is_computed_by_the_prices_of_now_and_keeps_these():
    after = Rerater(NOW)(a_record(tokens=USED, cost_nanousd=140, rating=OLD))

    assert after.cost_nanousd == 280
    assert after.rating.unit_prices == UnitPrices(input=2_000, output=4_000)


def test_a_cost_is_computed_by_the_prices_that_the_record_keeps():
    wrong = a_record(tokens=USED, cost_nanousd=7, rating=OLD)

    assert Rerater(None)(wrong).cost_nanousd == 140


def test_a_record_that_had_no_price_gets_its_cost():
    assert Rerater(NOW)(a_record(tokens=USED)).cost_nanousd == 280


def test_to_compute_again_changes_no_more():
    once = Rerater(NOW)(a_record(tokens=USED))

    assert Rerater(NOW)(once) == once


def test_a_billed_failure_is_computed_at_the_price_of_its_own_target():
    failed = an_attempt(target="a/m", billed=Billed(TokenUsage(input=10), 10, OLD))
    record = a_record(
        tokens=USED, cost_nanousd=150, rating=OLD, attempts=(failed, an_attempt())
    )

    after = Rerater(NOW)(record)

    assert after.attempts[0].billed.cost_nanousd == 50
    assert after.cost_nanousd == 280 + 50
    assert Rerater(None)(record).cost_nanousd == 140 + 10


def test_what_a_provider_reported_stays():
    tokens = TokenUsage(input=100, other=OtherUsage(cost_nanousd=77))
    record = a_record(tokens=tokens, cost_nanousd=77, rating=Rating("provider"))

    assert Rerater(NOW)(record) == record
    assert Rerater(None)(record) == record


def test_what_was_never_sent_stays_free():
    record = a_record(
        tokens=TokenUsage(), usage_source=UsageSource.NONE, cost_nanousd=0, attempts=()
    )

    assert Rerater(NOW)(record) == record


def test_the_cost_of_a_target_that_is_gone_stays():
    record = a_record(provider="gone", tokens=USED, cost_nanousd=140, rating=OLD)

    assert Rerater(NOW)(record) == record


def test_an_estimate_is_computed_again_from_the_estimate():
    record = a_record(
        tokens=TokenUsage(), usage_source=UsageSource.ESTIMATED, estimated_tokens=50
    )

    assert Rerater(NOW)(record).cost_nanousd == 100
