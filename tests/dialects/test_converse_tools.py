"""Tools in Converse, and JSON that comes as a call."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.dialects.conversation import (
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
from gandalf.dialects.converse.blocks import tool_use_id
from gandalf.domain.errors import BadRequest
from tests.dialects.converse_requests import (
    CALL,
    CLAUDE_4_6,
    LLAMA,
    OPUS_5_5,
    PNG,
    SCHEMA,
    WEATHER,
    a_conversation,
    assistant,
    content_of,
    render,
    user,
)

# --- tools ---


# https://docs.aws.amazon.com/bedrock/latest/userguide/tool-use-inference-call.html
def test_a_round_of_tools_as_the_documentation_has_it():
    conversation = a_conversation(
        user("Weather?"),
        assistant("I look.", CALL),
        user(
            ToolResult(call_id="tooluse_1", parts=(Text(text="rain"),)),
            ToolResult(call_id="tooluse_2", parts=(Text(text="no"),), is_error=True),
        ),
        tools=(WEATHER,),
    )

    _, body = render(conversation)

    assert body["toolConfig"] == {
        "tools": [
            {
                "toolSpec": {
                    "name": "get_weather",
                    "description": "The weather",
                    "inputSchema": {"json": WEATHER.schema},
                }
            }
        ]
    }
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"text": "I look."},
                {
                    "toolUse": {
                        "toolUseId": "tooluse_1",
                        "name": "get_weather",
                        "input": {"city": "Bonn"},
                    }
                },
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "toolResult": {
                        "toolUseId": "tooluse_1",
                        "content": [{"text": "rain"}],
                    }
                },
                {
                    "toolResult": {
                        "toolUseId": "tooluse_2",
                        "content": [{"text": "no"}],
                        "status": "error",
                    }
                },
            ],
        },
    ]


def test_arguments_are_sent_as_they_were_written():
    call = ToolCall(id="a", name="f", arguments=' {"x": 1.50, "y": 1e400 } ')

    rendered, _ = render(a_conversation(user("Hi"), assistant(call), tools=(WEATHER,)))

    assert b'"input":{"x": 1.50, "y": 1e400 }' in rendered.body


def test_no_arguments_are_an_empty_object():
    call = ToolCall(id="a", name="f", arguments="")

    [_, [block]] = content_of(a_conversation(user("Hi"), assistant(call)))

    assert block["toolUse"]["input"] == {}


@pytest.mark.parametrize("arguments", ["[]", '{"a":', "{}x", "{" * 100_000])
def test_arguments_that_are_no_object_are_refused(arguments):
    call = ToolCall(id="a", name="f", arguments=arguments)

    with pytest.raises(BadRequest) as raised:
        render(a_conversation(user("Hi"), assistant(call)))

    assert raised.value.param == "messages"


def test_a_result_can_be_a_picture_and_one_without_output_says_so():
    picture = Media(kind="image", media_type="image/png", data=PNG)
    conversation = a_conversation(
        user("Hi"),
        assistant(CALL),
        user(
            ToolResult(call_id="a", parts=(picture,)),
            ToolResult(call_id="b", parts=(Text(text=" "),)),
        ),
    )

    [_, _, [first, second]] = content_of(conversation)

    image = {"format": "png", "source": {"bytes": PNG}}
    assert first["toolResult"]["content"] == [{"image": image}]
    assert second["toolResult"]["content"] == [{"text": "(no output)"}]


def test_a_model_without_a_status_of_results_gets_none():
    conversation = a_conversation(
        user("Hi"), assistant(CALL), user(ToolResult(call_id="a", is_error=True))
    )

    rendered, body = render(conversation, LLAMA)

    assert "status" not in body["messages"][2]["content"][0]["toolResult"]
    assert rendered.dropped == {Feature.TOOL_RESULT_ERROR}


@given(st.text(min_size=1, max_size=100), st.text(min_size=1, max_size=100))
def test_ids_of_calls_become_what_bedrock_allows_and_stay_different(one, other):
    first, second = tool_use_id(one), tool_use_id(other)

    assert 1 <= len(first) <= 64
    assert set(first) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-"
    )
    assert (first == second) == (one == other)
    assert tool_use_id(first) == first


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, None),
        (ToolChoice(mode="auto"), None),
        (ToolChoice(mode="required"), {"any": {}}),
        (
            ToolChoice(mode="named", names=("get_weather",)),
            {"tool": {"name": "get_weather"}},
        ),
    ],
)
def test_tool_choices(choice, sent):
    conversation = a_conversation(tools=(WEATHER,), tool_choice=choice)

    rendered, body = render(conversation)

    assert body["toolConfig"].get("toolChoice") == sent
    assert rendered.approximated == set()


def test_a_choice_of_several_tools_is_a_choice_of_any_of_them():
    tools = tuple(Tool(name=name) for name in "abc")
    choice = ToolChoice(mode="named", names=("a", "c"))

    rendered, body = render(a_conversation(tools=tools, tool_choice=choice))

    names = [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]]
    assert (names, body["toolConfig"]["toolChoice"]) == (["a", "c"], {"any": {}})
    assert rendered.approximated == {Feature.TOOL_CHOICE}


def test_who_may_call_no_tool_is_offered_none():
    conversation = a_conversation(tools=(WEATHER,), tool_choice=ToolChoice(mode="none"))

    rendered, body = render(conversation)

    assert "toolConfig" not in body
    assert rendered.approximated == {Feature.TOOL_CHOICE}


def test_tools_stay_where_they_were_called_already():
    conversation = a_conversation(
        user("Hi"),
        assistant(CALL),
        user(ToolResult(call_id="tooluse_1")),
        tools=(WEATHER,),
        tool_choice=ToolChoice(mode="none"),
    )

    rendered, body = render(conversation)

    assert len(body["toolConfig"]["tools"]) == 1
    assert "toolChoice" not in body["toolConfig"]
    assert rendered.approximated == {Feature.TOOL_CHOICE}


def test_calls_without_tools_are_given_the_tools_that_bedrock_insists_on():
    conversation = a_conversation(
        user("Hi"), assistant(CALL, CALL), user(ToolResult(call_id="tooluse_1"))
    )

    _, body = render(conversation)

    assert body["toolConfig"] == {
        "tools": [
            {
                "toolSpec": {
                    "name": "get_weather",
                    "inputSchema": {"json": {"type": "object"}},
                }
            }
        ]
    }


def test_a_model_that_cannot_be_made_to_call_a_tool_is_left_to_choose():
    choice = ToolChoice(mode="required")

    rendered, body = render(
        a_conversation(tools=(WEATHER,), tool_choice=choice), OPUS_5_5
    )

    assert "toolChoice" not in body["toolConfig"]
    assert rendered.approximated == {Feature.TOOL_CHOICE}


@pytest.mark.parametrize(
    ("known", "sent", "dropped"),
    [(True, True, set()), (None, None, {Feature.TOOL_STRICT})],
)
def test_strict_tools_only_where_they_are_known(known, sent, dropped):
    tool = msgspec.structs.replace(WEATHER, strict=True)

    rendered, body = render(a_conversation(tools=(tool,)), structured_output=known)

    assert body["toolConfig"]["tools"][0]["toolSpec"].get("strict") is sent
    assert rendered.dropped == dropped


# --- JSON ---

CLOSED = {"additionalProperties": False}


# https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html
def test_a_model_that_can_is_held_to_the_schema():
    wanted = JsonFormat(schema=SCHEMA, name="answer", description="It")

    rendered, body = render(a_conversation(json_format=wanted), structured_output=True)

    text_format = body["outputConfig"]["textFormat"]
    described = text_format["structure"]["jsonSchema"]
    assert text_format["type"] == "json_schema"
    assert json.loads(described.pop("schema")) == {**SCHEMA, **CLOSED}
    assert described == {"name": "answer", "description": "It"}
    assert (rendered.json_tool, rendered.approximated) == ("", set())


def test_a_schema_that_is_not_understood_is_changed_into_one_that_is():
    schema = {"oneOf": [SCHEMA, {"type": "null"}]}

    rendered, body = render(
        a_conversation(json_format=JsonFormat(schema=schema)), structured_output=True
    )

    described = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert json.loads(described["schema"]) == {
        "anyOf": [{**SCHEMA, **CLOSED}, {"type": "null"}]
    }
    assert rendered.approximated == {Feature.JSON_SCHEMA}


def test_a_claude_is_known_to_by_its_version():
    wanted = JsonFormat(schema=SCHEMA)

    rendered, body = render(a_conversation(json_format=wanted), OPUS_5_5)
    denied, _ = render(
        a_conversation(json_format=wanted), CLAUDE_4_6, structured_output=False
    )

    assert "outputConfig" in body
    assert rendered.approximated == set()
    assert denied.json_tool == "json_answer"


@pytest.mark.parametrize("schema", [None, SCHEMA])
def test_who_can_neither_be_held_nor_forced_is_asked(schema):
    conversation = a_conversation(
        Message(role="system", parts=(Text(text="s"),)),
        user("Hi"),
        json_format=JsonFormat(schema=schema),
    )

    rendered, body = render(conversation, OPUS_5_5, structured_output=False)

    first, plea = body["system"]
    assert first == {"text": "s"}
    assert plea["text"].startswith("Answer with a JSON object and nothing else.")
    assert ('"properties"' in plea["text"]) == (schema is not None)
    assert (rendered.json_tool, "toolConfig" in body) == ("", False)
    assert rendered.approximated == {
        Feature.JSON_MODE if schema is None else Feature.JSON_SCHEMA
    }


def test_any_other_gives_its_json_as_a_call():
    wanted = JsonFormat(schema=SCHEMA, name="an answer")

    rendered, body = render(a_conversation(json_format=wanted))

    [tool] = body["toolConfig"]["tools"]
    assert rendered.json_tool == tool["toolSpec"]["name"] == "an_answer"
    assert tool["toolSpec"]["inputSchema"] == {"json": SCHEMA}
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": "an_answer"}}
    assert rendered.approximated == {Feature.JSON_SCHEMA}


def test_json_of_any_form_is_always_a_call():
    rendered, body = render(
        a_conversation(json_format=JsonFormat()), structured_output=True
    )

    assert "outputConfig" not in body
    assert rendered.json_tool == "json_answer"
    assert rendered.approximated == {Feature.JSON_MODE}


def test_beside_tools_of_the_client_json_is_one_more():
    taken = msgspec.structs.replace(WEATHER, name="answer")
    wanted = JsonFormat(schema=SCHEMA, name="answer")

    rendered, body = render(a_conversation(json_format=wanted, tools=(taken,)))

    assert rendered.json_tool == "answer_"
    assert len(body["toolConfig"]["tools"]) == 2
    assert body["toolConfig"]["toolChoice"] == {"any": {}}


def test_who_must_call_a_tool_of_the_clients_gives_no_json_this_time():
    rendered, body = render(
        a_conversation(
            json_format=JsonFormat(schema=SCHEMA),
            tools=(WEATHER,),
            tool_choice=ToolChoice(mode="required"),
        )
    )

    assert rendered.json_tool == ""
    assert len(body["toolConfig"]["tools"]) == 1


def test_a_schema_of_anything_but_an_object_is_refused():
    with pytest.raises(BadRequest):
        render(a_conversation(json_format=JsonFormat(schema={"type": "array"})))
