"""From OpenAI's requests to the neutral model.

Golden bodies come from OpenAI's API reference and guides, and from those of the
vendors whose fields have become the custom; the source stands beside each.
"""

import base64
import json

import pytest

from gandalf.dialects import openai
from gandalf.dialects.conversation import (
    CacheMark,
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
from gandalf.dialects.signatures import wrap
from gandalf.domain.errors import BadRequest

HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}},
        },
    },
}


def parsed(messages=HELLO, operation="chat", **fields):
    body = {"model": "m", **fields}
    if operation == "chat":
        body["messages"] = messages
    call = openai.read_call(operation, json.dumps(body).encode())
    return openai.parse_request(call)


def user(*parts):
    return Message(role="user", parts=parts)


# Messages.


def test_roles_and_texts():
    # https://platform.openai.com/docs/api-reference/chat/create (default example)
    conversation = parsed(
        [
            {"role": "developer", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Hello!", "name": "ann"},
            {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]},
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Go on."}]},
        ]
    )

    assert conversation.messages == (
        Message(role="developer", parts=(Text(text="You are a helpful assistant."),)),
        Message(role="user", parts=(Text(text="Hello!"),), name="ann"),
        Message(role="assistant", parts=(Text(text="Hi."),)),
        Message(role="system", parts=(Text(text="Be brief."),)),
        user(Text(text="Go on.")),
    )
    assert conversation.source == "openai"
    assert conversation.unknown == ()
    assert conversation.used == {
        Feature.DEVELOPER: "messages",
        Feature.NAMES: "messages.name",
        Feature.SYSTEM: "messages",
        Feature.LATE_SYSTEM: "messages",
    }


def test_images_by_url_and_in_base64():
    # https://platform.openai.com/docs/guides/images-vision
    conversation = parsed(
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is in this image?"},
                    {
                        "type": "image_url",
                        "image_url": {
                            "url": "https://example.com/a.jpg",
                            "detail": "high",
                        },
                    },
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/jpeg;base64,/9j/4AAQ"},
                    },
                ],
            }
        ]
    )

    assert conversation.messages == (
        user(
            Text(text="What is in this image?"),
            Media(kind="image", url="https://example.com/a.jpg", detail="high"),
            Media(kind="image", media_type="image/jpeg", data="/9j/4AAQ"),
        ),
    )
    assert conversation.used == {
        Feature.IMAGE_DETAIL: "messages.content.image_url.detail",
        Feature.IMAGE_URL: "messages.content.image_url",
        Feature.IMAGE_DATA: "messages.content.image_url",
    }


def test_files_and_sounds():
    # https://platform.openai.com/docs/guides/pdf-files?api-mode=chat and .../audio
    pdf = base64.b64encode(b"%PDF-1.7").decode()
    conversation = parsed(
        [
            {
                "role": "user",
                "content": [
                    {
                        "type": "file",
                        "file": {
                            "filename": "draconomicon.pdf",
                            "file_data": f"data:application/pdf;base64,{pdf}",
                        },
                    },
                    {"type": "file", "file": {"file_data": pdf}},
                    {
                        "type": "file",
                        "file": {"file_id": "file-6F2ksmvXxt4VdoqmHRw6kL"},
                    },
                    {
                        "type": "file",
                        "file": {"file_data": "https://example.com/a.pdf"},
                    },
                    {
                        "type": "input_audio",
                        "input_audio": {"data": "UklG", "format": "wav"},
                    },
                    {
                        "type": "input_audio",
                        "input_audio": {"data": "SUQz", "format": "mp3"},
                    },
                ],
            }
        ]
    )

    assert conversation.messages == (
        user(
            Media(
                kind="document",
                media_type="application/pdf",
                data=pdf,
                name="draconomicon.pdf",
            ),
            Media(kind="document", media_type="application/pdf", data=pdf),
            Media(kind="document", file_id="file-6F2ksmvXxt4VdoqmHRw6kL"),
            Media(kind="document", url="https://example.com/a.pdf"),
            Media(kind="audio", media_type="audio/wav", data="UklG"),
            Media(kind="audio", media_type="audio/mpeg", data="SUQz"),
        ),
    )
    assert set(conversation.used) == {
        Feature.DOCUMENT_DATA,
        Feature.DOCUMENT_URL,
        Feature.FILE_ID,
        Feature.AUDIO_INPUT,
    }


def test_the_results_of_one_turn_are_parts_of_one_message():
    # https://platform.openai.com/docs/guides/function-calling?api-mode=chat
    calls = [
        {
            "id": "call_12xyz",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"location":"Paris"}'},
        },
        {
            "id": "call_67890abc",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"location": "Bogotá"}'},
        },
    ]
    conversation = parsed(
        [
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_12xyz", "content": "15"},
            {
                "role": "tool",
                "tool_call_id": "call_67890abc",
                "content": [
                    {"type": "text", "text": "18"},
                    {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                ],
            },
            {"role": "user", "content": "And?"},
        ]
    )

    assert conversation.messages[1:] == (
        Message(
            role="assistant",
            parts=(
                ToolCall(
                    id="call_12xyz",
                    name="get_weather",
                    arguments='{"location":"Paris"}',
                ),
                ToolCall(
                    id="call_67890abc",
                    name="get_weather",
                    arguments='{"location": "Bogotá"}',
                ),
            ),
        ),
        user(
            ToolResult(
                call_id="call_12xyz", name="get_weather", parts=(Text(text="15"),)
            ),
            ToolResult(
                call_id="call_67890abc",
                name="get_weather",
                parts=(Text(text="18"), Media(kind="image", url="https://x/y.png")),
            ),
        ),
        user(Text(text="And?")),
    )
    assert Feature.TOOL_RESULT_PARTS in conversation.used


def test_legacy_functions_are_tools_whose_calls_get_an_id():
    conversation = parsed(
        [
            *HELLO,
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "f", "arguments": "{}"},
            },
            {"role": "function", "name": "f", "content": "42"},
        ],
        functions=[{"name": "f", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
    )

    _, asked, told = conversation.messages
    assert asked.parts == (ToolCall(id="call_1", name="f", arguments="{}"),)
    assert told.parts == (
        ToolResult(call_id="call_1", name="f", parts=(Text(text="42"),)),
    )
    assert conversation.tools == (Tool(name="f", schema={"type": "object"}),)
    assert conversation.tool_choice == ToolChoice(mode="named", names=("f",))
    assert conversation.parallel_tool_calls is False
    assert conversation.used[Feature.TOOLS] == "functions"
    assert conversation.used[Feature.TOOL_CHOICE] == "function_call"


def test_a_refusal_and_citations_in_the_history():
    note = {
        "type": "url_citation",
        "url_citation": {
            "start_index": 0,
            "end_index": 2,
            "title": "T",
            "url": "https://x",
        },
    }
    conversation = parsed(
        [
            *HELLO,
            {"role": "assistant", "content": None, "refusal": "No."},
            *HELLO,
            {
                "role": "assistant",
                "content": "Hi",
                "refusal": None,
                "annotations": [note],
            },
        ]
    )

    assert conversation.messages[1].parts == (Refusal("No."),)
    assert conversation.messages[3].parts == (Text(text="Hi", citations=(note,)),)
    assert conversation.used == {
        Feature.CITATIONS: "messages.annotations",
        Feature.PREFILL: "messages",
    }


def test_marks_for_the_prompt_cache_wherever_clients_put_them():
    # https://docs.litellm.ai/docs/completion/prompt_caching and the SDK's
    # ChatCompletionContentPartTextParam.prompt_cache_breakpoint
    mark = {"type": "ephemeral"}
    conversation = parsed(
        [
            {"role": "system", "content": "Long.", "cache_control": mark},
            {
                "role": "user",
                "content": [
                    {
                        "type": "text",
                        "text": "a",
                        "cache_control": {**mark, "ttl": "1h"},
                    },
                    {
                        "type": "text",
                        "text": "b",
                        "prompt_cache_breakpoint": {"mode": "explicit"},
                    },
                ],
            },
        ],
        tools=[{**WEATHER, "cache_control": mark}],
    )

    assert conversation.messages[0].parts == (Text(text="Long.", cache=CacheMark()),)
    assert conversation.messages[1].parts == (
        Text(text="a", cache=CacheMark(ttl="1h")),
        Text(text="b", cache=CacheMark()),
    )
    assert conversation.tools[0].cache == CacheMark()
    assert conversation.used[Feature.CACHE_MARKS] == "messages.cache_control"
    assert conversation.unknown == ()


# Thinking that comes back.


def history(**fields):
    conversation = parsed(
        [*HELLO, {"role": "assistant", "content": "Hi", **fields}, *HELLO]
    )
    return conversation.messages[1], conversation.used.get(Feature.THINKING_HISTORY)


def test_thinking_blocks():
    # https://docs.litellm.ai/docs/reasoning_content
    message, field = history(
        reasoning_content="The capital is Paris.",
        thinking_blocks=[
            {
                "type": "thinking",
                "thinking": "The capital is Paris.",
                "signature": "EqoBCkgIARABGAIiQL2UoU0b1OHYi+",
            },
            {"type": "redacted_thinking", "data": "EmwKAhgB"},
        ],
    )

    assert message.parts == (
        Thinking(
            text="The capital is Paris.",
            signature="EqoBCkgIARABGAIiQL2UoU0b1OHYi+",
            origin="anthropic",
        ),
        Thinking(redacted="EmwKAhgB", origin="anthropic"),
        Text(text="Hi"),
    )
    assert field == "messages.thinking_blocks"


def test_reasoning_details():
    # https://openrouter.ai/docs/use-cases/reasoning-tokens#preserving-reasoning-blocks
    message, field = history(
        reasoning="Let me",
        reasoning_details=[
            {
                "type": "reasoning.text",
                "text": "Let me",
                "signature": "sig",
                "id": "reasoning-text-1",
                "format": "anthropic-claude-v1",
                "index": 0,
            },
            {
                "type": "reasoning.encrypted",
                "data": "eyJlbmNyeXB0ZWQiOiJ0cnVlIn0=",
                "format": "openai-responses-v1",
            },
            {
                "type": "reasoning.summary",
                "summary": "Sum",
                "format": "openai-responses-v1",
            },
        ],
    )

    assert message.parts == (
        Thinking(text="Let me", signature="sig", origin="anthropic"),
        Thinking(redacted="eyJlbmNyeXB0ZWQiOiJ0cnVlIn0=", origin="openai"),
        Thinking(text="Sum"),
        Text(text="Hi"),
    )
    assert field == "messages.reasoning_details"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_plain_thinking_has_no_origin(name):
    message, field = history(**{name: "Hm."})

    assert message.parts == (Thinking(text="Hm."), Text(text="Hi"))
    assert field == f"messages.{name}"


def test_thought_signatures():
    # https://ai.google.dev/gemini-api/docs/thought-signatures#openai
    message, _ = history(
        extra_content={"google": {"thought_signature": "of text"}},
        tool_calls=[
            {
                "id": "function-call-1",
                "type": "function",
                "function": {"name": "check_flight", "arguments": '{"flight":"AA100"}'},
                "extra_content": {"google": {"thought_signature": "<Signature A>"}},
            }
        ],
    )

    assert message.signature == "of text"
    assert message.parts[-1] == ToolCall(
        id="function-call-1",
        name="check_flight",
        arguments='{"flight":"AA100"}',
        signature="<Signature A>",
    )


def test_thought_signatures_among_the_reasoning_details():
    detail = {"type": "reasoning.encrypted", "format": "google-gemini-v1"}
    message, _ = history(
        tool_calls=[
            {
                "id": "c",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
            }
        ],
        reasoning_details=[
            {**detail, "data": "of c", "id": "c"},
            {**detail, "data": "of text"},
        ],
    )

    assert message.signature == "of text"
    assert message.parts == (
        Text(text="Hi"),
        ToolCall(id="c", name="f", arguments="{}", signature="of c"),
    )


def test_a_seal_that_was_wrapped_is_its_makers_again():
    message, _ = history(
        thinking_blocks=[
            {"type": "thinking", "thinking": "x", "signature": wrap("other", "seal")}
        ]
    )

    assert message.parts[0] == Thinking(text="x", signature="seal", origin="other")


# Tools and wishes.


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice(mode="auto")),
        ("none", ToolChoice(mode="none")),
        ("required", ToolChoice(mode="required")),
        (
            {"type": "function", "function": {"name": "get_weather"}},
            ToolChoice(mode="named", names=("get_weather",)),
        ),
    ],
)
def test_tool_choices(choice, expected):
    conversation = parsed(tools=[WEATHER], tool_choice=choice)

    assert conversation.tool_choice == expected
    assert (Feature.TOOL_CHOICE in conversation.used) == (choice != "auto")


def test_allowed_tools_are_all_that_the_model_gets():
    # https://platform.openai.com/docs/guides/function-calling#tool-choice
    other = {"type": "function", "function": {"name": "other", "strict": True}}
    conversation = parsed(
        tools=[WEATHER, other],
        tool_choice={
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "other"}}],
            },
        },
    )

    assert conversation.tools == (Tool(name="other", strict=True),)
    assert conversation.tool_choice == ToolChoice(mode="required")


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "custom", "custom": {"name": "code_exec"}}]},
        {
            "tools": [WEATHER],
            "tool_choice": {"type": "custom", "custom": {"name": "x"}},
        },
        {"tools": [WEATHER], "tool_choice": "any"},
        {"tools": [{"type": "function"}]},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "grammar"}},
        {"messages": []},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "smell", "smell": "x"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": "data:x"}],
                }
            ]
        },
        {
            "messages": [
                {
                    "role": "system",
                    "content": [{"type": "file", "file": {"file_id": "f"}}],
                }
            ]
        },
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "c", "type": "custom", "custom": {"name": "x"}}
                    ],
                }
            ]
        },
        {"stop": [7]},
        {"metadata": {"a": 1}},
    ],
)
def test_what_is_no_request_or_only_openais_is_refused(fields):
    with pytest.raises(BadRequest) as refused:
        parsed(**fields)

    assert refused.value.param


def test_nesting_beyond_the_stack_is_a_bad_request():
    deep = b'{"model":"m","messages":[{"role":"user","content":"x"}],"x":%b%b}' % (
        b"[" * 100_000,
        b"]" * 100_000,
    )
    call = openai.Call(operation="chat", model="m", body=deep)

    with pytest.raises(BadRequest):
        openai.parse_request(call)


def test_every_parameter_that_others_have_too():
    conversation = parsed(
        max_completion_tokens=100,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.1,
        stop="\n",
        seed=7,
        n=2,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        repetition_penalty=1.1,
        logit_bias={"50256": -100},
        logprobs=True,
        top_logprobs=3,
        user="u",
        metadata={"a": "b"},
        service_tier="flex",
        parallel_tool_calls=False,
        stream=True,
        stream_options={"include_usage": True},
    )

    assert conversation.max_tokens == 100
    assert (conversation.temperature, conversation.top_p) == (0.5, 0.9)
    assert (conversation.top_k, conversation.min_p) == (40, 0.1)
    assert (conversation.stop, conversation.seed, conversation.n) == (("\n",), 7, 2)
    assert conversation.presence_penalty == 0.1
    assert conversation.frequency_penalty == 0.2
    assert conversation.repeat_penalty == 1.1
    assert conversation.logit_bias == {"50256": -100}
    assert (conversation.logprobs, conversation.top_logprobs) == (True, 3)
    assert (conversation.user, conversation.metadata) == ("u", {"a": "b"})
    assert (conversation.service_tier, conversation.stream) == ("flex", True)
    assert conversation.parallel_tool_calls is False
    assert conversation.unknown == ()
    assert conversation.used[Feature.REPEAT_PENALTY] == "repetition_penalty"
    assert len(conversation.used) == 17


def test_structured_output():
    # https://platform.openai.com/docs/guides/structured-outputs?api-mode=chat
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    form = {"name": "math", "schema": schema, "strict": True}

    strict = parsed(response_format={"type": "json_schema", "json_schema": form})
    loose = parsed(response_format={"type": "json_object"})
    plain = parsed(response_format={"type": "text"})

    assert strict.json_format == JsonFormat(schema=schema, name="math", strict=True)
    assert strict.used == {Feature.JSON_SCHEMA: "response_format"}
    assert loose.json_format == JsonFormat()
    assert loose.used == {Feature.JSON_MODE: "response_format"}
    assert (plain.json_format, plain.used) == (None, {})


@pytest.mark.parametrize(
    ("fields", "expected", "name"),
    [
        ({"reasoning_effort": "high"}, Reasoning(effort="high"), "reasoning_effort"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            Reasoning(budget_tokens=2000),
            "thinking",
        ),
        ({"thinking": {"type": "adaptive"}}, Reasoning(adaptive=True), "thinking"),
        ({"thinking": {"type": "disabled"}}, Reasoning(effort="none"), "thinking"),
        (
            {"reasoning": {"effort": "low", "exclude": True}},
            Reasoning(effort="low", visible=False),
            "reasoning",
        ),
        ({"reasoning": {"max_tokens": 500}}, Reasoning(budget_tokens=500), "reasoning"),
        ({"reasoning": {"enabled": True}}, Reasoning(effort="medium"), "reasoning"),
        ({"reasoning": {"enabled": False}}, Reasoning(effort="none"), "reasoning"),
        (
            {
                "extra_body": {
                    "google": {
                        "thinking_config": {
                            "thinking_budget": 800,
                            "include_thoughts": True,
                        }
                    }
                }
            },
            Reasoning(budget_tokens=800, visible=True),
            "extra_body.google.thinking_config",
        ),
        (
            {"google": {"thinking_config": {"thinking_budget": -1}}},
            Reasoning(adaptive=True),
            "google.thinking_config",
        ),
        (
            {
                "reasoning_effort": "high",
                "thinking": {"type": "enabled", "budget_tokens": 9},
            },
            Reasoning(effort="high", budget_tokens=9),
            "reasoning_effort",
        ),
    ],
)
def test_every_way_to_ask_for_thinking(fields, expected, name):
    conversation = parsed(**fields)

    assert conversation.reasoning == expected
    assert conversation.used == {Feature.THINKING: name}
    assert conversation.unknown == ()


def test_what_has_no_place_is_named():
    conversation = parsed(
        [
            {
                "role": "user",
                "content": [{"type": "text", "text": "x", "colour": "red"}],
                "mood": "sad",
            }
        ],
        store=True,
        prediction={"type": "content", "content": "x"},
        verbosity="low",
        prompt_cache_key="k",
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "wav"},
        web_search_options={},
        tools=[{**WEATHER, "hint": 1}, {"type": "web_search"}],
        stream_options={"include_obfuscation": True},
        extra_body={"google": {"cached_content": "c"}, "other": 1},
        whatever=[1],
    )

    assert set(conversation.unknown) == {
        "store",
        "prediction",
        "verbosity",
        "prompt_cache_key",
        "modalities",
        "audio",
        "web_search_options",
        "tools.hint",
        "tools.web_search",
        "stream_options.include_obfuscation",
        "extra_body.google.cached_content",
        "extra_body.other",
        "messages.mood",
        "messages.content.colour",
        "whatever",
    }
    assert conversation.used[Feature.AUDIO_OUTPUT] == "modalities"
    assert conversation.used[Feature.SERVER_TOOLS] == "web_search_options"


def test_what_changes_nothing_is_neither_used_nor_unknown():
    conversation = parsed(
        [{"role": "user", "content": "x", "name": None, "tool_calls": None}],
        n=1,
        logprobs=False,
        top_logprobs=None,
        stop=None,
        tools=[],
        tool_choice="auto",
        store=False,
        verbosity="medium",
        modalities=["text"],
        metadata={},
        logit_bias={},
        service_tier="auto",
        presence_penalty=0,
        frequency_penalty=0.0,
        parallel_tool_calls=True,
        response_format={"type": "text"},
        stream_options={"include_obfuscation": False},
        prediction=None,
        extra=None,
    )

    assert (conversation.used, conversation.unknown) == ({}, ())


def test_what_openais_client_adds_to_an_answer_of_its_own_is_not_unknown():
    # ``client.chat.completions.stream`` leaves the indices in, ``parse`` what it read.
    call = {
        "id": "call_1",
        "type": "function",
        "index": 0,
        "function": {"name": "f", "arguments": "{}", "parsed_arguments": {}},
    }

    conversation = parsed(
        [
            {"role": "user", "content": "x"},
            {
                "role": "assistant",
                "content": '{"a":1}',
                "parsed": {"a": 1},
                "tool_calls": [call],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "1"},
        ]
    )

    assert conversation.unknown == ()


# Legacy completions.


def test_a_legacy_completion_is_a_message_of_the_users():
    # https://platform.openai.com/docs/api-reference/completions/create
    conversation = parsed(
        operation="completions",
        prompt="Say this is a test",
        max_tokens=7,
        temperature=0,
        logprobs=2,
        echo=True,
        best_of=1,
        suffix=None,
    )

    assert conversation.messages == (user(Text(text="Say this is a test")),)
    assert (conversation.max_tokens, conversation.temperature) == (7, 0)
    assert (conversation.logprobs, conversation.top_logprobs) == (True, 2)
    assert conversation.unknown == ("echo",)


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2], [[1, 2]]])
def test_many_prompts_or_tokens_can_only_pass_natively(prompt):
    with pytest.raises(BadRequest) as refused:
        parsed(operation="completions", prompt=prompt)

    assert refused.value.param == "prompt"
    assert parsed(operation="completions", prompt=["a"]).messages == (
        user(Text(text="a")),
    )


def test_a_legacy_completion_may_want_the_logprobs_of_its_own_tokens_only():
    conversation = parsed(operation="completions", prompt="x", logprobs=0)

    assert (conversation.logprobs, conversation.top_logprobs) == (True, 0)
    assert Feature.LOGPROBS in conversation.used
