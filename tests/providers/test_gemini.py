import json

import httpx
import pytest
from google import genai
from google.genai import types

from gandalf.config import Provider, ProviderAuth
from gandalf.domain.errors import BadRequest
from gandalf.domain.secret import Secret
from gandalf.providers.base import Ask
from gandalf.providers.fields import parse
from gandalf.providers.gemini import Gemini, action_of, model_path
from tests.fakes import gemini_format as fake


def a_gemini(**config):
    return Gemini(Provider(name="gemini", api_key=Secret("upstream-key"), **config))


def an_ask(operation="chat", model="gemini-2.5-flash", body=b"{}", **more):
    return Ask(operation=operation, model=model, body=body, **more)


@pytest.mark.parametrize(
    ("ask", "target"),
    [
        (an_ask(), b"/v1beta/models/gemini-2.5-flash:generateContent"),
        (
            an_ask(stream=True),
            b"/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        ),
        (an_ask("count_tokens"), b"/v1beta/models/gemini-2.5-flash:countTokens"),
        (
            an_ask("embeddings", body=b'{"content":{"parts":[{"text":"requests"}]}}'),
            b"/v1beta/models/gemini-2.5-flash:embedContent",
        ),
        (
            an_ask("embeddings", body=b'{"requests":[]}'),
            b"/v1beta/models/gemini-2.5-flash:batchEmbedContents",
        ),
        (
            an_ask("batch_embeddings"),
            b"/v1beta/models/gemini-2.5-flash:batchEmbedContents",
        ),
        (an_ask(model="models/x"), b"/v1beta/models/x:generateContent"),
        (an_ask(model="tunedModels/my-x"), b"/v1beta/tunedModels/my-x:generateContent"),
        (
            an_ask(model="a b?c#d:e"),
            b"/v1beta/models/a%20b%3Fc%23d%3Ae:generateContent",
        ),
        (
            an_ask(query=b"prettyPrint=false&key=secret&alt=json&%24alt=proto"),
            b"/v1beta/models/gemini-2.5-flash:generateContent?prettyPrint=false",
        ),
        (
            an_ask(stream=True, query=b"$alt=json%3Benum-encoding=int&x=1"),
            b"/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse&x=1",
        ),
    ],
)
async def test_the_model_and_what_is_done_with_it_are_in_the_url(ask, target):
    request = await a_gemini().request(ask)

    assert request.target == target
    assert request.method == b"POST"


@pytest.mark.parametrize(
    "field",
    [
        b"fields=candidates",
        b"$fields=candidates",
        b"%24fields=candidates",
        b"f%69elds=candidates",
        b"al%74=json",
        b"%61lt=json",
        b"%24%63allback=x",
        b"%61ccess_token=x",
        b"oauth_token=x",
        b"$httpMethod=DELETE",
    ],
)
async def test_what_would_hide_the_usage_or_rewrite_the_answer_is_kept_back(field):
    request = await a_gemini().request(an_ask(query=field + b"&x=1"))

    assert request.target.endswith(b":generateContent?x=1")


async def test_the_key_is_in_a_header_and_never_in_the_url():
    request = await a_gemini().request(an_ask(headers=b"x-goog-api-client: c\r\n"))

    headers = dict(parse(request.headers))
    assert headers[b"x-goog-api-key"] == b"upstream-key"
    assert headers[b"x-goog-api-client"] == b"c"
    assert b"upstream-key" not in request.target


async def test_another_base_url_and_another_key_can_be_configured():
    auth = ProviderAuth(api_key=Secret("other"))
    provider = a_gemini(base_url="https://proxy.example/google/v1beta/", auth=auth)

    request = await provider.request(an_ask())

    assert request.target.startswith(b"/google/v1beta/models/")
    assert dict(parse(request.headers))[b"x-goog-api-key"] == b"other"


async def test_without_a_key_none_is_sent():
    provider = Gemini(Provider(name="gemini"))

    request = await provider.request(an_ask())

    assert b"x-goog-api-key" not in dict(parse(request.headers))


async def test_what_it_cannot_do_is_refused():
    with pytest.raises(BadRequest):
        await a_gemini().request(an_ask("images"))


@pytest.mark.parametrize("model", ["..", "models/../x", "a//b", "models/"])
def test_a_name_that_leads_elsewhere_is_no_model(model):
    with pytest.raises(BadRequest):
        model_path(model)


def test_others_can_reuse_the_actions():
    assert action_of(an_ask(stream=True)) == (b":streamGenerateContent", b"alt=sse")
    assert action_of(an_ask()) == (b":generateContent", b"")


@pytest.mark.parametrize("stream", [False, True])
async def test_googles_sdk_asks_in_the_same_way(stream):
    seen = []

    def answer(request):
        seen.append(request)
        if stream:
            return httpx.Response(200, content=b"".join(fake.stream_events()))
        return httpx.Response(200, content=fake.completion())

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        options = types.HttpOptions(httpx_client=http, api_version="v1beta")
        client = genai.Client(api_key="upstream-key", http_options=options)
        if stream:
            list(client.models.generate_content_stream(model="m", contents="hi"))
        else:
            client.models.generate_content(model="m", contents="hi")

    ours = await a_gemini().request(an_ask(model="m", stream=stream))
    assert seen[0].url.raw_path == ours.target
    assert seen[0].headers["x-goog-api-key"] == "upstream-key"
    assert json.loads(seen[0].content)["contents"]
