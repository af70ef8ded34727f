"""What else comes of a stream: errors in it, several answers, older operations."""

import json

import pytest
from hypothesis import given, settings

from gandalf.dialects import sse
from gandalf.dialects.conversation import Finished, Refusal, Text, TextDelta
from gandalf.dialects.translation import TranslatedStream, translate_answer
from tests.fakes import (
    anthropic_format,
    bedrock_format,
    gemini_format,
    ollama_format,
    openai_format,
)

from .pairs_answers import answers, for_client, of_upstream
from .pairs_clients import CLIENTS, UPSTREAMS, comparable, joined, understood
from .pairs_upstreams import SAYS
from .test_pairs_answers import a_stream, read
from .test_pairs_cuts import ANSWER, frames, received

clients = pytest.mark.parametrize("client", CLIENTS)
upstreams = pytest.mark.parametrize("upstream", UPSTREAMS)

# Errors.

ERRORS = {
    "openai": openai_format.event(json.loads(openai_format.error())),
    "anthropic": anthropic_format.error_event(),
    "gemini": gemini_format.bare_error() + b"\r\n",
    "ollama": ollama_format.line(ollama_format.error()),
    "converse": bedrock_format.exception("throttlingException"),
}


@clients
@upstreams
async def test_an_error_in_a_stream_is_one_wherever_it_comes(upstream, client):
    events = SAYS[upstream].stream(of_upstream(upstream, ANSWER), 5)
    whole, _ = await received(client, a_stream(client, upstream), b"".join(events))

    for place in range(len(events)):
        said = b"".join([*events[:place], ERRORS[upstream], *events[place:]])
        got, complete = await received(client, a_stream(client, upstream), said)

        assert not complete, place
        seen = frames(client, got)
        assert seen == frames(client, whole)[: len(seen)], place


# Several answers to one request.

SEVERAL = ("openai", "gemini")
"""The others give one."""


def asking_for_two(client):
    bodies = {
        "openai": {
            "model": "alias",
            "messages": [{"role": "user", "content": "hi"}],
            "n": 2,
            "stream": True,
        },
        "gemini": {
            "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
            "generationConfig": {"candidateCount": 2},
        },
    }
    body = json.dumps(bodies[client]).encode()
    if client == "openai":
        return CLIENTS[client].read_call("chat", body)
    return CLIENTS[client].read_call("chat", body, "alias", stream=True)


def two_answers(upstream):
    """Each piece of two answers, which come in turns and end one before the other."""
    pieces = [(0, "A", None), (1, "B", None), (0, "a", "STOP"), (1, "b", "MAX_TOKENS")]
    if upstream == "gemini":
        return [
            gemini_format.event(
                gemini_format.response(
                    gemini_format.candidate(text, index=index, finish_reason=reason)
                )
            )
            for index, text, reason in pieces
        ]
    words = {"STOP": "stop", "MAX_TOKENS": "length", None: None}
    chunks = [
        openai_format.chunk(text, index=index, finish_reason=words[reason])
        for index, text, reason in pieces
    ]
    return [*map(openai_format.event, chunks), openai_format.DONE]


@pytest.mark.parametrize("client", SEVERAL)
@pytest.mark.parametrize("upstream", SEVERAL)
def test_several_answers_are_complete_once_the_last_one_is(upstream, client):
    call = asking_for_two(client)
    parser = UPSTREAMS[upstream].stream_parser()
    stream = TranslatedStream(parser, CLIENTS[client].stream_renderer(call))

    finished, shown = [], b""
    for event in two_answers(upstream):
        shown += stream.feed(event)
        finished.append(stream.finished(call.n))

    assert finished[:4] == [False, False, False, True]
    events = read(client, shown + stream.flush() + stream.ending)
    said = {0: "", 1: ""}
    for event in events:
        if isinstance(event, TextDelta):
            said[event.choice] += event.text
    assert said == {0: "Aa", 1: "Bb"}
    ends = {e.choice: e.finish for e in events if isinstance(e, Finished)}
    assert ends == {0: "stop", 1: "length"}


# Operations that are older than chats.


def a_completion(*, stream):
    body = {"model": "alias", "prompt": "hi", "stream": stream}
    return CLIENTS["openai"].read_call("completions", json.dumps(body).encode())


def a_generation(*, stream):
    body = {"model": "alias", "prompt": "hi", "stream": stream}
    return CLIENTS["ollama"].read_call("generate", json.dumps(body).encode())


def streamed(client, call, upstream, told):
    stream = TranslatedStream(
        UPSTREAMS[upstream].stream_parser(), CLIENTS[client].stream_renderer(call)
    )
    said = b"".join(SAYS[upstream].stream(told, 3))
    return stream.feed(said) + stream.flush() + stream.ending


def whole(client, call, upstream, told):
    said = SAYS[upstream].whole(told)
    body, _ = translate_answer(
        call, said, spoken=UPSTREAMS[upstream], source=CLIENTS[client]
    )
    return body


@upstreams
@settings(max_examples=25, deadline=None)
@given(answer=answers())
def test_a_legacy_completion_has_all_of_the_text(upstream, answer):
    told = of_upstream(upstream, answer)
    texts = [p.text for p in told.choices[0].parts if isinstance(p, Text | Refusal)]

    body = json.loads(whole("openai", a_completion(stream=False), upstream, told))
    shown = streamed("openai", a_completion(stream=True), upstream, told)
    *events, end = [sse.data_of(event) for event in sse.split(shown)]
    choices = [choice for event in events for choice in json.loads(event)["choices"]]

    assert body["choices"][0]["text"] == "".join(texts)
    assert "".join(choice["text"] for choice in choices) == "".join(texts)
    assert choices[-1]["finish_reason"] == body["choices"][0]["finish_reason"]
    assert end == b"[DONE]"


@upstreams
@settings(max_examples=25, deadline=None)
@given(answer=answers())
def test_a_generation_has_all_that_a_chat_has(upstream, answer):
    told = of_upstream(upstream, answer)
    expected = comparable(for_client("ollama", told).choices[0])

    body = whole("ollama", a_generation(stream=False), upstream, told)
    shown = streamed("ollama", a_generation(stream=True), upstream, told)

    choice = CLIENTS["ollama"].parse_answer(body).choices[0]
    assert comparable(understood("ollama", choice)) == expected
    choice, _ = joined(read("ollama", shown))
    assert comparable(understood("ollama", choice)) == expected
