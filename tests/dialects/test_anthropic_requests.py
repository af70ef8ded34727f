"""Requests, in and out of the neutral model.

Shapes from https://platform.claude.com/docs/en/api/messages/create, what each model
refuses from the pages that ``gandalf.dialects.anthropic.models`` lists.
"""

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.dialects import anthropic, signatures
from gandalf.dialects.anthropic.models import rules_of
from gandalf.dialects.conversation import (
    CacheMark,
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
    Treatment,
)
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model
from tests.fakes import anthropic_format as fmt

OWN = {"origin": "anthropic"}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
PDF = base64.b64encode(b"%PDF-1.7").decode()
MARK = {"cache_control": {"type": "ephemeral"}}
HI = {"role": "user", "content": "hi"}

OLD = "claude-3-5-sonnet-20241022"
BUDGET = "claude-sonnet-4-5"
BOTH = "claude-opus-4-6"
ADAPTIVE = "claude-opus-4-8"
ALWAYS = "claude-opus-5-5"


def parsed(operation="chat", /, **fields):
    body = {"model": "m", "messages": [HI], **fields}
    if operation == "chat":
        body.setdefault("max_tokens", 100)
    return anthropic.parse_request(
        anthropic.read_call(operation, json.dumps(body).encode())
    )


def parts_of(*blocks, role="user"):
    return parsed(messages=[{"role": role, "content": list(blocks)}]).messages[0].parts


def conversation(*messages, source="openai", **fields):
    return Conversation(
        source=source, messages=messages or (user("hi"),), max_tokens=100, **fields
    )


def user(*parts):
    return message("user", *parts)


def assistant(*parts):
    return message("assistant", *parts)


def message(role, *parts):
    return Message(
        role=role,
        parts=tuple(Text(text=p) if isinstance(p, str) else p for p in parts),
    )


def render(conversation, model=BUDGET, operation="chat", **facts):
    rendered = anthropic.render_request(
        conversation, Model(name=model, **facts), operation
    )
    return json.loads(rendered.body), rendered


def turns(*messages, model=BUDGET, **fields):
    body, rendered = render(conversation(*messages, **fields), model)
    return [(m["role"], m["content"]) for m in body["messages"]], rendered


def text(said):
    return {"type": "text", "text": said}


# Parsing.


def test_the_simplest_request():
    asked = parsed(system="be brief")

    assert asked.messages == (message("system", "be brief"), user("hi"))
    assert asked.max_tokens == 100
    assert asked.used == {
        Feature.MAX_TOKENS: "max_tokens",
        Feature.SYSTEM: "system",
    }
    assert asked.unknown == ()


def test_system_blocks_keep_their_marks():
    asked = parsed(system=[text("a"), text("b") | MARK])

    assert asked.messages[0].parts == (
        Text(text="a"),
        Text(text="b", cache=CacheMark()),
    )
    assert asked.used[Feature.CACHE_MARKS] == "messages.content.cache_control"


def test_wishes_and_what_they_are_called():
    asked = parsed(
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        stop_sequences=["END"],
        stream=True,
        metadata={"user_id": "u-1"},
        service_tier="standard_only",
    )

    assert (asked.temperature, asked.top_p, asked.top_k) == (0.5, 0.9, 5)
    assert (asked.stop, asked.stream, asked.user) == (("END",), True, "u-1")
    assert asked.service_tier == "standard_only"
    assert asked.used == {
        Feature.MAX_TOKENS: "max_tokens",
        Feature.TEMPERATURE: "temperature",
        Feature.TOP_P: "top_p",
        Feature.TOP_K: "top_k",
        Feature.STOP: "stop_sequences",
        Feature.SERVICE_TIER: "service_tier",
        Feature.USER: "metadata.user_id",
    }


@pytest.mark.parametrize(
    ("block", "part", "feature", "name"),
    [
        (
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": PNG},
            },
            Media(kind="image", media_type="image/png", data=PNG),
            Feature.IMAGE_DATA,
            "data",
        ),
        (
            {"type": "image", "source": {"type": "url", "url": "https://x/i.png"}},
            Media(kind="image", url="https://x/i.png"),
            Feature.IMAGE_URL,
            "url",
        ),
        (
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
            Media(kind="image", file_id="file_1"),
            Feature.FILE_ID,
            "file_id",
        ),
        (
            {
                "type": "document",
                "title": "T",
                "source": {
                    "type": "base64",
                    "media_type": "application/pdf",
                    "data": PDF,
                },
                **MARK,
            },
            Media(
                kind="document",
                media_type="application/pdf",
                data=PDF,
                name="T",
                cache=CacheMark(),
            ),
            Feature.DOCUMENT_DATA,
            "data",
        ),
        (
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "abc"},
            },
            Media(kind="document", media_type="text/plain", text="abc"),
            Feature.DOCUMENT_DATA,
            "data",
        ),
        (
            {"type": "document", "source": {"type": "url", "url": "https://x/d.pdf"}},
            Media(kind="document", url="https://x/d.pdf"),
            Feature.DOCUMENT_URL,
            "url",
        ),
    ],
)
def test_images_and_documents(block, part, feature, name):
    asked = parsed(messages=[{"role": "user", "content": [block, text("what?")]}])

    assert asked.messages[0].parts == (part, Text(text="what?"))
    assert asked.used[feature] == f"messages.content.source.{name}"


def test_a_document_of_blocks_becomes_its_text_and_its_images():
    image = {"type": "image", "source": {"type": "url", "url": "https://x/i.png"}}
    block = {
        "type": "document",
        "title": "T",
        "context": "C",
        "citations": {"enabled": True},
        "source": {"type": "content", "content": [text("a"), image, text("b")]},
    }

    asked = parsed(messages=[{"role": "user", "content": [block]}])

    assert asked.messages[0].parts == (
        Media(kind="document", media_type="text/plain", text="a\nb", name="T"),
        Media(kind="image", url="https://x/i.png"),
    )
    assert asked.unknown == ("messages.content.context",)
    assert asked.used[Feature.CITATIONS] == "messages.content.citations"


def test_a_search_result_becomes_a_document():
    block = {
        "type": "search_result",
        "source": "https://x",
        "title": "T",
        "content": [text("a"), text("b")],
    }

    asked = parsed(messages=[{"role": "user", "content": [block]}])

    assert asked.messages[0].parts == (
        Media(kind="document", media_type="text/plain", text="a\nb", name="T"),
    )
    assert asked.unknown == ("messages.content.source",)


def test_a_tool_loop():
    history = [
        HI,
        {
            "role": "assistant",
            "content": [
                fmt.thinking("hm", "SEAL"),
                fmt.redacted_thinking("RED"),
                text("let me"),
                fmt.tool_use("f", {"b": 1, "a": "ü"}, "t1"),
                fmt.tool_use("g", {}, "t2"),
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "22 C"},
                {
                    "type": "tool_result",
                    "tool_use_id": "t2",
                    "is_error": True,
                    "content": [
                        text("see"),
                        {
                            "type": "image",
                            "source": {"type": "url", "url": "https://x/i"},
                        },
                    ],
                    **MARK,
                },
                {"type": "tool_result", "tool_use_id": "t3"},
                text("go on"),
            ],
        },
    ]

    asked = parsed(messages=history)

    assert asked.messages[1].parts == (
        Thinking(text="hm", signature="SEAL", **OWN),
        Thinking(redacted="RED", **OWN),
        Text(text="let me"),
        ToolCall(id="t1", name="f", arguments='{"b": 1, "a": "\\u00fc"}'),
        ToolCall(id="t2", name="g", arguments="{}"),
    )
    assert asked.messages[2].parts == (
        ToolResult(call_id="t1", parts=(Text(text="22 C"),)),
        ToolResult(
            call_id="t2",
            parts=(Text(text="see"), Media(kind="image", url="https://x/i")),
            is_error=True,
            cache=CacheMark(),
        ),
        ToolResult(call_id="t3"),
        Text(text="go on"),
    )
    assert {
        Feature.THINKING_HISTORY,
        Feature.TOOL_RESULT_ERROR,
        Feature.TOOL_RESULT_PARTS,
        Feature.CACHE_MARKS,
    } <= set(asked.used)
    assert Feature.PREFILL not in asked.used


def test_tools():
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    asked = parsed(
        tools=[
            {"name": "f", "description": "d", "input_schema": schema, "strict": True},
            {
                "type": "custom",
                "name": "g",
                "input_schema": schema,
                "cache_control": {"type": "ephemeral", "ttl": "1h"},
                "defer_loading": True,
            },
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
        ],
        tool_choice={"type": "tool", "name": "g", "disable_parallel_tool_use": True},
    )

    assert asked.tools == (
        Tool(name="f", description="d", schema=schema, strict=True),
        Tool(name="g", schema=schema, cache=CacheMark(ttl="1h")),
    )
    assert asked.tool_choice == ToolChoice(mode="named", names=("g",))
    assert asked.parallel_tool_calls is False
    assert asked.unknown == ()
    assert {name for name in asked.used.values() if name.startswith("tool")} == {
        "tools",
        "tools.strict",
        "tools.cache_control",
        "tools.defer_loading",
        "tools.type",
        "tool_choice",
        "tool_choice.disable_parallel_tool_use",
    }


@pytest.mark.parametrize(
    ("fields", "reasoning", "name"),
    [
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            Reasoning(budget_tokens=2048),
            "thinking",
        ),
        (
            {
                "thinking": {"type": "adaptive", "display": "summarized"},
                "output_config": {"effort": "xhigh"},
            },
            Reasoning(adaptive=True, effort="xhigh", visible=True),
            "thinking",
        ),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}},
            Reasoning(adaptive=True, visible=False),
            "thinking",
        ),
        ({"thinking": {"type": "disabled"}}, Reasoning(effort="none"), "thinking"),
        ({"thinking": {"type": "between_tools"}}, Reasoning(effort="none"), "thinking"),
        (
            {"output_config": {"effort": "low"}},
            Reasoning(effort="low"),
            "output_config.effort",
        ),
    ],
)
def test_thinking(fields, reasoning, name):
    asked = parsed(**fields)

    assert asked.reasoning == reasoning
    assert asked.used[Feature.THINKING] == name


@pytest.mark.parametrize("old", [False, True])
def test_structured_output(old):
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    fields = {"output_format": wanted} if old else {"output_config": {"format": wanted}}

    asked = parsed(**fields)

    assert asked.json_format == JsonFormat(schema={"type": "object"})
    assert asked.used[Feature.JSON_SCHEMA] == (
        "output_format" if old else "output_config.format"
    )


def test_what_has_no_place_is_named():
    asked = parsed(
        context_management={"edits": [{}]},
        speed="fast",
        container=None,
        mcp_servers=[],
        thinking={"type": "adaptive", "block_binding": {"x": 1}},
        messages=[
            {"role": "user", "content": [text("x") | {"novel": 1, "empty": None}]},
        ],
    )

    assert asked.unknown == (
        "context_management",
        "speed",
        "thinking.block_binding",
        "messages.content.novel",
    )


def test_blocks_of_the_providers_own_tools_are_noted():
    asked = parsed(
        messages=[
            HI,
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "server_tool_use",
                        "id": "s",
                        "name": "web_search",
                        "input": {},
                    },
                    text("found"),
                ],
            },
            HI,
        ]
    )

    assert asked.messages[1].parts == (Text(text="found"),)
    assert asked.used[Feature.SERVER_TOOLS] == "messages.content.server_tool_use"


def test_a_mark_at_the_top_marks_the_last_block():
    asked = parsed(
        cache_control={"type": "ephemeral", "ttl": "1h"},
        messages=[HI, {"role": "user", "content": [text("a"), text("b")]}],
    )

    assert asked.messages[-1].parts == (
        Text(text="a"),
        Text(text="b", cache=CacheMark(ttl="1h")),
    )
    assert asked.used[Feature.CACHE_MARKS] == "cache_control"


def test_system_messages_among_the_others_and_prefill_are_noted():
    asked = parsed(
        messages=[
            HI,
            {"role": "system", "content": "now in French"},
            {"role": "assistant", "content": "Bon"},
        ]
    )

    assert [m.role for m in asked.messages] == ["user", "system", "assistant"]
    assert asked.used[Feature.LATE_SYSTEM] == "messages.role"
    assert asked.used[Feature.PREFILL] == "messages"


def test_a_count_is_parsed_like_a_request():
    assert parsed("count_tokens").messages == (user("hi"),)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages.content.text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "messages.content.source",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "source": {"type": "magic"}}],
                    }
                ]
            },
            "messages.content.source.type",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "tool_use", "id": "t", "name": "f", "input": 7}
                        ],
                    }
                ]
            },
            "messages.content.input",
        ),
        ({"system": [fmt.tool_use()]}, "messages.content.type"),
        ({"tools": [{"input_schema": {}}]}, "tools.name"),
        ({"tools": [{"name": "f", "input_schema": []}]}, "input_schema"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"thinking": {"type": "hard"}}, "thinking.type"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
        ({"cache_control": {"ttl": "1y"}}, "cache_control.ttl"),
        ({"stop_sequences": [1]}, "stop_sequences[0]"),
    ],
)
def test_an_invalid_request_is_refused_with_the_field_at_fault(fields, param):
    with pytest.raises(BadRequest) as refused:
        parsed(**fields)

    assert refused.value.param == param


@pytest.mark.parametrize("kind", ["content", "schema"])
def test_nesting_without_end_is_refused(kind):
    if kind == "content":
        inner = b'{"type":"tool_result","tool_use_id":"t","content":['
        deep = inner * 600 + b"]}" * 600
        body = (
            b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[%b]}]}'
        )
    else:
        deep = b'{"a":{"properties":' * 400 + b"{}" + b"}}" * 400
        body = (
            b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}],'
            b'"tools":[{"name":"f","strict":true,"input_schema":{"properties":%b}}]}'
        )

    def there_and_out():
        return render(anthropic.parse_request(anthropic.read_call("chat", body % deep)))

    with pytest.raises(BadRequest):
        there_and_out()


# Rendering: messages.


def test_a_conversation_of_openais():
    body, rendered = render(
        Conversation(
            source="openai",
            messages=(
                message("system", "one"),
                message("developer", "two"),
                user("hi", Media(kind="image", url="https://x/i.png")),
                assistant(
                    Refusal("no"), ToolCall(id="c1", name="f", arguments='{"b":1}')
                ),
                user(ToolResult(call_id="c1", parts=(Text(text="42"),))),
            ),
            tools=(Tool(name="f", schema={"type": "object"}),),
            user="u-1",
            stream=True,
        )
    )

    assert body == {
        "model": BUDGET,
        "max_tokens": 4096,
        "system": [text("one"), text("two")],
        "messages": [
            {
                "role": "user",
                "content": [
                    text("hi"),
                    {
                        "type": "image",
                        "source": {"type": "url", "url": "https://x/i.png"},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [text("no"), fmt.tool_use("f", {"b": 1}, "c1")],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "42"}
                ],
            },
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "metadata": {"user_id": "u-1"},
        "stream": True,
    }
    assert rendered.approximated == {Feature.DEVELOPER}
    assert rendered.dropped == set()


def test_the_text_of_arguments_is_kept():
    call = ToolCall(id="c", name="f", arguments='{ "b":1.50, "a" : 1e5 }')
    result = ToolResult(call_id="c")

    rendered = anthropic.render_request(
        conversation(user("x"), assistant(call), user(result)), Model(name=BUDGET)
    )

    assert b'"input":{ "b":1.50, "a" : 1e5 }' in rendered.body


def test_the_same_conversation_is_the_same_bytes():
    def once():
        asked = conversation(
            user("x"),
            tools=(Tool(name="f", schema={"z": 1, "a": 2}),),
            reasoning=Reasoning(effort="high"),
        )
        return anthropic.render_request(asked, Model(name=ADAPTIVE)).body

    assert once() == once()


def test_the_models_own_limit_is_the_default():
    asked = Conversation(source="openai", messages=(user("x"),))

    assert render(asked, output_limit=64_000)[0]["max_tokens"] == 64_000
    assert render(asked)[0]["max_tokens"] == 4096


def test_neighbours_are_joined_and_blank_texts_left_out():
    said, _ = turns(
        user("a", ""),
        user(" \n"),
        user("b"),
        assistant(""),
        user("c"),
        assistant("d"),
        user("e"),
    )

    assert said == [
        ("user", [text("a"), text("b"), text("c")]),
        ("assistant", [text("d")]),
        ("user", [text("e")]),
    ]


def test_an_assistant_does_not_begin():
    said, _ = turns(assistant("hello"), user("hi"))

    assert [role for role, _ in said] == ["user", "assistant", "user"]


def test_a_conversation_of_system_messages_is_asked_by_the_user():
    body, rendered = render(conversation(message("system", "say hi")))

    assert body["messages"] == [{"role": "user", "content": [text("say hi")]}]
    assert "system" not in body
    assert rendered.approximated == {Feature.SYSTEM}


def test_a_conversation_that_says_nothing_is_refused():
    with pytest.raises(BadRequest):
        render(conversation(user("")))


def test_results_follow_their_calls():
    calls = [ToolCall(id=i, name="f", arguments="{}") for i in ("a", "b")]

    said, rendered = turns(
        user("x"),
        assistant("let me", *calls),
        user("by the way"),
        user(ToolResult(call_id="b", parts=(Text(text="B"),))),
        user(ToolResult(call_id="a", parts=(Text(text="A"),))),
    )

    assert said[2][1] == [
        {"type": "tool_result", "tool_use_id": "b", "content": "B"},
        {"type": "tool_result", "tool_use_id": "a", "content": "A"},
        text("by the way"),
    ]
    assert rendered.approximated == set()


def test_results_after_another_turn_go_back_to_their_calls():
    said, rendered = turns(
        user("x"),
        assistant(ToolCall(id="a", name="f", arguments="{}")),
        user("well?"),
        assistant("wait"),
        user(ToolResult(call_id="a", parts=(Text(text="A"),))),
    )

    assert said == [
        ("user", [text("x")]),
        ("assistant", [fmt.tool_use("f", {}, "a")]),
        (
            "user",
            [
                {"type": "tool_result", "tool_use_id": "a", "content": "A"},
                text("well?"),
            ],
        ),
        ("assistant", [text("wait")]),
        ("user", [text("Continue from where you left off.")]),
    ]
    assert rendered.approximated == {Feature.TOOLS}


def test_a_turn_of_nothing_but_moved_results_leaves_no_gap():
    history = (
        user("x"),
        assistant(ToolCall(id="a", name="f", arguments="{}")),
        user("well?"),
        assistant("wait"),
        user(ToolResult(call_id="a", parts=(Text(text="A"),))),
        message("system", "s"),
        assistant("done"),
        user("y"),
    )
    body, rendered = render(conversation(*history), ADAPTIVE)

    assert [m["role"] for m in body["messages"]] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert body["messages"][3]["content"] == [text("wait"), text("done")]
    assert body["system"] == [text("s")]
    assert rendered.approximated == {Feature.LATE_SYSTEM}


def test_a_last_call_without_a_result_gets_one():
    said, _ = turns(user("x"), assistant(ToolCall(id="a", name="f", arguments="{}")))

    assert said[-1][0] == "user"
    assert said[-1][1][0]["is_error"]


def test_a_call_without_a_result_is_said_to_have_failed():
    said, rendered = turns(
        user("x"),
        assistant(
            ToolCall(id="a", name="f", arguments="{}"),
            ToolCall(id="b", name="f", arguments="{}"),
        ),
        user(ToolResult(call_id="b", parts=(Text(text="B"),)), "go on"),
    )

    assert said[2][1] == [
        {"type": "tool_result", "tool_use_id": "b", "content": "B"},
        {
            "type": "tool_result",
            "tool_use_id": "a",
            "content": "There is no result of this call.",
            "is_error": True,
        },
        text("go on"),
    ]
    assert rendered.approximated == {Feature.TOOLS}


def test_a_result_without_a_call_is_refused():
    with pytest.raises(BadRequest, match="answers no call: 'zz'"):
        render(conversation(user(ToolResult(call_id="zz"))))


def test_ids_are_made_unique_and_fit_for_the_api():
    def turn(id):
        return (
            assistant(ToolCall(id=id, name="f", arguments="{}")),
            user(ToolResult(call_id=id, parts=(Text(text="r"),))),
        )

    said, _ = turns(user("x"), *turn("call 0"), *turn("call 0"), *turn(""))

    calls = [b["id"] for _, content in said for b in content if b["type"] == "tool_use"]
    results = [
        b["tool_use_id"] for _, content in said for b in content if "tool_use_id" in b
    ]
    assert calls == results == ["call_0", "call_0_2", "_"]


def test_arguments_that_are_no_object_are_wrapped():
    said, rendered = turns(
        user("x"),
        assistant(
            ToolCall(id="a", name="f", arguments="oops {"),
            ToolCall(id="b", name="f", arguments=""),
        ),
        user(ToolResult(call_id="a"), ToolResult(call_id="b")),
    )

    assert [block["input"] for block in said[1][1]] == [{"arguments": "oops {"}, {}]
    assert rendered.approximated == {Feature.TOOLS}


def test_results_of_parts_and_errors():
    result = ToolResult(
        call_id="a",
        parts=(Text(text="see"), Media(kind="image", data=PNG), Text(text="")),
        is_error=True,
        cache=CacheMark(ttl="1h"),
    )

    said, _ = turns(
        user("x"), assistant(ToolCall(id="a", name="f", arguments="{}")), user(result)
    )

    assert said[2][1] == [
        {
            "type": "tool_result",
            "tool_use_id": "a",
            "content": [
                text("see"),
                {
                    "type": "image",
                    "source": {
                        "type": "base64",
                        "media_type": "image/png",
                        "data": PNG,
                    },
                },
            ],
            "is_error": True,
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
        }
    ]


@pytest.mark.parametrize(
    ("media", "source"),
    [
        (
            Media(kind="image", media_type="image/jpg", data="/9j/4AAQ"),
            {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AAQ"},
        ),
        (
            Media(kind="image", url=f"data:image/png;base64,{PNG}"),
            {"type": "base64", "media_type": "image/png", "data": PNG},
        ),
        (
            Media(kind="image", file_id="file_1"),
            {"type": "file", "file_id": "file_1"},
        ),
        (
            Media(kind="document", media_type="application/pdf", data=PDF),
            {"type": "base64", "media_type": "application/pdf", "data": PDF},
        ),
        (
            Media(kind="document", media_type="text/csv", data="YSxi"),
            {"type": "text", "media_type": "text/plain", "data": "a,b"},
        ),
        (
            Media(kind="document", text="abc"),
            {"type": "text", "media_type": "text/plain", "data": "abc"},
        ),
        (
            Media(kind="document", url="https://x/d.pdf"),
            {"type": "url", "url": "https://x/d.pdf"},
        ),
    ],
)
def test_sources_of_images_and_documents(media, source):
    said, _ = turns(user(media))

    assert said[0][1] == [{"type": media.kind, "source": source}]


@pytest.mark.parametrize(
    "media",
    [
        Media(kind="image", media_type="image/bmp", data="Qk0="),
        Media(kind="image"),
        Media(kind="document", media_type="application/msword", data="AA=="),
        Media(kind="document", media_type="text/plain", data="\x80"),
        Media(kind="audio", media_type="audio/wav", data="AA=="),
        Media(kind="video", url="https://x/v.mp4"),
    ],
)
def test_what_the_api_does_not_take_is_refused(media):
    with pytest.raises(BadRequest):
        render(conversation(user(media)))


def test_an_assistant_cannot_show_pictures():
    with pytest.raises(BadRequest):
        render(conversation(user("x"), assistant(Media(kind="image", data=PNG))))


def test_own_thinking_goes_back_and_foreign_does_not():
    said, rendered = turns(
        user("x"),
        assistant(
            Thinking(text="own", signature="SEAL", **OWN),
            Thinking(redacted="RED", **OWN),
            Thinking(text="no seal"),
            Thinking(text="g", signature="G", origin="gemini"),
            Thinking(redacted="enc", origin="openai"),
            "answer",
        ),
        user("y"),
    )

    assert said[1][1] == [
        fmt.thinking("own", "SEAL"),
        fmt.redacted_thinking("RED"),
        text("answer"),
    ]
    assert rendered.dropped == {Feature.THINKING_HISTORY}


def test_a_seal_that_travelled_wrapped_is_known_by_its_origin():
    block = fmt.thinking("t", signatures.wrap("gemini", "G"))

    assert parts_of(block, role="assistant") == (
        Thinking(text="t", signature="G", origin="gemini"),
    )


# Rendering: system messages after the beginning.


def test_late_system_messages_move_to_the_top_of_older_models():
    body, rendered = render(
        conversation(
            message("system", "a"), user("x"), message("system", "b"), user("y")
        )
    )

    assert body["system"] == [text("a"), text("b")]
    assert body["messages"] == [{"role": "user", "content": [text("x"), text("y")]}]
    assert rendered.approximated == {Feature.LATE_SYSTEM}


def test_late_system_messages_stay_where_newer_models_take_them():
    said, rendered = turns(
        user("x"),
        message("system", "b"),
        assistant("y"),
        user("z"),
        message("system", "c"),
        model=ADAPTIVE,
    )

    assert said == [
        ("user", [text("x")]),
        ("system", [text("b")]),
        ("assistant", [text("y")]),
        ("user", [text("z")]),
        ("system", [text("c")]),
    ]
    assert rendered.approximated == set()


def test_late_system_messages_wait_for_the_end_of_the_users_turn():
    said, rendered = turns(
        user("x"),
        message("system", "a"),
        user("y"),
        assistant(ToolCall(id="t", name="f", arguments="{}")),
        message("system", "b"),
        user(ToolResult(call_id="t", parts=(Text(text="r"),))),
        model=ADAPTIVE,
    )

    assert [(role, content[0].get("text")) for role, content in said] == [
        ("user", "x"),
        ("system", "a"),
        ("assistant", None),
        ("user", None),
        ("system", "b"),
    ]
    assert rendered.approximated == {Feature.LATE_SYSTEM}


@pytest.mark.parametrize("model", [OLD, ADAPTIVE])
def test_a_system_message_after_everything_moves_to_the_top(model):
    body, rendered = render(
        conversation(user("x"), assistant("y"), message("system", "z")), model
    )

    assert body["system"] == [text("z")]
    assert Feature.LATE_SYSTEM in rendered.approximated


# Rendering: prefill.


def test_prefill_where_it_is_taken():
    said, rendered = turns(user("x"), assistant("The answer is "))

    assert said[-1] == ("assistant", [text("The answer is")])
    assert rendered.approximated == {Feature.PREFILL}


def test_prefill_where_it_is_refused():
    said, rendered = turns(user("x"), assistant("The answer"), model=BOTH)

    assert [role for role, _ in said] == ["user", "assistant", "user"]
    assert rendered.approximated == {Feature.PREFILL}


# Rendering: thinking.


def thought(model, reasoning, /, *messages, max_tokens=None, limit=None, **fields):
    asked = Conversation(
        source="openai",
        messages=messages or (user("x"),),
        reasoning=reasoning,
        max_tokens=max_tokens,
        **fields,
    )
    body, rendered = render(asked, model, output_limit=limit)
    effort = body.get("output_config", {}).get("effort")
    return body.get("thinking"), effort, body["max_tokens"], rendered


APPROXIMATED, DROPPED, EXACT = "approximated", "dropped", "exact"


@pytest.mark.parametrize(
    ("model", "reasoning", "config", "effort", "loss"),
    [
        # Adaptive thinking and effort.
        (ADAPTIVE, Reasoning(effort="high"), {"type": "adaptive"}, "high", EXACT),
        (
            ADAPTIVE,
            Reasoning(effort="minimal"),
            {"type": "adaptive"},
            "low",
            APPROXIMATED,
        ),
        (BOTH, Reasoning(effort="xhigh"), {"type": "adaptive"}, "high", APPROXIMATED),
        (ADAPTIVE, Reasoning(effort="xhigh"), {"type": "adaptive"}, "xhigh", EXACT),
        (ADAPTIVE, Reasoning(adaptive=True), {"type": "adaptive"}, None, EXACT),
        (
            ADAPTIVE,
            Reasoning(adaptive=True, visible=True),
            {"type": "adaptive", "display": "summarized"},
            None,
            EXACT,
        ),
        (
            ADAPTIVE,
            Reasoning(budget_tokens=8192),
            {"type": "adaptive"},
            "medium",
            APPROXIMATED,
        ),
        # A budget.
        (
            BUDGET,
            Reasoning(budget_tokens=2000),
            {"type": "enabled", "budget_tokens": 2000},
            None,
            EXACT,
        ),
        (
            BOTH,
            Reasoning(budget_tokens=2000),
            {"type": "enabled", "budget_tokens": 2000},
            None,
            EXACT,
        ),
        (
            BUDGET,
            Reasoning(budget_tokens=512),
            {"type": "enabled", "budget_tokens": 1024},
            None,
            APPROXIMATED,
        ),
        (
            BUDGET,
            Reasoning(effort="medium"),
            {"type": "enabled", "budget_tokens": 8192},
            None,
            APPROXIMATED,
        ),
        (
            BUDGET,
            Reasoning(adaptive=True, visible=False),
            {"type": "enabled", "budget_tokens": 8192, "display": "omitted"},
            None,
            APPROXIMATED,
        ),
        # Both, on the one model that takes both.
        (
            "claude-opus-4-5",
            Reasoning(budget_tokens=2000, effort="low"),
            {"type": "enabled", "budget_tokens": 2000},
            "low",
            EXACT,
        ),
        # None.
        (ADAPTIVE, Reasoning(effort="none"), {"type": "disabled"}, None, EXACT),
        (BUDGET, Reasoning(budget_tokens=0), {"type": "disabled"}, None, EXACT),
        (
            "claude-sonnet-5-5",
            Reasoning(effort="none"),
            {"type": "between_tools"},
            None,
            EXACT,
        ),
        ("claude-opus-5", Reasoning(effort="none"), {"type": "disabled"}, None, EXACT),
        (ALWAYS, Reasoning(effort="none"), None, "low", APPROXIMATED),
        (OLD, Reasoning(effort="none"), None, None, EXACT),
        (OLD, Reasoning(effort="high"), None, None, DROPPED),
        (ADAPTIVE, None, None, None, EXACT),
        # Of a model whose name says nothing.
        (
            "my-deployment",
            Reasoning(effort="high"),
            {"type": "adaptive"},
            "high",
            EXACT,
        ),
    ],
)
def test_how_much_to_think(model, reasoning, config, effort, loss):
    said, said_effort, _, rendered = thought(model, reasoning)

    assert (said, said_effort) == (config, effort)
    assert (Feature.THINKING in rendered.approximated) == (loss == APPROXIMATED)
    assert (Feature.THINKING in rendered.dropped) == (loss == DROPPED)


@pytest.mark.parametrize(
    ("max_tokens", "limit", "budget", "said"),
    [
        # Our own limit grows.
        (None, None, 8192, 8192 + 4096),
        # The model's does not, but suffices.
        (None, 64_000, 8192, 64_000),
        # The client's stands, and the budget shrinks.
        (4000, None, 2000, 4000),
        (1500, None, 1024, 1500),
        (9000, 64_000, 8192, 9000),
    ],
)
def test_a_budget_leaves_room_for_an_answer(max_tokens, limit, budget, said):
    config, _, limit, _ = thought(
        BUDGET, Reasoning(effort="medium"), max_tokens=max_tokens, limit=limit
    )

    assert (config["budget_tokens"], limit) == (budget, said)


def test_there_is_no_thinking_without_room_for_it():
    config, _, _, rendered = thought(BUDGET, Reasoning(effort="low"), max_tokens=1000)

    assert config is None
    assert rendered.dropped == {Feature.THINKING}


CALL = ToolCall(id="t", name="f", arguments="{}")
RESULT = ToolResult(call_id="t", parts=(Text(text="r"),))
LOOP = (user("x"), assistant(CALL), user(RESULT))
SEALED = (
    user("x"),
    assistant(Thinking(text="t", signature="S", **OWN), CALL),
    user(RESULT),
)


@pytest.mark.parametrize(
    ("model", "messages", "on"),
    [
        (BUDGET, LOOP, False),
        (BUDGET, SEALED, True),
        (BUDGET, (*LOOP, assistant("done"), user("y")), True),
        (ADAPTIVE, LOOP, True),
    ],
)
def test_a_call_without_its_thinking_ends_thinking_with_a_budget(model, messages, on):
    config, _, _, rendered = thought(model, Reasoning(effort="high"), *messages)

    assert (config is not None) == on
    assert (Feature.THINKING in rendered.dropped) == (not on)


def test_prefill_ends_thinking_with_a_budget():
    config, _, _, rendered = thought(
        BUDGET, Reasoning(budget_tokens=2000), user("x"), assistant("y")
    )

    assert config is None
    assert Feature.THINKING in rendered.dropped


TOOL = Tool(name="f", schema={"type": "object"})
FORCED = {"tools": (TOOL,), "tool_choice": ToolChoice(mode="required")}


@pytest.mark.parametrize(
    ("model", "config", "effort", "choice", "dropped", "approximated"),
    [
        (BUDGET, None, None, "any", True, False),
        (ADAPTIVE, None, "high", "any", True, False),
        # It thinks without being told, and may be forced.
        ("claude-opus-5", None, "high", "any", False, False),
        # It cannot be forced.
        (ALWAYS, {"type": "adaptive"}, "high", "auto", False, True),
    ],
)
def test_a_forced_tool_goes_before_thinking(
    model, config, effort, choice, dropped, approximated
):
    asked = conversation(reasoning=Reasoning(effort="high"), **FORCED)

    body, rendered = render(asked, model)

    assert body.get("thinking") == config
    assert body.get("output_config", {}).get("effort") == effort
    assert body["tool_choice"] == {"type": choice}
    assert (Feature.THINKING in rendered.dropped) == dropped
    assert (Feature.TOOL_CHOICE in rendered.approximated) == approximated


@pytest.mark.parametrize(
    ("model", "thinking", "sampling", "said", "dropped", "approximated"),
    [
        (OLD, None, {"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {"temperature": 0.5, "top_p": 0.9, "top_k": 5}, set(), set()),
        (BUDGET, None, {"temperature": 1.7}, {"temperature": 1.0}, set(), {Feature.TEMPERATURE}),
        (BUDGET, None, {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, {Feature.TOP_P}, set()),
        (BUDGET, None, {"temperature": 1, "top_p": 0.9}, {"top_p": 0.9}, set(), set()),
        (ADAPTIVE, None, {"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {}, {Feature.TEMPERATURE, Feature.TOP_P, Feature.TOP_K}, set()),
        (ADAPTIVE, None, {"temperature": 1}, {}, set(), set()),
        (BOTH, Reasoning(effort="high"), {"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {}, {Feature.TEMPERATURE, Feature.TOP_P, Feature.TOP_K}, set()),
        (BOTH, Reasoning(effort="high"), {"temperature": 1, "top_p": 0.97}, {"top_p": 0.97}, set(), set()),
    ],
)  # fmt: skip
def test_sampling(model, thinking, sampling, said, dropped, approximated):
    body, rendered = render(conversation(reasoning=thinking, **sampling), model)

    names = ("temperature", "top_p", "top_k")
    assert {name: body[name] for name in names if name in body} == said
    assert (rendered.dropped, rendered.approximated) == (dropped, approximated)


def test_what_is_known_of_a_model_goes_before_its_name():
    asked = conversation(
        temperature=0.5,
        reasoning=Reasoning(effort="high"),
        json_format=JsonFormat(schema={"type": "object"}),
    )

    body, rendered = render(
        asked, BOTH, temperature=False, thinking=False, structured_output=False
    )

    assert "temperature" not in body
    assert "thinking" not in body
    assert rendered.json_tool
    assert rendered.dropped == {Feature.TEMPERATURE, Feature.THINKING}


@pytest.mark.parametrize(
    ("name", "adaptive", "budget", "sampling", "prefill", "forcing", "late", "schemas"),
    [
        ("claude-3-haiku-20240307", 0, 0, 1, 1, 1, 0, 0),
        ("claude-2.1", 1, 1, 1, 1, 1, 0, 0),
        ("claude-3-7-sonnet-latest", 0, 1, 1, 1, 1, 0, 0),
        ("claude-sonnet-4@20250514", 0, 1, 1, 1, 1, 0, 0),
        ("claude-opus-4-1-20250805", 0, 1, 1, 1, 1, 0, 0),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", 0, 1, 1, 1, 1, 0, 1),
        ("anthropic/claude-opus-4.6", 1, 1, 1, 0, 1, 0, 1),
        ("claude-mythos-preview", 1, 1, 1, 0, 1, 0, 1),
        ("claude-opus-4-7", 1, 0, 0, 0, 1, 0, 1),
        ("claude-opus-4-8", 1, 0, 0, 0, 1, 1, 1),
        ("claude-sonnet-5", 1, 0, 0, 0, 1, 0, 1),
        ("claude-fable-5", 1, 0, 0, 0, 1, 1, 1),
        ("claude-fable-5-2", 1, 0, 0, 0, 0, 1, 1),
        ("claude-sonnet-5-5", 1, 0, 0, 0, 0, 1, 1),
        ("claude-haiku-5-5", 1, 0, 0, 0, 1, 1, 1),
        ("claude-opus-6-20270101", 1, 0, 0, 0, 0, 1, 1),
    ],
)
def test_the_table_of_models(
    name, adaptive, budget, sampling, prefill, forcing, late, schemas
):
    rules = rules_of(Model(name=name))

    assert [
        rules.adaptive,
        rules.budget,
        rules.sampling,
        rules.prefill,
        rules.forcing,
        rules.late_system,
        rules.schemas,
    ] == list(map(bool, (adaptive, budget, sampling, prefill, forcing, late, schemas)))


# Rendering: tools.


@pytest.mark.parametrize(
    ("choice", "parallel", "said"),
    [
        (None, None, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (None, True, None),
        (ToolChoice(mode="auto"), None, {"type": "auto"}),
        (
            ToolChoice(mode="required"),
            False,
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        (
            ToolChoice(mode="named", names=("f",)),
            None,
            {"type": "tool", "name": "f"},
        ),
        (ToolChoice(mode="named", names=("f", "h")), None, {"type": "any"}),
        (ToolChoice(mode="none"), False, {"type": "none"}),
    ],
)
def test_tool_choice(choice, parallel, said):
    body, rendered = render(
        conversation(tools=(TOOL,), tool_choice=choice, parallel_tool_calls=parallel)
    )

    assert body.get("tool_choice") == said
    assert rendered.approximated == rendered.dropped == set()


def test_a_choice_without_tools_is_left_out():
    body, _ = render(conversation(tool_choice=ToolChoice(mode="auto")))

    assert "tool_choice" not in body


def test_a_choice_among_some_tools_sends_no_others():
    tools = tuple(Tool(name=n) for n in "abc")
    choice = ToolChoice(mode="required", names=("a", "c"))

    body, _ = render(conversation(tools=tools, tool_choice=choice))

    assert [tool["name"] for tool in body["tools"]] == ["a", "c"]
    assert body["tool_choice"] == {"type": "any"}


def test_strict_tools():
    closed = {
        "type": "object",
        "properties": {"x": {"type": "string", "format": "date"}},
        "required": ["x"],
        "additionalProperties": False,
    }
    limited = {**closed, "properties": {"x": {"type": "integer", "minimum": 1}}}
    tools = (
        Tool(name="f", schema=closed, strict=True),
        Tool(name="g", schema=limited, strict=True),
    )

    body, rendered = render(conversation(tools=tools))

    assert body["tools"] == [
        {"name": "f", "input_schema": closed, "strict": True},
        {"name": "g", "input_schema": limited},
    ]
    assert rendered.dropped == {Feature.TOOL_STRICT}


def test_only_the_last_four_marks_are_kept():
    marked = Text(text="x", cache=CacheMark())
    asked = conversation(
        message("system", marked, marked),
        user(marked, marked),
        tools=(Tool(name="f", cache=CacheMark()),),
    )

    body, rendered = render(asked)

    assert "cache_control" not in body["tools"][0]
    blocks = [*body["system"], *body["messages"][0]["content"]]
    assert all("cache_control" in block for block in blocks)
    assert rendered.approximated == {Feature.CACHE_MARKS}


# Rendering: structured output.

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def test_structured_output_where_there_is_one():
    asked = conversation(
        json_format=JsonFormat(schema=CITY, name="city", strict=True),
        reasoning=Reasoning(effort="low"),
    )

    body, rendered = render(asked, ADAPTIVE)

    assert body["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": CITY},
    }
    assert "tools" not in body
    assert (rendered.json_tool, rendered.approximated) == ("", set())


def test_what_a_schema_may_not_say_goes_into_its_description():
    schema = {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 1, "description": "count"},
            "l": {"type": "array", "items": {"$ref": "#/$defs/t"}, "minItems": 3},
            "m": {"type": "object", "additionalProperties": {"type": "string"}},
            "u": {"oneOf": [{"type": "string", "pattern": "^a"}, {"type": "null"}]},
        },
        "$defs": {"t": {"type": "string", "format": "uuid"}},
    }

    body, rendered = render(conversation(json_format=JsonFormat(schema=schema)))

    assert body["output_config"]["format"]["schema"] == {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "description": "count\n\n(minimum: 1)"},
            "l": {
                "type": "array",
                "items": {"$ref": "#/$defs/t"},
                "description": "(minItems: 3)",
            },
            "m": {"type": "object", "additionalProperties": False},
            "u": {
                "anyOf": [
                    {"type": "string", "description": '(pattern: "^a")'},
                    {"type": "null"},
                ]
            },
        },
        "$defs": {"t": {"type": "string", "format": "uuid"}},
        "additionalProperties": False,
    }
    assert rendered.approximated == {Feature.JSON_SCHEMA}


def test_a_forced_tool_stands_in_for_structured_output():
    asked = conversation(
        json_format=JsonFormat(schema=CITY, name="city", description="Where."),
        reasoning=Reasoning(effort="low"),
    )

    body, rendered = render(asked, "claude-sonnet-4-20250514")

    assert body["tools"] == [
        {"name": "city", "description": "Where.", "input_schema": CITY}
    ]
    assert body["tool_choice"] == {
        "type": "tool",
        "name": "city",
        "disable_parallel_tool_use": True,
    }
    assert rendered.json_tool == "city"
    assert "thinking" not in body
    assert Feature.JSON_SCHEMA in rendered.approximated
    assert rendered.dropped == {Feature.THINKING}


def test_beside_other_tools_one_of_all_must_be_called():
    asked = conversation(
        json_format=JsonFormat(schema=CITY, name="f"),
        tools=(TOOL,),
        parallel_tool_calls=False,
    )

    body, rendered = render(asked, OLD)

    assert [tool["name"] for tool in body["tools"]] == ["f", "f_"]
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert rendered.json_tool == "f_"


def test_a_tool_that_must_be_called_anyway_is():
    asked = conversation(json_format=JsonFormat(schema=CITY), **FORCED)

    body, rendered = render(asked, OLD)

    assert [tool["name"] for tool in body["tools"]] == ["f"]
    assert rendered.json_tool == ""


@pytest.mark.parametrize(
    ("model", "reasoning", "tool"),
    [
        (BUDGET, None, True),
        ("claude-opus-5", None, True),
        (BOTH, Reasoning(effort="high"), False),
        (ALWAYS, None, False),
    ],
)
def test_json_without_a_schema(model, reasoning, tool):
    asked = conversation(json_format=JsonFormat(), reasoning=reasoning)

    body, rendered = render(asked, model)

    assert bool(rendered.json_tool) == tool
    assert ("system" in body) == (not tool)
    assert Feature.JSON_MODE in rendered.approximated
    assert Feature.THINKING not in rendered.dropped


def test_a_schema_that_is_no_object_is_asked_for():
    asked = conversation(json_format=JsonFormat(schema={"type": "array"}))

    body, rendered = render(asked, OLD)

    assert rendered.json_tool == ""
    assert '{"type":"array"}' in body["system"][0]["text"]


# Rendering: the rest.


@pytest.mark.parametrize(
    ("tier", "said", "approximated", "dropped"),
    [
        ("auto", "auto", False, False),
        ("default", "standard_only", False, False),
        ("standard_only", "standard_only", False, False),
        ("priority", "auto", True, False),
        ("flex", None, False, True),
    ],
)
def test_service_tiers(tier, said, approximated, dropped):
    body, rendered = render(conversation(service_tier=tier))

    assert body.get("service_tier") == said
    assert (Feature.SERVICE_TIER in rendered.approximated) == approximated
    assert (Feature.SERVICE_TIER in rendered.dropped) == dropped


def test_blank_stop_sequences_are_left_out():
    body, rendered = render(conversation(stop=("\n", "END")))

    assert body["stop_sequences"] == ["END"]
    assert rendered.approximated == {Feature.STOP}


def test_a_count_says_only_what_counts():
    asked = conversation(
        message("system", "s"),
        user("x"),
        tools=(TOOL,),
        temperature=0.5,
        stop=("END",),
        user="u",
        stream=True,
        reasoning=Reasoning(adaptive=True),
    )

    body, _ = render(asked, ADAPTIVE, "count_tokens")

    assert set(body) == {"model", "system", "messages", "tools", "thinking"}


def test_there_are_no_embeddings():
    request = EmbeddingsRequest(inputs=("x",))

    with pytest.raises(BadRequest) as refused:
        anthropic.render_embeddings_request(request, Model(name="m"))
    assert refused.value.code == "unsupported_operation"


def test_more_than_one_answer_is_refused_by_the_table():
    assert anthropic.TREATMENTS[Feature.N] is Treatment.REFUSED


# There and back.

words = st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20
).filter(lambda said: said.strip() == said != "")
marks = st.one_of(st.none(), st.sampled_from([CacheMark(), CacheMark(ttl="1h")]))
texts = st.builds(Text, text=words)
images = st.one_of(
    st.builds(
        Media,
        kind=st.just("image"),
        media_type=st.sampled_from(["image/png", "image/webp"]),
        data=st.just(PNG),
    ),
    st.builds(Media, kind=st.just("image"), url=st.just("https://x/i.png")),
    st.builds(Media, kind=st.just("image"), file_id=st.just("file_1")),
)
documents = st.one_of(
    st.builds(
        Media,
        kind=st.just("document"),
        media_type=st.just("application/pdf"),
        data=st.just(PDF),
        name=st.one_of(st.none(), words),
    ),
    st.builds(
        Media,
        kind=st.just("document"),
        media_type=st.just("text/plain"),
        text=words,
    ),
    st.builds(Media, kind=st.just("document"), url=st.just("https://x/d.pdf")),
)
thoughts = st.one_of(
    st.builds(Thinking, text=words, signature=words, origin=st.just("anthropic")),
    st.builds(Thinking, redacted=words, origin=st.just("anthropic")),
)
objects = st.dictionaries(
    words, st.one_of(words, st.integers(), st.booleans()), max_size=3
)
schemas = st.fixed_dictionaries(
    {
        "type": st.just("object"),
        "properties": st.dictionaries(words, st.just({"type": "string"}), max_size=2),
        "additionalProperties": st.just(False),
    }
)
results = st.lists(st.one_of(texts, images), max_size=3).filter(
    lambda parts: parts != [] or True
)


@st.composite
def exchanges(draw):
    """A user's turn, an assistant's with or without calls, and what follows."""
    told = []
    number = 0
    for _ in range(draw(st.integers(0, 2))):
        told.append(
            user(
                *draw(
                    st.lists(
                        st.one_of(texts, images, documents), min_size=1, max_size=3
                    )
                )
            )
        )
        count = draw(st.integers(0, 2))
        calls = [
            ToolCall(
                id=f"t{number + i}",
                name=draw(st.sampled_from(["f", "g"])),
                arguments=json.dumps(draw(objects)),
            )
            for i in range(count)
        ]
        told.append(
            assistant(*draw(st.lists(thoughts, max_size=2)), draw(texts), *calls)
        )
        if calls:
            answers = [
                ToolResult(
                    call_id=call.id,
                    parts=tuple(draw(results)),
                    is_error=draw(st.booleans()),
                )
                for call in calls
            ]
            told.append(user(*answers, draw(texts)))
            told.append(assistant(draw(texts)))
        number += count
    marked = Text(text=draw(words), cache=draw(marks))
    return (*told, user(marked))


conversations = st.builds(
    Conversation,
    source=st.just("anthropic"),
    messages=st.builds(
        lambda system, told: (*system, *told),
        st.one_of(st.just(()), st.builds(lambda t: (message("system", t),), texts)),
        exchanges(),
    ),
    tools=st.lists(
        st.builds(
            Tool,
            name=words,
            description=st.one_of(st.none(), words),
            schema=schemas,
            strict=st.one_of(st.none(), st.just(True)),
            cache=marks,
        ),
        min_size=1,
        max_size=2,
        unique_by=lambda tool: tool.name,
    ).map(tuple),
    tool_choice=st.one_of(
        st.none(), st.sampled_from([ToolChoice(mode="auto"), ToolChoice(mode="none")])
    ),
    json_format=st.one_of(st.none(), st.builds(JsonFormat, schema=schemas)),
    reasoning=st.one_of(
        st.none(),
        st.builds(
            Reasoning,
            adaptive=st.just(True),
            effort=st.sampled_from([None, "low", "max"]),
            visible=st.one_of(st.none(), st.booleans()),
        ),
        st.builds(Reasoning, budget_tokens=st.integers(1024, 9999)),
        st.just(Reasoning(effort="none")),
    ),
    max_tokens=st.integers(10_000, 20_000),
    stop=st.lists(words, max_size=2).map(tuple),
    user=st.one_of(st.none(), words),
    service_tier=st.sampled_from([None, "auto", "standard_only"]),
    stream=st.booleans(),
)


@given(conversations)
def test_a_conversation_comes_back_from_its_request_as_it_was(asked):
    rendered = anthropic.render_request(asked, Model(name=BOTH))
    # A budget is taken only if the last calls have their thinking.
    expected = asked
    if Feature.THINKING in rendered.dropped:
        expected = Conversation(
            **{f: getattr(asked, f) for f in asked.__struct_fields__}
            | {"reasoning": None}
        )

    again = anthropic.parse_request(anthropic.read_call("chat", rendered.body))

    again.used = {}
    assert again == expected
    assert rendered.approximated == set()
    assert again.unknown == ()
    twice = anthropic.render_request(again, Model(name=BOTH))
    assert twice.body == rendered.body


# Whatever comes.

anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from(
            ["text", "tool_use", "tool_result", "user", "system", "base64"]
        ),
        words,
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(
                    ["type", "role", "content", "text", "source", "input", "id", "name"]
                ),
                words,
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)
fields = st.sampled_from(
    [
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "metadata",
        "cache_control",
        "stop_sequences",
        "temperature",
    ]
)


@given(fields, anything)
def test_a_request_of_whatever_shape_is_served_or_refused(field, value):
    body = {"model": "m", "max_tokens": 1, "messages": [HI], field: value}

    with contextlib.suppress(BadRequest):
        call = anthropic.read_call("chat", json.dumps(body).encode())
        render(anthropic.parse_request(call))


@given(anything, st.sampled_from(["user", "assistant"]))
def test_blocks_of_whatever_shape_are_served_or_refused(block, role):
    with contextlib.suppress(BadRequest):
        asked = parsed(messages=[{"role": role, "content": [block]}])
        render(asked, ADAPTIVE)
