"""From the parts of a neutral message to Anthropic's content blocks.

Source: the ``*BlockParam`` types of Anthropic's SDK; limits of images and documents at
https://platform.claude.com/docs/en/build-with-claude/vision and .../pdf-support. Rules:
- Text that is empty or blank is refused by the API, so it is left out; a tool result
  may be empty.
- Thinking goes back only if an Anthropic model sealed it. Anything else is no thinking
  of Claude's, and refused.
- ``input`` of a tool call is an object. What a model wrote that is none is wrapped.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import msgspec

from gandalf.dialects.conversation import (
    CacheMark,
    Feature,
    Media,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from gandalf.domain.errors import BadRequest

NAME = "anthropic"

Block = dict[str, Any]

_IMAGES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
_ALIASES = {"image/jpg": "image/jpeg"}
# How the base64 of each kind of image begins.
_BEGINNINGS = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}
_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^,;]+)*;base64,", re.IGNORECASE)
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_-]")

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Losses:
    """What a request gets less of than it asked for."""

    def __init__(self) -> None:
        self.approximated: set[Feature] = set()
        self.dropped: set[Feature] = set()


class Blocks:
    """Renders parts, and notes what of them is lost.

    Args:
        source: The dialect that the parts were parsed from.
        losses: Where to note it.
    """

    def __init__(self, source: str, losses: Losses) -> None:
        self._own = source == NAME
        self._losses = losses

    def blocks(self, role: str, parts: tuple[Part, ...]) -> list[Block]:
        """Return the content of a message of ``role``."""
        blocks = [self._block(role, part) for part in parts]
        return [block for block in blocks if block is not None]

    def _block(self, role: str, part: Part) -> Block | None:
        match part:
            case Text():
                return self._text(part)
            case Media():
                if role != "user":
                    raise BadRequest(
                        f"a message of the {role} cannot hold an {part.kind}",
                        param="messages",
                    )
                return _marked(media_block(part), part.cache)
            case Thinking():
                return self._thinking(part)
            case ToolCall():
                return _marked(self._tool_use(part), part.cache)
            case ToolResult():
                return _marked(self._tool_result(part), part.cache)
            case Refusal():
                return self._text(Text(text=part.text))

    def _text(self, part: Text) -> Block | None:
        if not part.text.strip():
            if part.cache is not None:
                self._losses.approximated.add(Feature.CACHE_MARKS)
            return None
        block: Block = {"type": "text", "text": part.text}
        if part.citations and self._own:
            block["citations"] = list(part.citations)
        return _marked(block, part.cache)

    def _thinking(self, part: Thinking) -> Block | None:
        if part.origin != NAME:
            self._losses.dropped.add(Feature.THINKING_HISTORY)
            return None
        if part.redacted is not None:
            return {"type": "redacted_thinking", "data": part.redacted}
        return {
            "type": "thinking",
            "thinking": part.text,
            "signature": part.signature or "",
        }

    def _tool_use(self, part: ToolCall) -> Block:
        if part.signature is not None:
            self._losses.dropped.add(Feature.THINKING_HISTORY)
        return {
            "type": "tool_use",
            "id": part.id,
            "name": part.name,
            "input": self._input(part.arguments),
        }

    def _input(self, arguments: str) -> msgspec.Raw | dict[str, str]:
        text = arguments.strip() or "{}"
        raw = text.encode()
        try:
            _decode_object(raw)
        except (msgspec.MsgspecError, RecursionError):
            self._losses.approximated.add(Feature.TOOLS)
            return {"arguments": arguments}
        return msgspec.Raw(raw)

    def _tool_result(self, part: ToolResult) -> Block:
        block: Block = {"type": "tool_result", "tool_use_id": part.call_id}
        match part.parts:
            case ():
                pass
            case (Text(text=text, cache=None),):
                block["content"] = text
            case _:
                block["content"] = self.blocks("user", part.parts)
        if part.is_error:
            block["is_error"] = True
        return block


def media_block(part: Media) -> Block:
    """Return the block of an image or a document.

    Raises:
        BadRequest: It is of a kind that the API does not take.
    """
    if part.kind == "image":
        return {"type": "image", "source": _image_source(part)}
    if part.kind != "document":
        raise BadRequest(
            f"the model's provider (anthropic) takes no {part.kind}",
            code="unsupported_parameter",
            param="messages",
        )
    block: Block = {"type": "document", "source": _document_source(part)}
    if part.name:
        block["title"] = part.name
    return block


def clean_id(sent: str) -> str:
    """Return an id as the API takes it: letters, digits, ``_`` and ``-``."""
    return _NOT_IN_AN_ID.sub("_", sent) or "_"


def cache_control(mark: CacheMark) -> Block:
    """Return what ``mark`` is in a block."""
    control: Block = {"type": "ephemeral"}
    if mark.ttl is not None:
        control["ttl"] = mark.ttl
    return control


def _marked(block: Block, mark: CacheMark | None) -> Block:
    if mark is not None:
        block["cache_control"] = cache_control(mark)
    return block


def _image_source(part: Media) -> Block:
    if part.file_id is not None:
        return {"type": "file", "file_id": part.file_id}
    media_type, data = _data_of(part)
    if data is None:
        return {"type": "url", "url": _url_of(part)}
    media_type = _ALIASES.get(media_type or "", media_type) or _sniffed(data)
    if media_type not in _IMAGES:
        raise BadRequest(
            f"the model's provider (anthropic) takes no image of type {media_type}",
            code="unsupported_media_type",
            param="messages",
        )
    return {"type": "base64", "media_type": media_type, "data": data}


def _document_source(part: Media) -> Block:
    if part.file_id is not None:
        return {"type": "file", "file_id": part.file_id}
    if part.text is not None:
        return {"type": "text", "media_type": "text/plain", "data": part.text}
    media_type, data = _data_of(part)
    if data is None:
        return {"type": "url", "url": _url_of(part)}
    if media_type is not None and media_type.startswith("text/"):
        return {"type": "text", "media_type": "text/plain", "data": _decoded(data)}
    if media_type not in (None, "application/pdf"):
        raise BadRequest(
            f"the model's provider (anthropic) takes no document of type {media_type}",
            code="unsupported_media_type",
            param="messages",
        )
    return {"type": "base64", "media_type": "application/pdf", "data": data}


def _data_of(part: Media) -> tuple[str | None, str | None]:
    """Return the media type and the base64 of ``part``, also if they are in its URL."""
    if part.data is None and part.url is not None:
        found = _DATA_URL.match(part.url)
        if found is not None:
            return found[1].lower() or part.media_type, part.url[found.end() :]
    return part.media_type, part.data


def _url_of(part: Media) -> str:
    if part.url is None:
        raise BadRequest(
            f"the {part.kind} has neither data nor a URL", param="messages"
        )
    return part.url


def _sniffed(data: str) -> str | None:
    kinds = (kind for start, kind in _BEGINNINGS.items() if data.startswith(start))
    return next(kinds, None)


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data).decode()
    except (binascii.Error, ValueError) as error:
        raise BadRequest(
            "a text document is not UTF-8 in base64", param="messages"
        ) from error
