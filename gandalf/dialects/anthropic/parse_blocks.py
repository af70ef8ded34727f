"""From Anthropic's content blocks to the parts of a neutral message.

Source: the ``*BlockParam`` types of Anthropic's SDK. Seals of other providers that
travelled through a client's history come in wrapped (``gandalf.dialects.signatures``);
a thinking block that carries a Gemini signature of another part is none of its own but
belongs to the tool call after it or to the message, as ``render_answers`` put it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import msgspec

from gandalf.dialects import signatures
from gandalf.dialects.conversation import (
    CacheMark,
    Feature,
    Media,
    Message,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from gandalf.domain.errors import BadRequest

_T = TypeVar("_T")

NAME = "anthropic"
CARRIED = "gemini"
"""The dialect whose signatures stand on parts that have no place for one here."""
OF_CALL = "call:"
OF_TEXT = "text:"
"""How a carried signature begins, by what it belongs to."""


class Notes:
    """What a request uses, and what of it is lost in any other dialect."""

    def __init__(self) -> None:
        self.used: dict[Feature, str] = {}
        self.unknown: dict[str, None] = {}

    def use(self, feature: Feature, name: str) -> None:
        """Note that the request uses ``feature``, which it calls ``name``."""
        self.used.setdefault(feature, name)

    def lose(self, name: str) -> None:
        """Note that the field ``name`` has no place in the neutral model."""
        self.unknown[name] = None


class _CacheControl(msgspec.Struct):
    type: str = "ephemeral"
    ttl: str | None = None


class _Citations(msgspec.Struct):
    enabled: bool = False


class _Source(msgspec.Struct):
    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    content: str | list[msgspec.Raw] | None = None


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    source: _Source | str | None = None
    title: str | None = None
    context: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")
    tool_use_id: str | None = None
    content: str | list[msgspec.Raw] | None = None
    is_error: bool | None = None
    cache_control: _CacheControl | None = None
    citations: msgspec.Raw = msgspec.Raw(b"null")
    tool_name: str | None = None


_decode = msgspec.json.Decoder(_Block).decode
_decode_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_config = msgspec.json.Decoder(_Citations | None).decode
_decode_citations = msgspec.json.Decoder(list[dict[str, Any]] | None).decode

_COMMON = frozenset(("type", "cache_control"))
_KNOWN = {
    "text": _COMMON | {"text", "citations"},
    "image": _COMMON | {"source"},
    "document": _COMMON | {"source", "title", "citations"},
    "search_result": _COMMON | {"content", "title", "citations"},
    "thinking": _COMMON | {"thinking", "signature"},
    "redacted_thinking": _COMMON | {"data"},
    "tool_use": _COMMON | {"id", "name", "input", "caller"},
    "tool_result": _COMMON | {"tool_use_id", "content", "is_error"},
    "tool_reference": _COMMON | {"tool_name"},
}
_IN_MESSAGE = frozenset(_KNOWN) - {"tool_reference"}
_IN_SYSTEM = frozenset(("text",))
_IN_RESULT = frozenset(("text", "image", "document", "search_result", "tool_reference"))
_IN_DOCUMENT = frozenset(("text", "image"))
_REFUSED = frozenset(("tool_addition", "tool_removal"))
_NOTHING = frozenset((b"null", b"[]", b"{}"))


def cache_mark(ttl: str | None) -> CacheMark:
    """Return the mark that a ``cache_control`` with this ``ttl`` makes."""
    if ttl not in (None, "5m", "1h"):
        raise BadRequest(f"there is no ttl {ttl!r}", param="cache_control.ttl")
    return CacheMark(ttl=ttl)


class Blocks:
    """Parses the content of messages, and notes what it finds."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def message(self, role: str, content: str | list[msgspec.Raw]) -> Message:
        """Return the message that ``content`` makes."""
        allowed = _IN_SYSTEM if role == "system" else _IN_MESSAGE
        parts, signature = _with_signatures(self._parts(content, allowed))
        return Message(role=role, parts=tuple(parts), signature=signature)

    def _parts(
        self, content: str | list[msgspec.Raw], allowed: frozenset[str]
    ) -> list[Part]:
        """Return the parts that blocks of the ``allowed`` kinds make.

        What may hold blocks itself is allowed but once in each other: to look into
        blocks within blocks within blocks would take time without bounds.
        """
        if isinstance(content, str):
            return [Text(text=content)]
        parts: list[Part] = []
        for raw in content:
            block = _decode(raw)
            if block.type in allowed:
                self._note_unknown(block, raw)
                parts += self._CONVERT[block.type](self, block)
            elif block.type in _KNOWN:
                raise BadRequest(
                    f"a block of type {block.type!r} cannot stand where it does",
                    param="messages.content.type",
                )
            elif block.type in _REFUSED:
                # Claude Code looks for the name, and goes on without.
                raise BadRequest(
                    f"the model's provider has no {block.type}: declare the tools in"
                    " tools",
                    code="unsupported_parameter",
                    param="messages.content.type",
                )
            else:
                # What the provider's own tools did, and what is newer than we are.
                self._notes.use(Feature.SERVER_TOOLS, f"messages.content.{block.type}")
        return parts

    def _note_unknown(self, block: _Block, raw: msgspec.Raw) -> None:
        known = _KNOWN[block.type]
        for name, value in _decode_names(raw).items():
            if name not in known and bytes(value) not in _NOTHING:
                self._notes.lose(f"messages.content.{name}")

    def _cache(self, block: _Block) -> CacheMark | None:
        if block.cache_control is None:
            return None
        self._notes.use(Feature.CACHE_MARKS, "messages.content.cache_control")
        return cache_mark(block.cache_control.ttl)

    # One of these for each kind of block; it returns the parts that the block makes.

    def _text(self, block: _Block) -> list[Part]:
        citations = tuple(_decode_citations(block.citations) or ())
        if citations:
            self._notes.use(Feature.CITATIONS, "messages.content.citations")
        return [
            Text(
                text=_given(block.text, "text"),
                cache=self._cache(block),
                citations=citations,
            )
        ]

    def _image(self, block: _Block) -> list[Part]:
        return [self._media("image", _source_of(block), None, self._cache(block))]

    def _document(self, block: _Block) -> list[Part]:
        source = _source_of(block)
        self._note_citing(block)
        cache = self._cache(block)
        if source.type == "content":
            return self._made_of_blocks(source.content or "", block.title, cache)
        return [self._media("document", source, block.title, cache)]

    def _search_result(self, block: _Block) -> list[Part]:
        self._note_citing(block)
        return self._made_of_blocks(
            block.content or "", block.title, self._cache(block)
        )

    def _made_of_blocks(
        self,
        content: str | list[msgspec.Raw],
        title: str | None,
        cache: CacheMark | None,
    ) -> list[Part]:
        inner = self._parts(content, _IN_DOCUMENT)
        text = "\n".join(part.text for part in inner if isinstance(part, Text))
        images = [part for part in inner if isinstance(part, Media)]
        document = Media(
            kind="document",
            media_type="text/plain",
            text=text,
            name=title,
            cache=cache,
        )
        self._notes.use(Feature.DOCUMENT_DATA, "messages.content.source")
        return [document, *images]

    def _media(
        self, kind: str, source: _Source, title: str | None, cache: CacheMark | None
    ) -> Media:
        name = "messages.content.source"
        data = source.data
        if source.type == "file":
            self._notes.use(Feature.FILE_ID, f"{name}.file_id")
            return Media(
                kind=kind,
                file_id=_given(source.file_id, "source.file_id"),
                name=title,
                cache=cache,
            )
        if source.type == "url":
            feature = Feature.IMAGE_URL if kind == "image" else Feature.DOCUMENT_URL
            self._notes.use(feature, f"{name}.url")
            url = _given(source.url, "source.url")
            return Media(kind=kind, url=url, name=title, cache=cache)
        if source.type not in ("base64", "text") or data is None:
            raise BadRequest(
                f"there is no {kind} source {source.type!r}", param=f"{name}.type"
            )
        feature = Feature.IMAGE_DATA if kind == "image" else Feature.DOCUMENT_DATA
        self._notes.use(feature, f"{name}.data")
        return Media(
            kind=kind,
            media_type=source.media_type,
            data=data if source.type == "base64" else None,
            text=data if source.type == "text" else None,
            name=title,
            cache=cache,
        )

    def _note_citing(self, block: _Block) -> None:
        config = _decode_config(block.citations)
        if config is not None and config.enabled:
            self._notes.use(Feature.CITATIONS, "messages.content.citations")

    def _thinking(self, block: _Block) -> list[Part]:
        self._notes.use(Feature.THINKING_HISTORY, "messages.content.thinking")
        text = block.thinking or ""
        if not block.signature:
            return [Thinking(text=text)]
        origin, seal = signatures.unwrap(block.signature, NAME)
        return [Thinking(text=text, signature=seal, origin=origin)]

    def _redacted(self, block: _Block) -> list[Part]:
        self._notes.use(Feature.THINKING_HISTORY, "messages.content.redacted_thinking")
        origin, data = signatures.unwrap(_given(block.data, "data"), NAME)
        return [Thinking(redacted=data, origin=origin)]

    def _tool_use(self, block: _Block) -> list[Part]:
        arguments = bytes(block.input).decode()
        if not arguments.startswith("{"):
            raise BadRequest(
                "the input of a tool_use is no object", param="messages.content.input"
            )
        return [
            ToolCall(
                id=_given(block.id, "id"),
                name=_given(block.name, "name"),
                arguments=arguments,
                cache=self._cache(block),
            )
        ]

    def _tool_result(self, block: _Block) -> list[Part]:
        if block.is_error:
            self._notes.use(Feature.TOOL_RESULT_ERROR, "messages.content.is_error")
        inner = self._parts(block.content or [], _IN_RESULT)
        parts = tuple(part for part in inner if isinstance(part, Text | Media))
        if any(isinstance(part, Media) for part in parts):
            self._notes.use(Feature.TOOL_RESULT_PARTS, "messages.content.content")
        return [
            ToolResult(
                call_id=_given(block.tool_use_id, "tool_use_id"),
                parts=parts,
                is_error=bool(block.is_error),
                cache=self._cache(block),
            )
        ]

    def _tool_reference(self, block: _Block) -> list[Part]:
        # The tool is among the request's: elsewhere none is loaded late.
        name = _given(block.tool_name, "tool_name")
        self._notes.use(Feature.TOOL_REFERENCES, "messages.content.tool_reference")
        return [Text(text=f"The tool {name} is available.", cache=self._cache(block))]

    _CONVERT: ClassVar[dict[str, Callable[[Blocks, _Block], list[Part]]]] = {
        "text": _text,
        "image": _image,
        "document": _document,
        "search_result": _search_result,
        "thinking": _thinking,
        "redacted_thinking": _redacted,
        "tool_use": _tool_use,
        "tool_result": _tool_result,
        "tool_reference": _tool_reference,
    }


def _source_of(block: _Block) -> _Source:
    # The source of a search result, unlike others, is a text.
    return _given(block.source if isinstance(block.source, _Source) else None, "source")


def _given(value: _T | None, name: str) -> _T:
    if value is None:
        raise BadRequest(
            f"a content block has no {name}", param=f"messages.content.{name}"
        )
    return value


def _with_signatures(parts: list[Part]) -> tuple[list[Part], str | None]:
    """Return ``parts`` with carried signatures in their place, and the message's."""
    kept: list[Part] = []
    of_text = of_call = None
    for part in parts:
        carried = _carried(part)
        if carried.startswith(OF_TEXT):
            of_text = carried.removeprefix(OF_TEXT)
        elif carried.startswith(OF_CALL):
            of_call = carried.removeprefix(OF_CALL)
        elif isinstance(part, ToolCall) and of_call is not None:
            kept.append(msgspec.structs.replace(part, signature=of_call))
            of_call = None
        else:
            kept.append(part)
    return kept, of_text


def _carried(part: Part) -> str:
    if isinstance(part, Thinking) and part.origin == CARRIED:
        return part.signature or ""
    return ""
