"""Answers in the other form than was asked for: whole as a stream, a stream whole."""

import json

import pytest

from gandalf.dialects import anthropic, gemini, ollama, openai, sse
from gandalf.dialects.openai.passthrough import PassthroughCall
from gandalf.dialects.openai.passthrough_answers import as_whole
from tests.dialects.openai_events import a_response

from .pairs_answers import of_upstream
from .pairs_clients import comparable
from .pairs_upstreams import SAYS
from .test_openai_responses import STREAM
from .test_pairs_cuts import ANSWER, recorded

DIALECTS = {
    "openai": openai,
    "anthropic": anthropic,
    "gemini": gemini,
    "ollama": ollama,
}
SSE = ["openai", "anthropic", "gemini"]


def whole(name):
    return SAYS[name].whole(of_upstream(name, ANSWER))


def choice_in(name, body):
    """The answer in ``body``, with the arguments of its calls as the JSON they are."""
    [choice] = DIALECTS[name].parse_answer(body).choices
    return comparable(choice)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_whole_answer_is_the_same_after_a_round_as_a_stream(name):
    body = whole(name)

    stream = DIALECTS[name].as_stream(body)

    assert stream != b""
    assert json.loads(DIALECTS[name].as_whole(stream)) == json.loads(body)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_stream_makes_the_whole_answer_that_it_is_of(name):
    made = DIALECTS[name].as_whole(recorded(name))

    assert choice_in(name, made) == choice_in(name, whole(name))


@pytest.mark.parametrize("name", DIALECTS)
def test_no_part_of_a_stream_makes_a_whole_answer_with_less(name):
    stream = recorded(name)
    everything = choice_in(name, DIALECTS[name].as_whole(stream))

    for cut in range(len(stream)):
        made = DIALECTS[name].as_whole(stream[:cut])
        assert made == b"" or choice_in(name, made) == everything, cut


@pytest.mark.parametrize("name", SSE)
def test_a_stream_that_was_not_read_in_full_makes_no_whole_answer(name):
    events = sse.split(recorded(name))
    odd = b'data: {"choices":7,"candidates":7,"type":7}\n\n'

    assert DIALECTS[name].as_whole(b"".join([*events[:3], odd, *events[3:]])) == b""


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("body", [b"{}", b'{"error":{"message":"x"}}', b"[1", b"7"])
def test_what_is_no_answer_makes_no_good_stream(name, body):
    if name == "ollama":
        stream = ollama.AnswerStream()
        stream.feed(ollama.as_stream(body))
        assert not stream.done
    else:
        assert DIALECTS[name].as_stream(body) == b""


def test_an_array_of_geminis_answers_is_a_stream():
    body = b'[{"candidates": [\n{"index": 0}]},\r\n{"usageMetadata": {}}]'

    assert gemini.as_stream(body) == (
        b'data: {"candidates": [ {"index": 0}]}\r\n\r\n'
        b'data: {"usageMetadata": {}}\r\n\r\n'
    )


def test_members_that_nobody_knows_are_kept_in_both_directions():
    body = (
        b'{"id":"c","object":"chat.completion","new":[1],"choices":[{"index":0,"extra":'
        b'{"a":1},"message":{"role":"assistant","content":"x","odd":{"b":2}},'
        b'"finish_reason":"stop"}]}'
    )

    stream = openai.as_stream(body)

    assert b'"odd":{"b":2}' in stream
    assert json.loads(openai.as_whole(stream)) == json.loads(body)


def test_a_member_that_changes_is_not_guessed_at():
    def chunk(**delta):
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        return sse.event(json.dumps({"choices": [choice]}).encode())

    stop = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'

    assert openai.as_whole(chunk(mood="a") + chunk(mood="a") + stop) != b""
    assert openai.as_whole(chunk(mood="a") + chunk(mood="b") + stop) == b""


def test_the_last_event_of_a_response_has_the_whole_of_it():
    call = PassthroughCall(operation="responses", model="m", body=b"")

    made = json.loads(as_whole(call, STREAM))

    assert made["id"] == a_response()["id"]
    assert made["status"] == "completed"
    assert as_whole(call, STREAM[:-40]) == b""
