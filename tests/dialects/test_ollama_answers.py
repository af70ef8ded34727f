"""Ollama's answers and streams, to and from the neutral model."""

import itertools
import json
import re
from pathlib import Path

import httpx
import ollama as sdk
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.dialects import ollama
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import (
    Choice,
    CitationDelta,
    Completion,
    Embeddings,
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
    UsageReported,
)
from gandalf.dialects.translation import TranslatedStream
from gandalf.domain.usage import TokenUsage
from tests.fakes import ollama_format as fmt

DATA = Path(__file__).parent / "data" / "ollama"

CHAT = ollama.read_call("chat", b'{"model":"m","messages":[{"role":"user"}]}')
GENERATE = ollama.read_call("generate", b'{"model":"m","prompt":"x"}')
EMBED = ollama.read_call("embeddings", b'{"model":"m","input":"x"}')
LEGACY_EMBED = ollama.read_call("legacy_embeddings", b'{"model":"m","prompt":"x"}')


# Whole answers, from Ollama.


def test_reads_the_answers_of_the_documentation():
    chat = ollama.parse_answer((DATA / "chat_answer.json").read_bytes())
    formatted = ollama.parse_answer((DATA / "generate_format_answer.json").read_bytes())

    assert chat == Completion(
        model="gemma3",
        created=1_760_742_847,
        choices=(
            Choice(
                parts=(Text(text="Hello! How can I help you today?"),),
                finish=Finish.STOP,
            ),
        ),
        usage=TokenUsage(input=11, output=18),
    )
    assert json.loads(formatted.choices[0].parts[0].text) == {
        "age": 22,
        "available": True,
    }


def test_a_call_of_a_tool_has_an_id_and_is_why_the_answer_stopped():
    body = (DATA / "chat_tools_answer.json").read_bytes()

    choice = ollama.parse_answer(body).choices[0]

    (call,) = choice.parts
    assert (call.name, json.loads(call.arguments)) == (
        "get_current_weather",
        {"format": "celsius", "location": "Paris, FR"},
    )
    assert re.fullmatch(r"call_[0-9a-f]{24}", call.id)
    assert choice.finish is Finish.TOOL_CALLS
    assert ollama.parse_answer(body).choices[0] == choice


def test_equal_calls_side_by_side_and_in_two_turns_have_ids_of_their_own():
    calls = [fmt.tool_call("f", {"a": 1}), fmt.tool_call("f", {"a": 1})]
    later = fmt.chat("", tool_calls=calls).replace(b"23:14:07", b"23:14:08")

    first = ollama.parse_answer(fmt.chat("", tool_calls=calls)).choices[0].parts
    second = ollama.parse_answer(later).choices[0].parts

    assert len({call.id for call in (*first, *second)}) == 4


def test_an_id_of_the_servers_is_kept():
    answer = fmt.chat("", tool_calls=[fmt.tool_call("f", id="call_x")])

    assert ollama.parse_answer(answer).choices[0].parts[0].id == "call_x"


def test_arguments_as_text_are_read_too():
    call = {"function": {"name": "f", "arguments": '{"a":1}'}}

    part = ollama.parse_answer(fmt.chat("", tool_calls=[call])).choices[0].parts[0]

    assert part.arguments == '{"a":1}'


def test_thinking_comes_before_what_is_said():
    parts = ollama.parse_answer(fmt.chat("yes", thinking="hm")).choices[0].parts

    assert parts == (Thinking(text="hm"), Text(text="yes"))
    assert ollama.parse_answer(fmt.generation("yes", thinking="hm")).choices[
        0
    ].parts == (Thinking(text="hm"), Text(text="yes"))


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", Finish.STOP),
        (None, Finish.STOP),
        ("length", Finish.LENGTH),
        ("content_filter", Finish.CONTENT_FILTER),
    ],
)
def test_reads_why_it_stopped(reason, finish):
    answer = ollama.parse_answer(fmt.chat(done_reason=reason))

    assert answer.choices[0].finish is finish


def test_log_probabilities_are_in_openais_form():
    logprob = {"token": "a", "logprob": -0.5, "bytes": [97]}
    body = fmt.chat(logprobs=[logprob | {"top_logprobs": [logprob]}])

    choice = ollama.parse_answer(body).choices[0]

    assert choice.logprobs == {
        "content": [logprob | {"top_logprobs": [logprob]}],
        "refusal": None,
    }
    rendered = json.loads(ollama.render_answer(Completion(choices=(choice,)), CHAT))
    assert rendered["logprobs"] == [logprob | {"top_logprobs": [logprob]}]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b"[" * 100_000])
def test_what_is_no_answer_is_unreadable(body):
    with pytest.raises(UNREADABLE):
        ollama.parse_answer(body)


# Whole answers, to a client of Ollama's.


def completion(*parts, finish=Finish.STOP, **fields):
    choice = Choice(parts=parts, finish=finish)
    return Completion(model="up", created=1, choices=(choice,), **fields)


def test_renders_an_answer_with_everything():
    answer = completion(
        Thinking(text="hm", signature="s"),
        Text(text="I "),
        Text(text="see"),
        ToolCall(id="a", name="f", arguments='{"z": 1.50}'),
        ToolCall(id="b", name="f", arguments=""),
        finish=Finish.TOOL_CALLS,
        usage=TokenUsage(input=5, cache_read=2, output=3, reasoning=4),
    )

    body = ollama.render_answer(answer, CHAT)

    assert json.loads(body) == {
        "model": "up",
        "created_at": "1970-01-01T00:00:01Z",
        "message": {
            "role": "assistant",
            "content": "I see",
            "thinking": "hm",
            "tool_calls": [
                {
                    "id": "a",
                    "function": {"index": 0, "name": "f", "arguments": {"z": 1.5}},
                },
                {"id": "b", "function": {"index": 1, "name": "f", "arguments": {}}},
            ],
        },
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 7,
        "prompt_eval_cached_count": 2,
        "eval_count": 7,
    }
    assert b'{"z": 1.50}' in body


def test_renders_a_generation():
    answer = completion(Thinking(text="hm"), Text(text="yes"), finish=Finish.LENGTH)

    assert json.loads(ollama.render_answer(answer, GENERATE)) == {
        "model": "up",
        "created_at": "1970-01-01T00:00:01Z",
        "response": "yes",
        "thinking": "hm",
        "done": True,
        "done_reason": "length",
    }


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        (None, "stop"),
        (Finish.STOP, "stop"),
        (Finish.STOP_SEQUENCE, "stop"),
        (Finish.TOOL_CALLS, "stop"),
        (Finish.LENGTH, "length"),
        (Finish.CONTENT_FILTER, "content_filter"),
        (Finish.REFUSAL, "refusal"),
    ],
)
def test_says_why_it_stopped(finish, reason):
    body = json.loads(ollama.render_answer(completion(finish=finish), CHAT))

    assert body["done_reason"] == reason


def test_an_answer_says_a_time_though_its_provider_does_not():
    body = json.loads(ollama.render_answer(Completion(), CHAT))

    assert body["model"] == "m"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", body["created_at"])


def test_a_refusal_and_a_broken_call_are_told_as_text():
    refused = completion(Refusal("I will not"), finish=Finish.REFUSAL)
    broken = completion(ToolCall(id="a", name="f", arguments='{"a":'))

    assert message_of(ollama.render_answer(refused, CHAT))["content"] == "I will not"
    assert message_of(ollama.render_answer(broken, CHAT)) == {
        "role": "assistant",
        "content": 'f({"a":)',
    }


def message_of(body):
    return json.loads(body)["message"]


def test_an_image_is_an_image():
    answer = completion(Media(kind="image", data="iVBORw0KGgo", media_type="image/png"))

    assert message_of(ollama.render_answer(answer, CHAT))["images"] == ["iVBORw0KGgo"]
    parsed = ollama.parse_answer(ollama.render_answer(answer, CHAT))
    assert parsed.choices[0].parts == answer.choices[0].parts
    generated = json.loads(ollama.render_answer(answer, GENERATE))
    assert generated["image"] == "iVBORw0KGgo"


def test_the_sdk_reads_a_rendered_answer():
    answer = completion(
        Text(text="yes"), ToolCall(id="a", name="f", arguments='{"a":1}')
    )

    chat = sdk.ChatResponse(**json.loads(ollama.render_answer(answer, CHAT)))
    text = sdk.GenerateResponse(**json.loads(ollama.render_answer(answer, GENERATE)))

    assert chat.message.tool_calls[0].function.arguments == {"a": 1}
    assert (text.response, text.done) == ("yes", True)


# Streams, from Ollama.


def parse(chunks):
    parser = ollama.stream_parser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return [*events, *parser.flush()]


def byte_by_byte(data):
    return [bytes([byte]) for byte in data]


CALLS = [fmt.tool_call("f", {"a": "é\u2028"}), fmt.tool_call("f", {"b": [1, 1.5]})]


def test_reads_a_stream_with_everything():
    lines = fmt.chat_lines(
        "Hel",
        "lo",
        thinking=["hm"],
        tool_calls=CALLS,
        counts=fmt.metrics(12, 3, cached=5),
    )

    events = parse(lines)

    calls = [event for event in events if isinstance(event, ToolCallStarted)]
    assert events == [
        Started(model="llama3.2", created=fmt.CREATED),
        ThinkingDelta(text="hm"),
        TextDelta(text="Hel"),
        TextDelta(text="lo"),
        ToolCallStarted(call=0, id=calls[0].id, name="f"),
        ToolCallDelta(call=0, arguments='{"a":"é\u2028"}'),
        ToolCallStarted(call=1, id=calls[1].id, name="f"),
        ToolCallDelta(call=1, arguments='{"b":[1,1.5]}'),
        Finished(finish=Finish.TOOL_CALLS),
        UsageReported(TokenUsage(input=7, cache_read=5, output=3)),
        Ended(),
    ]
    assert calls[0].id != calls[1].id


def test_reads_the_streams_of_the_documentation():
    whole = parse([(DATA / "generate_stream.ndjson").read_bytes()])
    failed = parse([(DATA / "generate_error.ndjson").read_bytes()])

    texts = [event.text for event in whole if isinstance(event, TextDelta)]
    assert "".join(texts) == "That's a fantastic question!"
    assert whole[-2:] == [Finished(finish=Finish.STOP), Ended()]
    assert failed[-1] == Failed(
        message="an error was encountered while running the model"
    )
    assert Ended() not in failed


def test_log_probabilities_come_with_their_text():
    logprob = {"token": "a", "logprob": -0.5}
    lines = [fmt.line(fmt.piece("a") | {"logprobs": [logprob]})]

    delta = parse(lines)[1]

    assert delta.text == "a"
    assert delta.logprobs["content"][0]["token"] == "a"


RECORDED = [
    b"".join(fmt.chat_lines("Hel", "lo", thinking=["a", "b"], tool_calls=CALLS)),
    b"".join(fmt.chat_lines("Hel", "lo", end=b"\r\n")),
    b"\n \n".join(fmt.chat_lines("é\u2028", "", "\x85")),
    b"".join(fmt.generate_lines("a", "b")),
    (DATA / "generate_stream.ndjson").read_bytes(),
    (DATA / "generate_error.ndjson").read_bytes(),
    b'{"message":{"content":"a"},"done":false}\n<html>\n' + b"".join(fmt.chat_lines()),
    b"".join(fmt.chat_lines()) + b"".join(fmt.chat_lines()),
]


@given(st.sampled_from(RECORDED), st.data())
def test_any_chunking_of_a_stream_gives_the_same_events(recorded, data):
    cuts = data.draw(st.lists(st.integers(0, len(recorded))))
    edges = [0, *sorted(cuts), len(recorded)]

    expected = parse([recorded])

    assert parse([recorded[a:b] for a, b in itertools.pairwise(edges)]) == expected
    assert parse(byte_by_byte(recorded)) == expected


@pytest.mark.parametrize("recorded", RECORDED[:5])
def test_a_stream_cut_anywhere_is_whole_or_has_no_end(recorded):
    whole = parse([recorded])

    for at in range(len(recorded)):
        events = parse([recorded[:at]])
        complete = recorded[:at].strip() == recorded.strip()
        assert (Ended() in events) == complete
        assert events == whole[: len(events)]


def test_what_is_no_json_fails_the_stream_instead_of_making_it_short():
    events = parse([RECORDED[6]])

    assert isinstance(events[-1], Failed)
    assert Ended() not in events


@given(st.binary(max_size=120))
def test_no_bytes_make_the_parser_or_the_follower_raise(data):
    parse([data])
    stream = ollama.follow(CHAT)
    stream.feed(data)
    stream.flush()


# Streams, to a client of Ollama's.


def render(events, call=CHAT, size=None):
    renderer = ollama.stream_renderer(call)
    size = size or len(events) or 1
    groups = [events[i : i + size] for i in range(0, len(events), size)]
    return b"".join([*map(renderer.render, groups), renderer.ending])


EVENTS = [
    Started(model="up", created=1),
    ThinkingDelta(text="hm"),
    ThinkingDelta(signature="s"),
    TextDelta(text="Hel"),
    TextDelta(text="lo\u2028"),
    CitationDelta(citation={}),
    ToolCallStarted(call=0, id="a", name="f"),
    ToolCallDelta(call=0, arguments='{"x":\n'),
    ToolCallStarted(call=1, id="b", name="g"),
    ToolCallDelta(call=0, arguments="1.50}"),
    Finished(finish=Finish.TOOL_CALLS),
    UsageReported(TokenUsage(input=5, output=3)),
]


def test_renders_a_stream_with_everything():
    stream = render(EVENTS)

    frame = {"model": "up", "created_at": "1970-01-01T00:00:01Z"}
    assert [json.loads(line) for line in stream.splitlines()] == [
        {
            **frame,
            "message": {"role": "assistant", "content": "", "thinking": "hm"},
            "done": False,
        },
        {**frame, "message": {"role": "assistant", "content": "Hel"}, "done": False},
        {
            **frame,
            "message": {"role": "assistant", "content": "lo\u2028"},
            "done": False,
        },
        {
            **frame,
            "message": {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "a",
                        "function": {"index": 0, "name": "f", "arguments": {"x": 1.5}},
                    },
                    {"id": "b", "function": {"index": 1, "name": "g", "arguments": {}}},
                ],
            },
            "done": False,
        },
        {
            **frame,
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": 5,
            "eval_count": 3,
        },
    ]
    assert b'{"x": 1.50}' in stream


def test_renders_a_stream_of_a_generation():
    events = [EVENTS[0], *EVENTS[1:5], Finished(finish=Finish.LENGTH)]

    lines = [json.loads(line) for line in render(events, GENERATE).splitlines()]

    assert [line["response"] for line in lines] == ["", "Hel", "lo\u2028", ""]
    assert lines[0]["thinking"] == "hm"
    assert (lines[-1]["done"], lines[-1]["done_reason"]) == (True, "length")


def test_the_last_line_waits_until_it_is_asked_for():
    renderer = ollama.stream_renderer(CHAT)

    shown = renderer.render([*EVENTS])

    assert b'"done":true' not in shown
    assert renderer.ending.count(b"\n") == 1


def test_calls_are_told_even_if_nobody_says_why_the_stream_ends():
    stream = render(EVENTS[:9])

    assert stream.count(b'"tool_calls"') == 1
    contents = [json.loads(line)["message"]["content"] for line in stream.splitlines()]
    assert 'f({"x":\n)' in contents


def test_a_refusal_is_said_and_other_choices_are_not():
    events = [
        RefusalDelta(text="no"),
        TextDelta(text="x", choice=1),
        ToolCallStarted(call=0, id="a", name="f", choice=1),
        Finished(finish=Finish.LENGTH, choice=1),
    ]

    lines = [json.loads(line) for line in render(events).splitlines()]

    assert [line["message"]["content"] for line in lines] == ["no", ""]
    assert lines[-1]["done_reason"] == "stop"


@given(st.integers(1, 12))
def test_the_grouping_of_events_does_not_matter(size):
    assert render(EVENTS, size=size) == render(EVENTS)


# Both ways.

texts = st.text(max_size=6)
usages = st.none() | st.builds(
    TokenUsage,
    input=st.integers(0, 99),
    cache_read=st.none() | st.integers(0, 99),
    output=st.integers(0, 99),
)
answers = st.fixed_dictionaries(
    {
        "thinking": st.lists(texts.filter(bool), max_size=2),
        "contents": st.lists(texts.filter(bool), max_size=3),
        "calls": st.lists(
            st.tuples(
                st.sampled_from("fg"),
                st.dictionaries(texts, st.integers() | texts, max_size=2),
            ),
            max_size=3,
        ),
        "finish": st.sampled_from([Finish.STOP, Finish.LENGTH]),
        "usage": usages,
    }
)


def message_of_events(events):
    """Put a stream together: what it says, thinks, calls, why it stops, and usage."""
    says, thinks, calls = [], [], {}
    finish = usage = None
    for event in events:
        match event:
            case TextDelta():
                says.append(event.text)
            case ThinkingDelta():
                thinks.append(event.text)
            case ToolCallStarted():
                calls[event.call] = [event.id, event.name, ""]
            case ToolCallDelta():
                calls[event.call][2] += event.arguments
            case Finished():
                finish = event.finish
            case UsageReported():
                usage = event.usage
    return "".join(says), "".join(thinks), list(calls.values()), finish, usage


def message_of_answer(completion):
    (choice,) = completion.choices
    says = [part.text for part in choice.parts if isinstance(part, Text)]
    thinks = [part.text for part in choice.parts if isinstance(part, Thinking)]
    calls = [
        [part.id, part.name, part.arguments]
        for part in choice.parts
        if isinstance(part, ToolCall)
    ]
    return (
        "".join(says),
        "".join(thinks),
        calls,
        choice.finish,
        completion.usage,
    )


def as_events(answer):
    events = [Started(model="up", created=1)]
    events += [ThinkingDelta(text=text) for text in answer["thinking"]]
    events += [TextDelta(text=text) for text in answer["contents"]]
    for number, (name, arguments) in enumerate(answer["calls"]):
        events.append(ToolCallStarted(call=number, id=f"c{number}", name=name))
        text = json.dumps(arguments)
        events += [ToolCallDelta(call=number, arguments=piece) for piece in text]
    finish = Finish.TOOL_CALLS if answer["calls"] else answer["finish"]
    events.append(Finished(finish=finish))
    if answer["usage"]:
        events.append(UsageReported(answer["usage"]))
    return events


def as_completion(answer):
    calls = [
        ToolCall(id=f"c{number}", name=name, arguments=json.dumps(arguments))
        for number, (name, arguments) in enumerate(answer["calls"])
    ]
    parts = (
        *(Thinking(text=text) for text in answer["thinking"]),
        *(Text(text=text) for text in answer["contents"]),
        *calls,
    )
    finish = Finish.TOOL_CALLS if calls else answer["finish"]
    return completion(*parts, finish=finish, usage=answer["usage"])


@given(answers)
def test_streamed_and_whole_the_same_answer_survives_both_ways(answer):
    events, whole = as_events(answer), as_completion(answer)

    streamed = message_of_events(parse([render(events)]))
    at_once = message_of_answer(ollama.parse_answer(ollama.render_answer(whole, CHAT)))

    assert streamed == at_once == message_of_events(events)


@given(answers)
def test_a_server_says_the_same_streamed_and_whole(answer):
    calls = [fmt.tool_call(name, arguments) for name, arguments in answer["calls"]]
    streamed = fmt.chat_lines(
        *answer["contents"] or [""], thinking=answer["thinking"], tool_calls=calls
    )
    # As Go writes it: without blanks in the arguments, which are kept as they come.
    whole = fmt.line(
        json.loads(
            fmt.chat(
                "".join(answer["contents"]),
                thinking="".join(answer["thinking"]),
                tool_calls=calls,
            )
        )
    )

    assert message_of_events(parse(streamed)) == message_of_answer(
        ollama.parse_answer(whole)
    )


# With the official client.


def sdk_reads(stream):
    """Return what the official client makes of a streamed answer."""

    def answer(request):
        return httpx.Response(
            200, headers={"content-type": "application/x-ndjson"}, content=stream
        )

    with sdk.Client(transport=httpx.MockTransport(answer)) as client:
        hi = [{"role": "user", "content": "hi"}]
        return list(client.chat(model="m", messages=hi, stream=True))


def test_signs_of_life_between_the_lines_are_nothing_to_the_official_client():
    lines = render(EVENTS).splitlines(keepends=True)
    alive = b"".join(ollama.KEEP_ALIVE * 3 + line for line in lines)

    parts = sdk_reads(alive)

    assert parts == sdk_reads(b"".join(lines))
    assert "".join(part.message.content for part in parts) == "Hello\u2028"
    assert parts[-1].eval_count == 3


def test_an_error_after_a_sign_of_life_reaches_the_official_client():
    stream = (
        fmt.chat_lines("a", done=False)[0]
        + ollama.KEEP_ALIVE
        + fmt.error("broken")
        + b"\n"
    )

    with pytest.raises(sdk.ResponseError, match="broken"):
        sdk_reads(stream)


@pytest.mark.parametrize(
    "text", ["\u2028", "\u2029", "\x85", "\x0b\x0c\x1c\x1d\x1e\r\n"]
)
def test_line_ends_of_other_kinds_in_the_text_do_not_break_the_official_client(text):
    events = [
        TextDelta(text=text),
        ThinkingDelta(text=text),
        ToolCallStarted(call=0, id="a", name="f"),
        ToolCallDelta(call=0, arguments=json.dumps({"a": text}, ensure_ascii=False)),
    ]

    parts = sdk_reads(render(events))

    assert parts[0].message.content == parts[1].message.thinking == text
    assert parts[2].message.tool_calls[0].function.arguments == {"a": text}


# Through the engine.


def test_a_translated_stream_is_followed_to_its_end():
    lines = fmt.chat_lines("Hel", "lo", counts=fmt.metrics(5, 3))
    stream = TranslatedStream(ollama.stream_parser(), ollama.stream_renderer(GENERATE))

    shown = b"".join(map(stream.feed, lines)) + stream.flush()

    texts = [json.loads(line)["response"] for line in shown.splitlines()]
    assert texts == ["Hel", "lo"]
    assert stream.done
    assert stream.finished(1)
    assert stream.finish_reason == "stop"
    assert json.loads(stream.ending)["eval_count"] == 3


# Embeddings.


def test_embeddings_both_ways():
    parsed = ollama.parse_embeddings(fmt.embedded((0.5, 1), (2, 0.25), model="e"))

    assert parsed == Embeddings(
        model="e", vectors=((0.5, 1.0), (2.0, 0.25)), usage=TokenUsage(input=4)
    )
    body = json.loads(ollama.render_embeddings(parsed, EMBED))
    assert body == {
        "model": "e",
        "embeddings": [[0.5, 1.0], [2.0, 0.25]],
        "prompt_eval_count": 4,
    }
    assert sdk.EmbedResponse(**body).embeddings == [[0.5, 1.0], [2.0, 0.25]]


def test_one_vector_the_old_way():
    embeddings = Embeddings(vectors=((0.5, 1.0),))

    body = json.loads(ollama.render_embeddings(embeddings, LEGACY_EMBED))

    assert body == {"embedding": [0.5, 1.0]}
    assert sdk.EmbeddingsResponse(**body).embedding == [0.5, 1.0]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"embeddings":[["a"]]}', b"\xff"])
def test_what_holds_no_vectors_is_unreadable(body):
    with pytest.raises(UNREADABLE):
        ollama.parse_embeddings(body)
