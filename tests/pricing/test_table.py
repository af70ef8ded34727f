from gandalf.config import Config, ModelPrice, Prices, Provider
from gandalf.domain.routing import Target
from gandalf.domain.usage import TokenUsage
from gandalf.pricing.resolve import price_table

TARGET = Target(provider="openai", model="gpt-4o")


def a_table(**provider):
    section = Provider(name="openai", **provider)
    mine = ModelPrice(model="mine", input=1_000)
    config = Config(providers=(section,), prices=Prices(overrides=(mine,)))
    return price_table(config, [TARGET], now=2e9)


def test_a_target_has_its_price():
    table = a_table()

    assert list(table) == ["openai/gpt-4o"]
    assert table["openai/gpt-4o"].cost(TokenUsage(input=1000), 2e9) == 2_500_000
    assert table.of_model("openai", "gpt-4o") is table["openai/gpt-4o"]


def test_where_batches_may_be_made_every_model_of_the_account_has_its_price():
    table = a_table(allow_batches=True)

    assert table.of_model("openai", "gpt-4.1-2025-04-14").entry == "openai/gpt-4.1"
    assert table.of_model("openai", "mine").match == "override"
    assert not table.of_model("openai", "gpt-99").known


def test_elsewhere_only_targets_have_one():
    assert a_table().of_model("openai", "gpt-4.1") is None
