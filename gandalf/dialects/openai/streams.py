"""A stream of chat or legacy completion chunks that passes through untouched."""

from __future__ import annotations

import re
from operator import itemgetter
from typing import ClassVar

import msgspec

from gandalf.dialects import sse
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.base import Call as BaseCall
from gandalf.dialects.conversation import Failed
from gandalf.dialects.openai.answers import failed_in, tokens_of
from gandalf.dialects.openai.calls import Call
from gandalf.dialects.openai.views import (
    AnswerView,
    decode_answer,
    decode_plain,
    decode_plain_lines,
)
from gandalf.domain.usage import TokenUsage

DONE = b"data: [DONE]\n\n"

# How providers frame an event. What is framed otherwise is looked at line by line.
_BEGIN = b"data: "
_END = b"\n\n"
_SEAM = _END + _BEGIN

# Twice as fast as ``bytes.replace``, which starts anew after each one that it finds.
_drop_null_usage = re.compile(b',"usage":null').sub


class ChatStream:
    """Follows one upstream's stream: what of it the client gets, and what it says.

    Whole events go on as they came, many at a time, unless something in them needs a
    closer look: the end, an error, usage, a finish reason, or an event that is broken.
    """

    ending: ClassVar[bytes] = DONE

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
        if not block:
            return b""
        if not (block.startswith(_BEGIN) and block.endswith(_END)):
            return self._share_of_any(block)
        chunks = block.split(_SEAM)
        chunks[0] = chunks[0][len(_BEGIN) :]
        chunks[-1] = chunks[-1][: -len(_END)]
        if len(chunks) > 1:
            return b"".join(self._share(block, chunks))
        if self.content_seen and _is_plain(chunks[0]):
            return self._without_null_usage(block)
        kept: list[bytes] = []
        self._take(chunks, 0, kept)
        return b"".join(kept)

    def _share(self, block: bytes, chunks: list[bytes]) -> list[bytes]:
        """Return, in pieces, the client's share of ``block``, which says ``chunks``.

        Up to the first content, and from the first event that says more than content,
        each is decoded. What lies between goes on as it is.
        """
        kept: list[bytes] = []
        at, count = 0, len(chunks)
        start = 0
        while at < count and not self.content_seen:
            start += len(chunks[at]) + len(_SEAM)
            at = self._take(chunks, at, kept)
        if self.done or self.failed is not None:
            return kept
        end = _end_of_plain(chunks, at)
        if end > at:
            run = chunks[at:end]
            plain = _plain(block, start, run, strip_usage=self._strip_usage)
            if plain:
                kept.append(plain)
                at = end
        while at < count:
            at = self._take(chunks, at, kept)
        return kept

    def _take(self, chunks: list[bytes], at: int, kept: list[bytes]) -> int:
        """Note what an event says; add it to ``kept`` if the client gets it.

        Returns:
            Where the next one is.
        """
        chunk = chunks[at]
        if b"\n" in chunk or b"\r" in chunk:
            # Where it really ends, and what that means for the next one, is not for a
            # seam to say.
            rest = _SEAM.join(chunks[at:])
            kept.append(self._share_of_any(_BEGIN + rest + _END))
            return len(chunks)
        if self._keeps(chunk):
            kept += (_BEGIN, self._without_null_usage(chunk), _END)
        return at + 1

    def _share_of_any(self, block: bytes) -> bytes:
        """Return the client's share of events that are framed in whatever way."""
        return self._without_null_usage(
            b"".join([e for e in sse.split(block) if self._keeps(sse.data_of(e))])
        )

    def flush(self) -> bytes:
        """Return the client's share of what is left when the upstream has ended."""
        rest = self._buffer.flush()
        # What has no data is a line that was cut off, and nobody's event.
        data = sse.data_of(rest)
        if data is None or not self._keeps(data):
            return b""
        return self._without_null_usage(rest) + _END

    def finished(self, choices: int) -> bool:
        """Whether every one of the ``choices`` answers has its finish reason."""
        return len(self._finished) >= choices

    def _keeps(self, data: bytes | None) -> bool:
        """Note what an event says; return whether the client gets it.

        Args:
            data: Its data. None: it is a comment.
        """
        if self.done or self.failed is not None:
            return False
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
        if view.error:
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
            elif not self.content_seen:
                self.content_seen = bool(choice.text) or _has_content(choice.delta)
        if view.usage is None or (tokens := tokens_of(view.usage)) is None:
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
_FINISH = b'"finish_reason":'


def _has_content(delta: dict[str, msgspec.Raw] | None) -> bool:
    if delta is None:
        return False
    for name, value in delta.items():
        if name != "role" and bytes(value) not in _EMPTY:
            return True
    return False


def _end_of_plain(chunks: list[bytes], start: int) -> int:
    """Return up to where there may be nothing but content."""
    end = len(chunks)
    while end > start:
        last = chunks[end - 1]
        said = last.rfind(_FINISH) + len(_FINISH)
        if said >= len(_FINISH) and last[said : said + 5].lstrip().startswith(b"null"):
            return end
        end -= 1
    # Some servers say nothing of how an answer ends before it does.
    return len(chunks)


def _is_plain(chunk: bytes) -> bool:
    """Whether an event says nothing but content, and is well-formed."""
    if b"\n" in chunk or b"\r" in chunk:
        return False
    try:
        decode_plain(chunk)
    except UNREADABLE:
        return False
    return True


def _plain(
    block: bytes, start: int, chunks: list[bytes], *, strip_usage: bool
) -> bytes:
    """Return the events that say ``chunks`` as the client gets them.

    Nothing if any of them says more than content, or is not well-formed.

    Args:
        block: What they are part of.
        start: Where in it.
        chunks: What they say.
        strip_usage: Whether to take null usage out.
    """
    if len(chunks) >= ALIKE and (mold := _mold_of(chunks[0])) is not None:
        head, tail = mold
        between = itemgetter(slice(len(head), -len(tail)))
        texts = list(map(between, chunks))
        cast = _cast(head, texts, tail)
        if block.startswith(cast, start) and _are_texts(texts):
            if not strip_usage:
                return cast
            drop = _drop_null_usage
            return _cast(drop(b"", head), texts, drop(b"", tail))
    try:
        # As lines of JSON of which nothing is made, a fifth of the time that one after
        # the other takes.
        lines = decode_plain_lines(b"\n".join(chunks))
    except UNREADABLE:
        return b""
    whole = b"%b%b%b" % (_BEGIN, _SEAM.join(chunks), _END)
    # A blank one is no line, nor an event, and would make up for two values in another;
    # and none may end within.
    if len(lines) != len(chunks) or not all(map(bytes.strip, chunks)):
        return b""
    if whole.count(b"\n") != 2 * len(chunks):
        return b""
    if b"\r" in whole:
        return b""
    return _drop_null_usage(b"", whole) if strip_usage else whole


# Events that differ in nothing but their text.

# From so many on it takes less time than to decode them as lines.
ALIKE = 6

# In JSON these are the name of a member and its value, wherever they are found, for
# within a string no quote is without a backslash. Another text in its place leaves all
# else as it is.
_FIRST_TEXT = re.compile(
    rb'"(?:content|reasoning_content|reasoning|arguments|text)":"'
    rb'((?:[^"\\]|\\.)++)'
)

# Strings as JSON has them, each on a line. Halves of a pair of surrogates are somebody
# else's to match.
_PLAIN_TEXT = rb'[^"\\\x00-\x09\x0b-\x1f]*+'
_ESCAPE = rb'\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4})'
_texts_in = re.compile(b"%b(?:%b%b)*+" % (_PLAIN_TEXT, _ESCAPE, _PLAIN_TEXT)).fullmatch


def _mold_of(chunk: bytes) -> tuple[bytes, bytes] | None:
    """Return what stands before and after the text of an event that is plain."""
    found = _FIRST_TEXT.search(chunk)
    if found is None or not _is_plain(chunk):
        return None
    start, end = found.span(1)
    return chunk[:start], chunk[end:]


def _cast(head: bytes, texts: list[bytes], tail: bytes) -> bytes:
    """Return events that have each of the ``texts`` between ``head`` and ``tail``."""
    seam = b"%b%b%b" % (tail, _SEAM, head)
    first, *others, last = texts
    return seam.join([_BEGIN + head + first, *others, last + tail + _END])


def _are_texts(texts: list[bytes]) -> bool:
    """Whether each could stand between the quotes of a JSON string."""
    lines = b"\n".join(texts)
    if lines.count(b"\n") != len(texts) - 1 or _texts_in(lines) is None:
        return False
    try:
        lines.decode()
    except UnicodeDecodeError:
        return False
    return True
