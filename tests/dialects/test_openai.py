import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.dialects import openai, sse
from gandalf.dialects.conversation import Failed
from gandalf.dialects.openai import ChatStream, read_answer, read_call
from gandalf.dialects.openai.calls import with_model
from gandalf.domain.errors import BadRequest, GatewayError, RateLimited, UpstreamRefused
from gandalf.domain.usage import TokenUsage


def chat(**fields):
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return json.dumps(body).encode()


# Calls.


def test_reads_what_the_gateway_acts_on():
    call = read_call(
        "chat",
        chat(stream=True, n=2, temperature=0, seed=7, max_completion_tokens=99),
    )

    assert (call.model, call.stream, call.n) == ("m", True, 2)
    assert (call.temperature, call.seed, call.max_tokens) == (0.0, 7, 99)
    assert not call.include_usage


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"[]", "invalid_request", None),
        (b'{"messages":[]}', "invalid_request", "model"),
        (b'{"model":"m"}', "invalid_request", "messages"),
        (b'{"model":"","messages":[]}', "invalid_request", "model"),
        (b'{"model":7,"messages":[]}', "invalid_request", "model"),
        (b'{"model":"\xff","messages":[]}', "invalid_json", None),
        (chat(stream="yes"), "invalid_request", "stream"),
        (
            chat(stream_options={"include_usage": 1}),
            "invalid_request",
            "stream_options.include_usage",
        ),
        (b'{"model":"m","messages":[],"x":NaN}', "invalid_json", None),
        (b'\xef\xbb\xbf{"model":"m","messages":[]}', "invalid_json", None),
        (b'{"model":"m","messages":[]} {}', "invalid_json", None),
        (
            b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
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


def test_only_the_model_name_changes_on_the_way_to_the_upstream():
    body = (
        b'{ "model":"m", "messages":[{"role":"user","content":"\\u00e9 1.0e5"}],'
        b'\n"unknown_field": {"b":1.50, "a":[ ]} }'
    )

    sent = read_call("chat", body).body_for("up/stream-1")

    assert sent == body.replace(b'"m"', b'"up/stream-1"')


def test_a_stream_asks_for_usage_even_if_the_client_did_not():
    body = chat(stream=True)

    sent = read_call("chat", body).body_for("m")

    assert sent == b'{"stream_options":{"include_usage":true},' + body[1:]


@pytest.mark.parametrize(
    "options", [{}, {"include_usage": False}, {"include_obfuscation": False}, None]
)
def test_stream_options_of_the_client_are_kept_beside_ours(options):
    call = read_call("chat", chat(stream=True, stream_options=options))

    sent = json.loads(call.body_for("m"))

    assert sent["stream_options"] == {**(options or {}), "include_usage": True}


def test_a_client_that_asked_for_usage_has_its_body_left_alone():
    body = chat(stream=True, stream_options={"include_usage": True})

    call = read_call("chat", body)

    assert call.include_usage
    assert call.body_for("m") == body


def test_a_picture_in_base64_does_not_count_as_text():
    picture = "data:image/png;base64," + "A" * 400_000
    content = [{"type": "image_url", "image_url": {"url": picture}}]

    call = read_call("chat", chat(messages=[{"role": "user", "content": content}]))

    assert 1000 <= call.estimated_tokens < 1100


def test_embeddings_need_an_input():
    assert read_call("embeddings", b'{"model":"e","input":["a","b"]}').model == "e"
    with pytest.raises(BadRequest):
        read_call("embeddings", b'{"model":"e"}')


# Answers.


def test_usage_is_split_into_disjoint_classes():
    answer = read_answer(
        "chat",
        json.dumps(
            {
                "choices": [{"index": 0, "finish_reason": "stop", "message": {}}],
                "usage": {
                    "prompt_tokens": 100,
                    "completion_tokens": 50,
                    "prompt_tokens_details": {"cached_tokens": 30, "audio_tokens": 5},
                    "completion_tokens_details": {"reasoning_tokens": 20},
                },
            }
        ).encode(),
    )

    assert answer.finish_reason == "stop"
    assert answer.usage == TokenUsage(
        input=65, cache_read=30, audio_input=5, output=30, reasoning=20
    )
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (100, 50)


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1]", b"null", b"\xff"])
def test_what_is_not_an_answer_is_not_taken_for_one(body):
    answer = read_answer("chat", body)

    assert answer is None or answer.failed == Failed(
        message="the answer has no choices"
    )


def test_absent_usage_is_not_zero():
    assert read_answer("chat", b'{"choices":[],"usage":null}').usage is None
    assert read_answer("chat", b'{"choices":[],"usage":{}}').usage is None


# Streams.


def chunk(delta=None, finish=None, usage=None, index=0, **fields):
    choices = [{"index": index, "delta": delta or {}, "finish_reason": finish}]
    body = {"id": "c", "object": "chat.completion.chunk", "choices": choices, **fields}
    if usage is not None:
        body |= {"choices": [], "usage": usage}
    return b"data: %b\n\n" % json.dumps(body, separators=(",", ":")).encode()


ROLE = chunk({"role": "assistant", "content": ""})
HELLO = chunk({"content": 'hello "usage" [DONE]'})
WORLD = chunk({"content": " wörld"})
STOP = chunk(finish="stop")
USAGE = chunk(usage={"prompt_tokens": 7, "completion_tokens": 3})
DONE = b"data: [DONE]\n\n"
WHOLE = ROLE + HELLO + WORLD + STOP + USAGE + DONE


def follow(data, cuts=(), *, strip_usage=True):
    stream = ChatStream(strip_usage=strip_usage)
    edges = [0, *sorted(cuts), len(data)]
    out = b"".join(stream.feed(data[a:b]) for a, b in itertools.pairwise(edges))
    return stream, out + stream.flush()


@given(st.lists(st.integers(0, len(WHOLE)), max_size=20), st.booleans())
def test_any_chunking_gives_the_same_stream(cuts, strip_usage):
    stream, out = follow(WHOLE, cuts, strip_usage=strip_usage)

    assert out == ROLE + HELLO + WORLD + STOP + (b"" if strip_usage else USAGE)
    assert stream.usage == TokenUsage(input=7, output=3)
    assert (stream.done, stream.finish_reason) == (True, "stop")


def test_no_prefix_of_a_stream_passes_for_the_whole():
    finished_at = len(ROLE + HELLO + WORLD + STOP)
    for cut in range(len(WHOLE)):
        stream, _ = follow(WHOLE[:cut])
        # A last event may lack its blank line, but not its content.
        complete = stream.done or stream.finished(1)
        assert complete == (cut >= finished_at - 2), cut


def test_null_usage_that_only_our_own_asking_caused_is_taken_out():
    noisy = chunk({"content": "x"}).replace(b"}]}", b'}],"usage":null}')

    _, out = follow(ROLE + noisy + noisy)

    assert out == ROLE + chunk({"content": "x"}) * 2


def test_usage_beside_content_is_read_and_left_in_place():
    last = chunk({"content": "x"}, "stop").replace(
        b"}]}", b'}],"usage":{"prompt_tokens":1,"completion_tokens":2}}'
    )

    stream, out = follow(last)

    assert out == last
    assert stream.usage == TokenUsage(input=1, output=2)


def test_content_starts_after_the_role():
    stream = ChatStream(strip_usage=True)

    stream.feed(b": comment\n\n" + ROLE)
    assert not stream.content_seen
    stream.feed(HELLO)
    assert stream.content_seen


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_call_of_a_tool_that_only_opens_is_no_content(separators):
    def call(arguments):
        delta = {"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]}
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        said = json.dumps({"choices": [choice]}, separators=separators)
        return sse.event(said.encode())

    stream = ChatStream(strip_usage=True)

    stream.feed(ROLE + call(""))
    assert not stream.content_seen
    stream.feed(call("{"))
    assert stream.content_seen


@pytest.mark.parametrize(
    ("event", "shared"),
    [
        (b'{"choices":[],"usage":{"prompt_tokens":1},"x":1}', b'{"choices":[],"x":1}'),
        (b'{"choices":null,"x":1,"usage":"5"}', b'{"choices":null,"x":1}'),
        (b'{"id":"c","choices":[],"usage":{"prompt_tokens":1}}', None),
        (
            b'{"choices":[{"index":0,"usage":null}]}',
            b'{"choices":[{"index":0,"usage":null}]}',
        ),
        (b'{"usage":null,"choices":[]}', b'{"usage":null,"choices":[]}'),
        (b'{"choices":[],"usage":null}', b'{"choices":[]}'),
    ],
)
def test_only_the_usage_that_we_asked_for_is_taken_out(event, shared):
    _, out = follow(sse.event(event))

    assert out == (b"" if shared is None else sse.event(shared))


def test_a_choice_that_began_must_finish_before_the_end_marker():
    stream, _ = follow(HELLO + chunk({"content": "x"}, index=1) + STOP + DONE)

    assert not stream.done
    assert stream.failed == Failed(message="the answer does not say how it ended")
    assert not stream.finished(1)


@pytest.mark.parametrize(
    "data",
    [
        b'{"object":"error","message":"full","code":500}',
        b'{"detail":"full"}',
        b'{"error":"full"}',
        b'{"message":"full"}',
        b'{"choices":[{"index":0,"error":{"message":"full"},"delta":{}}]}',
    ],
)
def test_an_error_of_any_shape_is_one(data):
    stream, out = follow(HELLO + sse.event(data) + WORLD + DONE)

    assert out == HELLO
    assert stream.failed.message == "full"


def test_an_event_that_is_named_an_error_is_one_whatever_it_says():
    stream, out = follow(HELLO + b"event: error\ndata: out of memory\n\n" + DONE)

    assert out == HELLO
    assert stream.failed is not None


def test_an_error_event_ends_the_stream_and_is_not_passed_on():
    error = b'data: {"error":{"message":"overloaded","code":503}}\n\n'

    stream, out = follow(ROLE + HELLO + error + WORLD + STOP + DONE)

    assert out == ROLE + HELLO
    assert stream.failed == Failed(message="overloaded", code="503", status=503)
    assert not stream.done


def test_a_broken_event_is_passed_on_and_counted():
    broken = b'data: {"id":"c","choices":[{"ind\n\n'

    stream, out = follow(HELLO + broken + WORLD + STOP + DONE)

    assert out == HELLO + broken + WORLD + STOP
    assert (stream.unread, stream.done) == ({"not_json": 1}, True)


@pytest.mark.parametrize(
    "odd",
    [
        b'data: {"choices":[{"index":0,"finish_reason" : "stop"}]}\n\n',
        b'data: {"choices":[],"usage" :{"prompt_tokens":1,"completion_tokens":2}}\n\n',
        b'data: {"error" : {"message":"overloaded"}}\n\n',
        b'data: {"choices":[{"ind\n\n',
        b'data: {"choices":[]}\ndata: {"usage":null}\n\n',
        b'data: {"choices":[]} {"choices":[]}\n\n',
        b'data: {"choices":[]} {"choices":[]}\n\ndata: \n\n',
        b"data: [DONE]\n\n",
        b"data: []\n\n",
        b": comment\n\n",
        b'event: chunk\ndata: {"choices":[]}\n\n',
        b'data:{"choices":[{"delta":{"content":"x"}}]}\n\n',
        b'data: {"choices":[{"index":0,"finish_reason":"stop"}]}\r\n\r\n',
    ],
)
def test_what_stands_between_content_is_seen_as_if_it_came_alone(odd):
    alone, together = ChatStream(strip_usage=True), ChatStream(strip_usage=True)
    alone.feed(ROLE + HELLO)
    together.feed(ROLE + HELLO)

    one_by_one = b"".join(alone.feed(e) for e in (HELLO, *sse.split(odd), WORLD))
    at_once = together.feed(HELLO + odd + WORLD)

    assert at_once == one_by_one
    for said in ("usage", "finish_reason", "done", "failed", "unread"):
        assert getattr(together, said) == getattr(alone, said)


TEXTS = st.one_of(
    st.text().map(lambda text: json.dumps(text)[1:-1].encode()),
    st.text().map(lambda text: json.dumps(text, ensure_ascii=False)[1:-1].encode()),
    st.lists(
        st.sampled_from(
            [
                *rb'" \ \n \" \u00e9 \ud83d \ude00 \q x ,'.split(),
                *(b"\n", b"\r", b"\t", b"\x7f", b"\xff", b"\n\n", b"\n\ndata: "),
            ]
        ),
        max_size=3,
    ).map(b"".join),
)
FRAMES = [
    (b'data: {"choices":[{"delta":{"content":"', b'"},"finish_reason":null}]}\n\n'),
    (
        b'data: {"choices":[{"delta":{"content":"',
        b'"},"finish_reason":null}],"usage":null}\n\n',
    ),
    (
        b'data: {"choices": [{"delta": {"tool_calls": [{"function": {"arguments":"',
        b'"}}]},"finish_reason": null}], "usage": null}\n\n',
    ),
    (
        b'data: {"choices":[{"finish_reason":null,"delta":{"content":"","reasoning":"',
        b'"}}],"usage":null,"obfuscation":"aX"}\n\n',
    ),
    (b'data: {"choices":[{"delta":{"content":"', b'"}}]}\n\n'),
    (b'data: {"choices":[{"delta":{},"finish_reason":"', b'"}],"usage":null}\n\n'),
    (b'data: {"choices":[],"usage":{"prompt_tokens":1},"x":"', b'"}\n\n'),
    (b'data: {"choices":[{"delta":{"content":"', b'"},\n"finish_reason":null}]}\n\n'),
    (b'data: {"choices":[{"delta":{"content":"', b'"},\r"finish_reason":null}]}\n\n'),
    (b'data: {"choices":[{"delta":{"content":"', b'"}}]}\r\n\r\n'),
    (b'data: {"error":null,"choices":[{"text":"', b'"}]}\n\n'),
    (b'id: 1\ndata: {"choices":[{"delta":{"content":"', b'"}}]}\n\n'),
    (b": ", b"\n\n"),
]
# Of one frame, most often, as of a real stream.
EVENTS = st.lists(
    st.tuples(st.sampled_from(FRAMES), st.lists(TEXTS, min_size=1, max_size=8)),
    max_size=6,
).map(lambda runs: [b + text + e for (b, e), texts in runs for text in texts])


@given(EVENTS, st.booleans(), st.booleans())
def test_events_that_come_together_are_seen_as_if_each_came_alone(
    events, strip_usage, begun
):
    alone, together = (ChatStream(strip_usage=strip_usage) for _ in range(2))
    if begun:
        assert alone.feed(ROLE + HELLO) == together.feed(ROLE + HELLO)
    data = b"".join(events)

    # Whatever their bytes say: split as the specification does it.
    one_by_one = b"".join(alone.feed(event) for event in sse.split(data))
    one_by_one += alone.flush()
    at_once = together.feed(data) + together.flush()

    # A blank line too many is the beginning of an event that never came.
    assert at_once.rstrip(b"\n") == one_by_one.rstrip(b"\n")
    for said in (
        "usage",
        "finish_reason",
        "done",
        "failed",
        "unread",
        "content_seen",
        "_finished",
    ):
        assert getattr(together, said) == getattr(alone, said)


def test_every_choice_must_finish():
    stream, _ = follow(chunk(finish="stop", index=0))

    assert stream.finished(1)
    assert not stream.finished(2)
    stream.feed(chunk(finish="stop", index=1))
    assert stream.finished(2)


# Errors.


def test_error_body_has_openais_shape():
    assert json.loads(openai.error_body(RateLimited("rpm", 2))) == {
        "error": {
            "message": "rpm limit reached; retry in 2.0s",
            "type": "rate_limit_error",
            "param": None,
            "code": "rate_limit_exceeded",
        }
    }


def test_the_upstreams_own_refusal_is_relayed_as_it_is():
    error = UpstreamRefused("p", "bad", upstream_status=400, body=b'{"error": {}}')

    assert openai.error_body(error) == b'{"error": {}}'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"m","code":"c","param":"p"}}', "m"),
        (b'{"error":"plain"}', "plain"),
        (b'{"object":"error","message":"vllm"}', "vllm"),
        (b"<html>502</html>", "a web page and no API error"),
    ],
)
def test_reads_the_message_of_an_upstream_error(body, message):
    assert openai.read_error(body)[0] == message


# Legacy completions.


@pytest.mark.parametrize(
    ("prompt", "choices", "tokens"),
    [
        ("Say this is a test", 2, 4),
        (["one prompt", "another"], 4, 3),
        ([1212, 318, 257, 1332], 2, 4),
        ([[1212, 318], [257, 1332, 13]], 4, 5),
        ([], 2, 1),
        (None, 2, 1),
    ],
)
def test_a_legacy_completion_has_an_answer_for_each_prompt(prompt, choices, tokens):
    body = json.dumps({"model": "m", "prompt": prompt, "n": 2, "stream": True})

    call = read_call("completions", body.encode())

    assert (call.operation, call.n, call.estimated_tokens) == (
        "completions",
        choices,
        tokens,
    )
    assert b'"include_usage":true' in call.body_for("other")


def test_a_legacy_completion_passes_through_with_its_usage_read():
    def text(text, finish=None):
        choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
        body = {"id": "c", "object": "text_completion", "choices": [choice]}
        return b"data: %b\n\n" % json.dumps(body).encode()

    call = read_call("completions", b'{"model":"m","prompt":"x","stream":true}')
    stream = openai.follow(call)

    out = stream.feed(text("a") + text("b") + text("", "length") + USAGE + DONE)

    assert out == text("a") + text("b") + text("", "length")
    assert stream.content_seen
    assert stream.done
    assert (stream.finish_reason, stream.usage.input) == ("length", 7)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"message": "m", "type": "tokens", "code": "rate_limit_exceeded"}, 429),
        ({"message": "m", "type": "server_error", "code": None}, 500),
        ({"message": "m", "type": "invalid_request_error", "code": "x"}, 400),
        ({"message": "m", "type": "new", "status_code": 498}, 498),
        ({"message": "m", "type": "new"}, None),
        ("just a text", None),
    ],
)
def test_what_an_error_in_a_stream_stands_for(error, status):
    stream, _ = follow(ROLE + b"data: %b\n\n" % json.dumps({"error": error}).encode())

    assert stream.failed is not None
    assert stream.failed.status == status


def test_a_fault_of_the_gateways_has_openais_type():
    body = json.loads(openai.error_body(GatewayError()))

    assert body["error"]["type"] == "server_error"


@pytest.mark.parametrize("padding", ["", "x" * 3000])
def test_a_tools_parameter_is_not_taken_for_the_requests_own(padding):
    schema = {"type": "object", "properties": {"stream_options": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    body = chat(stream=True, tools=[tool], user=padding)

    sent = json.loads(read_call("chat", body).body_for("m"))

    assert sent["tools"] == [tool]
    assert sent["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}])
def test_options_that_were_sent_are_completed_in_their_place(options):
    body = chat(stream=True, stream_options=options)

    sent = read_call("chat", body).body_for("m")

    assert sent.count(b"stream_options") == 1
    assert json.loads(sent)["stream_options"]["include_usage"] is True


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b' { "messages": [] } ',
        b'{"messages":[],"model":"other"}',
        b'{"model":null,"messages":[]}',
        b'{"messages":[{"model":"x"}]}',
    ],
)
def test_a_model_in_the_url_is_the_one_that_counts(body):
    named = with_model(body, "mine")

    assert json.loads(named) == json.loads(body) | {"model": "mine"}
    assert named.count(b'"mine"') == 1


def test_a_line_that_was_cut_off_is_nobodys_event():
    stream = ChatStream(strip_usage=False)

    assert stream.feed(b'data: {"choices":[]}\n\ndat') + stream.flush() == (
        b'data: {"choices":[]}\n\n'
    )


def moonshot_end():
    """The last event as https://platform.kimi.ai/docs/api/chat has it."""
    counts = {"prompt_tokens": 100, "completion_tokens": 10, "cached_tokens": 90}
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": counts}
    body = {"id": "c", "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(body).encode()


def test_usage_that_stands_in_the_choice_is_read():
    stream, out = follow(ROLE + HELLO + moonshot_end() + DONE)

    assert out == ROLE + HELLO + moonshot_end()
    assert stream.usage == TokenUsage(input=10, cache_read=90, output=10)
