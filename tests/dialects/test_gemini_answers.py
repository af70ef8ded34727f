"""Gemini's answers, streams, embeddings and counts, into the neutral model and out."""

import base64
import json
import random
from pathlib import Path

import msgspec
import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from gandalf.dialects import gemini, openai, signatures
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import (
    Choice,
    CitationDelta,
    Completion,
    Embeddings,
    EmbeddingsRequest,
    Ended,
    Failed,
    Finish,
    Finished,
    Media,
    Refusal,
    RefusalDelta,
    Started,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Unread,
    UsageReported,
)
from gandalf.dialects.translation import TranslatedStream, translate_answer
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model
from gandalf.domain.usage import TokenUsage
from tests.fakes import gemini_format as fake
from tests.fakes.gemini_sdk import SdkStream, sdk_chat_history

CALL = gemini.read_call("chat", b'{"contents":[]}', "m", stream=True)
USAGE = TokenUsage(input=7, cache_read=2, output=5, reasoning=3)


def pieces_of(raw, size):
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def events_of(pieces):
    parser = gemini.stream_parser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return [*events, *parser.flush()]


def folded(events):
    """What a stream's events say, in a form that a whole answer can be put in too."""
    said = {
        "text": {},
        "thinking": {},
        "calls": {},
        "finish": {},
        "signature": {},
        "cited": {},
    }
    for event in events:
        if isinstance(event, TextDelta):
            said["text"][event.choice] = said["text"].get(event.choice, "") + event.text
            if event.signature:
                said["signature"][event.choice] = event.signature
        elif isinstance(event, ThinkingDelta):
            old = said["thinking"].get(event.choice, ("", None))
            said["thinking"][event.choice] = (
                old[0] + event.text,
                event.signature or old[1],
            )
        elif isinstance(event, ToolCallStarted):
            said["calls"][event.choice, event.call] = [
                event.id,
                event.name,
                "",
                event.signature,
            ]
        elif isinstance(event, ToolCallDelta):
            said["calls"][event.choice, event.call][2] += event.arguments
        elif isinstance(event, Finished):
            said["finish"][event.choice] = event.finish
        elif isinstance(event, CitationDelta):
            said["cited"].setdefault(event.choice, []).append(event.citation)
        elif isinstance(event, UsageReported):
            said["usage"] = event.usage
        elif isinstance(event, Started):
            said["id"], said["model"] = event.id, event.model
    return said


def folded_whole(completion):
    events = [Started(id=completion.id, model=completion.model)]
    for at, choice in enumerate(completion.choices):
        calls = 0
        for part in choice.parts:
            if isinstance(part, Text):
                events.append(TextDelta(text=part.text, choice=at))
                events += [
                    CitationDelta(citation=each, choice=at) for each in part.citations
                ]
            elif isinstance(part, Thinking):
                events.append(
                    ThinkingDelta(text=part.text, signature=part.signature, choice=at)
                )
            elif isinstance(part, ToolCall):
                events.append(
                    ToolCallStarted(
                        call=calls,
                        id=part.id,
                        name=part.name,
                        signature=part.signature,
                        choice=at,
                    )
                )
                events.append(
                    ToolCallDelta(call=calls, arguments=part.arguments, choice=at)
                )
                calls += 1
        if choice.signature:
            events.append(TextDelta(text="", signature=choice.signature, choice=at))
        if choice.finish:
            events.append(Finished(finish=choice.finish, choice=at))
    if completion.usage:
        events.append(UsageReported(completion.usage))
    return folded(events)


# Whole answers.


def test_a_whole_answer_is_read():
    body = fake.completion(
        fake.text("Let me see", thought=True),
        "Calling",
        fake.function_call("f", {"x": 1}, signature=fake.SIGNATURE),
        fake.function_call("f", {"x": 2}, id="own-id"),
        fake.text("", signature="ZQ=="),
        usage=fake.usage(9, 5, thoughts=3, cached=2),
    )

    assert gemini.parse_answer(body) == Completion(
        id=fake.RESPONSE_ID,
        model=fake.MODEL,
        choices=(
            Choice(
                parts=(
                    Thinking(text="Let me see"),
                    Text(text="Calling"),
                    ToolCall(
                        id=f"call_{fake.RESPONSE_ID}_0",
                        name="f",
                        arguments='{"x":1}',
                        signature=fake.SIGNATURE,
                    ),
                    ToolCall(
                        id="own-id",
                        name="f",
                        arguments='{"x":2}',
                    ),
                ),
                finish=Finish.TOOL_CALLS,
                signature="ZQ==",
            ),
        ),
        usage=USAGE,
    )


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", Finish.STOP),
        ("MAX_TOKENS", Finish.LENGTH),
        ("SAFETY", Finish.CONTENT_FILTER),
        ("RECITATION", Finish.CONTENT_FILTER),
        ("BLOCKLIST", Finish.CONTENT_FILTER),
        ("PROHIBITED_CONTENT", Finish.CONTENT_FILTER),
        ("SPII", Finish.CONTENT_FILTER),
        ("IMAGE_SAFETY", Finish.CONTENT_FILTER),
        ("LANGUAGE", Finish.CONTENT_FILTER),
        ("CONTINUATION", Finish.LENGTH),
    ],
)
def test_why_it_ended_is_read_alike_whole_and_streamed(reason, finish):
    whole = gemini.parse_answer(fake.completion("a", finish_reason=reason))
    streamed = events_of(fake.stream_events("a", finish_reason=reason))

    assert whole.choices[0].finish is finish
    assert Finished(finish=finish) in streamed


def test_a_blocked_prompt_is_filtered_content():
    whole = gemini.parse_answer(fake.body(fake.blocked()))
    streamed = events_of([fake.event(fake.blocked())])

    assert whole.choices == (Choice(finish=Finish.CONTENT_FILTER),)
    assert whole.usage == TokenUsage(input=9)
    assert streamed == [
        Started(id=fake.RESPONSE_ID, model=fake.MODEL),
        Finished(finish=Finish.CONTENT_FILTER),
        UsageReported(TokenUsage(input=9)),
        Ended(),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"<html>",
        b'{"candidates":[]}',
        b'{"candidates":7}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_not_taken_for_one(body):
    with pytest.raises(UNREADABLE):
        gemini.parse_answer(body)


def test_candidates_are_put_in_order():
    body = fake.body(fake.response(fake.candidate("b", index=1), fake.candidate("a")))

    texts = [choice.parts[0].text for choice in gemini.parse_answer(body).choices]

    assert texts == ["a", "b"]


def test_ids_without_a_response_id_still_differ():
    # Also from those of the same calls in another answer.
    calls = [fake.function_call("f", {"a": 1}), fake.function_call("f", {"a": 1})]
    body = fake.body(fake.response(fake.candidate(*calls), response_id=""))

    answers = [gemini.parse_answer(body).choices[0] for _ in range(2)]

    assert len({part.id for answer in answers for part in answer.parts}) == 4


def test_pictures_in_an_answer_are_media_or_shown_in_text():
    part = fake.inline_data("iVBORw0KGgo=")

    whole = gemini.parse_answer(fake.completion(part))
    streamed = events_of(fake.stream_events(part))

    assert whole.choices[0].parts == (
        Media(kind="image", media_type="image/png", data="iVBORw0KGgo="),
    )
    assert streamed[1] == TextDelta(text="![](data:image/png;base64,iVBORw0KGgo=)")


# https://ai.google.dev/gemini-api/docs/google-search
GROUNDING = {
    "webSearchQueries": ["UEFA Euro 2024 winner"],
    "groundingChunks": [
        {"web": {"uri": "https://a.example", "title": "aljazeera.com"}},
        {"web": {"uri": "https://b.example", "title": "uefa.com"}},
    ],
    "groundingSupports": [
        {
            "segment": {"startIndex": 0, "endIndex": 85, "text": "Spain won"},
            "groundingChunkIndices": [0, 1],
        }
    ],
}
CITED = [
    {
        "uri": "https://a.example",
        "title": "aljazeera.com",
        "startIndex": 0,
        "endIndex": 85,
    },
    {"uri": "https://b.example", "title": "uefa.com", "startIndex": 0, "endIndex": 85},
]


@pytest.mark.parametrize(
    ("more", "cited"),
    [
        ({"groundingMetadata": GROUNDING}, CITED),
        (
            {
                "groundingMetadata": {
                    "groundingChunks": GROUNDING["groundingChunks"][:1]
                }
            },
            [{"uri": "https://a.example", "title": "aljazeera.com"}],
        ),
        ({"groundingMetadata": None}, []),
        ({"groundingMetadata": {"groundingChunks": "new"}}, []),
        ({"citationMetadata": [], "logprobsResult": {"chosenCandidates": 1}}, []),
        ({"groundingMetadata": {}}, []),
        ({"citationMetadata": {"citations": [CITED[0]]}}, CITED[:1]),
        ({"citationMetadata": {"citationSources": [CITED[0]]}}, CITED[:1]),
    ],
)
def test_what_an_answer_cites_is_kept(more, cited):
    response = fake.response(fake.candidate("Spain won", **more))

    whole = gemini.parse_answer(fake.body(response))
    streamed = events_of([fake.event(response), fake.event(response)])

    assert list(whole.choices[0].parts[0].citations) == cited
    # Said twice, but new only once.
    assert [
        event.citation for event in streamed if isinstance(event, CitationDelta)
    ] == cited


def test_citations_are_told_in_geminis_words():
    foreign = {
        "type": "url_citation",
        "url": "https://a.example",
        "title": "t",
        "start_index": 1,
        "end_index": 2,
    }
    nowhere = {"type": "char_location", "cited_text": "x"}
    completion = Completion(
        choices=(Choice(parts=(Text(text="a", citations=(foreign, nowhere)),)),)
    )

    told = json.loads(gemini.render_answer(completion, CALL))

    assert told["candidates"][0]["citationMetadata"] == {
        "citationSources": [
            {"uri": "https://a.example", "title": "t", "startIndex": 1, "endIndex": 2}
        ]
    }


LOGPROBS = {
    "chosenCandidates": [{"token": "Hé", "tokenId": 1, "logProbability": -0.5}],
    "topCandidates": [
        {
            "candidates": [
                {"token": "Hé", "logProbability": -0.5},
                {"token": "a", "logProbability": -2.0},
            ]
        }
    ],
}
IN_OPENAIS_FORM = {
    "content": [
        {
            "token": "Hé",
            "logprob": -0.5,
            "bytes": [72, 195, 169],
            "top_logprobs": [
                {"token": "Hé", "logprob": -0.5, "bytes": [72, 195, 169]},
                {"token": "a", "logprob": -2.0, "bytes": [97]},
            ],
        }
    ],
    "refusal": None,
}


def test_log_probabilities_are_told_both_ways():
    response = fake.response(fake.candidate("Hé", logprobsResult=LOGPROBS))
    parsed = gemini.parse_answer(fake.body(response))

    streamed = [
        event.logprobs
        for event in events_of([fake.event(response)])
        if isinstance(event, TextDelta)
    ]
    told = json.loads(gemini.render_answer(parsed, CALL))["candidates"][0][
        "logprobsResult"
    ]

    assert parsed.choices[0].logprobs == IN_OPENAIS_FORM
    assert streamed == [IN_OPENAIS_FORM]
    del LOGPROBS["chosenCandidates"][0]["tokenId"]
    assert told == LOGPROBS


COMPLETION = Completion(
    id="r1",
    model="gpt-x",
    choices=(
        Choice(
            parts=(
                Thinking(text="hm", signature="seal", origin="anthropic"),
                Text(text="Hello"),
                ToolCall(id="c1", name="f", arguments='{"x": 1.0}'),
                ToolCall(id="c2", name="g", arguments=""),
            ),
            finish=Finish.TOOL_CALLS,
        ),
    ),
    usage=USAGE,
)


def test_a_whole_answer_is_told_so_that_googles_sdk_understands_it():
    body = gemini.render_answer(COMPLETION, CALL)

    told = types.GenerateContentResponse.model_validate(json.loads(body))

    assert b'"args":{"x": 1.0}' in body
    assert told.text == "Hello"
    assert [(each.id, each.name, each.args) for each in told.function_calls] == [
        ("c1", "f", {"x": 1}),
        ("c2", "g", {}),
    ]
    assert told.candidates[0].finish_reason is types.FinishReason.STOP
    assert told.candidates[0].content.parts[0].thought
    assert (told.response_id, told.model_version) == ("r1", "gpt-x")
    usage = told.usage_metadata
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (9, 2)
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (5, 3)
    assert usage.total_token_count == 17


def test_a_foreign_seal_survives_googles_sdk():
    body = gemini.render_answer(COMPLETION, CALL)
    answer = types.GenerateContentResponse.model_validate(json.loads(body))

    # As the SDK sends the content back with the next turn.
    content = json.loads(
        answer.candidates[0].content.model_dump_json(exclude_none=True, by_alias=True)
    )
    request = json.dumps({"contents": [content]}).encode()
    read = gemini.parse_request(gemini.read_call("chat", request, "m"))

    assert read.messages[0].parts[0] == Thinking(
        text="hm", signature="seal", origin="anthropic"
    )


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        (Finish.STOP, "STOP"),
        (Finish.STOP_SEQUENCE, "STOP"),
        (Finish.TOOL_CALLS, "STOP"),
        (Finish.LENGTH, "MAX_TOKENS"),
        (Finish.CONTENT_FILTER, "SAFETY"),
        (Finish.REFUSAL, "SAFETY"),
        (Finish.PAUSE, "MAX_TOKENS"),
    ],
)
def test_why_it_ended_is_told_alike_whole_and_streamed(finish, reason):
    whole = gemini.render_answer(Completion(choices=(Choice(finish=finish),)), CALL)
    streamed = told_by([Finished(finish=finish)])

    assert json.loads(whole)["candidates"][0]["finishReason"] == reason
    assert streamed.chunks[-1].candidates[0].finish_reason == reason


def test_arguments_that_are_no_object_are_a_malformed_call():
    part = ToolCall(id="c", name="f", arguments='{"x":')
    whole = gemini.render_answer(
        Completion(choices=(Choice(parts=(part,), finish=Finish.TOOL_CALLS),)), CALL
    )
    streamed = told_by(
        [
            ToolCallStarted(call=0, id="c", name="f"),
            ToolCallDelta(call=0, arguments='{"x":'),
            Finished(finish=Finish.TOOL_CALLS),
        ]
    )

    candidate = json.loads(whole)["candidates"][0]
    assert candidate["finishReason"] == "MALFORMED_FUNCTION_CALL"
    assert candidate["finishMessage"] == 'Malformed function call: f({"x":)'
    assert streamed.chunks[-1].candidates[0].finish_reason == "MALFORMED_FUNCTION_CALL"


def test_refusals_and_pictures_are_told():
    completion = Completion(
        choices=(
            Choice(
                parts=(
                    Refusal("no"),
                    Media(kind="image", media_type="image/png", data="AA=="),
                )
            ),
        )
    )

    parts = json.loads(gemini.render_answer(completion, CALL))["candidates"][0][
        "content"
    ]["parts"]

    assert parts == [
        {"text": "no"},
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
    ]


# As the API itself says it; the sources are beside the files.

DATA = Path(__file__).parent / "data" / "gemini"


def test_the_api_s_own_stream_of_tool_calls_is_read():
    events = events_of([(DATA / "tool_calls.sse").read_bytes()])

    said = folded(events)
    base = "call_q1VxaLz2KeyQ-8YPwv3TsAo"
    seal = "CiQB0e2KexampleOfASignature/AbC+dEf=="
    assert said["thinking"] == {
        0: ("**Choosing the tools**\n\nTwo cities, so two calls.\n\n\n", None)
    }
    assert said["calls"] == {
        (0, 0): [
            f"{base}_0",
            "get_weather",
            '{"city":"Z\\u00fcrich","days":1.0}',
            seal,
        ],
        (0, 1): [f"{base}_1", "get_weather", '{"days":2,"city":"Oslo"}', None],
    }
    assert said["finish"] == {0: Finish.TOOL_CALLS}
    assert said["usage"] == TokenUsage(input=48, output=31, reasoning=53)


def test_the_api_s_own_stream_passes_untouched():
    raw = (DATA / "tool_calls.sse").read_bytes()
    follower = gemini.follow(CALL)

    shown = follower.feed(raw)

    assert shown + follower.ending == raw
    assert follower.usage == TokenUsage(input=48, output=31, reasoning=53)
    assert follower.usage.total_tokens == 132


def test_the_api_s_own_whole_answer_is_read():
    answer = gemini.parse_answer((DATA / "text.json").read_bytes())

    assert answer == Completion(
        id="jYqXadb1IZfPhcIP1cuVwAY",
        model="gemini-3-flash-preview",
        choices=(
            Choice(
                parts=(Text(text="Hello! How can I help you today?"),),
                finish=Finish.STOP,
                signature="CiQBjz1rX94example/Sig+nature=",
            ),
        ),
        usage=TokenUsage(input=2, output=9, reasoning=65),
    )


# Streams.


def told_by(events, call=CALL):
    renderer = gemini.stream_renderer(call)
    shown = [renderer.render([event]) for event in events]
    return SdkStream([*shown, renderer.ending])


def test_a_stream_is_read():
    events = events_of(
        fake.stream_events(
            fake.text("hm", thought=True),
            "Hel",
            "lo",
            fake.function_call("f", {"x": 1}, signature="c2ln"),
            fake.function_call("f", {}),
            fake.text("", signature="ZQ=="),
            usage=fake.usage(9, 5, thoughts=3),
        )
    )

    assert [event for event in events if not isinstance(event, UsageReported)] == [
        Started(id=fake.RESPONSE_ID, model=fake.MODEL),
        ThinkingDelta(text="hm"),
        TextDelta(text="Hel"),
        TextDelta(text="lo"),
        ToolCallStarted(
            call=0, id=f"call_{fake.RESPONSE_ID}_0", name="f", signature="c2ln"
        ),
        ToolCallDelta(call=0, arguments='{"x":1}'),
        ToolCallStarted(call=1, id=f"call_{fake.RESPONSE_ID}_1", name="f"),
        ToolCallDelta(call=1, arguments="{}"),
        TextDelta(text="", signature="ZQ=="),
        Finished(finish=Finish.TOOL_CALLS),
    ]
    assert events[-1] == UsageReported(TokenUsage(input=9, output=5, reasoning=3))


@pytest.mark.parametrize(
    "told",
    [
        fake.event(fake.error(503, "busy", status="UNAVAILABLE")),
        fake.bare_error(code=503, message="busy", status="UNAVAILABLE"),
    ],
)
def test_an_error_in_a_stream_is_a_failure(told):
    for size in (1, 9, 10_000):
        raw = fake.stream_events("a", finish_reason=None)[0] + told
        events = events_of(pieces_of(raw, size))
        assert events[-1] == Failed(message="busy", code="UNAVAILABLE", status=503)


RICH = fake.stream_events(
    fake.text("hm \u2028", thought=True),
    "Hel",
    "lo data: {\n\n",
    fake.function_call("f", {"x": "\r\n\r\n"}, signature="c2ln"),
    fake.function_call("g", {"y": [1, 2.50]}),
    fake.text("", signature="ZQ=="),
    usage=fake.usage(9, 5, thoughts=3, cached=4),
)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_any_chunking_gives_the_same_events(newline):
    raw = b"".join(RICH).replace(b"\r\n", newline)
    whole = events_of([raw])
    dice = random.Random(1)

    for size in (1, 2, 3, 7, 64):
        assert events_of(pieces_of(raw, size)) == whole
    for _ in range(50):
        cuts = sorted(dice.sample(range(len(raw)), 5))
        assert (
            events_of(
                [raw[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
            )
            == whole
        )
    assert len(whole) > 15


@pytest.mark.parametrize("size", [1, 2, 10_000])
def test_a_byte_order_mark_is_no_part_of_the_first_event(size):
    raw = b"\xef\xbb\xbf" + b"".join(RICH)

    assert events_of(pieces_of(raw, size)) == events_of(RICH)


@pytest.mark.parametrize(
    "event", [b": comment\n\n", b"data: [DONE]\n\n", b"data: ping\n\n", b"id: 1\n\n"]
)
def test_what_is_no_answer_object_and_holds_nothing_is_left_out(event):
    assert events_of([RICH[0], event, *RICH[1:]]) == events_of(RICH)


@pytest.mark.parametrize(
    "event",
    [
        b"data: {oops\r\n\r\n",
        b"data: []\r\n\r\n",
        b"<html>busy</html>\r\n\r\n",
        b'data: {"candidate":[]}\r\n\r\n',
        fake.event(fake.response(fake.candidate({"text": 12}))),
        fake.event(fake.response(fake.candidate({"functionCall": {"args": {}}}))),
    ],
)
def test_what_may_be_a_part_of_the_answer_and_cannot_be_read_ends_it(event):
    events = events_of([RICH[0], event])

    assert any(isinstance(each, Failed) for each in events)


def test_parts_of_unknown_types_are_counted():
    parts = [{"somethingNew": {}}, {"executableCode": {"code": "1"}}, fake.text("a")]

    events = events_of([fake.event(fake.response(fake.candidate(*parts)))])

    assert [each for each in events if isinstance(each, Unread)] == [
        Unread("unknown_part")
    ]


parts = st.lists(
    st.one_of(
        st.builds(
            fake.text, st.text(min_size=1, max_size=8), st.none() | st.just("ZQ==")
        ),
        st.builds(fake.text, st.text(min_size=1, max_size=8), thought=st.just(True)),
        st.builds(
            fake.function_call,
            st.from_regex(r"[a-z]{1,5}", fullmatch=True),
            st.dictionaries(
                st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2
            ),
            id=st.none(),
            signature=st.none() | st.just("c2ln"),
        ),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(parts, st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY"]), st.randoms())
def test_streamed_and_whole_say_the_same(parts, reason, dice):
    usage = fake.usage(9, 5, thoughts=2)
    whole = json.dumps(
        fake.response(fake.candidate(*parts, finish_reason=reason), usage=usage)
    ).encode()
    raw = b"".join(fake.stream_events(*parts, finish_reason=reason, usage=usage))
    size = dice.randint(1, 200)

    streamed = folded(events_of(pieces_of(raw, size)))
    said = folded_whole(gemini.parse_answer(whole))

    assert streamed == said


def test_a_stream_cut_at_any_byte_is_an_error_or_complete():
    raw = b"".join(RICH)
    complete = events_of([raw])

    for cut in range(len(raw)):
        stream = TranslatedStream(gemini.stream_parser(), gemini.stream_renderer(CALL))
        stream.feed(raw[:cut])
        stream.flush()
        assert stream.finished(1) == (cut >= len(raw) - 4), cut
        assert not stream.done
        if not stream.finished(1):
            assert stream.usage is None or stream.usage.output is None
    assert Finished(finish=Finish.TOOL_CALLS) in complete


NEUTRAL = [
    Started(id="r1", model="gpt-x"),
    ThinkingDelta(text="h"),
    ThinkingDelta(text="m"),
    ThinkingDelta(signature="seal", origin="anthropic"),
    TextDelta(text="Hel"),
    TextDelta(text=""),
    TextDelta(text="lo \u2028"),
    ToolCallStarted(call=0, id="c1", name="f"),
    ToolCallStarted(call=1, id="c2", name="f", signature="c2ln"),
    ToolCallDelta(call=0, arguments='{"x"'),
    ToolCallDelta(call=1, arguments='{"x":2'),
    ToolCallDelta(call=0, arguments=":1}"),
    ToolCallDelta(call=1, arguments="}"),
    Finished(finish=Finish.TOOL_CALLS),
    UsageReported(USAGE),
]


def test_a_stream_is_told_so_that_googles_sdk_understands_it():
    stream = told_by(NEUTRAL)

    assert stream.error is None
    assert stream.text == "Hello \u2028"
    thoughts = [part for part in stream.parts if part.thought]
    assert "".join(part.text for part in thoughts) == "hm"
    calls = [part.function_call for part in stream.parts if part.function_call]
    assert [(call.id, call.name, call.args) for call in calls] == [
        ("c1", "f", {"x": 1}),
        ("c2", "f", {"x": 2}),
    ]
    last = stream.chunks[-1]
    assert last.candidates[0].finish_reason is types.FinishReason.STOP
    assert last.usage_metadata.total_token_count == 17
    assert {chunk.response_id for chunk in stream.chunks} == {"r1"}
    assert {chunk.model_version for chunk in stream.chunks} == {"gpt-x"}
    # A chat of the SDK throws away a turn with a content that has no parts.
    assert all(chunk.candidates[0].content.parts for chunk in stream.chunks)


def test_the_finish_and_the_usage_wait_for_the_ending():
    renderer = gemini.stream_renderer(CALL)

    shown = renderer.render(NEUTRAL)

    assert b"finishReason" not in shown
    assert b"usageMetadata" not in shown
    assert renderer.ending.count(b"finishReason") == 1
    assert renderer.ending is renderer.ending


def test_what_is_told_is_read_as_it_was():
    renderer = gemini.stream_renderer(CALL)

    events = events_of([renderer.render(NEUTRAL), renderer.ending])

    expected = folded(NEUTRAL)
    expected["thinking"] = {0: ("hm", "seal")}
    assert folded(events) == expected


def test_several_candidates_are_told_apart():
    stream = told_by(
        [
            TextDelta(text="a", choice=1),
            TextDelta(text="b"),
            Finished(finish=Finish.STOP, choice=1),
            Finished(finish=Finish.LENGTH),
        ]
    )

    assert [chunk.candidates[0].index for chunk in stream.chunks] == [1, 0, 0]
    assert [each.finish_reason for each in stream.chunks[-1].candidates] == [
        "MAX_TOKENS",
        "STOP",
    ]


def test_the_rarer_events_are_told():
    stream = told_by(
        [
            TextDelta(text="Hé", logprobs=IN_OPENAIS_FORM),
            TextDelta(text="x", signature="ZQ=="),
            RefusalDelta(text="no"),
            CitationDelta(citation={"url": "https://a.example"}),
            ThinkingDelta(redacted="opaque", origin="anthropic"),
            Finished(finish=Finish.STOP),
        ]
    )

    assert (
        stream.chunks[0].candidates[0].logprobs_result.chosen_candidates[0].token
        == "Hé"
    )
    assert stream.chunks[1].candidates[0].content.parts[0].thought_signature == b"e"
    assert stream.text == "Héxno"
    cited = stream.chunks[-1].candidates[0].citation_metadata.citations
    assert [each.uri for each in cited] == ["https://a.example"]
    seal = base64.b64encode(
        stream.chunks[3].candidates[0].content.parts[0].thought_signature
    )
    assert signatures.unwrap(seal.decode(), "gemini") == (
        "anthropic+redacted",
        "opaque",
    )


def test_a_stream_without_a_word_of_the_model_is_told_in_the_clients():
    stream = told_by([TextDelta(text="a"), Finished(finish=Finish.STOP)])

    assert {chunk.model_version for chunk in stream.chunks} == {"m"}


@st.composite
def interleaved(draw):
    """Calls whose arguments come in pieces, in any order between the calls."""
    arguments = draw(
        st.lists(
            st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
            min_size=1,
            max_size=4,
        )
    )
    texts = [json.dumps(each) for each in arguments]
    queues = []
    for at, text in enumerate(texts):
        cut = draw(st.integers(0, len(text)))
        queues.append(
            [
                ToolCallStarted(call=at, id=f"c{at}", name="f"),
                ToolCallDelta(call=at, arguments=text[:cut]),
                ToolCallDelta(call=at, arguments=text[cut:]),
            ]
        )
    events = []
    while any(queues):
        queue = draw(st.sampled_from([queue for queue in queues if queue]))
        events.append(queue.pop(0))
    return arguments, [*events, Finished(finish=Finish.TOOL_CALLS)]


@settings(max_examples=60, deadline=None)
@given(interleaved())
def test_calls_come_whole_however_they_were_interleaved(made):
    arguments, events = made
    renderer = gemini.stream_renderer(CALL)

    shown = renderer.render(events) + renderer.ending

    read = folded(events_of([shown]))["calls"]
    assert [json.loads(call[2]) for _, call in sorted(read.items())] == arguments


# Embeddings and counts.


def embed(body, operation="embeddings"):
    return gemini.read_call(operation, json.dumps(body).encode(), "e")


def test_one_text_is_embedded():
    request = gemini.parse_embeddings_request(
        embed(
            {
                "model": "models/e",
                "content": {"parts": [{"text": "a"}, {"text": "b"}]},
                "task_type": "RETRIEVAL_QUERY",
                "outputDimensionality": 8,
                "title": "t",
            }
        )
    )

    assert request == EmbeddingsRequest(
        inputs=("ab",), dimensions=8, unknown=("title", "taskType")
    )


def test_several_texts_are_embedded():
    one = {"model": "models/e", "outputDimensionality": 8}
    call = embed(
        {
            "requests": [
                {**one, "content": {"parts": [{"text": text}]}} for text in "ab"
            ]
        },
        "batch_embeddings",
    )

    assert gemini.parse_embeddings_request(call) == EmbeddingsRequest(
        inputs=("a", "b"), dimensions=8
    )


@pytest.mark.parametrize(
    "requests",
    [
        [],
        [{}],
        [{"content": {"parts": [{"inlineData": {}}]}}],
        [
            {"content": {"parts": [{"text": "a"}]}, "taskType": "RETRIEVAL_QUERY"},
            {"content": {"parts": [{"text": "b"}]}},
        ],
    ],
)
def test_what_cannot_be_embedded_elsewhere_is_refused(requests):
    with pytest.raises(BadRequest):
        gemini.parse_embeddings_request(
            embed({"requests": requests}, "batch_embeddings")
        )


@pytest.mark.parametrize("inputs", [("a",), ("a", "b")])
def test_embeddings_are_asked_for_one_by_one_or_as_a_batch(inputs):
    request = EmbeddingsRequest(inputs=inputs, dimensions=4)

    body = gemini.render_embeddings_request(
        request, Model(name="gemini-embedding-001")
    ).body

    assert gemini.is_batch(body) == (len(inputs) > 1)
    call = gemini.read_call("embeddings", body, "models/gemini-embedding-001")
    assert gemini.parse_embeddings_request(call) == request


def test_vectors_are_read_and_told():
    one = gemini.parse_embeddings(fake.embedding((0.5, 1.0), prompt=3))
    two = gemini.parse_embeddings(fake.batch_embeddings((0.5,), (1.0,)))

    assert one == Embeddings(vectors=((0.5, 1.0),), usage=TokenUsage(input=3))
    assert two == Embeddings(vectors=((0.5,), (1.0,)))
    single = gemini.render_embeddings(one, embed({"content": {}}))
    batch = gemini.render_embeddings(two, embed({"requests": []}, "batch_embeddings"))
    assert gemini.parse_embeddings(single) == one
    assert gemini.parse_embeddings(batch) == two
    assert types.EmbedContentResponse.model_validate(json.loads(batch)).embeddings[
        1
    ].values == [1.0]
    with pytest.raises(msgspec.ValidationError):
        gemini.parse_embeddings(b"{}")


def test_counts_are_read_and_told():
    assert gemini.parse_count(fake.count(31)) == 31
    assert gemini.parse_count(gemini.render_count(5)) == 5
    with pytest.raises(UNREADABLE):
        gemini.parse_count(b'{"error":{}}')


def test_a_chat_of_googles_sdk_keeps_a_translated_turn_in_its_history():
    renderer = gemini.stream_renderer(CALL)
    shown = renderer.render(NEUTRAL) + renderer.ending

    history = sdk_chat_history(shown)

    assert [content.role for content in history] == [
        "user",
        *["model"] * (len(history) - 1),
    ]
    sent = json.dumps(
        {
            "contents": [
                content.model_dump(mode="json", exclude_none=True)
                for content in history
            ]
        }
    )
    read = gemini.parse_request(gemini.read_call("chat", sent.encode(), "m"))
    parts = [part for message in read.messages for part in message.parts]
    assert Thinking(text="", signature="seal", origin="anthropic") in parts
    assert ToolCall(id="c1", name="f", arguments='{"x":1}') in [
        ToolCall(id=part.id, name=part.name, arguments=part.arguments.replace(" ", ""))
        for part in parts
        if isinstance(part, ToolCall)
    ]


def test_counting_tokens_costs_none():
    answer = gemini.read_answer("count_tokens", b'{"totalTokens":31}')

    assert answer.usage == TokenUsage(input=0, output=0)


def test_an_upstream_that_embeds_nothing_has_not_answered():
    call = embed({"content": {"parts": [{"text": "a"}]}})

    with pytest.raises(UNREADABLE):
        translate_answer(call, b'{"data":[]}', spoken=openai, source=gemini)
