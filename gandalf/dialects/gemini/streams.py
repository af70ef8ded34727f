"""A stream of answer objects that passes through untouched.

It has no end marker. It is complete once each candidate has its ``finishReason``, or
the prompt was blocked; what comes then is at most more usage, until the response ends.
What cannot be read is treated by the rule in ``gandalf.dialects.unread``.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import Failed
from gandalf.dialects.ends import bad_end
from gandalf.dialects.gemini.answers import (
    EndView,
    PassingView,
    decode_passing,
    failed_in,
)
from gandalf.dialects.gemini.finishes import GOOD_ENDS
from gandalf.dialects.gemini.framing import Events, payload_of, split
from gandalf.dialects.unread import (
    NOT_JSON,
    UNKNOWN_SHAPE,
    count,
    is_json,
    is_silence,
    is_utf8,
    read_leniently,
)
from gandalf.domain.usage import TokenUsage


class GenerateStream:
    """Follows one upstream's stream: what of it the client gets, and what it says.

    Whole events go on as they came, many at a time, unless something in them needs a
    closer look. The event that completes the answer, and what follows it, waits for
    ``ending``, so that nobody has a whole answer before it is accounted for.

    Args:
        choices: How many candidates were asked for.
    """

    __slots__ = (
        "_begun",
        "_choices",
        "_events",
        "_finished",
        "_held",
        "_last",
        "_usage",
        "blocked",
        "content_seen",
        "done",
        "failed",
        "finish_reason",
        "unread",
    )

    def __init__(self, choices: int = 1) -> None:
        self._choices = choices
        self._events = Events()
        self._begun: frozenset[int] = frozenset()
        self._finished: frozenset[int] = frozenset()
        self._held = b""
        self._last = b""
        self._usage: TokenUsage | None = None
        self.finish_reason: str | None = None
        self.done = False
        """Never: there is no end marker."""
        self.failed: Failed | None = None
        """The error that the upstream put into the stream."""
        self.content_seen = False
        """Something of the answer itself, not just its frame, has come."""
        self.blocked = False
        """The prompt was refused: there will be no candidates."""
        self.unread: dict[str, int] = {}
        """Events that were not read, counted by reason."""

    @property
    def usage(self) -> TokenUsage | None:
        """What was reported last. Each event reports; none is read before its time."""
        if self._last:
            block, self._last = self._last, b""
            self._usage = _usage_in(block) or self._usage
        return self._usage

    @usage.setter
    def usage(self, usage: TokenUsage | None) -> None:
        self._usage = usage
        self._last = b""

    def feed(self, data: bytes) -> bytes:
        """Return the client's share of the events that ``data`` completes.

        Raises:
            sse.EventTooLarge: An event does not end.
        """
        if self.failed is not None:
            return b""
        block = self._events.feed(data)
        if not block:
            return b""
        if (
            self.content_seen
            and not self._held
            and 0 in self._begun
            and _unremarkable(block)
        ):
            if b'"usageMetadata"' in block:
                self._last = block
            return block
        return b"".join(map(self._share, split(block)))

    def flush(self) -> bytes:
        """Return the client's share of what is left when the upstream has ended."""
        rest = self._events.flush()
        payload = payload_of(rest)
        if self.failed is not None or payload is None or not is_json(payload):
            # What was cut off must not reach a client.
            return b""
        return self._share(rest.rstrip(b"\r\n") + b"\r\n\r\n")

    def finished(self, choices: int) -> bool:
        """Whether each candidate that began, and so many, have a good finish reason."""
        if self.blocked:
            return True
        return len(self._finished) >= choices and self._begun <= self._finished

    @property
    def ending(self) -> bytes:
        """The event that completed the answer."""
        return self._held

    def _share(self, event: bytes) -> bytes:
        """Note what ``event`` says; return what the client gets of it, now."""
        if self.failed is not None or not self._keeps(event):
            return b""
        if self.finished(self._choices):
            # With all that follows: usage, or what turns out to be no JSON.
            self._held += event
            return b""
        return event

    def _keeps(self, event: bytes) -> bool:
        payload = payload_of(event)
        if payload is None:
            return self._keeps_bare(event)
        if is_silence(payload):
            return True
        view = self._read(payload)
        if view is None:
            return True
        self.failed = failed_in(view, payload)
        if self.failed is None:
            self._note(view)
        return self.failed is None

    def _keeps_bare(self, event: bytes) -> bool:
        """Note an event without JSON: a comment, or text that is no event at all."""
        if any(not _is_field(line) for line in event.splitlines() if line.strip()):
            count(self.unread, NOT_JSON)
        return True

    def _read(self, payload: bytes) -> PassingView | None:
        try:
            view = decode_passing(payload)
            if is_utf8(payload):
                return view
        except UNREADABLE:
            pass
        lenient = read_leniently(payload, PassingView)
        count(self.unread, NOT_JSON if lenient is None else UNKNOWN_SHAPE)
        return lenient

    def _note(self, view: PassingView) -> None:
        for candidate in view.candidates or ():
            reason = candidate.finish_reason
            self._begun |= {candidate.index}
            if reason is None:
                self.content_seen = self.content_seen or _says_something(candidate)
            elif reason in GOOD_ENDS:
                self._finished |= {candidate.index}
                self.finish_reason = reason
                self.content_seen = True
            else:
                self.failed = bad_end(reason)
        if view.blocked:
            self.blocked = self.content_seen = True
            self.finish_reason = view.blocked
        tokens = view.tokens
        if tokens is not None:
            self.usage = tokens


_is_field = re.compile(rb"(?::|event|id|retry)").match


class _Parts(msgspec.Struct):
    parts: list[dict[str, msgspec.Raw]] | None = None


_decode_parts = msgspec.json.Decoder(_Parts).decode
_NO_TEXT = (b'""', b"null")


def _says_something(candidate: EndView) -> bool:
    """Return whether a candidate has content, rather than only a role."""
    if not candidate.content:
        return False
    try:
        parts = _decode_parts(candidate.content).parts or ()
    except UNREADABLE:
        return True
    return any(
        name not in ("text", "thought") or (name == "text" and said not in _NO_TEXT)
        for part in parts
        for name, said in ((name, bytes(value)) for name, value in part.items())
    )


class _PlainCandidate(msgspec.Struct, rename="camel"):
    index: Literal[0] = 0
    finish_reason: None = None


class _Plain(msgspec.Struct, rename="camel"):
    """An event that says nothing but content of the first candidate, and usage."""

    candidates: list[_PlainCandidate] = []
    prompt_feedback: None = None
    error: None = None


_decode_plain = msgspec.json.Decoder(_Plain)


def _unremarkable(block: bytes) -> bool:
    """Whether ``block`` holds nothing but ordinary, well-formed events."""
    end = b"\r\n\r\n" if b"\r" in block else b"\n\n"
    if not (block.startswith(b"data: {") and block.endswith(end) and is_utf8(block)):
        return False
    said = block[6 : -len(end)].replace(end + b"data: {", b"\n{")
    events = said.count(b"\n") + 1
    if b"\r" in said or block.count(b"\n") != 2 * events:
        return False
    try:
        # All at once: that is several times faster than one after the other.
        return len(_decode_plain.decode_lines(said)) == events
    except UNREADABLE:
        return False


def _usage_in(block: bytes) -> TokenUsage | None:
    """Return what the last event of ``block`` with usage reports."""
    start = block.rfind(b"data: ", 0, block.rfind(b'"usageMetadata"'))
    payload = payload_of(next(split(block[start:])))
    try:
        return decode_passing(payload or b"").tokens
    except UNREADABLE:
        return None
