"""The rule for parts of an upstream's answer that the gateway cannot read.

An answer is ``complete`` only if the upstream said so in words that the gateway knows:
the protocol's own end *and* a good end of every choice that began. Good ends are a
closed table per dialect (``finishes.GOOD_ENDS``); see ``ends``.

Same dialect on both sides, for each event of a stream and for each whole answer:

| received                                      | client gets       | answer         |
|-----------------------------------------------|-------------------|----------------|
| JSON that the gateway's view reads            | the bytes         | goes on        |
| JSON of another shape: ``UNKNOWN_SHAPE``      | the bytes         | goes on        |
| an event that is no JSON: ``NOT_JSON``        | the bytes         | never complete |
| usage that only the gateway asked for         | all but the usage | goes on        |
| an error of any shape, an end not on the list | an error          | has failed     |
| a whole answer that is no JSON, or lacks what | an error          | has failed     |
| its operation must have                       |                   |                |

Both kinds of events that were not read are counted, in a metric and in the record.

An answer that has failed before its first content fails over to the next target; after
it, the client gets an error event and no end marker. An event that only opens something
(a role, ``content_block_start``) is no content: it is held until there is some.

Lone surrogates, ``NaN`` and ``Infinity`` count as JSON, as they do for the parsers of
Python and of JavaScript servers that write them. From JSON of another shape is read
what can be read (``read_leniently``), so that its usage and its end are not lost.

Translated answers cannot be passed on as bytes. Event types that are new to the
gateway are skipped and counted; everything else that cannot be read ends the stream
with an error (see ``conversation.Unread``).
"""

from __future__ import annotations

import enum
import json
import math
import struct
import zlib
from collections.abc import Callable
from typing import Any, TypeVar, get_args, get_origin

import msgspec

UNKNOWN_SHAPE = "unknown_shape"
NOT_JSON = "not_json"

BOM = b"\xef\xbb\xbf"

V = TypeVar("V", bound=msgspec.Struct)

_MISSING: Any = object()


class _Nothing(msgspec.Struct):
    pass


def count(unread: dict[str, int], why: str) -> None:
    """Count one event that was not read, for the reason ``why``."""
    unread[why] = unread.get(why, 0) + 1


def is_utf8(data: bytes) -> bool:
    """Return whether ``data`` is UTF-8: decoders do not look into what they skip."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def without_mark(body: bytes) -> bytes:
    """Return a whole answer without the byte order mark that some servers send.

    JSON must not begin with one, and many parsers refuse it.
    """
    return body.removeprefix(BOM)


class Kind(enum.Enum):
    """What a body is, by its first bytes, whatever its ``content-type`` says."""

    UNDECIDED = enum.auto()
    """Not enough of it has come."""
    JSON = enum.auto()
    """A JSON object or array."""
    EVENTS = enum.auto()
    """Server-sent events."""
    MESSAGES = enum.auto()
    """Messages of Amazon's event stream."""
    OTHER = enum.auto()
    """A page of a proxy, for example."""


# Total length, length of the headers, and the CRC of both: see ``event_stream``.
_PRELUDE = struct.Struct(">8sI")
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")


def kind_of(beginning: bytes) -> Kind:
    """Return what a body is that begins with ``beginning``."""
    if beginning.startswith(b"\0"):
        return _kind_of_binary(beginning)
    text = beginning.removeprefix(BOM).lstrip(b" \t\r\n")
    if text.startswith((b"{", b"[")):
        return Kind.JSON
    if text.startswith(_FIELDS):
        return Kind.EVENTS
    if any(field.startswith(text) for field in _FIELDS) or text in (BOM[:1], BOM[:2]):
        return Kind.UNDECIDED
    return Kind.OTHER


def _kind_of_binary(beginning: bytes) -> Kind:
    if len(beginning) < _PRELUDE.size:
        return Kind.UNDECIDED
    lengths, checksum = _PRELUDE.unpack_from(beginning)
    return Kind.MESSAGES if zlib.crc32(lengths) == checksum else Kind.OTHER


def require_utf8(body: bytes) -> None:
    """Raise UnicodeDecodeError unless ``body`` is UTF-8."""
    if not body.isascii():
        body.decode()


def read_whole(
    body: bytes, decode: Callable[[bytes], V], view: type[V]
) -> tuple[V, bool]:
    """Return what ``view`` reads of a whole answer, and if that is only a part of it.

    Args:
        body: The answer.
        decode: The view's decoder.
        view: What is read.

    Raises:
        UNREADABLE: It is no JSON, or not UTF-8.
    """
    require_utf8(body)
    try:
        return decode(body), False
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        salvaged = read_leniently(body, view)
        if salvaged is None:
            raise
        return salvaged, True


def is_silence(data: bytes) -> bool:
    """Return whether an event's ``data`` is a sign of life and nothing else."""
    return data.strip() in (b"", b"ping")


def is_json(data: bytes) -> bool:
    """Return whether ``data`` is JSON, in the wide sense of the rule. Slow."""
    return read_leniently(data, _Nothing) is not None


def read_leniently(data: bytes, view: type[V]) -> V | None:
    """Return as much of ``data`` as fits ``view``; None if it is no JSON at all.

    Members of the wrong type are read for the value that they stand for (``"5"``,
    ``5.0``), and are left out if there is none. Slow: for events that the view's own
    decoder has refused.
    """
    try:
        value = json.loads(data.decode("utf-8", "surrogatepass"), parse_int=_integer)
    except (ValueError, RecursionError):
        return None
    return _struct(value, view) if isinstance(value, dict) else view()


def _integer(text: str) -> int | float:
    # The conversion of a number of many thousand digits is slow, and refused.
    return int(text) if len(text) < 40 else float(text)


def _struct(value: dict[str, Any], view: type[V]) -> V:
    fields = {}
    for field in msgspec.structs.fields(view):
        if field.encode_name in value:
            fitted = _fitted(value[field.encode_name], field.type)
            if fitted is not _MISSING:
                fields[field.name] = fitted
    return view(**fields)


def _fitted(value: Any, wanted: Any) -> Any:  # noqa: ANN401 - any JSON, any type
    """Return ``value`` as the type ``wanted``; _MISSING if it does not fit."""
    if wanted is msgspec.Raw:
        return msgspec.Raw(json.dumps(value).encode())
    options = [option for option in get_args(wanted) if option is not type(None)]
    if value is None:
        return None if type(None) in get_args(wanted) else _MISSING
    if get_origin(wanted) is list:
        if not isinstance(value, list):
            return _MISSING
        items = [_fitted(each, options[0]) for each in value]
        return [item for item in items if item is not _MISSING]
    if get_origin(wanted) is dict:
        if not isinstance(value, dict):
            return _MISSING
        return {name: _fitted(each, options[1]) for name, each in value.items()}
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return _struct(value, wanted) if isinstance(value, dict) else _MISSING
    if options:
        fits = (_fitted(value, option) for option in options)
        return next((fit for fit in fits if fit is not _MISSING), _MISSING)
    return _scalar(value, wanted)


def _scalar(value: Any, wanted: Any) -> Any:  # noqa: ANN401 - any JSON, any type
    if wanted is int and isinstance(value, str | float) and not isinstance(value, bool):
        try:
            # A fraction of a token is charged as one.
            return math.ceil(float(value))
        except (ValueError, OverflowError):
            return _MISSING
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError:
        return _MISSING
