"""What upstreams write otherwise than documented, and every client gets all the same.

Where such a piece stands in the middle of an answer, the answer around it is whole for
the client of every dialect, streamed and whole.
"""

import json

import pytest

from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import (
    Choice,
    Completion,
    Finish,
    Text,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallStarted,
)
from gandalf.dialects.translation import translate_answer
from gandalf.domain.usage import TokenUsage
from tests.fakes import (
    anthropic_format,
    bedrock_format,
    gemini_format,
    ollama_format,
    openai_format,
)

from .pairs_answers import of_upstream
from .pairs_clients import CALLS, CLIENTS, UPSTREAMS, joined
from .pairs_upstreams import SAYS
from .test_pairs_answers import a_stream, read
from .test_pairs_cuts import received

clients = pytest.mark.parametrize("client", CLIENTS)
upstreams = pytest.mark.parametrize("upstream", UPSTREAMS)

ANSWER = Completion(
    model="m",
    choices=(Choice(parts=(Text(text="Hello there"),), finish=Finish.STOP),),
    usage=TokenUsage(input=9, output=2),
)


# Text that is odd, and what is read in it.

HALF = rb"odd\ud83d"


def _openai(**more):
    said = json.dumps(openai_format.chunk("ODD") | more).encode()
    return openai_format.event(said.replace(b"ODD", HALF))


ODD = {
    "openai": [
        _openai(),
        _openai(usage={"prompt_tokens": "9", "completion_tokens": 2.0}),
        _openai(usage="", created="now", id=7),
        openai_format.event(
            b'{"choices":[{"index":null,"delta":{"content":"odd\xef\xbf\xbd"},'
            b'"logprobs":{"content":[{"token":"x","logprob":-Infinity}]}}]}'
        ),
    ],
    "anthropic": [
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":%b,"delta":'
        b'{"type":"text_delta","text":"%b"}}\n\n' % (index, HALF)
        for index in (b"0", b'"0"', b"null", b"0.0")
    ]
    + [
        b"event: content_block_delta\n"
        b'data: {"index":0,"delta":{"type":"text_delta","text":"%b"}}\n\n' % HALF
    ],
    "gemini": [
        b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":"%b"}]},'
        b'"index":%b}],"usageMetadata":%b}\n\n' % (HALF, index, usage)
        for index, usage in (
            (b"0", b'{"promptTokenCount":9}'),
            (b"null", b'{"promptTokenCount":"9"}'),
            (b'"0"', b'""'),
            (b"0.0", b'{"promptTokenCount":9,"promptTokensDetails":{}}'),
        )
    ],
    "ollama": [
        b'{"model":"m","created_at":%b,"message":{"content":"%b"},"done":%b}\n'
        % (created, HALF, done)
        for created, done in ((b'""', b"false"), (b"7", b"null"), (b"null", b'"false"'))
    ],
    "converse": [
        bedrock_format.frame(
            b'{"contentBlockIndex":%b,"delta":{"text":"%b"}}' % (index, HALF),
            {":event-type": "contentBlockDelta", ":message-type": "event"},
        )
        for index in (b"0", b'"0"', b"null")
    ],
}
ODD_CASES = [
    (upstream, place) for upstream in UPSTREAMS for place in range(len(ODD[upstream]))
]


@pytest.mark.parametrize(("upstream", "place"), ODD_CASES)
@clients
async def test_an_odd_event_is_read_for_what_it_means(upstream, place, client):
    events = SAYS[upstream].stream(of_upstream(upstream, ANSWER), 5)
    # In the text: behind its first piece, or at Anthropic's before it.
    last = b'"ping"' if upstream == "anthropic" else b"Hello"
    at = next(i for i, event in enumerate(events) if last in event)
    said = b"".join([*events[: at + 1], ODD[upstream][place], *events[at + 1 :]])

    got, complete = await received(client, a_stream(client, upstream), said)

    assert complete
    choice, _ = joined(read(client, got))
    text = "".join(part.text for part in choice.parts)
    assert text in ("Helloodd\ufffd there", "odd\ufffdHello there")
    assert choice.finish is Finish.STOP


# Whole answers.

ODD_WHOLE = {
    "openai": [
        b'\xef\xbb\xbf{"id":7,"created":"1","choices":[{"index":"0","message":'
        b'{"content":"%b"},"finish_reason":"STOP","logprobs":{"x":NaN}}],'
        b'"usage":{"prompt_tokens":"9","completion_tokens":2.0}}' % HALF
    ],
    "anthropic": [
        b'{"id":null,"type":"message","content":[{"type":"text","text":"%b"}],'
        b'"stop_reason":"end_turn","usage":{"input_tokens":"9","output_tokens":2.0}}'
        % HALF
    ],
    "gemini": [
        b'{"candidates":[{"content":{"parts":[{"text":"%b"}]},"index":null,'
        b'"finishReason":"STOP","avgLogprobs":NaN}],"usageMetadata":'
        b'{"promptTokenCount":"9","candidatesTokenCount":2.0}}' % HALF
    ],
    "ollama": [
        b'{"model":null,"message":{"content":"%b"},"done":"true",'
        b'"prompt_eval_count":"9","eval_count":2.0}' % HALF
    ],
    "converse": [
        b'{"output":{"message":{"content":[{"text":"%b"}]}},"stopReason":"end_turn",'
        b'"usage":{"inputTokens":"9","outputTokens":2.0},"metrics":{"x":NaN}}' % HALF
    ],
}


@upstreams
@clients
def test_an_odd_answer_is_read_for_what_it_means(upstream, client):
    (said,) = ODD_WHOLE[upstream]

    body, finish = translate_answer(
        CALLS[client], said, spoken=UPSTREAMS[upstream], source=CLIENTS[client]
    )

    answer = CLIENTS[client].parse_answer(body)
    assert [part.text for part in answer.choices[0].parts] == ["odd\ufffd"]
    assert finish == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (9, 2)


NO_ANSWERS = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"<html>Sign in</html>",
    b'{"ok":true}',
    b'{"choices":[]}',
    b'{"choices":null,"candidates":null,"content":null,"output":null}',
    b'{"choices":[{"index":0,"finish_reason":"stop"}]}',
    b'{"content":"x","stop_reason":"end_turn"}',
    b'{"candidates":[]}',
    b'{"done":true,"done_reason":"stop"}',
    b'{"output":{},"stopReason":"end_turn"}',
    b'{"choices":[{"message":{"content":"\xff"},"finish_reason":"stop"}]}',
    b'{"content":[{"type":"text","text":"\xff"}],"stop_reason":"end_turn"}',
]


@upstreams
@pytest.mark.parametrize("body", NO_ANSWERS)
def test_a_body_without_an_answer_is_none(upstream, body):
    with pytest.raises(UNREADABLE):
        UPSTREAMS[upstream].parse_answer(body)


# Calls without names, which nobody could carry out.

NAMELESS = {
    "openai": openai_format.completion(
        None, tool_calls=[{"id": "a", "function": {"name": "", "arguments": "{}"}}]
    ),
    "anthropic": anthropic_format.message(anthropic_format.tool_use(name="")),
    "gemini": gemini_format.completion(gemini_format.function_call("")),
    "ollama": ollama_format.chat("", tool_calls=[ollama_format.tool_call("")]),
    "converse": bedrock_format.converse_answer({"toolUse": {"toolUseId": "a"}}),
}


@upstreams
def test_a_call_without_a_name_is_no_answer(upstream):
    with pytest.raises(UNREADABLE):
        UPSTREAMS[upstream].parse_answer(NAMELESS[upstream])


# Arguments, as text or as an object.

ARGUED = {
    "openai": openai_format.completion(
        None, tool_calls=[{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]
    ),
    "anthropic": anthropic_format.message(
        {"type": "tool_use", "id": "a", "name": "f", "input": '{"x": 1}'}
    ),
    "gemini": gemini_format.completion(
        {"functionCall": {"name": "f", "args": '{"x": 1}'}}
    ),
    "ollama": ollama_format.chat(
        tool_calls=[{"function": {"name": "f", "arguments": '{"x": 1}'}}]
    ),
    "converse": bedrock_format.converse_answer(
        {"toolUse": {"toolUseId": "a", "name": "f", "input": '{"x": 1}'}}
    ),
}


@upstreams
def test_arguments_are_read_as_text_and_as_an_object(upstream):
    (choice,) = UPSTREAMS[upstream].parse_answer(ARGUED[upstream]).choices

    (call,) = [part for part in choice.parts if isinstance(part, ToolCall)]
    assert json.loads(call.arguments) == {"x": 1}


# What has only begun.

BEGINNINGS = {
    "openai": [
        openai_format.event(openai_format.chunk(role="assistant")),
        openai_format.event(
            openai_format.chunk(
                tool_calls=[{"index": 0, "id": "a", "function": {"name": "f"}}]
            )
        ),
    ],
    "anthropic": [
        anthropic_format.event(each)
        for each in (
            anthropic_format.message_start(),
            anthropic_format.block_start(0, anthropic_format.thinking("", "")),
            anthropic_format.block_stop(0),
            anthropic_format.block_start(1, anthropic_format.text("")),
            anthropic_format.block_stop(1),
            anthropic_format.block_start(2, anthropic_format.tool_use(input={})),
        )
    ],
    "gemini": [gemini_format.stream_events("", finish_reason=None)[0]],
    "ollama": [ollama_format.line(ollama_format.piece(""))],
    "converse": [
        bedrock_format.event("messageStart", {"role": "assistant"}),
        bedrock_format.tool_block(0, "a", "f")[0],
    ],
}


@upstreams
@clients
def test_what_has_only_begun_is_no_content(upstream, client):
    stream = a_stream(client, upstream)

    for event in BEGINNINGS[upstream]:
        stream.feed(event)

    assert not stream.content_seen


# Ids.


def without_id(upstream, answer):
    """The answer whole and streamed, from an upstream that gives it no id."""
    told = of_upstream(upstream, answer)
    said = SAYS[upstream]
    ids = (
        openai_format.completion().split(b'"id": "')[1].split(b'"')[0],
        b"chatcmpl-1",
        anthropic_format.ID.encode(),
        gemini_format.RESPONSE_ID.encode(),
    )
    whole, streamed = said.whole(told), b"".join(said.stream(told, 5))
    for each in ids:
        whole, streamed = whole.replace(each, b""), streamed.replace(each, b"")
    return whole, streamed


def id_of(client, shown):
    for line in shown.splitlines():
        said = json.loads(line.removeprefix(b"data: ")) if b"{" in line else {}
        said = said.get("message") or said
        for name in ("id", "responseId"):
            if name in said:
                return said[name]
    return None


FORMS = {"openai": "chatcmpl-", "anthropic": "msg_", "gemini": ""}


@upstreams
@pytest.mark.parametrize("client", FORMS)
async def test_an_answer_without_an_id_gets_one_that_no_other_has(upstream, client):
    whole, streamed = without_id(upstream, ANSWER)
    seen = []
    for _ in range(2):
        body, _ = translate_answer(
            CALLS[client], whole, spoken=UPSTREAMS[upstream], source=CLIENTS[client]
        )
        stream = a_stream(client, upstream)
        shown = stream.feed(streamed) + stream.flush() + stream.ending
        seen += [id_of(client, body), id_of(client, shown)]

    assert len(set(seen)) == 4
    assert all(each.startswith(FORMS[client]) and len(each) > 15 for each in seen)


# Gemini's signature behind the final text.


def signed(*parts):
    choice = Choice(parts=parts, finish=Finish.STOP, signature="c2ln")
    return Completion(
        id="a", model="m", choices=(choice,), usage=TokenUsage(input=1, output=1)
    )


@pytest.mark.parametrize("client", ["openai", "anthropic"])
async def test_a_signature_behind_the_text_is_no_thought_after_it(client):
    told = of_upstream("gemini", signed(Text(text="Hi")))
    said = b"".join(SAYS["gemini"].stream(told, 5))
    body, _ = translate_answer(
        CALLS[client],
        SAYS["gemini"].whole(told),
        spoken=UPSTREAMS["gemini"],
        source=CLIENTS[client],
    )

    got, complete = await received(client, a_stream(client, "gemini"), said)

    assert complete
    events = read(client, got)
    assert not [each for each in events if isinstance(each, ThinkingDelta)]
    assert b"reasoning_details" not in got
    assert isinstance(CLIENTS[client].parse_answer(body).choices[0].parts[-1], Text)


def test_a_signature_of_a_text_before_a_call_travels_before_the_call():
    renderer = CLIENTS["anthropic"].stream_renderer(CALLS["anthropic"])
    shown = renderer.render(
        [
            TextDelta(text="Hi", signature="c2ln"),
            ToolCallStarted(call=0, id="a", name="f"),
        ]
    )

    starts = [
        json.loads(line[6:])["content_block"]["type"]
        for line in shown.splitlines()
        if b'"content_block_start"' in line
    ]
    assert starts == ["text", "thinking", "tool_use"]
