"""A request's contents, read into messages.

Source: https://ai.google.dev/api/caching#Content and ``google/genai/types.py``
(``Content``, ``Part``). Function calls and their responses need have no ids: then a
response belongs to the earliest unanswered call of its name.
"""

from __future__ import annotations

import mimetypes
from typing import Any

import msgspec

from gandalf.dialects.conversation import (
    Feature,
    Media,
    Message,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from gandalf.dialects.gemini.fields import Fields
from gandalf.dialects.gemini.signing import own_of, thinking_of
from gandalf.domain.errors import BadRequest

_ROLES = {
    None: "user",
    "": "user",
    "user": "user",
    "function": "user",
    "model": "assistant",
}
_DATA = {
    "image": Feature.IMAGE_DATA,
    "document": Feature.DOCUMENT_DATA,
    "audio": Feature.AUDIO_INPUT,
    "video": Feature.VIDEO_INPUT,
}
_URL = {
    "image": Feature.IMAGE_URL,
    "document": Feature.DOCUMENT_URL,
    "audio": Feature.AUDIO_INPUT,
    "video": Feature.VIDEO_INPUT,
}
FILES_API = "https://generativelanguage.googleapis.com/"
_VIDEO_PAGES = ("https://www.youtube.com/", "https://youtube.com/", "https://youtu.be/")
_TO_USUAL = str.maketrans("-_", "+/")


class History:
    """Reads contents in their order.

    Args:
        used: Where the features are noted that they use.
    """

    def __init__(self, used: dict[Feature, str]) -> None:
        self._used = used
        self._calls = 0
        self._open: list[tuple[str, str]] = []

    def messages(self, contents: list[Fields]) -> list[Message]:
        return [self._message(content) for content in contents]

    def instruction(self, content: Fields) -> Message:
        """Return the system message that a ``systemInstruction`` is."""
        content.raw("role")
        parts = []
        for part in content.objects("parts"):
            if (text := part.text("text")) is not None:
                parts.append(Text(text=text))
            part.close()
        content.close()
        return Message(role="system", parts=tuple(parts))

    def _message(self, content: Fields) -> Message:
        named = content.text("role")
        role = _ROLES.get(named)
        if role is None:
            raise BadRequest(
                f"a content's role is user or model, not {named!r}",
                param="contents.role",
            )
        signature: str | None = None
        parts: list[Part] = []
        for fields in content.objects("parts"):
            seal = fields.text("thoughtSignature")
            part = self._part(fields, seal)
            fields.close()
            if part is not None:
                parts.append(part)
            own = None if _is_thought(part) else own_of(seal)
            if own is not None:
                self._note(Feature.THINKING_HISTORY, fields, "thoughtSignature")
            if own is not None and not isinstance(part, ToolCall):
                signature = own
        content.close()
        return Message(
            role=role,
            parts=tuple(_joined(parts) if role == "assistant" else parts),
            signature=signature if role == "assistant" else None,
        )

    def _part(self, fields: Fields, seal: str | None) -> Part | None:
        thought = fields.flag("thought")
        text = fields.text("text")
        if thought:
            self._note(Feature.THINKING_HISTORY, fields, "thought")
            return thinking_of(text or "", seal)
        if text is not None:
            # Where a signature came without text, there is no part but it.
            return Text(text=text) if text or not seal else None
        for name, read in (
            ("inlineData", self._inline),
            ("fileData", self._file),
            ("functionCall", None),
            ("functionResponse", self._result),
        ):
            inner = fields.object(name)
            if inner is not None:
                return self._call(inner, seal) if read is None else read(inner)
        return None

    def _inline(self, blob: Fields) -> Media:
        media_type = blob.text("mimeType") or "application/octet-stream"
        data = blob.text("data")
        if data is None:
            raise BadRequest("inlineData has no data", param=f"{blob.path}data")
        kind = _kind_of(media_type)
        self._note(_DATA[kind], blob)
        media = Media(
            kind=kind,
            media_type=media_type,
            data=data.translate(_TO_USUAL) if "-" in data or "_" in data else data,
            name=blob.text("displayName"),
        )
        blob.close()
        return media

    def _file(self, file: Fields) -> Media:
        uri = file.text("fileUri")
        if not uri:
            raise BadRequest("fileData has no fileUri", param=f"{file.path}fileUri")
        media_type = file.text("mimeType")
        name = file.text("displayName")
        file.close()
        kind = _kind_of_file(uri, media_type)
        if uri.startswith((FILES_API, "files/", "gs://")):
            self._note(Feature.FILE_ID, file)
            return Media(kind=kind, media_type=media_type, file_id=uri, name=name)
        self._note(_URL[kind], file)
        return Media(kind=kind, media_type=media_type, url=uri, name=name)

    def _call(self, call: Fields, seal: str | None) -> ToolCall:
        name = call.text("name")
        if not name:
            raise BadRequest("functionCall has no name", param=f"{call.path}name")
        call_id = call.text("id") or f"call_{self._calls}"
        self._calls += 1
        self._open.append((call_id, name))
        arguments = call.raw("args") or b"{}"
        if not arguments.startswith(b"{"):
            raise BadRequest("args must be an object", param=f"{call.path}args")
        call.close()
        return ToolCall(
            id=call_id, name=name, arguments=arguments.decode(), signature=own_of(seal)
        )

    def _result(self, response: Fields) -> ToolResult:
        name = response.text("name")
        if not name:
            param = f"{response.path}name"
            raise BadRequest("functionResponse has no name", param=param)
        call_id = self._answered(response.text("id"), name)
        text, is_error = _told(response.table("response") or {})
        if is_error:
            self._note(Feature.TOOL_RESULT_ERROR, response, "response.error")
        parts: list[Text | Media] = [Text(text=text)] if text else []
        for part in response.objects("parts"):
            self._note(Feature.TOOL_RESULT_PARTS, part)
            parts += self._media_in(part)
            part.close()
        response.close()
        return ToolResult(
            call_id=call_id, name=name, parts=tuple(parts), is_error=is_error
        )

    def _media_in(self, part: Fields) -> list[Media]:
        blob, file = part.object("inlineData"), part.object("fileData")
        found = [self._inline(blob)] if blob is not None else []
        return [*found, self._file(file)] if file is not None else found

    def _answered(self, call_id: str | None, name: str) -> str:
        """Return the id of the call that a response answers."""
        for waiting in self._open:
            if waiting[0] == call_id or (call_id is None and waiting[1] == name):
                self._open.remove(waiting)
                return waiting[0]
        return call_id or name

    def _note(self, feature: Feature, fields: Fields, name: str = "") -> None:
        self._used.setdefault(feature, (fields.path + name).removesuffix("."))


def _joined(parts: list[Part]) -> list[Part]:
    """Return what a model said, put together where it came in pieces.

    Clients keep the parts of a stream as they came. A piece may be nothing but white
    space, which others refuse as a text, and a seal is good for all of its thinking.
    """
    joined: list[Part] = []
    run: list[Text | Thinking] = []
    for part in parts:
        if run and not _goes_on(run[-1], part):
            joined.append(_one(run))
            run = []
        if isinstance(part, Text | Thinking):
            run.append(part)
        else:
            joined.append(part)
    return [*joined, _one(run)] if run else joined


def _goes_on(last: Text | Thinking, part: Part) -> bool:
    if isinstance(last, Thinking):
        ended = last.signature is not None or last.redacted is not None
        return isinstance(part, Thinking) and part.redacted is None and not ended
    return isinstance(part, Text)


def _one(run: list[Text | Thinking]) -> Text | Thinking:
    if len(run) == 1:
        return run[0]
    return msgspec.structs.replace(run[-1], text="".join([part.text for part in run]))


def _is_thought(part: Part | None) -> bool:
    return isinstance(part, Thinking)


def _kind_of(media_type: str) -> str:
    top = media_type.partition("/")[0]
    return top if top in ("image", "audio", "video") else "document"


def _kind_of_file(uri: str, media_type: str | None) -> str:
    if uri.startswith(_VIDEO_PAGES):
        return "video"
    guessed = media_type or mimetypes.guess_type(uri.partition("?")[0])[0]
    return _kind_of(guessed or "application/octet-stream")


def _told(response: dict[str, Any]) -> tuple[str, bool]:
    """Return the text of a function's response, and whether it tells of an error.

    ``output`` and ``result`` hold what a function returned, ``error`` what went wrong;
    a response with other members is itself what was returned.
    """
    if len(response) == 1:
        ((name, value),) = response.items()
        if name in ("output", "result", "error"):
            text = value if isinstance(value, str) else _json(value)
            return text, name == "error"
    return _json(response), False


def _json(value: Any) -> str:  # noqa: ANN401
    return msgspec.json.encode(value).decode()
