import base64
import json
import math
import struct

import httpx
import openai
import pytest
import trio
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gandalf.config import Provider, Simulation
from gandalf.providers.base import Ask, UpstreamRequest
from gandalf.providers.simulated import Simulated
from gandalf.providers.simulated.schema import Unsatisfiable, instance
from gandalf.providers.watch import ScopedWatch, UpstreamBroken


def a_provider(name="sim", **simulation):
    return Simulated(Provider(name=name, simulation=Simulation(**simulation)))


async def send(upstream, body, operation="chat"):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    ask = Ask(operation=operation, model="ignored", body=raw)
    request = await upstream.request(ask)
    with trio.CancelScope() as scope:
        return await upstream.send(request, upstream.timeouts, ScopedWatch(scope))
    raise AssertionError("cancelled")


async def read(response):
    """The whole body, as the pieces came, each with the time it came at."""
    pieces = []
    while data := await response.receive():
        pieces.append((trio.current_time(), data))
    response.close()
    return pieces


async def ask(upstream, body, operation="chat"):
    response = await send(upstream, body, operation)
    return response.status, b"".join(data for _, data in await read(response))


async def ask_json(upstream, body, operation="chat"):
    status, raw = await ask(upstream, body, operation)
    assert status == 200, raw
    return json.loads(raw)


async def ask_stream(upstream, body):
    """The chunks of a stream, which must end as OpenAI's do."""
    status, raw = await ask(upstream, {**body, "stream": True})
    assert status == 200, raw
    events = raw.split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    return [json.loads(event.removeprefix(b"data: ")) for event in events[:-2]]


def a_chat(text="Speak, friend", **fields):
    message = {"role": "user", "content": text}
    return {"model": "gpt-4o", "messages": [message], **fields}


def a_tool(name="get_weather", **properties):
    properties = properties or {"location": {"type": "string"}}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }
    return {"type": "function", "function": {"name": name, "parameters": schema}}


# --- what it says ---


async def test_a_chat_completion_has_exactly_openais_fields():
    answer = await ask_json(a_provider(), a_chat())

    ChatCompletion.model_validate(answer, strict=True)
    assert list(answer) == [
        "id",
        "object",
        "created",
        "model",
        "choices",
        "usage",
        "service_tier",
        "system_fingerprint",
    ]
    (choice,) = answer["choices"]
    assert list(choice) == ["index", "message", "logprobs", "finish_reason"]
    assert list(choice["message"]) == ["role", "content", "refusal", "annotations"]
    assert choice["message"]["role"] == "assistant"
    assert "Speak, friend" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    assert answer["model"] == "gpt-4o"
    assert answer["usage"] == {
        "prompt_tokens": 11,  # 3 for the reply, 4 for the message, 13 characters
        "completion_tokens": 16,
        "total_tokens": 27,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


async def test_the_same_request_gets_the_same_text_from_any_provider():
    one = await ask_json(a_provider("one"), a_chat())
    other = await ask_json(a_provider("other"), a_chat())

    assert one["choices"] == other["choices"]
    assert one["id"] != other["id"]


async def test_another_question_or_seed_gets_another_text():
    upstream = a_provider()
    texts = [
        (await ask_json(upstream, body))["choices"][0]["message"]["content"]
        for body in (a_chat(), a_chat("Mellon"), a_chat(seed=1))
    ]

    assert len(set(texts)) == 3


async def test_no_two_answers_have_the_same_id():
    upstream = a_provider()

    ids = {(await ask_json(upstream, a_chat()))["id"] for _ in range(50)}

    assert len(ids) == 50


async def test_text_parts_of_a_message_are_read_and_others_are_passed_over():
    parts = [
        {"type": "text", "text": "Speak, "},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "text", "text": "friend"},
    ]

    answer = await ask_json(a_provider(), a_chat(parts))

    assert "Speak, friend" in answer["choices"][0]["message"]["content"]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("limit", [1, 5, 16])
async def test_an_answer_is_cut_at_its_token_limit(field, limit):
    answer = await ask_json(a_provider(), a_chat(**{field: limit}))

    assert answer["usage"]["completion_tokens"] == limit
    finish = answer["choices"][0]["finish_reason"]
    assert finish == ("stop" if limit == 16 else "length")


@pytest.mark.parametrize("length", [1, 2, 3, 7, 100, 5000])
@pytest.mark.parametrize("text", ["", "hi", "x" * 10_000, "naïve 🧙 wizard"])
async def test_an_answer_has_the_configured_length(length, text):
    answer = await ask_json(a_provider(completion_tokens=length), a_chat(text))

    assert answer["usage"]["completion_tokens"] == length
    assert length <= len(answer["choices"][0]["message"]["content"]) <= 4 * length


@pytest.mark.parametrize("stop", ["friend", ["nowhere", "friend"]])
async def test_an_answer_ends_before_a_stop_sequence(stop):
    whole = await ask_json(a_provider(), a_chat())
    answer = await ask_json(a_provider(), a_chat(stop=stop))

    text = answer["choices"][0]["message"]["content"]
    full = whole["choices"][0]["message"]["content"]
    assert text == full[: full.index("friend")]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] < whole["usage"]["completion_tokens"]


async def test_n_choices_differ_and_are_all_counted():
    answer = await ask_json(a_provider(), a_chat(n=3))

    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in answer["choices"]}) == 3
    assert answer["usage"]["completion_tokens"] == 48


# --- streams ---


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 3},
        {"max_tokens": 5},
        {"stop": "friend"},
        {"response_format": {"type": "json_object"}},
    ],
)
async def test_a_stream_says_what_the_whole_answer_says(fields):
    whole = await ask_json(a_provider(), a_chat(**fields))
    options = {"stream_options": {"include_usage": True}}
    chunks = await ask_stream(a_provider(), a_chat(**fields, **options))

    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    assert {chunk["id"] for chunk in chunks} == {whole["id"]}
    for choice in whole["choices"]:
        parts = [
            part
            for chunk in chunks
            for part in chunk["choices"]
            if part["index"] == choice["index"]
        ]
        assert parts[0]["delta"] == {
            "role": "assistant",
            "content": "",
            "refusal": None,
        }
        text = "".join(part["delta"].get("content", "") for part in parts)
        assert text == choice["message"]["content"]
        finishes = [part["finish_reason"] for part in parts]
        assert finishes == [None] * (len(parts) - 1) + [choice["finish_reason"]]
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]


async def test_a_stream_has_no_usage_unless_it_was_asked_for():
    chunks = await ask_stream(a_provider(), a_chat())

    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)


async def test_tokens_come_at_the_configured_speed(autojump_clock):
    upstream = a_provider(latency=2.0, tokens_per_second=4.0, completion_tokens=3)

    response = await send(upstream, a_chat(stream=True))
    headers_at = trio.current_time()
    pieces = await read(response)

    assert headers_at == 2.0
    contents = [(at, data) for at, data in pieces if b'"content":' in data]
    assert [at for at, _ in contents] == [2.0, 2.25, 2.5, 2.75]  # the role comes first
    assert pieces[-1] == (2.75, b"data: [DONE]\n\n")


async def test_a_whole_answer_takes_as_long_as_its_tokens(autojump_clock):
    upstream = a_provider(latency=1.0, tokens_per_second=4.0, completion_tokens=8)

    await send(upstream, a_chat())

    assert trio.current_time() == 3.0


async def test_without_a_speed_a_stream_comes_in_one_piece(autojump_clock):
    response = await send(a_provider(), a_chat(stream=True))

    pieces = await read(response)

    assert len(pieces) == 1
    assert trio.current_time() == 0.0


async def test_close_stops_generating_and_is_idempotent(nursery, autojump_clock):
    upstream = a_provider(tokens_per_second=1.0)
    response = await send(upstream, a_chat(stream=True))
    await response.receive()
    assert upstream.in_flight == 1

    async def hang_up():
        await trio.sleep(0.5)
        response.close()
        response.close()

    nursery.start_soon(hang_up)
    with pytest.raises(UpstreamBroken):
        await response.receive()

    assert upstream.in_flight == 0
    with pytest.raises(UpstreamBroken):
        await response.receive()


async def test_a_closed_upstream_takes_no_more_requests():
    upstream = a_provider()
    upstream.close()
    upstream.close()

    with pytest.raises(UpstreamBroken) as caught:
        await send(upstream, a_chat())

    assert not caught.value.sent


# --- tools ---


async def test_a_tool_is_called_with_arguments_that_fit_its_schema():
    tool = a_tool(
        location={"type": "string"},
        unit={"type": "string", "enum": ["celsius", "fahrenheit"]},
        days={"type": "integer", "minimum": 3},
    )

    answer = await ask_json(
        a_provider(), a_chat("What is the weather in Paris?", tools=[tool])
    )

    ChatCompletion.model_validate(answer, strict=True)
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {
        "location": "Paris",
        "unit": "celsius",
        "days": 3,
    }


async def test_several_things_asked_for_are_two_calls_with_ids_of_their_own():
    body = a_chat("What is the weather in Paris and Rome?", tools=[a_tool()])

    answer = await ask_json(a_provider(), body)

    calls = answer["choices"][0]["message"]["tool_calls"]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [
        {"location": "Paris"},
        {"location": "Rome"},
    ]
    assert len({call["id"] for call in calls}) == 2


async def test_parallel_tool_calls_false_allows_one_call():
    body = a_chat("Paris and Rome", tools=[a_tool()], parallel_tool_calls=False)

    answer = await ask_json(a_provider(), body)

    assert len(answer["choices"][0]["message"]["tool_calls"]) == 1


async def test_streamed_calls_keep_their_arguments_apart_by_index():
    body = a_chat("What is the weather in Paris and Rome?", tools=[a_tool()])
    whole = await ask_json(a_provider(), body)

    chunks = await ask_stream(a_provider(), body)

    calls = {}
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
        for part in chunk["choices"][0]["delta"].get("tool_calls", ()):
            call = calls.setdefault(part["index"], {"arguments": ""})
            call["arguments"] += part["function"]["arguments"]
            call.update(
                {"id": part["id"], "name": part["function"]["name"]}
                if "id" in part
                else {}
            )
    assert [calls[index] for index in sorted(calls)] == [
        {"id": call["id"], **call["function"]}
        for call in whole["choices"][0]["message"]["tool_calls"]
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_the_tool_that_the_text_mentions_is_called():
    tools = [a_tool("send_mail"), a_tool("get_weather")]

    answer = await ask_json(a_provider(), a_chat("the weather?", tools=tools))

    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"


async def test_a_forced_tool_is_called():
    tools = [a_tool("get_weather"), a_tool("send_mail")]
    forced = {"type": "function", "function": {"name": "send_mail"}}

    answer = await ask_json(
        a_provider(), a_chat("the weather?", tools=tools, tool_choice=forced)
    )

    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "send_mail"


async def test_tool_choice_none_gets_text():
    body = a_chat("the weather?", tools=[a_tool()], tool_choice="none")

    answer = await ask_json(a_provider(completion_tokens=40), body)

    assert "the weather?" in answer["choices"][0]["message"]["content"]


async def test_a_tool_result_is_answered_with_text():
    body = a_chat("the weather?", tools=[a_tool()])
    first = await ask_json(a_provider(), body)
    asked = first["choices"][0]["message"]
    result = {
        "role": "tool",
        "tool_call_id": asked["tool_calls"][0]["id"],
        "content": "Rain",
    }

    answer = await ask_json(
        a_provider(completion_tokens=40),
        {**body, "messages": [*body["messages"], asked, result]},
    )

    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "stop"
    assert "Rain" in choice["message"]["content"]


# --- structured outputs ---


async def test_json_object_answers_are_json_objects():
    body = a_chat("In json please", response_format={"type": "json_object"})

    answer = await ask_json(a_provider(), body)

    text = answer["choices"][0]["message"]["content"]
    assert isinstance(json.loads(text), dict)


async def test_json_schema_answers_fit_the_schema():
    schema = {
        "type": "object",
        "properties": {
            "steps": {
                "type": "array",
                "minItems": 2,
                "items": {"$ref": "#/$defs/step"},
            },
            "answer": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        },
        "required": ["steps", "answer"],
        "additionalProperties": False,
        "$defs": {
            "step": {
                "type": "object",
                "properties": {"note": {"type": "string"}, "done": {"type": "boolean"}},
                "required": ["note", "done"],
            }
        },
    }
    form = {"type": "json_schema", "json_schema": {"name": "sum", "schema": schema}}

    answer = await ask_json(a_provider(), a_chat(response_format=form))

    made = json.loads(answer["choices"][0]["message"]["content"])
    assert set(made) == {"steps", "answer"}
    assert len(made["steps"]) == 2
    for step in made["steps"]:
        assert isinstance(step["note"], str)
        assert step["done"] in (True, False)
    assert isinstance(made["answer"], int | float)


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        ({"type": "integer", "minimum": 5, "maximum": 5}, lambda v: v == 5),
        ({"type": "integer", "exclusiveMinimum": 5}, lambda v: v == 6),
        ({"type": "integer", "maximum": -3}, lambda v: v <= -3),
        ({"type": "integer", "multipleOf": 7, "minimum": 8}, lambda v: v == 14),
        ({"type": "number", "minimum": 0, "maximum": 1}, lambda v: 0 <= v <= 1),
        ({"type": "number", "exclusiveMaximum": 0}, lambda v: v < 0),
        ({"type": "number", "exclusiveMinimum": 0}, lambda v: v > 0),
        (
            {"type": "number", "multipleOf": 10, "minimum": 20, "maximum": 20},
            lambda v: v == 20,
        ),
        ({"type": "string", "minLength": 20}, lambda v: len(v) >= 20),
        ({"type": "string", "maxLength": 2}, lambda v: len(v) <= 2),
        ({"type": ["null", "string"]}, lambda v: isinstance(v, str)),
        (
            {"type": "array", "items": {"type": "null"}, "maxItems": 0},
            lambda v: v == [],
        ),
        ({"const": {"a": 1}}, lambda v: v == {"a": 1}),
        ({"enum": [None, 1]}, lambda v: v is None),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "null"}},
                "required": ["a"],
                "allOf": [
                    {"properties": {"b": {"type": "boolean"}}, "required": ["b"]}
                ],
            },
            lambda v: v == {"a": None, "b": True},
        ),
        ({}, lambda v: isinstance(v, str)),
    ],
)
def test_an_instance_keeps_the_bounds_of_its_schema(schema, fits):
    assert fits(instance(schema))


def test_an_optional_recursion_ends():
    tree = {
        "type": "object",
        "properties": {
            "left": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
            "right": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        },
        "required": ["left", "right"],
    }

    made = instance(tree)

    while made is not None:
        assert set(made) == {"left", "right"}
        made = made["left"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {
            "type": "object",
            "properties": {name: {"$ref": "#"} for name in "abcdefghij"},
            "required": list("abcdefghij"),
        },
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"$ref": "#/$defs/none"},
        {"$ref": "https://example.com/schema"},
        {"type": "wizard"},
        {"type": "array", "minItems": 10**9},
        False,
    ],
)
def test_a_schema_without_a_small_instance_is_refused(schema):
    with pytest.raises(Unsatisfiable):
        instance(schema)


# --- embeddings ---


async def test_embeddings_are_unit_vectors_that_differ_by_text():
    body = {"model": "text-embedding-3-small", "input": ["one", "two", "one"]}

    answer = await ask_json(a_provider(), body, "embeddings")

    CreateEmbeddingResponse.model_validate(answer, strict=True)
    vectors = [item["embedding"] for item in answer["data"]]
    assert [item["index"] for item in answer["data"]] == [0, 1, 2]
    assert [len(vector) for vector in vectors] == [1536] * 3
    assert vectors[0] == vectors[2] != vectors[1]
    for vector in vectors:
        assert math.isclose(math.fsum(x * x for x in vector), 1.0)
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


async def test_embeddings_have_the_dimensions_asked_for():
    body = {"model": "text-embedding-3-large", "input": "one"}

    default = await ask_json(a_provider(), body, "embeddings")
    small = await ask_json(a_provider(), {**body, "dimensions": 8}, "embeddings")

    assert len(default["data"][0]["embedding"]) == 3072
    assert len(small["data"][0]["embedding"]) == 8


async def test_base64_embeddings_are_the_same_vectors_as_little_endian_floats():
    body = {"model": "m", "input": "one", "dimensions": 16}
    plain = await ask_json(a_provider(), body, "embeddings")

    packed = await ask_json(
        a_provider(), {**body, "encoding_format": "base64"}, "embeddings"
    )

    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert struct.unpack("<16f", raw) == pytest.approx(plain["data"][0]["embedding"])


@pytest.mark.parametrize(
    ("given", "items", "tokens"),
    [("four", 1, 1), ([1, 2, 3], 1, 3), ([[1, 2], [3]], 2, 3), (["a", "b"], 2, 2)],
)
async def test_every_kind_of_embeddings_input_is_taken(given, items, tokens):
    body = {"model": "m", "input": given, "dimensions": 4}

    answer = await ask_json(a_provider(), body, "embeddings")

    assert len(answer["data"]) == items
    assert answer["usage"]["total_tokens"] == tokens


# --- requests at fault ---


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b"{", None, None),
        (b"[]", None, "invalid_type"),
        (b"\xff", None, None),
        (b'{"a":' * 100_000, None, None),
        ({"messages": [{"role": "user", "content": "x"}]}, None, None),
        ({"model": "m"}, "messages", "missing_required_parameter"),
        ({"model": "m", "messages": []}, "messages", "invalid_value"),
        ({"model": "m", "messages": "hi"}, "messages", "invalid_type"),
        (
            {"model": "m", "messages": [{"role": "wizard"}]},
            "messages[0].role",
            "invalid_value",
        ),
        (
            {"model": "m", "messages": [{"content": "x"}]},
            "messages[0].role",
            "missing_required_parameter",
        ),
        (a_chat(max_tokens=0), "max_tokens", "invalid_value"),
        (a_chat(n=0), "n", "invalid_value"),
        (a_chat(temperature=3), "temperature", "invalid_value"),
        (a_chat(temperature="hot"), "temperature", "invalid_type"),
        (a_chat(stream_options={"include_usage": True}), "stream_options", None),
        (
            a_chat(
                tools=[a_tool()],
                tool_choice={"type": "function", "function": {"name": "other"}},
            ),
            "tool_choice",
            None,
        ),
        (
            a_chat(tools=[a_tool(a={"$ref": "#"})]),
            "tools",
            "invalid_function_parameters",
        ),
        (
            a_chat(response_format={"type": "json_schema"}),
            "response_format.json_schema",
            "missing_required_parameter",
        ),
    ],
)
async def test_a_request_at_fault_gets_openais_400(body, param, code):
    status, raw = await ask(a_provider(), body)

    assert status == 400
    error = json.loads(raw)["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert (error["param"], error["code"]) == (param, code)


@pytest.mark.parametrize("given", [[], "", [""], [[]], ["a", 1], [1, "a"]])
async def test_an_embeddings_request_without_input_gets_openais_400(given):
    status, raw = await ask(a_provider(), {"model": "m", "input": given}, "embeddings")

    assert status == 400
    assert json.loads(raw)["error"]["param"] == "input"


async def test_any_other_address_is_not_found():
    upstream = a_provider()
    request = UpstreamRequest(b"POST", b"/v1/moderations", b"", b"{}")
    with trio.CancelScope() as scope:
        response = await upstream.send(request, upstream.timeouts, ScopedWatch(scope))

    assert response.status == 404
    assert b"POST /v1/moderations" in await response.receive()


async def test_any_model_name_is_known():
    answer = await ask_json(a_provider(), {**a_chat(), "model": "made-up"})

    assert answer["model"] == "made-up"


# --- failures ---


@pytest.mark.parametrize("status", [401, 429, 500, 503])
async def test_errors_come_with_the_configured_status(status):
    upstream = a_provider(error_rate=1.0, error_status=status)

    response = await send(upstream, a_chat())

    assert response.status == status
    assert response.headers.get(b"retry-after") == (b"1" if status == 429 else None)
    error = json.loads(await response.receive())["error"]
    assert error["message"]
    assert error["type"]


async def test_failures_come_at_their_rate_and_in_the_same_order_every_time():
    async def statuses():
        upstream = a_provider(error_rate=0.3, error_status=500)
        return [(await ask(upstream, a_chat()))[0] for _ in range(200)]

    first, second = await statuses(), await statuses()

    assert first == second
    assert 40 <= first.count(500) <= 80


@pytest.mark.parametrize("speed", [0.0, 100.0])
@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"stream": True, "n": 4}])
async def test_a_cut_answer_breaks_off_in_the_middle(speed, fields, autojump_clock):
    upstream = a_provider(cut_rate=1.0, tokens_per_second=speed)
    response = await send(upstream, a_chat(**fields))
    received = b""

    async def receive_all():
        nonlocal received
        while data := await response.receive():
            received += data

    with pytest.raises(UpstreamBroken) as caught:
        await receive_all()

    assert caught.value.sent
    assert received
    assert b"[DONE]" not in received
    if not fields:
        assert len(received) < int(response.headers[b"content-length"])


# --- the official SDK ---


class ThroughUpstream(httpx.AsyncBaseTransport):
    """Carries the SDK's requests to a simulated upstream."""

    def __init__(self, upstream):
        self._upstream = upstream

    async def handle_async_request(self, request):
        body = await request.aread()
        sent = UpstreamRequest(b"POST", request.url.raw_path, b"", body)
        with trio.CancelScope() as scope:
            response = await self._upstream.send(
                sent, self._upstream.timeouts, ScopedWatch(scope)
            )
        pieces = [data for _, data in await read(response)]
        return httpx.Response(
            response.status, headers=response.headers, content=b"".join(pieces)
        )


@pytest.fixture
def sdk():
    return openai.AsyncOpenAI(
        api_key="unused",
        base_url="http://simulated/v1",
        http_client=httpx.AsyncClient(transport=ThroughUpstream(a_provider())),
        max_retries=0,
    )


# The SDK leaves its generators unfinished once it has read [DONE].
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
async def test_the_official_sdk_reads_answers_streams_and_embeddings(sdk):
    messages = [{"role": "user", "content": "Speak, friend"}]
    whole = await sdk.chat.completions.create(model="m", messages=messages)
    stream = await sdk.chat.completions.create(
        model="m",
        messages=messages,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    vectors = await sdk.embeddings.create(model="m", input=["a"], dimensions=8)

    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert len(vectors.data[0].embedding) == 8


async def test_the_official_sdk_raises_its_own_error_for_a_bad_request(sdk):
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.chat.completions.create(model="m", messages=[])

    assert caught.value.param == "messages"
