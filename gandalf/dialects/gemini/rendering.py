"""A conversation, asked of a Gemini model.

Source: https://ai.google.dev/api/generate-content, https://ai.google.dev/api/tokens
(``countTokens`` with ``generateContentRequest`` counts instructions and tools too) and
``google/genai/types.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gandalf.dialects.base import Rendered
from gandalf.dialects.conversation import (
    Conversation,
    Feature,
    Tool,
    ToolChoice,
    Treatment,
)
from gandalf.dialects.gemini import thinking
from gandalf.dialects.gemini.calls import resource
from gandalf.dialects.gemini.contents import Json, Writer
from gandalf.dialects.gemini.schemas import fit
from gandalf.domain.model import Model

TREATMENTS: Mapping[Feature, Treatment] = {
    **dict.fromkeys(Feature, Treatment.MAPPED),
    # It is one more system message; one that comes late is the user's.
    Feature.DEVELOPER: Treatment.APPROXIMATED,
    Feature.LATE_SYSTEM: Treatment.APPROXIMATED,
    # A model may begin anew instead of going on.
    Feature.PREFILL: Treatment.APPROXIMATED,
    Feature.NAMES: Treatment.DROPPED,
    Feature.IMAGE_DETAIL: Treatment.DROPPED,
    Feature.TOOL_STRICT: Treatment.DROPPED,
    Feature.PARALLEL_TOOL_CALLS: Treatment.DROPPED,
    Feature.MIN_P: Treatment.DROPPED,
    Feature.REPEAT_PENALTY: Treatment.DROPPED,
    Feature.LOGIT_BIAS: Treatment.DROPPED,
    # Prompts are cached without being marked.
    Feature.CACHE_MARKS: Treatment.DROPPED,
    Feature.CITATIONS: Treatment.DROPPED,
    Feature.USER: Treatment.DROPPED,
    # Labels exist on Vertex only.
    Feature.METADATA: Treatment.DROPPED,
    # No other dialect has them.
    Feature.SAFETY_SETTINGS: Treatment.DROPPED,
    # Speech comes from models of its own, which need to be told the voice.
    Feature.AUDIO_OUTPUT: Treatment.REFUSED,
    Feature.TOOL_REFERENCES: Treatment.APPROXIMATED,
    Feature.SERVER_TOOLS: Treatment.REFUSED,
}

MAX_STOP_SEQUENCES = 5

_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}
_TIERS = {"default": "standard", "flex": "flex", "priority": "priority"}
_SYSTEM = ("system", "developer")


def render_request(
    conversation: Conversation, model: Model, operation: str = "chat"
) -> Rendered:
    """Return the request for ``model``; what this dialect drops is left out.

    Raises:
        BadRequest: It cannot be said in this dialect at all.
    """
    request = _Request(conversation, model)
    body = request.body()
    if operation == "count_tokens":
        name = {"model": resource(model.name)}
        body = {"generateContentRequest": {**name, **body}}
    return Rendered(
        body=msgspec.json.encode(body),
        approximated=frozenset(request.writer.approximated),
        dropped=frozenset(request.writer.dropped),
    )


class _Request:
    def __init__(self, conversation: Conversation, model: Model) -> None:
        self._conversation = conversation
        self._model = model
        self.writer = Writer(model.name, conversation.source)

    def body(self) -> Json:
        conversation = self._conversation
        body = self._contents()
        if conversation.tools:
            declared = [self._declaration(tool) for tool in conversation.tools]
            body["tools"] = [{"functionDeclarations": declared}]
            if conversation.tool_choice is not None:
                calling = _calling(conversation.tool_choice)
                body["toolConfig"] = {"functionCallingConfig": calling}
        if config := self._config():
            body["generationConfig"] = config
        tier = conversation.service_tier
        if tier in _TIERS:
            body["serviceTier"] = _TIERS[tier]
        elif tier not in (None, "auto"):
            self.writer.dropped.add(Feature.SERVICE_TIER)
        return body

    def _contents(self) -> Json:
        messages = self._conversation.messages
        start = 0
        while start < len(messages) and messages[start].role in _SYSTEM:
            start += 1
        system = self.writer.instruction(messages[:start])
        contents = self.writer.contents(messages[start:])
        if system and not contents:
            # There must be contents.
            self.writer.approximated.add(Feature.SYSTEM)
            return {"contents": [{"role": "user", "parts": system}]}
        body: Json = {"contents": contents}
        if system:
            body["systemInstruction"] = {"parts": system}
        return body

    def _declaration(self, tool: Tool) -> Json:
        declaration: Json = {"name": tool.name}
        if tool.description is not None:
            declaration["description"] = tool.description
        if tool.schema is not None:
            schema, inexact = fit(tool.schema)
            declaration["parametersJsonSchema"] = schema
            if inexact:
                self.writer.approximated.add(Feature.TOOLS)
        return declaration

    def _config(self) -> Json:
        asked = self._conversation
        config: Json = {
            "maxOutputTokens": asked.max_tokens,
            "temperature": asked.temperature,
            "topP": asked.top_p,
            "topK": asked.top_k,
            "seed": asked.seed,
            "candidateCount": asked.n,
            "presencePenalty": asked.presence_penalty,
            "frequencyPenalty": asked.frequency_penalty,
            "stopSequences": self._stop() or None,
        }
        if asked.logprobs:
            config["responseLogprobs"] = True
            config["logprobs"] = asked.top_logprobs or None
        config |= self._format()
        config["thinkingConfig"] = self._thinking() or None
        return {name: value for name, value in config.items() if value is not None}

    def _stop(self) -> list[str]:
        stop = self._conversation.stop
        if len(stop) > MAX_STOP_SEQUENCES:
            self.writer.approximated.add(Feature.STOP)
        return list(stop[:MAX_STOP_SEQUENCES])

    def _format(self) -> Json:
        wanted = self._conversation.json_format
        if wanted is None:
            return {}
        if wanted.schema is None:
            return {"responseMimeType": "application/json"}
        schema, inexact = fit(wanted.schema)
        if inexact:
            self.writer.approximated.add(Feature.JSON_SCHEMA)
        return {"responseMimeType": "application/json", "responseJsonSchema": schema}

    def _thinking(self) -> dict[str, object]:
        reasoning = self._conversation.reasoning
        if reasoning is None:
            return {}
        known = self._model.thinking
        if not (thinking.thinks(self._model.name) if known is None else known):
            if reasoning.effort != "none" and reasoning.budget_tokens != 0:
                self.writer.dropped.add(Feature.THINKING)
            return {}
        config, inexact = thinking.render(reasoning, self._model.name)
        if inexact:
            self.writer.approximated.add(Feature.THINKING)
        return config


def _calling(choice: ToolChoice) -> dict[str, Any]:
    calling: dict[str, Any] = {"mode": _MODES.get(choice.mode, "AUTO")}
    if choice.names:
        calling["allowedFunctionNames"] = list(choice.names)
        if choice.mode == "auto":
            # Names are only allowed where calls are held to their schemas.
            calling["mode"] = "VALIDATED"
    return calling
