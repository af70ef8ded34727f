"""Ollama's native side: what the gateway reads of bytes that pass through."""

import contextlib
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.dialects import ollama
from gandalf.dialects.conversation import Failed, Feature
from gandalf.dialects.ollama import AnswerStream, read_answer, read_call
from gandalf.domain.errors import BadRequest, RateLimited, UpstreamRefused
from gandalf.domain.usage import TokenUsage
from tests.fakes import ollama_format as fmt

DATA = Path(__file__).parent / "data" / "ollama"


def chat(**fields):
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return json.dumps(body).encode()


# Calls.


def test_reads_what_the_gateway_acts_on():
    options = {"temperature": 0, "seed": 7, "num_predict": 99, "num_ctx": 4096}

    call = read_call("chat", chat(stream=False, options=options))

    assert (call.operation, call.model, call.stream) == ("chat", "m", False)
    assert (call.temperature, call.seed, call.max_tokens) == (0.0, 7, 99)
    assert call.n == 1


@pytest.mark.parametrize("fields", [{}, {"stream": None}, {"stream": True}])
def test_an_answer_is_streamed_unless_the_client_says_otherwise(fields):
    assert read_call("chat", chat(**fields)).stream
    assert read_call(
        "generate", json.dumps({"model": "m", "prompt": "x", **fields}).encode()
    ).stream
    assert not read_call("chat", chat(stream=False)).stream


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("chat", {"model": "m"}),
        ("chat", {"model": "m", "messages": []}),
        ("chat", {"model": "m", "messages": None, "keep_alive": 0}),
        ("generate", {"model": "m"}),
        ("generate", {"model": "m", "prompt": "", "keep_alive": 0, "stream": True}),
    ],
)
def test_loading_a_model_is_answered_with_one_object_and_no_stream(operation, body):
    call = read_call(operation, json.dumps(body).encode())

    assert call.loads
    assert not call.stream


def test_a_prompt_of_blanks_is_a_prompt():
    assert not read_call("generate", b'{"model":"m","prompt":"  "}').loads


@pytest.mark.parametrize(
    ("options", "seed", "max_tokens"),
    [
        (None, None, None),
        ({}, None, None),
        ({"seed": -1, "num_predict": -1}, None, None),
        ({"seed": 0, "num_predict": -2}, 0, None),
        ({"seed": 3.0, "num_predict": 10.0}, 3, 10),
    ],
)
def test_options_that_mean_the_default_are_none(options, seed, max_tokens):
    call = read_call("chat", chat(options=options))

    assert (call.seed, call.max_tokens) == (seed, max_tokens)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"[]", "invalid_request", None),
        (b'{"messages":[]}', "invalid_request", "model"),
        (b'{"model":"","messages":[]}', "invalid_request", "model"),
        (b'{"model":7,"messages":[]}', "invalid_request", "model"),
        (b'{"model":"\xff","messages":[]}', "invalid_json", None),
        (chat(stream="yes"), "invalid_request", "stream"),
        (chat(options={"seed": "x"}), "invalid_request", "options.seed"),
        (chat(options={"seed": 2**70}), "invalid_request", "options.seed"),
        (
            chat(options={"num_predict": 1e300}),
            "invalid_request",
            "options.num_predict",
        ),
        (chat(options=[]), "invalid_request", "options"),
        (b'{"model":"m","model":"n","messages":[]}', "duplicate_key", "model"),
        (b'{"model":"m","Model":"n","messages":[]}', "duplicate_key", "model"),
        (b'{"model":"m","mod\\u0065l":"n"}', "duplicate_key", "model"),
        (chat(stream=False)[:-1] + b',"STREAM":true}', "duplicate_key", "stream"),
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


@given(st.binary(max_size=80))
def test_any_bytes_are_a_call_or_a_bad_request(body):
    for operation in ("chat", "generate", "embeddings", "legacy_embeddings"):
        with contextlib.suppress(BadRequest):
            read_call(operation, body)


def test_only_the_model_name_changes_on_the_way_to_the_upstream():
    body = (
        b'{ "model":"m", "messages":[{"role":"user","content":"\\u00e9 1.0e5"}],'
        b'\n"unknown_field": {"b":1.50, "a":[ ]}, "options":{"num_ctx":8} }'
    )

    call = read_call("chat", body)

    assert call.body_for("up/stream:1b") == body.replace(b'"m"', b'"up/stream:1b"')
    assert call.body_for("m") is body


def test_a_system_message_and_many_images_need_no_close_look_at_the_body():
    # Names that stand in every other chat must not be governed: each would be taken
    # for a possible duplicate, and cost a walk through all of the body.
    message = {"role": "system", "content": "x", "images": ["/9j/"], "format": "y"}
    body = chat(messages=[message] * 40_000)

    assert read_call("chat", body).model == "m"


def test_a_picture_in_base64_does_not_count_as_text():
    message = {"role": "user", "content": "what?", "images": ["A" * 400_000]}

    call = read_call("chat", chat(messages=[message]))

    assert 1000 <= call.estimated_tokens < 1100


def test_reads_calls_for_embeddings_also_those_that_only_load_the_model():
    call = read_call("embeddings", b'{"model":"e","input":["a","b"]}')
    assert (call.model, call.operation, call.stream) == ("e", "embeddings", False)
    assert read_call("legacy_embeddings", b'{"model":"e","prompt":"a"}').model == "e"
    assert read_call("embeddings", b'{"model":"e"}').model == "e"


def test_reads_the_requests_of_the_documentation():
    tools = read_call("chat", (DATA / "chat_tools_request.json").read_bytes())
    options = read_call(
        "generate", (DATA / "generate_options_request.json").read_bytes()
    )

    assert (tools.model, tools.stream) == ("qwen3", True)
    assert (options.stream, options.seed, options.max_tokens) == (False, 42, 100)


# Answers.


def test_reads_usage_and_reason_of_a_whole_answer():
    answer = read_answer("chat", (DATA / "chat_answer.json").read_bytes())

    assert answer.usage == TokenUsage(input=11, output=18)
    assert (answer.finish_reason, answer.failed) == ("stop", None)


def test_prompt_tokens_from_the_cache_are_apart():
    answer = read_answer("chat", fmt.chat(counts=fmt.metrics(12, 3, cached=5)))

    assert answer.usage == TokenUsage(input=7, cache_read=5, output=3)


def test_a_load_has_a_reason_and_no_usage():
    answer = read_answer("chat", (DATA / "chat_unload.json").read_bytes())

    assert (answer.finish_reason, answer.usage) == ("unload", None)


def test_reads_usage_of_embeddings():
    assert read_answer("embeddings", fmt.embedded()).usage == TokenUsage(input=4)
    assert read_answer("legacy_embeddings", fmt.legacy_embedded()).usage is None


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1]", b"null", b"\xff"])
def test_what_is_not_an_answer_is_not_taken_for_one(body):
    answer = read_answer("chat", body)

    assert answer is None or answer.failed is not None


def test_an_error_in_a_whole_answer_is_one():
    assert read_answer("chat", fmt.error("no")).failed == Failed(message="no")


# Streams.


def follow(chunks):
    stream = AnswerStream()
    shown = [stream.feed(chunk) for chunk in chunks]
    return stream, b"".join([*shown, stream.flush()])


def byte_by_byte(data):
    return [bytes([byte]) for byte in data]


def test_lines_pass_untouched_and_the_last_one_waits_for_its_turn():
    lines = fmt.chat_lines("Hel", "lo", " \u2028", counts=fmt.metrics(12, 3, cached=5))

    stream, shown = follow(lines)

    assert shown == b"".join(lines[:-1])
    assert stream.ending == lines[-1]
    assert stream.done
    assert stream.finished(1)
    assert stream.finish_reason == "stop"
    assert stream.usage == TokenUsage(input=7, cache_read=5, output=3)


def test_a_last_line_that_says_something_is_held_back_whole():
    recorded = (DATA / "generate_stream.ndjson").read_bytes()

    stream, shown = follow([recorded])

    assert shown + stream.ending == recorded
    assert b'" question"' in shown
    assert b'"!"' in stream.ending


RECORDED = [
    b"".join(fmt.chat_lines("Hel", "lo")),
    b"".join(fmt.chat_lines("Hel", "lo", end=b"\r\n")),
    b"".join(
        fmt.chat_lines(
            thinking=["hm", "m"],
            tool_calls=[
                fmt.tool_call("f", {"done": False, "x": '"done":true}\n'}),
                fmt.tool_call("g"),
            ],
        )
    ),
    b"".join(fmt.generate_lines("a", "b\u2028", "c")),
    (DATA / "generate_stream.ndjson").read_bytes(),
    (DATA / "generate_error.ndjson").read_bytes(),
    b'{"message":{"content":"a"},"done":false}\n{"error":"x"}\n'
    + b"".join(fmt.chat_lines()),
    b'{"message":{"content":"a"},"done":false}\n<html>\n' + b"".join(fmt.chat_lines()),
]


@given(st.sampled_from(RECORDED), st.data())
def test_any_chunking_of_a_stream_gives_the_same(recorded, data):
    cuts = data.draw(st.lists(st.integers(0, len(recorded))))
    edges = [0, *sorted(cuts), len(recorded)]
    chunks = [recorded[a:b] for a, b in itertools.pairwise(edges)]

    def seen(parts):
        stream, shown = follow(parts)
        return (
            shown,
            stream.ending,
            stream.done,
            stream.failed,
            stream.usage,
            stream.finish_reason,
            stream.content_seen,
        )

    whole = seen([recorded])
    assert seen(chunks) == whole
    assert seen(byte_by_byte(recorded)) == whole


@pytest.mark.parametrize("recorded", RECORDED[:5])
def test_a_stream_cut_anywhere_is_whole_or_not_done(recorded):
    for at in range(len(recorded)):
        stream, shown = follow([recorded[:at]])

        whole = recorded[:at].strip() == recorded.strip()
        assert stream.done == whole == bool(stream.ending)
        assert stream.failed is None
        assert recorded.startswith(shown.rstrip()) or whole


def test_an_error_in_the_stream_is_one_and_nothing_follows():
    recorded = (DATA / "generate_error.ndjson").read_bytes()

    stream, shown = follow([recorded, *fmt.generate_lines()])

    assert stream.failed == Failed(
        message="an error was encountered while running the model"
    )
    assert shown == b"".join(recorded.splitlines(keepends=True)[:4])
    assert not stream.done


def test_what_is_no_json_is_passed_on_and_counted():
    lines = fmt.chat_lines("a", "b")
    lines.insert(1, b"502 Bad Gateway\n")

    stream, shown = follow(lines)

    assert stream.unread == {"not_json": 1}
    assert shown + stream.ending == b"".join(lines)


def test_content_is_seen_when_there_is_some():
    stream = AnswerStream()

    stream.feed(fmt.line(fmt.piece("")))
    assert not stream.content_seen
    stream.feed(fmt.line(fmt.piece(thinking="hm")))
    assert stream.content_seen


@pytest.mark.parametrize(
    "first",
    [
        fmt.piece("a"),
        fmt.piece(tool_calls=[fmt.tool_call("f")]),
        {"response": "a", "done": False},
        {"response": "", "thinking": "a", "done": False},
        fmt.last(),
    ],
)
def test_anything_of_an_answer_is_content(first):
    stream = AnswerStream()

    stream.feed(fmt.line(first))

    assert stream.content_seen


def test_blank_lines_are_left_out_for_clients_take_them_for_json():
    lines = fmt.chat_lines("a", "b")

    _, shown = follow([b"\n", lines[0], b" \r\n", lines[1], b"\n", lines[2]])

    assert [json.loads(line) for line in shown.splitlines()] == [
        json.loads(line) for line in lines[:2]
    ]


# Errors, and what the dialect is.


def test_errors_are_a_message_in_ollamas_shape():
    assert json.loads(ollama.error_body(BadRequest("no"))) == {"error": "no"}
    limited = RateLimited("rpm", 2.0)
    line = ollama.stream_error(limited)
    assert line.endswith(b"\n")
    assert json.loads(line) == {"error": limited.message}
    assert follow([line])[0].failed == Failed(message=limited.message)


def test_a_refusal_of_the_upstream_is_passed_on_as_it_came():
    body = b'{"error": "model is required",  "x": 1}'
    refused = UpstreamRefused("o", "model is required", upstream_status=400, body=body)

    assert ollama.error_body(refused) == body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (fmt.error("not found"), "not found"),
        (b'{"error":{"message":"in OpenAI\'s manner"}}', "in OpenAI's manner"),
        (b'{"error":null}', ""),
        (b'{"error":7}', '{"error":7}'),
    ],
)
def test_reads_an_upstreams_error(body, message):
    assert ollama.read_error(body)[:3] == (message, None, None)


def test_every_feature_has_a_treatment():
    assert set(ollama.TREATMENTS) == set(Feature)
