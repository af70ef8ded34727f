"""The built-in price list, and how an entry is found in one."""

import json
from datetime import UTC, datetime

import pytest

from gandalf.domain.prices import UnitPrices
from gandalf.domain.usage import OtherUsage, TokenUsage
from gandalf.pricing.price import Price
from gandalf.pricing.price_list import PriceList, PriceListError


@pytest.fixture(scope="module")
def built_in():
    return PriceList()


@pytest.fixture
def a_list(tmp_path):
    """Write a price list of one vendor and read it."""

    def write(models, **vendor):
        content = {"version": "v1", "vendors": {"acme": {"models": models, **vendor}}}
        path = tmp_path / "prices.json"
        path.write_text(json.dumps(content))
        return PriceList(str(path))

    return write


def entry(match=None, **units):
    return {"match": match or {}, "periods": [{"tiers": {"": units}}]}


def at(date):
    return datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()


# The built-in list.


def test_every_entry_can_be_read_and_is_of_integers(built_in):
    count = 0
    for vendor in built_in.vendors:
        for name in built_in._vendors[vendor].models:
            found = built_in.find(vendor, name)
            assert (found.vendor, found.name, found.match) == (vendor, name, "exact")
            for period in built_in.periods(found):
                for tiers in period.tiers.values():
                    for _, rates in tiers.all:
                        prices = rates.prices
                        given = [getattr(prices, u) for u in prices.__struct_fields__]
                        assert {type(price) for price in given} <= {int, type(None)}
                        assert min(price for price in given if price is not None) >= 0
            count += 1

    assert count > 2000


def test_no_text_token_costs_more_than_a_thousandth_of_a_dollar(built_in):
    # A price for one token where one for a million was meant would.
    for vendor in built_in.vendors:
        for name in built_in._vendors[vendor].models:
            periods = built_in.periods(built_in.find(vendor, name))
            tiers = [tiers for period in periods for tiers in period.tiers.values()]
            for _, rates in [each for one in tiers for each in one.all]:
                assert max(rates.input, rates.output) <= 10**9, (vendor, name)


@pytest.mark.parametrize(
    ("vendor", "model", "entry", "match"),
    [
        ("openai", "gpt-4o", "openai/gpt-4o", "exact"),
        ("openai", "GPT-4o", "openai/gpt-4o", "exact"),
        ("openai", "gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini", "alias"),
        ("openai", "gpt-4o-2024-05-13", "openai/gpt-4o-2024-05-13", "exact"),
        ("anthropic", "claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5", "fuzzy"),
        ("azure", "gpt-4o", "openai/gpt-4o", "exact"),
        ("google", "claude-sonnet-4-5@20250929", "google/claude-sonnet-4-5", "fuzzy"),
        ("google", "publishers/google/models/gemini-2.5-pro", "google/gemini-2.5-pro", "fuzzy"),
        (
            "aws",
            "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "fuzzy",
        ),
        ("openrouter", "openai/gpt-4o", "openrouter/openai/gpt-4o", "exact"),
    ],
)  # fmt: skip
def test_a_model_is_found_by_what_its_vendor_calls_it(
    built_in, vendor, model, entry, match
):
    found = built_in.find(vendor, model)

    assert (f"{found.vendor}/{found.name}", found.match) == (entry, match)


@pytest.mark.parametrize(
    ("vendor", "model"),
    [("openai", "gpt-99"), ("azure", "prod"), ("nobody", "gpt-4o"), ("openai", "")],
)
def test_of_others_no_price_is_claimed(built_in, vendor, model):
    assert built_in.find(vendor, model) is None


@pytest.mark.parametrize(
    ("url", "vendor"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://api.deepseek.com", "deepseek"),
        ("http://127.0.0.1:8000/v1", ""),
        ("https://evil.example/https://api.openai.com", ""),
    ],
)
def test_a_vendor_is_known_by_its_address(built_in, url, vendor):
    assert built_in.vendor_at(url) == vendor


def test_a_region_of_bedrock_costs_what_it_costs_there(built_in):
    def cost(model):
        price = Price("t", built_in.periods(built_in.find("aws", model)))
        return price.cost(TokenUsage(input=1000), at("2026-12-01"))

    name = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    assert cost(f"global.{name}") == 3_000_000
    assert cost(f"eu.{name}") == 3_300_000


def test_off_peak_hours_are_cheaper(built_in):
    # DeepSeek: from 16:30 to 00:30 UTC half the price.
    price = Price("t", built_in.periods(built_in.find("deepseek", "deepseek-chat")))

    def cost(time):
        return price.cost(TokenUsage(input=1000), at(f"2026-12-01T{time}"))

    assert [cost(t) for t in ("00:29", "00:30", "16:29", "16:30")] == [
        135_000,
        270_000,
        270_000,
        135_000,
    ]


def test_a_price_that_changed_holds_from_its_date_on(built_in):
    price = Price("t", built_in.periods(built_in.find("openai", "gpt-5.6-sol")))

    assert price.cost(TokenUsage(input=1000), at("2026-08-20T23:59")) == 5_000_000
    assert price.cost(TokenUsage(input=1000), at("2026-08-21")) == 4_000_000


def test_a_batch_is_cheaper_and_its_searches_are_not(built_in):
    price = Price("t", built_in.periods(built_in.find("anthropic", "claude-haiku-5-5")))
    batch = OtherUsage(service_tier="batch", web_searches=1)

    cost = price.cost(TokenUsage(input=1000, other=batch), at("2026-12-01"))

    # 1,000 x 0.05 USD a million, and 0.01 USD.
    assert cost == 50_000 + 10_000_000


# Any list.


def test_an_exact_id_wins_over_every_pattern(a_list):
    prices = a_list(
        {
            "big": entry({"starts": ["big"]}, input=1),
            "big-fast": entry({"is": ["biggest"]}, input=2),
        }
    )

    assert prices.find("acme", "big-fast")[1:] == ("big-fast", "exact")
    assert prices.find("acme", "biggest")[1:] == ("big-fast", "alias")
    assert prices.find("acme", "big-2")[1:] == ("big", "fuzzy")


@pytest.mark.parametrize(
    ("match", "name"),
    [
        ({"ends": ["-x"]}, "a-x"),
        ({"contains": ["mid"]}, "a-mid-b"),
        ({"regex": ["^a\\d$"]}, "a7"),
        ({"all": [[{"starts": ["a"]}, {"ends": ["z"]}]]}, "a-z"),
    ],
)
def test_each_kind_of_pattern_matches(a_list, match, name):
    prices = a_list({"m": entry(match, input=1)})

    assert prices.find("acme", name).match == "fuzzy"
    assert prices.find("acme", "q") is None


def test_tiers_of_one_unit_leave_the_others_as_they_are(a_list):
    prices = a_list({"m": entry(input=[10, 100, 20], output=5)})
    [period] = prices.periods(prices.find("acme", "m"))

    tiers = period.tiers[""]

    assert tiers.at(100).prices == UnitPrices(input=10, output=5)
    assert tiers.at(101).prices == UnitPrices(input=20, output=5)
    assert tiers.at(101).rating.variant == ">100"


@pytest.mark.parametrize(
    "models", [{"m": entry(inptu=1)}, {"m": entry(input="1")}, {"m": {"periods": [{}]}}]
)
def test_an_entry_that_cannot_be_read_is_an_error_and_not_a_free_model(a_list, models):
    prices = a_list(models)

    with pytest.raises(PriceListError):
        prices.periods(prices.find("acme", "m"))


def test_a_file_that_is_no_price_list_is_an_error(tmp_path):
    path = tmp_path / "prices.json"
    path.write_text("[]")

    with pytest.raises(PriceListError, match=r"prices\.json"):
        PriceList(str(path))
