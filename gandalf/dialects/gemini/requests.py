"""What a client of Gemini's asks for, in the neutral model.

Source: https://ai.google.dev/api/generate-content and ``google/genai/types.py``
(``GenerateContentConfig``, ``GenerationConfig``, ``Tool``, ``ToolConfig``).
"""

from __future__ import annotations

from typing import Any

from gandalf.dialects.base import Call
from gandalf.dialects.conversation import (
    Conversation,
    Feature,
    JsonFormat,
    Message,
    Tool,
    ToolChoice,
)
from gandalf.dialects.gemini import thinking
from gandalf.dialects.gemini.fields import Fields, fields_of
from gandalf.dialects.gemini.history import History
from gandalf.dialects.gemini.schemas import to_json_schema, with_lower_types
from gandalf.dialects.gemini.signing import OWN
from gandalf.domain.errors import BadRequest

_JSON = "application/json"
_TIERS = {"standard": "default", "flex": "flex", "priority": "priority"}


def parse_request(call: Call) -> Conversation:
    """Return the conversation that ``call`` wants to go on.

    Raises:
        BadRequest: The body is not a valid request, or refers to cached contents, which
            no other provider has.
    """
    unknown: list[str] = []
    body = fields_of(call.body, unknown)
    body.raw("model")
    if call.operation == "count_tokens":
        inner = body.object("generateContentRequest")
        if inner is not None:
            body.close()
            inner.raw("model")
            body = inner
    conversation = _Request(body, unknown).conversation()
    conversation.stream = call.stream
    return conversation


class _Request:
    """Reads one body; the fields of the conversation are filled on the way."""

    def __init__(self, body: Fields, unknown: list[str]) -> None:
        self._body = body
        self._unknown = unknown
        self._used: dict[Feature, str] = {}

    def conversation(self) -> Conversation:
        body = self._body
        if body.text("cachedContent"):
            raise BadRequest(
                "cachedContent is only known to the provider that keeps it, and the "
                "model's provider is another one",
                code="unsupported_parameter",
                param="cachedContent",
            )
        messages = self._messages()
        conversation = Conversation(source=OWN, messages=messages)
        conversation.tools = self._tools()
        conversation.tool_choice = self._tool_choice()
        if body.objects("safetySettings"):
            self._used[Feature.SAFETY_SETTINGS] = "safetySettings"
        if labels := body.labels("labels"):
            conversation.metadata = labels
            self._used[Feature.METADATA] = "labels"
        tier = (body.text("serviceTier") or "").lower()
        if tier and tier != "unspecified":
            conversation.service_tier = _TIERS.get(tier, tier)
            self._used[Feature.SERVICE_TIER] = "serviceTier"
        config = body.object("generationConfig")
        if config is not None:
            self._configure(conversation, config)
        body.close()
        if messages and messages[-1].role == "assistant":
            self._used[Feature.PREFILL] = "contents"
        conversation.used = self._used
        conversation.unknown = tuple(dict.fromkeys(self._unknown))
        return conversation

    def _messages(self) -> tuple[Message, ...]:
        history = History(self._used)
        messages: list[Message] = []
        instruction = self._body.object("systemInstruction")
        if instruction is not None:
            system = history.instruction(instruction)
            if system.parts:
                messages.append(system)
                self._used[Feature.SYSTEM] = "systemInstruction"
        return (*messages, *history.messages(self._body.objects("contents")))

    def _tools(self) -> tuple[Tool, ...]:
        tools: list[Tool] = []
        for tool in self._body.objects("tools"):
            tools += map(_tool, tool.objects("functionDeclarations"))
            # Whatever else it is, the provider runs it; an empty object switches it on.
            for name in tool.names():
                if tool.raw(name) is not None:
                    self._server_tool(f"tools.{name}")
        if tools:
            self._used[Feature.TOOLS] = "tools.functionDeclarations"
        return tuple(tools)

    def _server_tool(self, name: str) -> None:
        if self._used.setdefault(Feature.SERVER_TOOLS, name) != name:
            self._unknown.append(name)

    def _tool_choice(self) -> ToolChoice | None:
        config = self._body.object("toolConfig")
        if config is None:
            return None
        calling = config.object("functionCallingConfig")
        config.close()
        if calling is None:
            return None
        mode = calling.text("mode") or "AUTO"
        names = tuple(calling.texts("allowedFunctionNames"))
        calling.close()
        if mode == "VALIDATED":
            self._unknown.append("toolConfig.functionCallingConfig.mode")
        elif mode not in _MODES:
            raise BadRequest(
                f"a mode is AUTO, ANY, NONE or VALIDATED, not {mode!r}",
                param="toolConfig.functionCallingConfig.mode",
            )
        chosen = _MODES.get(mode, "auto")
        if chosen == "auto" and not names:
            return None
        self._used[Feature.TOOL_CHOICE] = "toolConfig.functionCallingConfig"
        if chosen == "required" and names:
            chosen = "named"
        return ToolChoice(mode=chosen, names=names)

    def _configure(self, conversation: Conversation, config: Fields) -> None:
        for name, attribute, feature, read in _SETTINGS:
            value = read(config, name)
            if value not in _UNSET[feature]:
                setattr(conversation, attribute, value)
                self._used[feature] = config.path + name
        if stop := config.texts("stopSequences"):
            conversation.stop = tuple(stop)
            self._used[Feature.STOP] = f"{config.path}stopSequences"
        self._ask_for_logprobs(conversation, config)
        asked = config.object("thinkingConfig")
        if asked is not None:
            self._used[Feature.THINKING] = f"{config.path}thinkingConfig"
            conversation.reasoning = thinking.parse(asked)
        conversation.json_format = self._json_format(config)
        self._ask_for_modalities(config)
        config.close()

    def _ask_for_logprobs(self, conversation: Conversation, config: Fields) -> None:
        wanted, top = config.flag("responseLogprobs"), config.integer("logprobs")
        if wanted:
            conversation.logprobs = True
            conversation.top_logprobs = top
            self._used[Feature.LOGPROBS] = f"{config.path}responseLogprobs"

    def _json_format(self, config: Fields) -> JsonFormat | None:
        media_type = config.text("responseMimeType") or "text/plain"
        own = config.table("responseSchema")
        schema = config.table("responseJsonSchema")
        if schema is None:
            schema = config.table("_responseJsonSchema")
        if media_type == "text/plain":
            return None
        if media_type != _JSON:
            # An enumeration's bare words are no JSON.
            self._unknown.append(f"{config.path}responseMimeType")
            return None
        if schema is not None:
            schema = with_lower_types(schema)
        elif own is not None:
            schema = to_json_schema(own)
        if schema is None:
            self._used[Feature.JSON_MODE] = f"{config.path}responseMimeType"
            return JsonFormat()
        name = "responseSchema" if own is not None else "responseJsonSchema"
        self._used[Feature.JSON_SCHEMA] = config.path + name
        return JsonFormat(schema=schema)

    def _ask_for_modalities(self, config: Fields) -> None:
        for modality in config.texts("responseModalities"):
            if modality.upper() == "AUDIO":
                self._used[Feature.AUDIO_OUTPUT] = f"{config.path}responseModalities"
            elif modality.upper() != "TEXT":
                self._unknown.append(f"{config.path}responseModalities")


_MODES = {
    "AUTO": "auto",
    "ANY": "required",
    "NONE": "none",
    "MODE_UNSPECIFIED": "auto",
}

_SETTINGS: tuple[tuple[str, str, Feature, Any], ...] = (
    ("maxOutputTokens", "max_tokens", Feature.MAX_TOKENS, Fields.integer),
    ("temperature", "temperature", Feature.TEMPERATURE, Fields.number),
    ("topP", "top_p", Feature.TOP_P, Fields.number),
    ("topK", "top_k", Feature.TOP_K, Fields.integer),
    ("seed", "seed", Feature.SEED, Fields.integer),
    ("candidateCount", "n", Feature.N, Fields.integer),
    (
        "presencePenalty",
        "presence_penalty",
        Feature.PRESENCE_PENALTY,
        Fields.number,
    ),
    (
        "frequencyPenalty",
        "frequency_penalty",
        Feature.FREQUENCY_PENALTY,
        Fields.number,
    ),
)
_UNSET: dict[Feature, tuple[object, ...]] = {
    feature: (None,) for _, _, feature, _ in _SETTINGS
} | {
    # What is so anyway.
    Feature.N: (None, 0, 1),
    Feature.PRESENCE_PENALTY: (None, 0),
    Feature.FREQUENCY_PENALTY: (None, 0),
}


def _tool(declaration: Fields) -> Tool:
    name = declaration.text("name")
    if not name:
        raise BadRequest(
            "a function declaration has no name", param=f"{declaration.path}name"
        )
    own = declaration.table("parameters")
    schema = declaration.table("parametersJsonSchema")
    if schema is not None:
        schema = with_lower_types(schema)
    elif own is not None:
        schema = to_json_schema(own)
    description = declaration.text("description")
    declaration.close()
    return Tool(name=name, description=description, schema=schema)
