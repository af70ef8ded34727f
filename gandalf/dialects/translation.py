"""From a client's dialect to an upstream's and back, over the neutral model.

What a request loses on the way is never silent: each dialect's table says of every
feature whether it is mapped, approximated, dropped or refused there, and what was
dropped or approximated is told to the client in headers, or refused if it is strict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gandalf.dialects.base import (
    Call,
    Dialect,
    Rendered,
    StreamParser,
    StreamRenderer,
    UpstreamDialect,
)
from gandalf.dialects.conversation import (
    Choice,
    CitationDelta,
    Completion,
    Conversation,
    Ended,
    Event,
    Failed,
    Feature,
    Finish,
    Finished,
    Part,
    RefusalDelta,
    Text,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Treatment,
    Unread,
    UsageReported,
)
from gandalf.dialects.json_object import is_vast
from gandalf.dialects.mending import mend
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model
from gandalf.domain.usage import TokenUsage

CONVERSATIONS = frozenset({"chat", "completions", "generate"})
"""Operations that any upstream with a chat can answer."""

EMBEDDINGS = frozenset({"embeddings", "batch_embeddings", "legacy_embeddings"})
"""Operations that any upstream with embeddings can answer."""

# Features that are one field of a conversation: what is dropped is not rendered.
_FIELDS = {
    Feature.TOOL_CHOICE: "tool_choice",
    Feature.PARALLEL_TOOL_CALLS: "parallel_tool_calls",
    Feature.THINKING: "reasoning",
    Feature.MAX_TOKENS: "max_tokens",
    Feature.TEMPERATURE: "temperature",
    Feature.TOP_P: "top_p",
    Feature.TOP_K: "top_k",
    Feature.MIN_P: "min_p",
    Feature.SEED: "seed",
    Feature.N: "n",
    Feature.PRESENCE_PENALTY: "presence_penalty",
    Feature.FREQUENCY_PENALTY: "frequency_penalty",
    Feature.REPEAT_PENALTY: "repeat_penalty",
    Feature.LOGIT_BIAS: "logit_bias",
    Feature.USER: "user",
    Feature.METADATA: "metadata",
    Feature.SERVICE_TIER: "service_tier",
}


class Translated(msgspec.Struct, frozen=True, kw_only=True):
    """A request in the upstream's dialect, and what it lost on the way."""

    operation: str
    """What it is there."""
    body: bytes
    json_tool: str = ""
    """As ``Rendered.json_tool``."""
    names: Mapping[str, str] = {}
    """The client's names of tools, by the names that the upstream was told."""
    dropped: tuple[str, ...] = ()
    """Names of fields in the client's dialect."""
    approximated: tuple[str, ...] = ()


def translate_request(
    call: Call, spoken: UpstreamDialect, model: Model, *, source: Dialect, strict: bool
) -> Translated:
    """Return ``call`` as an upstream of the dialect ``spoken`` understands it.

    Raises:
        BadRequest: It cannot be said in that dialect, or only with a loss that
            ``strict`` forbids.
    """
    if is_vast(call.body):
        raise BadRequest("the body has too many values to be translated")
    if call.operation in EMBEDDINGS:
        request = source.parse_embeddings_request(call)
        return _translated(
            "embeddings",
            spoken.render_embeddings_request(request, model),
            Conversation(source=source.NAME, messages=(), unknown=request.unknown),
            spoken.NAME,
            spoken.TREATMENTS,
            strict=strict,
        )
    if call.operation in CONVERSATIONS:
        operation = "chat"
    elif call.operation == "count_tokens" and spoken.parse_count is not None:
        operation = "count_tokens"
    else:
        raise BadRequest(
            f"{call.operation} is not to be had from the model's provider "
            f"({spoken.NAME})",
            code="unsupported_operation",
        )
    conversation = source.parse_request(call)
    _refuse_lone_server_tools(conversation, spoken)
    treatments = _treatments(spoken, model)
    if refused := _of(conversation, treatments, Treatment.REFUSED):
        raise BadRequest(
            f"the model's provider ({spoken.NAME}) has no {', '.join(refused)}",
            code="unsupported_parameter",
            param=refused[0],
        )
    rules = spoken.MENDING
    if not model.compat.late_system:
        rules = rules._replace(late_system=False)
    mended = mend(_without_dropped(conversation, treatments), rules)
    rendered = spoken.render_request(mended.conversation, model, operation)
    rendered = msgspec.structs.replace(
        rendered, approximated=rendered.approximated | mended.approximated
    )
    translated = _translated(
        operation,
        rendered,
        mended.conversation,
        spoken.NAME,
        treatments,
        strict=strict,
    )
    return msgspec.structs.replace(translated, names=mended.names)


def translate_answer(
    call: Call,
    body: bytes,
    *,
    spoken: UpstreamDialect,
    source: Dialect,
    json_tool: str = "",
    names: Mapping[str, str] | None = None,
) -> tuple[bytes, str | None]:
    """Return an answer in the client's dialect, and how it ended (a ``Finish``).

    Raises:
        UNREADABLE: It is no answer.
        AnswerFailed: It reports a failure.
    """
    if call.operation in EMBEDDINGS:
        embeddings = spoken.parse_embeddings(body)
        if not embeddings.vectors:
            raise msgspec.ValidationError("no embeddings")
        return source.render_embeddings(embeddings, call), None
    if call.operation == "count_tokens":
        parse, render = spoken.parse_count, source.render_count
        assert parse is not None  # noqa: S101 - see translate_request
        assert render is not None  # noqa: S101 - its client asks
        return render(parse(body)), None
    completion = spoken.parse_answer(body)
    if json_tool:
        completion = _with_json_as_text(completion, json_tool)
    if names:
        completion = _with_names(completion, names)
    finish = completion.choices[0].finish if completion.choices else None
    return source.render_answer(completion, call), finish.value if finish else None


def _translated(
    operation: str,
    rendered: Rendered,
    conversation: Conversation,
    spoken: str,
    treatments: Mapping[Feature, Treatment],
    *,
    strict: bool,
) -> Translated:
    used = conversation.used
    dropped = [
        *_of(conversation, treatments, Treatment.DROPPED),
        *(used[feature] for feature in used if feature in rendered.dropped),
        *conversation.unknown,
    ]
    approximated = [
        *_of(conversation, treatments, Treatment.APPROXIMATED),
        *(used[feature] for feature in used if feature in rendered.approximated),
    ]
    lost = tuple(dict.fromkeys(dropped))
    inexact = tuple(name for name in dict.fromkeys(approximated) if name not in lost)
    if strict and (lost or inexact):
        raise BadRequest(
            f"the model's provider ({spoken}) has nothing that is just like "
            f"{', '.join((*lost, *inexact))}, and this request is strict",
            code="unsupported_parameter",
            param=(*lost, *inexact)[0],
        )
    return Translated(
        operation=operation,
        body=rendered.body,
        json_tool=rendered.json_tool,
        dropped=lost,
        approximated=inexact,
    )


def _treatments(spoken: UpstreamDialect, model: Model) -> Mapping[Feature, Treatment]:
    """Return what becomes of each feature at ``model``."""
    if model.compat.reasoning_history == "none":
        return spoken.TREATMENTS
    return {**spoken.TREATMENTS, Feature.THINKING_HISTORY: Treatment.MAPPED}


def _refuse_lone_server_tools(
    conversation: Conversation, spoken: UpstreamDialect
) -> None:
    """Refuse a request whose only tools are the provider's own, and would be dropped.

    Without its tool the model makes up what the tool would have found.
    """
    name = conversation.used.get(Feature.SERVER_TOOLS, "")
    if (
        name.startswith("tools")
        and not conversation.tools
        and spoken.TREATMENTS[Feature.SERVER_TOOLS] is Treatment.DROPPED
    ):
        raise BadRequest(
            f"the model's provider ({spoken.NAME}) cannot run the tools of another one,"
            f" and the request has no others: {name}",
            code="unsupported_parameter",
            param=name,
        )


def _of(
    conversation: Conversation,
    treatments: Mapping[Feature, Treatment],
    treatment: Treatment,
) -> list[str]:
    """Return the names of the used features that get this ``treatment``."""
    return [
        name
        for feature, name in conversation.used.items()
        if treatments[feature] is treatment
    ]


def _without_dropped(
    conversation: Conversation, treatments: Mapping[Feature, Treatment]
) -> Conversation:
    fields = {
        _FIELDS[feature]: None
        for feature in conversation.used
        if feature in _FIELDS and treatments[feature] is Treatment.DROPPED
    }
    return msgspec.structs.replace(conversation, **fields) if fields else conversation


# The client's own names of tools.


def _with_names(completion: Completion, names: Mapping[str, str]) -> Completion:
    choices = tuple(
        msgspec.structs.replace(
            choice, parts=tuple(_with_name(part, names) for part in choice.parts)
        )
        for choice in completion.choices
    )
    return msgspec.structs.replace(completion, choices=choices)


def _with_name(part: Part, names: Mapping[str, str]) -> Part:
    if isinstance(part, ToolCall) and part.name in names:
        return msgspec.structs.replace(part, name=names[part.name])
    return part


# An answer's JSON that came as a call of a tool which is none of the client's.


def _with_json_as_text(completion: Completion, json_tool: str) -> Completion:
    choices = tuple(_json_choice(choice, json_tool) for choice in completion.choices)
    return msgspec.structs.replace(completion, choices=choices)


def _json_choice(choice: Choice, json_tool: str) -> Choice:
    def is_json(part: Part) -> bool:
        return isinstance(part, ToolCall) and part.name == json_tool

    if not any(map(is_json, choice.parts)):
        return choice
    parts = tuple(
        Text(text=part.arguments)
        if isinstance(part, ToolCall) and part.name == json_tool
        else part
        for part in choice.parts
        # What it says beside the JSON would make it invalid.
        if not isinstance(part, Text)
    )
    finish = choice.finish
    if finish is Finish.TOOL_CALLS and not any(isinstance(p, ToolCall) for p in parts):
        finish = Finish.STOP
    return msgspec.structs.replace(choice, parts=parts, finish=finish)


class _JsonAsText:
    """Turns the calls of a stream's JSON tool into text.

    What is said beside the JSON would make it invalid. So the first text, and all that
    comes after it, waits until there is such a call, or the end of an answer that has
    none: one that was cut short, or in which the model did not do as it was told.
    """

    __slots__ = ("_held", "_json", "_name", "_numbers")

    def __init__(self, name: str) -> None:
        self._name = name
        self._json: set[int] = set()
        """The calls of the JSON tool."""
        self._numbers: dict[int, int] = {}
        """The others, counted as if there were no more than they."""
        self._held: list[Event] = []

    def convert(self, event: Event) -> list[Event]:
        """Return what the client gets, now, after ``event``."""
        if isinstance(event, ToolCallStarted):
            return self._started(event)
        if isinstance(event, ToolCallDelta):
            return self._went_on(event)
        if isinstance(event, _SAID):
            if not self._json:
                self._held.append(event)
            return []
        if isinstance(event, Finished):
            return [*self.rest(), self._finished(event)]
        return self._in_turn(event)

    def rest(self) -> list[Event]:
        """Return what has waited."""
        held, self._held = self._held, []
        return held

    def _started(self, event: ToolCallStarted) -> list[Event]:
        if event.name == self._name:
            self._json.add(event.call)
            return [held for held in self.rest() if not isinstance(held, _SAID)]
        number = self._numbers[event.call] = len(self._numbers)
        return self._in_turn(msgspec.structs.replace(event, call=number))

    def _went_on(self, event: ToolCallDelta) -> list[Event]:
        if event.call in self._json:
            return [TextDelta(text=event.arguments, choice=event.choice)]
        number = self._numbers[event.call]
        return self._in_turn(msgspec.structs.replace(event, call=number))

    def _finished(self, event: Finished) -> Finished:
        answered = self._json and not self._numbers
        if event.finish is Finish.TOOL_CALLS and answered:
            return msgspec.structs.replace(event, finish=Finish.STOP)
        return event

    def _in_turn(self, event: Event) -> list[Event]:
        if not self._held:
            return [event]
        self._held.append(event)
        return []


_SAID = (TextDelta, CitationDelta)


_PIECES = frozenset((TextDelta, ThinkingDelta, ToolCallDelta))


def _is_content(event: Event) -> bool:
    """Return whether ``event`` has a part of the answer in it, not just its beginning.

    A call has none before its arguments: until then another target can still be tried.
    """
    if isinstance(event, TextDelta | RefusalDelta):
        return bool(event.text)
    if isinstance(event, ThinkingDelta):
        return bool(event.text or event.redacted)
    if isinstance(event, ToolCallDelta):
        return bool(event.arguments)
    return isinstance(event, CitationDelta)


class TranslatedStream:
    """Follows an upstream's stream of one dialect for a client of another."""

    __slots__ = (
        "_begun",
        "_finished",
        "_json",
        "_names",
        "_parser",
        "_renderer",
        "content_seen",
        "done",
        "failed",
        "finish_reason",
        "unread",
        "usage",
    )

    def __init__(
        self,
        parser: StreamParser,
        renderer: StreamRenderer,
        json_tool: str = "",
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._names = names or {}
        self._parser = parser
        self._renderer = renderer
        self._json = _JsonAsText(json_tool) if json_tool else None
        self._begun: set[int] = set()
        """Choices of which a part has come."""
        self._finished: set[int] = set()
        self.usage: TokenUsage | None = None
        self.finish_reason: str | None = None
        self.done = False
        self.failed: Failed | None = None
        self.content_seen = False
        self.unread: dict[str, int] = {}
        """Events that were skipped, counted by reason."""

    def feed(self, data: bytes) -> bytes:
        """Return the client's share of what ``data`` completes.

        Raises:
            sse.EventTooLarge: An event does not end.
        """
        return self._render(self._parser.feed(data))

    def flush(self) -> bytes:
        """Return the client's share of what is left when the upstream has ended."""
        return self._render(self._parser.flush())

    def finished(self, choices: int) -> bool:
        """Whether each of the ``choices`` answers, and any that began, is finished."""
        finished = self._finished
        return len(finished) >= choices and finished >= self._begun

    @property
    def ending(self) -> bytes:
        return self._renderer.ending

    def _render(self, events: Sequence[Event]) -> bytes:
        if self.done or self.failed is not None:
            return b""
        wanted: list[Event] = []
        json, begun = self._json, self._begun
        for event in events:
            if type(event) in _PIECES and event.choice in begun and json is None:  # type: ignore[union-attr]
                # Nearly all of them, of which nothing is noted.
                wanted.append(event)
            elif isinstance(event, Failed):
                self.failed = event
                break
            elif isinstance(event, Ended):
                self.done = True
                wanted += json.rest() if json is not None else ()
                break
            elif isinstance(event, Unread):
                self.unread[event.why] = self.unread.get(event.why, 0) + 1
            else:
                if isinstance(event, ToolCallStarted) and event.name in self._names:
                    name = self._names[event.name]
                    event = msgspec.structs.replace(event, name=name)
                self._note(event)
                wanted += (event,) if json is None else json.convert(event)
        return self._renderer.render(wanted) if wanted else b""

    def _note(self, event: Event) -> None:
        if isinstance(event, Finished):
            self.content_seen = True
            self._finished.add(event.choice)
            self.finish_reason = event.finish.value
        elif isinstance(event, UsageReported):
            self.usage = event.usage
        elif _is_content(event):
            self.content_seen = True
            self._begun.add(event.choice)  # type: ignore[union-attr]
