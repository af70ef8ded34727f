"""What every client gets of every upstream's answer, whole and streamed."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gandalf.dialects.conversation import Ended
from gandalf.dialects.translation import TranslatedStream, translate_answer

from .pairs_answers import (
    JSON_TOOL,
    answers,
    for_client,
    of_upstream,
    with_json_as_text,
)
from .pairs_clients import (
    CALLS,
    CLIENTS,
    UPSTREAMS,
    comparable,
    counts,
    joined,
    understood,
)
from .pairs_upstreams import SAYS

ANSWERS = answers()
SIZES = st.sampled_from([1, 3, 1000])
# Bedrock's models and older Claudes give JSON as a call; the others never do.
EMULATING = ("anthropic", "converse")

upstreams = pytest.mark.parametrize("upstream", UPSTREAMS)


def a_stream(client, upstream, json_tool=""):
    parser = UPSTREAMS[upstream].stream_parser()
    renderer = CLIENTS[client].stream_renderer(CALLS[client])
    return TranslatedStream(parser, renderer, json_tool)


def translated(client, upstream, chunks, json_tool=""):
    """What the client gets of the chunks, with what must differ made the same."""
    stream = a_stream(client, upstream, json_tool)
    shown = b"".join(map(stream.feed, chunks)) + stream.flush()
    assert stream.done or stream.finished(1)
    return same(shown + stream.ending)


_MADE_UP = (
    (re.compile(rb"chatcmpl-[0-9a-f]{32}"), b"chatcmpl-0"),
    (re.compile(rb"msg_[0-9a-f]{24}"), b"msg_0"),
    (re.compile(rb'"responseId":"[\w-]{22}"'), b'"responseId":"0"'),
    (re.compile(rb'"created":\d+'), b'"created":0'),
    (re.compile(rb'"created_at":"[^"]+"'), b'"created_at":"1970-01-01T00:00:00Z"'),
)


def same(shown):
    """Without the ids and times that the gateway gives to answers that have none."""
    for pattern, fixed in _MADE_UP:
        shown = pattern.sub(fixed, shown)
    return shown


def read(client, shown):
    """What the client's own dialect reads in a stream."""
    parser = CLIENTS[client].stream_parser()
    return [*parser.feed(shown), *parser.flush()]


def assert_whole(client, upstream, said, told, json_tool=""):
    call, spoken = CALLS[client], UPSTREAMS[upstream]
    body, finish = translate_answer(
        call, said, spoken=spoken, source=CLIENTS[client], json_tool=json_tool
    )
    seen = CLIENTS[client].parse_answer(body)

    expected = for_client(client, told)
    assert comparable(understood(client, seen.choices[0])) == comparable(
        expected.choices[0]
    )
    assert counts(seen.usage) == counts(expected.usage)
    assert finish == told.choices[0].finish


def assert_streamed(client, upstream, said, told, json_tool=""):
    stream = a_stream(client, upstream, json_tool)
    shown = stream.feed(said) + stream.flush()
    events = read(client, shown + stream.ending)
    choice, usage = joined(events)

    expected = for_client(client, told, streamed=True)
    assert comparable(understood(client, choice)) == comparable(expected.choices[0])
    assert counts(usage) == counts(expected.usage)
    assert stream.finish_reason is not None
    # Gemini's streams have no end marker.
    assert client == "gemini" or events[-1] == Ended()


@upstreams
@settings(max_examples=70, deadline=None)
@given(answer=ANSWERS, size=SIZES)
def test_every_client_gets_all_of_an_answer_that_it_can_be_told(upstream, answer, size):
    told = of_upstream(upstream, answer)
    whole = SAYS[upstream].whole(told)
    streamed = b"".join(SAYS[upstream].stream(told, size))

    for client in CLIENTS:
        assert_whole(client, upstream, whole, told)
        assert_streamed(client, upstream, streamed, told)


@pytest.mark.parametrize("upstream", EMULATING)
@settings(max_examples=70, deadline=None)
@given(answer=answers(json_tool=True), size=SIZES)
def test_json_that_comes_as_a_call_is_all_the_text_there_is(upstream, answer, size):
    said = of_upstream(upstream, answer)
    whole = SAYS[upstream].whole(said)
    streamed = b"".join(SAYS[upstream].stream(said, size))

    told = with_json_as_text(said, JSON_TOOL)
    for client in CLIENTS:
        assert_whole(client, upstream, whole, told, JSON_TOOL)
        assert_streamed(client, upstream, streamed, told, JSON_TOOL)


@upstreams
@settings(max_examples=15, deadline=None)
@given(answer=ANSWERS, size=SIZES, cuts=st.lists(st.integers(0, 4000), max_size=9))
def test_however_a_stream_is_cut_the_client_gets_the_same_bytes(
    upstream, answer, size, cuts
):
    told = of_upstream(upstream, answer)
    said = b"".join(SAYS[upstream].stream(told, size))
    edges = [0, *sorted(min(cut, len(said)) for cut in cuts), len(said)]
    chunked = [said[start:end] for start, end in pairwise(edges)]
    single = [said[at : at + 1] for at in range(len(said))]

    for client in CLIENTS:
        whole = translated(client, upstream, [said])
        assert translated(client, upstream, chunked) == whole
        assert translated(client, upstream, single) == whole
