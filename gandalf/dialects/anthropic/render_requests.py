"""From the neutral conversation to a request of Anthropic's.

Source: https://platform.claude.com/docs/en/api/messages/create, and for what a model
refuses ``models``. Rules beside those of ``render_messages`` and ``thinking``:
- ``max_tokens`` must be there: without one, the model's own limit or 4096.
- ``temperature`` ends at 1. Models that take no sampling parameters get none, newer
  ones not ``temperature`` and ``top_p`` both.
- A choice among some of the tools is made by sending no others.
- Where a tool cannot be forced, the model is left to choose.
- There is structured output from Claude 4.5 on. For older models a forced tool stands
  in for it, and for JSON without a schema everywhere; where forcing is impossible, or
  JSON without a schema is wanted with thinking, the system prompt asks for it.
- At most four blocks mark the cache: the last four, for they keep the longest prompts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gandalf.dialects.anthropic import schemas, thinking
from gandalf.dialects.anthropic.models import Rules, rules_of
from gandalf.dialects.anthropic.render_blocks import Block, Losses, cache_control
from gandalf.dialects.anthropic.render_messages import Turn, render_messages
from gandalf.dialects.base import Rendered
from gandalf.dialects.conversation import (
    Conversation,
    EmbeddingsRequest,
    Feature,
    JsonFormat,
    Tool,
    ToolChoice,
)
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model

MAX_CACHE_MARKS = 4
JSON_TOOL = "json_response"

_CHOICES = {"auto": "auto", "required": "any", "named": "tool", "none": "none"}
# OpenAI's words for what is ``auto`` and ``standard_only`` here.
_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
# What counting takes; the rest says how to answer.
_COUNTED = frozenset(
    (
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
    )
)


def render_request(
    conversation: Conversation, model: Model, operation: str = "chat"
) -> Rendered:
    """Return the request for ``model``.

    Raises:
        BadRequest: It cannot be said in this dialect at all.
    """
    try:
        return _Rendering(conversation, model).rendered(operation)
    except RecursionError as error:
        raise BadRequest("a schema is nested too deeply", param="tools") from error


def render_embeddings_request(request: EmbeddingsRequest, model: Model) -> Rendered:
    """Refuse: Anthropic has no embeddings.

    Raises:
        BadRequest: Always.
    """
    raise BadRequest(
        "the model's provider (anthropic) has no embeddings",
        code="unsupported_operation",
    )


class _Rendering:
    """One request on its way out of the neutral model."""

    def __init__(self, conversation: Conversation, model: Model) -> None:
        self._conversation = conversation
        self._model = model
        self._rules: Rules = rules_of(model)
        self._losses = Losses()
        self._json_tool = ""
        self._format: dict[str, Any] | None = None
        self._asked_for_json = ""

    def rendered(self, operation: str) -> Rendered:
        conversation = self._conversation
        messages = render_messages(conversation, self._rules, self._losses)
        tools, choice = self._tools()
        if conversation.json_format is not None:
            choice = self._hold_to_json(conversation.json_format, tools, choice)
        if self._asked_for_json:
            messages.system.append({"type": "text", "text": self._asked_for_json})
        plan = self._plan(messages.turns, choice)
        body: dict[str, Any] = {
            "model": self._model.name,
            "max_tokens": plan.max_tokens,
            "system": messages.system,
            "messages": [turn.encoded() for turn in messages.turns],
            "tools": tools,
            "tool_choice": choice,
            "thinking": plan.config,
            "output_config": self._output_config(plan.effort),
            "stop_sequences": self._stop(),
            "metadata": {"user_id": conversation.user} if conversation.user else None,
            "service_tier": self._service_tier(),
            "stream": conversation.stream or None,
        }
        self._sample(body, plan)
        self._limit_marks([*tools, *messages.system, *_blocks_of(messages.turns)])
        return self._finished(body, plan, operation)

    def _finished(
        self, body: dict[str, Any], plan: thinking.Plan, operation: str
    ) -> Rendered:
        said = {
            name: value
            for name, value in body.items()
            if value not in (None, [], {})
            and (operation != "count_tokens" or name in _COUNTED)
        }
        return Rendered(
            body=msgspec.json.encode(said),
            json_tool=self._json_tool,
            approximated=frozenset(self._losses.approximated | plan.approximated),
            dropped=frozenset(self._losses.dropped | plan.dropped),
        )

    # Tools.

    def _tools(self) -> tuple[list[Block], Block | None]:
        conversation = self._conversation
        choice, wanted = conversation.tool_choice, conversation.tools
        if choice is not None and choice.mode == "named" and len(choice.names) > 1:
            # One of several can only be said by offering no others.
            choice = msgspec.structs.replace(choice, mode="required")
        if choice is not None and choice.names and choice.mode != "named":
            wanted = tuple(tool for tool in wanted if tool.name in choice.names)
        tools = [self._tool(tool) for tool in wanted]
        return tools, self._choice(choice) if tools else None

    def _tool(self, tool: Tool) -> Block:
        schema = dict(tool.schema or {"properties": {}})
        schema.setdefault("type", "object")
        block: Block = {"name": tool.name, "input_schema": schema}
        if tool.description:
            block["description"] = tool.description
        if tool.strict:
            fitted, same = schemas.fitted(schema)
            if self._rules.schemas and same:
                block |= {"input_schema": fitted, "strict": True}
            else:
                self._losses.dropped.add(Feature.TOOL_STRICT)
        if tool.cache is not None:
            block["cache_control"] = cache_control(tool.cache)
        return block

    def _choice(self, choice: ToolChoice | None) -> Block | None:
        alone = self._conversation.parallel_tool_calls is False
        if choice is None:
            if not alone:
                return None
            choice = ToolChoice(mode="auto")
        kind = _CHOICES[choice.mode]
        if kind in ("any", "tool") and not self._rules.forcing:
            self._losses.approximated.add(Feature.TOOL_CHOICE)
            kind = "auto"
        block: Block = {"type": kind}
        if kind == "tool":
            block["name"] = choice.names[0]
        if alone and kind != "none":
            block["disable_parallel_tool_use"] = True
        return block

    # Structured output.

    def _hold_to_json(
        self, wanted: JsonFormat, tools: list[Block], choice: Block | None
    ) -> Block | None:
        """Hold the answer to ``wanted``; return the tool choice that this leaves."""
        if wanted.schema is not None and self._rules.schemas:
            schema, same = schemas.fitted(wanted.schema)
            self._format = {"type": "json_schema", "schema": schema}
            if not same:
                self._losses.approximated.add(Feature.JSON_SCHEMA)
            return choice
        self._losses.approximated |= {Feature.JSON_SCHEMA, Feature.JSON_MODE}
        if choice is not None and choice["type"] in ("any", "tool"):
            # The answer is to be a call, and no JSON is wanted yet.
            return choice
        if not self._may_force(wanted):
            self._asked_for_json = _request_for_json(wanted)
            return choice
        only = not tools or (choice is not None and choice["type"] == "none")
        self._json_tool = _free_name(wanted.name or JSON_TOOL, tools)
        tools.append(_json_tool(self._json_tool, wanted))
        if only:
            name = self._json_tool
            return {"type": "tool", "name": name, "disable_parallel_tool_use": True}
        return {**(choice or {}), "type": "any"}

    def _may_force(self, wanted: JsonFormat) -> bool:
        if not self._rules.forcing:
            return False
        if wanted.schema is not None:
            return bool(wanted.schema.get("type", "object") == "object")
        reasoning = self._conversation.reasoning
        return reasoning is None or reasoning.effort == "none"

    def _output_config(self, effort: str | None) -> dict[str, Any]:
        config: dict[str, Any] = {"effort": effort, "format": self._format}
        return {name: value for name, value in config.items() if value is not None}

    # The rest.

    def _plan(self, turns: list[Turn], choice: Block | None) -> thinking.Plan:
        conversation = self._conversation
        given = thinking.Circumstances(
            max_tokens=conversation.max_tokens,
            output_limit=self._model.output_limit,
            forced=choice is not None and choice["type"] in ("any", "tool"),
            prefill=turns[-1].role == "assistant",
            sealed=_is_sealed(turns),
        )
        return thinking.plan(conversation.reasoning, self._rules, given)

    def _sample(self, body: dict[str, Any], plan: thinking.Plan) -> None:
        """Set the sampling parameters that go with the model and with thinking."""
        conversation, dropped = self._conversation, self._losses.dropped
        temperature, top_p = conversation.temperature, conversation.top_p
        top_k = conversation.top_k
        if temperature is not None and temperature > 1:
            self._losses.approximated.add(Feature.TEMPERATURE)
            temperature = 1.0
        no_sampling = plan.on or not self._rules.sampling
        if no_sampling and temperature not in (None, 1):
            dropped.add(Feature.TEMPERATURE)
        if no_sampling or (temperature == 1 and top_p is not None):
            temperature = None  # 1 is what it is without being said.
        both = temperature is not None and not self._rules.temperature_with_top_p
        if top_p is not None and (
            both or not self._rules.sampling or (plan.on and top_p < 0.95)
        ):
            dropped.add(Feature.TOP_P)
            top_p = None
        if top_k is not None and no_sampling:
            dropped.add(Feature.TOP_K)
            top_k = None
        body |= {"temperature": temperature, "top_p": top_p, "top_k": top_k}

    def _stop(self) -> list[str]:
        stop = [text for text in self._conversation.stop if text.strip()]
        if len(stop) < len(self._conversation.stop):
            self._losses.approximated.add(Feature.STOP)
        return stop

    def _service_tier(self) -> str | None:
        tier = self._conversation.service_tier
        if tier is None or tier in _TIERS:
            return _TIERS.get(tier or "")
        if tier == "priority":
            self._losses.approximated.add(Feature.SERVICE_TIER)
            return "auto"
        self._losses.dropped.add(Feature.SERVICE_TIER)
        return None

    def _limit_marks(self, blocks: list[Block]) -> None:
        marked = [block for block in blocks if "cache_control" in block]
        for block in marked[:-MAX_CACHE_MARKS]:
            del block["cache_control"]
            self._losses.approximated.add(Feature.CACHE_MARKS)


def _blocks_of(turns: list[Turn]) -> Iterable[Block]:
    for turn in turns:
        for block in turn.blocks:
            yield block
            content = block.get("content")
            if isinstance(content, list):
                yield from content


def _is_sealed(turns: list[Turn]) -> bool:
    """Whether the last turn of the assistant's, if it calls tools, thinks first."""
    last = next((turn for turn in reversed(turns) if turn.role == "assistant"), None)
    if last is None or all(block["type"] != "tool_use" for block in last.blocks):
        return True
    return last.blocks[0]["type"] in ("thinking", "redacted_thinking")


def _json_tool(name: str, wanted: JsonFormat) -> Block:
    schema = dict(wanted.schema or {})
    schema.setdefault("type", "object")
    return {
        "name": name,
        "description": wanted.description or "Gives the answer.",
        "input_schema": schema,
    }


def _free_name(name: str, tools: list[Block]) -> str:
    taken = {tool["name"] for tool in tools}
    while name in taken:
        name += "_"
    return name


def _request_for_json(wanted: JsonFormat) -> str:
    asked = "Answer with one JSON object and nothing else: no prose, no code fence."
    if wanted.schema is None:
        return asked
    schema = msgspec.json.encode(wanted.schema).decode()
    return (
        "Answer with one JSON value and nothing else: no prose, no code fence. "
        f"It must be valid against this JSON Schema: {schema}"
    )
