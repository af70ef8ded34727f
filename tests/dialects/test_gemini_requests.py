"""Gemini's requests, into the neutral model and out of it.

Golden vectors are from the page named beside each.
"""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gandalf.dialects import gemini, signatures
from gandalf.dialects.conversation import (
    Conversation,
    Feature,
    JsonFormat,
    Media,
    Message,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gandalf.dialects.gemini.schemas import fit, to_json_schema
from gandalf.dialects.translation import translate_request
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model

NOT_OURS = "skip_thought_signature_validator"
PNG = "iVBORw0KGgo="


def parse(body, operation="chat", model="m"):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return gemini.parse_request(gemini.read_call(operation, raw, model))


def render(conversation, model="gemini-2.5-flash", operation="chat", **known):
    return gemini.render_request(
        conversation, Model(name=model, **known), operation=operation
    )


def rendered(conversation, model="gemini-2.5-flash", **more):
    return json.loads(render(conversation, model, **more).body)


def talk(*messages, source="openai", **more):
    return Conversation(source=source, messages=messages, **more)


def user(*parts):
    return Message(
        role="user",
        parts=tuple(Text(text=p) if isinstance(p, str) else p for p in parts),
    )


def assistant(*parts, **more):
    return Message(
        role="assistant",
        parts=tuple(Text(text=p) if isinstance(p, str) else p for p in parts),
        **more,
    )


def call(id="c1", name="f", arguments="{}", **more):
    return ToolCall(id=id, name=name, arguments=arguments, **more)


def result(call_id="c1", text="ok", **more):
    return ToolResult(call_id=call_id, parts=(Text(text=text),), **more)


# Parsing.


def test_every_feature_has_a_treatment():
    assert set(gemini.TREATMENTS) == set(Feature)


def test_a_conversation_is_read():
    # https://ai.google.dev/gemini-api/docs/text-generation
    conversation = parse(
        {
            "system_instruction": {"parts": [{"text": "You are a cat. Neko."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Hello"}]},
                {"role": "model", "parts": [{"text": "Great to meet you."}]},
                {"parts": [{"text": "I have two dogs."}, {"text": "How many paws?"}]},
            ],
        }
    )

    assert conversation.messages == (
        Message(role="system", parts=(Text(text="You are a cat. Neko."),)),
        user("Hello"),
        assistant("Great to meet you."),
        user("I have two dogs.", "How many paws?"),
    )
    assert conversation.used == {Feature.SYSTEM: "systemInstruction"}
    assert conversation.unknown == ()


@pytest.mark.parametrize("spelling", ["camel", "snake"])
def test_the_settings_are_read_in_either_spelling(spelling):
    config = {
        "stopSequences": ["Title"],
        "temperature": 1.0,
        "maxOutputTokens": "800",
        "topP": 0.8,
        "topK": 10.0,
        "candidateCount": 2,
        "seed": 7,
        "presencePenalty": 0.5,
        "frequencyPenalty": -0.5,
        "responseLogprobs": True,
        "logprobs": 3,
        "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
        "responseMimeType": "application/json",
    }
    name = "generationConfig"
    if spelling == "snake":
        name = "generation_config"
        config = {
            "stop_sequences": ["Title"],
            "temperature": 1.0,
            "max_output_tokens": "800",
            "top_p": 0.8,
            "top_k": 10.0,
            "candidate_count": 2,
            "seed": 7,
            "presence_penalty": 0.5,
            "frequency_penalty": -0.5,
            "response_logprobs": True,
            "logprobs": 3,
            "thinking_config": {"thinking_budget": 1024, "include_thoughts": True},
            "response_mime_type": "application/json",
        }

    read = parse({"contents": [], name: config})

    assert (read.stop, read.temperature, read.max_tokens) == (("Title",), 1.0, 800)
    assert (read.top_p, read.top_k, read.n, read.seed) == (0.8, 10, 2, 7)
    assert (read.presence_penalty, read.frequency_penalty) == (0.5, -0.5)
    assert (read.logprobs, read.top_logprobs) == (True, 3)
    assert read.reasoning == Reasoning(budget_tokens=1024, visible=True)
    assert read.json_format == JsonFormat()
    assert read.unknown == ()
    assert read.used[Feature.TOP_K] == "generationConfig.topK"
    assert read.used[Feature.THINKING] == "generationConfig.thinkingConfig"
    assert set(read.used) == {
        Feature.STOP,
        Feature.TEMPERATURE,
        Feature.MAX_TOKENS,
        Feature.TOP_P,
        Feature.TOP_K,
        Feature.N,
        Feature.SEED,
        Feature.PRESENCE_PENALTY,
        Feature.FREQUENCY_PENALTY,
        Feature.LOGPROBS,
        Feature.THINKING,
        Feature.JSON_MODE,
    }


def test_what_changes_nothing_is_neither_used_nor_unknown():
    read = parse(
        {
            "contents": [],
            "tools": [],
            "safetySettings": [],
            "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
            "generationConfig": {
                "candidateCount": 1,
                "presencePenalty": 0,
                "responseLogprobs": False,
                "responseMimeType": "text/plain",
                "stopSequences": [],
                "temperature": None,
                "responseModalities": ["TEXT"],
                "whatever": None,
            },
            "cachedContent": None,
        }
    )

    assert read.used == {}
    assert read.unknown == ()


def test_what_has_no_place_is_named_by_its_path():
    read = parse(
        {
            "contents": [
                {
                    "parts": [
                        {
                            "inlineData": {"mimeType": "video/mp4", "data": "AA=="},
                            "videoMetadata": {"fps": 2},
                        },
                        {"executableCode": {"code": "1+1"}},
                    ]
                }
            ],
            "tools": [{"googleSearch": {}}, {"codeExecution": {}}],
            "toolConfig": {"retrievalConfig": {"languageCode": "de"}},
            "generationConfig": {
                "mediaResolution": "MEDIA_RESOLUTION_LOW",
                "responseModalities": ["IMAGE"],
                "speech_config": {"languageCode": "de"},
            },
            "safetySettings": [{"category": "X", "threshold": "Y"}],
            "labels": {"team": "a"},
            "serviceTier": "flex",
            "brandNew": 1,
        }
    )

    assert read.unknown == (
        "contents.parts.videoMetadata",
        "contents.parts.executableCode",
        "tools.codeExecution",
        "toolConfig.retrievalConfig",
        "generationConfig.responseModalities",
        "generationConfig.mediaResolution",
        "generationConfig.speechConfig",
        "brandNew",
    )
    assert read.used == {
        Feature.VIDEO_INPUT: "contents.parts.inlineData",
        Feature.SERVER_TOOLS: "tools.googleSearch",
        Feature.SAFETY_SETTINGS: "safetySettings",
        Feature.METADATA: "labels",
        Feature.SERVICE_TIER: "serviceTier",
    }
    assert (read.metadata, read.service_tier) == ({"team": "a"}, "flex")


def test_a_tool_loop_is_read():
    # https://ai.google.dev/gemini-api/docs/function-calling, before ids came
    read = parse(
        {
            "contents": [
                {"role": "user", "parts": [{"text": "Light and music!"}]},
                {
                    "role": "model",
                    "parts": [
                        {
                            "functionCall": {"name": "light", "args": {"level": 1.0}},
                            "thoughtSignature": "c2ln",
                        },
                        {"functionCall": {"name": "music"}},
                        {"functionCall": {"name": "light", "args": {"level": 2}}},
                    ],
                },
                {
                    "role": "user",
                    "parts": [
                        {
                            "functionResponse": {
                                "name": "light",
                                "response": {"result": "on"},
                            }
                        },
                        {
                            "functionResponse": {
                                "name": "music",
                                "response": {"error": "broken"},
                            }
                        },
                        {
                            "functionResponse": {
                                "name": "light",
                                "response": {"a": 1, "b": 2},
                            }
                        },
                    ],
                },
            ],
            "tools": [
                {
                    "functionDeclarations": [
                        {
                            "name": "light",
                            "description": "d",
                            "parameters": {
                                "type": "OBJECT",
                                "properties": {
                                    "level": {"type": "NUMBER", "nullable": True}
                                },
                                "required": ["level"],
                            },
                        },
                        {"name": "music", "parametersJsonSchema": {"type": "object"}},
                    ]
                }
            ],
            "toolConfig": {
                "functionCallingConfig": {
                    "mode": "ANY",
                    "allowedFunctionNames": ["light"],
                }
            },
        }
    )

    assert read.messages[1] == assistant(
        call("call_0", "light", '{"level": 1.0}', signature="c2ln"),
        call("call_1", "music", "{}"),
        call("call_2", "light", '{"level": 2}'),
    )
    assert read.messages[2] == user(
        result("call_0", "on", name="light"),
        result("call_1", "broken", name="music", is_error=True),
        result("call_2", '{"a":1,"b":2}', name="light"),
    )
    assert read.tools == (
        Tool(
            name="light",
            description="d",
            schema={
                "type": "object",
                "properties": {"level": {"type": ["number", "null"]}},
                "required": ["level"],
            },
        ),
        Tool(name="music", schema={"type": "object"}),
    )
    assert read.tool_choice == ToolChoice(mode="named", names=("light",))
    assert set(read.used) == {
        Feature.TOOLS,
        Feature.TOOL_CHOICE,
        Feature.TOOL_RESULT_ERROR,
        Feature.THINKING_HISTORY,
    }


def test_ids_pair_calls_with_responses_that_come_in_another_order():
    read = parse(
        {
            "contents": [
                {
                    "role": "model",
                    "parts": [
                        {"functionCall": {"id": "a", "name": "f"}},
                        {"functionCall": {"id": "b", "name": "f"}},
                    ],
                },
                {
                    "parts": [
                        {
                            "functionResponse": {
                                "id": "b",
                                "name": "f",
                                "response": {"output": "2"},
                            }
                        },
                        {
                            "functionResponse": {
                                "name": "f",
                                "response": {"output": "1"},
                            }
                        },
                    ]
                },
            ]
        }
    )

    assert [part.call_id for part in read.messages[1].parts] == ["b", "a"]


def test_files_are_told_apart():
    read = parse(
        {
            "contents": [
                {
                    "parts": [
                        {"inlineData": {"mimeType": "image/png", "data": "-_8="}},
                        {
                            "inline_data": {
                                "mime_type": "application/pdf",
                                "data": "AA==",
                            }
                        },
                        {"fileData": {"fileUri": "https://x.example/a.png?b=1"}},
                        {"fileData": {"fileUri": "https://youtu.be/abc"}},
                        {
                            "fileData": {
                                "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc",
                                "mimeType": "audio/mp3",
                            }
                        },
                        {"fileData": {"fileUri": "gs://b/a.pdf"}},
                    ]
                }
            ]
        }
    )

    assert read.messages[0].parts == (
        Media(kind="image", media_type="image/png", data="+/8="),
        Media(kind="document", media_type="application/pdf", data="AA=="),
        Media(kind="image", url="https://x.example/a.png?b=1"),
        Media(kind="video", url="https://youtu.be/abc"),
        Media(
            kind="audio",
            media_type="audio/mp3",
            file_id="https://generativelanguage.googleapis.com/v1beta/files/abc",
        ),
        Media(kind="document", file_id="gs://b/a.pdf"),
    )
    assert set(read.used) == {
        Feature.IMAGE_DATA,
        Feature.DOCUMENT_DATA,
        Feature.IMAGE_URL,
        Feature.VIDEO_INPUT,
        Feature.FILE_ID,
    }


def test_thoughts_come_back_with_the_seals_of_whoever_made_them():
    foreign = signatures.wrap("anthropic", "seal+/?>")
    redacted = signatures.wrap("anthropic+redacted", "opaque")
    # Google's SDKs give bytes back in the base64 of URLs.
    for_urls = base64.urlsafe_b64encode(base64.b64decode(foreign)).decode()

    read = parse(
        {
            "contents": [
                {
                    "role": "model",
                    "parts": [
                        {"text": "a", "thought": True},
                        {"text": "b", "thought": True, "thoughtSignature": "b3duLQ=="},
                        {"text": "c", "thought": True, "thoughtSignature": for_urls},
                        {"text": "", "thought": True, "thought_signature": redacted},
                        {"text": "answer"},
                        {"text": "", "thoughtSignature": "ZW5k"},
                    ],
                },
                {"parts": [{"text": "go on"}]},
            ]
        }
    )

    assert read.messages[0] == assistant(
        Thinking(text="ab", signature="b3duLQ==", origin="gemini"),
        Thinking(text="c", signature="seal+/?>", origin="anthropic"),
        Thinking(redacted="opaque", origin="anthropic"),
        "answer",
        signature="ZW5k",
    )
    assert read.used == {Feature.THINKING_HISTORY: "contents.parts.thought"}


def test_the_pieces_of_a_streamed_answer_are_one_text_again():
    pieces = [{"text": "Hello"}, {"text": "\n\n"}, {"text": "there"}]
    body = {
        "contents": [
            {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
            {"role": "model", "parts": pieces},
        ]
    }

    asked, said = parse(body).messages

    assert asked.parts == (Text(text="a"), Text(text="b"))
    assert said.parts == (Text(text="Hello\n\nthere"),)


def test_a_foreign_seal_or_a_dummy_on_a_call_is_no_signature_of_it():
    for seal in (signatures.wrap("anthropic", "x"), NOT_OURS):
        read = parse(
            {
                "contents": [
                    {
                        "role": "model",
                        "parts": [
                            {"functionCall": {"name": "f"}, "thoughtSignature": seal}
                        ],
                    }
                ]
            }
        )
        assert read.messages[0].parts[0].signature is None


@pytest.mark.parametrize(
    ("config", "reasoning"),
    [
        ({"thinkingBudget": -1}, Reasoning(adaptive=True)),
        ({"thinkingBudget": 0}, Reasoning(effort="none", budget_tokens=0)),
        ({"thinkingLevel": "HIGH"}, Reasoning(effort="high")),
        (
            {"thinking_level": "minimal", "include_thoughts": False},
            Reasoning(effort="minimal", visible=False),
        ),
    ],
)
def test_thinking_is_asked_for_by_budget_or_level(config, reasoning):
    read = parse({"contents": [], "generationConfig": {"thinkingConfig": config}})

    assert read.reasoning == reasoning


@pytest.mark.parametrize(
    "name", ["responseSchema", "responseJsonSchema", "response_json_schema"]
)
def test_a_schema_for_the_answer_is_read(name):
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}

    read = parse(
        {
            "contents": [],
            "generationConfig": {"responseMimeType": "application/json", name: schema},
        }
    )

    assert read.json_format == JsonFormat(schema=schema)
    assert Feature.JSON_SCHEMA in read.used


def test_counting_looks_into_the_request_that_is_counted():
    whole = parse(
        {
            "generateContentRequest": {
                "model": "models/m",
                "contents": [{"parts": [{"text": "a"}]}],
                "systemInstruction": {"parts": [{"text": "b"}]},
            }
        },
        "count_tokens",
    )
    plain = parse({"contents": [{"parts": [{"text": "a"}]}]}, "count_tokens")

    assert [message.role for message in whole.messages] == ["system", "user"]
    assert whole.unknown == ()
    assert plain.messages == (user("a"),)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"contents": {}}, "contents"),
        ({"contents": [1]}, "contents"),
        ({"contents": [{"role": "system", "parts": []}]}, "contents.role"),
        ({"contents": [{"parts": {"text": "a"}}]}, "contents.parts"),
        ({"contents": [{"parts": [{"text": 1}]}]}, "contents.parts.text"),
        (
            {
                "contents": [
                    {
                        "parts": [
                            {
                                "text": "a",
                                "thought": True,
                                "thought_signature": "",
                                "thoughtSignature": "",
                            }
                        ]
                    }
                ]
            },
            "contents.parts.thoughtSignature",
        ),
        (
            {"contents": [{"parts": [{"functionCall": {}}]}]},
            "contents.parts.functionCall.name",
        ),
        (
            {"contents": [{"parts": [{"functionCall": {"name": "f", "args": []}}]}]},
            "contents.parts.functionCall.args",
        ),
        (
            {"contents": [{"parts": [{"functionResponse": {"response": {}}}]}]},
            "contents.parts.functionResponse.name",
        ),
        (
            {"contents": [{"parts": [{"inlineData": {}}]}]},
            "contents.parts.inlineData.data",
        ),
        (
            {"contents": [{"parts": [{"fileData": {}}]}]},
            "contents.parts.fileData.fileUri",
        ),
        ({"contents": [], "cachedContent": "cachedContents/x"}, "cachedContent"),
        (
            {"contents": [], "tools": [{"functionDeclarations": [{}]}]},
            "tools.functionDeclarations.name",
        ),
        (
            {
                "contents": [],
                "toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}},
            },
            "toolConfig.functionCallingConfig.mode",
        ),
        ({"contents": [], "generationConfig": {"topK": "x"}}, "generationConfig.topK"),
        (
            {"contents": [], "generationConfig": {"stopSequences": "x"}},
            "generationConfig.stopSequences",
        ),
    ],
)
def test_a_body_that_is_no_request_is_refused_with_the_field_at_fault(body, param):
    with pytest.raises(BadRequest) as refused:
        parse(body)

    assert refused.value.param == param


@pytest.mark.parametrize(
    "place", ["args", "response", "parameters", "parametersJsonSchema"]
)
@pytest.mark.parametrize("depth", [900, 100_000])
def test_no_depth_breaks_the_reader(place, depth):
    deep = b'{"items":' * depth + b"{}" + b"}" * depth
    bodies = {
        "args": b'{"contents":[{"parts":[{"functionCall":{"name":"f","args":%b}}]}]}',
        "response": b'{"contents":[{"parts":[{"functionResponse":{"name":"f","response":%b}}]}]}',
        "parameters": b'{"contents":[],"tools":[{"functionDeclarations":[{"name":"f","parameters":%b}]}]}',
        "parametersJsonSchema": b'{"contents":[],"tools":[{"functionDeclarations":[{"name":"f","parametersJsonSchema":%b}]}]}',
    }

    try:
        conversation = parse(bodies[place] % deep)
        render(conversation)
    except BadRequest:
        pass


# Rendering.


def test_a_conversation_is_told_in_geminis_words():
    conversation = talk(
        Message(role="system", parts=(Text(text="Be brief."),)),
        Message(role="developer", parts=(Text(text="Be kind."),)),
        user("Hello"),
        user("again"),
        assistant("Hi"),
        Message(role="system", parts=(Text(text="Now sing."),)),
        user("Go"),
        max_tokens=10,
        temperature=0.0,
        top_p=0.5,
        top_k=3,
        stop=("a", "b"),
        seed=0,
        n=2,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logprobs=True,
        top_logprobs=4,
        service_tier="default",
    )

    assert rendered(conversation) == {
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Hello"}, {"text": "again"}]},
            {"role": "model", "parts": [{"text": "Hi"}]},
            {"role": "user", "parts": [{"text": "Now sing."}, {"text": "Go"}]},
        ],
        "generationConfig": {
            "maxOutputTokens": 10,
            "temperature": 0.0,
            "topP": 0.5,
            "topK": 3,
            "seed": 0,
            "candidateCount": 2,
            "presencePenalty": 0.1,
            "frequencyPenalty": 0.2,
            "stopSequences": ["a", "b"],
            "responseLogprobs": True,
            "logprobs": 4,
        },
        "serviceTier": "standard",
    }


def test_the_same_conversation_is_told_in_the_same_bytes():
    conversation = talk(user("a"), assistant(call()), user(result()))

    assert render(conversation).body == render(conversation).body


def test_instructions_alone_become_contents():
    told = render(talk(Message(role="system", parts=(Text(text="Sing."),))))

    assert json.loads(told.body) == {
        "contents": [{"role": "user", "parts": [{"text": "Sing."}]}]
    }
    assert told.approximated == {Feature.SYSTEM}


def test_a_tool_loop_is_told_with_names_and_in_the_order_of_the_calls():
    conversation = talk(
        user("go"),
        assistant(call("c1", "f", ' {"x": 1.0}'), call("c2", "g", "")),
        user(
            "by the way",
            result("c2", '{"temp": 20.0}'),
            result("c1", "no", is_error=True),
        ),
        tools=(
            Tool(name="f", description="d", schema={"type": "object"}),
            Tool(name="g"),
        ),
        tool_choice=ToolChoice(mode="named", names=("f",)),
    )

    told = render(conversation, "gemini-2.5-flash").body

    assert b'"args":{"x": 1.0}' in told
    assert json.loads(told) == {
        "contents": [
            {"role": "user", "parts": [{"text": "go"}]},
            {
                "role": "model",
                "parts": [
                    {"functionCall": {"id": "c1", "name": "f", "args": {"x": 1.0}}},
                    {"functionCall": {"id": "c2", "name": "g", "args": {}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {
                        "functionResponse": {
                            "id": "c1",
                            "name": "f",
                            "response": {"error": "no"},
                        }
                    },
                    {
                        "functionResponse": {
                            "id": "c2",
                            "name": "g",
                            "response": {"temp": 20.0},
                        }
                    },
                    {"text": "by the way"},
                ],
            },
        ],
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "f",
                        "description": "d",
                        "parametersJsonSchema": {"type": "object"},
                    },
                    {"name": "g"},
                ]
            }
        ],
        "toolConfig": {
            "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}
        },
    }


@pytest.mark.parametrize(
    ("text", "response"),
    [
        ("sunny", {"result": "sunny"}),
        ("[1, 2]", {"result": "[1, 2]"}),
        ('{"a": 1}', {"a": 1}),
        ('{"a": 1', {"result": '{"a": 1'}),
        ('{"error": "none"}', {"result": {"error": "none"}}),
        ("", {"result": ""}),
    ],
)
def test_a_tools_result_is_an_object(text, response):
    conversation = talk(assistant(call()), user(result(text=text)))

    told = rendered(conversation)["contents"][1]["parts"][0]["functionResponse"]

    assert told["response"] == response


@pytest.mark.parametrize(
    "model",
    ["gemini-3-pro-preview", "gemini-4-argon", "gemini-pro-latest", "tunedModels/x"],
)
def test_a_call_that_gemini_did_not_make_is_given_to_gemini_3_with_the_documented_dummy(
    model,
):
    conversation = talk(
        user("go"),
        assistant(call("c1"), call("c2")),
        user(result("c1"), result("c2")),
        assistant(call("c3", signature="own")),
        user(result("c3")),
    )

    contents = rendered(conversation, model)["contents"]

    assert contents[1]["parts"][0]["thoughtSignature"] == NOT_OURS
    assert "thoughtSignature" not in contents[1]["parts"][1]
    assert contents[3]["parts"][0]["thoughtSignature"] == "own"


def test_signatures_go_back_to_where_they_were():
    conversation = talk(
        assistant(
            Thinking(text="mine", signature="s1", origin="gemini"),
            "answer",
            call(signature="s2"),
            signature="s3",
        ),
        assistant(signature="s4"),
    )

    parts = rendered(conversation, "gemini-3-flash")["contents"][0]["parts"]

    assert parts == [
        {"text": "mine", "thought": True, "thoughtSignature": "s1"},
        {"text": "answer", "thoughtSignature": "s3"},
        {
            "functionCall": {"id": "c1", "name": "f", "args": {}},
            "thoughtSignature": "s2",
        },
        {"text": "", "thoughtSignature": "s4"},
    ]


@pytest.mark.parametrize(
    "thinking",
    [
        Thinking(text="theirs", signature="seal", origin="anthropic"),
        Thinking(redacted="x", origin="anthropic"),
        Thinking(text="nobody knows whose"),
    ],
)
def test_the_thinking_of_others_is_left_out_and_reported(thinking):
    told = render(talk(user("a"), assistant(thinking, "b"), user("c")))

    assert b"thought" not in told.body
    assert b"seal" not in told.body
    assert told.dropped == {Feature.THINKING_HISTORY}


def test_files_are_told():
    conversation = talk(
        user(
            Media(kind="image", media_type="image/png", data=PNG),
            Media(kind="image", data=PNG),
            Media(kind="document", text="plain", name="a.txt"),
            Media(kind="image", url="https://x.example/a.webp"),
            Media(kind="document", url="https://x.example/doc"),
            Media(kind="image", url=f"data:image/gif;base64,{PNG}"),
            Media(kind="video", url="https://youtu.be/abc"),
            Media(kind="document", file_id="files/abc"),
            Media(kind="document", file_id="gs://b/x.pdf"),
        )
    )

    told = render(conversation)

    assert json.loads(told.body)["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
        {"inlineData": {"mimeType": "image/jpeg", "data": PNG}},
        {"inlineData": {"mimeType": "text/plain", "data": "cGxhaW4="}},
        {"fileData": {"fileUri": "https://x.example/a.webp", "mimeType": "image/webp"}},
        {
            "fileData": {
                "fileUri": "https://x.example/doc",
                "mimeType": "application/pdf",
            }
        },
        {"inlineData": {"mimeType": "image/gif", "data": PNG}},
        {"fileData": {"fileUri": "https://youtu.be/abc", "mimeType": "video/mp4"}},
        {
            "fileData": {
                "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"
            }
        },
        {"fileData": {"fileUri": "gs://b/x.pdf", "mimeType": "application/pdf"}},
    ]
    assert told.approximated == {
        Feature.IMAGE_DATA,
        Feature.DOCUMENT_URL,
        Feature.VIDEO_INPUT,
    }


@pytest.mark.parametrize(
    "media",
    [
        Media(kind="image", url="http://x.example/a.png"),
        Media(kind="image", url="file:///etc/passwd"),
        Media(kind="document", file_id="file-abc"),
        Media(kind="image"),
    ],
)
def test_a_file_that_gemini_cannot_get_is_refused(media):
    with pytest.raises(BadRequest) as refused:
        render(talk(user(media)))

    assert refused.value.code == "unsupported_parameter"


def test_pictures_in_a_tools_result_are_part_of_it_or_follow_it():
    picture = Media(kind="image", media_type="image/png", data=PNG)
    conversation = talk(
        assistant(call("c1"), call("c2")),
        user(ToolResult(call_id="c1", parts=(Text(text="see"), picture)), result("c2")),
    )
    blob = {"inlineData": {"mimeType": "image/png", "data": PNG}}

    third = render(conversation, "gemini-3-flash")
    second = render(conversation, "gemini-2.5-flash")

    parts = json.loads(third.body)["contents"][1]["parts"]
    assert parts[0]["functionResponse"]["parts"] == [blob]
    assert third.approximated == set()
    parts = json.loads(second.body)["contents"][1]["parts"]
    assert ["functionResponse" in part for part in parts] == [True, True, False]
    assert parts[2] == blob
    assert second.approximated == {Feature.TOOL_RESULT_PARTS}


@pytest.mark.parametrize(
    "messages",
    [
        (user(result("nobody")),),
        (assistant(call(arguments="{broken")),),
        (assistant(call(arguments="[1]")),),
    ],
)
def test_what_cannot_be_said_is_refused(messages):
    with pytest.raises(BadRequest):
        render(talk(*messages))


@pytest.mark.parametrize(
    ("model", "reasoning", "config", "inexact"),
    [
        # https://ai.google.dev/gemini-api/docs/openai#thinking
        ("gemini-2.5-flash", Reasoning(effort="low"), {"thinkingBudget": 1024}, False),
        (
            "gemini-2.5-flash",
            Reasoning(effort="medium"),
            {"thinkingBudget": 8192},
            False,
        ),
        (
            "gemini-2.5-flash",
            Reasoning(effort="high"),
            {"thinkingBudget": 24576},
            False,
        ),
        ("gemini-2.5-flash", Reasoning(effort="none"), {"thinkingBudget": 0}, False),
        (
            "gemini-2.5-flash",
            Reasoning(effort="xhigh"),
            {"thinkingBudget": 24576},
            True,
        ),
        ("gemini-2.5-flash", Reasoning(adaptive=True), {"thinkingBudget": -1}, False),
        # https://ai.google.dev/gemini-api/docs/thinking: 128 to 32768, never off
        ("gemini-2.5-pro", Reasoning(effort="none"), {"thinkingBudget": 128}, True),
        (
            "gemini-2.5-pro",
            Reasoning(budget_tokens=40_000),
            {"thinkingBudget": 32768},
            True,
        ),
        (
            "gemini-2.5-flash-lite",
            Reasoning(budget_tokens=100),
            {"thinkingBudget": 512},
            True,
        ),
        (
            "gemini-3-pro-preview",
            Reasoning(effort="low"),
            {"thinkingLevel": "LOW"},
            False,
        ),
        (
            "gemini-3-pro-preview",
            Reasoning(effort="medium"),
            {"thinkingLevel": "LOW"},
            True,
        ),
        (
            "gemini-3-pro-preview",
            Reasoning(effort="none"),
            {"thinkingLevel": "LOW"},
            True,
        ),
        (
            "gemini-3.1-pro-preview",
            Reasoning(effort="medium"),
            {"thinkingLevel": "MEDIUM"},
            False,
        ),
        (
            "gemini-3-flash-preview",
            Reasoning(effort="none"),
            {"thinkingLevel": "MINIMAL"},
            True,
        ),
        (
            "gemini-3.8-flash",
            Reasoning(effort="minimal"),
            {"thinkingLevel": "LOW"},
            True,
        ),
        (
            "gemini-3.5-flash-lite",
            Reasoning(effort="minimal"),
            {"thinkingLevel": "MINIMAL"},
            False,
        ),
        ("gemini-4-argon", Reasoning(effort="max"), {"thinkingLevel": "HIGH"}, True),
        (
            "gemini-3-flash",
            Reasoning(budget_tokens=9000),
            {"thinkingLevel": "MEDIUM"},
            True,
        ),
        (
            "gemini-3-flash",
            Reasoning(effort="high", visible=True),
            {"thinkingLevel": "HIGH", "includeThoughts": True},
            False,
        ),
        ("my-alias", Reasoning(effort="low"), {"thinkingBudget": 1024}, False),
    ],
)
def test_how_much_to_think_is_told_as_the_model_takes_it(
    model, reasoning, config, inexact
):
    told = render(talk(user("a"), reasoning=reasoning), model)

    assert json.loads(told.body)["generationConfig"]["thinkingConfig"] == config
    assert (Feature.THINKING in told.approximated) == inexact


def test_a_model_that_cannot_think_is_not_asked_to():
    told = render(
        talk(user("a"), reasoning=Reasoning(effort="high")), "gemini-2.0-flash"
    )
    off = render(talk(user("a"), reasoning=Reasoning(effort="none")), "gemma-3-27b-it")

    assert b"thinking" not in told.body
    assert told.dropped == {Feature.THINKING}
    assert off.dropped == set()


def test_what_is_known_of_a_model_wins_over_its_name():
    conversation = talk(user("a"), reasoning=Reasoning(effort="high"))

    can = render(conversation, "gemma-9-thinks", thinking=True)
    cannot = render(conversation, "gemini-2.5-flash", thinking=False)

    assert b"thinkingBudget" in can.body
    assert cannot.dropped == {Feature.THINKING}


def test_more_stop_sequences_than_five_are_cut_and_reported():
    told = render(talk(user("a"), stop=tuple("abcdefg")))

    assert json.loads(told.body)["generationConfig"]["stopSequences"] == list("abcde")
    assert told.approximated == {Feature.STOP}


def test_an_answer_in_json_is_asked_for():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}

    plain = rendered(talk(user("a"), json_format=JsonFormat()))
    bound = render(talk(user("a"), json_format=JsonFormat(schema=schema, name="n")))

    assert plain["generationConfig"] == {"responseMimeType": "application/json"}
    assert json.loads(bound.body)["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
    }
    assert bound.approximated == set()


def test_a_tier_that_gemini_does_not_have_is_dropped():
    told = render(talk(user("a"), service_tier="scale"))

    assert b"serviceTier" not in told.body
    assert told.dropped == {Feature.SERVICE_TIER}
    assert b"serviceTier" not in render(talk(user("a"), service_tier="auto")).body


def test_the_engine_tells_what_is_lost():
    body = {
        "contents": [{"parts": [{"text": "a"}]}],
        "labels": {"a": "b"},
        "generationConfig": {"mediaResolution": "X", "stopSequences": list("abcdef")},
    }
    call = gemini.read_call("chat", json.dumps(body).encode(), "m")

    told = translate_request(call, gemini, Model(name="m"), source=gemini, strict=False)

    assert told.dropped == ("labels", "generationConfig.mediaResolution")
    assert told.approximated == ("generationConfig.stopSequences",)
    with pytest.raises(BadRequest):
        translate_request(call, gemini, Model(name="m"), source=gemini, strict=True)


def test_what_the_provider_runs_itself_is_refused_elsewhere():
    body = {"contents": [], "tools": [{"googleSearch": {}}]}
    call = gemini.read_call("chat", json.dumps(body).encode(), "m")

    with pytest.raises(BadRequest) as refused:
        translate_request(call, gemini, Model(name="m"), source=gemini, strict=False)

    assert refused.value.param == "tools.googleSearch"


def test_counting_counts_instructions_and_tools_too():
    conversation = talk(
        Message(role="system", parts=(Text(text="s"),)),
        user("a"),
        tools=(Tool(name="f"),),
    )

    told = rendered(conversation, operation="count_tokens")

    assert set(told) == {"generateContentRequest"}
    assert told["generateContentRequest"]["model"] == "models/gemini-2.5-flash"
    assert set(told["generateContentRequest"]) == {
        "model",
        "contents",
        "systemInstruction",
        "tools",
    }


# Schemas.


@pytest.mark.parametrize(
    ("schema", "fitted", "inexact"),
    [
        ({"$schema": "x", "type": "object"}, {"type": "object"}, False),
        ({"const": 1}, {"enum": [1]}, False),
        (
            {"properties": {"const": {"const": "a"}}},
            {"properties": {"const": {"enum": ["a"]}}},
            False,
        ),
        (
            {"type": "string", "pattern": "a+"},
            {"type": "string", "pattern": "a+"},
            True,
        ),
        (
            {
                "items": {"$ref": "#/$defs/A", "description": "d"},
                "$defs": {"A": {"type": "null"}},
            },
            {"items": {"$ref": "#/$defs/A"}, "$defs": {"A": {"type": "null"}}},
            True,
        ),
        ({"additionalProperties": False}, {"additionalProperties": False}, False),
        (
            {"definitions": {"A": {}}, "items": {"$ref": "#/definitions/A"}},
            {"$defs": {"A": {}}, "items": {"$ref": "#/$defs/A"}},
            False,
        ),
        ({"anyOf": [{"const": 1}, True]}, {"anyOf": [{"enum": [1]}, True]}, False),
    ],
)
def test_a_schema_is_fitted_and_its_losses_are_noticed(schema, fitted, inexact):
    assert fit(schema) == (fitted, inexact)


@pytest.mark.parametrize(
    ("own", "schema"),
    [
        (
            # https://ai.google.dev/gemini-api/docs/structured-output
            {
                "type": "ARRAY",
                "items": {
                    "type": "OBJECT",
                    "properties": {
                        "recipeName": {"type": "STRING"},
                        "ingredients": {"type": "ARRAY", "items": {"type": "STRING"}},
                    },
                    "propertyOrdering": ["ingredients", "recipeName"],
                },
            },
            {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "ingredients": {"type": "array", "items": {"type": "string"}},
                        "recipeName": {"type": "string"},
                    },
                },
            },
        ),
        (
            {"type": "STRING", "format": "enum", "enum": ["A"], "nullable": True},
            {"type": ["string", "null"], "enum": ["A", None]},
        ),
        (
            {
                "any_of": [{"ref": "#/defs/A"}],
                "defs": {"A": {"type": "INTEGER"}},
                "min_items": "2",
                "example": 1,
            },
            {
                "anyOf": [{"$ref": "#/$defs/A"}],
                "$defs": {"A": {"type": "integer"}},
                "minItems": 2,
                "examples": [1],
            },
        ),
        ({"type": "TYPE_UNSPECIFIED", "title": "t"}, {"title": "t"}),
        (
            {"properties": {"nullable": {"type": "BOOLEAN"}}},
            {"properties": {"nullable": {"type": "boolean"}}},
        ),
    ],
)
def test_a_schema_of_the_apis_own_becomes_json_schema(own, schema):
    converted = to_json_schema(own)

    assert converted == schema
    assert json.dumps(converted) == json.dumps(schema)


# There and back again.

texts = st.text(min_size=1, max_size=20)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
objects = st.dictionaries(names, st.integers() | st.text(max_size=5), max_size=3)
media = st.builds(
    Media,
    kind=st.just("image"),
    media_type=st.just("image/png"),
    data=st.binary(max_size=9).map(lambda raw: base64.b64encode(raw).decode()),
)


@st.composite
def turns(draw):
    """A user's turn, the model's, and the results of what it called."""
    count = draw(st.integers(0, 3))
    base = draw(st.uuids()).hex
    calls = [
        ToolCall(
            id=f"{base}{at}",
            name=draw(names),
            arguments=json.dumps(draw(objects), separators=(",", ":")),
            signature=draw(st.none() | st.just("c2ln")),
        )
        for at in range(count)
    ]
    said = [Text(text=draw(texts))]
    asked = Message(
        role="user", parts=(Text(text=draw(texts)), *draw(st.lists(media, max_size=2)))
    )
    thought = draw(
        st.lists(
            st.builds(
                Thinking,
                text=texts,
                signature=st.just("dA=="),
                origin=st.just("gemini"),
            ),
            max_size=1,
        )
    )
    answered = Message(
        role="assistant",
        parts=(*thought, *said, *calls),
        signature=draw(st.none() | st.just("ZQ==")),
    )
    if not calls:
        return [asked, answered]
    results = [
        ToolResult(
            call_id=called.id,
            name=called.name,
            parts=(Text(text=draw(texts)),),
            is_error=draw(st.booleans()),
        )
        for called in calls
    ]
    return [
        asked,
        answered,
        Message(role="user", parts=tuple(results)),
        assistant("ok"),
    ]


@st.composite
def conversations(draw):
    messages = [
        message for turn in draw(st.lists(turns(), max_size=3)) for message in turn
    ]
    messages.append(user("last"))
    if draw(st.booleans()):
        messages.insert(0, Message(role="system", parts=(Text(text=draw(texts)),)))
    tools = draw(
        st.lists(
            st.builds(
                Tool,
                name=names,
                description=st.none() | texts,
                schema=st.none() | st.just({"type": "object"}),
            ),
            max_size=2,
        )
    )
    choice = None
    if tools:
        choice = draw(
            st.none()
            | st.just(ToolChoice(mode="none"))
            | st.just(ToolChoice(mode="required"))
            | st.builds(ToolChoice, mode=st.just("named"), names=st.just(("f",)))
        )
    return Conversation(
        source="gemini",
        messages=tuple(messages),
        tools=tuple(tools),
        tool_choice=choice,
        json_format=draw(
            st.none()
            | st.just(JsonFormat())
            | st.just(JsonFormat(schema={"type": "array"}))
        ),
        reasoning=draw(
            st.none()
            | st.builds(
                Reasoning,
                budget_tokens=st.integers(1, 24576),
                visible=st.none() | st.booleans(),
            )
        ),
        max_tokens=draw(st.none() | st.integers(1, 9)),
        temperature=draw(st.none() | st.floats(0, 2)),
        top_p=draw(st.none() | st.floats(0, 1)),
        top_k=draw(st.none() | st.integers(1, 9)),
        stop=tuple(draw(st.lists(texts, max_size=5))),
        seed=draw(st.none() | st.integers(0, 9)),
        n=draw(st.none() | st.integers(2, 4)),
        presence_penalty=draw(st.none() | st.floats(0.1, 1)),
        frequency_penalty=draw(st.none() | st.floats(0.1, 1)),
        logprobs=draw(st.none() | st.just(True)),
        service_tier=draw(st.none() | st.sampled_from(["default", "flex"])),
    )


@settings(max_examples=150, deadline=None)
@given(conversations())
def test_what_is_rendered_is_read_as_it_was(conversation):
    body = render(conversation, "gemini-2.5-flash").body

    read = parse(body)

    read.used = {}
    assert read.unknown == ()
    assert read == conversation
