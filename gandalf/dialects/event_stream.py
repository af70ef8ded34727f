"""Amazon's binary event streams: where a message ends, and what it says.

Rules, from https://smithy.io/2.0/aws/amazon-eventstream.html: a message is a prelude
(its length in all and that of its headers, four bytes each, and a CRC of those eight),
headers, a payload, and a CRC of everything before. Numbers are big-endian, the CRC is
that of gzip. A header is the length of its name, the name, the type of its value and
the value. ``:message-type`` says whether the message is an ``event``, an ``exception``
that the service's model knows, or an ``error`` that it does not.

A message that is none is the end of the stream: nothing says where the next one would
begin. What came whole before it is still returned, however the bytes were cut.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import Failed
from gandalf.dialects.sse import EventTooLarge

Value = bool | int | bytes | str

# The limits that the AWS SDKs keep.
MAX_HEADERS_BYTES = 128 * 1024
MAX_PAYLOAD_BYTES = 24 * 1024 * 1024
# Header sections seen lately. A stream has four or five kinds of message, over and
# over; the bound is for one that puts something else into each.
MAX_KNOWN_HEADERS = 32

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
_OVERHEAD = _PRELUDE.size + _CRC.size

_TRUE, _FALSE, _BYTES, _STRING, _UUID = 0, 1, 6, 7, 9
_NUMBERS = {
    2: struct.Struct(">b"),
    3: struct.Struct(">h"),
    4: struct.Struct(">i"),
    5: struct.Struct(">q"),
    8: struct.Struct(">q"),  # a timestamp: milliseconds since 1970
}


class FramingError(EventTooLarge):
    """What came is not a message, or one larger than any service sends."""


class Message(NamedTuple):
    """One message of a stream."""

    headers: Mapping[str, Value]
    payload: bytes


class Decoder:
    """Cuts a byte stream into messages, in linear time."""

    __slots__ = ("_broken", "_known", "_pending", "_wanted")

    def __init__(self) -> None:
        self._pending = bytearray()
        self._wanted = 0
        """How many bytes there must be before it is worth looking again."""
        self._known: dict[bytes, Mapping[str, Value]] = {}
        self._broken: FramingError | None = None

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that ``data`` completes.

        Raises:
            FramingError: What comes next is no message. Those before it have been
                returned.
        """
        if self._broken is not None:
            raise self._broken
        if self._pending:
            self._pending += data
            if len(self._pending) < self._wanted:
                return []
            data = bytes(self._pending)
            self._pending.clear()
        messages: list[Message] = []
        try:
            rest = self._cut(data, messages)
        except FramingError as error:
            self._broken = error
            if not messages:
                raise
        else:
            self._pending += data[rest:] if rest else data
        return messages

    def flush(self) -> None:
        """Note that the stream has ended; half a message is worth nothing.

        Raises:
            FramingError: It ended with something that is no message.
        """
        self._pending.clear()
        if self._broken is not None:
            raise self._broken

    def _cut(self, data: bytes, messages: list[Message]) -> int:
        """Add the whole messages of ``data``; return where the rest begins."""
        start = 0
        size = len(data)
        while size - start >= _PRELUDE.size:
            total, headers_size, crc = _PRELUDE.unpack_from(data, start)
            if zlib.crc32(data[start : start + 8]) != crc:
                raise FramingError("the stream's framing is broken: prelude checksum")
            _check(total, headers_size)
            end = start + total
            if end > size:
                self._wanted = total
                return start
            messages.append(self._message(data[start:end], headers_size))
            start = end
        self._wanted = _PRELUDE.size
        return start

    def _message(self, message: bytes, headers_size: int) -> Message:
        if zlib.crc32(message[:-4]) != _CRC.unpack_from(message, len(message) - 4)[0]:
            raise FramingError("the stream's framing is broken: message checksum")
        payload_at = _PRELUDE.size + headers_size
        section = message[_PRELUDE.size : payload_at]
        headers = self._known.get(section)
        if headers is None:
            headers = _headers(section)
            if len(self._known) < MAX_KNOWN_HEADERS:
                self._known[section] = headers
        return Message(headers, message[payload_at:-4])


def _check(total: int, headers_size: int) -> None:
    if headers_size > MAX_HEADERS_BYTES:
        raise FramingError("the headers of a message are too large")
    payload_size = total - headers_size - _OVERHEAD
    if payload_size > MAX_PAYLOAD_BYTES:
        raise FramingError("a message of the stream is too large")
    if payload_size < 0:
        raise FramingError("the stream's framing is broken: lengths")


def _headers(section: bytes) -> Mapping[str, Value]:
    headers: dict[str, Value] = {}
    at = 0
    try:
        while at < len(section):
            name_end = at + 1 + section[at]
            name = _exactly(section, at + 1, name_end).decode()
            value, at = _value(section, name_end)
            if name in headers:
                raise FramingError("a message has the same header twice")
            headers[name] = value
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise FramingError("the stream's framing is broken: headers") from error
    return headers


def _value(section: bytes, at: int) -> tuple[Value, int]:
    """Return the value whose type stands at ``at``, and where the next header is."""
    kind = section[at]
    at += 1
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    if kind in (_BYTES, _STRING):
        start = at + _LENGTH.size
        end = start + int(_LENGTH.unpack_from(section, at)[0])
        value = _exactly(section, start, end)
        return (value.decode() if kind == _STRING else value), end
    if kind == _UUID:
        return _exactly(section, at, at + 16), at + 16
    number = _NUMBERS.get(kind)
    if number is None:
        raise FramingError("a header of a message has a value of an unknown type")
    return int(number.unpack_from(section, at)[0]), at + number.size


def _exactly(section: bytes, start: int, end: int) -> bytes:
    if end > len(section):
        raise IndexError(end)
    return section[start:end]


# What a service says went wrong.

# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
# and .../API_runtime_InvokeModelWithResponseStream.html, "Errors". A model's own error
# (424) is nobody's fault who could mend the request, so it has no status of its own.
STATUSES: Mapping[str, int] = {
    "accessDeniedException": 403,
    "internalServerException": 500,
    "modelNotReadyException": 429,
    "modelTimeoutException": 408,
    "resourceNotFoundException": 404,
    "serviceQuotaExceededException": 429,
    "serviceUnavailableException": 503,
    "throttlingException": 429,
    "validationException": 400,
}


class _ErrorView(msgspec.Struct, rename="camel"):
    message: str | None = None
    original_message: str | None = None
    original_status_code: int | None = None


_decode_error = msgspec.json.Decoder(_ErrorView).decode


def failed_of(message: Message) -> Failed | None:
    """Return the error that ``message`` tells of; None if it is an event."""
    headers = message.headers
    kind = headers.get(":message-type", "event")
    if kind == "event":
        return None
    if kind == "error":
        code = str(headers.get(":error-code", ""))
        text = str(headers.get(":error-message", ""))
        return _failed(code, text, None)
    try:
        view = _decode_error(message.payload)
    except UNREADABLE:
        view = _ErrorView()
    return _failed(
        str(headers.get(":exception-type", "")),
        view.message or view.original_message or "",
        view.original_status_code,
    )


def _failed(code: str, text: str, status: int | None) -> Failed:
    name = code[:1].lower() + code[1:]
    return Failed(
        message=text or code, code=code or None, status=STATUSES.get(name, status)
    )
