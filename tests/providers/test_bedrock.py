import base64
import itertools
import json

import boto3
import httpx
import pytest
import trio
from anthropic.lib.bedrock._stream_decoder import AWSEventStreamDecoder
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from hypothesis import given
from hypothesis import strategies as st

from gandalf.config import Provider, ProviderAuth, Timeouts
from gandalf.dialects import anthropic as anthropic_dialect
from gandalf.dialects import sse
from gandalf.dialects.event_stream import FramingError
from gandalf.domain.errors import BadRequest, UpstreamError
from gandalf.domain.secret import Secret
from gandalf.http.dial import origin_of
from gandalf.http.upstream import Pool
from gandalf.providers import bedrock
from gandalf.providers.base import Ask
from gandalf.providers.bedrock import (
    AnthropicFraming,
    BedrockAnthropic,
    BedrockConverse,
    invoke_body,
)
from gandalf.providers.credentials import AwsKeys
from gandalf.providers.fields import parse, render
from gandalf.providers.watch import Watch
from tests.fakes import bedrock_format as fmt
from tests.fakes import bedrock_server
from tests.fakes.bedrock_server import fake_bedrock


def keys(**fields):
    return AwsKeys(
        **{
            "access_key": bedrock_server.ACCESS_KEY,
            "secret_key": bedrock_server.SECRET_KEY,
            **fields,
        }
    )


class Held:
    """Credentials as their owner keeps them."""

    def __init__(self, keys):
        self.keys = keys
        self.asked = 0

    async def get(self):
        self.asked += 1
        return self.keys


def a_config(**fields):
    fields.setdefault("region", bedrock_server.REGION)
    return Provider(name="aws", type="bedrock", **fields)


def converse(credential=None, environment=None, **fields):
    return BedrockConverse(a_config(**fields), credential, environment or {})


def anthropic(credential=None, environment=None, **fields):
    return BedrockAnthropic(
        a_config(**fields), credential, anthropic_dialect, environment or {}
    )


def an_ask(operation="chat", **fields):
    fields.setdefault("model", "us.amazon.nova-pro-v1:0")
    fields.setdefault("body", b'{"messages":[{"role":"user","content":[]}]}')
    return Ask(operation=operation, **fields)


MESSAGES = {
    "model": "claude",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "Hi"}],
}


def a_message_ask(**fields):
    fields.setdefault("model", "anthropic.claude-sonnet-4-5-20250929-v1:0")
    fields.setdefault("body", json.dumps(MESSAGES).encode())
    return Ask(operation="chat", **fields)


async def sent(provider, ask):
    """Send ``ask`` as the pipeline would; return status, headers and body."""
    request = await provider.request(ask)
    pool = Pool(provider.base_url)
    try:
        response = await pool.send(request, Timeouts(), Watch())
        body = b""
        while piece := await response.receive():
            body += piece
        response.close()
        return response.status, response.headers, body
    finally:
        pool.close()


# --- where to, and with which credentials ---


@pytest.mark.parametrize(
    ("stream", "operation", "target"),
    [
        (False, "chat", b"/model/us.amazon.nova-pro-v1%3A0/converse"),
        (True, "chat", b"/model/us.amazon.nova-pro-v1%3A0/converse-stream"),
        # Tokens are counted by the model itself.
        (False, "count_tokens", b"/model/amazon.nova-pro-v1%3A0/count-tokens"),
    ],
)
async def test_converse_names_the_model_and_the_operation_in_the_path(
    stream, operation, target
):
    provider = converse(Held(keys()))

    request = await provider.request(an_ask(operation, stream=stream))

    assert request.method == b"POST"
    assert request.target == target
    assert request.body == an_ask().body


async def test_an_arn_is_one_segment_of_the_path():
    arn = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/x1"

    request = await converse(Held(keys())).request(an_ask(model=arn))

    assert request.target == (
        b"/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3A"
        b"application-inference-profile%2Fx1/converse"
    )


@pytest.mark.parametrize("operation", ["embeddings", "completions"])
async def test_what_bedrock_does_not_have_is_refused(operation):
    for provider in (converse(Held(keys())), anthropic(Held(keys()))):
        with pytest.raises(BadRequest) as raised:
            await provider.request(an_ask(operation))

        assert raised.value.code == "unsupported_operation"


async def test_anthropics_tokens_cannot_be_counted_here():
    with pytest.raises(BadRequest):
        await anthropic(Held(keys())).request(an_ask("count_tokens"))


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("us-east-1", "https://bedrock-runtime.us-east-1.amazonaws.com"),
        ("cn-north-1", "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_each_region_has_its_own_host(region, url):
    assert converse(region=region).base_url == url


@pytest.mark.parametrize(
    "base_url",
    [
        "https://bedrock-runtime.eu-central-1.amazonaws.com",
        "https://VPCE-1.bedrock-runtime.eu-central-1.vpce.amazonaws.com:443/",
        "https://proxy.example:8443/aws",
        "http://127.0.0.1:80",
        "http://127.0.0.1:8080",
        "http://[::1]:9000/x",
    ],
)
def test_what_is_signed_for_host_is_what_the_transport_sends(base_url):
    assert bedrock._authority(base_url).encode() == origin_of(base_url).authority


async def test_an_api_key_takes_the_place_of_a_signature():
    held = Held(keys())
    provider = converse(held, api_key=Secret("key"))

    request = await provider.request(an_ask())

    assert (b"authorization", b"Bearer key") in parse(request.headers)
    assert all(name != b"x-amz-date" for name, _ in parse(request.headers))
    assert held.asked == 0


async def test_an_api_key_is_found_where_aws_itself_looks():
    environment = {"AWS_BEARER_TOKEN_BEDROCK": "from outside"}

    request = await converse(environment=environment).request(an_ask())

    assert (b"authorization", b"Bearer from outside") in parse(request.headers)


async def test_an_api_key_in_the_environment_gives_way_to_what_is_configured():
    environment = {"AWS_BEARER_TOKEN_BEDROCK": "from outside"}
    held = Held(keys())

    own = await converse(environment=environment, api_key=Secret("own")).request(
        an_ask()
    )
    signed = await converse(
        held, environment, auth=ProviderAuth(type="aws_sigv4")
    ).request(an_ask())

    assert (b"authorization", b"Bearer own") in parse(own.headers)
    assert dict(parse(signed.headers))[b"authorization"].startswith(
        b"AWS4-HMAC-SHA256 "
    )
    assert held.asked == 1


async def test_without_any_credentials_nothing_is_sent():
    with pytest.raises(UpstreamError):
        await converse().request(an_ask())


async def test_credentials_are_asked_for_each_time():
    held = Held(keys())
    provider = converse(held)
    await provider.request(an_ask())
    held.keys = keys(token="new")

    request = await provider.request(an_ask())

    assert (b"x-amz-security-token", b"new") in parse(request.headers)


# --- against a Bedrock that checks signatures ---


@pytest.mark.parametrize("token", [None, bedrock_server.TOKEN])
@pytest.mark.parametrize(
    "model",
    [
        "us.amazon.nova-pro-v1:0",
        "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.meta.x-v1:0",
        "a b/~c%2F",
    ],
)
async def test_bedrock_accepts_what_is_signed(nursery, model, token):
    async with fake_bedrock(nursery) as up:
        provider = converse(Held(keys(token=token)), base_url=up.url)

        status, _, body = await sent(provider, an_ask(model=model))

        assert (status, up.refused) == (200, [])
        assert json.loads(body)["stopReason"] == "end_turn"


async def test_bedrock_refuses_another_secret(nursery):
    async with fake_bedrock(nursery) as up:
        provider = converse(Held(keys(secret_key="other")), base_url=up.url)

        status, _, _ = await sent(provider, an_ask())

        assert (status, up.refused) == (403, ["the signature does not match"])


async def test_bedrock_refuses_a_body_that_was_changed_after_it_was_signed(nursery):
    async with fake_bedrock(nursery) as up:
        provider = converse(Held(keys()), base_url=up.url)
        request = await provider.request(an_ask())
        async with httpx.AsyncClient() as client:
            answer = await client.post(
                up.url + request.target.decode(),
                content=b'{"messages":[{"role":"user","content":[1]}]}',
                headers=parse(request.headers),
            )

        assert answer.status_code == 403


async def test_bedrock_accepts_an_api_key(nursery):
    async with fake_bedrock(nursery) as up:
        key = Secret(bedrock_server.API_KEY)

        status, _, _ = await sent(converse(api_key=key, base_url=up.url), an_ask())

        assert status == 200


async def test_a_stream_is_of_the_type_that_the_provider_says(nursery):
    async with fake_bedrock(nursery) as up:
        for provider in (
            converse(Held(keys()), base_url=up.url),
            anthropic(Held(keys()), base_url=up.url),
        ):
            status, headers, _ = await sent(provider, a_message_ask(stream=True))

            assert status == 200
            assert headers[b"content-type"].startswith(provider.stream_content_type)


async def test_anthropics_stream_comes_out_as_its_own_events(nursery):
    async with fake_bedrock(nursery) as up:
        provider = anthropic(Held(keys()), base_url=up.url)
        body = json.dumps({**MESSAGES, "stream": True}).encode()

        _, _, data = await sent(provider, a_message_ask(body=body, stream=True))
        framing = provider.stream_framing()
        events = framing.feed(data) + framing.flush()

        assert up.refused == []
        assert up.upstream.requests[0].json() == {
            "max_tokens": 9,
            "messages": MESSAGES["messages"],
            "anthropic_version": "bedrock-2023-05-31",
        }
        assert events == b"".join(
            sse.event(json.dumps(event, separators=(",", ":")).encode(), name.encode())
            for event in fmt.message_events()
            for name in [event["type"]]
        )


@pytest.mark.parametrize(
    ("cut", "said"),
    [
        (None, (True, "end_turn", None)),
        (3, (False, None, None)),
        (fmt.exception("throttlingException", "slow down"), (False, None, 429)),
    ],
)
def test_anthropics_dialect_follows_what_is_unpacked(cut, said):
    frames = list(map(fmt.chunk, fmt.message_events()))
    if isinstance(cut, bytes):
        frames = [*frames[:3], cut]
    body = json.dumps({**MESSAGES, "stream": True}).encode()
    follower = anthropic_dialect.follow(anthropic_dialect.read_call("chat", body))

    framing = AnthropicFraming()
    for frame in frames[:cut] if isinstance(cut, int) else frames:
        follower.feed(framing.feed(frame))

    failed = follower.failed.status if follower.failed else None
    assert (follower.done, follower.finish_reason, failed) == said


# --- the fake itself, by Amazon's own client ---


def amazons_client(url, **fields):
    fields = fields or {
        "aws_access_key_id": bedrock_server.ACCESS_KEY,
        "aws_secret_access_key": bedrock_server.SECRET_KEY,
        "aws_session_token": bedrock_server.TOKEN,
    }
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name=bedrock_server.REGION,
        config=Config(retries={"total_max_attempts": 1}),
        **fields,
    )


in_thread = trio.to_thread.run_sync  # noqa: TID251 - Amazon's client blocks

ASKED = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}


async def test_amazons_own_client_is_let_in_and_understands_the_answers(nursery):
    def ask(client):
        whole = client.converse(modelId="a.b-v1:0", **ASKED)
        stream = list(client.converse_stream(modelId="a.b-v1:0", **ASKED)["stream"])
        body = invoke_body(json.dumps(MESSAGES).encode())
        invoked = client.invoke_model_with_response_stream(
            modelId="anthropic.claude", body=body
        )
        events = [json.loads(e["chunk"]["bytes"]) for e in invoked["body"]]
        counted = client.count_tokens(modelId="a.b", input={"converse": ASKED})
        return whole, stream, events, counted

    async with fake_bedrock(nursery) as up:
        client = amazons_client(up.url)
        whole, stream, events, counted = await in_thread(ask, client)
        client.close()

    assert up.refused == []
    assert whole["output"]["message"]["content"] == [{"text": "Hello there"}]
    assert [next(iter(event)) for event in stream] == [
        "messageStart",
        "contentBlockDelta",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert events == fmt.message_events()
    assert counted["inputTokens"] == 9


async def test_amazons_own_client_sees_exceptions_and_refusals(nursery):
    def ask(url):
        client = amazons_client(url)
        stream = client.converse_stream(modelId="a.b", **ASKED)["stream"]
        with pytest.raises(EventStreamError, match="slow down"):
            list(stream)
        stream.close()
        with pytest.raises(ClientError, match="ValidationException"):
            client.converse(modelId="a.b", messages=[])
        client.close()
        wrong = amazons_client(url, aws_access_key_id="AKID", aws_secret_access_key="x")
        with pytest.raises(ClientError, match="InvalidSignature"):
            wrong.converse(modelId="a.b", **ASKED)
        wrong.close()

    async with fake_bedrock(nursery) as up:
        up.script(
            bedrock_server.event_stream(
                *fmt.converse_events()[:2],
                fmt.exception("throttlingException", "slow down"),
            )
        )
        await in_thread(ask, up.url)

    assert len(up.refused) == 1


def test_converse_needs_no_unpacking():
    assert converse().stream_framing is None


# --- the body of a call of Anthropic's ---


async def test_betas_move_into_the_body_and_other_fields_are_kept():
    headers = [
        (b"anthropic-beta", b"context-1m-2025-08-07, interleaved-thinking-2025-05-14"),
        (b"anthropic-version", b"2023-06-01"),
        (b"accept", b"text/event-stream"),
        (b"x-stainless-lang", b"python"),
    ]

    request = await anthropic(Held(keys())).request(
        a_message_ask(headers=render(headers))
    )

    assert json.loads(request.body)["anthropic_beta"] == [
        "context-1m-2025-08-07",
        "interleaved-thinking-2025-05-14",
    ]
    names = [name for name, _ in parse(request.headers)]
    assert names[0] == b"x-stainless-lang"
    assert not {b"anthropic-beta", b"anthropic-version", b"accept"} & set(names)


VERSION = b'"anthropic_version":"bedrock-2023-05-31"'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"m","a":1}', b'{"a":1,%b}'),
        (b'{"a":1,"model":"m"}', b'{"a":1,%b}'),
        (b'{"a":1,"model":"m","stream":true}', b'{"a":1,%b}'),
        (b'{"stream":true,"model":"m","a":1}', b'{"a":1,%b}'),
        (b'{"model":"m","a":1,"stream":false}', b'{"a":1,%b}'),
        (b'{"model":"m"}', b"{%b}"),
        (b"{}", b"{%b}"),
        (b' { "model" : "m" , "a" : 1.50 , "stream":true } \n', b' {  "a" : 1.50 ,%b}'),
        # What only looks like a governed member is content.
        (
            b'{"model":"m","tools":[{"stream":true,"model":{"type":"string"}}]}',
            b'{"tools":[{"stream":true,"model":{"type":"string"}}],%b}',
        ),
        (
            b'{"a":"\\"stream\\":true","x":{"stream": 1}}',
            b'{"a":"\\"stream\\":true","x":{"stream": 1},%b}',
        ),
        # A client of Bedrock's own ways says it itself.
        (b'{"anthropic_version":"old","a":1}', b'{"a":1,%b}'),
        # Escaped, but the same name.
        (b'{"mod\\u0065l":"m","a":1}', b'{"a":1,%b}'),
    ],
)
def test_model_and_stream_leave_the_body_and_the_version_comes_in(body, expected):
    assert invoke_body(body) == expected % VERSION


def test_betas_of_the_body_win():
    body = b'{"model":"m","anthropic_beta":["own"]}'

    assert json.loads(invoke_body(body, b"other"))["anthropic_beta"] == ["own"]


@pytest.mark.parametrize(
    "body",
    [b'{"model":"a","model":"b"}', b"", b"[]", b'{"model"', b'{"a":' + b"[" * 100_000],
)
def test_a_body_that_is_none_or_governs_itself_twice_is_refused(body):
    with pytest.raises(BadRequest):
        invoke_body(body)


numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers
documents = st.recursive(
    scalars | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["model", "stream", "anthropic_version", "a", 'q"'])
            | st.text(max_size=4),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["model", "stream", "anthropic_version", "messages", "tools", "x"]
        ),
        documents,
    ),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_everything_else_stays_as_it_was(document, indent, ascii_only):
    body = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode(
        "utf-8", "surrogatepass"
    )

    changed = json.loads(invoke_body(body))

    moved = ("model", "stream", "anthropic_version")
    expected = {name: v for name, v in document.items() if name not in moved}
    assert changed == {**expected, "anthropic_version": "bedrock-2023-05-31"}


# --- the stream of a call of Anthropic's ---

STREAM = b"".join(map(fmt.chunk, fmt.message_events("Hi", "\u2028 \u20ac")))


def unpack(chunks):
    framing = AnthropicFraming()
    return b"".join([*map(framing.feed, chunks), framing.flush()])


def test_gives_the_events_that_anthropics_own_client_sees():
    theirs = [
        (event.event, json.loads(event.data))
        for event in AWSEventStreamDecoder().iter_bytes(iter([STREAM]))
    ]

    ours = [
        (event.split(b"\n")[0].removeprefix(b"event: ").decode(), json.loads(data))
        for event in sse.split(unpack([STREAM]))
        if (data := sse.data_of(event)) is not None
    ]

    assert ours == theirs


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_any_chunking_gives_the_same_bytes(cuts):
    edges = [0, *sorted(cuts), len(STREAM)]

    assert unpack([STREAM[a:b] for a, b in itertools.pairwise(edges)]) == unpack(
        [STREAM]
    )


def test_each_event_leaves_as_soon_as_it_is_there():
    framing = AnthropicFraming()
    whole = fmt.chunk({"type": "ping"})

    assert framing.feed(whole[:-1]) == b""
    assert framing.feed(whole[-1:]) == b'event: ping\ndata: {"type":"ping"}\n\n'


def test_the_metrics_of_bedrock_are_left_as_they_came():
    *_, last = sse.split(unpack([STREAM]))

    assert json.loads(sse.data_of(last))["amazon-bedrock-invocationMetrics"] == (
        fmt.METRICS
    )


def test_an_event_of_several_lines_becomes_one():
    pretty = b'{\n  "type": "ping",\r\n  "x": "a b"\n}'

    assert unpack([fmt.chunk(pretty)]) == (
        b'event: ping\ndata: {"type":"ping","x":"a b"}\n\n'
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("throttlingException", "rate_limit_error"),
        ("serviceUnavailableException", "overloaded_error"),
        ("validationException", "invalid_request_error"),
        ("modelTimeoutException", "timeout_error"),
        ("internalServerException", "api_error"),
        ("modelStreamErrorException", "api_error"),
        ("somethingNewException", "api_error"),
    ],
)
def test_an_exception_becomes_an_error_event(name, kind):
    assert unpack([fmt.exception(name, 'no "more"')]) == sse.event(
        json.dumps(
            {"type": "error", "error": {"type": kind, "message": 'no "more"'}},
            separators=(",", ":"),
        ).encode(),
        b"error",
    )


@pytest.mark.parametrize(
    "payload",
    [
        b"<html>",
        b'{"bytes":"*"}',
        b'{"bytes":7}',
        b'{"bytes":"%b"}' % base64.b64encode(b"no json"),
        b'{"bytes":"%b"}' % base64.b64encode(b'{"no":"type"}'),
        b'{"bytes":"%b"}' % base64.b64encode(b'{"type":"unfinished'),
        b'{"bytes":"%b"}' % base64.b64encode(b'{"type": "x\xff"}'),
        b'{"bytes":"%b"}' % base64.b64encode(b'{\n"type": "x'),
    ],
)
def test_a_chunk_that_is_none_becomes_an_error_event(payload):
    headers = {":message-type": "event", ":event-type": "chunk"}

    out = unpack([fmt.frame(payload, headers)])

    assert out.startswith(b'event: error\ndata: {"type":"error",')


def test_events_that_are_no_chunks_say_nothing():
    assert unpack([fmt.event("initial-response", {})]) == b""


def test_what_is_no_event_stream_is_an_error():
    with pytest.raises(FramingError):
        unpack([b'{"message":"internal error"}'])
