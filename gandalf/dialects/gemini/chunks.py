"""Streams, from and for Gemini's own words.

Each event of a stream is an answer object with the next parts of its candidates.
Function calls come whole, thoughts are parts marked as such, and a signature may come
on any part, even one without text. There is no end marker but each candidate's
``finishReason``.

An event of another shape is read for what it means (``lenient``); what cannot be read
may be a part of the answer, and the stream has failed. A part of a type that is not
known is skipped and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gandalf.dialects import sse
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import (
    CitationDelta,
    Ended,
    Event,
    Failed,
    Finish,
    Finished,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    Unread,
    UsageReported,
)
from gandalf.dialects.ends import bad_end
from gandalf.dialects.gemini.answers import (
    NO_RAW,
    BlobView,
    CandidateView,
    PartView,
    ResponseView,
    decode_response,
    failed_in,
    read_response,
    usage_metadata,
)
from gandalf.dialects.gemini.completions import (
    arguments_of,
    call_id,
    function_call,
    malformed,
    new_response_id,
)
from gandalf.dialects.gemini.errors import failed_of
from gandalf.dialects.gemini.extras import (
    citation_metadata,
    citations_of,
    logprobs_of,
    logprobs_result,
)
from gandalf.dialects.gemini.finishes import finish_of, reason_of
from gandalf.dialects.gemini.framing import Events, payload_of, split
from gandalf.dialects.gemini.signing import signature_of, thinking_of
from gandalf.dialects.lenient import is_scalar
from gandalf.dialects.unread import is_utf8
from gandalf.domain.usage import TokenUsage

Json = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_decode_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_BROKEN = Failed(message="the upstream has sent an event that is not what its API says")
_UNKNOWN = Unread("unknown_part")
_UNKNOWN_TYPE = Unread("unknown_type")
_UNKNOWN_MEMBER = Unread("unknown_member")
_LINES = 2
"""Line ends of an event as Google writes it."""
_MEMBERS = frozenset(
    (
        "candidates",
        "promptFeedback",
        "usageMetadata",
        "modelVersion",
        "modelStatus",
        "responseId",
        "createTime",
    )
)
_FRAMES = frozenset((b"", b"[done]", b"ping", b"null", b"keep-alive"))
"""Data without an answer in it, from compatible servers."""
_KEEP_ALIVES = frozenset((b"ping", b"keep-alive", b"heartbeat"))


class ChunkParser:
    """Turns one upstream's stream into neutral events.

    ``Ended`` comes only after a blocked prompt, which ends a stream whatever was asked
    for. Any other is complete when each of its candidates has finished.
    """

    __slots__ = ("_calls", "_cited", "_events", "_started")

    def __init__(self) -> None:
        self._events = Events()
        self._started = False
        self._calls: dict[int, int] = {}
        self._cited: list[tuple[int, Json]] = []

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
        events = self._parsed(rest + b"\n\n") if rest.strip() else []
        # What is cut off is no hole: that the end is missing tells enough.
        return [event for event in events if event is not _BROKEN]

    def _parsed(self, block: bytes) -> list[Event]:
        events: list[Event] = []
        whole = is_utf8(block)
        for event in split(block):
            if not whole and not is_utf8(event):
                events.append(_BROKEN)
                continue
            payload = payload_of(event)
            if (payload is None or event.count(b"\n") > _LINES) and _is_hole(event):
                events.append(_BROKEN)
            if payload is None:
                continue
            try:
                view = decode_response(payload)
            except UNREADABLE:
                self._odd(event, payload, events)
            else:
                self._take(view, payload, events)
        return events

    def _odd(self, event: bytes, payload: bytes, events: list[Event]) -> None:
        """Add what ``event`` means, which is not what Google writes."""
        name = sse.name_of(event)
        if payload.strip().lower() in _FRAMES or name in _KEEP_ALIVES:
            return
        try:
            view, lost = read_response(payload)
        except UNREADABLE:
            scalar = is_scalar(payload)
            events.append(_UNKNOWN_TYPE if scalar else _failure_of(payload))
            return
        events += [Unread(f"unreadable_{member}") for member in lost]
        self._take(view, payload, events)

    def _take(self, view: ResponseView, payload: bytes, events: list[Event]) -> None:
        try:
            self._read(view, payload, events)
        except UNREADABLE:
            events.append(_BROKEN)

    def _read(self, view: ResponseView, payload: bytes, events: list[Event]) -> None:
        failed = failed_in(view, payload)
        if failed is not None:
            events.append(failed)
            return
        if not view.candidates and not self._may_be_skipped(view, payload, events):
            events.append(_failure_of(payload))
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

    def _may_be_skipped(
        self, view: ResponseView, payload: bytes, events: list[Event]
    ) -> bool:
        """Return whether an object without candidates holds nothing of the answer."""
        members = _decode_names(payload)
        if members.keys() <= _MEMBERS:
            return True
        counted = view.usage_metadata is not None or view.prompt_feedback is not None
        if counted:
            events.append(_UNKNOWN_MEMBER)
        elif "type" in members:
            events.append(_UNKNOWN_TYPE)
        return counted or "type" in members

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
            elif part.file_data is not None:
                shown = f"![]({part.file_data.file_uri})"
                events.append(TextDelta(text=shown, choice=choice))
            elif part.is_unknown:
                events.append(_UNKNOWN)
        if logprobs is not None:
            events.append(TextDelta(text="", choice=choice, logprobs=logprobs))
        self._read_citations(candidate, events)
        if candidate.finish_reason:
            called = choice in self._calls
            finish = finish_of(candidate.finish_reason, called=called)
            events.append(
                Finished(finish=finish, choice=choice)
                if finish is not None
                else bad_end(candidate.finish_reason, candidate.finish_message or "")
            )

    def _read_call(
        self, view: ResponseView, part: PartView, choice: int, events: list[Event]
    ) -> None:
        called = part.function_call
        if called is None:
            return
        if not called.name:
            events.append(_BROKEN)
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


def _failure_of(payload: bytes) -> Failed:
    return failed_of(payload) if b'"error"' in payload else _BROKEN


def _is_hole(event: bytes) -> bool:
    """Return whether data may be lost in the framing of ``event``.

    JSON outside of any data is an error; see ``framing``.
    """
    has_data = sse.data_of(event) is not None
    return (has_data or payload_of(event) is None) and sse.is_strange(event)


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
            "responseId": started.id or new_response_id(),
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
