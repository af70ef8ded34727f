"""The official ``openai`` client against a gateway process, as users would run them.

Once with the provider inside the process, and once with an upstream that shares no
code with the gateway.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - the loop that the users of the async client are on
import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from tests.fakes import openai_format as fmt
from tests.fakes.upstream import FakeUpstream, chat, respond, stream
from tests.processes.gateway_process import (
    ADMIN_KEY,
    KEY,
    GatewayProcess,
    gateway,
    route,
    settings,
    upstream_in_a_thread,
)

LIMITED_KEY = "gnd_one_request_a_minute"

WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
}


@dataclass
class Place:
    """Where a test runs: a gateway, and behind it one kind of upstream."""

    gateway: GatewayProcess
    provider: str
    fake: FakeUpstream

    @property
    def model(self) -> str:
        return f"chat-{self.provider}"

    @property
    def target(self) -> str:
        return f"{self.provider}/m-1"

    def script(self, *answers: Any) -> None:
        """What the fake upstream says next; the simulated one knows by itself."""
        if self.provider == "fake":
            self.fake.script(*answers)

    def record(self, request_id: str) -> dict[str, Any]:
        return self.gateway.record(request_id)


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[GatewayProcess, FakeUpstream]]:
    with upstream_in_a_thread() as upstream:
        fake = {"name": "fake", "type": "openai", "base_url": upstream.url}
        base = settings()
        limited = {"name": "limited", "key": LIMITED_KEY, "rpm_limit": 1}
        config = base | {
            "providers": [{"name": "simulated"}, fake],
            "routes": [route(f"chat-{p}", p) for p in ("simulated", "fake")],
            "keys": [*base["keys"], limited],
            "cache": {"enabled": False},
        }
        with gateway(tmp_path_factory.mktemp("sdk"), config) as process:
            yield process, upstream


@pytest.fixture(params=["simulated", "fake"])
def place(
    request: pytest.FixtureRequest, running: tuple[GatewayProcess, FakeUpstream]
) -> Place:
    return Place(running[0], request.param, running[1])


@pytest.fixture
def client(place: Place) -> Iterator[openai.OpenAI]:
    with sdk(place) as client:
        yield client


def sdk(place: Place, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{place.gateway.url}/v1",
        api_key=key,
        max_retries=0,
        timeout=10,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    )


def says(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


# Models.


def test_the_models_are_the_aliases(client: openai.OpenAI) -> None:
    listed = {model.id for model in client.models.list()}
    assert listed == {"chat-simulated", "chat-fake"}
    assert client.models.retrieve("chat-fake").id == "chat-fake"


# Chat.


def test_a_chat_is_answered_and_recorded_with_its_attempt(
    place: Place, client: openai.OpenAI
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=place.model, messages=says("Hello")
    )
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert raw.headers["x-gandalf-target"] == place.target
    assert raw.headers["x-gandalf-attempts"] == "1"

    record = place.record(raw.headers["x-request-id"])
    assert record["end_reason"] == "complete"
    assert record["key_id"] == "config:member"
    assert (record["alias"], record["provider"]) == (place.model, place.provider)
    assert record["input_tokens"] == answer.usage.prompt_tokens
    assert record["output_tokens"] == answer.usage.completion_tokens
    attempts = record["attempts"]
    assert [(a["n"], a["target"], a["status"]) for a in attempts] == [
        (0, place.target, 200)
    ]


def test_the_request_id_that_a_client_chose_is_the_one_on_record(
    place: Place, client: openai.OpenAI
) -> None:
    chosen = f"chosen-{place.provider}"
    raw = client.chat.completions.with_raw_response.create(
        model=place.model,
        messages=says("Hello"),
        extra_headers={"x-request-id": chosen},
    )
    assert raw.headers["x-request-id"] == chosen
    assert place.record(chosen)["client_request_id"] == chosen


def test_a_stream_has_no_usage_chunk_unless_asked(
    place: Place, client: openai.OpenAI
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=place.model, messages=says("Hello"), stream=True
    )
    chunks = list(raw.parse())
    assert "".join(c.choices[0].delta.content or "" for c in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(c.usage is None for c in chunks)
    # It was counted all the same.
    record = place.record(raw.headers["x-request-id"])
    assert record["end_reason"] == "complete"
    assert record["stream"] == 1
    assert record["usage_source"] == "provider"
    assert record["output_tokens"] > 0
    assert record["attempts"][0]["target"] == place.target


def test_a_stream_ends_with_the_usage_if_that_was_asked_for(
    place: Place, client: openai.OpenAI
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=place.model,
        messages=says("Hello"),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(raw.parse())
    assert [c.usage is not None for c in chunks].count(True) == 1
    usage = chunks[-1].usage
    assert usage is not None
    assert chunks[-1].choices == []
    record = place.record(raw.headers["x-request-id"])
    assert record["input_tokens"] == usage.prompt_tokens
    assert record["output_tokens"] == usage.completion_tokens


def test_a_tool_is_called_and_its_result_answered(
    place: Place, client: openai.OpenAI
) -> None:
    place.script(
        chat(None, tool_calls=[CALL], finish_reason="tool_calls"),
        chat("It rains in Oslo"),
    )
    messages = says("What is the weather in Oslo?")
    first = client.chat.completions.create(
        model=place.model, messages=messages, tools=[WEATHER], tool_choice="required"
    )
    assert first.choices[0].finish_reason == "tool_calls"
    assert first.choices[0].message.tool_calls
    call = first.choices[0].message.tool_calls[0]
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert "city" in json.loads(call.function.arguments)

    second = client.chat.completions.create(
        model=place.model,
        messages=[
            *messages,
            first.choices[0].message.to_dict(),  # type: ignore[list-item] # as users do
            {"role": "tool", "tool_call_id": call.id, "content": "rain"},
        ],
        tools=[WEATHER],
    )
    assert second.choices[0].finish_reason == "stop"
    said = "It rains in Oslo" if place.provider == "fake" else "The tool answered"
    assert said in (second.choices[0].message.content or "")
    if place.provider == "fake":
        sent = place.fake.requests[-1].json()["messages"]
        assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] == "call_1"


def test_the_pieces_of_a_streamed_tool_call_come_together(
    place: Place, client: openai.OpenAI
) -> None:
    opening = {**CALL, "index": 0}
    opening["function"] = {"name": "get_weather", "arguments": ""}
    pieces = [
        {"index": 0, "function": {"arguments": a}} for a in ('{"city":', '"Oslo"}')
    ]
    place.script(
        stream(
            *(fmt.event(fmt.chunk(tool_calls=[t])) for t in (opening, *pieces)),
            fmt.event(fmt.chunk(finish_reason="tool_calls")),
            fmt.DONE,
        )
    )
    with client.chat.completions.stream(
        model=place.model,
        messages=says("What is the weather in Oslo?"),
        tools=[WEATHER],
        tool_choice="required",
    ) as events:
        final = events.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.choices[0].message.tool_calls
    function = final.choices[0].message.tool_calls[0].function
    assert function.name == "get_weather"
    assert "city" in json.loads(function.arguments)


def test_fields_that_the_gateway_does_not_know_reach_the_upstream_untouched(
    running: tuple[GatewayProcess, FakeUpstream],
) -> None:
    place = Place(running[0], "fake", running[1])
    extra = {"top_k": 7, "nested": {"ü": [1, 1.50, None]}, "empty": "", "no": None}
    with sdk(place) as client:
        client.chat.completions.create(
            model=place.model, messages=says("Hello"), extra_body=extra
        )
    request = place.fake.requests[-1]
    assert request.json() == {
        "messages": [{"role": "user", "content": "Hello"}],
        "model": "m-1",
        **extra,
    }
    assert request.header("authorization") is None  # the client's key stays here


# Embeddings.


def test_embeddings_come_as_floats_and_as_base64(
    place: Place, client: openai.OpenAI
) -> None:
    packed = b'"%b"' % base64.b64encode(struct.pack("<2f", 0.5, 0.25))
    place.script(
        respond(fmt.embeddings((0.5, 0.25))),
        respond(fmt.embeddings((0.5, 0.25)).replace(b"[0.5, 0.25]", packed)),
    )
    floats = client.embeddings.create(
        model=place.model, input="Hello", encoding_format="float"
    )
    raw = client.embeddings.with_raw_response.create(
        model=place.model, input="Hello", encoding_format="base64"
    )
    text = json.loads(raw.content)["data"][0]["embedding"]
    assert isinstance(text, str)
    data = base64.b64decode(text)
    unpacked = struct.unpack(f"<{len(data) // 4}f", data)
    assert unpacked == pytest.approx(floats.data[0].embedding, abs=1e-6)

    record = place.record(raw.headers["x-request-id"])
    assert record["operation"] == "embeddings"
    assert record["input_tokens"] == floats.usage.prompt_tokens
    assert record["attempts"][0]["target"] == place.target


# Errors.


def test_a_key_that_nobody_has_is_an_authentication_error(place: Place) -> None:
    with sdk(place, "gnd_of_nobody") as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            client.chat.completions.create(model=place.model, messages=says("Hello"))
    assert raised.value.status_code == 401
    assert raised.value.code == "invalid_api_key"


def test_a_model_that_is_not_there_is_a_not_found_error(
    place: Place, client: openai.OpenAI
) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="gpt-nowhere", messages=says("Hello"))
    assert raised.value.code == "model_not_found"
    assert raised.value.request_id
    record = place.record(raised.value.request_id)
    assert (record["status"], record["end_reason"]) == (404, "refused")
    assert record["attempts"] == []


def test_a_body_that_makes_no_sense_is_a_bad_request_error(
    place: Place, client: openai.OpenAI
) -> None:
    before = len(place.fake.requests)
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(
            model=place.model,
            messages=says("Hello"),
            extra_body={"stream": "perhaps"},
        )
    assert raised.value.type == "invalid_request_error"
    assert raised.value.request_id
    record = place.record(raised.value.request_id)
    assert (record["status"], record["attempts"]) == (400, [])
    assert len(place.fake.requests) == before


def test_the_second_request_of_a_minute_is_a_rate_limit_error(
    running: tuple[GatewayProcess, FakeUpstream],
) -> None:
    place = Place(running[0], "simulated", running[1])
    with sdk(place, LIMITED_KEY) as client:
        client.chat.completions.create(model=place.model, messages=says("Hello"))
        with pytest.raises(openai.RateLimitError) as raised:
            client.chat.completions.create(model=place.model, messages=says("Hello"))
    assert 1 <= int(raised.value.response.headers["retry-after"]) <= 60
    assert raised.value.request_id
    assert place.record(raised.value.request_id)["status"] == 429


def test_a_member_does_not_see_what_others_asked(place: Place) -> None:
    with sdk(place, ADMIN_KEY) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=place.model, messages=says("Hello")
        )
    request_id = raw.headers["x-request-id"]
    assert place.record(request_id)["key_id"] == "config:admin"
    with place.gateway.client(KEY) as member:
        assert member.get(f"/admin/v1/requests/{request_id}").status_code in (403, 404)


# The asynchronous client.


def test_the_asynchronous_client_streams_many_answers_at_once(place: Place) -> None:
    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        events = await client.chat.completions.create(
            model=place.model, messages=says(f"Number {number}"), stream=True
        )
        return "".join([c.choices[0].delta.content or "" async for c in events])

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=f"{place.gateway.url}/v1",
            api_key=KEY,
            max_retries=0,
            timeout=10,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
        ) as client:
            return await asyncio.gather(*(one(client, n) for n in range(20)))

    texts = asyncio.run(all_of_them())
    assert len(texts) == 20
    if place.provider == "simulated":
        assert all(f"Number {n}" in text for n, text in enumerate(texts))
    else:
        whole = "".join(
            chunk["choices"][0]["delta"].get("content") or ""
            for event in fmt.chat_events(usage=None)[:-1]
            for chunk in [json.loads(event.removeprefix(b"data: "))]
        )
        assert texts == [whole] * 20
