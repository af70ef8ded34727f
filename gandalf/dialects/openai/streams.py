"""A stream of chat or legacy completion chunks that passes through untouched."""

from __future__ import annotations

import re

import msgspec

from gandalf.dialects import sse
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.base import Call as BaseCall
from gandalf.dialects.conversation import Failed
from gandalf.dialects.openai.answers import (
    AnswerView,
    decode_answer,
    failed_in,
    tokens_of,
)
from gandalf.dialects.openai.calls import Call
from gandalf.domain.usage import TokenUsage

DONE = b"data: [DONE]\n\n"

# Twice as fast as ``bytes.replace``, which starts anew after each one that it finds.
_drop_null_usage = re.compile(b',"usage":null').sub
_join_lines = re.compile(b"\n\ndata: ").sub


class ChatStream:
    """Follows one upstream's stream: what of it the client gets, and what it says.

    Whole events go on as they came, many at a time, unless something in them needs a
    closer look: the end, an error, usage, a finish reason, or an event that is broken.
    """

    ending = DONE

    __slots__ = (
        "_buffer",
        "_finished",
        "_strip_usage",
        "content_seen",
        "done",
        "failed",
        "finish_reason",
        "malformed",
        "usage",
    )

    def __init__(self, *, strip_usage: bool) -> None:
        self._buffer = sse.EventBuffer()
        self._strip_usage = strip_usage
        self._finished: frozenset[int] = frozenset()
        self.usage: TokenUsage | None = None
        self.finish_reason: str | None = None
        self.done = False
        """The stream's own end marker was seen."""
        self.failed: Failed | None = None
        """The error that the upstream put into the stream."""
        self.content_seen = False
        """Something of the answer itself, not just its frame, has come."""
        self.malformed = 0
        """Events that were not JSON, and were left out."""

    def feed(self, data: bytes) -> bytes:
        """Return the client's share of the events that ``data`` completes.

        Raises:
            sse.EventTooLarge: An event does not end.
        """
        if self.done or self.failed is not None:
            return b""
        block = self._buffer.feed(data)
        if not block or (self.content_seen and _unremarkable(block)):
            return self._without_null_usage(block)
        return self._without_null_usage(self._look_into(block))

    def _look_into(self, block: bytes) -> bytes:
        """Return the client's share of ``block``, whose first or last events matter.

        Up to the first content, and from the first event that says more than content,
        each is decoded. What lies between goes on as it is.
        """
        kept = []
        if not self.content_seen:
            for event in sse.split(block):
                kept.append(self._takes(event))
                block = block[len(event) :]
                if self.content_seen or self.done or self.failed is not None:
                    break
        plain = _end_of_plain(block)
        if plain and _unremarkable(block[:plain]):
            kept.append(block[:plain])
            block = block[plain:]
        kept += map(self._takes, sse.split(block))
        return b"".join(kept)

    def _takes(self, event: bytes) -> bytes:
        return event if self._keeps(event) else b""

    def flush(self) -> bytes:
        """Return the client's share of what is left when the upstream has ended."""
        rest = self._buffer.flush()
        # What has no data is a line that was cut off, and nobody's event.
        if self.done or self.failed is not None or sse.data_of(rest) is None:
            return b""
        return rest + b"\n\n" if self._keeps(rest) else b""

    def finished(self, choices: int) -> bool:
        """Whether every one of the ``choices`` answers has its finish reason."""
        return len(self._finished) >= choices

    def _keeps(self, event: bytes) -> bool:
        """Note what ``event`` says; return whether the client gets it."""
        if self.done or self.failed is not None:
            return False
        data = sse.data_of(event)
        if data is None:
            return True
        if data.strip() == b"[DONE]":
            self.done = True
            return False
        try:
            view = decode_answer(data)
        except UNREADABLE:
            self.malformed += 1
            return False
        self.failed = failed_in(view)
        if self.failed is not None:
            return False
        return self._note(view)

    def _note(self, view: AnswerView) -> bool:
        for choice in view.choices:
            if choice.finish_reason is not None:
                self._finished |= {choice.index}
                self.finish_reason = choice.finish_reason
                self.content_seen = True
            elif choice.text or _has_content(choice.delta or {}):
                self.content_seen = True
        tokens = tokens_of(view.usage)
        if tokens is None:
            return True
        self.usage = tokens
        return bool(view.choices) or not self._strip_usage

    def _without_null_usage(self, block: bytes) -> bytes:
        # Asked for usage, OpenAI adds a null one to every other event.
        return _drop_null_usage(b"", block) if self._strip_usage else block


def follow_choices(call: BaseCall) -> ChatStream:
    """Return what follows the stream that answers ``call``."""
    assert isinstance(call, Call)  # noqa: S101 - no other dialect's call comes here
    return ChatStream(strip_usage=not call.include_usage)


_EMPTY = (b"null", b'""', b"[]", b"{}")
_UNFINISHED = b'"finish_reason":null'
_UNFINISHED_SPACED = b'"finish_reason": null'


def _has_content(delta: dict[str, msgspec.Raw]) -> bool:
    return any(
        name != "role" and bytes(value) not in _EMPTY for name, value in delta.items()
    )


def _end_of_plain(block: bytes) -> int:
    """Return where the last event ends that seems to be content and no more."""
    last = block.rfind(_UNFINISHED)
    if last < 0:
        last = block.rfind(_UNFINISHED_SPACED)
    end = block.find(b"\n\n", last)
    return end + 2 if last >= 0 and end >= 0 else 0


class _PlainChoice(msgspec.Struct):
    finish_reason: None = None


class _Plain(msgspec.Struct):
    """An event that says nothing but content."""

    choices: list[_PlainChoice] = []
    usage: None = None
    error: None = None


_decode_plain = msgspec.json.Decoder(_Plain).decode_lines


def _unremarkable(block: bytes) -> bool:
    """Whether ``block`` holds nothing but ordinary, well-formed events.

    Taken for lines of JSON they are decoded in one go, and as nothing is made of what
    they say, in a fifth of the time that one after the other takes. What is framed
    otherwise than providers do it is no JSON then, and looked at one by one.
    """
    if not block.startswith(b"data: "):
        return False
    try:
        _decode_plain(_join_lines(b"\n", block[6:]))
    except UNREADABLE:
        return False
    return True
