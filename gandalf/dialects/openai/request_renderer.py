"""A conversation as a request to an OpenAI-compatible upstream.

Source: https://platform.openai.com/docs/api-reference/chat/create. The same
conversation gives the same bytes, or the provider's prompt cache would be in vain.

Models differ in what they refuse, and the upstream refuses the whole request for it.
What ``Model`` says counts; where it says nothing, the name of OpenAI's own models
tells (https://platform.openai.com/docs/guides/reasoning):

- Reasoning models (``o1``, ``o3-mini``, ``gpt-5``, ... but not ``gpt-5-chat``) take
  ``max_completion_tokens``; all others get ``max_tokens``, which is all that most
  compatible servers know. They take neither ``stop``, ``temperature``, ``top_p``,
  penalties, ``logprobs`` nor ``logit_bias``, and those named ``o...`` no
  ``parallel_tool_calls``. A temperature or top_p of 1 is their own, and left out.
- The efforts are those of the model: ``o...`` has ``low`` to ``high``, ``gpt-5`` also
  ``minimal``, its successors and all others are given what is asked for.
- What another vendor takes, ``Model.compat`` says.
- OpenAI's other models (``gpt-4``, ``gpt-3.5``, ``chatgpt``) refuse
  ``reasoning_effort``. A model with another name gets it.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from gandalf.dialects.base import Rendered
from gandalf.dialects.conversation import (
    Conversation,
    Feature,
    JsonFormat,
    Reasoning,
    Text,
    Tool,
    ToolChoice,
)
from gandalf.dialects.openai.message_renderer import MessageRenderer
from gandalf.dialects.reasoning import effort_of, nearest
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model

MAX_STOPS = 4
"""More are refused."""
MAX_USER_LENGTH = 64
"""A longer one is refused; Claude Code's have twice that. A digest tells users apart
just as well."""
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})
_OTHER_TIERS = {"standard_only": "default", "standard": "default"}

_REASONING = re.compile(r"(?:^|[^a-z0-9])(?:o[1-9]|gpt-[5-9])(?![a-z])(?!.*chat)")
_OLD_REASONING = re.compile(r"(?:^|[^a-z0-9])o[1-9](?![a-z0-9])")
_EFFORTS = (
    (_OLD_REASONING, ("low", "medium", "high")),
    (re.compile(r"gpt-5(?![.0-9])"), ("minimal", "low", "medium", "high")),
)
_PLAIN = re.compile(r"(?:^|[^a-z0-9])(?:gpt-[34]|chatgpt|gpt-[5-9].*chat)")

# What a reasoning model refuses, and the value of it that is its own.
_SAMPLING: tuple[tuple[Feature, str, float | None], ...] = (
    (Feature.TEMPERATURE, "temperature", 1),
    (Feature.TOP_P, "top_p", 1),
    (Feature.PRESENCE_PENALTY, "presence_penalty", 0),
    (Feature.FREQUENCY_PENALTY, "frequency_penalty", 0),
    (Feature.LOGIT_BIAS, "logit_bias", None),
    (Feature.LOGPROBS, "logprobs", 0),
    (Feature.STOP, "stop", None),
)

_encode = msgspec.json.Encoder().encode
Json = dict[str, Any]


def render_request(
    conversation: Conversation, model: Model, operation: str = "chat"
) -> Rendered:
    """Return the chat completion that continues ``conversation``.

    Raises:
        BadRequest: A part of it cannot be said in Chat Completions.
    """
    try:
        return _Renderer(conversation, model).rendered()
    except RecursionError as error:
        raise BadRequest("a schema is nested too deeply", param="tools") from error


class _Renderer:
    """Builds one body, field by field, in an order that is always the same."""

    def __init__(self, conversation: Conversation, model: Model) -> None:
        self._asked = conversation
        self._model = model
        name = model.name.lower()
        self._reasons = bool(_REASONING.search(name))
        self._old_reasons = bool(_OLD_REASONING.search(name))
        self._plain = bool(_PLAIN.search(name))
        self._compat = model.compat
        self._messages = MessageRenderer(model.compat)
        self._approximated: set[Feature] = set()
        self._dropped: set[Feature] = set()

    def rendered(self) -> Rendered:
        asked = self._asked
        messages = self._messages.render(asked.messages)
        body = {
            "model": self._model.name,
            "messages": [*self._instructions(), *messages],
            **self._tools(),
            **_response_format(self._format, asked.source),
            **self._effort(),
            **self._limit(),
            **self._sampling(),
            **_given(self._compat.seed_field, asked.seed),
            **(_given("n", asked.n) if asked.n != 1 else {}),
            **self._user(),
            **self._tier(),
            **_streaming(asked.stream),
        }
        self._leave_out_refused(body)
        return Rendered(
            body=_encode(body),
            approximated=frozenset(self._approximated | self._messages.approximated),
            dropped=frozenset(self._dropped | self._messages.dropped),
        )

    def _leave_out_refused(self, body: Json) -> None:
        """Remove what the vendor refuses from ``body``."""
        for name in self._compat.refused_fields:
            if name in _WITHIN:
                path, member = _WITHIN[name]
                for each in body.get(path, ()):
                    holder = each.get(member) if member else each
                    if holder.pop(name, None) is not None:
                        self._dropped.add(_REFUSABLE[name])
            elif body.pop(name, None) is not None and name in _REFUSABLE:
                self._dropped.add(_REFUSABLE[name])

    # Tools.

    def _tools(self) -> Json:
        asked = self._asked
        if not asked.tools:
            # Without tools OpenAI refuses what governs them.
            return {}
        offered, choice = asked.tools, asked.tool_choice
        if choice is not None and not self._can_choose(choice):
            self._approximated.add(Feature.TOOL_CHOICE)
            offered = tuple(tool for tool in offered if tool.name in choice.names)
            mode = "auto" if choice.mode == "auto" else "required"
            choice = ToolChoice(mode=mode)
        tools: Json = {"tools": list(map(_tool, offered))}
        if choice is not None:
            tools["tool_choice"] = _tool_choice(choice)
        if asked.parallel_tool_calls is not None:
            if self._old_reasons:
                self._dropped.add(Feature.PARALLEL_TOOL_CALLS)
            else:
                tools["parallel_tool_calls"] = asked.parallel_tool_calls
        return tools

    def _can_choose(self, choice: ToolChoice) -> bool:
        """Whether ``tool_choice`` can say so; else the other tools are not offered."""
        single = choice.mode == "named" and len(choice.names) == 1
        return not choice.names or single or self._compat.allowed_tools

    # JSON.

    @property
    def _format(self) -> JsonFormat | None:
        """What the model can be held to."""
        asked = self._asked.json_format
        if asked is None or asked.schema is None or self._can_hold_schema:
            return asked
        return JsonFormat()

    @property
    def _can_hold_schema(self) -> bool:
        return self._model.structured_output is not False

    def _instructions(self) -> list[Json]:
        """Return the message that asks for JSON, where the format alone does not.

        A model without schemas is told the schema; and OpenAI refuses plain JSON mode
        unless the word stands somewhere in the messages.
        """
        asked = self._asked.json_format
        if asked is None:
            return []
        if asked.schema is not None and not self._can_hold_schema:
            self._approximated.add(Feature.JSON_SCHEMA)
            schema = msgspec.json.encode(asked.schema).decode()
            return [_system(f"Answer with JSON that fits this schema: {schema}")]
        if asked.schema is None and not self._speaks_of_json():
            return [_system("Answer with JSON.")]
        return []

    def _speaks_of_json(self) -> bool:
        return any(
            isinstance(part, Text) and "json" in part.text.lower()
            for message in self._asked.messages
            for part in message.parts
        )

    # Thinking, limits, sampling.

    def _effort(self) -> Json:
        wish = self._asked.reasoning
        if wish is None:
            return {}
        refuses = self._plain if self._model.thinking is None else None
        if refuses or self._model.thinking is False:
            if wish.effort != "none":
                self._dropped.add(Feature.THINKING)
            return {}
        effort = wish.effort or self._effort_for(wish)
        if wish.visible and self._compat.reasoning_history == "none":
            # What is thought, Chat Completions does not show.
            self._approximated.add(Feature.THINKING)
        if self._compat.thinking_switch == "reasoning_effort":
            return {"reasoning_effort": self._known(effort)} if effort else {}
        return {**self._switch(effort != "none"), **self._amount(effort)}

    def _switch(self, on: bool) -> Json:
        """Return the field of the vendor's that turns thinking on or off."""
        match self._compat.thinking_switch:
            case "thinking":
                return {"thinking": {"type": "enabled" if on else "disabled"}}
            case "enable_thinking":
                return {"enable_thinking": on}
            case _:
                return {"chat_template_kwargs": {"enable_thinking": on}}

    def _amount(self, effort: str | None) -> Json:
        if effort in (None, "none"):
            return {}
        if self._compat.efforts == ():
            # That it thinks can be said, how much cannot.
            self._approximated.add(Feature.THINKING)
            return {}
        return {"reasoning_effort": self._known(str(effort))}

    def _known(self, effort: str) -> str:
        """Return the effort nearest to ``effort`` that the model has."""
        if (efforts := self._compat.efforts) is not None:
            if effort in efforts:
                return effort
            self._approximated.add(Feature.THINKING)
            return nearest(effort, efforts)
        name = self._model.name.lower()
        for pattern, allowed in _EFFORTS:
            if pattern.search(name) and effort not in allowed:
                self._approximated.add(Feature.THINKING)
                return nearest(effort, allowed)
        return effort

    def _effort_for(self, wish: Reasoning) -> str | None:
        self._approximated.add(Feature.THINKING)
        if wish.budget_tokens is None:
            return None
        return effort_of(wish.budget_tokens)

    def _limit(self) -> Json:
        limit, most = self._asked.max_tokens, self._model.output_limit
        if limit is None:
            return {}
        if most is not None and limit > most:
            self._approximated.add(Feature.MAX_TOKENS)
            limit = most
        by_model = "max_completion_tokens" if self._reasons else "max_tokens"
        field = self._compat.limit_field
        return {by_model if field == "by_model" else field: limit}

    def _sampling(self) -> Json:
        asked = self._asked
        fixed = self._model.temperature is False or (
            self._model.temperature is None and self._reasons
        )
        wishes: Json = {}
        for feature, name, own in _SAMPLING:
            value = getattr(asked, name)
            if value is None or value == ():
                continue
            if not fixed:
                wishes[name] = value
            elif value != own:
                self._dropped.add(feature)
        if "stop" in wishes and len(asked.stop) > MAX_STOPS:
            self._approximated.add(Feature.STOP)
            wishes["stop"] = asked.stop[:MAX_STOPS]
        if "logit_bias" in wishes:
            wishes["logit_bias"] = _whole_numbers(wishes["logit_bias"])
        if wishes.get("logprobs"):
            wishes |= _given("top_logprobs", asked.top_logprobs)
        return wishes

    def _user(self) -> Json:
        user = self._asked.user
        if user is not None and len(user) > MAX_USER_LENGTH:
            self._approximated.add(Feature.USER)
            user = hashlib.sha256(user.encode()).hexdigest()
        return _given("user", user)

    def _tier(self) -> Json:
        asked = self._asked.service_tier
        if asked is None:
            return {}
        tier = _OTHER_TIERS.get(asked, asked)
        if tier not in _TIERS:
            self._dropped.add(Feature.SERVICE_TIER)
            return {}
        if tier != asked:
            self._approximated.add(Feature.SERVICE_TIER)
        return {"service_tier": tier}


# Fields that a vendor may refuse, and what a client loses with each.
_REFUSABLE = {
    "user": Feature.USER,
    "service_tier": Feature.SERVICE_TIER,
    "seed": Feature.SEED,
    "n": Feature.N,
    "parallel_tool_calls": Feature.PARALLEL_TOOL_CALLS,
    "presence_penalty": Feature.PRESENCE_PENALTY,
    "frequency_penalty": Feature.FREQUENCY_PENALTY,
    "logit_bias": Feature.LOGIT_BIAS,
    "logprobs": Feature.LOGPROBS,
    "top_logprobs": Feature.LOGPROBS,
    "reasoning_effort": Feature.THINKING,
    "temperature": Feature.TEMPERATURE,
    "top_p": Feature.TOP_P,
    "stop": Feature.STOP,
    "tool_choice": Feature.TOOL_CHOICE,
    "name": Feature.NAMES,
    "strict": Feature.TOOL_STRICT,
}
# Of each message or tool, and in which member of it.
_WITHIN = {"name": ("messages", ""), "strict": ("tools", "function")}


def _given(name: str, value: object) -> Json:
    return {} if value is None else {name: value}


def _whole_numbers(biases: dict[str, float]) -> dict[str, float]:
    # OpenAI takes no others, and may not take 1.0 for one.
    return {
        token: int(bias) if float(bias).is_integer() else bias
        for token, bias in biases.items()
    }


def _system(text: str) -> Json:
    return {"role": "system", "content": text}


def _streaming(stream: bool) -> Json:
    if not stream:
        return {}
    return {"stream": True, "stream_options": {"include_usage": True}}


def _tool(tool: Tool) -> Json:
    function = {
        "name": tool.name,
        **_given("description", tool.description),
        **_given("parameters", tool.schema),
        **_given("strict", tool.strict),
    }
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> str | Json:
    if not choice.names:
        return choice.mode
    functions = [
        {"type": "function", "function": {"name": name}} for name in choice.names
    ]
    if choice.mode == "named" and len(functions) == 1:
        return functions[0]
    allowed = {
        "mode": "auto" if choice.mode == "auto" else "required",
        "tools": functions,
    }
    return {"type": "allowed_tools", "allowed_tools": allowed}


def _response_format(form: JsonFormat | None, source: str) -> Json:
    if form is None:
        return {}
    if form.schema is None:
        return {"response_format": {"type": "json_object"}}
    strict = form.strict
    if strict is None and source != "openai" and _is_strict(form.schema):
        # Elsewhere a schema always binds; here it must be asked for.
        strict = True
    schema = {
        "name": form.name or "answer",
        **_given("description", form.description),
        "schema": form.schema,
        **_given("strict", strict),
    }
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _is_strict(schema: object) -> bool:
    """Whether OpenAI would take ``schema`` as a strict one.

    Every object in it must name all its properties as required, and allow no others.
    """
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or not isinstance(
            properties, dict
        ):
            return False
        if set(properties) != set(schema.get("required") or ()):
            return False
        rest = {k: v for k, v in schema.items() if k != "properties"}
        return all(map(_is_strict, [*properties.values(), *rest.values()]))
    return all(map(_is_strict, schema.values()))
