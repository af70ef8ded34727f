"""Errors: what an upstream says, and what the gateway says.

Source: https://docs.ollama.com/api/errors. An error is a message and no more: what kind
it is only the HTTP status tells, and in a stream nothing does.
"""

from __future__ import annotations

import msgspec

from gandalf.dialects import ndjson
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import Failed
from gandalf.domain.errors import GatewayError, UpstreamRefused


class _ErrorDetail(msgspec.Struct):
    message: str = ""


class _ErrorView(msgspec.Struct):
    # A detail is what proxies in front of Ollama write, in OpenAI's manner.
    error: _ErrorDetail | str | None = None


_decode_error = msgspec.json.Decoder(_ErrorView).decode


def read_error(body: bytes) -> tuple[str, str | None, str | None]:
    """Return message, code and param of an upstream's error body; "" if unreadable."""
    try:
        error = _decode_error(body).error
    except UNREADABLE:
        return "", None, None
    message = error.message if isinstance(error, _ErrorDetail) else error or ""
    return message, None, None


def failed_in(error: msgspec.Raw) -> Failed | None:
    """Return the error that the value of a member ``error`` tells of, if it does."""
    value = bytes(error)
    if value in (b"", b"null", b'""'):
        return None
    return Failed(message=read_error(b'{"error":%b}' % value)[0])


def error_body(error: GatewayError) -> bytes:
    """Return the body of the HTTP response that tells of ``error``."""
    if isinstance(error, UpstreamRefused) and error.body:
        return error.body
    return msgspec.json.encode({"error": error.message})


def stream_error(error: GatewayError) -> bytes:
    """Return the line that tells of ``error`` in a stream, and is its last one."""
    return ndjson.line(msgspec.json.encode({"error": error.message}))
