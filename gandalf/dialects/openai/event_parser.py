"""A stream of chat completion chunks, as neutral events.

Source: https://platform.openai.com/docs/api-reference/chat/streaming. Rules:

- ``data: [DONE]`` is the end, and nothing else is.
- A call is known by its ``index``; a new id at an old index, or no index, is another
  call, for compatible servers count carelessly.
- Azure begins with a chunk without choices, model and id; it says nothing here.
- An event that is not JSON is a hole in the answer: the stream has failed.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from gandalf.dialects.openai import thinking
from gandalf.dialects.openai.answers import tokens_of
from gandalf.dialects.openai.errors import failed_of
from gandalf.dialects.openai.finishes import finish_of
from gandalf.dialects.openai.translated import made_up_id
from gandalf.dialects.openai.views import UsageView


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    extra_content: thinking.ExtraContent | None = None


class _Audio(msgspec.Struct):
    transcript: str | None = None


class _Delta(thinking.Carrier, kw_only=True):
    content: str | list[thinking.Piece] | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None
    annotations: list[dict[str, Any]] | None = None
    audio: _Audio | None = None


_NO_DELTA = _Delta()


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    logprobs: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    id: str | None = None
    model: str | None = None
    created: float | None = None
    """Not every server sends a whole number."""
    usage: UsageView | None = None
    service_tier: str | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(_Chunk).decode
_NO_ERROR = (b"", b"null")


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
        for event in sse.split(block):
            data = _data_of(event) if plain else sse.data_of(event)
            if data is None or not (data := data.strip()):
                continue
            if data == b"[DONE]":
                events.append(_ENDED)
                continue
            try:
                chunk = _decode(data)
            except UNREADABLE:
                events.append(_BROKEN)
                continue
            self._chunk(chunk, events)
        return events

    def _chunk(self, chunk: _Chunk, events: list[Event]) -> None:
        error = bytes(chunk.error)
        if error not in _NO_ERROR:
            events.append(failed_of(error))
            return
        if not self._started and (chunk.choices or chunk.model):
            self._start(chunk, events)
        for choice in chunk.choices or ():
            parser = self._choices.get(choice.index)
            if parser is None:
                parser = _ChoiceParser(choice.index, self._id)
                self._choices[choice.index] = parser
            parser.parse(choice, events)
        if chunk.usage is not None:
            tokens = tokens_of(chunk.usage, chunk.service_tier)
            if tokens is not None:
                events.append(UsageReported(tokens))

    def _start(self, chunk: _Chunk, events: list[Event]) -> None:
        self._started = True
        self._id = chunk.id or ""
        created = None if chunk.created is None else int(chunk.created)
        events.append(Started(id=self._id, model=chunk.model or "", created=created))


_ENDED = Ended()
_BROKEN = Failed(message="the upstream has sent an event that is not what its API says")


def _data_of(event: bytes) -> bytes | None:
    # Nearly all events are one line, and need not be taken apart.
    if event.startswith(b"data: {") and event.find(b"\n") >= len(event) - 2:
        return event[6:]
    return sse.data_of(event)


class _ChoiceParser:
    """What has come of one choice."""

    __slots__ = (
        "_by_index",
        "_calls",
        "_id",
        "_index",
        "_last",
        "_refused",
        "_thought",
    )

    def __init__(self, index: int, answer_id: str) -> None:
        self._index = index
        self._id = answer_id
        self._by_index: dict[int, tuple[int, str]] = {}
        self._calls = 0
        self._last: tuple[int, str] | None = None
        self._refused = False
        self._thought = False
        """Whether thinking has come as text, which blocks only repeat."""

    def parse(self, choice: _Choice, events: list[Event]) -> None:
        delta = choice.delta or _NO_DELTA
        if delta.reasoning_content or delta.reasoning:
            self._thinks(delta, events)
        elif delta.thinking_blocks or delta.reasoning_details:
            self._seals(delta, events)
        if delta.content:
            self._says(delta.content, choice.logprobs, events)
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._calls_tool(call, events)
        self._rare(delta, events)
        if choice.finish_reason:
            finish = finish_of(choice.finish_reason, refused=self._refused)
            events.append(Finished(finish=finish, choice=self._index))

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
                events.append(TextDelta(text=piece.text, choice=self._index))
            else:
                events.append(ThinkingDelta(text=thought, choice=self._index))

    def _rare(self, delta: _Delta, events: list[Event]) -> None:
        index = self._index
        if delta.refusal:
            self._refused = True
            events.append(RefusalDelta(text=delta.refusal, choice=index))
        if delta.annotations:
            for citation in delta.annotations:
                # Its place in the list, for who joins pieces; no part of it.
                citation.pop("index", None)
                events.append(CitationDelta(citation=citation, choice=index))
        if delta.function_call is not None:
            self._calls_tool(_ToolCall(index=-1, function=delta.function_call), events)
        if delta.audio is not None and delta.audio.transcript:
            events.append(TextDelta(text=delta.audio.transcript, choice=index))
        signature = thinking.signature_of(delta.extra_content)
        if signature:
            events.append(TextDelta(text="", signature=signature, choice=index))

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

    # Calls.

    def _calls_tool(self, call: _ToolCall, events: list[Event]) -> None:
        function = call.function or _Function()
        place = self._place_of(call)
        if place is None:
            place = self._start(call, function, events)
        if function.arguments:
            events.append(
                ToolCallDelta(
                    call=place, arguments=function.arguments, choice=self._index
                )
            )

    def _place_of(self, call: _ToolCall) -> int | None:
        known = self._last if call.index is None else self._by_index.get(call.index)
        if known is None or (call.id and call.id != known[1]):
            return None
        if call.index is None and not call.id and call.function and call.function.name:
            # A whole call at once, from a server that gives neither index nor id.
            return None
        return known[0]

    def _start(self, call: _ToolCall, function: _Function, events: list[Event]) -> int:
        place = self._calls
        self._calls += 1
        call_id = call.id or made_up_id(self._id, self._index, place)
        self._last = known = (place, call.id or call_id)
        if call.index is not None:
            self._by_index[call.index] = known
        events.append(
            ToolCallStarted(
                call=place,
                id=call_id,
                name=function.name or "",
                signature=thinking.signature_of(call.extra_content),
                choice=self._index,
            )
        )
        return place


def _sealed(thought: Thinking) -> bool:
    return bool(thought.signature or thought.redacted)


def stream_parser() -> Parser:
    """Return what parses a stream of OpenAI's."""
    return StreamParser()
