"""From the neutral model to a request for an OpenAI-compatible upstream."""

import base64
import json
import re

import pytest

from gandalf.config.presets import PRESETS
from gandalf.dialects import openai
from gandalf.dialects.conversation import (
    CacheMark,
    Conversation,
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
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model

HELLO = (Message(role="user", parts=(Text(text="Hello"),)),)
GPT_4 = Model(name="gpt-4o")
GPT_5 = Model(name="gpt-5-mini")
O3 = Model(name="o3-mini")
LLAMA = Model(name="meta-llama/Llama-3.3-70B")
TOOL = Tool(name="f", description="d", schema={"type": "object"})
STRICT_SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "object", "additionalProperties": False}},
    "required": ["a"],
    "additionalProperties": False,
}


def rendered(messages=HELLO, model=GPT_4, source="anthropic", **fields):
    conversation = Conversation(source=source, messages=messages, **fields)
    return openai.render_request(conversation, model)


def body(*args, **fields):
    return json.loads(rendered(*args, **fields).body)


def messages(*messages):
    return body(messages)["messages"]


def said(role, *parts, **fields):
    return Message(role=role, parts=parts, **fields)


# Messages.


def test_a_whole_request_byte_for_byte():
    request = rendered(
        (said("system", Text(text="Be brief.")), *HELLO),
        tools=(TOOL,),
        tool_choice=ToolChoice(mode="required"),
        max_tokens=10,
        temperature=0.5,
        stream=True,
    )

    assert request.body == (
        b'{"model":"gpt-4o","messages":[{"role":"system","content":"Be brief."},'
        b'{"role":"user","content":"Hello"}],"tools":[{"type":"function","function":'
        b'{"name":"f","description":"d","parameters":{"type":"object"}}}],'
        b'"tool_choice":"required","max_tokens":10,"temperature":0.5,"stream":true,'
        b'"stream_options":{"include_usage":true}}'
    )
    assert (request.approximated, request.dropped) == (frozenset(), frozenset())


def test_texts_that_are_many_stay_parts():
    part = {"type": "text"}

    assert messages(said("system", Text(text="a"), Text(text="b"))) == [
        {"role": "system", "content": [{**part, "text": "a"}, {**part, "text": "b"}]}
    ]


def test_media_become_the_parts_that_there_are():
    assert messages(
        said(
            "user",
            Text(text="x", cache=CacheMark()),
            Media(kind="image", media_type="image/gif", data="R0lG"),
            Media(kind="image", url="https://x/y.png", detail="low"),
            Media(
                kind="document",
                media_type="application/pdf",
                data="JVBERi",
                name="a.pdf",
            ),
            Media(kind="audio", media_type="audio/mpeg", data="SUQz"),
            Media(kind="audio", media_type="audio/x-wav", data="UklG"),
            name="ann",
        )
    ) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "x"},
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/gif;base64,R0lG"},
                },
                {
                    "type": "image_url",
                    "image_url": {"url": "https://x/y.png", "detail": "low"},
                },
                {
                    "type": "file",
                    "file": {
                        "filename": "a.pdf",
                        "file_data": "data:application/pdf;base64,JVBERi",
                    },
                },
                {
                    "type": "input_audio",
                    "input_audio": {"data": "SUQz", "format": "mp3"},
                },
                {
                    "type": "input_audio",
                    "input_audio": {"data": "UklG", "format": "wav"},
                },
            ],
            "name": "ann",
        }
    ]


@pytest.mark.parametrize(
    "media",
    [
        Media(kind="document", text="plain", name="notes"),
        Media(
            kind="document",
            media_type="text/plain",
            data=base64.b64encode(b"plain").decode(),
            name="notes",
        ),
    ],
)
def test_documents_of_text_are_text(media):
    request = rendered((said("user", media),))

    assert json.loads(request.body)["messages"][0]["content"] == "notes\n\nplain"
    assert request.approximated == {Feature.DOCUMENT_DATA}


@pytest.mark.parametrize(
    "media",
    [
        Media(kind="document", url="https://x/y.pdf"),
        Media(kind="image", file_id="file-1"),
        Media(kind="video", data="AAAA"),
        Media(kind="audio", url="https://x/y.wav"),
        Media(kind="document", media_type="text/plain", data="!"),
    ],
)
def test_what_has_no_part_is_refused(media):
    with pytest.raises(BadRequest):
        rendered((said("user", media),))


def test_results_follow_their_calls_and_pictures_in_them_follow_after():
    request = rendered(
        (
            said(
                "assistant",
                Thinking(text="Hm.", signature="s", origin="anthropic"),
                Text(text="Let me see."),
                ToolCall(id="a", name="f", arguments='{"x": 1.0}'),
                ToolCall(id="b", name="f", arguments=""),
            ),
            said(
                "user",
                Text(text="Look:"),
                ToolResult(
                    call_id="a",
                    parts=(Text(text="1"), Media(kind="image", url="https://x/y.png")),
                ),
                ToolResult(
                    call_id="b", parts=(Text(text="no such file"),), is_error=True
                ),
            ),
        )
    )

    assert json.loads(request.body)["messages"] == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"x": 1.0}'},
                },
                {
                    "id": "b",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {
            "role": "tool",
            "tool_call_id": "b",
            "content": [
                {"type": "text", "text": "Error:"},
                {"type": "text", "text": "no such file"},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "From the result of a:"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                {"type": "text", "text": "Look:"},
            ],
        },
    ]
    assert request.approximated == {Feature.TOOL_RESULT_PARTS}


def test_a_message_that_was_only_thought_is_left_out():
    assert [
        m["role"] for m in messages(*HELLO, said("assistant", Thinking(text="Hm.")))
    ] == ["user"]


def test_refusals_stay_and_pictures_of_the_assistants_go():
    request = rendered(
        (said("assistant", Refusal("No."), Media(kind="image", data="AAAA")),)
    )

    assert json.loads(request.body)["messages"] == [
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    ]
    assert request.dropped == {Feature.IMAGE_DATA}


# Tools and JSON.


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(mode="none"), "none"),
        (
            ToolChoice(mode="named", names=("f",)),
            {"type": "function", "function": {"name": "f"}},
        ),
        (
            ToolChoice(mode="named", names=("f", "g")),
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [
                        {"type": "function", "function": {"name": "f"}},
                        {"type": "function", "function": {"name": "g"}},
                    ],
                },
            },
        ),
    ],
)
def test_tool_choices(choice, expected):
    assert body(tools=(TOOL,), tool_choice=choice)["tool_choice"] == expected


def test_without_tools_nothing_governs_them():
    assert set(
        body(tool_choice=ToolChoice(mode="none"), parallel_tool_calls=False)
    ) == {
        "model",
        "messages",
    }


def test_a_schema_binds_where_it_can():
    strict = body(json_format=JsonFormat(schema=STRICT_SCHEMA))
    loose = body(json_format=JsonFormat(schema={"type": "object"}))
    openais = body(
        source="openai", json_format=JsonFormat(schema=STRICT_SCHEMA, name="n")
    )

    assert strict["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": STRICT_SCHEMA, "strict": True},
    }
    assert "strict" not in loose["response_format"]["json_schema"]
    assert "strict" not in openais["response_format"]["json_schema"]


def test_a_model_without_schemas_is_told_the_schema():
    model = Model(name="small", structured_output=False)

    request = rendered(model=model, json_format=JsonFormat(schema={"type": "object"}))

    sent = json.loads(request.body)
    assert sent["response_format"] == {"type": "json_object"}
    assert sent["messages"][0]["content"].endswith('schema: {"type":"object"}')
    assert request.approximated == {Feature.JSON_SCHEMA}


def test_plain_json_is_asked_for_in_words_for_openai_insists():
    # "'messages' must contain the word 'json' in some form"
    asked = (said("user", Text(text="As JSON, please")),)

    assert body(json_format=JsonFormat())["messages"][0]["role"] == "system"
    assert len(body(asked, json_format=JsonFormat())["messages"]) == 1


def test_a_schema_nested_beyond_the_stack_is_a_bad_request():
    deep = {}
    for _ in range(5000):
        deep = {"a": deep}

    with pytest.raises(BadRequest):
        rendered(json_format=JsonFormat(schema=deep))


# What depends on the model.


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("o1", "max_completion_tokens"),
        ("o4-mini-2025-04-16", "max_completion_tokens"),
        ("gpt-5", "max_completion_tokens"),
        ("gpt-5.2-codex", "max_completion_tokens"),
        ("openai/gpt-5-nano", "max_completion_tokens"),
        ("my-o3", "max_completion_tokens"),
        ("gpt-5-chat-latest", "max_tokens"),
        ("gpt-4o", "max_tokens"),
        ("gpt-oss-120b", "max_tokens"),
        ("deepseek-reasoner", "max_tokens"),
        ("llama3.1", "max_tokens"),
    ],
)
def test_the_limit_has_the_name_that_the_model_knows(name, field):
    sent = body(model=Model(name=name), max_tokens=9)

    assert sent[field] == 9
    assert len({"max_tokens", "max_completion_tokens"} & set(sent)) == 1


def test_a_limit_beyond_the_models_own_is_lowered():
    request = rendered(
        model=Model(name="gpt-4o", output_limit=16_384), max_tokens=32_000
    )

    assert json.loads(request.body)["max_tokens"] == 16_384
    assert request.approximated == {Feature.MAX_TOKENS}


def test_reasoning_models_are_spared_what_they_refuse():
    request = rendered(
        model=O3,
        temperature=0.2,
        top_p=1,
        stop=("x",),
        logprobs=True,
        tools=(TOOL,),
        parallel_tool_calls=False,
    )

    assert set(json.loads(request.body)) == {"model", "messages", "tools"}
    assert request.dropped == {
        Feature.TEMPERATURE,
        Feature.STOP,
        Feature.LOGPROBS,
        Feature.PARALLEL_TOOL_CALLS,
    }


def test_what_is_known_of_a_model_counts_more_than_its_name():
    model = Model(name="gpt-5.1", temperature=True)

    assert body(model=model, temperature=0.2)["temperature"] == 0.2
    assert "temperature" not in body(
        model=Model(name="x", temperature=False), temperature=0.2
    )


@pytest.mark.parametrize(
    ("wish", "model", "effort", "approximated", "dropped"),
    [
        (Reasoning(effort="high"), GPT_5, "high", False, False),
        (Reasoning(effort="xhigh"), GPT_5, "high", True, False),
        (Reasoning(effort="minimal"), O3, "low", True, False),
        (Reasoning(effort="xhigh"), Model(name="gpt-5.2"), "xhigh", False, False),
        (Reasoning(budget_tokens=10_000), GPT_5, "medium", True, False),
        (Reasoning(budget_tokens=32_000, visible=True), GPT_5, "high", True, False),
        (Reasoning(adaptive=True), GPT_5, None, True, False),
        (Reasoning(effort="low"), LLAMA, "low", False, False),
        (Reasoning(effort="low"), GPT_4, None, False, True),
        (Reasoning(effort="none"), GPT_4, None, False, False),
        (Reasoning(effort="low"), Model(name="x", thinking=False), None, False, True),
        (
            Reasoning(effort="low"),
            Model(name="gpt-4x", thinking=True),
            "low",
            False,
            False,
        ),
    ],
)
def test_efforts(wish, model, effort, approximated, dropped):
    request = rendered(model=model, reasoning=wish)

    assert json.loads(request.body).get("reasoning_effort") == effort
    assert (Feature.THINKING in request.approximated) == approximated
    assert (Feature.THINKING in request.dropped) == dropped


def test_four_stop_sequences_are_all_there_can_be():
    request = rendered(stop=("a", "b", "c", "d", "e"))

    assert json.loads(request.body)["stop"] == ["a", "b", "c", "d"]
    assert request.approximated == {Feature.STOP}


@pytest.mark.parametrize(
    ("tier", "sent", "approximated", "dropped"),
    [
        ("flex", "flex", False, False),
        ("standard_only", "default", True, False),
        ("golden", None, False, True),
    ],
)
def test_service_tiers(tier, sent, approximated, dropped):
    request = rendered(service_tier=tier)

    assert json.loads(request.body).get("service_tier") == sent
    assert (Feature.SERVICE_TIER in request.approximated) == approximated
    assert (Feature.SERVICE_TIER in request.dropped) == dropped


def test_every_feature_has_a_treatment():
    assert set(openai.TREATMENTS) == set(Feature)


def test_biases_are_whole_numbers_as_openai_wants_them():
    assert b'"logit_bias":{"7":-100}' in rendered(logit_bias={"7": -100.0}).body


def test_ids_that_openai_would_refuse_are_shortened_alike():
    # "Invalid 'messages[1].tool_calls[0].id': string too long. Expected a string with
    # maximum length 40": https://github.com/Portkey-AI/gateway/issues/1062
    long, longer = "portkey-6aa6db90-1b84-4155-9f32-f658c97d6b1b", "x" * 500

    asked, told, other = messages(
        said(
            "assistant",
            ToolCall(id=long, name="f", arguments="{}"),
            ToolCall(id=longer, name="f", arguments="{}"),
        ),
        said("user", ToolResult(call_id=long), ToolResult(call_id=longer)),
    )

    ids = [call["id"] for call in asked["tool_calls"]]
    assert ids == [told["tool_call_id"], other["tool_call_id"]]
    assert len(set(ids)) == 2
    assert max(map(len, ids)) <= 40


def test_a_user_that_openai_would_refuse_is_a_digest():
    short, long = rendered(user="u" * 64), rendered(user="u" * 65)

    assert json.loads(short.body)["user"] == "u" * 64
    assert len(json.loads(long.body)["user"]) == 64
    assert (short.approximated, long.approximated) == (frozenset(), {Feature.USER})


# Vendors that are not OpenAI; each profile names its documentation.


def vendor(name, *messages, **fields):
    model = Model(name="m", compat=PRESETS[name].compat)
    return body(messages or HELLO, model, **fields)


CALLED = said(
    "assistant", Thinking(text="hm"), ToolCall(id="t", name="f", arguments="{}")
)
ANSWERED = said("user", ToolResult(call_id="t", parts=(Text(text="42"),)))


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("deepseek", "reasoning_content"),
        ("moonshot", "reasoning_content"),
        ("zai", "reasoning_content"),
        ("vllm", "reasoning"),
        ("openrouter", "reasoning"),
    ],
)
def test_a_vendor_gets_earlier_thinking_back_under_its_own_name(name, member):
    turn = vendor(name, *HELLO, CALLED, ANSWERED)["messages"][1]

    assert turn[member] == "hm"


@pytest.mark.parametrize("name", ["deepseek", "moonshot"])
def test_a_vendor_that_requires_thinking_gets_an_empty_text(name):
    call = said("assistant", ToolCall(id="t", name="f", arguments="{}"))
    turn = vendor(name, *HELLO, call, ANSWERED)["messages"][1]

    assert turn["reasoning_content"] == ""


def test_mistral_gets_call_ids_of_nine_letters_and_digits():
    turns = vendor("mistral", *HELLO, CALLED, ANSWERED)["messages"]

    (call,) = turns[1]["tool_calls"]
    assert re.fullmatch("[a-zA-Z0-9]{9}", call["id"])
    assert turns[2]["tool_call_id"] == call["id"]


def test_mistral_gets_an_assistants_message_between_a_tools_and_a_users():
    answered = said("user", *ANSWERED.parts, Text(text="and now?"))
    turns = vendor("mistral", *HELLO, CALLED, answered)["messages"]

    assert [turn["role"] for turn in turns][2:] == ["tool", "assistant", "user"]


def test_mistral_calls_the_seed_random_seed_and_gets_no_user():
    sent = vendor("mistral", seed=7, user="u", service_tier="auto")

    assert sent["random_seed"] == 7
    assert not {"seed", "user", "service_tier"} & sent.keys()


def test_several_texts_are_one_string_where_a_vendor_takes_no_parts():
    twice = said("user", Text(text="a"), Text(text="b"))

    assert vendor("deepseek", twice)["messages"][0]["content"] == "a\nb"


def test_tools_that_are_not_among_those_allowed_are_not_offered():
    sent = vendor(
        "mistral",
        tools=tuple(Tool(name=name) for name in "fgh"),
        tool_choice=ToolChoice(mode="required", names=("f", "g")),
    )

    assert sent["tool_choice"] == "required"
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["f", "g"]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("deepseek", {"thinking": {"type": "disabled"}}),
        ("moonshot", {"thinking": {"type": "disabled"}}),
        ("zai", {"thinking": {"type": "disabled"}}),
        ("alibaba", {"enable_thinking": False}),
        ("vllm", {"chat_template_kwargs": {"enable_thinking": False}}),
    ],
)
def test_thinking_is_turned_off_with_the_vendors_own_switch(name, fields):
    sent = vendor(name, reasoning=Reasoning(effort="none"))

    assert "reasoning_effort" not in sent
    assert fields.items() <= sent.items()


def test_deepseek_gets_the_nearest_of_its_efforts():
    sent = vendor("deepseek", reasoning=Reasoning(effort="low"))

    assert sent["reasoning_effort"] == "high"
    assert sent["thinking"] == {"type": "enabled"}


def test_a_field_that_a_vendor_refuses_is_left_out_and_told():
    named = said("user", Text(text="x"), name="ann")
    model = Model(name="m", compat=PRESETS["groq"].compat)
    made = rendered((named,), model, logprobs=True, top_logprobs=3)

    sent = json.loads(made.body)
    assert not {"logprobs", "top_logprobs"} & sent.keys()
    assert "name" not in sent["messages"][0]
    assert made.dropped == {Feature.LOGPROBS, Feature.NAMES}


def test_a_developers_message_is_the_systems_where_there_is_no_such_role():
    made = vendor("mistral", said("developer", Text(text="x")), *HELLO)

    assert made["messages"][0]["role"] == "system"
