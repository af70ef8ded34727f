"""Ollama's requests, to and from the neutral model."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.dialects import ollama
from gandalf.dialects.conversation import (
    Conversation,
    EmbeddingsRequest,
    Feature,
    JsonFormat,
    Media,
    Message,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gandalf.dialects.translation import translate_request
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model

DATA = Path(__file__).parent / "data" / "ollama"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
OSS = Model(name="gpt-oss:20b")
LLAMA = Model(name="llama3.2")

TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "does",
        "parameters": {"type": "object", "properties": {"b": {}, "a": {}}},
    },
}


def chat_body(*messages, **fields):
    messages = messages or ({"role": "user", "content": "hi"},)
    return {"model": "m", "messages": list(messages), **fields}


def parse(body, operation="chat"):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ollama.parse_request(ollama.read_call(operation, raw))


def parse_chat(*messages, **fields):
    return parse(chat_body(*messages, **fields))


def render(conversation, model=LLAMA):
    rendered = ollama.render_request(conversation, model)
    return json.loads(rendered.body), rendered


def wishing(**fields):
    hi = Message(role="user", parts=(Text(text="hi"),))
    return Conversation(source="openai", **({"messages": (hi,)} | fields))


def saying(*parts, role="user"):
    return wishing(messages=(Message(role=role, parts=parts),))


# From Ollama.


def test_reads_roles_in_order_and_notes_what_is_used():
    conversation = parse_chat(
        {"role": "system", "content": "be brief"},
        {"role": "User", "content": "hi"},
        {"role": "assistant", "content": "yes", "thinking": "hm"},
        {"role": "system", "content": "be briefer"},
        {"role": "developer", "content": "be"},
        {"role": "user", "content": "go"},
    )

    assert [message.role for message in conversation.messages] == [
        "system",
        "user",
        "assistant",
        "system",
        "developer",
        "user",
    ]
    assert conversation.messages[2].parts == (Thinking(text="hm"), Text(text="yes"))
    assert conversation.used == {
        Feature.SYSTEM: "messages.role",
        Feature.LATE_SYSTEM: "messages.role",
        Feature.DEVELOPER: "messages.role",
        Feature.THINKING_HISTORY: "messages.thinking",
    }
    assert conversation.source == "ollama"


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PNG, "image/png"),
        ("/9j/4AAQSkZJRg", "image/jpeg"),
        ("R0lGODlhAQABAAAAACw=", "image/gif"),
        ("UklGRiQAAABXRUJQ", "image/webp"),
    ],
)
def test_the_type_of_an_image_is_told_by_its_first_bytes(data, media_type):
    conversation = parse_chat({"role": "user", "content": "?", "images": [data]})

    assert conversation.messages[0].parts == (
        Text(text="?"),
        Media(kind="image", media_type=media_type, data=data),
    )
    assert conversation.used == {Feature.IMAGE_DATA: "messages.images"}


def test_an_image_of_no_known_type_is_refused_for_nobody_else_would_take_it():
    with pytest.raises(BadRequest) as refused:
        parse_chat({"role": "user", "images": [PNG, "Qk0="]})
    assert refused.value.param == "messages[0].images[1]"


def test_calls_without_ids_are_numbered_and_results_find_them():
    conversation = parse_chat(
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "tool_calls": [
                {"function": {"name": "f", "arguments": {"b": 1.0, "a": [1e5]}}},
                {"function": {"name": "g", "index": 0}},
                {"function": {"name": "f", "arguments": {}}},
            ],
        },
        {"role": "tool", "tool_name": "g", "content": "of g"},
        {"role": "tool", "tool_name": "f", "content": "of the first f"},
        {"role": "tool", "content": "of the rest"},
        {"role": "user", "content": "so?"},
    )

    calls = conversation.messages[1].parts
    assert [call.id for call in calls] == ["call_0", "call_1", "call_2"]
    assert calls[1].arguments == "{}"
    results = conversation.messages[2]
    assert results.role == "user"
    assert [(part.call_id, part.name) for part in results.parts] == [
        ("call_1", "g"),
        ("call_0", "f"),
        ("call_2", "f"),
    ]
    assert len(conversation.messages) == 4


def test_ids_that_a_client_does_keep_are_used():
    conversation = parse_chat(
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "a", "function": {"name": "f"}},
                {"id": "b", "function": {"name": "f"}},
            ],
        },
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
    )

    assert [part.call_id for part in conversation.messages[1].parts] == ["b", "a"]


def test_a_result_without_a_call_is_left_to_the_upstream_to_judge():
    conversation = parse_chat({"role": "tool", "tool_name": "f", "content": "x"})

    assert conversation.messages[0].parts == (
        ToolResult(call_id="call_0", name="f", parts=(Text(text="x"),)),
    )


def test_arguments_keep_their_text():
    body = (
        b'{"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":'
        b'{"name":"f","arguments":{"z":1.50,"a":[ ],"z":"\\u00e9"}}}]}]}'
    )

    call = parse(body).messages[0].parts[0]

    assert call.arguments == '{"z":1.50,"a":[ ],"z":"\\u00e9"}'


def test_reads_every_wish():
    conversation = parse_chat(
        tools=[TOOL],
        format={"type": "object", "properties": {"z": {}, "a": {}}},
        think="low",
        logprobs=True,
        top_logprobs=3,
        stream=False,
        options={
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 40,
            "min_p": 0.1,
            "seed": 1,
            "num_predict": 5,
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
            "repeat_penalty": 1.1,
            "stop": "x",
        },
    )

    assert conversation == Conversation(
        source="ollama",
        messages=(Message(role="user", parts=(Text(text="hi"),)),),
        tools=(
            Tool(
                name="f",
                description="does",
                schema={"type": "object", "properties": {"b": {}, "a": {}}},
            ),
        ),
        json_format=JsonFormat(
            schema={"type": "object", "properties": {"z": {}, "a": {}}}
        ),
        reasoning=Reasoning(effort="low", visible=True),
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.1,
        seed=1,
        max_tokens=5,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        repeat_penalty=1.1,
        stop=("x",),
        logprobs=True,
        top_logprobs=3,
        used={
            Feature.TOOLS: "tools",
            Feature.JSON_SCHEMA: "format",
            Feature.THINKING: "think",
            Feature.TEMPERATURE: "options.temperature",
            Feature.TOP_P: "options.top_p",
            Feature.TOP_K: "options.top_k",
            Feature.MIN_P: "options.min_p",
            Feature.SEED: "options.seed",
            Feature.MAX_TOKENS: "options.num_predict",
            Feature.PRESENCE_PENALTY: "options.presence_penalty",
            Feature.FREQUENCY_PENALTY: "options.frequency_penalty",
            Feature.REPEAT_PENALTY: "options.repeat_penalty",
            Feature.STOP: "options.stop",
            Feature.LOGPROBS: "logprobs",
        },
    )


@pytest.mark.parametrize(
    ("think", "reasoning"),
    [
        (None, None),
        (True, Reasoning(adaptive=True, visible=True)),
        (False, Reasoning(effort="none")),
        ("high", Reasoning(effort="high", visible=True)),
        ("max", Reasoning(effort="max", visible=True)),
    ],
)
def test_reads_whether_and_how_much_to_think(think, reasoning):
    assert parse_chat(think=think).reasoning == reasoning


def test_defaults_are_neither_used_nor_unknown():
    conversation = parse_chat(
        {"role": "user", "content": "hi", "images": None, "tool_calls": []},
        tools=[],
        format="",
        think=None,
        logprobs=False,
        keep_alive=None,
        truncate=True,
        shift=None,
        options={
            "seed": -1,
            "num_predict": -1,
            "num_ctx": None,
            "stop": [],
            "temperature": None,
            "presence_penalty": 0,
            "frequency_penalty": 0.0,
            "repeat_penalty": 1.0,
        },
    )

    assert (conversation.used, conversation.unknown) == ({}, ())


def test_what_has_no_place_is_named():
    conversation = parse_chat(
        {"role": "user", "content": "hi", "name": "Ann"},
        tools=[TOOL | {"items": 1, "function": TOOL["function"] | {"strict": True}}],
        keep_alive="5m",
        truncate=False,
        new_field=1,
        options={"num_ctx": 8192, "seed": -5, "num_predict": -2, "top_k": 0},
    )

    assert conversation.unknown == (
        "keep_alive",
        "truncate",
        "new_field",
        "options.num_ctx",
        "options.seed",
        "options.num_predict",
        "options.top_k",
        "messages.name",
        "tools.items",
        "tools.function.strict",
    )
    assert (conversation.seed, conversation.max_tokens) == (None, None)


def test_a_last_message_that_calls_tools_is_no_prefill():
    call = {"function": {"name": "f"}}

    assert parse_chat({"role": "assistant", "tool_calls": [call]}).used == {}


def test_a_last_message_of_the_assistant_is_a_prefill():
    conversation = parse_chat(
        {"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well,"}
    )

    assert conversation.used == {Feature.PREFILL: "messages"}


def test_a_prompt_is_a_conversation():
    conversation = parse(
        {"model": "m", "system": "be", "prompt": "what?", "images": [PNG]}, "generate"
    )

    assert conversation.messages == (
        Message(role="system", parts=(Text(text="be"),)),
        Message(
            role="user",
            parts=(
                Text(text="what?"),
                Media(kind="image", media_type="image/png", data=PNG),
            ),
        ),
    )
    assert conversation.used == {Feature.SYSTEM: "system", Feature.IMAGE_DATA: "images"}
    assert conversation.stream


@pytest.mark.parametrize(
    ("name", "value"), [("suffix", "}"), ("raw", True), ("context", [1, 2])]
)
def test_what_makes_a_prompt_more_than_a_chat_is_refused(name, value):
    with pytest.raises(BadRequest) as refused:
        parse({"model": "m", "prompt": "x", name: value}, "generate")
    assert refused.value.param == name


def test_a_template_is_lost_and_the_options_of_the_documentation_are_named():
    templated = parse({"model": "m", "prompt": "x", "template": "y"}, "generate")
    documented = parse(
        (DATA / "generate_options_request.json").read_bytes(), "generate"
    )

    assert templated.unknown == ("template",)
    assert documented.stop == ("\n", "user:")
    assert documented.unknown == tuple(
        f"options.{name}"
        for name in (
            "num_keep",
            "typical_p",
            "repeat_last_n",
            "mirostat",
            "mirostat_tau",
            "mirostat_eta",
            "penalize_newline",
            "numa",
            "num_ctx",
            "num_batch",
            "num_gpu",
            "main_gpu",
            "low_vram",
            "vocab_only",
            "use_mmap",
            "use_mlock",
            "num_thread",
        )
    )


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("chat", {"model": "m", "messages": []}),
        ("generate", {"model": "m", "keep_alive": 0}),
        ("generate", {"model": "m", "prompt": "", "system": "be"}),
    ],
)
def test_loading_a_model_is_nothing_another_provider_could_do(operation, body):
    with pytest.raises(BadRequest) as refused:
        parse(body, operation)
    assert refused.value.code == "unsupported_operation"


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": "x"},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        {"messages": [{"role": "nobody", "content": "x"}]},
        {"messages": [{"content": "x"}]},
        {"messages": [{"role": "user", "images": "x"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
        {"tools": [{"type": "function"}]},
        {"tools": [{"function": {"name": "f", "parameters": []}}]},
        {"format": "xml"},
        {"format": 7},
        {"think": 7},
        {"options": {"top_p": "x"}},
        {"options": {"stop": [1]}},
        {"logprobs": 1},
    ],
)
def test_a_malformed_request_is_a_bad_request(fields):
    with pytest.raises(BadRequest):
        parse(chat_body() | fields)


@given(
    st.fixed_dictionaries(
        {"model": st.just("m")},
        optional=dict.fromkeys(
            (
                "messages",
                "prompt",
                "system",
                "images",
                "tools",
                "format",
                "options",
                "think",
                "stream",
            ),
            st.recursive(
                st.none()
                | st.booleans()
                | st.floats(allow_nan=False, allow_infinity=False)
                | st.text(),
                lambda inner: (
                    st.lists(inner)
                    | st.dictionaries(
                        st.sampled_from(
                            [
                                "role",
                                "content",
                                "images",
                                "tool_calls",
                                "function",
                                "name",
                                "arguments",
                                "seed",
                                "stop",
                                "num_predict",
                            ]
                        ),
                        inner,
                    )
                ),
                max_leaves=8,
            ),
        ),
    )
)
def test_any_json_is_a_conversation_or_a_bad_request(body):
    for operation in ("chat", "generate", "embeddings"):
        with contextlib.suppress(BadRequest):
            call = ollama.read_call(operation, json.dumps(body).encode())
            if operation == "embeddings":
                ollama.parse_embeddings_request(call)
            else:
                ollama.render_request(ollama.parse_request(call), LLAMA)


def test_a_nest_of_lists_is_a_bad_request():
    deep = b"[" * 100_000 + b"]" * 100_000
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"format":{"a":%b}}'

    with pytest.raises(BadRequest):
        parse(body % deep)


# To Ollama.


def test_renders_roles_tools_calls_and_results():
    conversation = wishing(
        messages=(
            Message(role="developer", parts=(Text(text="a"), Text(text="b"))),
            Message(role="user", parts=(Text(text="hi"),), name="Ann"),
            Message(
                role="assistant",
                parts=(
                    Thinking(text="hm", signature="s", origin="anthropic"),
                    Text(text="I "),
                    Text(text="see"),
                    ToolCall(id="a", name="f", arguments='{"z":1.50, "a":[ ]}'),
                    ToolCall(id="b", name="g", arguments=""),
                ),
            ),
            Message(
                role="user",
                parts=(
                    ToolResult(call_id="b", parts=(Text(text="x"), Text(text="y"))),
                    ToolResult(call_id="a", parts=(Text(text="no"),), is_error=True),
                    Text(text="so?"),
                ),
            ),
        ),
        tools=(Tool(name="f", schema={"type": "object"}), Tool(name="g")),
        stream=True,
    )

    body, rendered = render(conversation)

    assert body == {
        "model": "llama3.2",
        "messages": [
            {"role": "system", "content": "a\nb"},
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": "I see",
                "thinking": "hm",
                "tool_calls": [
                    {
                        "id": "a",
                        "function": {
                            "index": 0,
                            "name": "f",
                            "arguments": {"z": 1.5, "a": []},
                        },
                    },
                    {
                        "id": "b",
                        "function": {"index": 1, "name": "g", "arguments": {}},
                    },
                ],
            },
            {
                "role": "tool",
                "content": "x\ny",
                "tool_name": "g",
                "tool_call_id": "b",
            },
            {
                "role": "tool",
                "content": "Error: no",
                "tool_name": "f",
                "tool_call_id": "a",
            },
            {"role": "user", "content": "so?"},
        ],
        "stream": True,
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "parameters": {"type": "object"}},
            },
            {
                "type": "function",
                "function": {
                    "name": "g",
                    "parameters": {"type": "object", "properties": {}},
                },
            },
        ],
    }
    assert b'{"z":1.50, "a":[ ]}' in rendered.body
    assert rendered.approximated == {Feature.THINKING_HISTORY}


def test_a_whole_answer_is_asked_for_explicitly_since_streams_are_the_default():
    assert render(wishing())[0]["stream"] is False


def test_images_go_as_data_also_in_results():
    image = Media(kind="image", media_type="image/png", data=PNG, detail="low")
    result = ToolResult(call_id="a", name="f", parts=(Text(text="see"), image))

    body, _ = render(saying(result, Text(text="this"), image))

    assert [message["images"] for message in body["messages"]] == [[PNG], [PNG]]


@pytest.mark.parametrize(
    "media",
    [
        Media(kind="image", url="https://x/y.png"),
        Media(kind="image", file_id="f"),
        Media(kind="document", data="JVBERi0=", media_type="application/pdf"),
        Media(kind="document", text="plain"),
        Media(kind="audio", data="UklGRg==", media_type="audio/wav"),
        Media(kind="video", url="https://x/y.mp4"),
    ],
)
def test_what_ollama_cannot_read_is_refused(media):
    with pytest.raises(BadRequest) as refused:
        render(saying(media))
    assert refused.value.param == "messages"
    assert "x/y" not in refused.value.message


def test_more_than_one_answer_is_refused():
    with pytest.raises(BadRequest):
        render(wishing(n=2))
    assert "n" not in render(wishing(n=1))[0]


def test_no_messages_are_refused_for_ollama_would_only_load_the_model():
    with pytest.raises(BadRequest) as refused:
        render(wishing(messages=()))
    assert refused.value.param == "messages"


def test_redacted_thinking_is_lost_and_said_to_be():
    _, rendered = render(saying(Thinking(redacted="x"), role="assistant"))

    assert rendered.dropped == {Feature.THINKING_HISTORY}


def test_an_assistants_refusal_is_what_it_said():
    body, _ = render(saying(Refusal("I will not"), role="assistant"))

    assert body["messages"][0]["content"] == "I will not"


def test_a_call_that_was_cut_is_told_as_text():
    call = ToolCall(id="a", name="f", arguments='{"a":')

    body, _ = render(saying(call, role="assistant"))

    assert body["messages"][0] == {"role": "assistant", "content": 'f({"a":)'}


@pytest.mark.parametrize(
    ("choice", "offered", "approximated", "dropped"),
    [
        (None, ["f", "g"], set(), set()),
        (ToolChoice(mode="auto"), ["f", "g"], set(), set()),
        (ToolChoice(mode="none"), None, set(), set()),
        (ToolChoice(mode="required"), ["f", "g"], set(), {Feature.TOOL_CHOICE}),
        (
            ToolChoice(mode="named", names=("g",)),
            ["g"],
            {Feature.TOOL_CHOICE},
            set(),
        ),
    ],
)
def test_a_choice_of_tools_is_what_is_offered(choice, offered, approximated, dropped):
    tools = (Tool(name="f"), Tool(name="g"))

    body, rendered = render(wishing(tools=tools, tool_choice=choice))

    names = [tool["function"]["name"] for tool in body.get("tools", ())]
    assert (names or None) == offered
    assert rendered.approximated == approximated
    assert rendered.dropped == dropped


def test_one_call_at_a_time_cannot_be_asked_for():
    tools = (Tool(name="f"),)

    _, rendered = render(wishing(tools=tools, parallel_tool_calls=False))

    assert rendered.dropped == {Feature.PARALLEL_TOOL_CALLS}
    assert not render(wishing(tools=tools, parallel_tool_calls=True))[1].dropped


@pytest.mark.parametrize(
    ("wish", "model", "think", "exact"),
    [
        (Reasoning(effort="none"), LLAMA, False, True),
        (Reasoning(effort="high"), LLAMA, True, False),
        (Reasoning(budget_tokens=0), LLAMA, False, True),
        (Reasoning(budget_tokens=9000), LLAMA, True, False),
        (Reasoning(adaptive=True), LLAMA, True, True),
        (Reasoning(adaptive=True), OSS, True, True),
        (Reasoning(effort="high"), OSS, "high", True),
        (Reasoning(effort="xhigh"), OSS, "high", False),
        (Reasoning(effort="none"), OSS, "low", False),
        (Reasoning(budget_tokens=9000), OSS, "medium", False),
        (Reasoning(effort="high", visible=False), OSS, "high", False),
        (Reasoning(), LLAMA, None, True),
    ],
)
def test_thinking_is_a_level_where_there_are_levels(wish, model, think, exact):
    body, rendered = render(wishing(reasoning=wish), model)

    assert body.get("think") == think
    assert rendered.approximated == (set() if exact else {Feature.THINKING})


def test_a_model_that_cannot_think_is_not_asked_to():
    model = Model(name="llama3.2", thinking=False)

    body, rendered = render(wishing(reasoning=Reasoning(effort="high")), model)
    off, kept = render(wishing(reasoning=Reasoning(effort="none")), model)

    assert "think" not in body
    assert rendered.dropped == {Feature.THINKING}
    assert "think" not in off
    assert not kept.dropped


def test_formats_and_options():
    schema = {"type": "object", "properties": {"z": {}, "a": {}}}

    body, _ = render(
        wishing(
            json_format=JsonFormat(schema=schema, name="x", strict=True),
            max_tokens=5,
            stop=("a", "b"),
            temperature=0.0,
            logprobs=True,
            top_logprobs=2,
        )
    )

    assert body["format"] == schema
    assert body["options"] == {"temperature": 0.0, "num_predict": 5, "stop": ["a", "b"]}
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    assert render(wishing(json_format=JsonFormat()))[0]["format"] == "json"


# Both ways.

texts = st.text(max_size=8)
named = st.sampled_from(["f", "g", "h"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=3)


@st.composite
def chats(draw):
    """Bodies of what Ollama can say and the neutral model holds."""
    messages = []
    for turn in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            messages.append({"role": "system", "content": draw(texts)})
        user = {"role": "user", "content": draw(texts)}
        if draw(st.booleans()):
            user["images"] = [PNG]
        messages.append(user)
        calls = draw(st.lists(st.tuples(named, objects), max_size=3))
        said = {"role": "assistant", "content": draw(texts)}
        if draw(st.booleans()):
            said["thinking"] = draw(texts.filter(bool))
        if calls:
            said["tool_calls"] = [
                {
                    "id": f"{turn}-{count}",
                    "function": {"index": count, "name": name, "arguments": arguments},
                }
                for count, (name, arguments) in enumerate(calls)
            ]
        messages.append(said)
        messages += [
            {
                "role": "tool",
                "content": draw(texts),
                "tool_name": name,
                "tool_call_id": f"{turn}-{count}",
            }
            for count, (name, _) in enumerate(calls)
        ]
    return {"model": "gpt-oss:20b", "messages": messages, **draw(wishes)}


wishes = st.fixed_dictionaries(
    {"stream": st.booleans()},
    optional={
        "tools": st.lists(
            st.builds(
                lambda name, schema: {
                    "type": "function",
                    "function": {"name": name, "parameters": schema},
                },
                named,
                objects,
            ),
            min_size=1,
            max_size=2,
        ),
        "format": st.just("json") | objects,
        "think": st.sampled_from([True, "low", "medium", "high"]),
        "options": st.fixed_dictionaries(
            {"seed": st.integers(0, 2**63 - 1)},
            optional={
                "temperature": st.floats(0, 2),
                "top_p": st.floats(0, 1),
                "top_k": st.integers(1, 100),
                "min_p": st.floats(0, 1),
                "num_predict": st.integers(1, 10_000),
                "repeat_penalty": st.floats(0, 2),
                "presence_penalty": st.floats(-2, 2),
                "frequency_penalty": st.floats(-2, 2),
                "stop": st.lists(texts, min_size=1, max_size=3),
            },
        ),
    },
)


@given(chats())
def test_what_ollama_and_the_neutral_model_share_survives_both_ways(body):
    conversation = parse(body)

    rendered = ollama.render_request(conversation, Model(name=body["model"]))

    assert json.loads(rendered.body) == body
    assert parse(rendered.body) == conversation
    assert (rendered.approximated, rendered.dropped) == (set(), set())
    assert conversation.unknown == ()


# Through the engine.


def test_a_generation_reaches_a_chat_and_says_what_it_lost():
    body = {"model": "m", "prompt": "x", "keep_alive": 0, "options": {"num_ctx": 8}}
    call = ollama.read_call("generate", json.dumps(body).encode())

    translated = translate_request(call, ollama, LLAMA, source=ollama, strict=False)

    assert translated.operation == "chat"
    assert json.loads(translated.body) == {
        "model": "llama3.2",
        "messages": [{"role": "user", "content": "x"}],
        "stream": True,
    }
    assert translated.dropped == ("keep_alive", "options.num_ctx")
    with pytest.raises(BadRequest) as refused:
        translate_request(call, ollama, LLAMA, source=ollama, strict=True)
    assert refused.value.param == "keep_alive"


# Embeddings.


def parse_embed(body, operation="embeddings"):
    call = ollama.read_call(operation, json.dumps(body).encode())
    return ollama.parse_embeddings_request(call)


def test_reads_what_to_embed():
    one = parse_embed({"model": "e", "input": "a", "truncate": True})
    many = parse_embed(
        {
            "model": "e",
            "input": ["a", "b"],
            "dimensions": 3,
            "truncate": False,
            "keep_alive": 0,
            "options": {"num_ctx": 5},
        }
    )

    assert one == EmbeddingsRequest(inputs=("a",))
    assert many == EmbeddingsRequest(
        inputs=("a", "b"),
        dimensions=3,
        unknown=("truncate", "keep_alive", "options.num_ctx"),
    )


def test_reads_what_to_embed_the_old_way():
    request = parse_embed({"model": "e", "prompt": "a"}, "legacy_embeddings")

    assert request == EmbeddingsRequest(inputs=("a",))


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("embeddings", {"model": "e"}),
        ("embeddings", {"model": "e", "input": []}),
        ("embeddings", {"model": "e", "input": [1, 2]}),
        ("embeddings", {"model": "e", "input": None}),
        ("legacy_embeddings", {"model": "e"}),
        ("legacy_embeddings", {"model": "e", "prompt": 7}),
    ],
)
def test_nothing_to_embed_is_a_bad_request(operation, body):
    with pytest.raises(BadRequest):
        parse_embed(body, operation)


def test_renders_what_to_embed():
    request = EmbeddingsRequest(inputs=("a", "b"), dimensions=3)

    rendered = ollama.render_embeddings_request(request, Model(name="e"))

    assert json.loads(rendered.body) == {
        "model": "e",
        "input": ["a", "b"],
        "dimensions": 3,
    }
