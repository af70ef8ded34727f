"""Every official client with every provider: what it sees, what the upstream hears."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.processes.gateway_process import KEY, until
from tests.sdk.listeners import LISTENERS, City, Listener, Reply, Wishes
from tests.sdk.place import Place, client_of
from tests.sdk.said import (
    LONG,
    PLAIN,
    PNG,
    SEALS,
    Calling,
    Said,
    kinds,
    without_thinking,
)
from tests.sdk.speakers import DIRECT, GAP, HOSTED, NO_SEAL, Speaker


@pytest.fixture(scope="module", params=LISTENERS, ids=lambda listener: listener.name)
def client(
    request: pytest.FixtureRequest, everything: Place
) -> Iterator[Listener[Any]]:
    with client_of(everything, request.param) as listener:
        yield listener


@pytest.fixture(params=DIRECT, ids=lambda speaker: speaker.kind)
def upstream(request: pytest.FixtureRequest, place: Place) -> Speaker:
    return place.speakers[request.param.kind]


@pytest.fixture(params=(*DIRECT, *HOSTED), ids=lambda speaker: speaker.kind)
def anywhere(request: pytest.FixtureRequest, place: Place) -> Speaker:
    return place.speakers[request.param.kind]


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def streamed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def check_served(
    place: Place,
    client: Listener[Any],
    upstream: Speaker,
    said: Said,
    *,
    stream: bool = False,
) -> None:
    """Assert that one attempt was made and recorded, with what the model counted."""
    record = place.record(client)
    expected = {
        "operation": "chat",
        "dialect": client.dialect,
        "alias": upstream.kind,
        "provider": upstream.kind,
        "model": upstream.model,
        "stream": int(stream),
        "status": 200,
        "end_reason": "complete",
        "error_code": "",
        "usage_source": "provider",
        "key_id": "config:member",
        **upstream.tokens(said),
    }
    # Nothing reported is as good as nothing used, where there was nothing to report.
    found = {name: record[name] for name in expected}
    found["reasoning_tokens"] = found["reasoning_tokens"] or 0
    assert found == expected
    assert [(a["target"], a["status"]) for a in record["attempts"]] == [
        (f"{upstream.kind}/{upstream.model}", 200)
    ]
    assert client.headers["x-gandalf-target"] == f"{upstream.kind}/{upstream.model}"
    assert client.headers["x-gandalf-attempts"] == "1"
    raw = upstream.fake.requests[-1].raw
    assert KEY.encode() not in raw, "the client's key stays here"


def lost(client: Listener[Any]) -> dict[str, str]:
    """What the gateway says was lost on the way there."""
    return {
        name: client.headers[f"x-gandalf-{name}"]
        for name in ("dropped", "approximated")
        if f"x-gandalf-{name}" in client.headers
    }


def test_a_question_is_answered(
    place: Place, client: Listener[Any], anywhere: Speaker, streamed: bool
) -> None:
    anywhere.says(PLAIN)

    reply = client.ask(
        anywhere.kind,
        client.user("Hello?"),
        Wishes(system="Be brief."),
        stream=streamed,
    )

    assert (reply.text, reply.thinking, reply.calls) == ("Hello there", "", [])
    assert reply.finish == client.ends[0]
    assert (reply.prompt, reply.output) == (25, 7)
    heard = anywhere.heard()
    assert (heard.model, heard.stream) == (anywhere.model, streamed)
    assert heard.system == "Be brief."
    assert heard.turns == [("user", [("text", "Hello?")])]
    assert not lost(client)
    check_served(place, client, anywhere, PLAIN, stream=streamed)


# Tools.

TOOLS = {
    "get_weather": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Where"}},
        "required": ["city"],
    },
    "get_time": {
        "type": "object",
        "properties": {"zone": {"type": "string", "enum": ["CET", "UTC"]}},
        "required": ["zone"],
    },
}
CALLS = (
    Calling("get_weather", {"city": "Osló"}, "call_a"),
    Calling("get_time", {"zone": "CET"}, "call_b"),
)
CALLED = [(call.name, call.arguments) for call in CALLS]


def test_two_tools_are_called_and_their_results_answered(
    place: Place, client: Listener[Any], anywhere: Speaker, streamed: bool
) -> None:
    calling = Said(text=("Let me", " see."), calls=CALLS)
    anywhere.says(PLAIN, calling, Said(text=("It", " rains.")))
    wishes = Wishes(system="Be brief.", tools=TOOLS)

    def ask(messages: list[Any]) -> Reply:
        return client.ask(anywhere.kind, messages, wishes, stream=streamed)

    messages = client.user("Hello?")
    first = ask(messages)
    messages += [*first.native, *client.user("What is the weather in Osló?")]
    second = ask(messages)
    dropped = lost(client)
    check_served(place, client, anywhere, calling, stream=streamed)
    messages += [*second.native, *client.results(second, ["rain", "noon"])]
    third = ask(messages)

    assert (second.text, second.calls) == ("Let me see.", CALLED)
    assert second.finish == client.ends[1]
    assert (third.text, third.calls) == ("It rains.", [])
    assert third.finish == client.ends[0]
    heard = anywhere.heard()
    assert heard.turns == [
        ("user", [("text", "Hello?")]),
        ("assistant", [("text", "Hello there")]),
        ("user", [("text", "What is the weather in Osló?")]),
        (
            "assistant",
            [
                ("text", "Let me see."),
                ("call", "get_weather", {"city": "Osló"}),
                ("call", "get_time", {"zone": "CET"}),
            ],
        ),
        (
            "user",
            [("result", "get_weather", "rain"), ("result", "get_time", "noon")],
        ),
    ]
    assert heard.tools == TOOLS
    assert not dropped
    assert not lost(client)


# Images.


def test_an_image_reaches_the_upstream(
    place: Place, client: Listener[Any], upstream: Speaker
) -> None:
    upstream.says(PLAIN)

    reply = client.ask(upstream.kind, client.user("What is it?", PNG))

    assert reply.text == "Hello there"
    ((role, items),) = upstream.heard().turns
    assert role == "user"
    assert sorted(kinds(items)) == ["image", "text"]
    (image,) = (item for item in items if item[0] == "image")
    assert image[1] in ("image/png", None)  # Ollama finds out
    assert image[2] == PNG
    assert not lost(client)
    check_served(place, client, upstream, PLAIN)


# Structured answers.


# What OpenAI's client has parsed it does not expect in its own message.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_an_answer_is_of_the_schema_that_was_asked_for(
    place: Place, client: Listener[Any], upstream: Speaker, streamed: bool
) -> None:
    said = Said(text=('{"name": "Oslo"', ', "people": 709037}'))
    upstream.says(said)

    reply = client.ask(
        upstream.kind,
        client.user("Name a city."),
        Wishes(schema=City),
        stream=streamed,
    )

    schema = upstream.heard().schema
    assert json.loads(reply.text) == {"name": "Oslo", "people": 709037}
    if reply.parsed is not None or not streamed:
        assert reply.parsed == City(name="Oslo", people=709037)
    assert set(schema["properties"]) == {"name", "people"}
    assert sorted(schema["required"]) == ["name", "people"]
    kind = schema["properties"]["people"]["type"]
    assert kind.lower() == "integer"
    assert not lost(client)
    check_served(place, client, upstream, said, stream=streamed)

    upstream.says(PLAIN)
    again = [*client.user("Name a city."), *reply.native, *client.user("Why?")]
    client.ask(upstream.kind, again, stream=streamed)

    assert upstream.heard().turns[1] == ("assistant", [("text", said.whole)])
    assert not lost(client)


# Thinking.

THOUGHT = "I should look first."


def test_thinking_is_shown_and_its_seal_comes_back(
    place: Place, client: Listener[Any], upstream: Speaker, streamed: bool
) -> None:
    calling = Said(text=(), thinking=THOUGHT, calls=CALLS)
    upstream.says(calling, PLAIN)
    wishes = Wishes(tools=TOOLS, thinking=True)
    messages = client.user("What is the weather in Osló?")

    first = client.ask(upstream.kind, messages, wishes, stream=streamed)
    check_served(place, client, upstream, calling, stream=streamed)
    asked = upstream.heard().thinking
    messages += [*first.native, *client.results(first, ["rain", "noon"])]
    second = client.ask(upstream.kind, messages, wishes, stream=streamed)

    assert (first.thinking, first.text, first.calls) == (THOUGHT, "", CALLED)
    assert (first.prompt, first.output) == (25, 10)
    assert asked
    assert second.text == "Hello there"
    heard = upstream.heard()
    assert without_thinking(heard).turns[1] == (
        "assistant",
        [("call", *call) for call in CALLED],
    )
    if upstream.seals_thinking and client.returns_seals:
        assert heard.seals == [SEALS[upstream.dialect]]
        thought = [item for item in heard.turns[1][1] if item[0] == "thinking"]
        # A seal is good for the very text that it was made for.
        if upstream.kind == "anthropic":
            assert thought == [("thinking", THOUGHT, SEALS["anthropic"])]
    else:
        assert heard.seals == []


# Errors.


@pytest.mark.parametrize("status", [400, 429, 500])
def test_an_error_of_the_upstream_is_one_of_the_clients_own(
    place: Place,
    client: Listener[Any],
    anywhere: Speaker,
    status: int,
    streamed: bool,
) -> None:
    anywhere.refuses(status, "tomatoes are not fruit")

    with pytest.raises(client.refused(status)) as raised:
        client.ask(anywhere.kind, client.user("Hello?"), stream=streamed)

    shown = {500: 502}.get(status, status)
    assert client.status_of(raised.value) == shown
    assert "tomatoes are not fruit" in str(raised.value)
    record = place.record(client)
    assert (record["status"], record["end_reason"]) == (shown, "failed")
    assert record["usage_source"] == "none"
    assert [a["status"] for a in record["attempts"]] == [status]


# Answers that break off.


def test_an_answer_that_breaks_off_is_an_error(
    place: Place, client: Listener[Any], anywhere: Speaker
) -> None:
    whole = anywhere.of(LONG).body[0]
    assert isinstance(whole, bytes)
    anywhere.says(LONG, cut=len(whole) // 2)

    with pytest.raises(client.refused(502)) as raised:
        client.ask(anywhere.kind, client.user("Hello?"))

    assert client.status_of(raised.value) == 502
    assert place.record(client)["end_reason"] == "failed"


def test_a_stream_that_breaks_off_is_an_error(
    place: Place, client: Listener[Any], anywhere: Speaker
) -> None:
    events = anywhere.streamed(LONG).body
    size = sum(len(event) for event in events if isinstance(event, bytes))
    anywhere.says(LONG, cut=size // 2)
    got = []

    with pytest.raises(client.broken):
        got.extend(client.pieces(anywhere.kind, client.user("Hello?")))

    assert "".join(got) == LONG.whole[: len("".join(got))] != ""
    record = place.record(client)
    assert (record["status"], record["end_reason"]) == (200, "incomplete")


def test_a_stream_that_ends_too_early_is_an_error_though_its_framing_is_whole(
    place: Place, client: Listener[Any], anywhere: Speaker
) -> None:
    whole = anywhere.streamed(LONG)
    anywhere.script(replace(whole, body=whole.body[: -anywhere.closing]))
    got = []

    with pytest.raises(client.broken):
        got.extend(client.pieces(anywhere.kind, client.user("Hello?")))

    assert got
    assert place.record(client)["end_reason"] == "incomplete"


# Clients that leave.


@pytest.mark.parametrize("make", LISTENERS, ids=lambda listener: listener.name)
def test_the_upstream_stops_when_the_client_has_left(
    place: Place, make: type[Listener[Any]], anywhere: Speaker
) -> None:
    anywhere.says(LONG, gap=GAP)
    with client_of(place, make) as client:
        pieces = client.pieces(anywhere.kind, client.user("Hello?"))
        next(pieces)
        request = anywhere.fake.requests[-1]
        assert not request.client_left.is_set()
        request_id = client.request_id
        pieces.close()  # type: ignore[attr-defined]

    until(request.client_left.is_set, 1)
    assert request.answered_at is None
    record = place.record_of(request_id)
    assert record["end_reason"] == "client_disconnect"


# Conversations that move from one provider to another.


@pytest.mark.parametrize("first", DIRECT, ids=lambda speaker: speaker.kind)
def test_a_conversation_goes_on_with_another_provider_without_the_seals_of_the_first(
    place: Place, client: Listener[Any], first: type[Speaker], upstream: Speaker
) -> None:
    before = place.speakers[first.kind]
    if before is upstream:
        pytest.skip("it goes on where it was")
    before.says(Said(text=(), thinking=THOUGHT, calls=CALLS))
    upstream.says(PLAIN)
    wishes = Wishes(tools=TOOLS, thinking=True)
    messages = client.user("What is the weather in Osló?")

    reply = client.ask(before.kind, messages, wishes)
    messages += [*reply.native, *client.results(reply, ["rain", "noon"])]
    answer = client.ask(upstream.kind, messages, wishes)

    assert answer.text == "Hello there"
    heard = upstream.heard()
    assert set(heard.seals) <= {NO_SEAL}
    assert without_thinking(heard).turns == [
        ("user", [("text", "What is the weather in Osló?")]),
        ("assistant", [("call", *call) for call in CALLED]),
        (
            "user",
            [("result", "get_weather", "rain"), ("result", "get_time", "noon")],
        ),
    ]
    thinking = [i for _, items in heard.turns for i in items if i[0] == "thinking"]
    # Anthropic takes back nothing that it has not sealed.
    assert not (upstream.kind == "anthropic" and thinking)
