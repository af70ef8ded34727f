"""Images and sound, streamed: as events, or as bytes that only the client understands.

Source: https://platform.openai.com/docs/api-reference/images-streaming,
.../audio/transcript-text-done-event and .../audio/speech-audio-done-event. Each image,
transcription or speech ends with an event of its own that holds its usage. There is no
marker of the stream's end but that of the response, and ``[DONE]`` at some imitations.
"""

from __future__ import annotations

import msgspec

from gandalf.dialects import sse
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import Failed
from gandalf.dialects.openai.counts import UsageView, tokens_of
from gandalf.dialects.openai.errors import failed_of
from gandalf.dialects.openai.responses import is_failure
from gandalf.dialects.unread import (
    NOT_JSON,
    UNKNOWN_SHAPE,
    count,
    is_silence,
    is_utf8,
    read_leniently,
)
from gandalf.domain.usage import TokenUsage, add

_SPEECH_DONE = "speech.audio.done"
_ENDS = frozenset(
    {
        "image_generation.completed",
        "image_edit.completed",
        "transcript.text.done",
        _SPEECH_DONE,
    }
)


class _Event(msgspec.Struct):
    type: str = ""
    usage: UsageView | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(_Event).decode


class MediaStream:
    """Follows a stream of events of images or sound; they go on as they came.

    An event that ends something is kept back until the next one comes, for it may be
    the last: the stream's ``ending``.
    """

    __slots__ = (
        "_buffer",
        "_choices",
        "_ended",
        "_held",
        "content_seen",
        "done",
        "failed",
        "finish_reason",
        "unread",
        "usage",
    )

    def __init__(self, choices: int = 1) -> None:
        self._buffer = sse.EventBuffer()
        self._choices = choices
        self._ended = 0
        self._held = b""
        self.usage: TokenUsage | None = None
        self.finish_reason: str | None = None
        self.done = False
        self.failed: Failed | None = None
        self.content_seen = False
        self.unread: dict[str, int] = {}
        """Events that were not read, counted by reason."""

    @property
    def ending(self) -> bytes:
        return self._held

    def finished(self, choices: int) -> bool:
        """Whether each of the images or texts asked for has come to its end."""
        return self._ended >= max(choices, self._choices)

    def feed(self, data: bytes) -> bytes:
        """Return the client's share of the events that ``data`` completes.

        Raises:
            sse.EventTooLarge: An event does not end.
        """
        if self.done or self.failed is not None:
            return b""
        return b"".join(map(self._share, sse.split(self._buffer.feed(data))))

    def flush(self) -> bytes:
        """Return the client's share of what is left when the upstream has ended."""
        if self.done or self.failed is not None:
            return b""
        rest = self._buffer.flush()
        share = self._share(rest + b"\n\n") if sse.is_whole(rest) else b""
        self.done = self._held != b"" and self.failed is None
        return share

    def _share(self, event: bytes) -> bytes:
        """Return what the client gets now that ``event`` has come."""
        if self.done or self.failed is not None:
            return b""
        data = sse.data_of(event)
        if data is None or is_silence(data):
            return event
        if data.strip() == b"[DONE]":
            self.done = self._held != b""
            return b""
        view = self._read(data)
        if view is None:
            share, self._held = self._held, b""
            return share + event
        error = bytes(view.error)
        if is_failure(view.type, data, event) or error not in (b"", b"null"):
            self.failed = failed_of(data if error in (b"", b"null") else error)
            return b""
        return self._note(view, event)

    def _read(self, data: bytes) -> _Event | None:
        try:
            view = _decode(data)
            if is_utf8(data):
                return view
        except UNREADABLE:
            pass
        lenient = read_leniently(data, _Event)
        count(self.unread, NOT_JSON if lenient is None else UNKNOWN_SHAPE)
        return lenient

    def _note(self, view: _Event, event: bytes) -> bytes:
        self.content_seen = True
        share, self._held = self._held, b""
        if view.type not in _ENDS:
            return share + event
        self._held = event
        self._ended += 1
        used = tokens_of(view.usage, spoken=view.type == _SPEECH_DONE)
        self.usage = add(self.usage, used)
        return share


class OpaqueStream:
    """Follows bytes that say nothing to the gateway: sound, subtitles, files.

    Complete when the response is: its framing is all that can tell.
    """

    __slots__ = ("content_seen", "done", "failed", "finish_reason", "unread", "usage")

    ending = b""

    def __init__(self) -> None:
        self.usage: TokenUsage | None = None
        self.finish_reason: str | None = None
        self.done = False
        self.failed: Failed | None = None
        self.content_seen = False
        self.unread: dict[str, int] = {}

    def feed(self, data: bytes) -> bytes:
        """Return ``data``."""
        self.content_seen = True
        return data

    def flush(self) -> bytes:
        """Take notice that the response has come to its proper end."""
        self.done = True
        return b""

    def finished(self, choices: int) -> bool:
        """Whether the response has ended."""
        return self.done
