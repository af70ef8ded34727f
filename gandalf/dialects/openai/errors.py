"""Errors: what an upstream says, and what the gateway says."""

from __future__ import annotations

from typing import Any

import msgspec

from gandalf.dialects import sse
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import Failed
from gandalf.domain.errors import GatewayError, UpstreamRefused


class _ErrorDetail(msgspec.Struct):
    message: str = ""
    type: str | None = None
    code: str | int | None = None
    param: str | None = None


class _ErrorView(msgspec.Struct):
    error: _ErrorDetail | str | None = None
    message: str | None = None
    detail: Any = None


_decode_error = msgspec.json.Decoder(_ErrorView).decode


def read_error(body: bytes) -> tuple[str, str | None, str | None]:
    """Return message, code and param of an upstream's error body; "" if unreadable."""
    try:
        view = _decode_error(body)
    except UNREADABLE:
        return "", None, None
    if isinstance(view.error, _ErrorDetail):
        code = view.error.code
        return view.error.message, str(code) if code else None, view.error.param
    return view.error or view.message or "", None, None


def failed_of(error: bytes) -> Failed:
    """Return what ``error``, the value of a member ``error``, tells."""
    message, code, _ = read_error(b'{"error":%b}' % error)
    status = int(code) if code and code.isdigit() and len(code) == 3 else None
    return Failed(message=message, code=code, status=status)


def error_body(error: GatewayError) -> bytes:
    """Return the body of the HTTP response that tells of ``error``."""
    if isinstance(error, UpstreamRefused) and error.body:
        return error.body
    return msgspec.json.encode({"error": _detail(error)})


def stream_error(error: GatewayError) -> bytes:
    """Return the event that tells of ``error`` in a stream. No ``[DONE]`` follows."""
    return sse.event(msgspec.json.encode({"error": _detail(error)}), b"error")


def _detail(error: GatewayError) -> dict[str, str | None]:
    return {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
