"""From a request of Anthropic's to the neutral conversation.

Source: https://platform.claude.com/docs/en/api/messages/create and the ``*Param`` types
of Anthropic's SDK. What is decoded here is what is needed; ``input`` of a tool call
stays the text it was.

Ways of saying things that the neutral model does not have:
- ``cache_control`` at the top marks the last block of the request.
- A document made of content blocks becomes its text, and its images after it. A search
  result becomes a document. Both lose nothing that a model reads but the source's name.
- ``between_tools`` turns thinking off but for notes between tool calls: it is off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gandalf.dialects.anthropic.parse_blocks import Blocks, Notes, cache_mark
from gandalf.dialects.base import UNREADABLE, Call
from gandalf.dialects.conversation import (
    Conversation,
    Feature,
    JsonFormat,
    Message,
    Reasoning,
    Tool,
    ToolChoice,
)
from gandalf.dialects.refusals import refusal
from gandalf.domain.errors import BadRequest


class _CacheControl(msgspec.Struct):
    type: str = "ephemeral"
    ttl: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[msgspec.Raw]


class _Tool(msgspec.Struct):
    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None
    cache_control: _CacheControl | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Thinking(msgspec.Struct):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class _Format(msgspec.Struct):
    type: str
    schema: dict[str, Any] | None = None


class _OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: _Format | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Request(msgspec.Struct):
    messages: list[_Message]
    model: str = ""
    system: str | list[msgspec.Raw] | None = None
    max_tokens: int | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: _Choice | None = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None
    output_format: _Format | None = None
    """What ``output_config.format`` was called while it was tried out."""
    metadata: _Metadata | None = None
    service_tier: str | None = None
    cache_control: _CacheControl | None = None


_decode = msgspec.json.Decoder(_Request).decode
_decode_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_tool = msgspec.json.Decoder(_Tool).decode

_KNOWN = frozenset(_Request.__struct_fields__)
_KNOWN_OF_TOOL = frozenset(_Tool.__struct_fields__)
# Members of members, whose unknown neighbours are lost like those at the top.
_KNOWN_WITHIN = {
    "thinking": frozenset(_Thinking.__struct_fields__),
    "output_config": frozenset(_OutputConfig.__struct_fields__),
    "metadata": frozenset(_Metadata.__struct_fields__),
    "tool_choice": frozenset(_Choice.__struct_fields__),
}
_NOTHING = frozenset((b"null", b"[]", b"{}"))

_SCALARS = {
    "max_tokens": Feature.MAX_TOKENS,
    "temperature": Feature.TEMPERATURE,
    "top_p": Feature.TOP_P,
    "top_k": Feature.TOP_K,
    "stop_sequences": Feature.STOP,
    "service_tier": Feature.SERVICE_TIER,
}
_CHOICES = {"auto": "auto", "any": "required", "tool": "named", "none": "none"}
_VISIBLE = {"summarized": True, "omitted": False}


def parse_request(call: Call) -> Conversation:
    """Return the conversation that ``call`` wants to go on.

    Raises:
        BadRequest: The body is not a valid request.
    """
    try:
        return _Parsing(call.body).conversation()
    except UNREADABLE as error:
        raise refusal(error) from error


class _Parsing:
    """One request on its way into the neutral model."""

    def __init__(self, body: bytes) -> None:
        self._request = _decode(body)
        self._notes = Notes()
        self._blocks = Blocks(self._notes)
        self._note_unknown(_decode_names(body))

    def conversation(self) -> Conversation:
        request, notes = self._request, self._notes
        if not request.messages:
            raise BadRequest("messages has no message", param="messages")
        self._note_scalars()
        choice = request.tool_choice
        parallel = choice.disable_parallel_tool_use if choice is not None else None
        if parallel:
            notes.use(
                Feature.PARALLEL_TOOL_CALLS, "tool_choice.disable_parallel_tool_use"
            )
        return Conversation(
            source="anthropic",
            messages=self._messages(),
            tools=self._tools(),
            tool_choice=self._tool_choice(),
            parallel_tool_calls=None if parallel is None else not parallel,
            json_format=self._json_format(),
            reasoning=self._reasoning(),
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            stop=tuple(request.stop_sequences or ()),
            user=request.metadata.user_id if request.metadata else None,
            service_tier=request.service_tier,
            stream=bool(request.stream),
            used=notes.used,
            unknown=tuple(notes.unknown),
        )

    def _note_unknown(self, names: dict[str, msgspec.Raw]) -> None:
        for name, value in names.items():
            if bytes(value) in _NOTHING:
                continue
            if name not in _KNOWN:
                self._notes.lose(name)
            elif name in _KNOWN_WITHIN:
                for inner, raw in _decode_names(value).items():
                    if inner not in _KNOWN_WITHIN[name] and bytes(raw) not in _NOTHING:
                        self._notes.lose(f"{name}.{inner}")

    def _note_scalars(self) -> None:
        for name, feature in _SCALARS.items():
            if getattr(self._request, name) not in (None, []):
                self._notes.use(feature, name)
        if self._request.metadata is not None and self._request.metadata.user_id:
            self._notes.use(Feature.USER, "metadata.user_id")

    # Messages.

    def _messages(self) -> tuple[Message, ...]:
        messages = self._system()
        begun = False
        for sent in self._request.messages:
            if sent.role not in ("user", "assistant", "system"):
                raise BadRequest(
                    f"there is no role {sent.role!r}", param="messages.role"
                )
            if sent.role == "system" and begun:
                self._notes.use(Feature.LATE_SYSTEM, "messages.role")
            elif sent.role == "system":
                self._notes.use(Feature.SYSTEM, "system")
            begun = begun or sent.role != "system"
            messages.append(self._blocks.message(sent.role, sent.content))
        if self._request.messages[-1].role == "assistant":
            self._notes.use(Feature.PREFILL, "messages")
        if self._request.cache_control is not None:
            self._mark_last(messages, self._request.cache_control)
        return tuple(messages)

    def _system(self) -> list[Message]:
        if not self._request.system:
            return []
        self._notes.use(Feature.SYSTEM, "system")
        return [self._blocks.message("system", self._request.system)]

    def _mark_last(self, messages: list[Message], control: _CacheControl) -> None:
        self._notes.use(Feature.CACHE_MARKS, "cache_control")
        last = messages[-1]
        for place in reversed(range(len(last.parts))):
            part = last.parts[place]
            if "cache" not in part.__struct_fields__:
                continue
            if getattr(part, "cache", None) is None:
                marked = msgspec.structs.replace(part, cache=cache_mark(control.ttl))
                parts = (*last.parts[:place], marked, *last.parts[place + 1 :])
                messages[-1] = msgspec.structs.replace(last, parts=parts)
            return

    # Tools and wishes.

    def _tools(self) -> tuple[Tool, ...]:
        tools = []
        for raw in self._request.tools or ():
            sent = _decode_tool(raw)
            if sent.type not in (None, "custom"):
                self._notes.use(Feature.SERVER_TOOLS, "tools.type")
                continue
            if not sent.name:
                raise BadRequest("a tool has no name", param="tools.name")
            self._notes.use(Feature.TOOLS, "tools")
            self._note_tool(sent, raw)
            tools.append(
                Tool(
                    name=sent.name,
                    description=sent.description,
                    schema=sent.input_schema,
                    strict=sent.strict,
                    cache=cache_mark(sent.cache_control.ttl)
                    if sent.cache_control
                    else None,
                )
            )
        return tuple(tools)

    def _note_tool(self, sent: _Tool, raw: msgspec.Raw) -> None:
        if sent.strict:
            self._notes.use(Feature.TOOL_STRICT, "tools.strict")
        if sent.cache_control is not None:
            self._notes.use(Feature.CACHE_MARKS, "tools.cache_control")
        for name, value in _decode_names(raw).items():
            if name == "defer_loading":
                if bytes(value) == b"true":
                    self._notes.use(Feature.TOOL_REFERENCES, "tools.defer_loading")
            elif name not in _KNOWN_OF_TOOL and bytes(value) not in _NOTHING:
                self._notes.lose(f"tools.{name}")

    def _tool_choice(self) -> ToolChoice | None:
        choice = self._request.tool_choice
        if choice is None:
            return None
        mode = _CHOICES.get(choice.type)
        if mode is None:
            raise BadRequest(
                f"there is no tool_choice {choice.type!r}", param="tool_choice.type"
            )
        if mode == "named" and not choice.name:
            raise BadRequest("tool_choice has no name", param="tool_choice.name")
        if mode != "auto":
            self._notes.use(Feature.TOOL_CHOICE, "tool_choice")
        return ToolChoice(mode=mode, names=(choice.name,) if choice.name else ())

    def _json_format(self) -> JsonFormat | None:
        config = self._request.output_config
        wanted, name = (config.format if config else None), "output_config.format"
        if wanted is None:
            wanted, name = self._request.output_format, "output_format"
        if wanted is None:
            return None
        if wanted.type != "json_schema" or wanted.schema is None:
            raise BadRequest(f"{name} is not a json_schema", param=name)
        self._notes.use(Feature.JSON_SCHEMA, name)
        return JsonFormat(schema=wanted.schema)

    def _reasoning(self) -> Reasoning | None:
        config, thinking = self._request.output_config, self._request.thinking
        effort = config.effort if config is not None else None
        if effort is not None:
            self._notes.use(Feature.THINKING, "output_config.effort")
        if thinking is None:
            return None if effort is None else Reasoning(effort=effort)
        make = _THINKING.get(thinking.type)
        if make is None:
            raise BadRequest(
                f"there is no thinking {thinking.type!r}", param="thinking.type"
            )
        self._notes.used.pop(Feature.THINKING, None)
        self._notes.use(Feature.THINKING, "thinking")
        reasoning = make(thinking, effort)
        if effort is not None and reasoning.effort != effort:
            self._notes.lose("output_config.effort")
        return reasoning


def _on(thinking: _Thinking, effort: str | None) -> Reasoning:
    if thinking.budget_tokens is None:
        raise BadRequest(
            "thinking that is enabled needs budget_tokens",
            param="thinking.budget_tokens",
        )
    return Reasoning(
        effort=effort,
        budget_tokens=thinking.budget_tokens,
        visible=_VISIBLE.get(thinking.display or ""),
    )


def _adaptive(thinking: _Thinking, effort: str | None) -> Reasoning:
    return Reasoning(
        effort=effort, adaptive=True, visible=_VISIBLE.get(thinking.display or "")
    )


def _off(thinking: _Thinking, effort: str | None) -> Reasoning:
    return Reasoning(effort="none")


_THINKING: dict[str, Callable[[_Thinking, str | None], Reasoning]] = {
    "enabled": _on,
    "adaptive": _adaptive,
    "disabled": _off,
    "between_tools": _off,
}
