"""OpenAI's Responses: what an answer, whole or streamed, says of itself.

Source: https://platform.openai.com/docs/api-reference/responses and
.../responses-streaming. A stream is server-sent events, each with its ``type`` and
a ``sequence_number``; it ends with ``response.completed``, ``response.incomplete`` or
``response.failed``, which hold the whole response and its usage, or with ``error``.
There is no ``[DONE]``.
"""

from __future__ import annotations

import msgspec

from gandalf.dialects import sse
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import Failed
from gandalf.dialects.openai.answers import failure_in
from gandalf.dialects.openai.counts import UsageView, tokens_of
from gandalf.dialects.openai.errors import failed_of
from gandalf.dialects.openai.passthrough import PassthroughCall
from gandalf.dialects.unread import (
    NOT_JSON,
    UNKNOWN_SHAPE,
    count,
    is_silence,
    is_utf8,
    read_leniently,
)
from gandalf.domain.errors import GatewayError
from gandalf.domain.objects import SeenObject
from gandalf.domain.usage import TokenUsage

# A response in one of these states goes on; its usage is not known yet.
_UNDER_WAY = frozenset({"queued", "in_progress"})
_ENDS = frozenset(
    {
        "response.completed",
        "response.incomplete",
        "response.failed",
        "response.cancelled",  # not documented as an event, but it is a status
    }
)
# Events that say no more than that there is a response, or open a part of it.
_FRAME = frozenset(
    {
        "response.content_part.added",
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.queued",
        "response.reasoning_summary_part.added",
    }
)

# Failures that are the upstream's, with the HTTP status that it might have used: as
# long as nothing was answered, another target may be asked. The others, as
# "invalid_prompt", are about the request, and the client's to see.
_FAILURES = {
    "server_error": 500,
    "rate_limit_exceeded": 429,
    "vector_store_timeout": 504,
}


class _Error(msgspec.Struct):
    message: str | None = None
    code: str | int | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Item(msgspec.Struct):
    type: str | None = None


class ResponseView(msgspec.Struct):
    """A response, as far as the gateway needs to know."""

    id: str = ""
    model: str | None = None
    service_tier: str | None = None
    output: list[_Item] | None = None
    object: str = ""
    status: str | None = None
    error: _Error | None = None
    incomplete_details: _Incomplete | None = None
    usage: UsageView | None = None
    store: bool | None = None

    @property
    def tokens(self) -> TokenUsage | None:
        """What it used, the searches that the provider made for it included."""
        kinds = [item.type for item in self.output or ()]
        return tokens_of(
            self.usage,
            service_tier=self.service_tier,
            web_searches=kinds.count("web_search_call"),
            file_searches=kinds.count("file_search_call"),
        )

    @property
    def finish_reason(self) -> str | None:
        """Why it ended: OpenAI's reason if it is incomplete, else its status."""
        if self.incomplete_details is not None and self.incomplete_details.reason:
            return self.incomplete_details.reason
        return self.status

    @property
    def failed(self) -> Failed | None:
        """The upstream's own failure, if it is one."""
        error = self.error
        if error is None or str(error.code) not in _FAILURES:
            return None
        code = str(error.code)
        return Failed(message=error.message or "", code=code, status=_FAILURES[code])

    def seen(self, call: PassthroughCall) -> SeenObject | None:
        """Return what is to be remembered of it."""
        kept = self.store if self.store is not None else call.stored
        if not self.id or not kept or self.object not in ("", "response"):
            return None
        under_way = self.status in _UNDER_WAY
        return SeenObject(id=self.id, kind="response", usage_due=under_way)


class _Event(msgspec.Struct):
    type: str = ""
    response: ResponseView | None = None
    error: _Error | None = None
    message: str | None = None
    code: str | int | None = None


_decode_event = msgspec.json.Decoder(_Event).decode


class ResponsesStream:
    """Follows a stream of response events, which goes on to the client as it came.

    The event that ends it is kept back as the ``ending``.
    """

    __slots__ = (
        "_at_once",
        "_buffer",
        "_call",
        "_ending",
        "content_seen",
        "done",
        "failed",
        "finish_reason",
        "unread",
        "usage",
    )

    def __init__(self, call: PassthroughCall) -> None:
        self._buffer = sse.EventBuffer()
        self._call = call
        # What goes on without us exists once it is announced: no other target may be
        # asked for it then. And it may be queued for long.
        self._at_once = call.background or bool(call.object_id)
        self._ending = b""
        self.usage: TokenUsage | None = None
        self.finish_reason: str | None = None
        self.done = False
        self.failed: Failed | None = None
        self.content_seen = False
        self.unread: dict[str, int] = {}
        """Events that were not read, counted by reason."""

    @property
    def ending(self) -> bytes:
        return self._ending

    def finished(self, choices: int) -> bool:
        """Whether the response has come to its end."""
        return self.done

    def feed(self, data: bytes) -> bytes:
        """Return the client's share of the events that ``data`` completes.

        Raises:
            sse.EventTooLarge: An event does not end.
        """
        if self.done or self.failed is not None:
            return b""
        block = self._buffer.feed(data)
        if not block or (self.content_seen and _unremarkable(block)):
            return block
        return b"".join([e for e in sse.split(block) if self._keeps(e)])

    def flush(self) -> bytes:
        """Return the client's share of what is left when the upstream has ended."""
        rest = self._buffer.flush()
        if not sse.is_whole(rest):
            return b""
        event = rest + b"\n\n"
        return event if self._keeps(event) else b""

    def _keeps(self, event: bytes) -> bool:
        """Note what ``event`` says; return whether the client gets it now."""
        if self.done or self.failed is not None:
            return False
        data = sse.data_of(event)
        if data is None or data.strip() == b"[DONE]":
            # Some imitations send it after their last event, where it is not looked
            # at; before that it ends nothing.
            return data is None
        if is_silence(data):
            return True
        view = self._read(data)
        if view is None:
            return True
        if is_failure(view.type, data, event):
            self.failed = _failure_of(view, data)
            return False
        return self._note(view, event)

    def _read(self, data: bytes) -> _Event | None:
        try:
            view = _decode_event(data)
            if is_utf8(data):
                return view
        except UNREADABLE:
            pass
        lenient = read_leniently(data, _Event)
        count(self.unread, NOT_JSON if lenient is None else UNKNOWN_SHAPE)
        return lenient

    def _note(self, view: _Event, event: bytes) -> bool:
        response = view.response
        if response is not None and (seen := response.seen(self._call)) is not None:
            self._call.note(seen)
        if view.type in _ENDS:
            self._end(response or ResponseView(), event)
            return False
        if self._at_once or view.type not in _FRAME:
            self.content_seen = True
        return True

    def _end(self, response: ResponseView, event: bytes) -> None:
        self.usage = response.tokens
        failed = response.failed
        if failed is not None and not self._at_once:
            self.failed = failed
            return
        self.finish_reason = response.finish_reason
        self._ending = event
        self.content_seen = True
        self.done = True


def is_failure(kind: str, data: bytes, event: bytes) -> bool:
    """Return whether an event tells of an error, whatever its shape."""
    if kind == "error" or event.startswith(b"event: error"):
        return True
    return not kind and failure_in(data) is not None


def stream_error(error: GatewayError, sequence_number: int = 0) -> bytes:
    """Return the event that tells of ``error`` in a stream of response events.

    The documentation has its members flat, OpenAI's own servers send them under
    ``error``, and clients look in one place or the other: so both.
    """
    told = {
        "type": error.type,
        "code": error.code,
        "message": error.message,
        "param": error.param,
    }
    if error.request_id:
        told["request_id"] = error.request_id
    said = {**told, "type": "error", "sequence_number": sequence_number, "error": told}
    return sse.event(msgspec.json.encode(said), b"error")


def _failure_of(view: _Event, data: bytes) -> Failed:
    error = view.error
    if error is None and view.message is None:
        return failure_in(data) or failed_of(data)
    code = error.code if error is not None else view.code
    message = (error.message if error is not None else view.message) or ""
    text = str(code) if code is not None else None
    status = _FAILURES.get(text or "")
    if status is None and text and text.isdigit() and len(text) == 3:
        status = int(text)
    return Failed(message=message, code=text, status=status)


def _unremarkable(block: bytes) -> bool:
    """Whether ``block`` holds nothing but well-formed events that say only content.

    It may look closer at what is harmless (a text that speaks of these events), never
    pass what is not.
    """
    events = block.count(b"}\n\n")
    if (
        events != block.count(b"\n\n")
        or b"\r" in block
        or b"\\u00" in block
        or not is_utf8(block)
        or any(word in block for word in _REMARKABLE)
    ):
        return False
    lines = [line for line in block.split(b"\n") if line.startswith(b"data: {")]
    try:
        # All at once: that is several times faster than one after the other.
        said = b"\n".join(lines).replace(b"data: {", b"{")
        return len(_content.decode_lines(said)) == len(lines) == events
    except UNREADABLE:
        return False


class _Content(msgspec.Struct):
    """An event that passes. Decoded to see that it is JSON."""

    type: str


_content = msgspec.json.Decoder(_Content)
_REMARKABLE = (
    b'"error"',
    b"event: error",
    b"response.completed",
    b"response.incomplete",
    b"response.failed",
    b"response.cancelled",
)
