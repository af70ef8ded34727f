"""The messages of a chat, into the neutral model.

Rules: results of calls that follow each other are parts of one user message; what
OpenAI keeps in fields of an assistant's message becomes parts in the order in which
models make them: thinking, text, refusal, calls.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gandalf.dialects.conversation import (
    CacheMark,
    Feature,
    Media,
    Message,
    Part,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from gandalf.dialects.openai import thinking, wire
from gandalf.domain.errors import BadRequest

_AUDIO_TYPES = {"mp3": "audio/mpeg"}
_PDF = "JVBERi"
"""How a PDF begins in base64."""


class MessageParser:
    """Parses the messages of one request, in their order.

    Args:
        used: Where to note the features that they use.
    """

    def __init__(self, used: dict[Feature, str]) -> None:
        self._used = used
        self._parsed: list[Message] = []
        self._results: list[ToolResult] = []
        self._names: dict[str, str] = {}
        """Of the tools, by the call's id."""
        self._begun = False
        """Whether anybody but the system has spoken."""
        self._place = 0
        self._function_call = ""
        """Id that we gave to the last call of a legacy function."""

    def parse(self, messages: Sequence[wire.Message]) -> tuple[Message, ...]:
        """Return the conversation so far. Raises BadRequest."""
        for self._place, message in enumerate(messages):
            if message.role in ("tool", "function"):
                self._results.append(self._result(message))
            else:
                self._end_results()
                self._parsed.append(self._message(message))
        self._end_results()
        last = messages[-1]
        if last.role == "assistant" and not (last.tool_calls or last.function_call):
            self._note(Feature.PREFILL, "messages")
        return tuple(self._parsed)

    def _end_results(self) -> None:
        if self._results:
            self._parsed.append(Message(role="user", parts=tuple(self._results)))
            self._results.clear()

    def _message(self, message: wire.Message) -> Message:
        if message.name:
            self._note(Feature.NAMES, "messages.name")
        self._begun = self._begun or message.role in ("user", "assistant")
        if message.role == "assistant":
            return self._assistant(message)
        parts = self._content(message.content)
        if message.role != "user":
            self._note_instructions(message.role)
            self._only_text(parts)
        return Message(
            role=message.role, parts=self._marked(message, parts), name=message.name
        )

    def _note_instructions(self, role: str) -> None:
        developer = role == "developer"
        feature = Feature.DEVELOPER if developer else Feature.SYSTEM
        self._note(feature, "messages")
        if self._begun:
            self._note(Feature.LATE_SYSTEM, "messages")

    def _only_text(self, parts: Sequence[Part]) -> None:
        if not all(isinstance(part, Text) for part in parts):
            raise BadRequest(
                "instructions can only be text", param=self._param("content")
            )

    def _assistant(self, message: wire.Message) -> Message:
        seals = thinking.call_signatures(message.reasoning_details or ())
        signature = thinking.signature_of(message.extra_content) or seals.get(None)
        thoughts = thinking.thoughts_of(message)
        if thoughts:
            field = thinking.field_of(message)
            self._note(Feature.THINKING_HISTORY, f"messages.{field}")
        if signature:
            self._note(Feature.THINKING_HISTORY, "messages.extra_content")
        content = self._cited(message, self._content(message.content))
        refusal = (Refusal(message.refusal),) if message.refusal else ()
        parts = (*thoughts, *content, *refusal, *self._calls(message, seals))
        return Message(
            role="assistant",
            parts=self._marked(message, parts),
            name=message.name,
            signature=signature,
        )

    def _cited(
        self, message: wire.Message, parts: tuple[Part, ...]
    ) -> tuple[Part, ...]:
        if not message.annotations or not parts or not isinstance(parts[-1], Text):
            return parts
        self._note(Feature.CITATIONS, "messages.annotations")
        cited = msgspec.structs.replace(parts[-1], citations=tuple(message.annotations))
        return (*parts[:-1], cited)

    # Calls and their results.

    def _calls(
        self, message: wire.Message, seals: dict[str | None, str]
    ) -> tuple[ToolCall, ...]:
        calls = tuple(self._call(call, seals) for call in message.tool_calls or ())
        if message.function_call is None:
            return calls
        self._function_call = f"call_{self._place}"
        function = message.function_call
        self._names[self._function_call] = function.name
        return (
            *calls,
            ToolCall(
                id=self._function_call,
                name=function.name,
                arguments=function.arguments,
            ),
        )

    def _call(self, call: wire.ToolCall, seals: dict[str | None, str]) -> ToolCall:
        if call.function is None:
            raise BadRequest(
                "only calls of functions can be said to another provider",
                code="unsupported_parameter",
                param=self._param("tool_calls"),
            )
        self._names[call.id] = call.function.name
        signature = thinking.signature_of(call.extra_content) or seals.get(call.id)
        if signature:
            name = "messages.tool_calls.extra_content"
            self._note(Feature.THINKING_HISTORY, name)
        return ToolCall(
            id=call.id,
            name=call.function.name,
            arguments=call.function.arguments,
            signature=signature,
            cache=self._mark(call.cache_control, "messages.tool_calls.cache_control"),
        )

    def _result(self, message: wire.Message) -> ToolResult:
        parts = self._content(message.content)
        if any(isinstance(part, Media) for part in parts):
            self._note(Feature.TOOL_RESULT_PARTS, "messages.content")
        call_id = self._call_id(message)
        return ToolResult(
            call_id=call_id,
            name=self._names.get(call_id) or message.name,
            parts=tuple(p for p in parts if isinstance(p, Text | Media)),
            cache=self._mark(message.cache_control, "messages.cache_control"),
        )

    def _call_id(self, message: wire.Message) -> str:
        if message.role == "function":
            return self._function_call or f"call_{self._place}"
        if message.tool_call_id is None:
            raise BadRequest(
                "a tool message needs a tool_call_id", param=self._param("tool_call_id")
            )
        return message.tool_call_id

    # Content.

    def _content(
        self, content: str | list[wire.ContentPart] | None
    ) -> tuple[Text | Media | Refusal, ...]:
        if content is None:
            return ()
        if isinstance(content, str):
            return (Text(text=content),) if content else ()
        return tuple(map(self._part, content))

    def _part(self, part: wire.ContentPart) -> Text | Media | Refusal:
        if isinstance(part, wire.RefusalPart):
            return Refusal(part.refusal)
        mark = part.cache_control or part.prompt_cache_breakpoint
        name = "cache_control" if part.cache_control else "prompt_cache_breakpoint"
        cache = self._mark(mark, f"messages.content.{name}")
        if isinstance(part, wire.TextPart):
            return Text(text=part.text, cache=cache)
        if isinstance(part, wire.ImagePart):
            return self._image(part, cache)
        if isinstance(part, wire.AudioPart):
            return self._audio(part, cache)
        if isinstance(part, wire.VideoPart):
            return self._video(part, cache)
        return self._file(part.file, cache)

    def _image(self, part: wire.ImagePart, cache: CacheMark | None) -> Media:
        image = part.image_url
        url = image if isinstance(image, str) else image.url
        detail = None if isinstance(image, str) else image.detail
        if detail and detail != "auto":
            self._note(Feature.IMAGE_DETAIL, "messages.content.image_url.detail")
        media_type, data = _data_url(url)
        self._note(
            Feature.IMAGE_URL if data is None else Feature.IMAGE_DATA,
            "messages.content.image_url",
        )
        return Media(
            kind="image",
            media_type=media_type,
            data=data,
            url=url if data is None else None,
            detail=detail,
            cache=cache,
        )

    def _audio(self, part: wire.AudioPart, cache: CacheMark | None) -> Media:
        self._note(Feature.AUDIO_INPUT, "messages.content.input_audio")
        form = part.input_audio.format
        media_type = _AUDIO_TYPES.get(form, f"audio/{form}")
        data = part.input_audio.data
        return Media(kind="audio", media_type=media_type, data=data, cache=cache)

    def _video(self, part: wire.VideoPart, cache: CacheMark | None) -> Media:
        self._note(Feature.VIDEO_INPUT, "messages.content.video_url")
        video = part.video_url
        url = video if isinstance(video, str) else video.url
        media_type, data = _data_url(url)
        return Media(
            kind="video",
            media_type=media_type,
            data=data,
            url=url if data is None else None,
            cache=cache,
        )

    def _file(self, file: wire.File, cache: CacheMark | None) -> Media:
        source = file.file_data or ""
        if source.startswith(("https://", "http://")):
            self._note(Feature.DOCUMENT_URL, "messages.content.file.file_data")
            return Media(
                kind="document",
                media_type=file.format,
                url=source,
                name=file.filename,
                cache=cache,
            )
        if source:
            return self._document(file, source, cache)
        if not file.file_id:
            raise BadRequest(
                "a file needs file_data or file_id", param=self._param("content")
            )
        self._note(Feature.FILE_ID, "messages.content.file.file_id")
        return Media(
            kind="document", file_id=file.file_id, name=file.filename, cache=cache
        )

    def _document(self, file: wire.File, source: str, cache: CacheMark | None) -> Media:
        self._note(Feature.DOCUMENT_DATA, "messages.content.file.file_data")
        media_type, data = _data_url(source)
        data = source if data is None else data
        if media_type is None:
            pdf = "application/pdf" if data.startswith(_PDF) else None
            media_type = file.format or pdf
        return Media(
            kind="document",
            media_type=media_type,
            data=data,
            name=file.filename,
            cache=cache,
        )

    # Marks and notes.

    def _marked(
        self, message: wire.Message, parts: tuple[Part, ...]
    ) -> tuple[Part, ...]:
        """Return ``parts`` with the message's own mark on the last that can bear it."""
        mark = self._mark(message.cache_control, "messages.cache_control")
        if mark is None or not parts:
            return parts
        last = parts[-1]
        if not isinstance(last, Text | Media | ToolCall):
            return parts
        return (*parts[:-1], msgspec.structs.replace(last, cache=mark))

    def _mark(self, control: wire.CacheControl | None, name: str) -> CacheMark | None:
        if control is None:
            return None
        self._note(Feature.CACHE_MARKS, name)
        return CacheMark(ttl=control.ttl)

    def _note(self, feature: Feature, name: str) -> None:
        self._used.setdefault(feature, name)

    def _param(self, field: str) -> str:
        return f"messages[{self._place}].{field}"


def _data_url(url: str) -> tuple[str | None, str | None]:
    """Return media type and base64 of a data URL; None twice of any other."""
    if not url.startswith("data:"):
        return None, None
    head, comma, data = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise BadRequest("a data URL must hold base64", param="messages")
    return head.removeprefix("data:").partition(";")[0] or None, data
