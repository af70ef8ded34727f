"""A chat and a generation as they are written, and what of them has no place elsewhere.

Source: https://docs.ollama.com/openapi.yaml, ``api/types.go`` of Ollama for what it
does not show, https://docs.ollama.com/modelfile for the options.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gandalf.dialects.conversation import Feature
from gandalf.dialects.ollama import wire


class Options(msgspec.Struct):
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


class MessageView(msgspec.Struct):
    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[wire.ToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class ToolFunction(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ToolView(msgspec.Struct):
    function: ToolFunction
    type: str | None = None


class Request(msgspec.Struct):
    model: str
    options: Options | None = None
    stream: bool | None = None
    format: msgspec.Raw = wire.ABSENT
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class ChatRequest(Request):
    messages: list[MessageView] | None = None
    tools: list[ToolView] | None = None


class GenerateRequest(Request):
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


decode_chat = msgspec.json.Decoder(ChatRequest).decode
decode_generate = msgspec.json.Decoder(GenerateRequest).decode
_decode_names = msgspec.json.Decoder(_Names).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
decode_schema = msgspec.json.Decoder(dict[str, Any]).decode


# Options that are whole numbers, and what each begins with to mean something.
WHOLE_NUMBERS = (
    ("top_k", "top_k", Feature.TOP_K, 1),
    ("seed", "seed", Feature.SEED, 0),
    ("num_predict", "max_tokens", Feature.MAX_TOKENS, 1),
)


# What has no place.

_MESSAGE_NAMES = frozenset(MessageView.__struct_fields__)
_TOOL_NAMES = frozenset(ToolView.__struct_fields__)
_FUNCTION_NAMES = frozenset(ToolFunction.__struct_fields__)
# Values that say what is so anyway.
_NOTHING = (b"null", b"false", b'""', b"[]")
_DEFAULTS = {
    "truncate": (b"null", b"true"),
    "shift": (b"null", b"true"),
    # A seed at random, and no limit.
    "seed": (b"null", b"-1"),
    "num_predict": (b"null", b"-1"),
}


def unknown_in(body: bytes, request: Request) -> list[str]:
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
    found += _unknown_options(names.options or {}, request.options or Options())
    found += _beyond("messages", names.messages or (), _MESSAGE_NAMES)
    found += _beyond("tools", tools, _TOOL_NAMES)
    found += _beyond("tools.function", functions, _FUNCTION_NAMES)
    return list(dict.fromkeys(found))


def _unknown_options(there: dict[str, msgspec.Raw], options: Options) -> list[str]:
    unknown = []
    for name, value in there.items():
        if bytes(value) in _DEFAULTS.get(name, (b"null",)):
            continue
        if name not in options.__struct_fields__ or _means_otherwise(name, options):
            unknown.append(f"options.{name}")
    return unknown


def _means_otherwise(name: str, options: Options) -> bool:
    """Whether a number means what only Ollama knows: to fill the context, say."""
    least = {name: least for name, _, _, least in WHOLE_NUMBERS}.get(name)
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
