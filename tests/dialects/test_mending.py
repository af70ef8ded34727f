"""Repairs that are the same for every target."""

import pytest

from gandalf.dialects.conversation import (
    Conversation,
    Feature,
    Message,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gandalf.dialects.mending import NO_RESULT, Rules, mend, plain_root

OPENAI = Rules("[a-zA-Z0-9_-]", "[a-zA-Z0-9_-]", 64, plain_root=True)
GEMINI = Rules("[a-zA-Z0-9_-]", "[a-zA-Z_]", 64, call_first=False)
NO_LATE_SYSTEM = Rules(".", ".", 256, late_system=False)


def user(*parts):
    return Message(role="user", parts=tuple(map(text_or_part, parts)))


def assistant(*parts):
    return Message(role="assistant", parts=tuple(map(text_or_part, parts)))


def system(text):
    return Message(role="system", parts=(Text(text=text),))


def text_or_part(part):
    return Text(text=part) if isinstance(part, str) else part


def call(call_id, name="f"):
    return ToolCall(id=call_id, name=name, arguments="{}")


def result(call_id, text="1"):
    return ToolResult(call_id=call_id, parts=(Text(text=text),))


def mended(*messages, rules=OPENAI, **fields):
    return mend(Conversation(source="openai", messages=messages, **fields), rules)


# Histories.


def test_a_history_in_order_is_left_alone():
    messages = (
        user("x"),
        assistant(call("a"), call("b")),
        user(result("a"), result("b")),
    )

    made = mended(*messages)

    assert made.conversation.messages == messages
    assert made.approximated == frozenset()


def test_a_call_without_a_result_gets_one_that_says_so():
    made = mended(
        user("x"), assistant(call("a"), call("b")), user(result("a"), "never mind")
    )

    answer = made.conversation.messages[2].parts
    assert answer[0] == result("a")
    assert answer[1].call_id == "b"
    assert answer[1].is_error
    assert answer[1].parts == (Text(text=NO_RESULT),)
    assert answer[2] == Text(text="never mind")
    assert made.approximated == {Feature.TOOLS}
    assert made.conversation.used[Feature.TOOLS]


def test_two_results_of_one_call_become_one_and_lose_nothing():
    made = mended(user("x"), assistant(call("a")), user(result("a"), result("a", "2")))

    (answer,) = made.conversation.messages[2].parts
    assert answer.parts == (Text(text="1"), Text(text="2"))
    assert made.approximated == {Feature.TOOLS}


def test_results_come_in_the_order_of_their_calls():
    made = mended(
        user("x"), assistant(call("a"), call("b")), user(result("b"), result("a"))
    )

    assert made.conversation.messages[2].parts == (result("a"), result("b"))


def test_a_late_result_moves_to_its_call():
    made = mended(
        user("x"),
        assistant(call("a")),
        user("wait"),
        assistant("I do"),
        user(result("a")),
    )

    assert made.conversation.messages[2].parts == (result("a"), Text(text="wait"))
    assert made.conversation.messages[-1] == assistant("I do")
    assert made.approximated == {Feature.TOOLS}


def test_a_result_without_its_call_becomes_text():
    made = mended(user("x"), user(result("gone")))

    assert made.conversation.messages[-1] == user("Result of the call gone:", "1")
    assert made.approximated == {Feature.TOOLS}


def test_a_turn_of_calls_is_not_the_first():
    made = mended(system("s"), assistant(call("a")), user(result("a")), rules=GEMINI)

    roles = [message.role for message in made.conversation.messages]
    assert roles == ["system", "user", "assistant", "user"]
    assert made.approximated == {Feature.TOOLS}


def test_a_late_system_message_joins_the_users_turn_before_it():
    late = {Feature.LATE_SYSTEM: "messages.role"}
    made = mended(
        system("s"), user("hi"), system("late"), rules=NO_LATE_SYSTEM, used=late
    )

    assert made.conversation.messages == (system("s"), user("hi", "late"))
    assert made.approximated == {Feature.LATE_SYSTEM}


def test_a_late_system_message_after_an_answer_is_the_users_next_turn():
    late = {Feature.LATE_SYSTEM: "messages.role"}
    made = mended(
        user("hi"), assistant("yes"), system("late"), rules=NO_LATE_SYSTEM, used=late
    )

    assert made.conversation.messages[-1] == user("late")


# Names.


@pytest.mark.parametrize(
    ("rules", "name"),
    [(OPENAI, "docs.search:v2"), (OPENAI, "x" * 95), (GEMINI, "3d_render")],
)
def test_a_name_that_is_refused_becomes_a_valid_one_everywhere(rules, name):
    made = mended(
        user("x"),
        assistant(call("a", name)),
        user(ToolResult(call_id="a", name=name)),
        tools=(Tool(name=name),),
        tool_choice=ToolChoice(mode="named", names=(name,)),
        rules=rules,
    )

    asked = made.conversation
    (new,) = made.names
    assert made.names == {new: name}
    assert len(new) <= 64
    assert asked.tools[0].name == new
    assert asked.tool_choice.names == (new,)
    assert asked.messages[1].parts[0].name == new
    assert asked.messages[2].parts[0].name == new
    assert made.approximated == {Feature.TOOLS}


def test_two_names_never_become_the_same():
    names = ("a.b", "a:b", "a_b", "y" * 70, "y" * 71)
    made = mended(user("x"), tools=tuple(Tool(name=name) for name in names))

    assert len({tool.name for tool in made.conversation.tools}) == len(names)
    assert set(made.names.values()) == {"a.b", "a:b", "y" * 70, "y" * 71}


# Schemas.


def test_an_object_gets_its_properties():
    assert plain_root({"type": "object"}) == {"type": "object", "properties": {}}


def test_alternatives_at_the_root_become_one_object():
    schema = {
        "type": "object",
        "$defs": {"B": {"type": "object", "properties": {"b": {}}, "required": ["x"]}},
        "anyOf": [
            {"type": "object", "properties": {"a": {}}, "required": ["x", "a"]},
            {"$ref": "#/$defs/B"},
        ],
    }

    made = plain_root(schema)

    assert "anyOf" not in made
    assert made["properties"] == {"a": {}, "b": {}}
    assert made["required"] == ["x"]
