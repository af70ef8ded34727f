"""Streams, from and for Gemini's own words.

Each event of a stream is an answer object with the next parts of its candidates.
Function calls come whole, thoughts are parts marked as such, and a signature may come
on any part, even one without text. There is no end marker but each candidate's
``finishReason``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import (
    CitationDelta,
    Ended,
    Event,
    Finish,
    Finished,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from gandalf.dialects.gemini.answers import (
    NO_RAW,
    BlobView,
    CandidateView,
    PartView,
    ResponseView,
    decode_response,
    failed_in,
    finish_of,
    reason_of,
    usage_metadata,
)
from gandalf.dialects.gemini.completions import (
    arguments_of,
    call_id,
    function_call,
    malformed,
)
from gandalf.dialects.gemini.extras import (
    citation_metadata,
    citations_of,
    logprobs_of,
    logprobs_result,
)
from gandalf.dialects.gemini.framing import Events, payloads
from gandalf.dialects.gemini.signing import signature_of, thinking_of
from gandalf.domain.usage import TokenUsage

Json = dict[str, Any]

_encode = msgspec.json.Encoder().encode


class ChunkParser:
    """Turns one upstream's stream into neutral events.

    ``Ended`` comes only after a blocked prompt, which ends a stream whatever was asked
    for. Any other is complete when each of its candidates has finished.
    """

    __slots__ = ("_calls", "_cited", "_events", "_started", "malformed")

    def __init__(self) -> None:
        self._events = Events()
        self._started = False
        self._calls: dict[int, int] = {}
        self._cited: list[tuple[int, Json]] = []
        self.malformed = 0
        """Events that were not JSON, and were left out."""

    def feed(self, data: bytes) -> Sequence[Event]:
        """Return the events that ``data`` completes.

        Raises:
            sse.EventTooLarge: An event does not end.
        """
        block = self._events.feed(data)
        return self._parsed(block) if block else ()

    def flush(self) -> Sequence[Event]:
        """Return the events of what is left when the upstream has ended."""
        rest = self._events.flush()
        return self._parsed(rest + b"\n\n") if rest.strip() else ()

    def _parsed(self, block: bytes) -> list[Event]:
        events: list[Event] = []
        for payload in payloads(block):
            try:
                view = decode_response(payload)
                self._read(view, payload, events)
            except UNREADABLE:
                self.malformed += 1
        return events

    def _read(self, view: ResponseView, payload: bytes, events: list[Event]) -> None:
        failed = failed_in(view, payload)
        if failed is not None:
            events.append(failed)
            return
        if not self._started:
            self._started = True
            events.append(Started(id=view.response_id, model=view.model_version))
        for candidate in view.candidates or ():
            self._read_candidate(view, candidate, events)
        blocked = view.blocked is not None
        if blocked:
            events.append(Finished(finish=Finish.CONTENT_FILTER))
        usage = view.tokens
        if usage is not None:
            events.append(UsageReported(usage))
        if blocked:
            events.append(Ended())

    def _read_candidate(
        self, view: ResponseView, candidate: CandidateView, events: list[Event]
    ) -> None:
        choice = candidate.index
        content = candidate.content
        logprobs = None
        if candidate.logprobs_result is not NO_RAW:
            logprobs = logprobs_of(candidate)
        for part in (content.parts if content is not None else None) or ():
            if part.function_call is not None:
                self._read_call(view, part, choice, events)
            elif part.thought:
                events.append(_thinking(part, choice))
            elif part.text or part.thought_signature:
                text = TextDelta(
                    text=part.text or "",
                    choice=choice,
                    logprobs=logprobs,
                    signature=part.thought_signature,
                )
                events.append(text)
                logprobs = None
            elif part.inline_data is not None:
                events.append(TextDelta(text=_shown(part.inline_data), choice=choice))
        if logprobs is not None:
            events.append(TextDelta(text="", choice=choice, logprobs=logprobs))
        self._read_citations(candidate, events)
        if candidate.finish_reason:
            called = choice in self._calls
            finish = finish_of(candidate.finish_reason, called=called)
            events.append(Finished(finish=finish, choice=choice))

    def _read_call(
        self, view: ResponseView, part: PartView, choice: int, events: list[Event]
    ) -> None:
        called = part.function_call
        if called is None:
            return
        call = self._calls.get(choice, 0)
        self._calls[choice] = call + 1
        events.append(
            ToolCallStarted(
                call=call,
                id=call_id(view, called, choice, call),
                name=called.name,
                signature=part.thought_signature,
                choice=choice,
            )
        )
        arguments = arguments_of(called)
        events.append(ToolCallDelta(call=call, arguments=arguments, choice=choice))

    def _read_citations(self, candidate: CandidateView, events: list[Event]) -> None:
        if (
            candidate.citation_metadata is NO_RAW
            and candidate.grounding_metadata is NO_RAW
        ):
            return
        for citation in citations_of(candidate):
            # Each report may repeat those before it.
            if (candidate.index, citation) not in self._cited:
                self._cited.append((candidate.index, citation))
                events.append(CitationDelta(citation=citation, choice=candidate.index))


def _thinking(part: PartView, choice: int) -> ThinkingDelta:
    if not part.thought_signature:
        return ThinkingDelta(text=part.text or "", choice=choice)
    thinking = thinking_of(part.text or "", part.thought_signature)
    return ThinkingDelta(
        text=thinking.text,
        signature=thinking.signature,
        redacted=thinking.redacted,
        origin=thinking.origin,
        choice=choice,
    )


def _shown(blob: BlobView) -> str:
    """Return an image as Markdown shows it: a stream has no other events for one."""
    return f"![](data:{blob.mime_type};base64,{blob.data})"


class _Buffered:
    """A function call on its way: it must be sent whole."""

    __slots__ = ("arguments", "id", "name", "signature")

    def __init__(self, started: ToolCallStarted) -> None:
        self.id = started.id
        self.name = started.name
        self.signature = started.signature
        self.arguments: list[str] = []


class ChunkRenderer:
    """Turns neutral events into the stream of one Gemini client.

    Function calls wait until their candidate finishes, and how it finished, with the
    usage, waits for ``ending``.

    Args:
        model: What the client called the model, if the upstream does not say.
    """

    __slots__ = (
        "_buffered",
        "_citations",
        "_ending",
        "_finishes",
        "_head",
        "_model",
        "_tail",
        "_usage",
    )

    def __init__(self, model: str) -> None:
        self._model = model
        self._finishes: dict[int, Json] = {}
        self._buffered: dict[int, dict[int, _Buffered]] = {}
        self._citations: dict[int, list[Json]] = {}
        self._usage: TokenUsage | None = None
        self._ending: bytes | None = None
        self._begin(Started())

    def render(self, events: Sequence[Event]) -> bytes:
        """Return the client's share of ``events``, for now."""
        told: list[bytes] = []
        for event in events:
            kind = type(event)
            if kind is TextDelta:
                told.append(self._text(event))  # type: ignore[arg-type]
            elif kind is ThinkingDelta:
                told.append(self._thinking(event))  # type: ignore[arg-type]
            else:
                told.append(self._rarer(event))
        return b"".join(told)

    @property
    def ending(self) -> bytes:
        """The last event: function calls, finish reasons, citations and usage."""
        if self._ending is None:
            self._ending = self._last()
        return self._ending

    def _begin(self, started: Started) -> None:
        ends = {
            "modelVersion": started.model or self._model,
            "responseId": started.id,
        }
        self._tail = b"," + _encode(ends)[1:] + b"\n\n"
        self._head = b'data: {"candidates":[{"content":{"parts":[{"text":'

    def _text(self, event: TextDelta) -> bytes:
        if event.signature or event.logprobs is not None:
            return self._rich_text(event)
        if not event.text:
            return b""
        return b'%b%b}],"role":"model"},"index":%d}]%b' % (
            self._head,
            _encode(event.text),
            event.choice,
            self._tail,
        )

    def _rich_text(self, event: TextDelta) -> bytes:
        part: Json = {"text": event.text}
        if event.signature:
            part["thoughtSignature"] = event.signature
        logprobs = logprobs_result(event.logprobs)
        extra = {"logprobsResult": logprobs} if logprobs else {}
        return self._event([_candidate([part], event.choice, extra)])

    def _thinking(self, event: ThinkingDelta) -> bytes:
        signature = signature_of(event)
        if signature:
            part = {
                "text": event.text,
                "thought": True,
                "thoughtSignature": signature,
            }
            return self._event([_candidate([part], event.choice, {})])
        if not event.text:
            return b""
        return b'%b%b,"thought":true}],"role":"model"},"index":%d}]%b' % (
            self._head,
            _encode(event.text),
            event.choice,
            self._tail,
        )

    def _rarer(self, event: Event) -> bytes:
        if isinstance(event, ToolCallDelta):
            call = self._buffered.get(event.choice, {}).get(event.call)
            if call is not None:
                call.arguments.append(event.arguments)
        elif isinstance(event, ToolCallStarted):
            calls = self._buffered.setdefault(event.choice, {})
            calls[event.call] = _Buffered(event)
        elif isinstance(event, RefusalDelta):
            return self._text(TextDelta(text=event.text, choice=event.choice))
        elif isinstance(event, CitationDelta):
            self._citations.setdefault(event.choice, []).append(event.citation)
        elif isinstance(event, Finished):
            self._finishes[event.choice] = {"finishReason": reason_of(event.finish)}
        elif isinstance(event, UsageReported):
            self._usage = event.usage
        elif isinstance(event, Started):
            self._begin(event)
        return b""

    def _last(self) -> bytes:
        choices = sorted({*self._finishes, *self._buffered, *self._citations} or {0})
        return self._event([self._last_of(choice) for choice in choices], self._usage)

    def _last_of(self, choice: int) -> Json:
        ending = self._finishes.get(choice, {})
        parts: list[Json] = []
        for _, call in sorted(self._buffered.get(choice, {}).items()):
            arguments = "".join(call.arguments)
            called = function_call(call.id, call.name, arguments)
            if called is None:
                ending = malformed(call.name, arguments)
                continue
            part: Json = {"functionCall": called}
            if call.signature:
                part["thoughtSignature"] = call.signature
            parts.append(part)
        cited = citation_metadata(self._citations.get(choice, ()))
        extra = {**ending, "citationMetadata": cited} if cited else ending
        # The SDKs' chats take a content without parts for a broken answer.
        return _candidate(parts or [{"text": ""}], choice, extra)

    def _event(self, candidates: list[Json], usage: TokenUsage | None = None) -> bytes:
        told: Json = {"candidates": candidates}
        if usage is not None:
            told["usageMetadata"] = usage_metadata(usage)
        return b"data: " + _encode(told)[:-1] + self._tail


def _candidate(parts: list[Json], choice: int, extra: Json) -> Json:
    content = {"parts": parts, "role": "model"}
    return {"content": content, "index": choice, **extra}
