"""What only one of the official clients can ask for, or asks for in its own way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anthropic
import ollama
import openai
import pytest
from google import genai
from google.genai import types

from tests.fakes import anthropic_format, gemini_format, ollama_format, openai_format
from tests.fakes.upstream import Request, respond
from tests.processes.gateway_process import KEY
from tests.sdk import listeners
from tests.sdk.listeners import LISTENERS, Listener, listening
from tests.sdk.place import Place, client_of, embedding_alias
from tests.sdk.said import LONG, PLAIN, PNG, Calling, Said
from tests.sdk.speakers import DIRECT, HOSTED, Speaker

EMBEDDING = [speaker for speaker in DIRECT if speaker.embedding_model]


@pytest.fixture(params=LISTENERS, ids=lambda listener: listener.name)
def any_client(request: pytest.FixtureRequest, place: Place) -> Iterator[Listener[Any]]:
    with client_of(place, request.param) as listener:
        yield listener


@pytest.fixture(params=DIRECT, ids=lambda speaker: speaker.kind)
def upstream(request: pytest.FixtureRequest, place: Place) -> Speaker:
    return place.speakers[request.param.kind]


@pytest.fixture(params=(*DIRECT, *HOSTED), ids=lambda speaker: speaker.kind)
def anywhere(request: pytest.FixtureRequest, place: Place) -> Speaker:
    return place.speakers[request.param.kind]


@pytest.fixture
def openai_client(place: Place) -> Iterator[openai.OpenAI]:
    with client_of(place, listeners.OpenAI) as listener:
        yield listener.client


@pytest.fixture
def anthropic_client(place: Place) -> Iterator[anthropic.Anthropic]:
    with client_of(place, listeners.Anthropic) as listener:
        yield listener.client


@pytest.fixture
def google_client(place: Place) -> Iterator[genai.Client]:
    with client_of(place, listeners.Gemini) as listener:
        yield listener.client


@pytest.fixture
def ollama_client(place: Place) -> Iterator[ollama.Client]:
    with client_of(place, listeners.Ollama) as listener:
        yield listener.client


# All of them.


def test_the_models_are_the_aliases(place: Place, any_client: Listener[Any]) -> None:
    assert set(any_client.listed()) == place.aliases


@pytest.mark.parametrize("make", LISTENERS, ids=lambda listener: listener.name)
def test_a_key_that_nobody_has_is_refused(
    place: Place, make: type[Listener[Any]]
) -> None:
    with listening(make, place.gateway.url, "gnd_of_nobody") as client:
        with pytest.raises(client.refused(401)) as raised:
            client.ask("openai", client.user("Hello?"))

    assert client.status_of(raised.value) == 401
    assert "gnd_of_nobody" not in str(raised.value)


def test_a_model_that_is_not_there_is_not_found(any_client: Listener[Any]) -> None:
    with pytest.raises(any_client.refused(404)) as raised:
        any_client.ask("nowhere", any_client.user("Hello?"))

    assert any_client.status_of(raised.value) == 404
    assert "nowhere" in str(raised.value)


def test_that_an_upstream_refuses_the_gateways_key_is_not_the_clients_fault(
    place: Place, any_client: Listener[Any]
) -> None:
    # One for each client: such a provider is left alone for a while.
    upstream = place.speakers["openai"]
    upstream.script(respond(openai_format.error("bad key sk-secret"), 401))

    with pytest.raises(any_client.refused(502)) as raised:
        any_client.ask(f"dead-for-{any_client.name}", any_client.user("Hello?"))

    assert any_client.status_of(raised.value) == 502
    assert "sk-secret" not in str(raised.value)
    assert [a["status"] for a in place.record(any_client)["attempts"]] == [401]


_FAILURES = {
    "openai": b'data: {"error":{"message":"on fire","type":"server_error"}}\n\n',
    "anthropic": anthropic_format.error_event("on fire"),
    "gemini": gemini_format.bare_error(code=503, message="on fire"),
    "ollama": ollama_format.line(ollama_format.error("on fire")),
}


def test_an_error_in_the_midst_of_a_stream_is_raised_with_its_message(
    place: Place, any_client: Listener[Any], upstream: Speaker
) -> None:
    answer = upstream.streamed(LONG)
    # What comes together with its failure is no answer at all yet.
    steps = (*answer.body[:6], 0.5, _FAILURES[upstream.kind])
    upstream.script(replace(answer, body=steps))
    got: list[str] = []

    with pytest.raises(any_client.broken, match="on fire"):
        got.extend(any_client.pieces(upstream.kind, any_client.user("Hello?")))

    assert got
    assert place.record(any_client)["end_reason"] == "incomplete"


# What is lost on the way is said.


def test_what_a_provider_does_not_have_is_named_in_the_words_of_the_client(
    place: Place, openai_client: openai.OpenAI
) -> None:
    place.speakers["anthropic"].says(PLAIN)

    raw = openai_client.chat.completions.with_raw_response.create(
        model="anthropic",
        messages=[{"role": "user", "content": "Hello?"}],
        seed=7,
        frequency_penalty=0.5,
        extra_body={"mood": "good"},
    )

    dropped = raw.headers["x-gandalf-dropped"]
    assert set(dropped.split(", ")) == {"seed", "frequency_penalty", "mood"}
    assert "seed" not in place.speakers["anthropic"].fake.requests[-1].json()


def test_who_is_strict_is_refused_rather_than_served_less(
    place: Place, openai_client: openai.OpenAI
) -> None:
    before = len(place.speakers["anthropic"].fake.requests)

    with pytest.raises(openai.BadRequestError) as raised:
        openai_client.chat.completions.create(
            model="anthropic",
            messages=[{"role": "user", "content": "Hello?"}],
            seed=7,
            extra_headers={"x-gandalf-strict": "true"},
        )

    assert raised.value.param == "seed"
    assert len(place.speakers["anthropic"].fake.requests) == before


def test_an_image_by_its_url_is_refused_where_nobody_would_fetch_it(
    anthropic_client: anthropic.Anthropic,
) -> None:
    url = {"type": "url", "url": "https://example.com/a.png"}

    with pytest.raises(anthropic.BadRequestError) as raised:
        anthropic_client.messages.create(
            model="ollama",
            max_tokens=10,
            messages=[
                {"role": "user", "content": [{"type": "image", "source": url}]}  # type: ignore[list-item, typeddict-item]
            ],
        )

    assert raised.value.type == "invalid_request_error"


# OpenAI.


def test_the_client_for_azure_is_served_in_its_own_urls(
    place: Place, upstream: Speaker
) -> None:
    upstream.says(PLAIN, PLAIN)
    with client_of(place, listeners.AzureOpenAI) as client:
        whole = client.ask(upstream.kind, client.user("Hello?"))
        streamed = client.ask(upstream.kind, client.user("Hello?"), stream=True)

    assert whole.text == streamed.text == "Hello there"
    assert (whole.prompt, streamed.output) == (25, 7)
    heard = upstream.heard()
    assert heard.model == upstream.model
    assert heard.turns == [("user", [("text", "Hello?")])]
    assert place.record(client)["dialect"] == "openai"


@pytest.mark.parametrize("speaker", EMBEDDING, ids=lambda speaker: speaker.kind)
def test_embeddings_of_openais_client(
    place: Place, openai_client: openai.OpenAI, speaker: type[Speaker]
) -> None:
    # As base64, which the client asks for by itself, and two at once.
    place.speakers[speaker.kind].embeds((0.5, 0.25), (1.0, -0.5))

    if speaker.kind == "openai":
        answer = openai_client.embeddings.create(
            model=embedding_alias(speaker.kind),
            input=["Hello", "there"],
            encoding_format="float",  # the fake says nothing else
        )
    else:
        answer = openai_client.embeddings.create(
            model=embedding_alias(speaker.kind), input=["Hello", "there"]
        )

    assert [list(d.embedding) for d in answer.data] == [[0.5, 0.25], [1.0, -0.5]]
    assert [d.index for d in answer.data] == [0, 1]


# Anthropic.


def test_tokens_are_counted_by_whom_can(
    place: Place, anthropic_client: anthropic.Anthropic
) -> None:
    fakes = {kind: place.speakers[kind].fake for kind in ("anthropic", "gemini")}
    fakes["anthropic"].script(respond(anthropic_format.count(14)))
    fakes["gemini"].script(respond(gemini_format.count(7)))

    counts = {
        kind: anthropic_client.messages.count_tokens(
            model=kind, messages=[{"role": "user", "content": "Hello?"}]
        ).input_tokens
        for kind in fakes
    }

    assert counts == {"anthropic": 14, "gemini": 7}
    targets = [fake.requests[-1].target for fake in fakes.values()]
    assert targets[0].startswith("/v1/messages/count_tokens")
    assert targets[1].endswith(":countTokens")


def test_the_events_of_anthropics_stream_helper(
    place: Place, anthropic_client: anthropic.Anthropic, upstream: Speaker
) -> None:
    upstream.says(PLAIN)

    with anthropic_client.messages.stream(
        model=upstream.kind,
        max_tokens=100,
        messages=[{"role": "user", "content": "Hello?"}],
    ) as events:
        kinds = [event.type for event in events]
        message = events.get_final_message()

    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 1
    assert "text" in kinds
    assert message.stop_reason == "end_turn"
    assert message.id


# Gemini.


def test_tokens_are_counted_for_googles_client(
    place: Place, google_client: genai.Client
) -> None:
    place.speakers["gemini"].script(respond(gemini_format.count(7)))
    place.speakers["anthropic"].script(respond(anthropic_format.count(14)))

    counts = [
        google_client.models.count_tokens(model=kind, contents="Hello?").total_tokens
        for kind in ("gemini", "anthropic")
    ]

    assert counts == [7, 14]


@pytest.mark.parametrize("speaker", EMBEDDING, ids=lambda speaker: speaker.kind)
def test_embeddings_of_googles_client(
    place: Place, google_client: genai.Client, speaker: type[Speaker]
) -> None:
    place.speakers[speaker.kind].embeds((0.5, 0.25), (1.0, -0.5))

    answer = google_client.models.embed_content(
        model=embedding_alias(speaker.kind), contents=["Hello", "there"]
    )

    assert answer.embeddings
    assert [each.values for each in answer.embeddings] == [[0.5, 0.25], [1.0, -0.5]]


def test_a_chat_of_googles_client_goes_on(
    place: Place, google_client: genai.Client, upstream: Speaker
) -> None:
    upstream.says(PLAIN, PLAIN)
    chat = google_client.chats.create(model=upstream.kind)

    for _ in chat.send_message_stream("Hello?"):
        pass
    answer = chat.send_message("And now?")

    assert answer.text == "Hello there"
    assert upstream.heard().turns == [
        ("user", [("text", "Hello?")]),
        ("assistant", [("text", "Hello there")]),
        ("user", [("text", "And now?")]),
    ]


def test_white_space_that_came_as_a_piece_of_its_own_stays_in_the_history(
    place: Place, google_client: genai.Client, anywhere: Speaker
) -> None:
    anywhere.says(PLAIN)
    # A chat keeps the pieces of a stream as they came.
    pieces = [types.Part(text=text) for text in ("Hello", "\n\n", "there")]

    google_client.models.generate_content(
        model=anywhere.kind,
        contents=[
            types.Content(role="user", parts=[types.Part(text="Hello?")]),
            types.Content(role="model", parts=pieces),
            types.Content(role="user", parts=[types.Part(text="And now?")]),
        ],
    )

    assert anywhere.heard().turns[1] == ("assistant", [("text", "Hello\n\nthere")])


def test_functions_that_googles_client_calls_by_itself(
    place: Place, google_client: genai.Client, upstream: Speaker
) -> None:
    upstream.says(
        Said(text=(), calls=(Calling("weather_in", {"city": "Oslo"}),)), PLAIN
    )
    asked: list[str] = []

    def weather_in(city: str) -> str:
        """Tell the weather in a city."""
        asked.append(city)
        return "rain"

    answer = google_client.models.generate_content(
        model=upstream.kind,
        contents="What is the weather in Oslo?",
        config=types.GenerateContentConfig(tools=[weather_in]),
    )

    assert asked == ["Oslo"]
    assert answer.text == "Hello there"
    heard = upstream.heard()
    assert heard.turns[-1] == ("user", [("result", "weather_in", "rain")])
    properties = heard.tools["weather_in"]["properties"]
    assert properties["city"]["type"].lower() == "string"


# Ollama.


def test_a_generation_of_ollamas_client_is_a_chat_elsewhere(
    place: Place, ollama_client: ollama.Client
) -> None:
    upstream = place.speakers["anthropic"]
    upstream.says(PLAIN, PLAIN)

    whole = ollama_client.generate(
        "anthropic", "Hello?", system="Be brief.", images=[PNG]
    )
    pieces = list(ollama_client.generate("anthropic", "Hello?", stream=True))

    assert whole.response == "".join(p.response for p in pieces) == "Hello there"
    assert whole.done
    assert pieces[-1].done
    assert (whole.prompt_eval_count, whole.eval_count) == (25, 7)
    heard = upstream.hear(upstream.fake.requests[-2])
    assert heard.system == "Be brief."
    assert sorted(item[0] for item in heard.turns[0][1]) == ["image", "text"]


def test_a_generation_of_ollamas_client_reaches_ollama_as_it_is(
    place: Place, ollama_client: ollama.Client
) -> None:
    def answer(request: Request) -> Any:
        assert request.target == "/api/generate"
        return respond(ollama_format.generation("Hello there"))

    place.speakers["ollama"].script(answer)

    assert ollama_client.generate("ollama", "Hello?").response == "Hello there"


@pytest.mark.parametrize("speaker", EMBEDDING, ids=lambda speaker: speaker.kind)
def test_embeddings_of_ollamas_client(
    place: Place, ollama_client: ollama.Client, speaker: type[Speaker]
) -> None:
    place.speakers[speaker.kind].embeds((0.5, 0.25), (1.0, -0.5))

    answer = ollama_client.embed(embedding_alias(speaker.kind), ["Hello", "there"])

    assert [list(vector) for vector in answer.embeddings] == [[0.5, 0.25], [1.0, -0.5]]


def test_ollamas_client_is_shown_a_model(ollama_client: ollama.Client) -> None:
    shown = ollama_client.show("anthropic")

    assert shown.capabilities
    assert "completion" in shown.capabilities
    assert shown.modelinfo


def test_ollamas_client_has_the_key_from_its_environment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", KEY)
    place.speakers["openai"].says(PLAIN)

    client = ollama.Client(place.gateway.url, trust_env=False, timeout=10)
    try:
        answer = client.chat("openai", [{"role": "user", "content": "Hello?"}])
    finally:
        client.close()

    assert answer.message.content == "Hello there"


# The edges of tools.


def test_a_tool_that_must_be_called_and_one_that_failed(
    place: Place, anthropic_client: anthropic.Anthropic, upstream: Speaker
) -> None:
    tool: Any = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
    used: Any = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    result: Any = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": "no such city",
        "is_error": True,
    }
    upstream.says(PLAIN)

    message = anthropic_client.messages.create(
        model=upstream.kind,
        max_tokens=100,
        tools=[tool],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        messages=[
            {"role": "user", "content": "Hello?"},
            {"role": "assistant", "content": [used]},
            {"role": "user", "content": [result]},
        ],
    )

    assert message.content[0].type == "text"
    ((kind, name, text),) = upstream.heard().turns[-1][1]
    assert (kind, name) == ("result", "f")
    assert "no such city" in text


def test_system_and_wishes_reach_every_upstream_in_its_own_fields(
    place: Place, openai_client: openai.OpenAI, upstream: Speaker
) -> None:
    upstream.says(PLAIN)

    openai_client.chat.completions.create(
        model=upstream.kind,
        max_completion_tokens=77,
        stop=["END"],
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "Hello?"},
        ],
    )

    body = upstream.fake.requests[-1].json()
    options = body.get("generationConfig") or body.get("options") or body
    limits = {
        "openai": "max_completion_tokens",
        "anthropic": "max_tokens",
        "gemini": "maxOutputTokens",
        "ollama": "num_predict",
    }
    stops = {"anthropic": "stop_sequences", "gemini": "stopSequences"}
    assert options[limits[upstream.kind]] == 77
    assert options[stops.get(upstream.kind, "stop")] == ["END"]
    assert upstream.heard().system == "Be brief."
