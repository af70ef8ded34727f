"""A stream of answer objects that passes through untouched.

It has no end marker. It is complete once each candidate has its ``finishReason``, or
the prompt was blocked; what comes then is at most more usage, until the response ends.
"""

from __future__ import annotations

import msgspec

from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import Failed
from gandalf.dialects.gemini.answers import (
    PassingView,
    decode_passing,
    failed_in,
    tokens_of,
)
from gandalf.dialects.gemini.framing import Events, payload_of, split
from gandalf.domain.usage import TokenUsage


class GenerateStream:
    """Follows one upstream's stream: what of it the client gets, and what it says.

    Whole events go on as they came, many at a time, unless something in them needs a
    closer look. The event that completes the answer waits for ``ending``, so that
    nobody has a whole answer before it is accounted for.

    Args:
        choices: How many candidates were asked for.
    """

    __slots__ = (
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
        "malformed",
    )

    def __init__(self, choices: int = 1) -> None:
        self._choices = choices
        self._events = Events()
        self._finished: set[int] = set()
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
        self.malformed = 0
        """Events that were not JSON, and were left out."""

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
        if self.content_seen and not self._held and _unremarkable(block):
            if b'"usageMetadata"' in block:
                self._last = block
            return block
        return b"".join(map(self._share, split(block)))

    def flush(self) -> bytes:
        """Return the client's share of what is left when the upstream has ended."""
        rest = self._events.flush()
        if self.failed is not None or payload_of(rest) is None:
            return b""
        return self._share(rest.rstrip(b"\r\n") + b"\r\n\r\n")

    def finished(self, choices: int) -> bool:
        """Whether each of the ``choices`` candidates has its finish reason."""
        return self.blocked or len(self._finished) >= choices

    @property
    def ending(self) -> bytes:
        """The event that completed the answer."""
        return self._held

    def _share(self, event: bytes) -> bytes:
        """Note what ``event`` says; return what the client gets of it, now."""
        if self.failed is not None or not self._keeps(event):
            return b""
        before, self._held = self._held, b""
        if self.finished(self._choices):
            self._held = event
            return before
        return before + event

    def _keeps(self, event: bytes) -> bool:
        payload = payload_of(event)
        if payload is None:
            return True
        try:
            view = decode_passing(payload)
        except UNREADABLE:
            self.malformed += 1
            return False
        self.failed = failed_in(view, payload)
        if self.failed is not None:
            return False
        self._note(view)
        return True

    def _note(self, view: PassingView) -> None:
        for candidate in view.candidates or ():
            if candidate.finish_reason:
                self._finished.add(candidate.index)
                self.finish_reason = candidate.finish_reason
                self.content_seen = True
            elif not self.content_seen:
                self.content_seen = _says_something(candidate.content)
        if view.blocked:
            self.blocked = self.content_seen = True
            self.finish_reason = view.blocked
        tokens = tokens_of(view.usage_metadata)
        if tokens is not None:
            self.usage = tokens


_SPACE = b" \t\r\n"
_EMPTY = frozenset(
    {
        b"",
        b"null",
        b"{}",
        b'{"role":"model"}',
        b'{"parts":[],"role":"model"}',
        b'{"parts":[{"text":""}],"role":"model"}',
    }
)


def _says_something(content: msgspec.Raw) -> bool:
    return bytes(content).translate(None, _SPACE) not in _EMPTY


def _unremarkable(block: bytes) -> bool:
    """Whether ``block`` holds nothing but ordinary, well-formed events.

    It may look twice at what is harmless, never pass what is not: inside a JSON string
    every quote is escaped, so these patterns match no text of the model's.
    """
    count = block.count
    events = count(b'data: {"')
    returns = count(b"\r")
    return (
        b'"finishReason"' not in block
        and b'"error"' not in block
        and b'"promptFeedback"' not in block
        and events == count(b"}\r\n\r\n" if returns else b"}\n\n")
        and 2 * events == count(b"\n")
        and returns in (0, 2 * events)
    )


def _usage_in(block: bytes) -> TokenUsage | None:
    """Return what the last event of ``block`` with usage reports."""
    start = block.rfind(b"data: ", 0, block.rfind(b'"usageMetadata"'))
    payload = payload_of(next(split(block[start:])))
    try:
        return tokens_of(decode_passing(payload or b"").usage_metadata)
    except UNREADABLE:
        return None
