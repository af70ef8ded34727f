"""Errors: what an upstream says, and what the gateway says.

Source: https://cloud.google.com/apis/design/errors (``error`` with ``code``,
``message``, ``status`` and ``details``) and, for streams, how Google's SDKs read one:
an error there is a line of JSON that is no ``data`` (``google/genai/_api_client.py``,
go-genai's ``iterateResponseStream``, js-genai's ``processStreamResponse``).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import Failed
from gandalf.domain.errors import GatewayError, UpstreamRefused

_TYPES = "type.googleapis.com/google.rpc."

# https://cloud.google.com/apis/design/errors#handling_errors
_STATUS_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class _Violation(msgspec.Struct):
    field: str = ""


class _Detail(msgspec.Struct):
    reason: str = ""
    field_violations: list[_Violation] = msgspec.field(
        name="fieldViolations", default=[]
    )


class _Error(msgspec.Struct):
    code: int | None = None
    message: str = ""
    status: str | None = None
    details: msgspec.Raw = msgspec.Raw(b"[]")


class _ErrorView(msgspec.Struct):
    error: _Error | str | None = None


_decode_error = msgspec.json.Decoder(_ErrorView | list[_ErrorView]).decode
_decode_details = msgspec.json.Decoder(list[_Detail]).decode
_NOT_READ = _Error()


def read_error(body: bytes) -> tuple[str, str | None, str | None]:
    """Return message, code and param of an upstream's error body; "" if unreadable.

    The code is the reason that the error's details give, else its status word.
    """
    error = _error_in(body)
    reason, param = _reason_and_param(error)
    return error.message, reason or error.status, param


def failed_of(body: bytes) -> Failed:
    """Return what ``body``, an object with a member ``error``, tells."""
    error = _error_in(body)
    reason, _ = _reason_and_param(error)
    return Failed(message=error.message, code=reason or error.status, status=error.code)


def error_body(error: GatewayError) -> bytes:
    """Return the body of the HTTP response that tells of ``error``."""
    if isinstance(error, UpstreamRefused) and error.body:
        return error.body
    return _told(error)


def stream_error(error: GatewayError) -> bytes:
    """Return what tells of ``error`` in a stream: JSON outside of any event."""
    return _told(error) + b"\n\n"


def _told(error: GatewayError) -> bytes:
    code = error.status
    fallback = (
        "INVALID_ARGUMENT" if code < HTTPStatus.INTERNAL_SERVER_ERROR else "INTERNAL"
    )
    told = {
        "code": code,
        "message": error.message,
        "status": _STATUS_WORDS.get(code, fallback),
        "details": _details(error),
    }
    return msgspec.json.encode({"error": told})


def _details(error: GatewayError) -> list[dict[str, Any]]:
    details: list[dict[str, Any]] = [
        {"@type": f"{_TYPES}ErrorInfo", "reason": error.code, "domain": "gandalf"}
    ]
    if error.param:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": f"{_TYPES}BadRequest", "fieldViolations": [violation]})
    if error.retry_after is not None:
        delay = f"{error.retry_after:.3f}s"
        details.append({"@type": f"{_TYPES}RetryInfo", "retryDelay": delay})
    return details


def _error_in(body: bytes) -> _Error:
    try:
        view = _decode_error(body)
    except UNREADABLE:
        return _NOT_READ
    # A stream that was asked for without alt=sse is a list, even if it is an error.
    first = view if isinstance(view, _ErrorView) else next(iter(view), _ErrorView())
    if isinstance(first.error, str):
        return _Error(message=first.error)
    return first.error or _NOT_READ


def _reason_and_param(error: _Error) -> tuple[str | None, str | None]:
    try:
        details = _decode_details(error.details)
    except UNREADABLE:
        return None, None
    reason = next((each.reason for each in details if each.reason), None)
    fields = (each.field for detail in details for each in detail.field_violations)
    return reason, next(fields, None) or None
