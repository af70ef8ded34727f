"""From a chat or a generation of Ollama's to a conversation.

Calls of tools have no ids in what the official clients send back: they are numbered as
they come, and a result belongs to the first call of its tool that has none yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gandalf.dialects.base import Call as BaseCall
from gandalf.dialects.conversation import (
    Conversation,
    Feature,
    JsonFormat,
    Media,
    Message,
    Part,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from gandalf.dialects.ollama import wire
from gandalf.dialects.ollama.calls import refusing_nonsense
from gandalf.dialects.ollama.images import image_of
from gandalf.dialects.ollama.requests import (
    WHOLE_NUMBERS,
    GenerateRequest,
    MessageView,
    Options,
    Request,
    ToolView,
    decode_chat,
    decode_generate,
    decode_schema,
    unknown_in,
)
from gandalf.domain.errors import BadRequest

NAME = "ollama"


def parse_request(call: BaseCall) -> Conversation:
    """Return the conversation that ``call``, a chat or a generation, wants to go on.

    Raises:
        BadRequest: The body is not valid, or only Ollama could do what it asks for.
    """
    with refusing_nonsense():
        if call.operation == "generate":
            request = decode_generate(call.body)
            return _conversation(call, request, _Prompt(request))
        chat = decode_chat(call.body)
        return _conversation(call, chat, _Messages(chat.messages or ()), chat.tools)


def _conversation(
    call: BaseCall,
    request: Request,
    said: _Prompt | _Messages,
    tools: Sequence[ToolView] | None = None,
) -> Conversation:
    if not said.messages:
        raise BadRequest(
            "there is nothing to answer, and the model's provider loads no models",
            code="unsupported_operation",
        )
    used = said.used
    if tools:
        used[Feature.TOOLS] = "tools"
    return Conversation(
        source=NAME,
        messages=tuple(said.messages),
        tools=tuple(map(_tool, tools or ())),
        json_format=_json_format(request.format, used),
        reasoning=_reasoning(request.think, used),
        stream=call.stream,
        used=used,
        unknown=tuple(unknown_in(call.body, request)),
        **_sampling(request, used),
    )


# Messages.


class _Prompt:
    """The one prompt of a generation, as messages."""

    def __init__(self, request: GenerateRequest) -> None:
        _refuse_what_is_no_chat(request)
        self.messages: list[Message] = []
        self.used: dict[Feature, str] = {}
        if not request.prompt:
            return
        if request.system:
            self.used[Feature.SYSTEM] = "system"
            self.messages.append(_message("system", [Text(text=request.system)]))
        images = request.images or ()
        if images:
            self.used[Feature.IMAGE_DATA] = "images"
            _refuse_unknown_types(images, "images")
        parts: list[Part] = [Text(text=request.prompt), *map(image_of, images)]
        self.messages.append(_message("user", parts))


def _refuse_what_is_no_chat(request: GenerateRequest) -> None:
    """Refuse what would change the answer's very nature if it were left out."""
    for name, there in (
        ("suffix", bool(request.suffix)),
        ("raw", bool(request.raw)),
        ("context", bool(request.context)),
    ):
        if there:
            raise BadRequest(
                f"{name} cannot be told to any provider but Ollama",
                code="unsupported_parameter",
                param=name,
            )


class _Messages:
    """The messages of a chat, each result of a tool with the id of its call."""

    def __init__(self, messages: Sequence[MessageView]) -> None:
        self.messages: list[Message] = []
        self.used: dict[Feature, str] = {}
        self._open: list[ToolCall] = []
        """Calls without a result yet."""
        self._count = 0
        self._results: list[Part] = []
        """Of the turn under way."""
        self._begun = False
        """The conversation has: whatever is no system message was there."""
        for place, message in enumerate(messages):
            self._add(place, message)
        self._close_results()
        if messages and _is_prefill(messages[-1]):
            self.used[Feature.PREFILL] = "messages"

    def _add(self, place: int, message: MessageView) -> None:
        role = message.role.lower()
        if role == "tool":
            self._results.append(self._result(place, message))
            return
        self._close_results()
        if role in ("system", "developer"):
            self._note_system(role)
        elif role in ("user", "assistant"):
            self._begun = True
        else:
            raise BadRequest(
                f"there is no role {message.role!r}", param=f"messages[{place}].role"
            )
        self.messages.append(_message(role, self._parts(place, message)))

    def _note_system(self, role: str) -> None:
        if role == "developer":
            self.used[Feature.DEVELOPER] = "messages.role"
        else:
            self.used[Feature.SYSTEM] = "messages.role"
        if self._begun:
            self.used[Feature.LATE_SYSTEM] = "messages.role"

    def _parts(self, place: int, message: MessageView) -> list[Part]:
        parts: list[Part] = []
        if message.thinking:
            self.used[Feature.THINKING_HISTORY] = "messages.thinking"
            parts.append(Thinking(text=message.thinking))
        if message.content:
            parts.append(Text(text=message.content))
        parts += self._images(place, message)
        for call in message.tool_calls or ():
            parts.append(self._call(call))
        return parts

    def _images(self, place: int, message: MessageView) -> list[Media]:
        if not message.images:
            return []
        self.used[Feature.IMAGE_DATA] = "messages.images"
        _refuse_unknown_types(message.images, f"messages[{place}].images")
        return list(map(image_of, message.images))

    def _call(self, call: wire.ToolCall) -> ToolCall:
        made = ToolCall(
            id=call.id or f"call_{self._count}",
            name=call.function.name,
            arguments=wire.arguments_text(call.function.arguments),
        )
        self._count += 1
        self._open.append(made)
        return made

    def _result(self, place: int, message: MessageView) -> ToolResult:
        self._begun = True
        call = self._answered(message)
        images = self._images(place, message)
        if images:
            self.used[Feature.TOOL_RESULT_PARTS] = "messages.images"
        text = [Text(text=message.content)] if message.content else []
        return ToolResult(
            call_id=message.tool_call_id or (call.id if call else self._fresh_id()),
            name=message.tool_name or (call.name if call else None),
            parts=(*text, *images),
        )

    def _answered(self, message: MessageView) -> ToolCall | None:
        """Return the call that ``message`` is the result of; it has one then."""
        for call in self._open:
            if message.tool_call_id:
                fits = call.id == message.tool_call_id
            else:
                fits = message.tool_name in (None, "", call.name)
            if fits:
                self._open.remove(call)
                return call
        return None

    def _fresh_id(self) -> str:
        self._count += 1
        return f"call_{self._count - 1}"

    def _close_results(self) -> None:
        if self._results:
            self.messages.append(_message("user", self._results))
            self._results = []


def _is_prefill(message: MessageView) -> bool:
    return message.role.lower() == "assistant" and not message.tool_calls


def _message(role: str, parts: Iterable[Part]) -> Message:
    return Message(role=role, parts=tuple(parts))


def _refuse_unknown_types(images: Sequence[str], param: str) -> None:
    """Refuse images that no other provider would take: each wants to know a type."""
    for place, image in enumerate(images):
        if image_of(image).media_type is None:
            raise BadRequest(
                "the image is no PNG, JPEG, GIF or WEBP in base64",
                param=f"{param}[{place}]",
            )


# Tools and wishes.


def _tool(tool: ToolView) -> Tool:
    function = tool.function
    return Tool(
        name=function.name,
        description=function.description,
        schema=function.parameters,
    )


def _json_format(raw: msgspec.Raw, used: dict[Feature, str]) -> JsonFormat | None:
    if wire.is_empty(raw):
        return None
    if bytes(raw) == b'"json"':
        used[Feature.JSON_MODE] = "format"
        return JsonFormat()
    if not bytes(raw).startswith(b"{"):
        raise BadRequest("format is neither json nor a JSON schema", param="format")
    used[Feature.JSON_SCHEMA] = "format"
    return JsonFormat(schema=decode_schema(raw))


def _reasoning(think: bool | str | None, used: dict[Feature, str]) -> Reasoning | None:
    if think is None or think == "":
        return None
    used[Feature.THINKING] = "think"
    if isinstance(think, str):
        return Reasoning(effort=think, visible=True)
    # How much, only the model knows.
    return Reasoning(adaptive=True, visible=True) if think else Reasoning(effort="none")


# Options that are a number here and there, and the number that asks for nothing.
_NUMBERS = (
    ("temperature", Feature.TEMPERATURE, None),
    ("top_p", Feature.TOP_P, None),
    ("min_p", Feature.MIN_P, None),
    ("presence_penalty", Feature.PRESENCE_PENALTY, 0),
    ("frequency_penalty", Feature.FREQUENCY_PENALTY, 0),
    ("repeat_penalty", Feature.REPEAT_PENALTY, 1),
)


def _sampling(request: Request, used: dict[Feature, str]) -> dict[str, Any]:
    """Return the fields of a conversation that say how to pick tokens."""
    options = request.options or Options()
    fields: dict[str, Any] = {}
    for name, feature, idle in _NUMBERS:
        if (value := getattr(options, name)) is not None:
            fields[name] = value
            if value != idle:
                used[feature] = f"options.{name}"
    for name, field, feature, least in WHOLE_NUMBERS:
        value = getattr(options, name)
        if value is not None and value >= least:
            fields[field] = int(value)
            used[feature] = f"options.{name}"
    if stop := options.stop:
        fields["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
        used[Feature.STOP] = "options.stop"
    if request.logprobs:
        used[Feature.LOGPROBS] = "logprobs"
        fields["logprobs"] = True
        fields["top_logprobs"] = request.top_logprobs
    return fields
