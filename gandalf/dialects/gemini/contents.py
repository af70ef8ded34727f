"""Messages, written as contents.

Source: https://ai.google.dev/gemini-api/docs/function-calling, .../thought-signatures
and .../file-input-methods. Contents alternate between ``user`` and ``model``; the
responses to a content's function calls come together, in the order of the calls. A
file is inline, in the Files API or Google's storage, or at an ``https`` URL that the
provider itself fetches.
"""

from __future__ import annotations

import base64
import contextlib
import mimetypes
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import (
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
from gandalf.dialects.gemini.history import FILES_API
from gandalf.dialects.gemini.signing import NOT_OURS, OWN, own_of
from gandalf.dialects.gemini.thinking import is_third
from gandalf.domain.errors import BadRequest

Json = dict[str, Any]

_MEDIA_TYPES = {
    "image": "image/jpeg",
    "document": "application/pdf",
    "audio": "audio/mpeg",
    "video": "video/mp4",
}
_URL_FEATURES = {"image": Feature.IMAGE_URL, "document": Feature.DOCUMENT_URL}
_DATA_FEATURES = {"image": Feature.IMAGE_DATA, "document": Feature.DOCUMENT_DATA}
# A function's answer that would be read as one of these is wrapped once more.
_MEANINGFUL = frozenset({"output", "result", "error"})

_INLINE_URL = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64,")

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Writer:
    """Writes messages in their order, and notes what is lost.

    Args:
        model: Who is to read them.
        source: The dialect that they were written in.
    """

    def __init__(self, model: str, source: str) -> None:
        self.dropped: set[Feature] = set()
        self.approximated: set[Feature] = set()
        self._third = is_third(model)
        self._source = source
        self._names: dict[str, str] = {}
        self._order: dict[str, int] = {}

    def contents(self, messages: tuple[Message, ...]) -> list[Json]:
        """Return the contents; neighbours with one role become one content."""
        contents: list[Json] = []
        for message in messages:
            role = "model" if message.role == "assistant" else "user"
            parts = self._parts_of(message)
            if not parts:
                continue
            if contents and contents[-1]["role"] == role:
                contents[-1]["parts"] += parts
            else:
                contents.append({"role": role, "parts": parts})
        for content in contents:
            self._put_in_order(content)
        return contents

    def instruction(self, messages: tuple[Message, ...]) -> list[Json]:
        """Return the parts of the system instruction that ``messages`` are."""
        return [part for message in messages for part in self._parts_of(message)]

    def _parts_of(self, message: Message) -> list[Json]:
        parts = [written for part in message.parts for written in self._part(part)]
        if signature := own_of(message.signature):
            _sign(parts, signature)
        return parts

    def _part(self, part: Part) -> Iterator[Json]:
        if isinstance(part, Text):
            if part.text:
                yield {"text": part.text}
        elif isinstance(part, Refusal):
            yield {"text": part.text}
        elif isinstance(part, Media):
            yield self._media(part)
        elif isinstance(part, Thinking):
            yield from self._thinking(part)
        elif isinstance(part, ToolCall):
            yield self._call(part)
        else:
            yield from self._result(part)

    def _thinking(self, part: Thinking) -> Iterator[Json]:
        if part.origin == OWN and (signature := own_of(part.signature)):
            yield {"text": part.text, "thought": True, "thoughtSignature": signature}
        elif self._source == OWN and not part.origin:
            yield {"text": part.text, "thought": True}
        else:
            # Another provider's thinking, or nobody knows whose.
            self.dropped.add(Feature.THINKING_HISTORY)

    def _call(self, call: ToolCall) -> Json:
        self._names[call.id] = call.name
        self._order[call.id] = len(self._order)
        arguments = call.arguments.strip() or "{}"
        try:
            _decode_object(arguments)
        except UNREADABLE as error:
            raise BadRequest(
                f"the arguments of the call {call.id!r} are not a JSON object",
                param="messages",
            ) from error
        written: Json = {
            "functionCall": {
                "id": call.id,
                "name": call.name,
                "args": msgspec.Raw(arguments.encode()),
            }
        }
        if signature := own_of(call.signature):
            written["thoughtSignature"] = signature
        return written

    def _result(self, result: ToolResult) -> Iterator[Json]:
        name = result.name or self._names.get(result.call_id)
        if name is None:
            raise BadRequest(
                f"there is no call {result.call_id!r} that a tool result could answer",
                param="messages",
            )
        response: Json = {
            "id": result.call_id,
            "name": name,
            "response": _response_of(result),
        }
        media = [self._media(part) for part in result.parts if isinstance(part, Media)]
        if media and self._third:
            response["parts"] = media
        yield {"functionResponse": response}
        if media and not self._third:
            self.approximated.add(Feature.TOOL_RESULT_PARTS)
            yield from media

    def _media(self, media: Media) -> Json:
        if media.text is not None:
            data = base64.b64encode(media.text.encode()).decode()
            return {"inlineData": {"mimeType": "text/plain", "data": data}}
        if media.data is not None:
            if media.media_type is None:
                self._guess(_DATA_FEATURES, media)
            kind = media.media_type or _MEDIA_TYPES[media.kind]
            return {"inlineData": {"mimeType": kind, "data": media.data}}
        inline = _INLINE_URL.match(media.url or "")
        if inline is not None:
            kind = inline[1] or _MEDIA_TYPES[media.kind]
            data = media.url[inline.end() :] if media.url else ""
            return {"inlineData": {"mimeType": kind, "data": data}}
        return {"fileData": self._file(media)}

    def _file(self, media: Media) -> Json:
        uri = media.file_id or media.url or ""
        if not uri.startswith(("https://", "gs://", "files/")):
            raise BadRequest(
                f"the model's provider ({OWN}) takes files inline, by https and from "
                f"Google's storage, not {uri.partition(',')[0][:100]!r}",
                code="unsupported_parameter",
                param="messages",
            )
        if uri.startswith("files/"):
            uri = f"{FILES_API}v1beta/{uri}"
        media_type = media.media_type or mimetypes.guess_type(uri.partition("?")[0])[0]
        if media_type is None and not uri.startswith(FILES_API):
            self._guess(_URL_FEATURES, media)
            media_type = _MEDIA_TYPES[media.kind]
        file = {"fileUri": uri}
        return file if media_type is None else {**file, "mimeType": media_type}

    def _guess(self, features: dict[str, Feature], media: Media) -> None:
        kinds = {"audio": Feature.AUDIO_INPUT, "video": Feature.VIDEO_INPUT}
        self.approximated.add((features | kinds)[media.kind])

    def _put_in_order(self, content: Json) -> None:
        parts: list[Json] = content["parts"]
        if content["role"] == "user":
            # In front of all else, as a turn that follows calls must begin with them.
            parts.sort(key=self._place)
        elif self._third:
            first = next((part for part in parts if "functionCall" in part), {})
            if first:
                first.setdefault("thoughtSignature", NOT_OURS)

    def _place(self, part: Json) -> int:
        response = part.get("functionResponse")
        if response is None:
            return len(self._order)
        return self._order.get(response["id"], len(self._order) - 1)


def _sign(parts: list[Json], signature: str) -> None:
    """Put the signature of a message's text where it was: on its last text."""
    for part in reversed(parts):
        if "text" in part and "thought" not in part:
            part["thoughtSignature"] = signature
            return
    parts.append({"text": "", "thoughtSignature": signature})


def _response_of(result: ToolResult) -> Any:  # noqa: ANN401
    text = "".join(part.text for part in result.parts if isinstance(part, Text))
    if result.is_error:
        return {"error": text}
    if text.lstrip().startswith("{") and not _may_refer(text):
        try:
            members = _decode_object(text)
        except UNREADABLE:
            return {"result": text}
        if len(members) == 1 and not _MEANINGFUL.isdisjoint(members):
            return {"result": msgspec.Raw(text.encode())}
        return msgspec.Raw(text.encode())
    return {"result": text}


def _may_refer(text: str) -> bool:
    """Whether a result has a member ``$ref``, which Gemini takes for a part's name.

    https://ai.google.dev/gemini-api/docs/function-calling, multimodal responses.
    """
    if "\\u00" in text:
        # The name may be written with escapes.
        with contextlib.suppress(*UNREADABLE):
            text = msgspec.json.encode(msgspec.json.decode(text)).decode()
    return '"$ref"' in text
