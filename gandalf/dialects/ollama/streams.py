"""A stream, one object a line: passed through, parsed, and rendered.

Source: https://docs.ollama.com/api/streaming. The last line says ``"done":true``, why
the model stopped and what it used; a line with ``error`` ends a stream that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal

import msgspec

from gandalf.dialects import ndjson
from gandalf.dialects.base import UNREADABLE, Call
from gandalf.dialects.conversation import (
    Ended,
    Event,
    Failed,
    Finish,
    Finished,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Unread,
    UsageReported,
)
from gandalf.dialects.ends import bad_end
from gandalf.dialects.lenient import checked, is_scalar
from gandalf.dialects.ollama import wire
from gandalf.dialects.ollama.answers import (
    AnswerView,
    calls_of,
    decode_answer,
    failed_end,
    is_without_message,
    message_of,
    neutral_logprobs,
    own_logprobs,
    placed,
    read_odd_answer,
    rendered_calls,
    tokens_of,
)
from gandalf.dialects.ollama.errors import failed_in
from gandalf.dialects.ollama.finishes import finish_of, reason_of
from gandalf.dialects.unread import (
    NOT_JSON,
    UNKNOWN_SHAPE,
    count,
    is_json,
    is_utf8,
    read_leniently,
)
from gandalf.domain.usage import TokenUsage

# What is not JSON may be the page of a proxy, or half of what the model said. To leave
# it out would make the answer silently short.
_NONSENSE = Failed(message="a line of the stream is not JSON")


_UNKNOWN = Unread("unknown_type")
_EMPTY = AnswerView()


class AnswerStream:
    """Follows one upstream's stream: what of it the client gets, and what it says.

    Whole lines go on as they came, many at a time, unless something in them needs a
    closer look: the end, an error, or a line that cannot be read. The rule for that is
    told in ``gandalf.dialects.unread``.
    """

    __slots__ = (
        "_buffer",
        "content_seen",
        "done",
        "ending",
        "failed",
        "finish_reason",
        "unread",
        "usage",
    )

    def __init__(self) -> None:
        self._buffer = ndjson.LineBuffer()
        self.usage: TokenUsage | None = None
        self.finish_reason: str | None = None
        self.done = False
        """The stream's own last line was seen."""
        self.ending = b""
        """That line, which the client gets when all is accounted for."""
        self.failed: Failed | None = None
        """The error that the upstream put into the stream."""
        self.content_seen = False
        """Something of the answer itself, not just its frame, has come."""
        self.unread: dict[str, int] = {}
        """Lines that were not read, counted by reason."""

    def feed(self, data: bytes) -> bytes:
        """Return the client's share of the lines that ``data`` completes.

        Raises:
            sse.EventTooLarge: A line does not end.
        """
        if self.done or self.failed is not None:
            return b""
        block = self._buffer.feed(data)
        if not block or (self.content_seen and _unremarkable(block)):
            return block
        return b"".join(line for line in ndjson.split(block) if self._keeps(line))

    def flush(self) -> bytes:
        """Return the client's share of what is left when the upstream has ended.

        That is a last line without its end, or the first part of one that was cut.
        """
        rest = self._buffer.flush().strip()
        if not rest or self.done or self.failed is not None or not is_json(rest):
            return b""
        rest += b"\n"
        return rest if self._keeps(rest) else b""

    def finished(self, choices: int) -> bool:
        """Whether the answer, of which there is never more than one, is complete."""
        return self.done

    def _keeps(self, line: bytes) -> bool:
        """Note what ``line`` says; return whether the client gets it now."""
        if self.done or self.failed is not None:
            return False
        if not line.strip():
            # An empty line is nothing to the upstream, and too much for some clients.
            return False
        view = self._read(line)
        if view is None:
            return True
        self.failed = failed_in(view.error)
        if self.failed is not None:
            return False
        return self._note(view, line)

    def _read(self, line: bytes) -> AnswerView | None:
        try:
            view = decode_answer(line)
            if is_utf8(line):
                return view
        except UNREADABLE:
            pass
        lenient = read_leniently(line, AnswerView)
        count(self.unread, NOT_JSON if lenient is None else UNKNOWN_SHAPE)
        return lenient

    def _note(self, view: AnswerView, line: bytes) -> bool:
        if view.done:
            self.failed = failed_end(view, line)
            if self.failed is not None:
                return False
            self.done = self.content_seen = True
            self.finish_reason = view.done_reason
            self.usage = tokens_of(view)
            self.ending = line
            return False
        if not self.content_seen:
            message = message_of(view)
            self.content_seen = bool(
                message.content
                or message.thinking
                or message.tool_calls
                or message.images
            )
        return True


def _unremarkable(block: bytes) -> bool:
    """Whether ``block`` holds nothing but ordinary, well-formed lines."""
    if not (block.startswith(b'{"') and block.endswith(b"}\n") and is_utf8(block)):
        return False
    try:
        # All at once: that is several times faster than one after the other.
        return len(_decode_plain.decode_lines(block)) == block.count(b"\n")
    except UNREADABLE:
        return False


class _Plain(msgspec.Struct):
    """A line that says nothing but content."""

    done: Literal[False]
    error: None = None


_decode_plain = msgspec.json.Decoder(_Plain)


class StreamParser:
    """Turns one upstream's stream into neutral events."""

    __slots__ = ("_buffer", "_calls", "_over", "_started")

    def __init__(self) -> None:
        self._buffer = ndjson.LineBuffer()
        self._calls = 0
        self._started = False
        self._over = False

    def feed(self, data: bytes) -> Sequence[Event]:
        """Return the events that ``data`` completes. Raises sse.EventTooLarge."""
        events: list[Event] = []
        if self._over:
            return events
        block = self._buffer.feed(data)
        whole = is_utf8(block)
        for line in ndjson.split(block):
            try:
                view = decode_answer(line if whole else checked(line))
            except UNREADABLE:
                self._odd(line, events)
            else:
                self._take(view, events)
            if self._over:
                break
        return events

    def _odd(self, line: bytes, events: list[Event]) -> None:
        """Add what ``line`` means, which is not what Ollama writes."""
        if not line.strip():
            return
        try:
            view, lost = read_odd_answer(line)
        except UNREADABLE:
            if is_scalar(line):
                events.append(_UNKNOWN)
            else:
                self._fail(_NONSENSE, events)
            return
        events += [Unread(f"unreadable_{member}") for member in lost]
        self._take(view, events)

    def _take(self, view: AnswerView, events: list[Event]) -> None:
        try:
            self._read(view, events)
        except UNREADABLE:
            self._fail(_NONSENSE, events)

    def _fail(self, failed: Failed, events: list[Event]) -> None:
        self._over = True
        events.append(failed)

    def flush(self) -> Sequence[Event]:
        """Return the events of what is left when the upstream has ended.

        That is a last line without its end, or the first part of one that was cut.
        """
        events: list[Event] = []
        rest = self._buffer.flush()
        if not self._over:
            with suppress(*UNREADABLE):
                self._take(decode_answer(rest), events)
        return events

    def _read(self, view: AnswerView, events: list[Event]) -> None:
        if failed := failed_in(view.error):
            self._fail(failed, events)
            return
        if is_without_message(view) and not view.done:
            if view.type is None and view != _EMPTY:
                raise msgspec.ValidationError("a line has no message")
            events += (_UNKNOWN,) if view.type is not None else ()
            return
        if not self._started:
            self._started = True
            created = wire.unix_time(view.created_at)
            events.append(Started(model=view.model, created=created))
        message = message_of(view)
        if message.thinking:
            events.append(ThinkingDelta(text=message.thinking))
        if message.content or view.logprobs:
            logprobs = neutral_logprobs(view.logprobs)
            events.append(TextDelta(text=message.content or "", logprobs=logprobs))
        if message.tool_calls:
            self._read_calls(message.tool_calls, view.created_at, events)
        if view.done:
            self._read_end(view, events)

    def _read_calls(
        self, calls: list[wire.ToolCall], created_at: str, events: list[Event]
    ) -> None:
        for call in calls_of(calls, created_at, self._calls):
            number = self._calls
            events.append(ToolCallStarted(call=number, id=call.id, name=call.name))
            events.append(ToolCallDelta(call=number, arguments=call.arguments))
            self._calls += 1

    def _read_end(self, view: AnswerView, events: list[Event]) -> None:
        self._over = True
        finish = finish_of(view.done_reason, called=self._calls > 0)
        if finish is None:
            events.append(bad_end(view.done_reason))
            return
        events.append(Finished(finish=finish))
        usage = tokens_of(view)
        if usage is not None:
            events.append(UsageReported(usage))
        events.append(Ended())


class StreamRenderer:
    """Turns neutral events into one client's stream.

    Ollama has no pieces of a call: its arguments are collected, and all calls are told
    in one line when the answer is finished.
    """

    __slots__ = (
        "_after",
        "_before",
        "_call",
        "_calls",
        "_finish",
        "_started",
        "_usage",
    )

    def __init__(self, call: Call) -> None:
        self._call = call
        self._started = Started()
        self._before = b""
        self._after = b',"done":false}' if _generates(call) else b'},"done":false}'
        self._calls: dict[int, tuple[ToolCallStarted, list[str]]] = {}
        self._finish: Finish | None = None
        self._usage: TokenUsage | None = None

    def render(self, events: Sequence[Event]) -> bytes:
        """Return the lines that say ``events``."""
        lines: list[bytes] = []
        for event in events:
            if isinstance(event, TextDelta):
                lines.append(self._text(event))
            else:
                handle = _HANDLERS.get(type(event))
                if handle is not None and not getattr(event, "choice", 0):
                    lines.append(handle(self, event))
        return b"".join(lines)

    @property
    def ending(self) -> bytes:
        """The line with ``done``, with all that had to wait for the stream's end."""
        end = {
            **self._frame(),
            **placed({"content": ""}, self._call.operation),
            "done": True,
            "done_reason": reason_of(self._finish),
            **wire.counts_of(self._usage),
        }
        return self._flushed_calls() + ndjson.line(_encode(end))

    def _text(self, event: TextDelta) -> bytes:
        if event.choice or not (event.text or event.logprobs):
            return b""
        if event.logprobs:
            logprobs = {"logprobs": own_logprobs(event.logprobs)}
            return self._line({"content": event.text}, **logprobs)
        before = self._before or self._begun()
        return ndjson.line(before + _encode(event.text) + self._after)

    def _begun(self) -> bytes:
        """Return what comes before the text of each line."""
        frame = _encode(self._frame()).removesuffix(b"}")
        member = b"" if _generates(self._call) else b'"message":{"role":"assistant",'
        name = b'"response":' if _generates(self._call) else b'"content":'
        self._before = frame + b"," + member + name
        return self._before

    def _frame(self) -> dict[str, Any]:
        started = self._started
        return {
            "model": started.model or self._call.model,
            "created_at": wire.rfc3339(started.created),
        }

    def _line(self, message: dict[str, Any], **more: Any) -> bytes:  # noqa: ANN401
        said = placed(message, self._call.operation)
        return ndjson.line(_encode({**self._frame(), **said, "done": False, **more}))

    def _start(self, event: Started) -> bytes:
        self._started = event
        self._before = b""
        return b""

    def _thinking(self, event: ThinkingDelta) -> bytes:
        if not event.text:
            return b""
        before = self._before or self._begun()
        thought = b'"","thinking":' + _encode(event.text)
        return ndjson.line(before + thought + self._after)

    def _refusal(self, event: RefusalDelta) -> bytes:
        return self._text(TextDelta(text=event.text))

    def _start_call(self, event: ToolCallStarted) -> bytes:
        self._calls[event.call] = (event, [])
        return b""

    def _go_on_call(self, event: ToolCallDelta) -> bytes:
        if event.call in self._calls:
            self._calls[event.call][1].append(event.arguments)
        return b""

    def _end(self, event: Finished) -> bytes:
        self._finish = event.finish
        return self._flushed_calls()

    def _note_usage(self, event: UsageReported) -> bytes:
        self._usage = event.usage
        return b""

    def _flushed_calls(self) -> bytes:
        calls = [
            ToolCall(id=started.id, name=started.name, arguments="".join(pieces))
            for started, pieces in self._calls.values()
        ]
        self._calls.clear()
        if not calls:
            return b""
        rendered, failed = rendered_calls(calls)
        message: dict[str, Any] = {"content": "".join(failed)}
        if rendered:
            message["tool_calls"] = rendered
        return self._line(message)


_encode = msgspec.json.Encoder().encode

_HANDLERS: dict[type, Callable[[StreamRenderer, Any], bytes]] = {
    Started: StreamRenderer._start,
    ThinkingDelta: StreamRenderer._thinking,
    RefusalDelta: StreamRenderer._refusal,
    ToolCallStarted: StreamRenderer._start_call,
    ToolCallDelta: StreamRenderer._go_on_call,
    Finished: StreamRenderer._end,
    UsageReported: StreamRenderer._note_usage,
}


def _generates(call: Call) -> bool:
    return call.operation == "generate"
