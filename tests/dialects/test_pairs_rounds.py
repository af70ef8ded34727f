"""What is said to any upstream in its own words means what the client has said."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gandalf.dialects.conversation import (
    Conversation,
    Feature,
    JsonFormat,
    Media,
    Message,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gandalf.dialects.translation import translate_request
from gandalf.domain.model import Model

from .pairs_answers import ARGUMENTS, WORDS
from .pairs_clients import CLIENTS, UPSTREAMS
from .pairs_features import MODELS, PNG, PROBES, SCHEMA
from .test_pairs_requests import possible

MODEL = Model(name="some-model", structured_output=True)

# What is nothing but space says nothing, and some upstreams refuse it.
SAID = WORDS.filter(str.strip)
TEXTS = st.builds(Text, text=SAID)
IMAGES = st.just(Media(kind="image", media_type="image/png", data=PNG))
NAMES = ("zoo", "gnu")
TOOLS = st.lists(
    st.builds(
        Tool,
        name=st.sampled_from(NAMES),
        description=st.none() | SAID,
        schema=st.just(SCHEMA),
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda tool: tool.name,
).map(tuple)


def users(*parts):
    return Message(role="user", parts=parts)


@st.composite
def turns(draw, number):
    """What a user says and the answer; maybe with calls, and their results."""
    asked = users(*draw(st.lists(TEXTS | IMAGES, min_size=1, max_size=3)))
    calls = [
        ToolCall(
            id=f"call_{number}_{place}",
            name=draw(st.sampled_from(NAMES)),
            arguments=json.dumps(draw(ARGUMENTS), ensure_ascii=draw(st.booleans())),
        )
        for place in range(draw(st.integers(0, 2)))
    ]
    text = draw(st.lists(TEXTS, min_size=0 if calls else 1, max_size=1))
    answered = Message(role="assistant", parts=(*text, *calls))
    if not calls:
        return [asked, answered]
    results = [
        ToolResult(call_id=call.id, name=call.name, parts=(Text(text=draw(SAID)),))
        for call in calls
    ]
    return [asked, answered, users(*results, *draw(st.lists(TEXTS, max_size=1)))]


@st.composite
def conversations(draw):
    system = draw(st.lists(TEXTS, max_size=1))
    messages = [Message(role="system", parts=(part,)) for part in system]
    for number in range(draw(st.integers(0, 2))):
        messages += draw(turns(number))
    messages.append(users(draw(TEXTS)))
    called = any(isinstance(p, ToolCall) for m in messages for p in m.parts)
    tools = draw(TOOLS if called else st.just(()) | TOOLS)
    choices = [ToolChoice(mode=mode) for mode in ("auto", "none", "required")]
    if tools:
        choices.append(ToolChoice(mode="named", names=(tools[0].name,)))
    chosen = draw(st.none() | st.sampled_from(choices)) if tools else None
    wished = draw(st.none() | st.just(JsonFormat(schema=SCHEMA)))
    return Conversation(
        source="nobody",
        messages=tuple(messages),
        tools=tools,
        tool_choice=chosen,
        json_format=wished if chosen is None else None,
        max_tokens=draw(st.none() | st.integers(1, 9999)),
        temperature=draw(st.none() | st.floats(0, 1)),
        top_p=draw(st.none() | st.floats(0.01, 1)),
        top_k=draw(st.none() | st.integers(1, 99)),
        stop=tuple(draw(st.lists(SAID, max_size=3, unique=True))),
        seed=draw(st.none() | st.integers(0, 2**31 - 1)),
        presence_penalty=draw(st.none() | st.floats(-2, 2)),
        frequency_penalty=draw(st.none() | st.floats(-2, 2)),
    )


def a_call(dialect, body):
    return CLIENTS[dialect].read_call("chat", body, "alias")


WISHES = {
    Feature.TOOLS: lambda said: [(t.name, t.description, t.schema) for t in said.tools],
    Feature.TOOL_CHOICE: lambda said: said.tool_choice,
    Feature.JSON_SCHEMA: lambda said: said.json_format and said.json_format.schema,
    Feature.MAX_TOKENS: lambda said: said.max_tokens,
    Feature.TEMPERATURE: lambda said: said.temperature,
    Feature.TOP_P: lambda said: said.top_p,
    Feature.TOP_K: lambda said: said.top_k,
    Feature.STOP: lambda said: said.stop,
    Feature.SEED: lambda said: said.seed,
    Feature.PRESENCE_PENALTY: lambda said: said.presence_penalty,
    Feature.FREQUENCY_PENALTY: lambda said: said.frequency_penalty,
}


EXCEPTIONS = {
    # What it is if nobody says so, and what newer models take no other than.
    ("anthropic", Feature.TEMPERATURE): lambda asked: asked.temperature == 1,
    # There is no way to choose but by what is offered.
    ("ollama", Feature.TOOLS): lambda asked: asked.tool_choice is not None,
    ("ollama", Feature.TOOL_CHOICE): lambda asked: asked.tool_choice.mode == "none",
}
"""What is the same though it is said in another way."""


def meant(conversation, upstream):
    """The messages, in the one form in which all are compared.

    Who follows whom is what counts, not in how many messages one side speaks. A message
    to Ollama has its text in one piece and its images apart, so these are put together
    wherever they stand.
    """
    turns = []
    for message in conversation.messages:
        parts = [_comparable(part) for part in message.parts]
        if turns and turns[-1][0] == message.role:
            turns[-1][1].extend(parts)
        else:
            turns.append((message.role, parts))
    if upstream == "ollama":
        turns = [(role, _apart(parts)) for role, parts in turns]
    return turns


def _comparable(part):
    if isinstance(part, ToolCall):
        return part.id, part.name, json.loads(part.arguments)
    if isinstance(part, ToolResult):
        return part.call_id, [each.text for each in part.parts], part.is_error
    return (part.text,) if isinstance(part, Text) else (part.media_type, part.data)


def _apart(parts):
    said = "\n".join(part[0] for part in parts if len(part) == 1)
    texts = [(text,) for text in said.split("\n") if said]
    return texts + [part for part in parts if len(part) > 1]


@pytest.mark.parametrize("client", CLIENTS)
@settings(max_examples=30, deadline=None)
@given(conversation=conversations())
def test_every_upstream_is_told_what_the_client_has_said(client, conversation):
    sent = CLIENTS[client].render_request(conversation, MODEL).body
    asked = CLIENTS[client].parse_request(a_call(client, sent))

    for upstream in CLIENTS:
        made = translate_request(
            a_call(client, sent),
            UPSTREAMS[upstream],
            MODEL,
            source=CLIENTS[client],
            strict=False,
        )
        told = CLIENTS[upstream].parse_request(a_call(upstream, made.body))
        assert meant(told, upstream) == meant(asked, upstream)
        lost = (*made.dropped, *made.approximated)
        for feature, wish in WISHES.items():
            case = (upstream, feature)
            same = EXCEPTIONS.get(case, lambda _: False)
            if feature in asked.used and asked.used[feature] not in lost:
                assert wish(told) == wish(asked) or same(asked), case


# The same request gives the same bytes, or a provider's prompt cache would be in vain.


def digest():
    """All that all clients' features become at all upstreams, in one text."""
    made = [
        possible(client, upstream, model, probe.asked)
        for client in CLIENTS
        for upstream in UPSTREAMS
        for probe in PROBES[client].values()
        for model in MODELS[upstream]
    ]
    return msgspec.json.encode(made)


def test_the_same_request_becomes_the_same_bytes_in_every_process():
    root = Path(__file__).parents[2]
    script = (
        "import sys; from tests.dialects.test_pairs_rounds import digest; "
        "sys.stdout.buffer.write(digest())"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
        )
        for seed in ("1", "2")
    ]

    here = digest()
    others = [process.communicate()[0] for process in running]

    assert here == digest()
    assert others == [here, here]
