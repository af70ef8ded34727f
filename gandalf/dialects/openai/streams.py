"""A stream of chat or legacy completion chunks that passes through untouched.

Only the usage that the gateway asked for is taken out. What cannot be read is treated
by the rule in ``gandalf.dialects.unread``.
"""

from __future__ import annotations

import re
from operator import itemgetter

import msgspec

from gandalf.dialects import sse
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.base import Call as BaseCall
from gandalf.dialects.conversation import Failed
from gandalf.dialects.ends import bad_end
from gandalf.dialects.json_object import without_members
from gandalf.dialects.openai.answers import error_in, failure_in, tokens_of
from gandalf.dialects.openai.calls import Call
from gandalf.dialects.openai.errors import failed_of
from gandalf.dialects.openai.finishes import is_good_end
from gandalf.dialects.openai.views import (
    AnswerView,
    ChoiceView,
    decode_answer,
    decode_frame,
    decode_object,
    decode_plain,
    decode_plain_lines,
)
from gandalf.dialects.unread import (
    NOT_JSON,
    UNKNOWN_SHAPE,
    count,
    is_silence,
    is_utf8,
    read_leniently,
)
from gandalf.domain.usage import TokenUsage

DONE = b"data: [DONE]\n\n"

# How providers frame an event. What is framed otherwise is looked at line by line.
_BEGIN = b"data: "
_END = b"\n\n"
_SEAM = _END + _BEGIN

# As OpenAI writes it: at the end of an event, before its padding at the most. What is
# written elsewhere may be part of something else, and stays.
_drop_null_usage = re.compile(
    rb',"usage":null(?=(?:,"obfuscation":"\w*")?\}(?:\n\n|\r\n\r\n|\Z))'
).sub
_NULL_USAGE_END = b',"usage":null}\n\n'
_is_error = re.compile(rb"(?:^|[\r\n])event: ?error[ \t]*(?:[\r\n]|$)").search


class ChatStream:
    """Follows one upstream's stream: what of it the client gets, and what it says.

    Whole events go on as they came, many at a time, unless something in them needs a
    closer look: the end, an error, usage, a finish reason, or an event that cannot be
    read.
    """

    __slots__ = (
        "_begun",
        "_buffer",
        "_finished",
        "_plain_next",
        "_strip_usage",
        "content_seen",
        "done",
        "ending",
        "failed",
        "finish_reason",
        "unread",
        "usage",
    )

    def __init__(self, *, strip_usage: bool) -> None:
        self._buffer = sse.EventBuffer()
        self._strip_usage = strip_usage
        self._begun: frozenset[int] = frozenset()
        self._finished: frozenset[int] = frozenset()
        self._plain_next = False
        """Events that say only content of the first choice need not be noted."""
        self.usage: TokenUsage | None = None
        self.finish_reason: str | None = None
        self.done = False
        """The stream's own end marker was seen."""
        self.ending = DONE
        """The end marker, as the upstream wrote it if it did."""
        self.failed: Failed | None = None
        """The error that the upstream put into the stream."""
        self.content_seen = False
        """Something of the answer itself, not just its frame, has come."""
        self.unread: dict[str, int] = {}
        """Events that were not read, counted by reason."""

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
        if self._plain_next and _is_plain(chunks[0]):
            if self._strip_usage and block.endswith(_NULL_USAGE_END):
                # As the expression does it, in half the time.
                return block[: -len(_NULL_USAGE_END)] + b"}\n\n"
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
        at, total = 0, len(chunks)
        start = 0
        while at < total and not self._plain_next:
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
        while at < total:
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
        shared = self._shared(chunk)
        if shared is not None:
            kept += (_BEGIN, self._without_null_usage(shared), _END)
        return at + 1

    def _share_of_any(self, block: bytes) -> bytes:
        """Return the client's share of events that are framed in whatever way."""
        return b"".join([self._share_of_one(event) for event in sse.split(block)])

    def _share_of_one(self, event: bytes) -> bytes:
        if self.done or self.failed is not None:
            return b""
        data = sse.data_of(event)
        if data is None:
            return event
        if _is_error(event) is not None:
            self._fail(data)
            return b""
        shared = self._shared(data)
        if shared is None:
            if self.done:
                self.ending = event
            return b""
        if shared is not data:
            event = (
                event.replace(data, shared)
                if data in event
                else _BEGIN + shared.replace(b"\n", b" ") + _END
            )
        return self._without_null_usage(event)

    def flush(self) -> bytes:
        """Return the client's share of what is left when the upstream has ended."""
        rest = self._buffer.flush()
        return self._share_of_one(rest + _END) if sse.is_whole(rest) else b""

    def finished(self, choices: int) -> bool:
        """Whether each choice that began, and so many of them, have a good end."""
        return len(self._finished) >= choices and self._begun <= self._finished

    def _shared(self, data: bytes) -> bytes | None:
        """Note what an event says; return of its data what the client gets.

        None if it gets nothing: the end marker, an error, usage.
        """
        if self.done or self.failed is not None:
            return None
        if data.strip() == b"[DONE]":
            self._end()
            return None
        try:
            view = decode_answer(data)
            if not (data.isascii() or is_utf8(data)):
                return self._unreadable(data)
        except UNREADABLE:
            return self._unreadable(data)
        return self._note(view, data)

    def _end(self) -> None:
        """Take the end marker: it completes only what has come to a good end."""
        if self._finished and self._begun <= self._finished:
            self.done = True
        else:
            self.failed = bad_end(None)

    def _unreadable(self, data: bytes) -> bytes | None:
        if is_silence(data):
            return data
        view = read_leniently(data, AnswerView)
        if view is None:
            count(self.unread, NOT_JSON)
            return data
        count(self.unread, UNKNOWN_SHAPE)
        return self._note(view, data)

    def _note(self, view: AnswerView, data: bytes) -> bytes | None:
        choices = view.choices
        if view.error:
            self.failed = error_in(view.error)
        if not choices and view.usage is None and self.failed is None:
            self.failed = failure_in(data)
        for choice in choices:
            self._note_choice(choice)
        if self.failed is not None:
            return None
        if view.usage is not None:
            self.usage = tokens_of(view.usage, view.service_tier) or self.usage
        if choices or not self._strip_usage:
            return data
        return _without_usage(data)

    def _note_choice(self, choice: ChoiceView) -> None:
        index, reason = choice.index, choice.finish_reason
        if index not in self._begun:
            self._begun |= {index}
        if choice.usage is not None:
            self.usage = tokens_of(choice.usage) or self.usage
        if choice.error and self.failed is None:
            self.failed = error_in(choice.error)
        if reason:
            # Of compatible servers some write "" until there is one.
            if not is_good_end(reason):
                self.failed = self.failed or bad_end(reason)
                return
            self._finished |= {index}
            self.finish_reason = reason
            self.content_seen = True
        elif not self.content_seen:
            self.content_seen = bool(choice.text) or _has_content(choice.delta)
        self._plain_next = self.content_seen and 0 in self._begun

    def _fail(self, data: bytes) -> None:
        """Take an event that is named an error, whatever its data."""
        try:
            member = decode_object(data).get("error")
        except UNREADABLE:
            member = None
        self.failed = failed_of(data if member is None else bytes(member))

    def _without_null_usage(self, block: bytes) -> bytes:
        # Asked for usage, OpenAI adds a null one to every other event.
        return _drop_null_usage(b"", block) if self._strip_usage else block


def follow_choices(call: BaseCall) -> ChatStream:
    """Return what follows the stream that answers ``call``."""
    assert isinstance(call, Call)  # noqa: S101 - no other dialect's call comes here
    return ChatStream(strip_usage=not call.include_usage)


_EMPTY = (b"null", b'""', b"[]", b"{}")
_FINISH = b'"finish_reason":'
# A call of a tool that has only been opened has no arguments yet.
_has_arguments = re.compile(rb'"arguments"\s*+:\s*+(?!""|null)').search


def _has_content(delta: dict[str, msgspec.Raw] | None) -> bool:
    if delta is None:
        return False
    for name, value in delta.items():
        if name == "role" or bytes(value) in _EMPTY:
            continue
        if name != "tool_calls" or _has_arguments(bytes(value)) is not None:
            return True
    return False


def _without_usage(data: bytes) -> bytes | None:
    """Return an event without choices without its usage; None if it says no more."""
    try:
        frame = decode_frame(data)
        if bytes(frame.usage) == b"null":
            return data
        if bytes(frame.choices) in _EMPTY:
            return None
    except UNREADABLE:
        if b'"usage"' not in data:
            return data
    # It says more, or is odd.
    return without_members(data, "usage")


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
    if b"\n" in chunk or b"\r" in chunk or not (chunk.isascii() or is_utf8(chunk)):
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
    if b"\r" in whole or not (whole.isascii() or is_utf8(whole)):
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
