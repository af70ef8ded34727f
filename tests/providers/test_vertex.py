"""URLs, bodies and credentials of Vertex AI."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.config import Provider
from gandalf.dialects import openai
from gandalf.dialects.json_object import Governed
from gandalf.domain.errors import BadRequest, UpstreamUnavailable
from gandalf.providers.base import Ask
from gandalf.providers.body import without
from gandalf.providers.credentials import Fixed, Token
from gandalf.providers.fields import parse, render
from gandalf.providers.vertex import (
    _GOVERNED,
    Vertex,
    host_of,
    speak_anthropic,
    speak_gemini,
    speak_openai,
)

VERSION = b'"anthropic_version":"vertex-2023-10-16"'


def action_of(ask):
    if ask.stream:
        return b":streamGenerateContent", b"alt=sse"
    if ask.operation == "embeddings":
        return b":batchEmbedContents", b""
    return b":generateContent", b""


def vertex(speak=speak_anthropic, token=None, **settings):
    defaults = {
        "name": "vertex",
        "type": "anthropic",
        "hosting": "vertex",
        "region": "europe-west1",
        "project": "acme",
    }
    credential = Fixed(token or Token("ya29", project="of-the-account"))
    # Any dialect will do: it is not asked for anything here.
    return Vertex(Provider(**defaults | settings), credential, openai, speak)


def chat(model, body=b"{}", **more):
    return Ask(operation="chat", model=model, body=body, **more)


# https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations
@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("europe-west1", "https://europe-west1-aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
        ("us", "https://aiplatform.us.rep.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_a_region_has_its_host(region, host):
    assert host_of(region) == host
    assert vertex(region=region).base_url == host


# https://docs.anthropic.com/en/api/claude-on-vertex-ai
@pytest.mark.parametrize(
    ("stream", "action"), [(False, b"rawPredict"), (True, b"streamRawPredict")]
)
async def test_a_message_has_its_model_in_the_path_and_the_version_in_the_body(
    stream, action
):
    body = b'{ "model": "claude-sonnet-4-5@20250929", "max_tokens":1e2, "messages":[]}'

    request = await vertex().request(
        chat("claude-sonnet-4-5@20250929", body, stream=stream)
    )

    assert request.method == b"POST"
    assert request.target == (
        b"/v1/projects/acme/locations/europe-west1/publishers/anthropic/models/"
        b"claude-sonnet-4-5@20250929:" + action
    )
    # All the rest is what the client sent, byte for byte.
    assert request.body == b"{" + VERSION + b',  "max_tokens":1e2, "messages":[]}'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"m"}', b"{" + VERSION + b"}"),
        (b'{"a":1,"model":"m"}', b"{" + VERSION + b',"a":1}'),
        (b'{"a":1 , "model" : "m" }', b"{" + VERSION + b',"a":1  }'),
        (b'{"a":{"model":"x"},"model":"m","b":2}', b"{" + VERSION + b',"a":{"model":"x"},"b":2}'),
        (b'{"mod\\u0065l":"m","a":1}', b"{" + VERSION + b',"a":1}'),
        (b'{"a":1}', b"{" + VERSION + b',"a":1}'),
        (
            b'{"anthropic_version":"2023-06-01","model":"m","a":1}',
            b"{" + VERSION + b',"a":1}',
        ),
        (
            b'{"model":"m","anthropic_version" : "bedrock-2023-05-31"}',
            b"{" + VERSION + b"}",
        ),
    ],
)  # fmt: skip
async def test_only_model_and_version_change_in_a_body(body, expected):
    request = await vertex().request(chat("m", body))

    assert request.body == expected


async def test_a_body_that_governs_itself_twice_is_refused():
    with pytest.raises(BadRequest, match="more than one 'model'"):
        await vertex().request(chat("m", b'{"model":"a","model":"b"}'))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(
    st.dictionaries(st.text(), _JSON).filter(
        lambda members: not {"model"} & {name.lower() for name in members}
    ),
    st.integers(0, 20),
    _JSON,
    st.sampled_from([None, 1]),
)
def test_whatever_the_body_it_is_the_same_without_the_member(
    members, at, value, indent
):
    names = list(members)
    names.insert(at, "model")
    body = json.dumps(
        {name: members.get(name, value) for name in names}, indent=indent
    ).encode()

    assert json.loads(without(body, _GOVERNED, "model")) == members


# https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/count-tokens
async def test_tokens_are_counted_by_a_model_of_its_own():
    body = b'{"model":"claude-sonnet-4-5","messages":[]}'
    ask = Ask(operation="count_tokens", model="claude-sonnet-4-5", body=body)

    request = await vertex().request(ask)

    assert request.target == (
        b"/v1/projects/acme/locations/europe-west1/publishers/anthropic/models/"
        b"count-tokens:rawPredict"
    )
    assert request.body == (
        b"{" + VERSION + b',"model":"claude-sonnet-4-5","messages":[]}'
    )


async def test_betas_stay_in_their_header_and_the_version_does_not():
    headers = [
        (b"anthropic-version", b"2023-06-01"),
        (b"anthropic-beta", b"context-1m-2025-08-07"),
    ]

    request = await vertex().request(
        chat("m", b'{"model":"m"}', headers=render(headers))
    )

    assert parse(request.headers) == [
        (b"anthropic-beta", b"context-1m-2025-08-07"),
        (b"content-type", b"application/json"),
        (b"accept-encoding", b"identity"),
        (b"authorization", b"Bearer ya29"),
    ]


# https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
async def test_geminis_models_are_googles():
    provider = vertex(speak_gemini(action_of), region="global")

    whole = await provider.request(chat("gemini-2.5-pro", b'{"contents":[]}'))
    stream = await provider.request(chat("gemini-2.5-pro", stream=True))

    path = b"/v1/projects/acme/locations/global/publishers/google/models/gemini-2.5-pro"
    assert whole.target == path + b":generateContent"
    assert whole.body == b'{"contents":[]}'
    assert stream.target == path + b":streamGenerateContent?alt=sse"


async def test_a_tuned_model_is_an_endpoint_of_the_project():
    request = await vertex(speak_gemini(action_of)).request(chat("endpoints/123"))

    assert request.target == (
        b"/v1/projects/acme/locations/europe-west1/endpoints/123:generateContent"
    )


# https://cloud.google.com/vertex-ai/generative-ai/docs/migrate/openai/overview
async def test_other_models_speak_openais_dialect():
    body = b'{"model":"meta/llama-3.3-70b-instruct-maas"}'

    request = await vertex(speak_openai).request(
        chat("meta/llama-3.3-70b-instruct-maas", body)
    )

    assert request.target == (
        b"/v1/projects/acme/locations/europe-west1/endpoints/openapi/chat/completions"
    )
    assert request.body == body


@pytest.mark.parametrize(
    "speak", [speak_anthropic, speak_openai, speak_gemini(action_of)]
)
async def test_an_unknown_operation_is_refused(speak):
    with pytest.raises(BadRequest, match="vertex has no embeddings"):
        await vertex(speak).request(Ask(operation="embeddings", model="m", body=b"{}"))


async def test_the_project_may_be_that_of_the_credentials():
    request = await vertex(project="").request(chat("m"))

    assert request.target.startswith(b"/v1/projects/of-the-account/locations/")


async def test_without_any_project_the_provider_is_unavailable():
    with pytest.raises(UpstreamUnavailable, match="must be configured"):
        await vertex(project="", token=Token("ya29")).request(chat("m"))


@pytest.mark.parametrize(
    "base_url", ["https://psc.example/gcp", "https://psc.example/gcp/v1/"]
)
async def test_another_address_takes_the_place_of_the_host(base_url):
    provider = vertex(base_url=base_url)

    request = await provider.request(chat("m"))

    assert provider.base_url == "https://psc.example/gcp"
    assert request.target.startswith(b"/gcp/v1/projects/acme/locations/europe-west1/")


def test_a_member_of_a_tools_schema_is_not_the_requests_own():
    body = b'{"tools":[{"input_schema":{"properties":{"model":{}}}}],"x":1}'

    assert without(body, Governed("model", "tools"), "model") == body
