"""Errors: what an upstream says, and what the gateway says.

Source: https://platform.claude.com/docs/en/api/errors. An error is
``{"type": "error", "error": {"type", "message", "details"?}, "request_id"?}``, in a
stream as an event ``error``; ``details.error_code`` names the cause more closely.
"""

from __future__ import annotations

import msgspec

from gandalf.dialects import sse
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import Failed
from gandalf.domain.errors import GatewayError, UpstreamRefused

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STATUSES = {kind: status for status, kind in _TYPES.items()}


class _Details(msgspec.Struct):
    error_code: str | None = None


class ErrorDetail(msgspec.Struct):
    """The member ``error`` of an error."""

    type: str | None = None
    message: str | None = None
    details: _Details | None = None


class _ErrorView(msgspec.Struct):
    error: ErrorDetail | str | None = None
    message: str | None = None


_decode_error = msgspec.json.Decoder(_ErrorView).decode


def read_error(body: bytes) -> tuple[str, str | None, str | None]:
    """Return message, code and param of an upstream's error body; "" if unreadable."""
    try:
        view = _decode_error(body)
    except UNREADABLE:
        return "", None, None
    if isinstance(view.error, ErrorDetail):
        return view.error.message or "", _code(view.error), None
    return view.error or view.message or "", None, None


def failed_of(error: ErrorDetail) -> Failed:
    """Return what an error inside an answer or a stream tells."""
    return Failed(
        message=error.message or "",
        code=_code(error),
        status=_STATUSES.get(error.type or ""),
    )


def error_body(error: GatewayError) -> bytes:
    """Return the body of the HTTP response that tells of ``error``."""
    if isinstance(error, UpstreamRefused) and error.body:
        return error.body
    return _said(error)


def stream_error(error: GatewayError) -> bytes:
    """Return the event that tells of ``error`` in a stream. Nothing follows it."""
    return sse.event(_said(error), b"error")


def _code(error: ErrorDetail) -> str | None:
    if error.details is not None and error.details.error_code:
        return error.details.error_code
    return error.type


def _said(error: GatewayError) -> bytes:
    detail = {
        "type": _type_of(error.status),
        "message": error.message,
        "details": {"error_code": error.code},
    }
    return msgspec.json.encode({"type": "error", "error": detail})


def _type_of(status: int) -> str:
    if status in _TYPES:
        return _TYPES[status]
    if status == 503:
        return "overloaded_error"
    return "invalid_request_error" if status < 500 else "api_error"
