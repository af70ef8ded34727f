"""What the gateway says of its models, to Ollama's official client."""

import json

import httpx
import ollama as sdk
import pytest

from gandalf.dialects.ollama.pages import render_show, render_tags, render_version
from gandalf.domain.model import Model


def client(page):
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=page))
    return sdk.Client(transport=transport)


def test_the_official_client_lists_the_models():
    with client(render_tags(["fast", "smart:latest"])) as listing:
        models = listing.list().models

    assert [model.model for model in models] == ["fast", "smart:latest"]
    # The command line tool shows the first twelve characters, and breaks without.
    assert all(len(model.digest) == 64 for model in models)
    assert models[0].digest != models[1].digest
    assert models[0].details.families == []


def test_a_list_names_each_model_twice_as_ollama_does():
    (model,) = json.loads(render_tags(["fast"]))["models"]

    assert model["name"] == model["model"] == "fast"
    assert json.loads(render_tags([])) == {"models": []}


def test_the_official_client_is_shown_what_is_known():
    model = Model(
        name="fast", context_window=128_000, tools=True, images=True, thinking=True
    )

    with client(render_show(model)) as showing:
        shown = showing.show("fast")

    assert shown.capabilities == ["completion", "tools", "vision", "thinking"]
    architecture = shown.modelinfo["general.architecture"]
    assert shown.modelinfo[f"{architecture}.context_length"] == 128_000


@pytest.mark.parametrize(
    ("model", "capabilities"),
    [
        (Model(name="m"), ["completion", "tools"]),
        (Model(name="m", tools=False, images=False), ["completion"]),
    ],
)
def test_what_nobody_knows_is_not_claimed_but_for_tools(model, capabilities):
    with client(render_show(model)) as showing:
        shown = showing.show("m")

    assert shown.capabilities == capabilities
    assert not any("context_length" in name for name in shown.modelinfo)


def test_the_version_is_an_object():
    assert json.loads(render_version("0.12.6")) == {"version": "0.12.6"}
