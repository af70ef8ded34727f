"""The messages of a conversation, as Chat Completions has them.

Rules: a single text is a string, for not every compatible server takes parts;
results of calls come before all else that the user says with them, for they must
follow their calls; what a tool's message cannot hold follows in one of the user's.
Where vendors differ, ``Compat`` decides.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import string
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

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
from gandalf.domain.compat import Compat
from gandalf.domain.errors import BadRequest

MAX_ID_LENGTH = 40
"""Of a call; OpenAI refuses longer ones, and others make them."""
_ALPHANUMERIC = string.ascii_letters + string.digits
_ID_LENGTH = 9
_NINE = re.compile("[a-zA-Z0-9]{9}")
_AUDIO_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav"}
_FEATURES = {
    "image": Feature.IMAGE_DATA,
    "document": Feature.DOCUMENT_DATA,
    "audio": Feature.AUDIO_INPUT,
    "video": Feature.VIDEO_INPUT,
}

Json = dict[str, Any]


class MessageRenderer:
    """Renders messages, and remembers what it could not say."""

    def __init__(self, compat: Compat) -> None:
        self._compat = compat
        self.approximated: set[Feature] = set()
        self.dropped: set[Feature] = set()

    def render(self, messages: Iterable[Message]) -> list[Json]:
        """Return ``messages``. Raises BadRequest if there is no way to say them."""
        rendered = [json for message in messages for json in self._message(message)]
        if not self._compat.user_after_tool:
            rendered = self._with_answers(rendered)
        last = rendered[-1] if rendered else {}
        if self._compat.prefill_field != "none" and last.get("role") == "assistant":
            last[self._compat.prefill_field] = True
        return rendered

    def _with_answers(self, rendered: list[Json]) -> list[Json]:
        """Return the messages with the assistant's between a tool's and a user's."""
        apart: list[Json] = []
        for message in rendered:
            if apart and apart[-1]["role"] == "tool" and message["role"] == "user":
                self.approximated.add(Feature.TOOLS)
                apart.append({"role": "assistant", "content": "OK."})
            apart.append(message)
        return apart

    def _message(self, message: Message) -> Iterator[Json]:
        if message.role == "assistant":
            yield from self._assistant(message)
            return
        rest: list[Json] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                yield self._result(part)
                rest += self._media_of(part)
        rest += self._content(message.parts)
        if rest or not any(isinstance(p, ToolResult) for p in message.parts):
            yield {
                "role": self._role(message.role),
                "content": self._plain(rest),
                **_name(message),
            }

    def _role(self, role: str) -> str:
        if role != "developer" or self._compat.developer_role:
            return role
        self.approximated.add(Feature.DEVELOPER)
        return "system"

    def _plain(self, content: list[Json], separator: str = "\n") -> str | list[Json]:
        """Return ``content`` as a string if it is, or must be, no more than that."""
        if not content:
            return ""
        if self._compat.text_content == "string":
            texts = [part.get("text", part.get("refusal")) for part in content]
            if None not in texts:
                return separator.join(map(str, texts))
        if len(content) == 1 and content[0]["type"] == "text":
            text: str = content[0]["text"]
            return text
        return content

    def _assistant(self, message: Message) -> Iterator[Json]:
        content = self._said(message.parts)
        calls = [
            self._call(part) for part in message.parts if isinstance(part, ToolCall)
        ]
        if not content and not calls:
            # Nothing but thinking, which stays where it was thought.
            return
        said = {"tool_calls": calls} if calls else {}
        text = self._plain(content, "") if content else None
        thought = self._thought(message.parts)
        yield {
            "role": "assistant",
            "content": text,
            **thought,
            **_name(message),
            **said,
        }

    def _thought(self, parts: Sequence[Part]) -> Json:
        """Return the member that hands earlier thinking back, where there is one."""
        name = self._compat.reasoning_history
        if name == "none":
            return {}
        thoughts = [part for part in parts if isinstance(part, Thinking)]
        if any(part.redacted for part in thoughts):
            self.dropped.add(Feature.THINKING_HISTORY)
        elif any(part.signature for part in thoughts):
            # The text is handed back, the proof that it is genuine is not.
            self.approximated.add(Feature.THINKING_HISTORY)
        text = "".join(part.text for part in thoughts)
        return {name: text} if text or self._compat.reasoning_required else {}

    def _call(self, call: ToolCall) -> Json:
        function = {"name": call.name, "arguments": call.arguments or "{}"}
        return {"id": self._id(call.id), "type": "function", "function": function}

    def _id(self, call_id: str) -> str:
        """Return ``call_id``, or the same other one every time if it is refused."""
        if self._compat.tool_call_ids == "alphanumeric9":
            return call_id if _NINE.fullmatch(call_id) else _nine_of(call_id)
        if len(call_id) <= MAX_ID_LENGTH:
            return call_id
        return f"call_{hashlib.sha256(call_id.encode()).hexdigest()[:32]}"

    def _said(self, parts: Sequence[Part]) -> list[Json]:
        said = []
        for part in parts:
            if isinstance(part, Text):
                said.append(_text(part.text))
            elif isinstance(part, Refusal):
                said.append({"type": "refusal", "refusal": part.text})
            elif isinstance(part, Media):
                self.dropped.add(_FEATURES[part.kind])
        return said

    # Results of calls.

    def _result(self, result: ToolResult) -> Json:
        texts = [_text(part.text) for part in result.parts if isinstance(part, Text)]
        if result.is_error and not _says_error(texts):
            texts.insert(0, _text("Error:"))
        return {
            "role": "tool",
            "tool_call_id": self._id(result.call_id),
            "content": self._plain(texts),
        }

    def _media_of(self, result: ToolResult) -> list[Json]:
        media = self._content(p for p in result.parts if isinstance(p, Media))
        if not media:
            return []
        self.approximated.add(Feature.TOOL_RESULT_PARTS)
        return [_text(f"From the result of {self._id(result.call_id)}:"), *media]

    # Content.

    def _content(self, parts: Iterable[Part]) -> list[Json]:
        content = []
        for part in parts:
            if isinstance(part, Text):
                content.append(_text(part.text))
            elif isinstance(part, Media):
                content.append(self._media(part))
        return content

    def _media(self, media: Media) -> Json:
        if media.file_id is not None:
            raise BadRequest("the provider of the model has no such file")
        if media.kind == "image":
            return _image(media)
        if media.kind == "document":
            return self._document(media)
        if media.kind == "audio" and media.data is not None:
            return _audio(media)
        raise BadRequest(f"Chat Completions takes no such {media.kind}")

    def _document(self, media: Media) -> Json:
        text = _text_of(media)
        if text is not None:
            # Files can only be PDF.
            self.approximated.add(Feature.DOCUMENT_DATA)
            return _text(f"{media.name}\n\n{text}" if media.name else text)
        if media.data is None:
            raise BadRequest("Chat Completions takes no documents by their URL")
        media_type = media.media_type or "application/pdf"
        file = {
            "filename": media.name or "document.pdf",
            "file_data": f"data:{media_type};base64,{media.data}",
        }
        return {"type": "file", "file": file}


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _name(message: Message) -> Json:
    return {"name": message.name} if message.name else {}


def _nine_of(call_id: str) -> str:
    """Return nine letters and digits for ``call_id``, the same every time."""
    number = int.from_bytes(hashlib.sha256(call_id.encode()).digest()[:8], "big")
    found = ""
    for _ in range(_ID_LENGTH):
        number, place = divmod(number, len(_ALPHANUMERIC))
        found += _ALPHANUMERIC[place]
    return found


def _says_error(texts: list[Json]) -> bool:
    return bool(texts) and "error" in texts[0]["text"][:200].lower()


def _image(media: Media) -> Json:
    url = media.url or f"data:{media.media_type or 'image/png'};base64,{media.data}"
    detail = {"detail": media.detail} if media.detail else {}
    return {"type": "image_url", "image_url": {"url": url, **detail}}


def _audio(media: Media) -> Json:
    form = (media.media_type or "audio/wav").partition("/")[2].partition(";")[0]
    audio = {"data": media.data, "format": _AUDIO_FORMATS.get(form, form)}
    return {"type": "input_audio", "input_audio": audio}


def _text_of(media: Media) -> str | None:
    """Return what a document of plain text says; None of any other."""
    if media.text is not None:
        return media.text
    if media.data is None or not (media.media_type or "").startswith("text/"):
        return None
    try:
        return base64.b64decode(media.data, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise BadRequest("a text document is not UTF-8 in base64") from error
