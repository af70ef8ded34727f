"""A stream of chat completion chunks, as neutral events.

Source: https://platform.openai.com/docs/api-reference/chat/streaming. Rules:

- ``data: [DONE]`` is the end, and nothing else is. Before it, each choice that began
  needs a good finish reason.
- Azure begins with a chunk without choices, model and id; it says nothing here.
- A chunk of another shape is read for what it means (``lenient``). What cannot be read
  may be a part of the answer: the stream has failed. Events of another type are skipped
  and counted, keep-alives are skipped.
- An error is one in whatever shape: an ``error`` of the chunk or of a choice, an event
  of that name, an object that is no chunk but has a message.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from gandalf.dialects import sse
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.base import StreamParser as Parser
from gandalf.dialects.conversation import (
    CitationDelta,
    Ended,
    Event,
    Failed,
    Finished,
    RefusalDelta,
    Started,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Unread,
    UsageReported,
)
from gandalf.dialects.ends import bad_end
from gandalf.dialects.lenient import Reader, is_scalar
from gandalf.dialects.openai import thinking
from gandalf.dialects.openai.answers import tokens_of
from gandalf.dialects.openai.call_parser import CallParser, Function, ToolCall
from gandalf.dialects.openai.compatible import ABSENT, ASIDE, KEEP_ALIVES, is_error
from gandalf.dialects.openai.errors import failed_of, read_error
from gandalf.dialects.openai.finishes import finish_of
from gandalf.dialects.openai.views import UsageView
from gandalf.dialects.unread import is_utf8


class _Audio(msgspec.Struct):
    transcript: str | None = None


class _ImageUrl(msgspec.Struct):
    url: str


class _Image(msgspec.Struct):
    image_url: _ImageUrl


class _Delta(thinking.Carrier, kw_only=True):
    content: str | list[thinking.Piece] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    annotations: list[dict[str, Any]] | None = None
    audio: _Audio | None = None
    images: list[_Image] | None = None
    """OpenRouter's: https://openrouter.ai/docs/features/multimodal."""


_NO_DELTA = _Delta()


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    """In place of ``delta``, from servers that stream whole messages."""
    text: str | None = None
    """Of a legacy completion."""
    finish_reason: str | None = None
    logprobs: Any = None
    error: msgspec.Raw = ABSENT
    usage: UsageView | None = None
    """Moonshot's, in the last event: https://platform.kimi.ai/docs/api/chat."""


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    id: str | None = None
    model: str | None = None
    created: float | None = None
    """Not every server sends a whole number."""
    usage: UsageView | None = None
    service_tier: str | None = None
    error: msgspec.Raw = ABSENT


class _Other(msgspec.Struct):
    """An object that is no chunk with choices."""

    choices: msgspec.Raw = ABSENT
    object: Any = None
    type: Any = None
    message: Any = None
    detail: Any = None
    errors: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode
_read = Reader(_Chunk, ASIDE)
_read_other = Reader(_Other, ())
_TEXTLESS = ("text", "reference")
"""Types of parts of a content that may be without text."""


class StreamParser:
    """Turns one upstream's stream into neutral events."""

    __slots__ = ("_buffer", "_choices", "_id", "_started")

    def __init__(self) -> None:
        self._buffer = sse.EventBuffer()
        self._choices: dict[int, _ChoiceParser] = {}
        self._started = False
        self._id = ""

    def feed(self, data: bytes) -> Sequence[Event]:
        """Return the events that ``data`` completes. Raises sse.EventTooLarge."""
        block = self._buffer.feed(data)
        return self._parse(block) if block else ()

    def flush(self) -> Sequence[Event]:
        """Return the events of what is left when the upstream has ended."""
        rest = self._buffer.flush()
        events = self._parse(rest) if rest.strip() else []
        # What is cut off is no hole: that the end is missing tells enough.
        return [event for event in events if event is not _BROKEN]

    def _parse(self, block: bytes) -> list[Event]:
        events: list[Event] = []
        plain = b"\r" not in block
        whole = is_utf8(block)
        for event in sse.split(block):
            if not whole and not is_utf8(event):
                events.append(_BROKEN)
                continue
            data = _line_of(event) if plain else None
            if data is None:
                data = self._data_of(event, events)
            if not data:
                continue
            try:
                chunk = _decode(data)
            except UNREADABLE:
                self._odd(event, data, events)
                continue
            if chunk.choices is None or _is_special(event):
                self._odd(event, data, events)
            else:
                self._chunk(chunk, events)
        return events

    def _data_of(self, event: bytes, events: list[Event]) -> bytes:
        if sse.is_strange(event):
            # JSON where events should be is an error.
            bare = event.strip()
            events.append(_error_of(bare) if bare.startswith(b"{") else _BROKEN)
            return b""
        return (sse.data_of(event) or b"").strip()

    def _odd(self, event: bytes, data: bytes, events: list[Event]) -> None:
        """Add what ``event`` means, which is not a chunk as OpenAI writes it."""
        data, name = data.strip(), sse.name_of(event)
        if data == b"[DONE]":
            events.append(self._end())
        elif name == b"error":
            events.append(_error_of(data))
        elif name in KEEP_ALIVES or data.lower() in KEEP_ALIVES:
            return
        else:
            try:
                self._read(data, events)
            except UNREADABLE:
                events.append(_UNKNOWN if is_scalar(data) else _BROKEN)

    def _read(self, data: bytes, events: list[Event]) -> None:
        chunk, lost = _read(data)
        events += [Unread(f"unreadable_{name}") for name in lost]
        if chunk.choices is None and not is_error(chunk.error):
            failure = self._without_choices(chunk, data, events)
            if failure is not None:
                events.append(failure)
                return
        self._chunk(chunk, events)

    def _without_choices(
        self, chunk: _Chunk, data: bytes, events: list[Event]
    ) -> Failed | None:
        """Return the failure that an object without choices is, if it is one."""
        other = _read_other.view(data)
        if chunk.usage is not None or bytes(other.choices) == b"null":
            return None
        if other.object == "error" or other.message or other.detail or other.errors:
            return _error_of(data)
        if other.object == "chat.completion.chunk":
            return _BROKEN
        if other.type != "ping" and data != b"{}":
            events.append(_UNKNOWN)
        return None

    def _chunk(self, chunk: _Chunk, events: list[Event]) -> None:
        if is_error(chunk.error):
            events.append(failed_of(bytes(chunk.error)))
            return
        if not self._started and (chunk.choices or chunk.model):
            self._start(chunk, events)
        for choice in chunk.choices or ():
            parser = self._choices.get(choice.index)
            if parser is None:
                parser = _ChoiceParser(choice.index, self._id)
                self._choices[choice.index] = parser
            parser.parse(choice, events)
            if choice.usage is not None:
                _report(choice.usage, None, events)
        if chunk.usage is not None:
            _report(chunk.usage, chunk.service_tier, events)

    def _end(self) -> Event:
        """Return the end of the stream: a failure if a choice has no good end."""
        parsers = self._choices.values()
        whole = parsers and all(parser.finished for parser in parsers)
        return _ENDED if whole else bad_end(None)

    def _start(self, chunk: _Chunk, events: list[Event]) -> None:
        self._started = True
        # Ids of calls are made of it, and must not be those of another answer.
        self._id = chunk.id or uuid.uuid4().hex[:24]
        created = None if chunk.created is None else int(chunk.created)
        started = Started(id=chunk.id or "", model=chunk.model or "", created=created)
        events.append(started)


def _report(usage: UsageView, tier: str | None, events: list[Event]) -> None:
    tokens = tokens_of(usage, tier)
    if tokens is not None:
        events.append(UsageReported(tokens))


_ENDED = Ended()
_BROKEN = Failed(message="the upstream has sent an event that is not what its API says")
_UNKNOWN = Unread("unknown_type")


def _is_special(event: bytes) -> bool:
    """Return whether the type of ``event`` says more than its data."""
    if event.startswith(b"data:"):
        return False
    name = sse.name_of(event)
    return name == b"error" or name in KEEP_ALIVES


def _error_of(data: bytes) -> Failed:
    """Return what ``data``, an error in a shape that is not OpenAI's, tells."""
    with suppress(*UNREADABLE):
        error = _read(data)[0].error
        if is_error(error):
            return failed_of(bytes(error))
    details = read_error(data)
    return Failed(message=details.message, code=details.code)


def _line_of(event: bytes) -> bytes | None:
    """Return the data of ``event`` if it is one line of JSON, as nearly all are."""
    if event.startswith(b"data: {") and event.find(b"\n") >= len(event) - 2:
        return event[6:]
    return None


class _ChoiceParser:
    """What has come of one choice."""

    __slots__ = ("_calls", "_index", "_refused", "_thought", "finished")

    def __init__(self, index: int, answer_id: str) -> None:
        self._index = index
        self._calls = CallParser(index, answer_id)
        self._refused = False
        self._thought = False
        """Whether thinking has come as text, which blocks only repeat."""
        self.finished = False
        """Whether a good end has come."""

    def parse(self, choice: _Choice, events: list[Event]) -> None:
        delta = choice.delta or choice.message or _NO_DELTA
        if delta.reasoning_content or delta.reasoning:
            self._thinks(delta, events)
        elif delta.thinking_blocks or delta.reasoning_details:
            self._seals(delta, events)
        if delta.content:
            self._says(delta.content, choice.logprobs, events)
        elif choice.text:
            self._says(choice.text, choice.logprobs, events)
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._calls.parse(call, events)
        self._rare(delta, events)
        if choice.error:
            self._fails(choice.error, events)
        # Some servers write "" where OpenAI has null: there it is no end.
        if choice.finish_reason:
            self._ends(choice.finish_reason, events)

    def _fails(self, error: msgspec.Raw, events: list[Event]) -> None:
        if is_error(error):
            events.append(failed_of(bytes(error)))

    def _says(
        self, content: str | list[thinking.Piece], logprobs: object, events: list[Event]
    ) -> None:
        if isinstance(content, str):
            events.append(
                TextDelta(text=content, choice=self._index, logprobs=logprobs)
            )
            return
        for piece in content:
            thought = thinking.thought_in(piece)
            if thought is None:
                if not piece.text and piece.type not in _TEXTLESS:
                    events.append(Unread("unknown_part"))
                events.append(TextDelta(text=piece.text, choice=self._index))
            else:
                events.append(ThinkingDelta(text=thought, choice=self._index))

    def _rare(self, delta: _Delta, events: list[Event]) -> None:
        index = self._index
        if delta.refusal:
            self._refused = True
            events.append(RefusalDelta(text=delta.refusal, choice=index))
        for image in delta.images or ():
            # A stream has no other events for one; see ``gemini.chunks``.
            text = f"![]({image.image_url.url})"
            events.append(TextDelta(text=text, choice=index))
        if delta.annotations:
            for citation in delta.annotations:
                # Its place in the list, for who joins pieces; no part of it.
                citation.pop("index", None)
                events.append(CitationDelta(citation=citation, choice=index))
        if delta.function_call is not None:
            self._calls.parse(ToolCall(index=-1, function=delta.function_call), events)
        if delta.audio is not None and delta.audio.transcript:
            events.append(TextDelta(text=delta.audio.transcript, choice=index))
        signature = thinking.signature_of(delta.extra_content)
        if signature:
            events.append(TextDelta(text="", signature=signature, choice=index))

    def _ends(self, reason: str, events: list[Event]) -> None:
        finish = finish_of(reason, refused=self._refused)
        if finish is None:
            events.append(bad_end(reason))
            return
        self.finished = True
        self._calls.finish(events)
        events.append(Finished(finish=finish, choice=self._index))

    # Thinking.

    def _thinks(self, delta: _Delta, events: list[Event]) -> None:
        self._thought = True
        text = delta.reasoning_content or delta.reasoning or ""
        events.append(ThinkingDelta(text=text, choice=self._index))
        if delta.thinking_blocks or delta.reasoning_details:
            self._seals(delta, events)

    def _seals(self, delta: _Delta, events: list[Event]) -> None:
        """Take over the seals of blocks, and their text if it comes nowhere else."""
        delta = _Delta(
            thinking_blocks=delta.thinking_blocks,
            reasoning_details=delta.reasoning_details,
        )
        events += [
            ThinkingDelta(
                text="" if self._thought else thought.text,
                signature=thought.signature,
                redacted=thought.redacted,
                origin=thought.origin,
                choice=self._index,
            )
            for thought in thinking.thoughts_of(delta)
            if not self._thought or _sealed(thought)
        ]


def _sealed(thought: Thinking) -> bool:
    return bool(thought.signature or thought.redacted)


def stream_parser() -> Parser:
    """Return what parses a stream of OpenAI's."""
    return StreamParser()
