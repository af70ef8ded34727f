"""Neutral events as a stream of chat completion chunks, or of legacy ones.

Source: https://platform.openai.com/docs/api-reference/chat/streaming. Rules:

- The first chunk of a choice says the role. A call begins with id and name at its own
  index, and its arguments follow there.
- Thinking goes on as it comes in ``reasoning_content``; its seal needs the whole block,
  so ``thinking_blocks`` and ``reasoning_details`` come at the block's end. Their
  entries have an ``index``, without which OpenAI's SDK cannot join them.
- Usage comes in a chunk without choices, last before ``[DONE]``, and only if the
  client asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gandalf.dialects.base import Call
from gandalf.dialects.base import StreamRenderer as Renderer
from gandalf.dialects.conversation import (
    CitationDelta,
    Event,
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
from gandalf.dialects.openai.answers import usage_json
from gandalf.dialects.openai.calls import Call as OpenAICall
from gandalf.dialects.openai.citations import annotation_of
from gandalf.dialects.openai.finishes import reason_of
from gandalf.dialects.openai.streams import DONE
from gandalf.dialects.openai.translated import new_id, now, text_logprobs
from gandalf.domain.usage import TokenUsage

_encode = msgspec.json.Encoder().encode
_PLAIN = b'},"logprobs":null,"finish_reason":null}]}\n\n'

Write = Callable[[bytes], None]
Json = dict[str, Any]


def stream_renderer(call: Call) -> Renderer:
    """Return what renders the stream that answers ``call``."""
    assert isinstance(call, OpenAICall)  # noqa: S101 - no other dialect's comes here
    return _TextRenderer(call) if call.operation == "completions" else _Chat(call)


class _Chunks:
    """What chunks of both kinds have in common: the frame, and the usage at the end."""

    kind: str
    legacy: bool

    __slots__ = ("_asked_usage", "_frame", "_functions", "_model", "_usage")

    def __init__(self, call: OpenAICall) -> None:
        self._model = call.model
        self._functions = call.functions
        self._asked_usage = call.include_usage
        self._usage: TokenUsage | None = None
        self._frame = b""

    def _note(self, event: Event) -> None:
        if isinstance(event, Started):
            self._begin(event)
        elif isinstance(event, UsageReported):
            self._usage = event.usage

    def _begin(self, started: Started) -> None:
        frame = {
            "id": started.id or new_id(legacy=self.legacy),
            "object": self.kind,
            "created": started.created or now(),
            "model": started.model or self._model,
        }
        self._frame = b"data: %b," % _encode(frame)[:-1]

    def _head(self, choice: int) -> bytes:
        """Return how the chunks of ``choice`` begin."""
        if not self._frame:
            self._begin(Started())
        return b'%b"choices":[{"index":%d,' % (self._frame, choice)

    @property
    def ending(self) -> bytes:
        """What completes the stream; asked for once, of a whole answer."""
        if self._usage is None or not self._asked_usage:
            return DONE
        if not self._frame:
            self._begin(Started())
        usage = _encode(usage_json(self._usage))
        return b'%b"choices":[],"usage":%b}\n\n%b' % (self._frame, usage, DONE)


class _Chat(_Chunks):
    """Renders ``chat.completion.chunk``."""

    kind = "chat.completion.chunk"
    legacy = False

    __slots__ = ("_choices",)

    def __init__(self, call: OpenAICall) -> None:
        super().__init__(call)
        self._choices: dict[int, _Choice] = {}

    def render(self, events: Sequence[Event]) -> bytes:
        """Return the chunks for ``events``."""
        pieces: list[bytes] = []
        choices = self._choices
        for event in events:
            writer = _WRITERS.get(type(event))
            if writer is None:
                self._note(event)
                continue
            index: int = event.choice  # type: ignore[union-attr]
            choice = choices.get(index)
            if choice is None:
                choice = choices[index] = self._open(index, pieces)
            writer(choice, event, pieces.append)
        return b"".join(pieces)

    def _open(self, index: int, pieces: list[bytes]) -> _Choice:
        choice = _Choice(self._head(index) + b'"delta":', functions=self._functions)
        role = {"role": "assistant", "content": "", "refusal": None}
        choice.write(role, pieces.append)
        return choice


class _Choice:
    """Writes the chunks of one choice.

    Args:
        head: How each begins, up to its delta.
        functions: Whether the client knows only legacy functions.
    """

    __slots__ = (
        "_annotated",
        "_annotations",
        "_blocks",
        "_details",
        "_functions",
        "_head",
        "_length",
        "_refused",
        "_text_head",
        "_thought",
    )

    def __init__(self, head: bytes, *, functions: bool) -> None:
        self._head = head
        self._text_head = head + b'{"content":'
        self._functions = functions
        self._thought: list[str] = []
        """The block of thinking under way."""
        self._blocks = 0
        self._details = 0
        self._annotations = 0
        self._annotated = 0
        """Up to where the text has its citations."""
        self._length = 0
        self._refused = False

    def write(
        self,
        delta: Json,
        write: Write,
        *,
        logprobs: object = None,
        reason: str | None = None,
    ) -> None:
        """Write a chunk."""
        write(
            b'%b%b,"logprobs":%b,"finish_reason":%b}]}\n\n'
            % (self._head, _encode(delta), _encode(logprobs), _encode(reason))
        )

    def text(self, event: TextDelta, write: Write) -> None:
        self._length += len(event.text)
        if self._thought:
            self._thought.clear()
        if event.logprobs is None and event.signature is None:
            write(b"%b%b%b" % (self._text_head, _encode(event.text), _PLAIN))
            return
        delta: Json = {"content": event.text}
        if event.signature:
            # Without ``reasoning_details``, which behind a text open another thought.
            delta["extra_content"] = thinking.extra_content(event.signature)
        self.write(delta, write, logprobs=event.logprobs)

    def refusal(self, event: RefusalDelta, write: Write) -> None:
        self._refused = True
        self.write({"refusal": event.text}, write)

    def citation(self, event: CitationDelta, write: Write) -> None:
        annotation = annotation_of(event.citation, self._annotated, self._length)
        if annotation is None:
            return
        self._annotated = self._length
        self.write({"annotations": [{"index": self._annotations, **annotation}]}, write)
        self._annotations += 1

    def thinking(self, event: ThinkingDelta, write: Write) -> None:
        if event.text:
            self._thought.append(event.text)
            self.write({"reasoning_content": event.text}, write)
        if event.signature or event.redacted:
            thought = Thinking(
                text="" if event.redacted else "".join(self._thought),
                signature=event.signature,
                redacted=event.redacted,
                origin=event.origin,
            )
            self._thought.clear()
            blocks = _numbered(thinking.blocks_of([thought]), self._blocks)
            self._blocks += len(blocks)
            details = self._sealed(thinking.details_of([thought]))
            self.write({"thinking_blocks": blocks, **details}, write)

    def _sealed(self, details: list[Json]) -> Json:
        numbered = _numbered(details, self._details)
        self._details += len(details)
        return {"reasoning_details": numbered}

    def call(self, event: ToolCallStarted, write: Write) -> None:
        self._thought.clear()
        function = {"name": event.name, "arguments": ""}
        if self._functions:
            if event.call == 0:
                self.write({"function_call": function}, write)
            return
        call: Json = {
            "index": event.call,
            "id": event.id,
            "type": "function",
            "function": function,
        }
        delta: Json = {"tool_calls": [call]}
        if event.signature:
            call["extra_content"] = thinking.extra_content(event.signature)
            seal = thinking.call_seal(event.signature, event.id)
            delta |= self._sealed([seal])
        self.write(delta, write)

    def arguments(self, event: ToolCallDelta, write: Write) -> None:
        arguments = _encode(event.arguments)
        if not self._functions:
            head = b'{"tool_calls":[{"index":%d,"function":{"arguments":' % event.call
            write(b"%b%b%b}}]%b" % (self._head, head, arguments, _PLAIN))
        elif event.call == 0:
            head = b'{"function_call":{"arguments":'
            write(b"%b%b%b}%b" % (self._head, head, arguments, _PLAIN))

    def finish(self, event: Finished, write: Write) -> None:
        reason = reason_of(
            event.finish, refused=self._refused, functions=self._functions
        )
        self.write({}, write, reason=reason)


_WRITERS: dict[type, Callable[[_Choice, Any, Write], None]] = {
    TextDelta: _Choice.text,
    RefusalDelta: _Choice.refusal,
    CitationDelta: _Choice.citation,
    ThinkingDelta: _Choice.thinking,
    ToolCallStarted: _Choice.call,
    ToolCallDelta: _Choice.arguments,
    Finished: _Choice.finish,
}


def _numbered(entries: list[Json], first: int) -> list[Json]:
    return [{"index": first + i, **entry} for i, entry in enumerate(entries)]


class _TextRenderer(_Chunks):
    """Renders chunks of a ``text_completion``, which hold text and nothing else."""

    kind = "text_completion"
    legacy = True

    __slots__ = ("_lengths",)

    def __init__(self, call: OpenAICall) -> None:
        super().__init__(call)
        self._lengths: dict[int, int] = {}

    def render(self, events: Sequence[Event]) -> bytes:
        """Return the chunks for ``events``."""
        pieces: list[bytes] = []
        for event in events:
            if isinstance(event, TextDelta):
                length = self._lengths.get(event.choice, 0)
                self._lengths[event.choice] = length + len(event.text)
                logprobs = text_logprobs(event.logprobs, length)
                pieces.append(self._chunk(event.choice, event.text, logprobs))
            elif isinstance(event, RefusalDelta):
                pieces.append(self._chunk(event.choice, event.text))
            elif isinstance(event, Finished):
                reason = reason_of(event.finish, refused=True)
                pieces.append(self._chunk(event.choice, "", reason=reason))
            else:
                self._note(event)
        return b"".join(pieces)

    def _chunk(
        self,
        choice: int,
        text: str,
        logprobs: Json | None = None,
        reason: str | None = None,
    ) -> bytes:
        return b'%b"text":%b,"logprobs":%b,"finish_reason":%b}]}\n\n' % (
            self._head(choice),
            _encode(text),
            _encode(logprobs),
            _encode(reason),
        )
