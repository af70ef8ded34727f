"""Tools, which of them to call, and JSON that comes as a call.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/
API_runtime_ToolConfiguration.html. There is no choice ``none``, and a conversation
with calls in it must have tools: without any the request is refused. JSON comes by the
model's own structured output, where it has that and there is a schema; else as a forced
call; else, where nothing can be forced, because the system prompt asks for it.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from gandalf.dialects.conversation import (
    Conversation,
    Feature,
    JsonFormat,
    Tool,
    ToolCall,
    ToolChoice,
)
from gandalf.dialects.converse.blocks import Block, cache_point
from gandalf.dialects.converse.losses import Losses
from gandalf.dialects.converse.models import Kind
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_ANYTHING: dict[str, Any] = {"type": "object"}


class Tools(NamedTuple):
    """What a request says of tools."""

    config: Block | None
    json_tool: str = ""
    """As ``Rendered.json_tool``."""

    @property
    def forced(self) -> bool:
        """Whether the model must call one."""
        return self.config is not None and "toolChoice" in self.config


def tools_of(
    conversation: Conversation, model: Model, kind: Kind, losses: Losses
) -> Tools:
    """Return the tools of ``conversation``, and the one that its JSON needs."""
    called = _called(conversation)
    tools = list(_offered(conversation, called, losses))
    chosen = _choice(conversation.tool_choice, kind, losses) if tools else None
    json_tool = ""
    wanted = conversation.json_format
    if wanted is not None and needs_tool(wanted, model, kind):
        losses.approximate(_json_feature(wanted))
        # Who must call a tool of the client's gives no JSON of its own this time.
        if chosen is None:
            extra = _json_tool(wanted, {tool.name for tool in tools})
            json_tool = extra.name
            free = tools and not _is_none(conversation.tool_choice)
            chosen = {"any": {}} if free else {"tool": {"name": json_tool}}
            tools.append(extra)
    if not tools:
        tools = [Tool(name=name, schema=_ANYTHING) for name in called]
    if not tools:
        return Tools(None)
    specs = _specs(tools, kind, losses, strict=holds_schemas(model, kind))
    config: Block = {"tools": specs}
    if chosen is not None:
        config["toolChoice"] = chosen
    return Tools(config, json_tool)


def holds_schemas(model: Model, kind: Kind) -> bool:
    """Whether ``model`` is known to hold its answer and its calls to a schema."""
    if kind.claude is not None:
        return kind.claude.schemas
    return model.structured_output is True


def is_held_to_schema(wanted: JsonFormat, model: Model, kind: Kind) -> bool:
    """Whether there is a schema, and ``model`` itself holds its answer to it."""
    return wanted.schema is not None and holds_schemas(model, kind)


def needs_tool(wanted: JsonFormat, model: Model, kind: Kind) -> bool:
    """Whether the JSON is to come as a call."""
    return kind.forces and not is_held_to_schema(wanted, model, kind)


def plea_for(wanted: JsonFormat, model: Model, kind: Kind, losses: Losses) -> str:
    """Return what to ask for if nothing holds the model to its JSON; "" if it is."""
    if kind.forces or is_held_to_schema(wanted, model, kind):
        return ""
    losses.approximate(_json_feature(wanted))
    plea = "Answer with a JSON object and nothing else."
    if wanted.schema is not None:
        schema = encoded(wanted.schema).decode()
        plea += f" It must match this JSON Schema: {schema}"
    return plea


def encoded(value: Block) -> bytes:
    """Return ``value`` in JSON. Raises BadRequest if it is nested too deeply."""
    try:
        return msgspec.json.encode(value)
    except RecursionError as error:
        raise BadRequest("a schema is nested too deeply", param="tools") from error


def _called(conversation: Conversation) -> list[str]:
    """Return the names of the tools that were called already."""
    calls = [
        part.name
        for message in conversation.messages
        for part in message.parts
        if isinstance(part, ToolCall)
    ]
    return list(dict.fromkeys(calls))


def _offered(
    conversation: Conversation, called: list[str], losses: Losses
) -> tuple[Tool, ...]:
    tools, choice = conversation.tools, conversation.tool_choice
    if choice is None or not tools:
        return tools
    if choice.mode == "none":
        # The nearest to "call none" is to offer none, but calls already made need
        # their tools.
        losses.approximate(Feature.TOOL_CHOICE)
        return tools if called else ()
    if choice.names and (choice.mode != "named" or len(choice.names) > 1):
        losses.approximate(Feature.TOOL_CHOICE)
        return tuple(tool for tool in tools if tool.name in choice.names)
    return tools


def _choice(choice: ToolChoice | None, kind: Kind, losses: Losses) -> Block | None:
    if choice is None or choice.mode in ("auto", "none"):
        return None
    if not kind.forces:
        losses.approximate(Feature.TOOL_CHOICE)
        return None
    if choice.mode == "named" and len(choice.names) == 1:
        return {"tool": {"name": choice.names[0]}}
    return {"any": {}}


def _is_none(choice: ToolChoice | None) -> bool:
    return choice is not None and choice.mode == "none"


def _json_tool(wanted: JsonFormat, taken: set[str]) -> Tool:
    schema = wanted.schema or _ANYTHING
    if schema.get("type", "object") != "object":
        raise BadRequest(
            "this model's answer can only be held to the schema of an object",
            code="unsupported_parameter",
        )
    name = _NOT_IN_NAMES.sub("_", wanted.name or "json_answer")[:60]
    while name in taken:
        name += "_"
    return Tool(
        name=name,
        description=wanted.description or "Gives the answer.",
        schema=schema,
    )


def _json_feature(wanted: JsonFormat) -> Feature:
    return Feature.JSON_MODE if wanted.schema is None else Feature.JSON_SCHEMA


def _specs(
    tools: list[Tool], kind: Kind, losses: Losses, *, strict: bool
) -> list[Block]:
    specs: list[Block] = []
    for tool in tools:
        spec: Block = {"name": tool.name}
        if tool.description and tool.description.strip():
            spec["description"] = tool.description
        spec["inputSchema"] = {"json": tool.schema or _ANYTHING}
        if tool.strict and strict:
            spec["strict"] = True
        elif tool.strict:
            losses.drop(Feature.TOOL_STRICT)
        specs.append({"toolSpec": spec})
        if tool.cache is not None and kind.caches_tools:
            specs.append(cache_point(tool.cache))
        elif tool.cache is not None:
            losses.drop(Feature.CACHE_MARKS)
    return specs
