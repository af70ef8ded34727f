"""From a client's dialect to an upstream's and back, over the neutral model.

What a request loses on the way is never silent: each dialect's table says of every
feature whether it is mapped, approximated, dropped or refused there, and what was
dropped or approximated is told to the client in headers, or refused if it is strict.
"""

from __future__ import annotations

import msgspec

from gandalf.dialects.base import Call, Dialect, StreamParser, StreamRenderer
from gandalf.dialects.conversation import (
    CitationDelta,
    Ended,
    Event,
    Failed,
    Finished,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallStarted,
    Treatment,
    UsageReported,
)
from gandalf.domain.errors import BadRequest
from gandalf.domain.usage import TokenUsage


class Translated(msgspec.Struct, frozen=True):
    """A request in the upstream's dialect, and what it lost on the way."""

    body: bytes
    dropped: tuple[str, ...] = ()
    """Names of fields in the client's dialect."""
    approximated: tuple[str, ...] = ()


def translate_request(
    call: Call, spoken: Dialect, model: str, *, source: Dialect, strict: bool
) -> Translated:
    """Return ``call`` as an upstream of the dialect ``spoken`` understands it.

    Raises:
        BadRequest: It cannot be said in that dialect, or only with a loss that
            ``strict`` forbids.
    """
    if call.operation == "embeddings":
        return _translate_embeddings(call, spoken, model, source=source, strict=strict)
    if call.operation != "chat":
        raise BadRequest(
            f"{call.operation} is not to be had from the model's provider "
            f"({spoken.NAME})",
            code="unsupported_operation",
        )
    conversation = source.parse_request(call)
    treatments = spoken.TREATMENTS
    fields: dict[Treatment, list[str]] = {treatment: [] for treatment in Treatment}
    for feature, field in conversation.used.items():
        fields[treatments[feature]].append(field)
    dropped = (*fields[Treatment.DROPPED], *conversation.unknown)
    approximated = tuple(fields[Treatment.APPROXIMATED])
    if refused := fields[Treatment.REFUSED]:
        raise BadRequest(
            f"the model's provider ({spoken.NAME}) has no {', '.join(refused)}",
            code="unsupported_parameter",
            param=refused[0],
        )
    if strict:
        _refuse_losses((*dropped, *approximated), spoken)
    body = spoken.render_request(conversation, model)
    return Translated(body, dropped, approximated)


def translate_answer(
    call: Call, body: bytes, *, spoken: Dialect, source: Dialect
) -> bytes:
    """Return an answer in the dialect ``spoken`` as the client's dialect has it.

    Raises:
        UNREADABLE: It is no answer.
    """
    if call.operation == "embeddings":
        return source.render_embeddings(spoken.parse_embeddings(body), call)
    return source.render_answer(spoken.parse_answer(body), call)


def _translate_embeddings(
    call: Call, spoken: Dialect, model: str, *, source: Dialect, strict: bool
) -> Translated:
    request = source.parse_embeddings_request(call)
    if strict:
        _refuse_losses(request.unknown, spoken)
    body = spoken.render_embeddings_request(request, model)
    return Translated(body, request.unknown)


def _refuse_losses(lost: tuple[str, ...], spoken: Dialect) -> None:
    if lost:
        raise BadRequest(
            f"the model's provider ({spoken.NAME}) has nothing that is just like "
            f"{', '.join(lost)}, and this request is strict",
            code="unsupported_parameter",
            param=lost[0],
        )


_CONTENT = (TextDelta, CitationDelta, ThinkingDelta, RefusalDelta, ToolCallStarted)


class TranslatedStream:
    """Follows an upstream's stream of one dialect for a client of another."""

    __slots__ = (
        "_finished",
        "_parser",
        "_renderer",
        "content_seen",
        "done",
        "failed",
        "finish_reason",
        "usage",
    )

    def __init__(self, parser: StreamParser, renderer: StreamRenderer) -> None:
        self._parser = parser
        self._renderer = renderer
        self._finished: set[int] = set()
        self.usage: TokenUsage | None = None
        self.finish_reason: str | None = None
        self.done = False
        self.failed: Failed | None = None
        self.content_seen = False

    def feed(self, data: bytes) -> bytes:
        """Return the client's share of what ``data`` completes."""
        return self._render(self._parser.feed(data))

    def flush(self) -> bytes:
        """Return the client's share of what is left when the upstream has ended."""
        return self._render(self._parser.flush())

    def finished(self, choices: int) -> bool:
        """Whether each of the ``choices`` answers has its finish reason."""
        return len(self._finished) >= choices

    @property
    def ending(self) -> bytes:
        """What completes the client's stream."""
        return self._renderer.ending

    def _render(self, events: list[Event]) -> bytes:
        wanted: list[Event] = []
        for event in events:
            if self.done or self.failed is not None:
                break
            if isinstance(event, Failed):
                self.failed = event
            elif isinstance(event, Ended):
                self.done = True
            else:
                self._note(event)
                wanted.append(event)
        return self._renderer.render(wanted) if wanted else b""

    def _note(self, event: Event) -> None:
        if isinstance(event, _CONTENT):
            self.content_seen = True
        elif isinstance(event, Finished):
            self.content_seen = True
            self._finished.add(event.choice)
            self.finish_reason = event.finish.value
        elif isinstance(event, UsageReported):
            self.usage = event.usage
