"""What holds of every request and every answer of OpenAI's, translated."""

import contextlib
import itertools
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming._deltas import accumulate_delta

from gandalf.dialects import openai
from gandalf.dialects.conversation import (
    Choice,
    CitationDelta,
    Completion,
    Ended,
    Finish,
    Finished,
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
    UsageReported,
)
from gandalf.dialects.registry import OPENAI
from gandalf.dialects.translation import TranslatedStream, translate_request
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model
from gandalf.domain.usage import TokenUsage
from tests.fakes.openai_format import chat_events

MODEL = Model(name="some-model")
WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
NAMES = st.text("abcdef_", min_size=1, max_size=6)
COUNTS = st.integers(0, 10_000)


def optional(**fields):
    return st.fixed_dictionaries({}, optional=fields)


# Requests. What follows is written as this dialect itself would write it.

TEXT_PARTS = st.builds(lambda text: {"type": "text", "text": text}, WORDS)
IMAGES = st.builds(
    lambda url, detail: {"type": "image_url", "image_url": {"url": url, **detail}},
    st.sampled_from(["https://x/y.png", "data:image/png;base64,iVBORw0K"]),
    st.sampled_from([{}, {"detail": "low"}, {"detail": "high"}]),
)
FILES = st.builds(
    lambda name: {
        "type": "file",
        "file": {"filename": name, "file_data": "data:application/pdf;base64,JVBERi0x"},
    },
    WORDS,
)
SOUNDS = st.builds(
    lambda form: {
        "type": "input_audio",
        "input_audio": {"data": "UklG", "format": form},
    },
    st.sampled_from(["wav", "mp3"]),
)
CONTENTS = WORDS | st.lists(
    TEXT_PARTS | IMAGES | FILES | SOUNDS, min_size=2, max_size=4
)
SPOKEN = st.builds(
    lambda role, content, name: {"role": role, "content": content, **name},
    st.just("user"),
    CONTENTS,
    optional(name=NAMES),
)
TOLD = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["system", "developer"]),
    WORDS | st.lists(TEXT_PARTS, min_size=2, max_size=3),
)
ANSWERED = st.builds(lambda content: {"role": "assistant", "content": content}, WORDS)
SCHEMAS = st.sampled_from(
    [
        {},
        {"type": "object"},
        {"type": "object", "properties": {"a": {"type": "string"}}},
    ]
)


@st.composite
def turns_with_calls(draw):
    ids = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    calls = [
        {
            "id": call_id,
            "type": "function",
            "function": {
                "name": draw(NAMES),
                "arguments": draw(st.sampled_from(["{}", '{"a": 1.0}'])),
            },
        }
        for call_id in ids
    ]
    asked = {
        "role": "assistant",
        "content": draw(st.none() | WORDS),
        "tool_calls": calls,
    }
    results = [
        {"role": "tool", "tool_call_id": call_id, "content": draw(WORDS)}
        for call_id in ids
    ]
    return [asked, *results]


MESSAGES = st.lists(
    st.lists(SPOKEN | TOLD | ANSWERED, min_size=1, max_size=2) | turns_with_calls(),
    min_size=1,
    max_size=5,
).map(lambda turns: [message for turn in turns for message in turn])
TOOLS = st.lists(
    st.builds(
        lambda function: {"type": "function", "function": function},
        st.builds(
            lambda name, rest: {"name": name, **rest},
            NAMES,
            optional(description=WORDS, parameters=SCHEMAS, strict=st.booleans()),
        ),
    ),
    min_size=1,
    max_size=3,
)
TOOL_FIELDS = st.builds(
    lambda tools, rest: {"tools": tools, **rest},
    TOOLS,
    optional(
        tool_choice=st.sampled_from(["auto", "none", "required"])
        | st.builds(lambda n: {"type": "function", "function": {"name": n}}, NAMES),
        parallel_tool_calls=st.booleans(),
    ),
)
WISHES = optional(
    response_format=st.builds(
        lambda form: {"type": "json_schema", "json_schema": form},
        st.builds(
            lambda name, schema, rest: {"name": name, "schema": schema, **rest},
            NAMES,
            SCHEMAS,
            optional(description=WORDS, strict=st.booleans()),
        ),
    ),
    reasoning_effort=st.sampled_from(["none", "minimal", "low", "medium", "high"]),
    max_tokens=st.integers(1, 9999),
    temperature=st.floats(0, 2),
    top_p=st.floats(0, 1),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    logit_bias=st.dictionaries(NAMES, st.integers(-100, 100), min_size=1, max_size=2),
    stop=st.lists(WORDS, min_size=1, max_size=4),
    seed=st.integers(-(2**31), 2**31),
    n=st.integers(2, 5),
    user=WORDS,
    service_tier=st.sampled_from(["auto", "default", "flex", "priority"]),
)
BODIES = st.builds(
    lambda messages, tools, wishes: {
        "model": "some-model",
        "messages": messages,
        **tools,
        **wishes,
    },
    MESSAGES,
    st.just({}) | TOOL_FIELDS,
    WISHES,
)
# Beyond what comes back the same: other ways to say it, and what is lost on the way.
EXTRAS = optional(
    max_completion_tokens=st.integers(1, 99),
    thinking=st.sampled_from(
        [{"type": "disabled"}, {"type": "enabled", "budget_tokens": 9}]
    ),
    store=st.booleans(),
    top_k=COUNTS,
    metadata=st.dictionaries(NAMES, WORDS, max_size=2),
    stream_options=st.sampled_from([None, {"include_usage": True}]),
)


def conversation_of(body):
    call = openai.read_call("chat", json.dumps(body).encode())
    return openai.parse_request(call)


@given(BODIES)
def test_a_request_is_the_same_after_a_round(body):
    conversation = conversation_of(body)

    rendered = openai.render_request(conversation, MODEL)

    assert json.loads(rendered.body) == body
    assert (rendered.approximated, rendered.dropped) == (frozenset(), frozenset())
    assert conversation_of(json.loads(rendered.body)) == conversation
    assert conversation.unknown == ()


@given(BODIES)
def test_the_same_conversation_gives_the_same_bytes(body):
    first = openai.render_request(conversation_of(body), MODEL)
    second = openai.render_request(conversation_of(body), MODEL)

    assert first.body == second.body


@given(BODIES, EXTRAS)
def test_a_second_round_changes_nothing_more(body, extras):
    once = openai.render_request(conversation_of(body | extras), MODEL).body

    twice = openai.render_request(conversation_of(json.loads(once)), MODEL).body

    assert twice == once


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from(["", "text", "auto"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "text",
                    "role",
                    "content",
                    "function",
                    "name",
                    "google",
                    "thinking_config",
                    "allowed_tools",
                    "tools",
                    "image_url",
                    "url",
                    "cache_control",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [*msgspec.structs.asdict(openai.request_parser.wire.Chat(model="m", messages=[]))]
)


@given(BODIES, st.dictionaries(FIELDS, JSON, max_size=3))
def test_whatever_is_sent_is_parsed_or_refused(body, changes):
    body = body | changes

    with contextlib.suppress(BadRequest):
        openai.render_request(conversation_of(body), MODEL)


# Answers.

USAGES = st.builds(
    TokenUsage,
    input=COUNTS,
    cache_read=COUNTS,
    cache_write=st.none() | COUNTS,
    output=COUNTS,
    reasoning=st.none() | COUNTS,
)
SEALED = st.builds(
    Thinking,
    text=WORDS,
    signature=WORDS,
    origin=st.sampled_from(["anthropic", "other"]),
) | st.builds(Thinking, redacted=WORDS, origin=st.sampled_from(["anthropic", "other"]))
THOUGHTS = st.lists(SEALED, max_size=3) | st.builds(
    lambda text: [Thinking(text=text)], WORDS
)
NOTES = st.builds(
    lambda url: {
        "type": "url_citation",
        "url_citation": {"start_index": 0, "end_index": 1, "title": "t", "url": url},
    },
    WORDS,
)
TEXTS = st.builds(Text, text=WORDS, citations=st.lists(NOTES, max_size=2).map(tuple))


@st.composite
def choices(draw):
    ids = draw(st.lists(NAMES, max_size=3, unique=True))
    calls = [
        ToolCall(
            id=call_id,
            name=draw(NAMES),
            arguments=draw(st.sampled_from(["{}", '{"a": 1.0}'])),
            signature=draw(st.none() | WORDS),
        )
        for call_id in ids
    ]
    refusal = draw(st.lists(WORDS.map(Refusal), max_size=1))
    finish = (
        Finish.TOOL_CALLS
        if calls
        else draw(st.sampled_from([Finish.STOP, Finish.LENGTH]))
    )
    return Choice(
        parts=(
            *draw(THOUGHTS),
            *draw(st.lists(TEXTS, max_size=1)),
            *refusal,
            *calls,
        ),
        finish=Finish.REFUSAL if refusal and finish is Finish.STOP else finish,
        signature=draw(st.none() | WORDS),
    )


COMPLETIONS = st.builds(
    Completion,
    id=NAMES,
    model=NAMES,
    created=st.integers(1, 2**31),
    choices=st.lists(choices(), min_size=1, max_size=2).map(tuple),
    usage=USAGES,
)
CALL = openai.read_call(
    "chat",
    b'{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}',
)


def in_pieces(text):
    middle = len(text) // 2
    return [piece for piece in (text[:middle], text[middle:]) if piece]


def events_of(completion):
    """The completion as an upstream would stream it."""
    yield Started(id=completion.id, model=completion.model, created=completion.created)
    for index, choice in enumerate(completion.choices):
        number = 0
        for part in choice.parts:
            if isinstance(part, Thinking):
                yield from thinking_events(part, index)
            elif isinstance(part, Text):
                for piece in in_pieces(part.text):
                    yield TextDelta(text=piece, choice=index)
                for note in part.citations:
                    yield CitationDelta(citation=note, choice=index)
            elif isinstance(part, Refusal):
                yield RefusalDelta(text=part.text, choice=index)
            elif isinstance(part, ToolCall):
                yield from call_events(part, index, number)
                number += 1
        if choice.signature:
            yield TextDelta(text="", signature=choice.signature, choice=index)
        yield Finished(finish=choice.finish, choice=index)
    yield UsageReported(completion.usage)


def thinking_events(part, index):
    for piece in in_pieces(part.text):
        yield ThinkingDelta(text=piece, choice=index)
    if part.signature or part.redacted:
        yield ThinkingDelta(
            signature=part.signature,
            redacted=part.redacted,
            origin=part.origin,
            choice=index,
        )


def call_events(part, index, number):
    yield ToolCallStarted(
        call=number, id=part.id, name=part.name, signature=part.signature, choice=index
    )
    for piece in in_pieces(part.arguments):
        yield ToolCallDelta(call=number, arguments=piece, choice=index)


def streamed(completion):
    renderer = openai.stream_renderer(CALL)
    return renderer.render(list(events_of(completion))) + renderer.ending


def joined(stream):
    """The answer as a client joins it, without what only streams have."""
    body = {"choices": {}}
    for block in stream.split(b"\n\n"):
        data = block.removeprefix(b"data: ")
        if data in (b"", b"[DONE]"):
            continue
        chunk = json.loads(data)
        body |= {k: chunk[k] for k in ("id", "created", "model", "usage") if k in chunk}
        for choice in chunk["choices"]:
            kept = body["choices"].setdefault(choice["index"], {"message": {}})
            kept["message"] = accumulate_delta(kept["message"], choice["delta"])
            kept["finish_reason"] = choice["finish_reason"]
    return body


def plain(message):
    """A message in an order and with the indices that do not matter left out."""
    plain = {name: value for name, value in message.items() if value not in (None, "")}
    for name in ("thinking_blocks", "reasoning_details", "annotations", "tool_calls"):
        for entry in plain.get(name, ()):
            entry.pop("index", None)
    details = plain.get("reasoning_details", [])
    details.sort(key=lambda detail: json.dumps(detail, sort_keys=True))
    return plain


@given(COMPLETIONS)
def test_an_answer_is_the_same_after_a_round(completion):
    parsed = openai.parse_answer(openai.render_answer(completion, CALL))

    assert parsed == completion


@given(COMPLETIONS)
def test_streamed_and_whole_answers_say_the_same(completion):
    whole = json.loads(openai.render_answer(completion, CALL))
    stream = joined(streamed(completion))

    for name in ("id", "created", "model", "usage"):
        assert stream[name] == whole[name]
    for choice in whole["choices"]:
        other = stream["choices"][choice["index"]]
        assert plain(other["message"]) == plain(
            without_signature_of_text(choice["message"])
        )
        assert other["finish_reason"] == choice["finish_reason"]


def without_signature_of_text(message):
    """In a stream it would open another thought; there it has ``extra_content`` alone."""
    details = [
        detail
        for detail in message.pop("reasoning_details", ())
        if "id" in detail or not detail["format"].startswith("google")
    ]
    return message | ({"reasoning_details": details} if details else {})


@given(COMPLETIONS, st.lists(st.integers(0, 5000), max_size=12))
def test_a_stream_is_the_same_after_a_round_in_any_chunking(completion, cuts):
    stream = streamed(completion)
    parser = openai.stream_parser()
    renderer = openai.stream_renderer(CALL)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    events, again = [], b""
    for start, end in itertools.pairwise(edges):
        new = list(parser.feed(stream[start:end]))
        events += new
        again += renderer.render([e for e in new if not isinstance(e, Ended)])

    assert events[-1] == Ended()
    first, second = joined(stream), joined(again + renderer.ending)
    assert second["usage"] == first["usage"]
    for index, choice in first["choices"].items():
        assert second["choices"][index]["finish_reason"] == choice["finish_reason"]
        assert plain(second["choices"][index]["message"]) == plain(choice["message"])


# Through the engine, with this dialect on both sides.


def through_engine(body, *, strict=False):
    call = openai.read_call("chat", json.dumps(body).encode())
    return translate_request(call, OPENAI, MODEL, source=OPENAI, strict=strict)


LOSSY = {
    "model": "m",
    "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "y"},
    ],
    "top_k": 5,
    "store": True,
    "reasoning_effort": "high",
    "thinking": {"type": "enabled", "budget_tokens": 9},
}


def test_what_is_lost_is_told_in_the_clients_words():
    translated = through_engine(LOSSY)

    assert translated.dropped == ("top_k", "store")
    assert translated.approximated == ("messages",)
    assert json.loads(translated.body) == {
        "model": "some-model",
        "messages": LOSSY["messages"],
        "reasoning_effort": "high",
    }


def test_a_strict_request_loses_nothing():
    with pytest.raises(BadRequest) as refused:
        through_engine(LOSSY, strict=True)

    assert refused.value.param == "top_k"


def test_what_another_provider_cannot_have_is_refused():
    part = {"type": "file", "file": {"file_id": "file-1"}}
    body = {"model": "m", "messages": [{"role": "user", "content": [part]}]}

    with pytest.raises(BadRequest) as refused:
        through_engine(body)

    assert refused.value.param == "messages.content.file.file_id"


def test_no_prefix_of_a_translated_stream_passes_for_the_whole():
    whole = b"".join(chat_events("Hello", " there"))
    finished_at = whole.index(b'"finish_reason": "stop"')
    for cut in range(len(whole)):
        stream = TranslatedStream(openai.stream_parser(), openai.stream_renderer(CALL))

        stream.feed(whole[:cut])
        stream.flush()

        assert not stream.done or cut >= len(whole) - 2
        assert not stream.finished(1) or cut > finished_at
