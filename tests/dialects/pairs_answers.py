"""One neutral answer, and what of it each upstream can say and each client be told.

``answers`` describes answers that say all there is. What an upstream's dialect cannot
say, and what a client's cannot be told, stands in ``UPSTREAM_LIMITS`` and
``CLIENT_LIMITS``: functions that take it out of the description, each with its reason.
All that no limit takes out must arrive.
"""

import json
from collections.abc import Callable

import msgspec
from hypothesis import strategies as st

from gandalf.dialects.conversation import (
    Choice,
    Completion,
    Finish,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from gandalf.domain.usage import TokenUsage

JSON_TOOL = "answer_in_json"

replace = msgspec.structs.replace


# What can be said.

_SHORT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
_ODD = st.sampled_from(
    [
        "\u2028",
        "a\u2029b\x85c",
        "\r\n",
        "data: [DONE]\n\n",
        '"}]}\n',
        "\U0001f9d9\u200d",
    ]
)
WORDS = _SHORT | _ODD | st.builds(str.__add__, _SHORT, _ODD)
_SEALS = st.text("abcXYZ019+/=", min_size=1, max_size=12)
_NAMES = st.text("abc_", min_size=1, max_size=6)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2)
    ),
    max_leaves=4,
)
ARGUMENTS = st.just({}) | st.dictionaries(WORDS | st.just(""), _JSON, max_size=3)
_COUNTS = st.integers(1, 9999)
USAGES = st.builds(
    TokenUsage,
    input=_COUNTS,
    cache_read=st.none() | _COUNTS,
    cache_write=st.none() | _COUNTS,
    cache_write_1h=st.none() | _COUNTS,
    output=_COUNTS,
    reasoning=st.none() | _COUNTS,
)


@st.composite
def _thoughts(draw, *, sealed):
    if sealed and draw(st.booleans()):
        return Thinking(redacted=draw(_SEALS), origin="its own")
    if sealed:
        return Thinking(text=draw(WORDS), signature=draw(_SEALS), origin="its own")
    return Thinking(text=draw(WORDS))


@st.composite
def answers(draw, *, json_tool=False):
    # A provider that seals what its models think seals all of it.
    sealed = draw(st.booleans())
    signed = draw(st.booleans())
    names = _NAMES | st.just(JSON_TOOL) if json_tool else _NAMES
    calls = st.builds(
        ToolCall,
        id=st.just(""),
        name=names,
        # Where they become text they are compared as they are written by all fakes.
        arguments=ARGUMENTS.map(lambda each: json.dumps(each, ensure_ascii=json_tool)),
        signature=_SEALS if signed else st.none(),
    )
    parts = draw(
        st.lists(
            _thoughts(sealed=sealed) | st.builds(Text, text=WORDS) | calls, max_size=5
        )
    )
    if draw(st.sampled_from([False, False, True])):
        parts.append(Refusal(draw(WORDS)))
    parts = [
        replace(part, id=f"call_{place}") if isinstance(part, ToolCall) else part
        for place, part in enumerate(parts)
    ]
    called = any(isinstance(part, ToolCall) for part in parts)
    finish = draw(st.sampled_from([*Finish, *[Finish.TOOL_CALLS] * 5 * called]))
    stopped = finish is Finish.STOP_SEQUENCE
    choice = Choice(
        parts=tuple(parts),
        finish=finish,
        stop_sequence=draw(WORDS) if stopped else None,
        signature=draw(_SEALS) if signed and draw(st.booleans()) else None,
    )
    return Completion(
        id="answer-1", model="some-model", choices=(choice,), usage=draw(USAGES)
    )


# Limits of parts.

Limit = Callable[[Choice], Choice]


def is_sealed(part):
    return isinstance(part, Thinking) and bool(part.signature or part.redacted)


def _goes_on(part):
    return not isinstance(part, ToolCall) and not is_sealed(part)


def merged(choice):
    """Neighbours of one kind are one part that came in pieces; blank ones are none."""
    parts = []
    for part in choice.parts:
        last = parts[-1] if parts else None
        if type(last) is type(part) and _goes_on(last):
            parts[-1] = replace(last, text=last.text + part.text)
        elif not isinstance(part, Text) or part.text:
            parts.append(part)
    return replace(choice, parts=tuple(parts))


def in_fields(choice):
    """A message has fields, not parts: thinking, text, refusal and calls."""
    kinds = (Thinking, Text, Refusal, ToolCall)
    return merged(
        replace(
            choice,
            parts=tuple(
                part for kind in kinds for part in choice.parts if type(part) is kind
            ),
        )
    )


def calls_last(choice):
    """A call has no pieces: all wait for the end of the stream."""
    calls = tuple(part for part in choice.parts if isinstance(part, ToolCall))
    rest = tuple(part for part in choice.parts if not isinstance(part, ToolCall))
    return merged(replace(choice, parts=(*rest, *calls)))


def without_seals(choice):
    """There is no field for the seal of thinking, nor for what may not be read."""
    parts = (
        Thinking(text=part.text) if isinstance(part, Thinking) else part
        for part in choice.parts
        if not (isinstance(part, Thinking) and part.redacted)
    )
    return replace(choice, parts=tuple(parts))


def without_redacted(choice):
    """All thinking may be read."""
    parts = (
        part
        for part in choice.parts
        if not (isinstance(part, Thinking) and part.redacted)
    )
    return replace(choice, parts=tuple(parts))


def without_signatures(choice):
    """Only Gemini signs calls and texts."""
    parts = (
        replace(part, signature=None) if isinstance(part, ToolCall) else part
        for part in choice.parts
    )
    return replace(choice, parts=tuple(parts), signature=None)


def without_late_signature(choice):
    """A signature behind the text has no block, which would be the last one."""
    return replace(choice, signature=None)


def refusal_as_text(choice):
    """There is no field for a refusal: it is the text."""
    parts = (
        Text(text=part.text) if isinstance(part, Refusal) else part
        for part in choice.parts
    )
    return replace(choice, parts=tuple(parts))


def sealed_by(origin, redacted=""):
    """Seals are of whoever made them."""

    def limit(choice):
        parts = (
            replace(part, origin=redacted or origin if part.redacted else origin)
            if is_sealed(part)
            else part
            for part in choice.parts
        )
        return replace(choice, parts=tuple(parts))

    return limit


# Limits of ends.


def ends(words):
    """Not every end has a word of its own."""

    def limit(choice):
        finish = words.get(choice.finish, choice.finish)
        named = finish is Finish.STOP_SEQUENCE
        kept = choice.stop_sequence if named else None
        return replace(choice, finish=finish, stop_sequence=kept)

    return limit


def calls_end_it(choice):
    """Whether a model stopped or wants its calls answered, only the calls tell."""
    called = any(isinstance(part, ToolCall) for part in choice.parts)
    finish = choice.finish
    if finish in (Finish.STOP, Finish.TOOL_CALLS):
        finish = Finish.TOOL_CALLS if called else Finish.STOP
    return replace(choice, finish=finish)


def stop_after_calls_is_for_them(choice):
    """A client of Anthropic's answers calls only if the stop reason says so."""
    called = any(isinstance(part, ToolCall) for part in choice.parts)
    stopped = choice.finish is Finish.STOP and called
    return replace(choice, finish=Finish.TOOL_CALLS) if stopped else choice


def refusal_ends_with_stop(choice):
    """A refusal in words ends with ``stop``, and is known by the words."""
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    stopped = refused and choice.finish is Finish.STOP
    return replace(choice, finish=Finish.REFUSAL) if stopped else choice


def refusal_without_words_is_filtered(choice):
    """``refusal`` is where the words are; without any, it is the filter's."""
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    filtered = choice.finish is Finish.REFUSAL and not refused
    return replace(choice, finish=Finish.CONTENT_FILTER) if filtered else choice


_NO_SEQUENCE = {Finish.STOP_SEQUENCE: Finish.STOP}
_NO_PAUSE = {Finish.PAUSE: Finish.LENGTH}

UPSTREAM_LIMITS: dict[str, tuple[Limit, ...]] = {
    "openai": (
        in_fields,
        without_seals,
        in_fields,
        ends(_NO_SEQUENCE | _NO_PAUSE),
        refusal_ends_with_stop,
        refusal_without_words_is_filtered,
    ),
    "anthropic": (
        refusal_as_text,
        without_signatures,
        sealed_by("anthropic"),
        ends({Finish.CONTENT_FILTER: Finish.REFUSAL}),
    ),
    "gemini": (
        refusal_as_text,
        without_redacted,
        sealed_by("gemini"),
        ends(
            _NO_SEQUENCE | _NO_PAUSE | {Finish.REFUSAL: Finish.CONTENT_FILTER},
        ),
        calls_end_it,
    ),
    "ollama": (
        refusal_as_text,
        without_signatures,
        without_seals,
        in_fields,
        ends(_NO_SEQUENCE | _NO_PAUSE),
        calls_end_it,
    ),
    "converse": (
        refusal_as_text,
        without_signatures,
        sealed_by("anthropic", redacted="converse"),
        ends(_NO_PAUSE | {Finish.REFUSAL: Finish.CONTENT_FILTER}),
    ),
}
CLIENT_LIMITS: dict[str, tuple[Limit, ...]] = {
    "openai": (
        in_fields,
        ends(
            _NO_SEQUENCE | _NO_PAUSE,
        ),
        refusal_ends_with_stop,
        refusal_without_words_is_filtered,
    ),
    "anthropic": (
        refusal_as_text,
        stop_after_calls_is_for_them,
        ends({Finish.CONTENT_FILTER: Finish.REFUSAL}),
    ),
    "gemini": (
        refusal_as_text,
        ends(
            _NO_SEQUENCE | _NO_PAUSE | {Finish.REFUSAL: Finish.CONTENT_FILTER},
        ),
        calls_end_it,
    ),
    "ollama": (
        refusal_as_text,
        without_signatures,
        without_seals,
        in_fields,
        ends(_NO_SEQUENCE | _NO_PAUSE),
        calls_end_it,
    ),
}
STREAM_LIMITS: dict[str, tuple[Limit, ...]] = {
    "gemini": (calls_last,),
    "anthropic": (without_late_signature,),
}
"""What a client's stream cannot say though its whole answer can."""


# Limits of usage.


def total(*counts):
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def one_write(usage):
    """Prompt tokens are written to a cache for one time only."""
    written = total(usage.cache_write, usage.cache_write_1h)
    return replace(usage, cache_write=written, cache_write_1h=None)


def no_writes(usage):
    """What is written to a cache is a part of the prompt like any other."""
    written = (usage.cache_write or 0) + (usage.cache_write_1h or 0)
    return replace(
        usage,
        input=(usage.input or 0) + written,
        cache_write=None,
        cache_write_1h=None,
    )


def no_reasoning(usage):
    """Thinking is counted with the rest of the answer."""
    return replace(
        usage, output=(usage.output or 0) + (usage.reasoning or 0), reasoning=None
    )


UPSTREAM_COUNTS = {
    "openai": (one_write,),
    "anthropic": (),
    "gemini": (no_writes,),
    "ollama": (no_writes, no_reasoning),
    "converse": (no_reasoning,),
}
CLIENT_COUNTS = {
    "openai": (one_write,),
    "anthropic": (),
    "gemini": (no_writes,),
    "ollama": (no_writes, no_reasoning),
}


def of_upstream(name, answer):
    """The answer, as far as the upstream's dialect can say it."""
    return _limited(answer, UPSTREAM_LIMITS[name], UPSTREAM_COUNTS[name])


def for_client(name, answer, *, streamed=False):
    """The answer, as far as the client's dialect can be told it."""
    limits = CLIENT_LIMITS[name]
    if streamed:
        limits += STREAM_LIMITS.get(name, ())
    return _limited(answer, limits, CLIENT_COUNTS[name])


def _limited(answer, limits, counts):
    choice, usage = merged(answer.choices[0]), answer.usage
    for limit in limits:
        choice = merged(limit(choice))
    for count in counts:
        usage = count(usage)
    return replace(answer, choices=(choice,), usage=usage)


def with_json_as_text(answer, tool):
    """What the gateway makes of calls of ``tool``: the answer's text, and no other."""
    choice = answer.choices[0]
    parts = choice.parts
    if not any(isinstance(part, ToolCall) and part.name == tool for part in parts):
        return answer
    kept = tuple(
        Text(text=part.arguments)
        if isinstance(part, ToolCall) and part.name == tool
        else part
        for part in parts
        if not isinstance(part, Text)
    )
    ended = choice.finish is Finish.TOOL_CALLS and not any(
        isinstance(part, ToolCall) for part in kept
    )
    finish = Finish.STOP if ended else choice.finish
    return replace(answer, choices=(replace(choice, parts=kept, finish=finish),))
