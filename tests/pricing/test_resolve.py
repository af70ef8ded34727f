import msgspec
import pytest

from gandalf.config import Config, ModelPrice, Prices, Provider
from gandalf.domain.routing import Target
from gandalf.domain.usage import OtherUsage, TokenUsage
from gandalf.pricing.resolve import price_targets


def a_config(*overrides, **provider):
    fields = {"name": "here", "type": "simulated", **provider}
    return Config(
        providers=(Provider(**fields),), prices=Prices(overrides=tuple(overrides))
    )


def price_of(config, model="m"):
    target = Target(provider="here", model=model)
    return price_targets(config, [target])[f"here/{model}"]


def test_an_override_of_this_provider_wins_over_one_of_every_provider():
    config = a_config(
        ModelPrice(model="m", input=1_000),
        ModelPrice(provider="here", model="m", input=2_000),
    )

    price = price_of(config)

    assert price.cost(TokenUsage(input=3), 0.0) == 6
    assert (price.match, price.version) == ("override", "config")
    assert price.rate(TokenUsage(input=3), 0.0)[1].source == "config"


def test_a_model_that_nothing_is_known_of_has_an_unknown_price():
    price = price_of(a_config(ModelPrice(model="m", input=1)), model="other")

    assert (price.known, price.match) == (False, "none")


def test_overrides_may_differ_by_service_tier_and_by_length():
    config = a_config(
        ModelPrice(model="m", input=1_000),
        ModelPrice(model="m", input=2_000, above_prompt_tokens=100),
        ModelPrice(model="m", input=500, service_tier="batch"),
    )
    price = price_of(config)
    batch = OtherUsage(service_tier="batch")

    assert price.cost(TokenUsage(input=100), 0.0) == 100
    assert price.cost(TokenUsage(input=101), 0.0) == 202
    assert price.cost(TokenUsage(input=100, other=batch), 0.0) == 50


def test_the_provider_says_what_to_do_without_a_price_and_whose_cost_counts():
    price = price_of(a_config(on_unknown_price="refuse", cost_source="provider"))

    assert price.refuse
    assert price.reported


# The price list.


@pytest.mark.parametrize(
    ("section", "model", "entry"),
    [
        ({"type": "openai"}, "gpt-4o", "openai/gpt-4o"),
        ({"type": "openai", "hosting": "azure"}, "gpt-4o", "openai/gpt-4o"),
        ({"type": "anthropic"}, "claude-opus-4-1", "anthropic/claude-opus-4-1"),
        ({"type": "gemini"}, "gemini-2.5-pro", "google/gemini-2.5-pro"),
        ({"type": "deepseek"}, "deepseek-chat", "deepseek/deepseek-chat"),
        ({"type": "xai"}, "grok-4", "x-ai/grok-4-0709"),
        ({"type": "bedrock"}, "amazon.nova-pro-v1:0", "aws/amazon.nova-pro-v1:0"),
        (
            {"type": "openai", "base_url": "https://api.groq.com/openai/v1"},
            "llama-3.3-70b-versatile",
            "groq/llama-3.3-70b-versatile",
        ),
        (
            {"type": "openai", "base_url": "http://proxy/v1", "price_vendor": "openai"},
            "gpt-4o",
            "openai/gpt-4o",
        ),
        (
            {"type": "huggingface"},
            "deepseek-ai/DeepSeek-V3.2:novita",
            "huggingface_novita/deepseek-ai/DeepSeek-V3.2",
        ),
    ],
)
def test_a_provider_has_the_prices_of_its_vendor(section, model, entry):
    price = price_of(a_config(**section), model)

    assert price.entry.lower() == entry.lower()
    assert price.version.startswith("genai-prices ")


@pytest.mark.parametrize(
    "section",
    [
        {"type": "simulated"},
        {"type": "ollama"},
        {"type": "vllm"},
        {"type": "openai", "base_url": "http://10.0.0.1/v1"},
        {"type": "openai", "price_vendor": "none"},
        {"type": "huggingface"},
    ],
)
def test_a_server_of_ones_own_has_nobodys_prices(section):
    assert not price_of(a_config(**section), "gpt-4o").known


def test_a_fuzzy_match_is_logged(caplog):
    caplog.set_level("INFO", logger="gandalf.pricing")

    price_of(a_config(type="anthropic"), "claude-opus-4-1-20250805")
    price_of(a_config(type="anthropic"), "claude-opus-4-1")

    [message] = caplog.messages
    assert message == (
        "the price of here/claude-opus-4-1-20250805 is that of"
        " anthropic/claude-opus-4-1 (fuzzy)"
    )


def test_a_file_replaces_the_built_in_list(tmp_path):
    path = tmp_path / "prices.json"
    path.write_text(
        '{"version":"ours 1","vendors":{"openai":{"models":'
        '{"gpt-4o":{"periods":[{"tiers":{"":{"input":7000}}}]}}}}}'
    )
    config = msgspec.structs.replace(
        a_config(type="openai"), prices=Prices(file=str(path))
    )

    price = price_of(config, "gpt-4o")

    assert price.cost(TokenUsage(input=1), 0.0) == 7
    assert price.rate(TokenUsage(input=1), 0.0)[1].source == "ours 1 openai/gpt-4o"
    assert not price_of(config, "gpt-4.1").known


def test_prices_that_were_replaced_before_now_are_left_out():
    config = a_config(type="openai")
    target = Target(provider="here", model="gpt-5.6-sol")

    every = price_targets(config, [target])["here/gpt-5.6-sol"]
    current = price_targets(config, [target], now=2e9)["here/gpt-5.6-sol"]

    assert len(current.periods) == 1 < len(every.periods)
    assert current.cost(TokenUsage(input=9), 2e9) == every.cost(
        TokenUsage(input=9), 2e9
    )
