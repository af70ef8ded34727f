"""Tool calls in an answer: arguments as JSON text whatever their form, names, ids."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import msgspec

_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode
_NONE = (b"", b"null", b'""', b"[]")


def text_of(arguments: str | Mapping[str, msgspec.Raw] | None) -> str:
    """Return arguments that should be text; some servers write an object."""
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return _encode(arguments).decode()


def text_of_raw(arguments: msgspec.Raw) -> str:
    """Return arguments that should be an object; some servers write text.

    Raises:
        UNREADABLE: They are neither, or not UTF-8.
    """
    raw = bytes(arguments).strip()
    if raw in _NONE:
        return "{}"
    if raw.startswith(b'"'):
        return _decode_text(raw).strip() or "{}"
    if not raw.startswith(b"{"):
        raise msgspec.ValidationError("the arguments of a tool call are no object")
    return raw.decode()


def fresh_call_id() -> str:
    """Return an id for a call if neither it nor its answer has one."""
    return f"call_{uuid.uuid4().hex[:24]}"


def named(name: str | None) -> str:
    """Return the name of a tool that a whole answer calls.

    Raises:
        msgspec.ValidationError: There is none, so that the call cannot be carried out.
    """
    if not name:
        raise msgspec.ValidationError("a tool call has no name")
    return name
