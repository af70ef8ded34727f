"""Streams of OpenAI's, as neutral events and from them."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming._deltas import accumulate_delta
from openai.types.chat import ChatCompletionChunk

from gandalf.dialects import openai
from gandalf.dialects.conversation import (
    CitationDelta,
    Ended,
    Failed,
    Finish,
    Finished,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    Unread,
    UsageReported,
)
from gandalf.domain.usage import TokenUsage
from tests.fakes.openai_format import (
    DONE,
    chat_events,
    chunk,
    event,
    usage,
    usage_chunk,
)

STARTED = Started(id="chatcmpl-fake", model="gpt-4o-2024-08-06", created=1_700_000_000)


def parsed(data, cuts=()):
    parser = openai.stream_parser()
    edges = [0, *sorted(cuts), len(data)]
    events = []
    for a, b in itertools.pairwise(edges):
        events += parser.feed(data[a:b])
    return events + list(parser.flush())


def deltas(*pieces):
    return parsed(b"".join(event(chunk() | {"choices": [piece]}) for piece in pieces))[
        1:
    ]


def delta(index=0, finish_reason=None, **fields):
    return {"index": index, "delta": fields, "finish_reason": finish_reason}


def call(**fields):
    body = {"model": "alias", "messages": [], "stream": True, **fields}
    return openai.read_call("chat", json.dumps(body).encode())


ASKED_USAGE = call(stream_options={"include_usage": True})
LEGACY = openai.read_call("completions", b'{"model":"m","prompt":"x","stream":true}')


def chunks(stream):
    return [
        json.loads(each.removeprefix(b"data: "))
        for each in stream.split(b"\n\n")
        if each and not each.endswith(b"[DONE]")
    ]


def rendered(*events, call=ASKED_USAGE):
    renderer = openai.stream_renderer(call)
    return renderer.render([STARTED, *events]), renderer


def said(*events, call=ASKED_USAGE):
    """What a client has joined in the end, as OpenAI's own SDK does it."""
    stream, _ = rendered(*events, call=call)
    message = {}
    for each in chunks(stream):
        ChatCompletionChunk.model_validate(each, strict=True)
        message = accumulate_delta(message, each["choices"][0]["delta"])
    return message


F = {"name": "f", "arguments": ""}
F_WHOLE = {"name": "f", "arguments": "{}"}
ARGUMENTS = {"index": 0, "function": {"arguments": "{}"}}


# Parsing.


def test_a_plain_stream():
    # https://platform.openai.com/docs/api-reference/chat/streaming
    assert parsed(b"".join(chat_events("Hello", " there"))) == [
        STARTED,
        TextDelta(text="Hello"),
        TextDelta(text=" there"),
        Finished(finish=Finish.STOP),
        UsageReported(
            TokenUsage(
                input=9,
                cache_read=0,
                audio_input=0,
                output=2,
                reasoning=0,
                audio_output=0,
            )
        ),
        Ended(),
    ]


def test_parallel_calls_are_told_apart_by_their_index():
    # https://platform.openai.com/docs/guides/function-calling#streaming
    events = deltas(
        delta(
            tool_calls=[
                {
                    "index": 0,
                    "id": "call_DdmO9pD3xa9XTPNJ32zg2hcA",
                    "function": {"arguments": "", "name": "get_weather"},
                    "type": "function",
                }
            ]
        ),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"'}}]),
        delta(tool_calls=[{"index": 1, "id": "b", "function": {"name": "g"}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '":1}'}}]),
        delta(tool_calls=[{"index": 1, "id": "b", "function": {"arguments": "{}"}}]),
        delta(finish_reason="tool_calls"),
    )

    assert events == [
        ToolCallStarted(call=0, id="call_DdmO9pD3xa9XTPNJ32zg2hcA", name="get_weather"),
        ToolCallDelta(call=0, arguments='{"'),
        ToolCallStarted(call=1, id="b", name="g"),
        ToolCallDelta(call=0, arguments='":1}'),
        ToolCallDelta(call=1, arguments="{}"),
        Finished(finish=Finish.TOOL_CALLS),
    ]


@pytest.mark.parametrize("where", [{}, {"index": 0}])
def test_calls_of_servers_that_count_carelessly(where):
    first = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    second = {"id": "b", "function": {"name": "f", "arguments": '{"x"'}}
    rest = {"function": {"arguments": ":1}"}}

    events = deltas(
        delta(tool_calls=[first | where, second | where]),
        delta(tool_calls=[rest | where]),
    )

    assert events == [
        ToolCallStarted(call=0, id="a", name="f"),
        ToolCallDelta(call=0, arguments="{}"),
        ToolCallStarted(call=1, id="b", name="f"),
        ToolCallDelta(call=1, arguments='{"x"'),
        ToolCallDelta(call=1, arguments=":1}"),
    ]


def test_calls_without_any_id_are_known_by_their_names():
    whole = {"function": {"name": "f", "arguments": "{}"}}

    events = deltas(delta(tool_calls=[whole, whole]))

    assert [e.id for e in events if isinstance(e, ToolCallStarted)] == [
        "call_fake_0_0",
        "call_fake_0_1",
    ]


def calls_of(*pieces):
    """Id, name and arguments of each call that the pieces are put together to."""
    calls = {}
    for each in deltas(*(delta(tool_calls=[piece]) for piece in pieces), STOPPED):
        if isinstance(each, ToolCallStarted):
            assert each.call == len(calls)
            calls[each.call] = [each.id, each.name, ""]
        elif isinstance(each, ToolCallDelta):
            calls[each.call][2] += each.arguments
        else:
            assert isinstance(each, Finished), each
    return [tuple(each) for each in calls.values()]


STOPPED = delta(finish_reason="tool_calls")


@pytest.mark.parametrize(
    "pieces",
    [
        [
            {"index": 0, "id": "a", "function": {"name": "", "arguments": ""}},
            {"index": 0, "function": {"name": "f"}},
            {"index": 0, "function": {"arguments": "{}"}},
        ],
        [{"index": 0}, {"index": 0, "id": "a", "function": F_WHOLE}],
        [{"index": 0, "id": "a"}, {"index": 0, "function": F_WHOLE}],
        [
            {"index": 0, "id": "a", "function": {"arguments": "{"}},
            {"index": 0, "function": {"name": "f", "arguments": "}"}},
        ],
        [{"index": 0, "function": {"name": "f"}}, {"index": 0, "id": "a"}, ARGUMENTS],
        [{"index": 0, "id": "a", "function": F}, {"index": 0, "id": "b"}, ARGUMENTS],
        [
            {"index": 0, "id": "a", "function": F},
            {"index": 0, "id": "b", "function": {"arguments": "{}"}},
        ],
        [
            {"index": 0, "id": "a", "function": F},
            {"index": 0, "id": "b", "function": F_WHOLE},
        ],
        [
            {"index": 0, "id": "a", "function": F_WHOLE | {"arguments": "{"}},
            {"index": 0, "id": "a", "function": F_WHOLE | {"arguments": "}"}},
        ],
        [{"index": "0", "id": "a", "function": F}, {"index": 0.0, **ARGUMENTS}],
        [{"index": 0, "id": "a", "function": F_WHOLE | {"arguments": {}}}],
        [{"id": "a", "function": F}, {"function": {"arguments": "{}"}}],
        [{"id": "a"}, {"function": F}, {"function": {"arguments": "{}"}}],
    ],
)
def test_a_call_is_one_however_its_pieces_come(pieces):
    assert calls_of(*pieces) == [("a", "f", "{}")]


@pytest.mark.parametrize(
    "second",
    [
        {"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}},
        {"index": None, "id": "b", "function": {"name": "g", "arguments": "{}"}},
        {"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}},
    ],
)
def test_another_id_with_another_name_is_another_call(second):
    first = {"index": 0, "id": "a", "function": F_WHOLE}

    assert calls_of(first, second) == [("a", "f", "{}"), ("b", "g", "{}")]


def test_without_ids_a_name_behind_whole_arguments_is_another_call():
    again = {"index": 0, "function": F_WHOLE}

    (first, f, _), (second, g, _) = calls_of(again, again)

    assert (f, g) == ("f", "f")
    assert first != second


def test_an_id_that_is_a_number_is_its_text():
    assert calls_of({"index": 0, "id": 7, "function": F_WHOLE}) == [("7", "f", "{}")]


def test_calls_of_answers_without_ids_have_ids_of_their_own():
    bare = chunk() | {"id": None, "choices": [delta(tool_calls=[{"function": F}])]}

    ids = {
        each.id
        for _ in range(2)
        for each in parsed(event(bare) + event(chunk(finish_reason="stop")))
        if isinstance(each, ToolCallStarted)
    }

    assert len(ids) == 2


@pytest.mark.parametrize(
    "piece", [{"index": 0, "id": "a"}, {"index": 0, "function": {"arguments": "{}"}}]
)
def test_a_call_that_never_gets_a_name_is_a_failure(piece):
    failed, finished = deltas(delta(tool_calls=[piece]), STOPPED)

    assert isinstance(failed, Failed)
    assert isinstance(finished, Finished)


def test_an_index_alone_is_no_call():
    assert calls_of({"index": 0}) == []


def test_a_legacy_function_call_is_a_call():
    assert deltas(
        delta(function_call={"name": "f", "arguments": ""}),
        delta(function_call={"arguments": "{}"}),
        delta(finish_reason="function_call"),
    ) == [
        ToolCallStarted(call=0, id="call_fake_0_0", name="f"),
        ToolCallDelta(call=0, arguments="{}"),
        Finished(finish=Finish.TOOL_CALLS),
    ]


def test_several_choices_and_logprobs():
    logprobs = {
        "content": [{"token": "a", "logprob": -1, "bytes": None, "top_logprobs": []}]
    }

    assert deltas(
        delta(content="a") | {"logprobs": logprobs},
        delta(1, content="b"),
        delta(1, "length"),
        delta(0, "stop"),
    ) == [
        TextDelta(text="a", logprobs=logprobs),
        TextDelta(text="b", choice=1),
        Finished(finish=Finish.LENGTH, choice=1),
        Finished(finish=Finish.STOP),
    ]


def test_refusals_citations_and_sounds():
    note = {"type": "url_citation", "url_citation": {"url": "https://x"}}

    assert deltas(
        delta(refusal="No"),
        delta(annotations=[{"index": 0, **note}]),
        delta(audio={"id": "a", "transcript": "Hi", "data": "UklG"}),
        delta(finish_reason="stop"),
    ) == [
        RefusalDelta(text="No"),
        CitationDelta(citation=note),
        TextDelta(text="Hi"),
        Finished(finish=Finish.REFUSAL),
    ]


def test_thinking_is_text_first_and_sealed_after():
    block = {"type": "thinking", "thinking": "Hm. So", "signature": "sig"}

    assert deltas(
        delta(reasoning_content="Hm. "),
        delta(reasoning="So"),
        delta(thinking_blocks=[{"index": 0, **block}]),
        delta(content="Hi", extra_content={"google": {"thought_signature": "g"}}),
    ) == [
        ThinkingDelta(text="Hm. "),
        ThinkingDelta(text="So"),
        ThinkingDelta(signature="sig", origin="anthropic"),
        TextDelta(text="Hi"),
        TextDelta(text="", signature="g"),
    ]


def test_thinking_that_comes_in_blocks_alone_keeps_its_text():
    assert deltas(
        delta(reasoning_details=[{"type": "reasoning.text", "text": "Hm."}]),
        delta(
            reasoning_details=[
                {
                    "type": "reasoning.text",
                    "text": "",
                    "signature": "s",
                    "format": None,
                },
                {
                    "type": "reasoning.encrypted",
                    "data": "d",
                    "format": "openai-responses-v1",
                },
            ]
        ),
    ) == [
        ThinkingDelta(text="Hm."),
        ThinkingDelta(signature="s", origin="anthropic"),
        ThinkingDelta(redacted="d", origin="openai"),
    ]


def test_mistrals_thinking_is_a_part_of_the_content():
    piece = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}

    assert deltas(
        delta(content=[piece]), delta(content=[{"type": "text", "text": "4"}])
    ) == [
        ThinkingDelta(text="Hm."),
        TextDelta(text="4"),
    ]


def test_azures_first_chunk_says_nothing():
    # https://learn.microsoft.com/azure/ai-services/openai/concepts/content-streaming
    first = {
        "choices": [],
        "id": "",
        "model": "",
        "object": "",
        "prompt_filter_results": [],
    }

    assert parsed(event(first) + event(chunk("x"))) == [STARTED, TextDelta(text="x")]


def test_what_careless_servers_send_beside_the_answer_does_no_harm():
    careless = chunk("x") | {"created": 1_700_000_000.5, "usage": None}
    counted = chunk() | {"choices": None, "usage": {"prompt_tokens": 1}}

    assert parsed(event(careless) + event(counted)) == [
        STARTED,
        TextDelta(text="x"),
        UsageReported(TokenUsage(input=1)),
    ]


def test_an_error_in_the_stream_is_a_failure():
    # https://openrouter.ai/docs/api-reference/errors#mid-stream-error-handling
    error = chunk() | {
        "error": {"code": 502, "message": "Provider disconnected"},
        "choices": [delta(finish_reason="error", content="")],
    }

    assert parsed(event(chunk("x")) + event(error))[-1] == Failed(
        message="Provider disconnected", code="502", status=502
    )


@pytest.mark.parametrize(
    "said",
    [
        event({"error": "busy"}),
        event({"error": {"message": "busy"}}),
        event({"object": "error", "message": "busy", "code": 503}),
        event({"detail": "busy"}),
        event({"errors": [{"message": "busy"}]}),
        event(chunk() | {"choices": [{"index": 0, "error": {"message": "busy"}}]}),
        b'event: error\ndata: {"message":"busy"}\n\n',
        b"event: error\ndata: busy\n\n",
    ],
)
def test_an_error_is_one_in_whatever_shape(said):
    failed = parsed(event(chunk("x")) + said)[-1]

    assert isinstance(failed, Failed)
    assert "busy" in failed.message


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        (b"data: ping\n\n", []),
        (b"event: ping\ndata: {}\n\n", []),
        (b'event: ping\ndata: {"type":"ping"}\n\n', []),
        (b"data: \n\n", []),
        (event({}), []),
        (event({"type": "ping"}), []),
        (event({"type": "queue.position", "position": 3}), ["unknown_type"]),
        (event(chunk() | {"choices": None}), []),
        (event(chunk("") | {"usage": "many"}), ["unreadable_usage"]),
    ],
)
def test_what_holds_no_part_of_the_answer_is_skipped(said, counted):
    around = event(chunk("x")), event(chunk(finish_reason="stop")) + DONE

    events = parsed(said.join(around))

    assert [each.why for each in events if isinstance(each, Unread)] == counted
    rest = [each for each in events if not isinstance(each, Unread)]
    assert rest == parsed(b"".join(around))


@pytest.mark.parametrize(
    "said",
    [
        event("x"),
        event([]),
        event(chunk("x") | {"choices": {"0": {}}}),
        event({"object": "chat.completion.chunk"}),
        event(chunk() | {"choices": [delta(content=12)]}),
        event(chunk() | {"choices": [delta(index="first", content="x")]}),
        event(chunk() | {"choices": [delta(content="x") | {"index": [0]}]}),
        b'dat: {"choices":[]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"\xff"}}]}\n\n',
        b"data: <html>\n\n",
    ],
)
def test_what_may_be_a_part_of_the_answer_and_cannot_be_read_is_a_failure(said):
    assert isinstance(parsed(event(chunk("x")) + said)[-1], Failed)


@pytest.mark.parametrize(
    "choice",
    [
        {"index": 0, "message": {"content": "x"}},
        {"index": 0, "text": "x"},
        {"index": None, "delta": {"content": "x"}},
        {"index": "0", "delta": {"content": "x"}, "logprobs": []},
        {"index": 0, "delta": {"content": "x", "annotations": {"a": 1}}},
    ],
)
def test_text_is_read_where_servers_put_it(choice):
    events = parsed(event(chunk() | {"choices": [choice]}))

    (text,) = [each for each in events if isinstance(each, TextDelta)]
    assert (text.text, text.choice) == ("x", 0)


def test_an_end_without_a_finish_reason_of_every_choice_is_a_failure():
    both = event(chunk("a")) + event(chunk("b", index=1))
    one = event(chunk(finish_reason="stop"))

    assert isinstance(parsed(both + one + DONE)[-1], Failed)
    assert isinstance(parsed(DONE)[-1], Failed)


def test_a_hole_in_the_stream_is_a_failure_and_a_cut_is_no_end():
    hole = parsed(b'data: {"choices":[{"ind\n\n' + event(chunk("x")))
    cut = parsed(event(chunk("x")) + b'data: {"choices":[{"ind')

    assert isinstance(hole[0], Failed)
    assert cut == [STARTED, TextDelta(text="x")]


NOISY = b"".join(
    [
        b"\xef\xbb\xbf: comment\r\n\r\n",
        *chat_events("a\u2028b", "Grüße", newline=b"\r\n"),
    ]
)
MIXED = (
    event(chunk(role="assistant"))
    + b"event: message\ndata: "
    + json.dumps(chunk("x")).encode()
    + b"\nid: 7\n\n"
    + b": keep-alive\n\n"
    + event(chunk(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f"}}]))
    + event(chunk(finish_reason="tool_calls"))
    + event(usage_chunk(usage()))
    + DONE
)


@pytest.mark.parametrize("stream", [NOISY, MIXED])
@given(data=st.data())
def test_any_chunking_gives_the_same_events(stream, data):
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    if data.draw(st.booleans()):
        cuts = range(len(stream))

    assert parsed(stream, cuts) == parsed(stream)
    assert parsed(stream)[-1] == Ended()


def test_no_prefix_of_a_stream_has_its_end():
    for cut in range(len(MIXED) - 2):
        assert Ended() not in parsed(MIXED[:cut])


# Rendering.


def test_a_whole_stream_byte_for_byte():
    stream, renderer = rendered(
        TextDelta(text='Hi "you"\n'),
        Finished(finish=Finish.STOP_SEQUENCE, stop_sequence="x"),
        UsageReported(TokenUsage(input=1)),
        UsageReported(TokenUsage(input=1, output=2)),
    )

    head = (
        b'data: {"id":"chatcmpl-fake","object":"chat.completion.chunk",'
        b'"created":1700000000,"model":"gpt-4o-2024-08-06","choices":['
    )
    assert stream == (
        head + b'{"index":0,"delta":{"role":"assistant","content":"","refusal":null},'
        b'"logprobs":null,"finish_reason":null}]}\n\n'
        + head
        + b'{"index":0,"delta":{"content":"Hi \\"you\\"\\n"},'
        b'"logprobs":null,"finish_reason":null}]}\n\n'
        + head
        + b'{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}\n\n'
    )
    assert renderer.ending == (
        head
        + b'],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n'
        b"data: [DONE]\n\n"
    )


def test_usage_is_only_for_those_who_asked():
    _, renderer = rendered(UsageReported(TokenUsage(input=1)), call=call())

    assert renderer.ending == b"data: [DONE]\n\n"


def test_what_the_upstream_does_not_say_of_itself_is_made_up_once():
    renderer = openai.stream_renderer(call())

    first = chunks(renderer.render([TextDelta(text="a")]))
    second = chunks(renderer.render([TextDelta(text="b")]))

    assert {each["id"] for each in first + second} == {first[0]["id"]}
    assert first[0]["model"] == "alias"
    assert first[0]["created"] > 1_700_000_000


def test_calls_are_joined_by_their_index():
    message = said(
        TextDelta(text="Let me see."),
        ToolCallStarted(call=0, id="a", name="f", signature="sig"),
        ToolCallStarted(call=1, id="b", name="g"),
        ToolCallDelta(call=0, arguments='{"x":'),
        ToolCallDelta(call=1, arguments="{}"),
        ToolCallDelta(call=0, arguments="1}"),
        Finished(finish=Finish.TOOL_CALLS),
    )

    assert message["content"] == "Let me see."
    assert message["tool_calls"] == [
        {
            "index": 0,
            "id": "a",
            "type": "function",
            "function": {"name": "f", "arguments": '{"x":1}'},
            "extra_content": {"google": {"thought_signature": "sig"}},
        },
        {
            "index": 1,
            "id": "b",
            "type": "function",
            "function": {"name": "g", "arguments": "{}"},
        },
    ]


def test_blocks_of_thinking_come_whole_when_they_end():
    message = said(
        ThinkingDelta(text="Hm. "),
        ThinkingDelta(text="So"),
        ThinkingDelta(signature="sig", origin="anthropic"),
        ThinkingDelta(redacted="opaque", origin="anthropic"),
        TextDelta(text="Hi"),
        ThinkingDelta(text="unsealed"),
        TextDelta(text="!"),
        ThinkingDelta(text="Oh", signature="sig2", origin="anthropic"),
    )

    assert message["reasoning_content"] == "Hm. SounsealedOh"
    assert message["content"] == "Hi!"
    assert message["thinking_blocks"] == [
        {"index": 0, "type": "thinking", "thinking": "Hm. So", "signature": "sig"},
        {"index": 1, "type": "redacted_thinking", "data": "opaque"},
        {"index": 2, "type": "thinking", "thinking": "Oh", "signature": "sig2"},
    ]
    assert [d["index"] for d in message["reasoning_details"]] == [0, 1, 2]


def test_citations_have_their_span():
    page = {"url": "https://a", "title": "A"}
    message = said(
        TextDelta(text="Ab"),
        CitationDelta(citation={"type": "page_location"}),
        CitationDelta(citation=page),
        TextDelta(text="c"),
        CitationDelta(citation=page),
    )

    spans = [
        (note["url_citation"]["start_index"], note["url_citation"]["end_index"])
        for note in message["annotations"]
    ]
    assert spans == [(0, 2), (2, 3)]


def test_refusals_and_signatures_of_texts():
    refused, _ = rendered(RefusalDelta(text="No."), Finished(finish=Finish.REFUSAL))
    message = said(TextDelta(text="Hi", signature="sig"))

    assert chunks(refused)[1]["choices"][0]["delta"] == {"refusal": "No."}
    assert chunks(refused)[2]["choices"][0]["finish_reason"] == "stop"
    assert message["extra_content"] == {"google": {"thought_signature": "sig"}}


def test_every_choice_begins_with_its_role():
    logprobs = {"content": [], "refusal": None}
    stream, _ = rendered(
        TextDelta(text="a"), TextDelta(text="b", choice=1, logprobs=logprobs)
    )

    choices = [each["choices"][0] for each in chunks(stream)]
    assert [(c["index"], "role" in c["delta"]) for c in choices] == [
        (0, True),
        (0, False),
        (1, True),
        (1, False),
    ]
    assert choices[3]["logprobs"] == logprobs


def test_a_client_of_legacy_functions_gets_the_first_call():
    functions = call(functions=[{"name": "f"}])

    stream, _ = rendered(
        ToolCallStarted(call=0, id="a", name="f"),
        ToolCallDelta(call=0, arguments="{}"),
        ToolCallStarted(call=1, id="b", name="f"),
        ToolCallDelta(call=1, arguments="{}"),
        Finished(finish=Finish.TOOL_CALLS),
        call=functions,
    )

    choices = [each["choices"][0] for each in chunks(stream)[1:]]
    assert [choice["delta"] for choice in choices] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": "{}"}},
        {},
    ]
    assert choices[-1]["finish_reason"] == "function_call"


def test_a_legacy_stream_is_text():
    token = {"token": "Hi", "logprob": -0.5, "bytes": None, "top_logprobs": []}
    stream, renderer = rendered(
        ThinkingDelta(text="Hm."),
        TextDelta(text="a"),
        TextDelta(text="Hi", logprobs={"content": [token]}),
        Finished(finish=Finish.LENGTH),
        call=LEGACY,
    )

    assert {each["object"] for each in chunks(stream)} == {"text_completion"}
    assert [each["choices"][0] for each in chunks(stream)] == [
        {"text": "a", "index": 0, "logprobs": None, "finish_reason": None},
        {
            "text": "Hi",
            "index": 0,
            "logprobs": {
                "tokens": ["Hi"],
                "token_logprobs": [-0.5],
                "top_logprobs": [{}],
                "text_offset": [1],
            },
            "finish_reason": None,
        },
        {"text": "", "index": 0, "logprobs": None, "finish_reason": "length"},
    ]
    assert renderer.ending == DONE


def test_usage_that_stands_in_the_choice_is_read():
    counts = {"prompt_tokens": 100, "completion_tokens": 10, "cached_tokens": 90}
    last = chunk("", finish="stop")
    last["choices"][0]["usage"] = counts
    parser = openai.stream_parser()

    events = parser.feed(event(chunk("hi")) + event(last) + DONE)

    assert UsageReported(TokenUsage(input=10, cache_read=90, output=10)) in events


def test_an_image_in_a_stream_is_shown_as_markdown():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    shown = chunk("")
    shown["choices"][0]["delta"]["images"] = [image]

    events = openai.stream_parser().feed(event(shown))

    assert TextDelta(text="![](data:image/png;base64,AAAA)") in events
