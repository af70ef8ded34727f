"""Errors: what an upstream says, and what the gateway says.

Source: https://platform.claude.com/docs/en/api/errors. An error is
``{"type": "error", "error": {"type", "message", "details"?}, "request_id"?}``, in a
stream as an event ``error``; ``details.error_code`` names the cause more closely.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gandalf.dialects import error_details, sse
from gandalf.dialects.conversation import Failed
from gandalf.dialects.error_details import ErrorDetails
from gandalf.dialects.refusal_rules import Rule
from gandalf.domain.errors import GatewayError, Refusal, UpstreamRefused

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


REFUSALS: tuple[Rule, ...] = (
    # A 404 whose message is no more than "model: claude-x".
    Rule(Refusal.MODEL, text=re.compile(r"^model: "), statuses=frozenset({404})),
    # https://platform.claude.com/docs/en/api/errors: 401 is always about the key.
    Rule(
        Refusal.CREDENTIALS,
        frozenset({"authentication_error"}),
        statuses=frozenset({400, 401, 403}),
    ),
)


def read_error(body: bytes) -> ErrorDetails:
    """Return the details of an upstream's error body; its type is a code."""
    details = error_details.read_error(body)
    if details.code is not None:
        return details
    kind = next((kind for kind in _STATUSES if kind in details.kinds), None)
    return details._replace(code=kind)


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
    said: dict[str, Any] = {"type": "error", "error": detail}
    if error.request_id:
        said["request_id"] = error.request_id
    return msgspec.json.encode(said)


def _type_of(status: int) -> str:
    if status in _TYPES:
        return _TYPES[status]
    if status == 503:
        return "overloaded_error"
    return "invalid_request_error" if status < 500 else "api_error"
