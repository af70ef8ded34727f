"""What is known of a model, by whatever name a provider has for it."""

import gc
from pathlib import Path

import pytest

from gandalf.config import Config, ModelInfo, Provider, Route, RouteTarget
from gandalf.domain.model import Model
from gandalf.domain.secret import Secret
from gandalf.providers import catalogue
from gandalf.providers.catalogue import equip, find, find_all
from gandalf.providers.registry import make_provider


def test_a_model_is_known_by_its_name():
    model = find("anthropic", "claude-sonnet-4-5")

    assert model == Model(
        name="claude-sonnet-4-5",
        context_window=1_000_000,
        output_limit=64_000,
        images=True,
        documents=True,
        audio=False,
        video=False,
        tools=True,
        thinking=True,
        structured_output=True,
        temperature=True,
    )


@pytest.mark.parametrize(
    ("vendor", "name", "same_as"),
    [
        ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("anthropic", "claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
        ("anthropic", "claude-opus-4-1@20250805", "claude-opus-4-1"),
        ("openai", "gpt-5-2025-08-07", "gpt-5"),
        ("openai", "gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc123", "gpt-4o-mini"),
        ("openai", "GPT-4o", "gpt-4o"),
        ("google", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("google", "gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("google", "gemini-2.5-pro-preview-05-06", "gemini-2.5-pro"),
        ("google-vertex", "claude-sonnet-4-5", "claude-sonnet-4-5@20250929"),
        ("google-vertex", "claude-opus-4-6", "claude-opus-4-6@default"),
        ("google-vertex", "claude-3-5-sonnet-v2@20241022", "claude-3-5-sonnet@20241022"),
        ("google-vertex", "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        (
            "amazon-bedrock",
            "apac.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (
            "amazon-bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0",
            "amazon.nova-pro-v1:0",
        ),
        ("amazon-bedrock", "meta.llama3-1-8b-instruct-v1:0:128k", "meta.llama3-1-8b-instruct-v1:0"),
        ("azure", "my-gpt-4o-mini-eu", "gpt-4o-mini"),
        ("openrouter", "deepseek/deepseek-r1:nitro", "deepseek/deepseek-r1"),
        ("huggingface", "deepseek-ai/DeepSeek-V3.2:novita", "deepseek-ai/DeepSeek-V3.2"),
    ],
)  # fmt: skip
def test_what_makes_it_no_other_model_is_overlooked(vendor, name, same_as):
    found, same = find(vendor, name), find(vendor, same_as)

    assert found.context_window is not None
    assert (found.context_window, found.images, found.tools, found.thinking) == (
        same.context_window,
        same.images,
        same.tools,
        same.thinking,
    )


@pytest.mark.parametrize(
    ("vendor", "name"),
    [
        ("amazon-bedrock", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("google-vertex", "claude-3-opus@20240229"),
        ("azure", "gpt-35-turbo"),
    ],
)
def test_a_clouds_model_may_be_known_from_its_maker(vendor, name):
    assert find(vendor, name).context_window is not None


@pytest.mark.parametrize(
    ("vendor", "name"),
    [
        ("anthropic", "claude-99"),
        ("anthropic", "gpt-4o"),
        ("anthropic", ""),
        ("openai", "gpt-4o-audio-nothing"),
        ("openai", "gpt-4o-mini-tts"),
        ("openai", "gpt-4"[:3]),
        ("azure", "prod"),
        ("azure", "eu-gpt-4o-realtime"),
        ("azure", "gpt-4.15"),
        ("amazon-bedrock", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"),
        ("ollama-cloud", "llama3.2:3b"),
        ("no-such-vendor", "gpt-4o"),
        ("", "gpt-4o"),
    ],
)  # fmt: skip
def test_of_others_nothing_is_claimed(vendor, name):
    assert find(vendor, name) == Model(name=name)


def test_a_local_model_is_known_by_its_family_but_for_its_size():
    model = find("ollama-cloud", "gemma3:1b")

    assert (model.images, model.tools) == (True, False)
    assert (model.context_window, model.output_limit) == (None, None)


def test_who_sees_may_also_read_documents_though_nobody_says_so():
    assert find("openai", "gpt-5").documents is None
    assert find("openai", "o3-mini").documents is False


def test_of_a_model_that_only_the_price_list_knows_the_context_window_is_known():
    model = find("openai", "gpt-6-sol")

    assert model == Model(name="gpt-6-sol", context_window=1_050_000)


def test_without_its_data_nothing_is_known(monkeypatch, caplog):
    monkeypatch.setattr(catalogue, "files", lambda _: Path("/nowhere"))

    assert find("openai", "gpt-4o") == Model(name="gpt-4o")
    assert "the model catalogue cannot be read" in caplog.text


def test_every_entry_can_be_read():
    shelves = catalogue._Shelves()
    names = [
        (vendor, name)
        for vendor in shelves._raw
        for name in catalogue._decode_vendor(shelves._raw[vendor]).models
    ]

    found = find_all(names)

    assert len(found) > 2500
    known = [m for m in found.values() if m.tools is not None or m.context_window]
    assert len(known) == len(found)


def test_nothing_of_it_is_kept():
    find("openai", "gpt-4o")
    gc.collect()

    assert not [o for o in gc.get_objects() if isinstance(o, catalogue._Shelf)]


# Providers


def a_config(*sections, targets=()):
    routes = tuple(
        Route(
            model_alias=f"alias-{model}",
            targets=(RouteTarget(provider=p, model=model),),
        )
        for p, model in targets
    )
    return Config(providers=sections, routes=routes)


def openai(**settings):
    return Provider(name="openai", api_key=Secret("key"), **settings)


def made(config):
    return {section.name: make_provider(section) for section in config.providers}


def test_a_provider_knows_the_models_it_serves():
    config = a_config(openai(models=("gpt-4o",)), targets=[("openai", "gpt-5")])
    providers = made(config)

    equip(providers, config)

    assert set(providers["openai"].known) == {"gpt-4o", "gpt-5"}
    assert providers["openai"].model("gpt-5").temperature is False
    assert providers["openai"].model("other") == Model(name="other")


def test_the_configuration_corrects_the_catalogue():
    info = ModelInfo(name="gpt-4o", context_window=1000, audio=True)
    config = a_config(openai(models=("gpt-4o", "gpt-5"), model_info=(info,)))
    providers = made(config)

    equip(providers, config)

    model = providers["openai"].model("gpt-4o")
    assert (model.context_window, model.audio, model.images) == (1000, True, True)
    assert providers["openai"].model("gpt-5").context_window == 400_000


def test_a_provider_that_is_kept_is_not_looked_up_again(monkeypatch):
    config = a_config(openai(models=("gpt-4o",)))
    providers = made(config)
    equip(providers, config)
    monkeypatch.setattr(catalogue, "_read", pytest.fail)

    equip(providers, config)

    assert providers["openai"].model("gpt-4o").tools is True


def test_a_provider_that_is_not_remote_is_left_alone():
    config = a_config(Provider(name="simulated", models=("m",)))

    equip(made(config), config)
