"""A streamed answer, in messages of Amazon's event stream.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/
API_runtime_ConverseStreamOutput.html. ``messageStop`` says why the model stopped, and
``metadata``, which holds the usage, is the last message of a stream. Events of a type
that is not known are skipped and counted. A payload that cannot be read, not even for
what it means (``lenient``), may be a part of the answer: the stream has failed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import ClassVar, TypeVar

import msgspec

from gandalf.dialects.arguments import fresh_call_id, text_of
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import (
    Ended,
    Event,
    Failed,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    Unread,
    UsageReported,
)
from gandalf.dialects.converse.answers import (
    ASIDE,
    ExtraFields,
    ServiceTier,
    UsageView,
    tokens_of,
)
from gandalf.dialects.converse.blocks import NAME, SIGNER
from gandalf.dialects.converse.finishes import finish_of
from gandalf.dialects.ends import bad_end
from gandalf.dialects.event_stream import Decoder, Message, failed_of
from gandalf.dialects.lenient import Reader, checked

_ABSENT = msgspec.Raw(b"")


class _ToolUseStart(msgspec.Struct, rename="camel"):
    name: str = ""
    tool_use_id: str = ""
    type: str | None = None


class _Start(msgspec.Struct, rename="camel"):
    tool_use: _ToolUseStart | None = None
    # Of the provider's own tools, and of models that draw.
    tool_result: msgspec.Raw = _ABSENT
    image: msgspec.Raw = _ABSENT


class _StartView(msgspec.Struct, rename="camel"):
    start: _Start
    content_block_index: int = 0


class _ToolUseDelta(msgspec.Struct):
    input: str | dict[str, msgspec.Raw] | None = None
    """Text; an object from careless services."""


class _ReasoningDelta(msgspec.Struct, rename="camel"):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class _Delta(msgspec.Struct, rename="camel"):
    text: str | None = None
    tool_use: _ToolUseDelta | None = None
    reasoning_content: _ReasoningDelta | None = None
    citation: msgspec.Raw = _ABSENT
    tool_result: msgspec.Raw = _ABSENT


class _DeltaView(msgspec.Struct, rename="camel"):
    delta: _Delta
    content_block_index: int = 0


class _BlockStopView(msgspec.Struct, rename="camel"):
    content_block_index: int = 0


class _StopView(msgspec.Struct, rename="camel"):
    stop_reason: str
    additional_model_response_fields: ExtraFields | None = None


class _MetadataView(msgspec.Struct, rename="camel"):
    usage: UsageView | None = None
    service_tier: ServiceTier | None = None


_T = TypeVar("_T")
_BROKEN = Failed(message="an event of the stream is unreadable")
_UNKNOWN = Unread("unknown_type")
_UNKNOWN_BLOCK = Unread("unknown_block")


def _reading(view: type[_T]) -> Callable[[bytes], _T]:
    """Return what reads a payload as ``view``, strictly and then for what it means."""
    decode = msgspec.json.Decoder(view).decode
    read = Reader(view, ASIDE).view

    def reading(payload: bytes) -> _T:
        try:
            return decode(checked(payload))
        except UNREADABLE:
            return read(payload)

    return reading


_decode_start = _reading(_StartView)
_decode_delta = _reading(_DeltaView)
_decode_block_stop = _reading(_BlockStopView)
_decode_stop = _reading(_StopView)
_decode_metadata = _reading(_MetadataView)


_Take = Callable[["ConverseStream", bytes, list[Event]], None]


class ConverseStream:
    """Parses one stream."""

    __slots__ = ("_calls", "_decoder", "_hidden", "_skipped", "_stopped", "_wordless")

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._calls: dict[int, int] = {}
        """Which call a block is."""
        self._skipped: set[int] = set()
        """Blocks that are no part of the answer."""
        self._wordless: set[int] = set()
        """Blocks of calls whose arguments have not begun."""
        self._hidden: dict[int, list[str]] = {}
        """Encrypted thinking that has come of a block, which must stay one piece."""
        self._stopped = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that ``data`` completes.

        Raises:
            FramingError: It is no event stream.
        """
        events: list[Event] = []
        for message in self._decoder.feed(data):
            try:
                self._take(message, events)
            except UNREADABLE:
                events.append(_BROKEN)
        return events

    def flush(self) -> list[Event]:
        """Return nothing: half a message says nothing."""
        self._decoder.flush()
        return []

    def _take(self, message: Message, events: list[Event]) -> None:
        failed = failed_of(message)
        if failed is not None:
            events.append(failed)
            return
        kind = message.headers.get(":event-type")
        take = self._TAKES.get(str(kind))
        if take is not None:
            take(self, message.payload, events)
        else:
            events.append(_UNKNOWN if kind else _BROKEN)

    def _delta(self, payload: bytes, events: list[Event]) -> None:
        view = _decode_delta(payload)
        delta = view.delta
        # A stream may begin with an empty text, which is no content.
        if delta.text:
            events.append(TextDelta(text=delta.text))
        elif delta.tool_use is not None and delta.tool_use.input is not None:
            arguments = text_of(delta.tool_use.input)
            self._goes_on(view.content_block_index, arguments, events)
        elif delta.reasoning_content is not None:
            self._thinks(view.content_block_index, delta.reasoning_content, events)
        elif delta.text is None and not (delta.citation or delta.tool_result):
            events.append(_BROKEN)

    def _goes_on(self, block: int, arguments: str, events: list[Event]) -> None:
        call = self._calls.get(block)
        if call is None:
            if block not in self._skipped:
                events.append(_BROKEN)
        elif arguments:
            self._wordless.discard(block)
            events.append(ToolCallDelta(call=call, arguments=arguments))

    def _thinks(self, block: int, delta: _ReasoningDelta, events: list[Event]) -> None:
        if delta.redacted_content is not None:
            self._hidden.setdefault(block, []).append(delta.redacted_content)
        elif delta.signature:
            events.append(ThinkingDelta(signature=delta.signature, origin=SIGNER))
        elif delta.text:
            events.append(ThinkingDelta(text=delta.text))

    def _block_start(self, payload: bytes, events: list[Event]) -> None:
        view = _decode_start(payload)
        block, use = view.content_block_index, view.start.tool_use
        if use is None or use.type is not None:
            self._skipped.add(block)
            if use is None and not (view.start.tool_result or view.start.image):
                events.append(_UNKNOWN_BLOCK)
            return
        if not use.name:
            events.append(_BROKEN)
            return
        call = self._calls[block] = len(self._calls)
        self._wordless.add(block)
        call_id = use.tool_use_id or fresh_call_id()
        events.append(ToolCallStarted(call=call, id=call_id, name=use.name))

    def _block_stop(self, payload: bytes, events: list[Event]) -> None:
        block = _decode_block_stop(payload).content_block_index
        if block in self._wordless:
            self._wordless.remove(block)
            events.append(ToolCallDelta(call=self._calls[block], arguments="{}"))
        if pieces := self._hidden.pop(block, None):
            events.append(ThinkingDelta(redacted=_joined(pieces), origin=NAME))

    def _message_start(self, payload: bytes, events: list[Event]) -> None:
        events.append(Started())

    def _message_stop(self, payload: bytes, events: list[Event]) -> None:
        view = _decode_stop(payload)
        extra = view.additional_model_response_fields or ExtraFields()
        finish = finish_of(view.stop_reason)
        if finish is None:
            events.append(bad_end(view.stop_reason))
            return
        events.append(Finished(finish=finish, stop_sequence=extra.stop_sequence))
        self._stopped = True

    def _metadata(self, payload: bytes, events: list[Event]) -> None:
        said = _decode_metadata(payload)
        usage = tokens_of(said.usage, said.service_tier)
        if usage is not None:
            events.append(UsageReported(usage))
        if self._stopped:
            events.append(Ended())

    _TAKES: ClassVar[dict[str, _Take]] = {
        "contentBlockDelta": _delta,
        "contentBlockStart": _block_start,
        "contentBlockStop": _block_stop,
        "messageStart": _message_start,
        "messageStop": _message_stop,
        "metadata": _metadata,
    }


def stream_parser() -> ConverseStream:
    """Return what parses a stream."""
    return ConverseStream()


def _joined(pieces: list[str]) -> str:
    """Return pieces of base64 as one. Padding between them would end it early."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        decoded = b"".join(base64.b64decode(piece, validate=True) for piece in pieces)
    except binascii.Error:
        return "".join(pieces)
    return base64.b64encode(decoded).decode()
