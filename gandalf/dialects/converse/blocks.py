"""The content of messages, in blocks.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/
API_runtime_ContentBlock.html. Beyond what it says, Bedrock refuses blank text, two
documents of the same name, and a document in a message without text.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import msgspec

from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import (
    CacheMark,
    Feature,
    Media,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from gandalf.dialects.converse.losses import Losses
from gandalf.dialects.converse.models import Kind
from gandalf.domain.errors import BadRequest

Block = dict[str, Any]

NAME = "converse"
# The maker of signatures. Only Claudes sign, and Anthropic's own API and its models
# here know each other's signatures: https://platform.claude.com/docs/en/
# build-with-claude/extended-thinking, "Signatures are compatible across platforms".
SIGNER = "anthropic"
# What stands for a tool's output if there was none: a result must hold something.
NO_OUTPUT = "(no output)"

_FORMATS = {
    "image": {
        "image/png": "png",
        "image/jpeg": "jpeg",
        "image/jpg": "jpeg",
        "image/gif": "gif",
        "image/webp": "webp",
    },
    "document": {
        "application/pdf": "pdf",
        "text/csv": "csv",
        "application/msword": "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": (
            "docx"
        ),
        "application/vnd.ms-excel": "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
        "text/html": "html",
        "text/plain": "txt",
        "text/markdown": "md",
    },
    "video": {
        "video/x-matroska": "mkv",
        "video/quicktime": "mov",
        "video/mp4": "mp4",
        "video/webm": "webm",
        "video/x-flv": "flv",
        "video/mpeg": "mpeg",
        "video/x-ms-wmv": "wmv",
        "video/3gpp": "three_gp",
    },
    "audio": {
        "audio/mp3": "mp3",
        "audio/mpeg": "mp3",
        "audio/opus": "opus",
        "audio/wav": "wav",
        "audio/x-wav": "wav",
        "audio/aac": "aac",
        "audio/flac": "flac",
        "audio/mp4": "mp4",
        "audio/ogg": "ogg",
        "audio/webm": "webm",
        "audio/pcm": "pcm",
    },
}
_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_.:-]")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9\s()\[\]-]|_")
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Blocks:
    """Renders the contents of one request's messages."""

    def __init__(self, kind: Kind, losses: Losses) -> None:
        self._kind = kind
        self._losses = losses
        self._document_names: set[str] = set()

    def content(self, message: Message) -> list[Block]:
        """Return the blocks of ``message``; none if there is nothing to say."""
        blocks: list[Block] = []
        if message.signature is not None:
            self._losses.drop(Feature.THINKING_HISTORY)
        for part in message.parts:
            block = self._block(part)
            if block is not None:
                blocks.append(block)
            if blocks and (mark := getattr(part, "cache", None)) is not None:
                blocks += self.cache_point(mark)
        return self._with_text(blocks, message)

    def system(self, message: Message) -> list[Block]:
        """Return the blocks of a system message."""
        blocks: list[Block] = []
        for part in message.parts:
            if not isinstance(part, Text):
                raise BadRequest("a system message can hold only text here")
            if part.text.strip():
                blocks.append({"text": part.text})
            if blocks and part.cache is not None:
                blocks += self.cache_point(part.cache)
        return blocks

    def cache_point(self, mark: CacheMark) -> list[Block]:
        """Return the block that says ``mark``, if the model may have it."""
        if not self._kind.caches:
            self._losses.drop(Feature.CACHE_MARKS)
            return []
        return [cache_point(mark)]

    def _block(self, part: Part) -> Block | None:
        match part:
            case Text():
                return {"text": part.text} if part.text.strip() else None
            case Media():
                return self._media(part)
            case Thinking():
                return self._thinking(part)
            case ToolCall():
                return self._tool_call(part)
            case ToolResult():
                return self._tool_result(part)
            case Refusal():
                return {"text": part.text} if part.text.strip() else None

    def _media(self, media: Media) -> Block:
        if media.kind == "document":
            return {"document": self._document(media)}
        return {
            media.kind: {
                "format": _format_of(media),
                "source": {"bytes": _bytes_of(media)},
            }
        }

    def _document(self, media: Media) -> Block:
        if media.text is not None:
            form, data = "txt", base64.b64encode(media.text.encode()).decode()
        else:
            form, data = _format_of(media), _bytes_of(media)
        name = self._document_name(media.name)
        return {"format": form, "name": name, "source": {"bytes": data}}

    def _document_name(self, wanted: str | None) -> str:
        plain = _NOT_IN_NAMES.sub(" ", wanted or "document")
        name = base = " ".join(plain.split())[:190] or "document"
        number = 1
        while name in self._document_names:
            number += 1
            name = f"{base} {number}"
        self._document_names.add(name)
        return name

    def _with_text(self, blocks: list[Block], message: Message) -> list[Block]:
        """Return ``blocks`` with a text if there are documents and has none."""
        documents = [block["document"] for block in blocks if "document" in block]
        if not documents or any("text" in block for block in blocks):
            return blocks
        for part in message.parts:
            if isinstance(part, Media) and part.kind == "document":
                by_url = part.text is None and part.data is None
                self._losses.approximate(
                    Feature.DOCUMENT_URL if by_url else Feature.DOCUMENT_DATA
                )
        names = ", ".join(document["name"] for document in documents)
        return [*blocks, {"text": names}]

    def _thinking(self, part: Thinking) -> Block | None:
        content: Block | None = None
        if part.redacted is not None:
            if part.origin == NAME and self._kind.hides:
                content = {"redactedContent": part.redacted}
        elif part.signature and part.origin == SIGNER and self._kind.seals:
            text = {"text": part.text, "signature": part.signature}
            content = {"reasoningText": text}
        if content is None:
            # Without its seal, or with another maker's, it would be refused.
            self._losses.drop(Feature.THINKING_HISTORY)
            return None
        return {"reasoningContent": content}

    def _tool_call(self, call: ToolCall) -> Block:
        if call.signature is not None:
            self._losses.drop(Feature.THINKING_HISTORY)
        return {
            "toolUse": {
                "toolUseId": tool_use_id(call.id),
                "name": call.name,
                "input": arguments_of(call),
            }
        }

    def _tool_result(self, result: ToolResult) -> Block:
        if any(isinstance(p, Media) and p.kind == "audio" for p in result.parts):
            raise BadRequest(
                "the model's provider takes no audio as the result of a tool",
                code="unsupported_media",
                param="messages",
            )
        rendered = map(self._block, result.parts)
        content = [block for block in rendered if block is not None]
        said: Block = {
            "toolUseId": tool_use_id(result.call_id),
            "content": content or [{"text": NO_OUTPUT}],
        }
        if result.is_error and self._kind.marks_tool_errors:
            said["status"] = "error"
        elif result.is_error:
            self._losses.drop(Feature.TOOL_RESULT_ERROR)
        return {"toolResult": said}


def cache_point(mark: CacheMark) -> Block:
    """Return the block that says ``mark``. Five minutes are what it means anyway."""
    point = {"type": "default"}
    if mark.ttl not in (None, "5m"):
        point["ttl"] = str(mark.ttl)
    return {"cachePoint": point}


def tool_use_id(call_id: str) -> str:
    """Return ``call_id`` as Bedrock allows it; of equal ids, the same one."""
    if _ID.fullmatch(call_id):
        return call_id
    digest = hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{_NOT_IN_IDS.sub('_', call_id)[:47]}_{digest}"


def arguments_of(call: ToolCall) -> msgspec.Raw:
    """Return the arguments of ``call``, as they are.

    Raises:
        BadRequest: They are no JSON object.
    """
    text = call.arguments.strip() or "{}"
    try:
        _OBJECT.decode(text)
    except UNREADABLE as error:
        raise BadRequest(
            f"the arguments of the call of {call.name!r} are not a JSON object",
            param="messages",
        ) from error
    return msgspec.Raw(text.encode())


def _format_of(media: Media) -> str:
    media_type = (media.media_type or "").partition(";")[0].strip().lower()
    form = _FORMATS.get(media.kind, {}).get(media_type)
    if form is None:
        raise BadRequest(
            f"the model's provider takes no {media.kind} of the type "
            f"{media.media_type or 'unknown'}",
            code="unsupported_media",
            param="messages",
        )
    return form


def _bytes_of(media: Media) -> str:
    if media.data is None:
        raise BadRequest(
            f"the model's provider takes a {media.kind} only with its data",
            code="unsupported_media",
            param="messages",
        )
    return media.data
