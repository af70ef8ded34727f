"""From a chat or a generation of Ollama's to a conversation.

Source: https://docs.ollama.com/openapi.yaml, ``api/types.go`` of Ollama for what it
does not show, https://docs.ollama.com/modelfile for the options.

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
from gandalf.domain.errors import BadRequest

NAME = "ollama"


class _Options(msgspec.Struct):
    temperature: float | None = None
    top_p: float | None = None
    top_k: wire.Whole | None = None
    min_p: float | None = None
    seed: wire.Whole | None = None
    num_predict: wire.Whole | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    stop: str | list[str] | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[wire.ToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class _ToolFunction(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    function: _ToolFunction
    type: str | None = None


class _Request(msgspec.Struct):
    model: str
    options: _Options | None = None
    stream: bool | None = None
    format: msgspec.Raw = wire.ABSENT
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class _ChatRequest(_Request):
    messages: list[_Message] | None = None
    tools: list[_Tool] | None = None


class _GenerateRequest(_Request):
    prompt: str | None = None
    system: str | None = None
    images: list[str] | None = None
    suffix: str | None = None
    raw: bool | None = None
    context: list[int] | None = None


class _Names(msgspec.Struct):
    """The names of what a request has, for those that we do not know."""

    options: dict[str, msgspec.Raw] | None = None
    messages: list[dict[str, msgspec.Raw]] | None = None
    tools: list[dict[str, msgspec.Raw]] | None = None


_decode_chat = msgspec.json.Decoder(_ChatRequest).decode
_decode_generate = msgspec.json.Decoder(_GenerateRequest).decode
_decode_names = msgspec.json.Decoder(_Names).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_schema = msgspec.json.Decoder(dict[str, Any]).decode


def parse_request(call: BaseCall) -> Conversation:
    """Return the conversation that ``call``, a chat or a generation, wants to go on.

    Raises:
        BadRequest: The body is not valid, or only Ollama could do what it asks for.
    """
    with refusing_nonsense():
        if call.operation == "generate":
            request = _decode_generate(call.body)
            return _conversation(call, request, _Prompt(request))
        chat = _decode_chat(call.body)
        return _conversation(call, chat, _Messages(chat.messages or ()), chat.tools)


def _conversation(
    call: BaseCall,
    request: _Request,
    said: _Prompt | _Messages,
    tools: Sequence[_Tool] | None = None,
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
        unknown=tuple(_unknown(call.body, request)),
        **_sampling(request, used),
    )


# Messages.


class _Prompt:
    """The one prompt of a generation, as messages."""

    def __init__(self, request: _GenerateRequest) -> None:
        _refuse_what_is_no_chat(request)
        self.messages: list[Message] = []
        self.used: dict[Feature, str] = {}
        if request.system:
            self.used[Feature.SYSTEM] = "system"
            self.messages.append(_message("system", [Text(text=request.system)]))
        parts: list[Part] = list(map(image_of, request.images or ()))
        if parts:
            self.used[Feature.IMAGE_DATA] = "images"
            _refuse_unknown_types(request.images or (), "images")
        if request.prompt:
            parts.insert(0, Text(text=request.prompt))
            self.messages.append(_message("user", parts))
        else:
            self.messages.clear()


def _refuse_what_is_no_chat(request: _GenerateRequest) -> None:
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

    def __init__(self, messages: Sequence[_Message]) -> None:
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
        if self.messages and self.messages[-1].role == "assistant":
            self.used[Feature.PREFILL] = "messages"

    def _add(self, place: int, message: _Message) -> None:
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

    def _parts(self, place: int, message: _Message) -> list[Part]:
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

    def _images(self, place: int, message: _Message) -> list[Part]:
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

    def _result(self, place: int, message: _Message) -> ToolResult:
        self._begun = True
        call = self._answered(message)
        images = self._images(place, message)
        if images:
            self.used[Feature.TOOL_RESULT_PARTS] = "messages.images"
        text = [Text(text=message.content)] if message.content else []
        return ToolResult(
            call_id=message.tool_call_id or (call.id if call else self._fresh_id()),
            name=message.tool_name or (call.name if call else None),
            parts=(*text, *images),  # type: ignore[arg-type] # images are Media
        )

    def _answered(self, message: _Message) -> ToolCall | None:
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


def _tool(tool: _Tool) -> Tool:
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
    return JsonFormat(schema=_decode_schema(raw))


def _reasoning(think: bool | str | None, used: dict[Feature, str]) -> Reasoning | None:
    if think is None or think == "":
        return None
    used[Feature.THINKING] = "think"
    if isinstance(think, str):
        return Reasoning(effort=think, visible=True)
    # How much, only the model knows.
    return Reasoning(adaptive=True, visible=True) if think else Reasoning(effort="none")


# Options that are a number here and there.
_NUMBERS = (
    ("temperature", Feature.TEMPERATURE),
    ("top_p", Feature.TOP_P),
    ("min_p", Feature.MIN_P),
    ("presence_penalty", Feature.PRESENCE_PENALTY),
    ("frequency_penalty", Feature.FREQUENCY_PENALTY),
    ("repeat_penalty", Feature.REPEAT_PENALTY),
)
# Options that are whole numbers, and what each begins with to mean something.
_WHOLE_NUMBERS = (
    ("top_k", "top_k", Feature.TOP_K, 1),
    ("seed", "seed", Feature.SEED, 0),
    ("num_predict", "max_tokens", Feature.MAX_TOKENS, 1),
)


def _sampling(request: _Request, used: dict[Feature, str]) -> dict[str, Any]:
    """Return the fields of a conversation that say how to pick tokens."""
    options = request.options or _Options()
    fields: dict[str, Any] = {}
    for name, feature in _NUMBERS:
        if (value := getattr(options, name)) is not None:
            fields[name] = value
            used[feature] = f"options.{name}"
    for name, field, feature, least in _WHOLE_NUMBERS:
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


# What has no place.

_MESSAGE_NAMES = frozenset(_Message.__struct_fields__)
_TOOL_NAMES = frozenset(_Tool.__struct_fields__)
_FUNCTION_NAMES = frozenset(_ToolFunction.__struct_fields__)
# Values that say what is so anyway.
_NOTHING = (b"null", b"false", b'""', b"[]")
_DEFAULTS = {
    "truncate": (b"null", b"true"),
    "shift": (b"null", b"true"),
    # A seed at random, and no limit.
    "seed": (b"null", b"-1"),
    "num_predict": (b"null", b"-1"),
}


def _unknown(body: bytes, request: _Request) -> list[str]:
    """Return the names of what is in ``body`` and has no place in a conversation."""
    own = frozenset(request.__struct_fields__)
    found = [
        name
        for name, value in _decode_members(body).items()
        if name not in own and bytes(value) not in _DEFAULTS.get(name, _NOTHING)
    ]
    names = _decode_names(body)
    tools = names.tools or ()
    functions = [_decode_members(tool["function"]) for tool in tools]
    found += _unknown_options(names.options or {}, request.options or _Options())
    found += _beyond("messages", names.messages or (), _MESSAGE_NAMES)
    found += _beyond("tools", tools, _TOOL_NAMES)
    found += _beyond("tools.function", functions, _FUNCTION_NAMES)
    return list(dict.fromkeys(found))


def _unknown_options(there: dict[str, msgspec.Raw], options: _Options) -> list[str]:
    unknown = []
    for name, value in there.items():
        if bytes(value) in _DEFAULTS.get(name, (b"null",)):
            continue
        if name not in options.__struct_fields__ or _means_otherwise(name, options):
            unknown.append(f"options.{name}")
    return unknown


def _means_otherwise(name: str, options: _Options) -> bool:
    """Whether a number means what only Ollama knows: to fill the context, say."""
    least = {name: least for name, _, _, least in _WHOLE_NUMBERS}.get(name)
    return least is not None and getattr(options, name) < least


def _beyond(
    field: str, objects: Iterable[dict[str, msgspec.Raw]], own: frozenset[str]
) -> list[str]:
    return [
        f"{field}.{name}"
        for each in objects
        for name, value in each.items()
        if name not in own and bytes(value) != b"null"
    ]
