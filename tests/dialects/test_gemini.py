"""Gemini's native side: what is read of bytes that pass through."""

import contextlib
import json
import random

import pytest
import trio
from google.genai import errors as sdk_errors
from hypothesis import given
from hypothesis import strategies as st

from gandalf.config import Provider
from gandalf.dialects import gemini, sse
from gandalf.dialects.conversation import Failed
from gandalf.dialects.gemini import GenerateStream, read_answer, read_call
from gandalf.dialects.signatures import wrap
from gandalf.domain.errors import (
    BadRequest,
    RateLimited,
    UpstreamError,
    UpstreamRefused,
)
from gandalf.domain.usage import OtherUsage, TokenUsage
from gandalf.pipeline.stream_body import StreamBody
from gandalf.providers.gemini import Gemini
from gandalf.providers.watch import UpstreamBroken, Watch
from tests.fakes import gemini_format as fake
from tests.fakes.gemini_sdk import SdkStream
from tests.pipeline.builders import a_chat_body, an_exchange

CONTENTS = [{"role": "user", "parts": [{"text": "hi"}]}]


def generate(**fields):
    return json.dumps({"contents": CONTENTS, **fields}).encode()


def chat(body=None, model="m", **arguments):
    return read_call("chat", generate() if body is None else body, model, **arguments)


# Calls.


@pytest.mark.parametrize(
    "config",
    [
        {
            "generationConfig": {
                "candidateCount": 2,
                "temperature": 0,
                "seed": 7,
                "maxOutputTokens": 99,
            }
        },
        {
            "generation_config": {
                "candidate_count": 2,
                "temperature": 0,
                "seed": "7",
                "max_output_tokens": 99.0,
            }
        },
    ],
)
def test_reads_what_the_gateway_acts_on_in_either_spelling(config):
    call = chat(generate(**config), "models/gemini-2.5-pro", stream=True)

    assert (call.operation, call.model, call.stream) == ("chat", "gemini-2.5-pro", True)
    assert (call.n, call.temperature, call.seed, call.max_tokens) == (2, 0.0, 7, 99)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"[]", "invalid_request", None),
        (b"{}", "invalid_request", "contents"),
        (generate(generationConfig={"seed": "x"}), "invalid_request", None),
        (b'{"contents":[],"x":NaN}', "invalid_json", None),
        (b'{"contents":"\xff","model":"\xff"}', "invalid_json", None),
        (
            b'{"contents":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            "invalid_json",
            None,
        ),
        (b'{"contents":[],"contents":[]}', "duplicate_key", "contents"),
        (b'{"contents":[],"CONTENTS":[]}', "duplicate_key", "contents"),
        (b'{"contents":[],"conten\\u0074s":[]}', "duplicate_key", "contents"),
        (
            generate(generationConfig={}, generation_config={}),
            "duplicate_key",
            "generationConfig",
        ),
        (
            generate(generationConfig={"candidateCount": 1, "candidate_count": 8}),
            "duplicate_key",
            "candidateCount",
        ),
        (generate(model="other"), "model_mismatch", "model"),
        (b'{"contents":[],"model":"other","model":null}', "duplicate_key", "model"),
        (b'{"contents":[],"mod\\u0065l":"other"}', "model_mismatch", "model"),
        (b'{"contents":[],"Model" :"m","model":"m"}', "duplicate_key", "model"),
        (generate(model=7), "invalid_request", None),
    ],
)
def test_a_body_that_cannot_be_served_is_refused(body, code, param):
    with pytest.raises(BadRequest) as refused:
        chat(body)

    assert refused.value.code == code
    assert param is None or refused.value.param == param


def test_a_long_conversation_is_not_too_intricate():
    turn = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}] * 9}
    body = json.dumps({"contents": [turn] * 2000}).encode()

    assert chat(body).body_for("up") is body


def test_a_url_without_a_model_is_refused():
    with pytest.raises(BadRequest):
        chat(model="models/")


def test_a_body_that_names_no_model_reaches_the_upstream_byte_for_byte():
    body = b'{ "contents":[ {"parts":[{"text":"\\u00e9 1.0e5"}]} ],\n"unknown": 1.50 }'

    assert chat(body).body_for("gemini-9") is body


@pytest.mark.parametrize(
    ("operation", "body", "sent"),
    [
        (
            "chat",
            b'{"model": "models/m","contents":[1.0]}',
            b'{"model": "models/up","contents":[1.0]}',
        ),
        ("chat", b'{"model":"m","contents":[]}', b'{"model":"up","contents":[]}'),
        (
            "count_tokens",
            b'{"generateContentRequest":{"contents":[],"model":"models/m" }}',
            b'{"generateContentRequest":{"contents":[],"model":"models/up" }}',
        ),
        (
            "count_tokens",
            b'{"generate_content_request":{"model":"m"}}',
            b'{"generate_content_request":{"model":"up"}}',
        ),
        (
            "embeddings",
            b'{"model":"models/m","content":{"parts":[{"text":"a"}]}}',
            b'{"model":"models/up","content":{"parts":[{"text":"a"}]}}',
        ),
        (
            "batch_embeddings",
            b'{"requests": [ {"model":"models/m","content":{}} ,{"content":{},"model":"models/m"}]}',
            b'{"requests": [ {"model":"models/up","content":{}} ,{"content":{},"model":"models/up"}]}',
        ),
    ],
)
def test_only_the_model_name_changes_on_the_way_to_the_upstream(operation, body, sent):
    call = read_call(operation, body, "m")

    assert call.body_for("up") == sent
    assert call.body_for("m") is body


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("count_tokens", b'{"generateContentRequest":{"model":"models/x"}}'),
        ("count_tokens", b'{"generateContentRequest":{"model":"m","model":"m"}}'),
        ("embeddings", b'{"model":"x","content":{}}'),
        ("batch_embeddings", b'{"requests":[{"model":"m"},{"model":"models/x"}]}'),
        ("batch_embeddings", b'{"requests":[{"model":"m","mod\\u0065l":"x"}]}'),
    ],
)
def test_a_body_that_names_another_model_than_the_url_is_refused(operation, body):
    with pytest.raises(BadRequest):
        read_call(operation, body, "m")


@pytest.mark.parametrize("name", ["thoughtSignature", "thought_signature"])
@pytest.mark.parametrize("to_urls", [False, True])
def test_seals_of_other_providers_do_not_go_to_google(name, to_urls):
    seal = wrap("anthropic", "EqQBCgIYAh>?>?>?")
    if to_urls:
        seal = seal.translate(str.maketrans("+/", "-_"))
    parts = [
        {"text": "so", "thought": True, name: seal},
        {"functionCall": {"name": "f", "args": {}}, name: "T3duIHNlYWw="},
        {"text": f'"{name}": "{seal}"'},
    ]
    body = json.dumps({"contents": [{"role": "model", "parts": parts}]}).encode()

    sent = json.loads(chat(body).body_for("up"))

    parts[0][name] = "skip_thought_signature_validator"
    assert sent["contents"][0]["parts"] == parts


def test_a_batch_is_embeddings_of_several_contents():
    body = b'{"requests":[{"content":{}}]}'

    call = read_call("batch_embeddings", body, "m")

    assert (call.operation, call.batch) == ("embeddings", True)
    assert not read_call("embeddings", b'{"content":{}}', "m").batch
    with pytest.raises(BadRequest):
        read_call("embeddings", b"{}", "m")


def test_a_picture_in_base64_does_not_count_as_text():
    parts = [{"inlineData": {"mimeType": "image/png", "data": "A" * 400_000}}]
    body = json.dumps({"contents": [{"parts": parts}]}).encode()

    assert 1000 <= chat(body).estimated_tokens < 1100


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(body):
    for operation in ("chat", "count_tokens", "embeddings", "batch_embeddings"):
        with contextlib.suppress(BadRequest):
            read_call(operation, body, "m")


# Whole answers.


def test_usage_is_read_in_disjoint_classes():
    counted = fake.usage(100, 20, thoughts=30, cached=40, tool_use=5)

    answer = read_answer("chat", fake.completion(usage=counted))

    assert answer.usage == TokenUsage(input=65, cache_read=40, output=20, reasoning=30)
    assert answer.usage.total_tokens == counted["totalTokenCount"]
    assert answer.finish_reason == "STOP"
    assert answer.failed is None


def test_sound_is_a_class_of_its_own():
    counted = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 30,
        "candidatesTokenCount": 50,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 40},
            {"modality": "AUDIO", "tokenCount": 60},
        ],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 10}],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 50}],
    }

    answer = read_answer("chat", fake.completion(usage=counted))

    assert answer.usage == TokenUsage(
        input=20,
        cache_read=20,
        audio_input=50,
        output=0,
        audio_output=50,
        other=OtherUsage(audio_cache_read=10),
    )
    assert answer.usage.prompt_tokens == 100


def test_usage_that_is_not_reported_is_not_zero():
    assert read_answer("chat", fake.completion(usage=None)).usage is None
    assert read_answer("chat", b"<html>") is None


def test_counting_tokens_uses_none():
    usage = read_answer("count_tokens", fake.count()).usage

    assert usage == TokenUsage(input=0, output=0)


def test_a_blocked_prompt_says_why():
    answer = read_answer("chat", fake.body(fake.blocked("SAFETY")))

    assert answer.finish_reason == "SAFETY"


def test_an_error_with_status_200_is_a_failure():
    answer = read_answer(
        "chat", fake.body(fake.error(503, "overloaded", status="UNAVAILABLE"))
    )

    assert answer.failed == Failed(message="overloaded", code="UNAVAILABLE", status=503)


# Errors.


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (
            fake.body(fake.error(404, "no such model", status="NOT_FOUND")),
            ("no such model", "NOT_FOUND", None),
        ),
        (
            fake.body([fake.error(404, "no such model", status="NOT_FOUND")]),
            ("no such model", "NOT_FOUND", None),
        ),
        (
            fake.body(fake.bad_key()),
            (
                "API key not valid. Please pass a valid API key.",
                "API_KEY_INVALID",
                None,
            ),
        ),
        (
            fake.body(
                fake.error(
                    400,
                    "bad",
                    status="INVALID_ARGUMENT",
                    details=[
                        {
                            "@type": "type.googleapis.com/google.rpc.BadRequest",
                            "fieldViolations": [{"field": "contents"}],
                        }
                    ],
                )
            ),
            ("bad", "INVALID_ARGUMENT", "contents"),
        ),
        (b'{"error":"text"}', ("text", None, None)),
        (b"<html>", ("a web page and no API error", None, None)),
        (b"[]", ("", None, None)),
        (b"{}", ("", None, None)),
    ],
)
def test_an_upstreams_error_is_read(body, read):
    assert gemini.read_error(body)[:3] == read


def test_our_own_error_has_googles_shape():
    error = RateLimited("requests per minute", 2.5)

    told = json.loads(gemini.error_body(error))["error"]

    assert (told["code"], told["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert told["message"] == error.message
    assert told["details"][0]["reason"] == "rate_limit_exceeded"
    assert told["details"][-1]["retryDelay"] == "2.500s"
    with pytest.raises(sdk_errors.ClientError):
        sdk_errors.APIError.raise_error(429, {"error": told}, None)


def test_our_own_error_names_the_field_at_fault():
    error = BadRequest("no", param="contents")

    _, code, param = gemini.read_error(gemini.error_body(error))[:3]

    assert (code, param) == ("invalid_request", "contents")


def test_an_upstreams_refusal_is_passed_on_as_it_came():
    body = fake.body(fake.error(400, "x"))
    error = UpstreamRefused("g", "x", upstream_status=400, body=body)

    assert gemini.error_body(error) is body


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_googles_sdk_raises_on_our_error_in_a_stream(newline):
    begun = fake.stream_events("Hello", finish_reason=None, newline=newline)
    told = gemini.stream_error(RateLimited("tokens", 1.0))

    stream = SdkStream([*begun, told])

    assert stream.text == "Hello"
    assert isinstance(stream.error, sdk_errors.ClientError)
    assert stream.error.code == 429


def test_googles_sdk_does_not_survive_a_comment_so_there_is_no_sign_of_life():
    stream = SdkStream([b": keep-alive\n\n", *fake.stream_events()])

    assert isinstance(stream.error, sdk_errors.UnknownApiResponseError)
    assert gemini.KEEP_ALIVE == b""


# Streams.


def followed(pieces, choices=1):
    """What the client gets of a stream, with the follower."""
    follower = GenerateStream(choices)
    shown = b"".join(map(follower.feed, pieces))
    shown += follower.flush()
    return shown, follower


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_stream_passes_byte_for_byte_and_its_last_event_waits(newline):
    events = fake.stream_events("Hello", " you", " there", newline=newline)

    shown, follower = followed(events)

    assert shown == b"".join(events[:-1])
    assert follower.ending == events[-1]
    assert follower.finished(1)
    assert not follower.done
    assert follower.finish_reason == "STOP"
    assert follower.usage == TokenUsage(input=9, output=2)


def test_the_usage_of_a_stream_that_was_left_is_the_last_reported():
    events = fake.stream_events("Hello", " you", " there", usage=fake.usage(50))

    _, follower = followed(events[:2])

    assert follower.usage == TokenUsage(input=50)
    assert not follower.finished(1)
    assert follower.ending == b""


def test_usage_after_the_finish_counts_and_is_part_of_the_ending():
    first = fake.event(fake.response(fake.candidate("Hello"), usage=None))
    last = fake.event({"usageMetadata": fake.usage(9, 2)})

    shown, follower = followed([first, last])

    assert (shown, follower.ending) == (b"", first + last)
    assert follower.usage == TokenUsage(input=9, output=2)


def test_each_candidate_must_finish():
    events = [
        fake.event(fake.response(fake.candidate("a", index=1))),
        fake.event(fake.response(fake.candidate("b", index=0))),
    ]

    _, one = followed(events[:1], choices=2)
    shown, both = followed(events, choices=2)

    assert not one.finished(2)
    assert both.finished(2)
    assert (shown, both.ending) == (events[0], events[1])


def test_a_blocked_prompt_ends_a_stream():
    events = [fake.event(fake.blocked("SAFETY"))]

    shown, follower = followed(events, choices=2)

    assert follower.finished(2)
    assert follower.content_seen
    assert follower.finish_reason == "SAFETY"
    assert shown + follower.ending == events[0]


@pytest.mark.parametrize(
    "told",
    [
        fake.event(fake.error(503, "busy", status="UNAVAILABLE")),
        fake.bare_error(code=503, message="busy", status="UNAVAILABLE"),
        fake.bare_error(code=503, message="busy", status="UNAVAILABLE") + b"\r\n",
        b"["
        + fake.bare_error(code=503, message="busy", status="UNAVAILABLE")
        + b"]\n\n",
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_an_error_in_a_stream_is_a_failure_and_not_shown(told, size):
    begun = fake.stream_events("Hello", finish_reason=None)[0]
    raw = begun + told

    shown, follower = followed([raw[at : at + size] for at in range(0, len(raw), size)])

    assert shown == begun
    assert follower.failed == Failed(message="busy", code="UNAVAILABLE", status=503)


def test_an_error_before_any_content_leaves_the_answer_to_another_target():
    _, follower = followed(
        [fake.event(fake.error(429, "slow", status="RESOURCE_EXHAUSTED"))]
    )

    assert not follower.content_seen
    assert follower.failed.status == 429


@pytest.mark.parametrize("parts", [(), ("",)])
def test_an_event_that_says_nothing_yet_is_no_content(parts):
    empty = fake.event(fake.response(fake.candidate(*parts, finish_reason=None)))

    shown, follower = followed([empty])

    assert shown == empty
    assert not follower.content_seen


def test_an_event_that_is_no_json_is_passed_on_and_counted():
    events = fake.stream_events("Hello", " you", " there")
    broken = b"data: {broken\r\n\r\n"

    shown, follower = followed([*events[:2], broken, events[2]])

    assert shown == b"".join([*events[:2], broken])
    assert follower.unread == {"not_json": 1}
    assert follower.finished(1)


def test_a_comment_of_an_upstream_passes():
    events = fake.stream_events()

    shown, _ = followed([events[0], b": hello\n\n", events[1]])

    assert shown == events[0] + b": hello\n\n"


def test_an_event_without_end_is_not_held_for_ever():
    endless = [b"x" * 1024 * 1024] * 40

    with pytest.raises(sse.EventTooLarge):
        followed(endless)


LONG = fake.stream_events(
    fake.text("Let me think", thought=True),
    'Line \u2028 separator, data: {"x"}\n\n',
    '{"finishReason":"no"}',
    fake.function_call("f", {"error": "\r\n\r\n"}),
    "the end",
    usage=fake.usage(9, 7, thoughts=3),
)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_any_chunking_shows_the_client_the_same(newline):
    raw = b"".join(LONG).replace(b"\r\n", newline)
    whole, by_whole = followed([raw])
    expected = (whole, by_whole.ending, by_whole.usage, by_whole.finish_reason)
    dice = random.Random(7)

    for size in (1, 2, 3, 5, 64):
        pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
        shown, follower = followed(pieces)
        assert (
            shown,
            follower.ending,
            follower.usage,
            follower.finish_reason,
        ) == expected
    for _ in range(50):
        cuts = sorted(dice.sample(range(len(raw)), 6))
        pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
        shown, follower = followed(pieces)
        assert shown + follower.ending == whole + by_whole.ending
    assert whole + by_whole.ending == raw


def test_a_stream_cut_at_any_byte_is_complete_only_with_its_last_event():
    raw = b"".join(LONG)
    last = raw.rindex(b"data: ")

    for cut in range(len(raw)):
        shown, follower = followed([raw[:cut]])
        assert raw.startswith(shown)
        # All but the blank line is a whole event.
        assert follower.finished(1) == (cut >= len(raw) - 4), cut
        assert cut <= last or len(shown) == last


# A stream on its way through the pipeline.


class Response:
    """A response that ends properly after its pieces, or breaks off."""

    status = 200
    headers = ()
    complete = False

    def __init__(self, pieces, *, broken=False):
        self._pieces = [*pieces]
        self._broken = broken

    async def receive(self):
        await trio.lowlevel.checkpoint()
        if self._pieces:
            return self._pieces.pop(0)
        if self._broken:
            raise UpstreamBroken("reset", sent=True)
        return b""

    def close(self):
        self._pieces.clear()


async def delivered(pieces, **how):
    """What a client has got when its answer is complete, and what completes it."""
    provider = Gemini(Provider(name="gemini"))
    exchange = an_exchange(a_chat_body(stream=True))
    response = Response(pieces, **how)
    body = StreamBody(exchange, provider, response, GenerateStream(), Watch())
    await body.wait_content()
    shown = b""
    while data := await body.receive():
        shown += data
    return shown, body.ending


@pytest.mark.parametrize("broken", [False, True])
async def test_a_stream_is_complete_with_its_finish_reason_even_if_it_then_breaks(
    broken,
):
    events = fake.stream_events("Hello", " there")

    shown, ending = await delivered(events, broken=broken)

    assert (shown, ending) == (events[0], events[1])


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("count", [1, 2])
async def test_a_stream_that_ends_without_finish_reason_is_an_error(broken, count):
    events = fake.stream_events("Hello", " there", finish_reason=None)

    with pytest.raises(UpstreamError):
        await delivered(events[:count], broken=broken)


async def test_a_blocked_prompt_is_delivered_as_it_came():
    event = fake.event(fake.blocked())

    assert await delivered([event]) == (b"", event)


async def test_an_empty_stream_is_an_error():
    with pytest.raises(UpstreamError):
        await delivered([])


# Streams that are one JSON array.


def as_array(pieces):
    follower = gemini.ArrayFollower(GenerateStream())
    shown = b"".join(map(follower.feed, pieces)) + follower.flush()
    return shown, follower


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_stream_without_sse_is_one_array_of_the_same_objects(count):
    events = fake.stream_events(*"abc"[:count])

    shown, follower = as_array(events)

    sent = [json.loads(event[6:]) for event in events]
    assert json.loads(shown + follower.ending) == sent
    assert follower.ending == follower.ending
    assert follower.finished(1)
    assert follower.usage == TokenUsage(input=9, output=2)


def test_an_array_of_nothing_is_empty():
    _, follower = as_array([])

    assert follower.ending == b"[]"


def test_an_error_ends_an_array_as_its_last_element():
    shown, _ = as_array(fake.stream_events("Hello", finish_reason=None))

    told = json.loads(shown + gemini.array_error(RateLimited("tokens", 1.0)))

    assert told[-1]["error"]["code"] == 429


def test_the_sdk_for_python_reads_a_stream_of_ours():
    shown, follower = followed(fake.stream_events("Hello", " there"))

    stream = SdkStream([shown, follower.ending])

    assert stream.text == "Hello there"
    assert stream.error is None
