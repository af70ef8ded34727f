"""What a provider has sealed comes back to it from a client of any dialect.

A client gives an answer back with the next request. The provider that made the answer
wants its seals byte for byte; any other must get none of them.
"""

import json

import pytest
from hypothesis import given, settings

from gandalf.dialects.conversation import Thinking, ToolCall
from gandalf.dialects.translation import translate_answer, translate_request
from gandalf.domain.model import Model

from .pairs_answers import answers, of_upstream
from .pairs_clients import CALLS, CLIENTS, UPSTREAMS
from .pairs_upstreams import SAYS
from .test_pairs_requests import a_call

MODELS = {
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-3-pro-preview",
    "converse": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "openai": "gpt-4o",
    "ollama": "llama3.2",
}
SEALING = ("anthropic", "gemini")
CARRYING = ("openai", "anthropic", "gemini")
"""Ollama has no field for a seal."""
HI = {"role": "user", "content": "hi"}


def answered(client, upstream, told):
    """The answer as the client has it, and will give it back."""
    body, _ = translate_answer(
        CALLS[client],
        SAYS[upstream].whole(told),
        spoken=UPSTREAMS[upstream],
        source=CLIENTS[client],
    )
    answer = json.loads(body)
    if client == "openai":
        return answer["choices"][0]["message"]
    if client == "anthropic":
        return {"role": "assistant", "content": answer["content"]}
    return answer["candidates"][0]["content"]


def next_request(client, said, calls):
    """The request that goes on from what was said, with a result for each call."""
    if client == "openai":
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": "x"} for call in calls
        ]
        return {"messages": [HI, said, *results, HI]}
    if client == "anthropic":
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": "x"}
            for call in calls
        ]
        last = {"role": "user", "content": [*results, {"type": "text", "text": "hi"}]}
        return {"max_tokens": 99, "messages": [HI, said, last]}
    results = [
        {
            "functionResponse": {
                "id": call.id,
                "name": call.name,
                "response": {"output": "x"},
            }
        }
        for call in calls
    ]
    first = {"role": "user", "parts": [{"text": "hi"}]}
    return {
        "contents": [
            first,
            said,
            {"role": "user", "parts": [*results, {"text": "hi"}]},
        ]
    }


def passed_on(client, upstream, told, target):
    """What ``target`` is sent by a client that ``upstream`` has answered."""
    calls = [part for part in told.choices[0].parts if isinstance(part, ToolCall)]
    said = answered(client, upstream, told)
    return translate_request(
        a_call(client, next_request(client, said, calls)),
        UPSTREAMS[target],
        Model(name=MODELS[target]),
        source=CLIENTS[client],
        strict=False,
    )


def seals_in(parts, signature):
    thoughts = [
        (part.text, part.signature, part.redacted)
        for part in parts
        if isinstance(part, Thinking) and (part.signature or part.redacted)
    ]
    calls = {part.id: part.signature for part in parts if isinstance(part, ToolCall)}
    return thoughts, calls, signature


def seals_sent(target, body):
    """The seals in a request to ``target``, as it reads them."""
    dialect = CLIENTS[target]
    messages = dialect.parse_request(dialect.read_call("chat", body, "m")).messages
    turn = [message for message in messages if message.role == "assistant"]
    parts = [part for message in turn for part in message.parts]
    assert len(turn) <= 1
    return seals_in(parts, turn[0].signature if turn else None)


@pytest.mark.parametrize("client", CARRYING)
@pytest.mark.parametrize("upstream", SEALING)
@settings(max_examples=20, deadline=None)
@given(answer=answers())
def test_a_seal_comes_back_to_who_made_it(upstream, client, answer):
    told = of_upstream(upstream, answer)
    choice = told.choices[0]

    made = passed_on(client, upstream, told, upstream)

    assert seals_sent(upstream, made.body) == seals_in(choice.parts, choice.signature)


@pytest.mark.parametrize("client", CARRYING)
@settings(max_examples=20, deadline=None)
@given(answer=answers())
def test_a_seal_comes_back_to_bedrock(client, answer):
    told = of_upstream("converse", answer)

    made = passed_on(client, "converse", told, "converse")

    sent = [
        block["reasoningContent"]
        for message in json.loads(made.body)["messages"]
        for block in message["content"]
        if "reasoningContent" in block
    ]
    assert sent == [
        SAYS["converse"].block(part)["reasoningContent"]
        for part in told.choices[0].parts
        if isinstance(part, Thinking) and (part.signature or part.redacted)
    ]


@pytest.mark.parametrize("client", CARRYING)
@pytest.mark.parametrize(
    ("upstream", "other"),
    [
        (upstream, other)
        for upstream in SEALING
        for other in MODELS
        # At Bedrock, Anthropic's seals are its own.
        if other != upstream and (upstream, other) != ("anthropic", "converse")
    ],
)
@settings(max_examples=20, deadline=None)
@given(answer=answers())
def test_a_seal_does_not_go_to_who_has_not_made_it(upstream, other, client, answer):
    told = of_upstream(upstream, answer)
    choice = told.choices[0]
    thoughts, calls, signature = seals_in(choice.parts, choice.signature)

    made = passed_on(client, upstream, told, other)

    seals = [seal for thought in thoughts for seal in thought[1:] if seal]
    seals += [seal for seal in (*calls.values(), signature) if seal]
    for seal in seals:
        assert f'ignature":"{seal}"' not in made.body.decode()
    assert not seals or made.dropped or made.approximated
