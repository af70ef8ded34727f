"""For each client's dialect and each feature, the least request that uses it.

In the dialect's own words. A ``Probe`` has the request, the same one without the
feature, and what of it must be in any request that says the feature. ``UNSAID`` lists
the features for which a dialect has no words.
"""

import msgspec

from gandalf.dialects.conversation import Feature

F = Feature

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
PDF = "JVBERi0xLjQKJcOkw7zDtsOf"
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEA"
MP4 = "AAAAIGZ0eXBpc29tAAACAGlzb21pc28y"
SEAL = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds=="
SCHEMA = {
    "type": "object",
    "properties": {"zebra": {"type": "string"}},
    "required": ["zebra"],
    "additionalProperties": False,
}
# Google has a type of its own for schemas, which knows no additionalProperties.
OWN_SCHEMA = {
    "type": "OBJECT",
    "properties": {"zebra": {"type": "STRING"}},
    "required": ["zebra"],
}


class Probe(msgspec.Struct):
    asked: dict
    without: dict
    marks: tuple[str, ...] = ()
    """What must be in the upstream's request, unless the client is told otherwise."""


def _adds(base, *marks, **fields):
    return Probe(base | fields, base, marks)


# OpenAI.


def _spoken(*messages):
    return {"messages": list(messages)}


def _of(role, content, **more):
    return {"role": role, "content": content, **more}


_HI = _of("user", "hi")
_PLAIN = _spoken(_HI)


def _openai_part(part, *marks):
    text = {"type": "text", "text": "look"}
    return Probe(
        _spoken(_of("user", [text, part])), _spoken(_of("user", [text])), marks
    )


def _openai_tool(**more):
    function = {"name": "zoo", "parameters": SCHEMA, **more}
    return {"tools": [{"type": "function", "function": function}]}


_CALLED = _of(
    "assistant",
    None,
    tool_calls=[
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "zoo", "arguments": '{"zebra":"q"}'},
        }
    ],
)
_IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
_DETAILED = {"type": "image_url", "image_url": _IMAGE["image_url"] | {"detail": "low"}}
_THOUGHT = {"type": "thinking", "thinking": "a zebra", "signature": SEAL}


def _openai_result(content):
    result = _of("tool", content, tool_call_id="call_1")
    return _spoken(_HI, _CALLED, result) | _openai_tool()


_OPENAI = {
    F.SYSTEM: Probe(_spoken(_of("system", "be zebra"), _HI), _PLAIN, ("be zebra",)),
    F.DEVELOPER: Probe(
        _spoken(_of("developer", "be zebra"), _HI), _PLAIN, ("be zebra",)
    ),
    F.LATE_SYSTEM: Probe(
        _spoken(_HI, _of("system", "be zebra"), _of("user", "go")),
        _spoken(_HI, _of("user", "go")),
        ("be zebra",),
    ),
    F.NAMES: Probe(_spoken(_of("user", "hi", name="zebra")), _PLAIN, ("zebra",)),
    F.IMAGE_DATA: _openai_part(_IMAGE, PNG),
    F.IMAGE_URL: _openai_part(
        {"type": "image_url", "image_url": {"url": "https://zebra.example/z.png"}},
        "https://zebra.example/z.png",
    ),
    F.IMAGE_DETAIL: Probe(
        _spoken(_of("user", [_DETAILED])), _spoken(_of("user", [_IMAGE])), ("low",)
    ),
    F.DOCUMENT_DATA: _openai_part(
        {
            "type": "file",
            "file": {
                "filename": "z.pdf",
                "file_data": f"data:application/pdf;base64,{PDF}",
            },
        },
        PDF,
    ),
    F.DOCUMENT_URL: _openai_part(
        {"type": "file", "file": {"file_data": "https://zebra.example/z.pdf"}},
        "https://zebra.example/z.pdf",
    ),
    F.FILE_ID: _openai_part({"type": "file", "file": {"file_id": "file-z"}}, "file-z"),
    F.AUDIO_INPUT: _openai_part(
        {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}, WAV
    ),
    F.AUDIO_OUTPUT: _adds(
        _PLAIN, modalities=["text", "audio"], audio={"voice": "z", "format": "wav"}
    ),
    F.VIDEO_INPUT: _openai_part(
        {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{MP4}"}},
        MP4,
    ),
    F.TOOLS: _adds(_PLAIN, "zoo", "zebra", **_openai_tool()),
    F.TOOL_STRICT: Probe(
        _PLAIN | _openai_tool(strict=True), _PLAIN | _openai_tool(), ('"strict":true',)
    ),
    F.SERVER_TOOLS: _adds(_PLAIN, web_search_options={"search_context_size": "low"}),
    F.TOOL_CHOICE: _adds(_PLAIN | _openai_tool(), tool_choice="required"),
    F.PARALLEL_TOOL_CALLS: _adds(_PLAIN | _openai_tool(), parallel_tool_calls=False),
    F.TOOL_RESULT_PARTS: Probe(
        _openai_result([{"type": "text", "text": "see"}, _IMAGE]),
        _openai_result("see"),
        (PNG,),
    ),
    F.THINKING: _adds(_PLAIN, reasoning_effort="high"),
    F.THINKING_HISTORY: Probe(
        _spoken(_HI, _of("assistant", "yes", thinking_blocks=[_THOUGHT]), _HI),
        _spoken(_HI, _of("assistant", "yes"), _HI),
        ("a zebra", SEAL),
    ),
    F.JSON_MODE: _adds(
        _spoken(_of("user", "JSON, please")), response_format={"type": "json_object"}
    ),
    F.JSON_SCHEMA: _adds(
        _PLAIN,
        "zebra",
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "z", "schema": SCHEMA},
        },
    ),
    F.MAX_TOKENS: _adds(_PLAIN, "7777", max_tokens=7777),
    F.TEMPERATURE: _adds(_PLAIN, "0.375", temperature=0.375),
    F.TOP_P: _adds(_PLAIN, "0.625", top_p=0.625),
    F.TOP_K: _adds(_PLAIN, "77", top_k=77),
    F.MIN_P: _adds(_PLAIN, "0.125", min_p=0.125),
    F.STOP: _adds(_PLAIN, "zebra", "gnu", stop=["zebra", "gnu"]),
    F.SEED: _adds(_PLAIN, "4242", seed=4242),
    F.N: _adds(_PLAIN, "3", n=3),
    F.PRESENCE_PENALTY: _adds(_PLAIN, "0.375", presence_penalty=0.375),
    F.FREQUENCY_PENALTY: _adds(_PLAIN, "0.625", frequency_penalty=0.625),
    F.REPEAT_PENALTY: _adds(_PLAIN, "1.125", repetition_penalty=1.125),
    F.LOGIT_BIAS: _adds(_PLAIN, "5151", logit_bias={"5151": 5}),
    F.LOGPROBS: _adds(_PLAIN, "logprobs", logprobs=True, top_logprobs=3),
    F.CACHE_MARKS: Probe(
        _spoken(
            _of(
                "user",
                [
                    {
                        "type": "text",
                        "text": "hi",
                        "cache_control": {"type": "ephemeral"},
                    }
                ],
            )
        ),
        _spoken(_of("user", [{"type": "text", "text": "hi"}])),
    ),
    F.CITATIONS: Probe(
        _spoken(
            _HI,
            _of(
                "assistant",
                "yes",
                annotations=[
                    {
                        "type": "url_citation",
                        "url_citation": {
                            "start_index": 0,
                            "end_index": 3,
                            "title": "z",
                            "url": "https://zebra.example",
                        },
                    }
                ],
            ),
            _HI,
        ),
        _spoken(_HI, _of("assistant", "yes"), _HI),
        ("https://zebra.example",),
    ),
    F.USER: _adds(_PLAIN, "zebra", user="zebra"),
    F.METADATA: _adds(_PLAIN, "zebra", metadata={"herd": "zebra"}),
    F.SERVICE_TIER: _adds(_PLAIN, service_tier="flex"),
    F.PREFILL: Probe(_spoken(_HI, _of("assistant", "A zebra")), _PLAIN, ("A zebra",)),
}


# Anthropic.

_LIMITED = _PLAIN | {"max_tokens": 4096}


def _claude(*messages, **more):
    return _spoken(*messages) | {"max_tokens": 4096} | more


def _block(kind, **fields):
    return {"type": kind, **fields}


def _source(kind, **fields):
    return {"source": {"type": kind, **fields}}


def _anthropic_part(part, *marks):
    text = _block("text", text="look")
    return Probe(
        _claude(_of("user", [text, part])), _claude(_of("user", [text])), marks
    )


def _anthropic_tool(**more):
    return {"tools": [{"name": "zoo", "input_schema": SCHEMA, **more}]}


_USE = _of(
    "assistant", [_block("tool_use", id="toolu_1", name="zoo", input={"zebra": "q"})]
)
_PICTURE = _block("image", **_source("base64", media_type="image/png", data=PNG))
_PAPER = _block("document", **_source("base64", media_type="application/pdf", data=PDF))


def _anthropic_result(content, **more):
    result = _block("tool_result", tool_use_id="toolu_1", content=content, **more)
    return _claude(_HI, _USE, _of("user", [result]), **_anthropic_tool())


_ANTHROPIC = {
    F.SYSTEM: _adds(_LIMITED, "be zebra", system="be zebra"),
    F.LATE_SYSTEM: Probe(
        _claude(_HI, _of("system", "be zebra"), _of("assistant", "ok"), _HI),
        _claude(_HI, _of("assistant", "ok"), _HI),
        ("be zebra",),
    ),
    F.IMAGE_DATA: _anthropic_part(_PICTURE, PNG),
    F.IMAGE_URL: _anthropic_part(
        _block("image", **_source("url", url="https://zebra.example/z.png")),
        "https://zebra.example/z.png",
    ),
    F.DOCUMENT_DATA: _anthropic_part(_PAPER, PDF),
    F.DOCUMENT_URL: _anthropic_part(
        _block("document", **_source("url", url="https://zebra.example/z.pdf")),
        "https://zebra.example/z.pdf",
    ),
    F.FILE_ID: _anthropic_part(
        _block("document", **_source("file", file_id="file_z")), "file_z"
    ),
    F.TOOLS: _adds(_LIMITED, "zoo", "zebra", **_anthropic_tool()),
    F.TOOL_STRICT: Probe(
        _LIMITED | _anthropic_tool(strict=True),
        _LIMITED | _anthropic_tool(),
        ('"strict":true',),
    ),
    F.SERVER_TOOLS: Probe(
        _LIMITED
        | {
            "tools": [
                *_anthropic_tool()["tools"],
                {"type": "web_search_20250305", "name": "web_search"},
            ]
        },
        _LIMITED | _anthropic_tool(),
    ),
    F.TOOL_REFERENCES: Probe(
        _LIMITED | _anthropic_tool(defer_loading=True), _LIMITED | _anthropic_tool()
    ),
    F.TOOL_CHOICE: _adds(_LIMITED | _anthropic_tool(), tool_choice={"type": "any"}),
    F.PARALLEL_TOOL_CALLS: Probe(
        _LIMITED
        | _anthropic_tool()
        | {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        _LIMITED | _anthropic_tool() | {"tool_choice": {"type": "auto"}},
    ),
    F.TOOL_RESULT_PARTS: Probe(
        _anthropic_result([_block("text", text="see"), _PICTURE]),
        _anthropic_result([_block("text", text="see")]),
        (PNG,),
    ),
    F.TOOL_RESULT_ERROR: Probe(
        _anthropic_result("boom", is_error=True), _anthropic_result("boom")
    ),
    F.THINKING: _adds(_LIMITED, thinking={"type": "enabled", "budget_tokens": 2048}),
    F.THINKING_HISTORY: Probe(
        _claude(_HI, _of("assistant", [_THOUGHT, _block("text", text="yes")]), _HI),
        _claude(_HI, _of("assistant", [_block("text", text="yes")]), _HI),
        ("a zebra", SEAL),
    ),
    F.JSON_SCHEMA: _adds(
        _LIMITED,
        "zebra",
        output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
    ),
    F.MAX_TOKENS: Probe(
        _PLAIN | {"max_tokens": 7777}, _PLAIN | {"max_tokens": 99}, ("7777",)
    ),
    F.TEMPERATURE: _adds(_LIMITED, "0.375", temperature=0.375),
    F.TOP_P: _adds(_LIMITED, "0.625", top_p=0.625),
    F.TOP_K: _adds(_LIMITED, "77", top_k=77),
    F.STOP: _adds(_LIMITED, "zebra", "gnu", stop_sequences=["zebra", "gnu"]),
    F.CACHE_MARKS: Probe(
        _claude(
            _of(
                "user",
                [_block("text", text="hi", cache_control={"type": "ephemeral"})],
            )
        ),
        _claude(_of("user", [_block("text", text="hi")])),
    ),
    F.CITATIONS: Probe(
        _claude(_of("user", [_PAPER | {"citations": {"enabled": True}}])),
        _claude(_of("user", [_PAPER])),
    ),
    F.USER: _adds(_LIMITED, "zebra", metadata={"user_id": "zebra"}),
    F.SERVICE_TIER: _adds(_LIMITED, service_tier="standard_only"),
    F.PREFILL: Probe(_claude(_HI, _of("assistant", "A zebra")), _LIMITED, ("A zebra",)),
}


# Gemini.


def _parts(*parts, role="user"):
    return {"role": role, "parts": list(parts)}


def _said(*contents, **more):
    return {"contents": list(contents), **more}


_TEXT = {"text": "hi"}
_HALLO = _said(_parts(_TEXT))


def _gemini_part(part, *marks):
    return Probe(_said(_parts(_TEXT, part)), _HALLO, marks)


def _inline(media_type, data):
    return {"inlineData": {"mimeType": media_type, "data": data}}


def _configured(*marks, **config):
    return Probe(_HALLO | {"generationConfig": config}, _HALLO, marks)


_DECLARED = {
    "tools": [{"functionDeclarations": [{"name": "zoo", "parameters": OWN_SCHEMA}]}]
}


def _gemini_result(response, *parts):
    called = {"functionCall": {"name": "zoo", "args": {"zebra": "q"}}}
    answered = {"name": "zoo", "response": response}
    if parts:
        answered["parts"] = list(parts)
    return _said(
        _parts(_TEXT),
        _parts(called, role="model"),
        _parts({"functionResponse": answered}),
        **_DECLARED,
    )


_GEMINI = {
    F.SYSTEM: _adds(
        _HALLO, "be zebra", systemInstruction={"parts": [{"text": "be zebra"}]}
    ),
    F.IMAGE_DATA: _gemini_part(_inline("image/png", PNG), PNG),
    F.IMAGE_URL: _gemini_part(
        {
            "fileData": {
                "mimeType": "image/png",
                "fileUri": "https://zebra.example/z.png",
            }
        },
        "https://zebra.example/z.png",
    ),
    F.DOCUMENT_DATA: _gemini_part(_inline("application/pdf", PDF), PDF),
    F.DOCUMENT_URL: _gemini_part(
        {
            "fileData": {
                "mimeType": "application/pdf",
                "fileUri": "https://zebra.example/z.pdf",
            }
        },
        "https://zebra.example/z.pdf",
    ),
    F.FILE_ID: _gemini_part(
        {"fileData": {"mimeType": "image/png", "fileUri": "files/zebra"}},
        "files/zebra",
    ),
    F.AUDIO_INPUT: _gemini_part(_inline("audio/wav", WAV), WAV),
    F.AUDIO_OUTPUT: _configured(responseModalities=["AUDIO"]),
    F.VIDEO_INPUT: _gemini_part(_inline("video/mp4", MP4), MP4),
    F.TOOLS: _adds(_HALLO, "zoo", "zebra", **_DECLARED),
    F.SERVER_TOOLS: _adds(
        _HALLO | _DECLARED, tools=[*_DECLARED["tools"], {"googleSearch": {}}]
    ),
    F.TOOL_CHOICE: _adds(
        _HALLO | _DECLARED, toolConfig={"functionCallingConfig": {"mode": "ANY"}}
    ),
    F.TOOL_RESULT_PARTS: Probe(
        _gemini_result({"result": "see"}, _inline("image/png", PNG)),
        _gemini_result({"result": "see"}),
        (PNG,),
    ),
    F.TOOL_RESULT_ERROR: Probe(
        _gemini_result({"error": "boom"}), _gemini_result({"result": "boom"})
    ),
    F.THINKING: _configured(thinkingConfig={"thinkingBudget": 2048}),
    F.THINKING_HISTORY: Probe(
        _said(
            _parts(_TEXT),
            _parts(
                {"text": "a zebra", "thought": True, "thoughtSignature": SEAL},
                {"text": "yes"},
                role="model",
            ),
            _parts(_TEXT),
        ),
        _said(_parts(_TEXT), _parts({"text": "yes"}, role="model"), _parts(_TEXT)),
        ("a zebra", SEAL),
    ),
    F.JSON_MODE: _configured(responseMimeType="application/json"),
    F.JSON_SCHEMA: _configured(
        "zebra", responseMimeType="application/json", responseSchema=OWN_SCHEMA
    ),
    F.MAX_TOKENS: _configured("7777", maxOutputTokens=7777),
    F.TEMPERATURE: _configured("0.375", temperature=0.375),
    F.TOP_P: _configured("0.625", topP=0.625),
    F.TOP_K: _configured("77", topK=77),
    F.STOP: _configured("zebra", "gnu", stopSequences=["zebra", "gnu"]),
    F.SEED: _configured("4242", seed=4242),
    F.N: _configured("3", candidateCount=3),
    F.PRESENCE_PENALTY: _configured("0.375", presencePenalty=0.375),
    F.FREQUENCY_PENALTY: _configured("0.625", frequencyPenalty=0.625),
    F.LOGPROBS: _configured("logprobs", responseLogprobs=True, logprobs=3),
    F.METADATA: _adds(_HALLO, "zebra", labels={"herd": "zebra"}),
    F.SERVICE_TIER: _adds(_HALLO, serviceTier="flex"),
    F.SAFETY_SETTINGS: _adds(
        _HALLO,
        safetySettings=[
            {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}
        ],
    ),
    F.PREFILL: Probe(
        _said(_parts(_TEXT), _parts({"text": "A zebra"}, role="model")),
        _HALLO,
        ("A zebra",),
    ),
}


# Ollama.


def _options(*marks, **options):
    return Probe(_PLAIN | {"options": options}, _PLAIN, marks)


_OLLAMA_CALLED = _of(
    "assistant",
    "",
    tool_calls=[{"function": {"name": "zoo", "arguments": {"zebra": "q"}}}],
)


def _ollama_result(**more):
    result = _of("tool", "see", tool_name="zoo", **more)
    return _spoken(_HI, _OLLAMA_CALLED, result) | _openai_tool()


_OLLAMA = {
    F.SYSTEM: Probe(_spoken(_of("system", "be zebra"), _HI), _PLAIN, ("be zebra",)),
    F.DEVELOPER: Probe(
        _spoken(_of("developer", "be zebra"), _HI), _PLAIN, ("be zebra",)
    ),
    F.LATE_SYSTEM: Probe(
        _spoken(_HI, _of("system", "be zebra"), _of("user", "go")),
        _spoken(_HI, _of("user", "go")),
        ("be zebra",),
    ),
    F.IMAGE_DATA: Probe(_spoken(_of("user", "hi", images=[PNG])), _PLAIN, (PNG,)),
    F.TOOLS: _adds(_PLAIN, "zoo", "zebra", **_openai_tool()),
    F.TOOL_RESULT_PARTS: Probe(_ollama_result(images=[PNG]), _ollama_result(), (PNG,)),
    F.THINKING: _adds(_PLAIN, think=True),
    F.THINKING_HISTORY: Probe(
        _spoken(_HI, _of("assistant", "yes", thinking="a zebra"), _HI),
        _spoken(_HI, _of("assistant", "yes"), _HI),
        ("a zebra",),
    ),
    F.JSON_MODE: _adds(_PLAIN, format="json"),
    F.JSON_SCHEMA: _adds(_PLAIN, "zebra", format=SCHEMA),
    F.MAX_TOKENS: _options("7777", num_predict=7777),
    F.TEMPERATURE: _options("0.375", temperature=0.375),
    F.TOP_P: _options("0.625", top_p=0.625),
    F.TOP_K: _options("77", top_k=77),
    F.MIN_P: _options("0.125", min_p=0.125),
    F.STOP: _options("zebra", "gnu", stop=["zebra", "gnu"]),
    F.SEED: _options("4242", seed=4242),
    F.PRESENCE_PENALTY: _options("0.375", presence_penalty=0.375),
    F.FREQUENCY_PENALTY: _options("0.625", frequency_penalty=0.625),
    F.REPEAT_PENALTY: _options("1.125", repeat_penalty=1.125),
    F.LOGPROBS: _adds(_PLAIN, "logprobs", logprobs=True, top_logprobs=3),
    F.PREFILL: Probe(_spoken(_HI, _of("assistant", "A zebra")), _PLAIN, ("A zebra",)),
}

PROBES = {
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "gemini": _GEMINI,
    "ollama": _OLLAMA,
}
UNSAID = {
    "openai": {F.TOOL_RESULT_ERROR, F.TOOL_REFERENCES, F.SAFETY_SETTINGS},
    "anthropic": {
        F.DEVELOPER,
        F.NAMES,
        F.IMAGE_DETAIL,
        F.AUDIO_INPUT,
        F.AUDIO_OUTPUT,
        F.VIDEO_INPUT,
        F.JSON_MODE,
        F.MIN_P,
        F.SEED,
        F.N,
        F.PRESENCE_PENALTY,
        F.FREQUENCY_PENALTY,
        F.REPEAT_PENALTY,
        F.LOGIT_BIAS,
        F.LOGPROBS,
        F.METADATA,
        F.SAFETY_SETTINGS,
    },
    "gemini": {
        F.TOOL_REFERENCES,
        F.DEVELOPER,
        F.LATE_SYSTEM,
        F.NAMES,
        F.IMAGE_DETAIL,
        F.TOOL_STRICT,
        F.PARALLEL_TOOL_CALLS,
        F.MIN_P,
        F.REPEAT_PENALTY,
        F.LOGIT_BIAS,
        F.CACHE_MARKS,
        F.CITATIONS,
        F.USER,
    },
    "ollama": {
        F.TOOL_REFERENCES,
        F.NAMES,
        F.IMAGE_URL,
        F.IMAGE_DETAIL,
        F.DOCUMENT_DATA,
        F.DOCUMENT_URL,
        F.FILE_ID,
        F.AUDIO_INPUT,
        F.AUDIO_OUTPUT,
        F.VIDEO_INPUT,
        F.TOOL_STRICT,
        F.SERVER_TOOLS,
        F.TOOL_CHOICE,
        F.PARALLEL_TOOL_CALLS,
        F.TOOL_RESULT_ERROR,
        F.N,
        F.LOGIT_BIAS,
        F.CACHE_MARKS,
        F.CITATIONS,
        F.USER,
        F.METADATA,
        F.SERVICE_TIER,
        F.SAFETY_SETTINGS,
    },
}
MODELS = {
    "openai": ("gpt-4o", "gpt-5", "o3", "deepseek-chat"),
    "anthropic": ("claude-sonnet-4-5", "claude-3-haiku-20240307", "claude-opus-5-5"),
    "gemini": ("gemini-2.5-flash", "gemini-3-pro-preview", "gemini-2.0-flash", "m"),
    "ollama": ("llama3.2", "gpt-oss:20b"),
    "converse": (
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "amazon.nova-pro-v1:0",
        "openai.gpt-oss-120b-1:0",
        "meta.llama3-3-70b-instruct-v1:0",
        "some-model",
    ),
}
"""Of each upstream some that differ in what they take."""
LEAST = {"openai": _PLAIN, "anthropic": _LIMITED, "gemini": _HALLO, "ollama": _PLAIN}
"""What each client must say at least."""
