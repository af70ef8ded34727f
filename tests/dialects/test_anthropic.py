"""The native side: what passes through, and what the gateway reads of it."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.dialects import anthropic
from gandalf.dialects.anthropic import MessagesStream, read_answer, read_call
from gandalf.dialects.base import Dialect
from gandalf.dialects.conversation import Failed, Feature
from gandalf.dialects.signatures import wrap
from gandalf.domain.errors import (
    BadRequest,
    Overloaded,
    PayloadTooLarge,
    RateLimited,
    Unauthenticated,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
)
from gandalf.domain.usage import TokenUsage
from tests.fakes import anthropic_format as fmt

DIALECT: Dialect = anthropic


def messages(**fields):
    body = {
        "model": "m",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "hi"}],
        **fields,
    }
    return json.dumps(body).encode()


# Calls.


def test_reads_what_the_gateway_acts_on():
    call = read_call("chat", messages(stream=True, temperature=0, max_tokens=99))

    assert (call.operation, call.model, call.stream) == ("chat", "m", True)
    assert (call.temperature, call.max_tokens, call.n) == (0.0, 99, 1)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"[]", "invalid_request", None),
        (b'{"model":"m","messages":[]}', "invalid_request", "max_tokens"),
        (b'{"model":"m","max_tokens":1}', "invalid_request", "messages"),
        (b'{"max_tokens":1,"messages":[]}', "invalid_request", "model"),
        (messages(model=""), "invalid_request", "model"),
        (messages(max_tokens="many"), "invalid_request", "max_tokens"),
        (messages(stream=1), "invalid_request", "stream"),
        (messages()[:-1] + b',"model":"n"}', "duplicate_key", "model"),
        (messages()[:-1] + b',"mod\\u0065l":"n"}', "duplicate_key", "model"),
        (messages()[:-1] + b',"max_tokens":1}', "duplicate_key", "max_tokens"),
        (
            b'{"model":"m","max_tokens":1,"messages":' + b"[" * 100_000,
            "invalid_json",
            None,
        ),
    ],
)
def test_a_body_that_cannot_be_served_is_refused_with_the_field_at_fault(
    body, code, param
):
    with pytest.raises(BadRequest) as refused:
        read_call("chat", body)
    assert (refused.value.code, refused.value.param) == (code, param)


def test_counting_needs_no_max_tokens():
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'

    call = read_call("count_tokens", body)

    assert (call.operation, call.stream, call.max_tokens) == (
        "count_tokens",
        False,
        None,
    )


def test_only_the_model_name_changes_on_the_way_to_the_upstream():
    body = (
        b'{ "model":"m", "max_tokens":1e2,\n "unknown": {"b":1.50, "a":[ ]},'
        b'"messages":[{"role":"user","content":"\\u00e9 \\"model\\": 1.0e5"}] }'
    )
    body = body.replace(b"1e2", b"100")

    call = read_call("chat", body)

    assert call.body_for("m") is body
    assert call.body_for("up-1") == body.replace(b'"m"', b'"up-1"', 1)


def test_system_prompt_and_tools_count_in_the_estimate():
    small = read_call("chat", messages()).estimated_tokens

    call = read_call("chat", messages(system="x" * 4000, tools=[{"name": "y" * 4000}]))

    assert call.estimated_tokens > small + 2000


# Answers.


def test_usage_is_split_into_disjoint_classes():
    answer = read_answer(
        "chat",
        fmt.message(
            usage=fmt.usage(10, 50, cached=30, written_5m=7, written_1h=5, thinking=20),
            stop_reason="max_tokens",
        ),
    )

    assert answer.finish_reason == "max_tokens"
    assert answer.usage == TokenUsage(
        input=10,
        cache_read=30,
        cache_write=7,
        cache_write_1h=5,
        output=30,
        reasoning=20,
    )
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (52, 50)


def test_cache_writes_without_their_lifetime_are_short_ones():
    usage = {"input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 3}

    answer = read_answer("chat", fmt.message(usage=usage))

    assert answer.usage == TokenUsage(input=1, cache_write=3, output=2)


def test_absent_usage_is_not_zero():
    assert read_answer("chat", fmt.message(usage=None)).usage is None
    assert read_answer("chat", fmt.message(usage={})).usage is None


def test_counting_is_free():
    assert read_answer("count_tokens", fmt.count(12)).usage.total_tokens == 0


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1]", b"null", b"\xff"])
def test_what_is_not_an_answer_is_not_taken_for_one(body):
    answer = read_answer("chat", body)

    assert answer is None or answer.failed is not None


def test_an_error_with_status_200_is_seen():
    answer = read_answer("chat", fmt.error("later", type="overloaded_error"))

    assert answer.failed == Failed(message="later", code="overloaded_error", status=529)


# Streams.

WEATHER = fmt.message_events(
    fmt.thinking('Consider "stop_reason" and error.'),
    'It is wörm\n\nevent: message_stop\ndata: {"type":"error"}',
    fmt.tool_use(),
    stop_reason="tool_use",
    usage=fmt.usage(9, 40, cached=3, thinking=12),
)
WHOLE = b"".join(WEATHER)


def follow(data, cuts=()):
    stream = MessagesStream()
    edges = [0, *sorted(cuts), len(data)]
    out = b"".join(stream.feed(data[a:b]) for a, b in itertools.pairwise(edges))
    return stream, out + stream.flush()


@given(st.lists(st.integers(0, len(WHOLE)), max_size=20))
def test_any_chunking_gives_the_same_stream(cuts):
    stream, out = follow(WHOLE, cuts)

    assert out + stream.ending == WHOLE
    assert stream.usage == TokenUsage(
        input=9, cache_read=3, cache_write=0, cache_write_1h=0, output=28, reasoning=12
    )
    assert (stream.done, stream.finish_reason) == (True, "tool_use")


def test_byte_by_byte_gives_the_same_stream():
    stream, out = follow(WHOLE, range(len(WHOLE)))

    assert out + stream.ending == WHOLE


@pytest.mark.parametrize("newline", [b"\r\n", b"\r"])
def test_other_line_ends_pass_too(newline):
    events = fmt.message_events("Hello", newline=newline)

    stream, out = follow(b"".join(events))

    assert out == b"".join(events[:-1])
    assert stream.done
    assert stream.usage.completion_tokens == 2


def test_no_prefix_of_a_stream_passes_for_the_whole():
    finished_at = len(b"".join(WEATHER[:-1]))
    for cut in range(len(WHOLE)):
        stream, out = follow(WHOLE[:cut])
        # A last event may lack its blank line, but not its content.
        assert (stream.done or stream.finished(1)) == (cut >= finished_at - 2), cut
        assert WHOLE.startswith(out[:-2]), cut


def test_the_end_marker_is_held_back_as_the_upstream_wrote_it():
    odd = b'event: message_stop\ndata: {"type": "message_stop"  }\n\n'

    stream, out = follow(b"".join(WEATHER[:-1]) + odd)

    assert out == b"".join(WEATHER[:-1])
    assert stream.ending == odd


def test_a_finished_stream_without_its_end_marker_gets_one():
    stream, _ = follow(b"".join(WEATHER[:-1]))

    assert stream.finished(1)
    assert not stream.done
    assert stream.ending == fmt.STOP


def test_content_begins_with_the_first_delta_and_not_with_a_block_that_only_opens():
    stream = MessagesStream()

    stream.feed(WEATHER[0] + fmt.PING + WEATHER[1])
    assert not stream.content_seen
    stream.feed(fmt.event(fmt.block_delta(0, type="thinking_delta", thinking="Hm")))
    assert stream.content_seen


def test_the_first_events_output_is_no_count():
    stream, _ = follow(b"".join(WEATHER[:4]))

    assert stream.usage.input == 9
    assert stream.usage.output is None


def test_an_answer_without_content_is_complete():
    events = [
        fmt.event(fmt.message_start()),
        fmt.event(fmt.message_delta("refusal")),
        fmt.STOP,
    ]

    stream, _ = follow(b"".join(events))

    assert (stream.content_seen, stream.finish_reason) == (True, "refusal")
    assert (stream.done, stream.finished(1)) == (True, True)


@pytest.mark.parametrize("after", range(1, 6))
def test_an_error_event_ends_the_stream_and_is_not_passed_on(after):
    said = b"".join(WEATHER[:after])

    stream, out = follow(said + fmt.error_event() + b"".join(WEATHER[after:]))

    assert out == said
    assert stream.failed == Failed(
        message="Overloaded", code="overloaded_error", status=529
    )
    assert not stream.done


@pytest.mark.parametrize(
    ("type", "status"),
    [
        ("invalid_request_error", 400),
        ("authentication_error", 401),
        ("billing_error", 402),
        ("permission_error", 403),
        ("not_found_error", 404),
        ("request_too_large", 413),
        ("rate_limit_error", 429),
        ("api_error", 500),
        ("timeout_error", 504),
        ("overloaded_error", 529),
        ("something_new", None),
    ],
)
def test_the_type_of_an_error_tells_its_status(type, status):
    stream, _ = follow(fmt.error_event("no", type))

    assert stream.failed.status == status


def test_a_broken_event_is_passed_on_and_counted():
    broken = b'event: content_block_delta\ndata: {"type":"content_bl\n\n'
    said = b"".join([*WEATHER[:4], broken, *WEATHER[4:]])

    stream, out = follow(said)

    assert out + stream.ending == said
    assert (stream.unread, stream.done) == ({"not_json": 1}, True)


def test_events_of_a_kind_we_do_not_know_pass():
    new = b'event: new_kind\ndata: {"type":"new_kind","x":1}\n\n'

    _, out = follow(WEATHER[0] + new + WEATHER[1] + new)

    assert out == WEATHER[0] + new + WEATHER[1] + new


# Errors.


@pytest.mark.parametrize(
    ("error", "type", "code"),
    [
        (BadRequest("x"), "invalid_request_error", "invalid_request"),
        (Unauthenticated("x"), "authentication_error", "invalid_api_key"),
        (RateLimited("rpm", 2), "rate_limit_error", "rate_limit_exceeded"),
        (PayloadTooLarge("x"), "request_too_large", "request_too_large"),
        (Overloaded("x"), "overloaded_error", "overloaded"),
        (UpstreamError("p", "x"), "api_error", "upstream_error"),
        (UpstreamTimeout("p", "idle", 3), "timeout_error", "upstream_timeout"),
    ],
)
def test_errors_have_anthropics_shape_and_words(error, type, code):
    said = json.loads(anthropic.error_body(error))

    assert said == {
        "type": "error",
        "error": {
            "type": type,
            "message": error.message,
            "details": {"error_code": code},
        },
    }
    streamed = anthropic.stream_error(error)
    assert streamed == b"event: error\ndata: %b\n\n" % anthropic.error_body(error)


def test_the_upstreams_own_refusal_is_relayed_as_it_is():
    error = UpstreamRefused("p", "bad", upstream_status=400, body=fmt.error("bad"))

    assert anthropic.error_body(error) == fmt.error("bad")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (fmt.error("m", type="not_found_error"), ("m", "not_found_error", None)),
        (
            b'{"error":{"type":"t","message":"m","details":{"error_code":"c"}}}',
            ("m", "c", None),
        ),
        (b'{"error":"plain"}', ("plain", None, None)),
        (b'{"message":"aws"}', ("aws", None, None)),
        (b"<html>502</html>", ("a web page and no API error", None, None)),
    ],
)
def test_reads_what_an_upstreams_error_says(body, said):
    assert anthropic.read_error(body)[:3] == said


def test_every_feature_has_its_treatment():
    assert set(anthropic.TREATMENTS) == set(Feature)


def test_silence_is_filled_with_the_protocols_own_ping():
    stream, out = follow(WEATHER[0] + anthropic.KEEP_ALIVE)

    assert out.endswith(anthropic.KEEP_ALIVE)
    assert (stream.unread, stream.content_seen) == ({}, False)


# What Anthropic has not sealed.

WRAPPED = wrap("gemini", "seal of Google's")
USED = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1.50}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"}
OWN_THINKING = {"type": "thinking", "thinking": "so", "signature": "EqQBCgI="}


def conversation(*blocks, thinking=None):
    said = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": list(blocks)},
        {"role": "user", "content": [RESULT]},
    ]
    more = {} if thinking is None else {"thinking": thinking}
    return messages(messages=said, **more)


@pytest.mark.parametrize(
    "foreign",
    [
        {"type": "thinking", "thinking": "so", "signature": WRAPPED},
        {"type": "thinking", "thinking": "so", "signature": ""},
        {"type": "redacted_thinking", "data": WRAPPED},
    ],
)
def test_thinking_of_another_provider_does_not_go_to_anthropic(foreign):
    body = conversation(foreign, USED)

    sent = read_call("chat", body).body_for("m")

    assert json.loads(sent) == json.loads(conversation(USED))
    assert b'"a": 1.5' in sent


def test_thinking_that_anthropic_has_sealed_stays_byte_for_byte():
    quoting = {"type": "text", "text": f'"signature":"" "{WRAPPED}'}
    body = conversation(OWN_THINKING, quoting, USED)

    assert read_call("chat", body).body_for("m") is body


def test_a_message_that_was_nothing_but_foreign_thinking_is_left_out():
    body = conversation({"type": "thinking", "thinking": "so", "signature": ""})

    sent = json.loads(read_call("chat", body).body_for("m"))

    assert [message["role"] for message in sent["messages"]] == ["user", "user"]


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"type": "enabled", "budget_tokens": 2000}, {"type": "disabled"}),
        ({"type": "adaptive"}, {"type": "adaptive"}),
    ],
)
def test_calls_without_their_thinking_rule_out_thinking_by_budget(asked, sent):
    foreign = {"type": "thinking", "thinking": "so", "signature": WRAPPED}
    body = conversation(foreign, USED, thinking=asked)

    made = json.loads(read_call("chat", body).body_for("other"))

    assert made["thinking"] == sent
    assert made["model"] == "other"
    assert made["messages"][1]["content"] == [USED]
