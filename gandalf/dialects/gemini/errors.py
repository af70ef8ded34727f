"""Errors: what an upstream says, and what the gateway says.

Source: https://cloud.google.com/apis/design/errors (``error`` with ``code``,
``message``, ``status`` and ``details``) and, for streams, how Google's SDKs read one:
an error there is a line of JSON that is no ``data`` (``google/genai/_api_client.py``,
go-genai's ``iterateResponseStream``, js-genai's ``processStreamResponse``).
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import msgspec

from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import Failed
from gandalf.dialects.error_details import read_error as read_error
from gandalf.dialects.refusal_rules import Rule
from gandalf.domain.errors import GatewayError, Refusal, UpstreamRefused

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


REFUSALS: tuple[Rule, ...] = (
    # https://ai.google.dev/gemini-api/docs/troubleshooting: "models/x is not found for
    # API version v1beta"; Vertex AI: "Publisher Model `projects/...` was not found".
    Rule(
        Refusal.MODEL,
        text=re.compile(r"^models/\S+ is not found|^Publisher Model "),
        statuses=frozenset({404}),
    ),
)


class _Error(msgspec.Struct):
    code: int | None = None


class _ErrorView(msgspec.Struct):
    error: _Error | str | None = None


_decode_error = msgspec.json.Decoder(_ErrorView).decode


def failed_of(body: bytes) -> Failed:
    """Return what ``body``, an object with a member ``error``, tells."""
    details = read_error(body)
    return Failed(message=details.message, code=details.code, status=_status_in(body))


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
    if error.request_id:
        details.append({"@type": f"{_TYPES}RequestInfo", "requestId": error.request_id})
    return details


def _status_in(body: bytes) -> int | None:
    try:
        error = _decode_error(body).error
    except UNREADABLE:
        return None
    return error.code if isinstance(error, _Error) else None
