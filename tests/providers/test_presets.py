"""Vendors whose addresses need not be looked up."""

from importlib.resources import files
from urllib.parse import urlsplit

import msgspec
import pytest

from gandalf.config import Provider
from gandalf.config.presets import PRESETS
from gandalf.domain.secret import Secret
from gandalf.providers.base import Ask
from gandalf.providers.fields import parse
from gandalf.providers.presets import Preset

CATALOGUE = msgspec.json.decode(
    (files("gandalf.providers") / "models.json").read_bytes()
)
BODY = b'{"stream_options":{"include_usage":true},"model":"m","stream":true}'


def preset(name, **settings):
    return Preset(Provider(name="p", type=name, api_key=Secret("key"), **settings))


@pytest.mark.parametrize("name", PRESETS)
async def test_a_preset_has_an_address_and_a_key(name):
    provider = preset(name)

    request = await provider.request(Ask(operation="chat", model="m", body=b"{}"))

    parts = urlsplit(PRESETS[name].base_url)
    assert provider.base_url == PRESETS[name].base_url
    assert parts.scheme == ("http" if PRESETS[name].local else "https")
    assert request.target == parts.path.encode() + b"/chat/completions"
    assert (b"authorization", b"Bearer key") in parse(request.headers)


@pytest.mark.parametrize("name", [n for n, p in PRESETS.items() if p.catalogue_id])
def test_the_catalogue_knows_it_at_the_same_address(name):
    known = CATALOGUE["vendors"][PRESETS[name].catalogue_id]

    assert known["models"]
    if known["api"]:
        assert PRESETS[name].base_url == known["api"].rstrip("/")


def test_an_address_of_ones_own_wins():
    assert (
        preset("vllm", base_url="http://gpu:8000/v1").base_url == "http://gpu:8000/v1"
    )


# https://github.com/openai/openai-agents-python/issues/442
@pytest.mark.parametrize("name", ["mistral", "cohere"])
async def test_stream_options_are_not_sent_where_they_are_refused(name):
    ask = Ask(operation="chat", model="m", body=BODY, stream=True)

    request = await preset(name).request(ask)

    assert request.body == b'{"model":"m","stream":true}'


async def test_stream_options_are_sent_to_the_others():
    ask = Ask(operation="chat", model="m", body=BODY, stream=True)

    assert (await preset("groq").request(ask)).body == BODY


def test_fields_that_a_vendor_refuses_are_left_out_of_its_own_dialect():
    body = b'{"user":"u", "model":"m","seed": 7,"service_tier":"auto","messages":[] }'

    made, lost = preset("mistral").refused_fields.leave_out(body)

    assert made == b'{ "model":"m","random_seed": 7,"messages":[] }'
    assert lost == ("user", "service_tier")


def test_a_request_that_a_vendor_takes_is_the_same_bytes():
    body = b'{"model":"m","messages":[{"role":"user","content":"my user"}]}'

    assert preset("mistral").refused_fields.leave_out(body) == (body, ())
    assert preset("baseten").refused_fields is None
