"""Answers and streams, in and out of the neutral model."""

import itertools
import json
from pathlib import Path

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from hypothesis import given
from hypothesis import strategies as st

from gandalf.dialects import anthropic, signatures, sse
from gandalf.dialects.conversation import (
    Choice,
    CitationDelta,
    Completion,
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
from gandalf.dialects.translation import TranslatedStream
from gandalf.domain.usage import TokenUsage
from tests.fakes import anthropic_format as fmt

DATA = Path(__file__).parent / "data" / "anthropic"
CALL = anthropic.read_call(
    "chat",
    b'{"model":"alias","max_tokens":9,"messages":[{"role":"user","content":"x"}]}',
)
CITED = {
    "type": "char_location",
    "cited_text": "The grass is green.",
    "document_index": 0,
    "document_title": "Facts",
    "start_char_index": 0,
    "end_char_index": 19,
}


def parse(data, cuts=()):
    parser = anthropic.stream_parser()
    edges = [0, *sorted(cuts), len(data)]
    events = [e for a, b in itertools.pairwise(edges) for e in parser.feed(data[a:b])]
    return [*events, *parser.flush()]


def rendered(events, at_once=False):
    renderer = anthropic.stream_renderer(CALL)
    groups = [events] if at_once else [[event] for event in events]
    return b"".join(map(renderer.render, groups)) + renderer.ending


def accumulated(stream):
    """The message that Anthropic's own SDK makes of ``stream``."""
    snapshot, buffers = None, {}
    for event in stream.strip().split(b"\n\n"):
        name, data = event.split(b"\n")
        said = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + said["type"].encode()
        if said["type"] != "ping":
            snapshot = accumulate_event(
                event=said, current_snapshot=snapshot, json_bufs=buffers
            )
    return snapshot.to_dict()


def blocks_are_in_order(stream):
    """Whether blocks come one after the other, each begun and ended once."""
    opened, last = None, -1
    for line in stream.split(b"\n"):
        if not line.startswith(b"data: "):
            continue
        said = json.loads(line[6:])
        if said["type"] == "content_block_start":
            assert (opened, said["index"]) == (None, last + 1)
            opened = last = said["index"]
        elif said["type"] == "content_block_delta":
            assert said["index"] == opened
        elif said["type"] == "content_block_stop":
            assert said["index"] == opened
            opened = None
    assert opened is None


# Whole answers.


def test_each_block_becomes_a_part_in_its_place():
    body = fmt.message(
        fmt.thinking("hm"),
        fmt.redacted_thinking("RED"),
        fmt.text("Paris", citations=[CITED]),
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        fmt.tool_use(input={"a": 1.50}),
        stop_reason="tool_use",
        usage=fmt.usage(5, 6, cached=1, thinking=2),
    )

    completion = anthropic.parse_answer(body)

    assert completion == Completion(
        id=fmt.ID,
        model=fmt.MODEL,
        choices=(
            Choice(
                parts=(
                    Thinking(text="hm", signature=fmt.SIGNATURE, origin="anthropic"),
                    Thinking(redacted="RED", origin="anthropic"),
                    Text(text="Paris", citations=(CITED,)),
                    ToolCall(
                        id=fmt.tool_use()["id"],
                        name="get_weather",
                        arguments='{"a": 1.5}',
                    ),
                ),
                finish=Finish.TOOL_CALLS,
            ),
        ),
        usage=TokenUsage(
            input=5,
            cache_read=1,
            cache_write=0,
            cache_write_1h=0,
            output=4,
            reasoning=2,
        ),
    )


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", Finish.STOP),
        ("max_tokens", Finish.LENGTH),
        ("model_context_window_exceeded", Finish.LENGTH),
        ("stop_sequence", Finish.STOP_SEQUENCE),
        ("tool_use", Finish.TOOL_CALLS),
        ("pause_turn", Finish.PAUSE),
        ("compaction", Finish.PAUSE),
        ("refusal", Finish.REFUSAL),
    ],
)
def test_stop_reasons(reason, finish):
    body = fmt.message(stop_reason=reason, stop_sequence="END")

    choice = anthropic.parse_answer(body).choices[0]

    assert (choice.finish, choice.stop_sequence) == (finish, "END")
    assert parse(b"".join(fmt.message_events(stop_reason=reason)))[-2] == (
        Finished(finish=finish)
    )


def test_an_answer_comes_out_as_it_went_in():
    body = fmt.message(
        fmt.thinking("hm"),
        fmt.redacted_thinking(),
        fmt.text("Paris", citations=[CITED]),
        fmt.tool_use(),
        stop_reason="tool_use",
        usage=fmt.usage(5, 6, cached=1, written_5m=3, written_1h=4, thinking=2),
    )

    again = json.loads(anthropic.render_answer(anthropic.parse_answer(body), CALL))

    before = json.loads(body)
    before["usage"].pop("service_tier")
    assert again == before


def test_a_foreign_answer_is_a_message_that_the_sdk_takes():
    completion = Completion(
        id="chatcmpl-1",
        choices=(
            Choice(
                parts=(
                    Thinking(text="hm"),
                    Refusal("I will not."),
                    Text(text="x", citations=({"type": "url_citation"},)),
                    ToolCall(id="c1", name="f", arguments=""),
                    ToolCall(id="c2", name="g", arguments="not json"),
                ),
                finish=Finish.STOP,
            ),
        ),
        usage=TokenUsage(input=3, audio_input=1, output=2),
    )

    said = json.loads(anthropic.render_answer(completion, CALL))

    assert said["model"] == "alias"
    assert said["stop_reason"] == "tool_use"
    assert said["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "I will not."},
        {"type": "text", "text": "x"},
        {"type": "tool_use", "id": "c1", "name": "f", "input": {}},
        {
            "type": "tool_use",
            "id": "c2",
            "name": "g",
            "input": {"arguments": "not json"},
        },
    ]
    assert said["usage"] == {"input_tokens": 4, "output_tokens": 2}


def test_an_answer_without_choices_is_an_empty_message():
    said = json.loads(anthropic.render_answer(Completion(), CALL))

    assert (said["content"], said["stop_reason"]) == ([], "end_turn")


def test_counts():
    assert anthropic.parse_count(fmt.count(12)) == 12
    assert json.loads(anthropic.render_count(12)) == {"input_tokens": 12}


# Streams, parsed.


def test_the_documented_stream():
    events = parse((DATA / "basic.sse").read_bytes())

    assert events == [
        Started(id="msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyY", model="claude-opus-4-8"),
        UsageReported(TokenUsage(input=25)),
        TextDelta(text="Hello"),
        TextDelta(text="!"),
        UsageReported(TokenUsage(input=25, output=15)),
        Finished(finish=Finish.STOP),
        Ended(),
    ]


def test_the_documented_stream_with_a_tool_call():
    events = parse((DATA / "tool_use.sse").read_bytes())

    calls = [e for e in events if isinstance(e, ToolCallStarted)]
    arguments = "".join(e.arguments for e in events if isinstance(e, ToolCallDelta))
    assert calls == [
        ToolCallStarted(call=0, id="toolu_01T1x1fJ34qAmk2tNTrN7Up6", name="get_weather")
    ]
    assert arguments == '{"location": "San Francisco, CA", "unit": "fahrenheit"}'
    assert events[-3:] == [
        UsageReported(TokenUsage(input=472, output=89)),
        Finished(finish=Finish.TOOL_CALLS),
        Ended(),
    ]


def test_the_documented_stream_with_thinking():
    events = parse((DATA / "thinking.sse").read_bytes())

    thoughts = [e for e in events if isinstance(e, ThinkingDelta)]
    assert [bool(t.text) for t in thoughts] == [True, True, False]
    assert thoughts[-1].signature.startswith("EqQBCgIYAhIM1gbcDa9GJwZA2b3h")
    assert thoughts[-1].origin == "anthropic"
    # That example tells of no usage.
    assert not any(isinstance(e, UsageReported) for e in events)


# The documented one with thinking tells of no usage, and the SDK does not take it.
@pytest.mark.parametrize("name", ["basic", "tool_use"])
def test_a_documented_stream_comes_out_as_the_message_that_went_in(name):
    stream = (DATA / f"{name}.sse").read_bytes()

    again = rendered(parse(stream))

    assert accumulated(again) == accumulated(stream)
    blocks_are_in_order(again)


def test_calls_are_counted_by_their_blocks():
    first = fmt.tool_use("f", {"a": 1}, "t1")
    second = fmt.tool_use("f", {"b": 2}, "t2")
    server = {"type": "server_tool_use", "id": "s", "name": "web", "input": {"q": 1}}

    events = parse(b"".join(fmt.message_events("Let me", first, server, second)))

    assert [e for e in events if isinstance(e, ToolCallStarted)] == [
        ToolCallStarted(call=0, id="t1", name="f"),
        ToolCallStarted(call=1, id="t2", name="f"),
    ]
    said = {0: "", 1: ""}
    for event in events:
        if isinstance(event, ToolCallDelta):
            said[event.call] += event.arguments
    assert said == {0: '{"a": 1}', 1: '{"b": 2}'}


def test_an_input_that_is_whole_at_the_beginning_of_its_block_is_not_lost():
    events = [
        fmt.event(fmt.block_start(0, fmt.tool_use(input={"a": 1}))),
        fmt.event(fmt.block_stop(0)),
    ]

    assert parse(b"".join(events))[-1] == ToolCallDelta(call=0, arguments='{"a":1}')


def test_a_call_without_any_pieces_of_input_has_an_empty_object():
    events = [
        fmt.event(fmt.block_start(0, fmt.tool_use(input={}))),
        fmt.event(fmt.block_delta(0, type="input_json_delta", partial_json="")),
        fmt.event(fmt.block_stop(0)),
    ]

    assert parse(b"".join(events))[-1] == ToolCallDelta(call=0, arguments="{}")


@pytest.mark.parametrize("after", range(6))
def test_an_error_in_the_stream_is_a_failure_and_ends_it(after):
    events = fmt.message_events()
    stream = b"".join([*events[:after], fmt.error_event(), *events[after:]])

    assert parse(stream)[-1] == Failed(
        message="Overloaded", code="overloaded_error", status=529
    )


def test_what_is_unknown_is_passed_over_and_counted():
    events = fmt.message_events("Hello")
    noise = [
        b": comment\n\n",
        b'event: new\ndata: {"type":"new"}\n\n',
        b"event: ping\ndata: ping\n\n",
        b"data: ping\n\n",
        fmt.event(fmt.block_start(9, {"type": "new_block"})),
        fmt.event(fmt.block_delta(9, type="new_delta", text="x")),
        fmt.event(fmt.block_start(10, {"type": "server_tool_use", "name": "search"})),
        fmt.event(fmt.block_delta(10, type="input_json_delta", partial_json="{}")),
    ]

    noisy = [event for each in events for event in (each, *noise)]

    parsed = parse(b"".join(noisy))
    assert [each for each in parsed if not isinstance(each, Unread)] == parse(
        b"".join(events)
    )
    counted = [each.why for each in parsed if isinstance(each, Unread)]
    assert counted == ["unknown_type", "unknown_block"] * (len(events) - 1)


@pytest.mark.parametrize(
    "event",
    [
        b"data: {\n\n",
        b'event: content_block_delta\ndata: {"type":"content_block_dalta"}\n\n',
        b'data: {"type":"content_block_delta"}\n\n',
        b'data: {"type":"content_block_start"}\n\n',
        b'data: {"type":"content_block_delta","delta":{"type":"text_delta"}}\n\n',
        b'dat: {"type":"content_block_stop"}\n\n',
        fmt.event(fmt.block_delta(0, type="new_delta")),
        fmt.event(fmt.block_delta(7, type="input_json_delta", partial_json="{}")),
        fmt.event(fmt.block_start(1, fmt.tool_use(name=""))),
    ],
)
def test_what_may_be_a_part_of_the_answer_and_cannot_be_read_ends_it(event):
    events = fmt.message_events("Hello")

    parsed = parse(b"".join([*events[:4], event, *events[4:]]))

    assert isinstance(parsed[-1], Failed)
    assert Ended() not in parsed


@pytest.mark.parametrize(
    "event",
    [
        b'event: error\ndata: {"type":"error","error":"busy"}\n\n',
        b'event: error\ndata: {"error":{"message":"busy"}}\n\n',
        b'event: error\ndata: {"message":"busy"}\n\n',
        b"event: error\ndata: busy\n\n",
        b'data: {"error":{"message":"busy"}}\n\n',
        b'data: {"type":"error","error":{"type":"x","message":"busy","details":[]}}\n\n',
    ],
)
def test_an_error_is_one_in_whatever_shape(event):
    parsed = parse(b"".join([*fmt.message_events("Hello")[:4], event]))

    assert isinstance(parsed[-1], Failed)
    assert "busy" in parsed[-1].message


RECORDED = b"".join(
    fmt.message_events(
        fmt.thinking("hm \u2028 öh"),
        fmt.redacted_thinking(),
        fmt.text("Ünïcödé " * 3, citations=[CITED]),
        fmt.tool_use(),
        fmt.tool_use("g", {"x": '\\" }{'}, "t2"),
        stop_reason="tool_use",
        usage=fmt.usage(5, 6, cached=1, written_1h=4, thinking=2),
    )
)


@given(st.lists(st.integers(0, len(RECORDED)), max_size=30))
def test_any_chunking_gives_the_same_events(cuts):
    assert parse(RECORDED, cuts) == parse(RECORDED)


def test_byte_by_byte_gives_the_same_events():
    assert parse(RECORDED, range(len(RECORDED))) == parse(RECORDED)


TEXTS = st.one_of(
    st.text().map(lambda text: json.dumps(text)[1:-1].encode()),
    st.text().map(lambda text: json.dumps(text, ensure_ascii=False)[1:-1].encode()),
    st.lists(
        st.sampled_from(
            [
                *rb'" \ \n \" \u00e9 \ud83d \ude00 \q x ,'.split(),
                *(b"\n", b"\r", b"\t", b" ", b'" "', b"\xff", b"\n\n", b"\n\ndata: "),
            ]
        ),
        max_size=3,
    ).map(b"".join),
)
DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
FRAMES = [
    (DELTA + b'"delta":{"type":"text_delta","text":"', b'"}}\n\n'),
    (DELTA + b'"delta":{"text":"', b'","type":"text_delta"}}\n\n'),
    (DELTA + b'"delta":{"type":"text_delta","text":"', b'","text":"x"}}\n\n'),
    (DELTA + b'"delta":{"type":"text_delta","text":"a","text":"', b'"}}\n\n'),
    (DELTA + b'"delta":{"type":"text_delta","text":"', b'"}}\r\n\r\n'),
    (DELTA + b'"delta":{"type":"text_delta","text":"', b'"},\n"x":1}\n\n'),
    (DELTA + b'"delta":{"type":"thinking_delta","thinking":"', b'"}}\n\n'),
    (DELTA + b'"delta":{"type":"input_json_delta","text":"', b'"}}\n\n'),
    (b"event: ping\ndata: ", b"\n\n"),
    (b'data: {"type":"message_stop","delta":{"text":"', b'"}}\n\n'),
]
# Of one frame, most often, as of a real stream.
EVENTS = st.lists(
    st.tuples(st.sampled_from(FRAMES), st.lists(TEXTS, min_size=1, max_size=8)),
    max_size=6,
).map(lambda runs: [b + text + e for (b, e), texts in runs for text in texts])


@given(EVENTS)
def test_events_that_come_together_are_read_as_if_each_came_alone(events):
    opened = fmt.event(fmt.block_start(0, fmt.text("")))
    data = b"".join([opened, *events])
    alone = anthropic.stream_parser()

    # Whatever their bytes say: split as the specification does it.
    one_by_one = [said for event in sse.split(data) for said in alone.feed(event)]

    assert parse(data) == [*one_by_one, *alone.flush()]


def test_a_stream_cut_anywhere_is_complete_or_not_done():
    for cut in range(len(RECORDED)):
        stream = TranslatedStream(
            anthropic.stream_parser(), anthropic.stream_renderer(CALL)
        )
        stream.feed(RECORDED[:cut])
        stream.flush()
        assert stream.done == (cut >= len(RECORDED) - 2), cut


# Streamed and whole say the same.


def merged(parts):
    """Parts as a stream can tell them apart: neighbouring texts are one."""
    made = []
    for part in parts:
        if isinstance(part, Text) and made and isinstance(made[-1], Text):
            text = made.pop()
            part = Text(
                text=text.text + part.text, citations=text.citations + part.citations
            )
        if not (isinstance(part, Text) and not part.text and not part.citations):
            made.append(part)
    return made


def parts_of(events):
    parts, calls = [], {}
    thinking = ""
    for event in events:
        match event:
            case TextDelta():
                parts.append(Text(text=event.text))
            case CitationDelta():
                parts.append(Text(text="", citations=(event.citation,)))
            case ThinkingDelta(redacted=str(data)):
                parts.append(Thinking(redacted=data, origin=event.origin))
            case ThinkingDelta(signature=None):
                thinking += event.text
            case ThinkingDelta():
                parts.append(
                    Thinking(
                        text=thinking, signature=event.signature, origin=event.origin
                    )
                )
                thinking = ""
            case ToolCallStarted():
                calls[event.call] = len(parts)
                parts.append(ToolCall(id=event.id, name=event.name, arguments=""))
            case ToolCallDelta():
                at = calls[event.call]
                call = parts[at]
                parts[at] = ToolCall(
                    id=call.id,
                    name=call.name,
                    arguments=call.arguments + event.arguments,
                )
    return merged(parts)


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
blocks = st.one_of(
    texts.map(fmt.text),
    texts.map(lambda text: fmt.text(text, citations=[CITED])),
    texts.map(fmt.thinking),
    st.just(fmt.redacted_thinking()),
    st.dictionaries(texts, st.one_of(texts, st.integers(), st.none()), max_size=3).map(
        lambda arguments: fmt.tool_use(input=arguments)
    ),
)
counts = st.integers(0, 1000)


@given(
    st.lists(blocks, min_size=1, max_size=6),
    st.integers(1, 5),
    st.builds(
        fmt.usage,
        counts,
        counts.map(lambda n: n + 1000),
        cached=counts,
        written_1h=counts,
    ),
)
def test_streamed_and_whole_answers_say_the_same(content, pieces, usage):
    whole = anthropic.parse_answer(fmt.message(*content, usage=usage))
    stream = b"".join(fmt.message_events(*content, usage=usage, pieces=pieces))

    events = parse(stream)

    assert parts_of(events) == merged(whole.choices[0].parts)
    assert [e.usage for e in events if isinstance(e, UsageReported)][-1] == whole.usage
    assert (
        accumulated(rendered(events))["content"]
        == accumulated(rendered(events, at_once=True))["content"]
    )
    blocks_are_in_order(rendered(events))


# Streams, rendered.


def test_a_foreign_stream_is_a_messages_stream_that_the_sdk_takes():
    events = [
        Started(id="chatcmpl-1", model="gpt-4o"),
        ThinkingDelta(text="let me "),
        ThinkingDelta(text="see"),
        TextDelta(text=""),
        TextDelta(text="Hel"),
        TextDelta(text='lo "\u2028"'),
        RefusalDelta(text=" no"),
        ToolCallStarted(call=0, id="c0", name="f"),
        ToolCallDelta(call=0, arguments='{"a":'),
        ToolCallDelta(call=0, arguments="1}"),
        ToolCallStarted(call=1, id="c1", name="g"),
        ToolCallDelta(call=1, arguments="{}"),
        Finished(finish=Finish.TOOL_CALLS),
        UsageReported(TokenUsage(input=7, cache_read=2, output=3, reasoning=1)),
    ]

    stream = rendered(events)

    blocks_are_in_order(stream)
    assert accumulated(stream) == {
        "id": "chatcmpl-1",
        "type": "message",
        "role": "assistant",
        "model": "gpt-4o",
        "content": [
            {"type": "thinking", "thinking": "let me see", "signature": ""},
            {"type": "text", "text": 'Hello "\u2028" no'},
            {"type": "tool_use", "id": "c0", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "c1", "name": "g", "input": {}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": 7,
            "cache_read_input_tokens": 2,
            "output_tokens": 4,
            "output_tokens_details": {"thinking_tokens": 1},
        },
    }


def test_the_end_waits_for_the_usage():
    renderer = anthropic.stream_renderer(CALL)

    body = renderer.render(
        [Started(id="x"), TextDelta(text="hi"), Finished(finish=Finish.LENGTH)]
    )
    late = renderer.render([UsageReported(TokenUsage(input=1, output=2))])

    assert body.endswith(b'{"type":"content_block_stop","index":0}\n\n')
    assert late == b""
    assert renderer.ending == (
        b'event: message_delta\ndata: {"type":"message_delta",'
        b'"delta":{"stop_reason":"max_tokens","stop_sequence":null},'
        b'"usage":{"input_tokens":1,"output_tokens":2}}\n\n' + fmt.STOP
    )


def test_usage_that_is_known_at_the_beginning_is_told_there():
    stream = rendered(
        [
            UsageReported(TokenUsage(input=5)),
            Started(id="x"),
            TextDelta(text="y"),
            Finished(finish=Finish.STOP),
        ]
    )

    assert b'"usage":{"input_tokens":5,"output_tokens":0}}}\n\n' in stream


def test_an_empty_answer_is_a_whole_stream():
    stream = rendered([Finished(finish=Finish.CONTENT_FILTER)])

    message = accumulated(stream)
    assert (message["content"], message["stop_reason"]) == ([], "refusal")
    assert message["model"] == "alias"


def test_calls_whose_pieces_are_mixed_come_one_after_the_other():
    events = [
        Started(id="x"),
        ToolCallStarted(call=0, id="a", name="f"),
        ToolCallDelta(call=0, arguments='{"x":"\\'),
        ToolCallStarted(call=1, id="b", name="g"),
        ToolCallDelta(call=1, arguments='{"y":['),
        ToolCallStarted(call=2, id="c", name="h"),
        TextDelta(text="meanwhile"),
        ToolCallDelta(call=0, arguments='"}"'),
        ToolCallDelta(call=2, arguments="{}"),
        ToolCallDelta(call=1, arguments="1]}"),
        ToolCallDelta(call=0, arguments="}"),
        Finished(finish=Finish.TOOL_CALLS),
    ]

    stream = rendered(events)

    blocks_are_in_order(stream)
    content = accumulated(stream)["content"]
    assert [b.get("input", b.get("text")) for b in content] == [
        {"x": '"}'},
        {"y": [1]},
        {},
        "meanwhile",
    ]


def test_a_call_that_stays_incomplete_does_not_hold_back_the_others_for_good():
    events = [
        ToolCallStarted(call=0, id="a", name="f"),
        ToolCallDelta(call=0, arguments='{"x":'),
        ToolCallStarted(call=1, id="b", name="g"),
        ToolCallDelta(call=1, arguments='{"y":1}'),
        Finished(finish=Finish.LENGTH),
    ]

    stream = rendered(events)

    blocks_are_in_order(stream)
    assert [b["id"] for b in accumulated(stream)["content"]] == ["a", "b"]


def pieces_of(text, size=3):
    return [text[at : at + size] for at in range(0, len(text), size)]


json_values = st.recursive(
    st.one_of(st.none(), st.integers(), texts),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.lists(st.dictionaries(texts, json_values, max_size=3), min_size=1, max_size=4),
    st.data(),
)
def test_any_mixture_of_calls_keeps_each_calls_arguments(inputs, data):
    waiting = {
        number: [
            ToolCallStarted(call=number, id=f"t{number}", name="f"),
            *(
                ToolCallDelta(call=number, arguments=piece)
                for piece in pieces_of(json.dumps(each))
            ),
        ]
        for number, each in enumerate(inputs)
    }
    events = []
    begun = 0
    while any(waiting.values()):
        ready = [n for n, left in waiting.items() if left and n <= begun]
        number = data.draw(st.sampled_from(ready))
        events.append(waiting[number].pop(0))
        begun = max(begun, number + 1)

    stream = rendered([*events, Finished(finish=Finish.TOOL_CALLS)])

    blocks_are_in_order(stream)
    assert [b["input"] for b in accumulated(stream)["content"]] == inputs


# Seals.


def test_an_own_seal_passes_unwrapped_and_a_foreign_one_wrapped():
    parts = (
        Thinking(text="a", signature="SEAL", origin="anthropic"),
        Thinking(text="b", signature="gemini-seal", origin="gemini"),
        Thinking(redacted="enc", origin="openai"),
    )

    said = json.loads(
        anthropic.render_answer(Completion(choices=(Choice(parts=parts),)), CALL)
    )

    assert said["content"] == [
        {"type": "thinking", "thinking": "a", "signature": "SEAL"},
        {
            "type": "thinking",
            "thinking": "b",
            "signature": signatures.wrap("gemini", "gemini-seal"),
        },
        {"type": "redacted_thinking", "data": signatures.wrap("openai", "enc")},
    ]


SIGNED = (
    Thinking(text="b", signature="sealed thought", origin="gemini"),
    Text(text="calling"),
    ToolCall(id="c0", name="f", arguments='{"a": 1}', signature="sig of call"),
    ToolCall(id="c1", name="g", arguments="{}"),
)


def given_back(content):
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "assistant", "content": content}],
    }
    call = anthropic.read_call("chat", json.dumps(body).encode())
    return anthropic.parse_request(call).messages[0]


def test_signatures_of_parts_come_back_through_an_anthropic_client():
    choice = Choice(parts=SIGNED, signature="sig of text")
    body = anthropic.render_answer(Completion(choices=(choice,)), CALL)

    message = given_back(json.loads(body)["content"])

    assert message.parts == SIGNED
    assert message.signature == "sig of text"


def test_signatures_of_parts_come_back_from_a_stream_too():
    events = [
        Started(id="x"),
        ThinkingDelta(text="b"),
        ThinkingDelta(signature="sealed thought", origin="gemini"),
        TextDelta(text="calling"),
        TextDelta(text="", signature="sig of text"),
        ToolCallStarted(call=0, id="c0", name="f", signature="sig of call"),
        ToolCallDelta(call=0, arguments='{"a":1}'),
        ToolCallStarted(call=1, id="c1", name="g"),
        ToolCallDelta(call=1, arguments="{}"),
        Finished(finish=Finish.TOOL_CALLS),
    ]
    stream = rendered(events)

    message = given_back(accumulated(stream)["content"])

    blocks_are_in_order(stream)
    assert message.parts == SIGNED
    assert message.signature == "sig of text"


# Whatever comes.


@given(st.binary(max_size=200), st.integers(0, len(RECORDED)))
def test_noise_in_a_stream_never_breaks_its_parser(noise, at):
    parse(RECORDED[:at] + noise + RECORDED[at:], [at, at + len(noise)])


@given(
    st.sampled_from(
        ["delta", "content_block", "message", "usage", "error", "index", "type"]
    ),
    st.one_of(st.none(), st.integers(), st.text(), st.lists(st.integers())),
    st.sampled_from(["content_block_delta", "content_block_start", "message_delta"]),
)
def test_events_of_whatever_shape_never_break_their_parser(field, value, kind):
    said = json.dumps({"type": kind, "index": 0, field: value}).encode()

    parse(b"event: x\ndata: %b\n\n" % said)


def test_an_image_in_an_answer_is_shown_as_markdown():
    image = Media(kind="image", media_type="image/png", data="AAAA")
    choice = Choice(parts=(Text(text="here"), image), finish=Finish.STOP)
    call = anthropic.read_call("chat", b'{"model":"m","max_tokens":1,"messages":[]}')

    body = anthropic.render_answer(Completion(choices=(choice,)), call)

    texts = [block["text"] for block in json.loads(body)["content"]]
    assert texts == ["here", "![](data:image/png;base64,AAAA)"]
