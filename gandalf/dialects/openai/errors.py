"""Errors: what an upstream says, and what the gateway says.

Source: https://platform.openai.com/docs/guides/error-codes.
"""

from __future__ import annotations

import msgspec

from gandalf.dialects import sse
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import Failed
from gandalf.dialects.error_details import read_error as read_error
from gandalf.dialects.refusal_rules import Rule
from gandalf.domain.errors import GatewayError, UpstreamRefused

REFUSALS: tuple[Rule, ...] = ()
"""OpenAI's own are among the common ones: most vendors repeat them."""


class _ErrorDetail(msgspec.Struct):
    type: str | None = None
    status_code: int | None = None


class _ErrorView(msgspec.Struct):
    error: _ErrorDetail | str | None = None


_decode_error = msgspec.json.Decoder(_ErrorView).decode

# https://platform.openai.com/docs/guides/error-codes
_STATUSES = {
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "tokens": 429,
    "requests": 429,
    "server_error": 500,
    "invalid_request_error": 400,
}
# What OpenAI calls otherwise than the errors of ``domain.errors`` do.
_TYPES = {"api_error": "server_error"}


def failed_of(error: bytes) -> Failed:
    """Return what ``error``, the value of a member ``error``, tells."""
    body = b'{"error":%b}' % error
    details = read_error(body)
    code = details.code
    return Failed(message=details.message, code=code, status=_status_of(body, code))


def _status_of(body: bytes, code: str | None) -> int | None:
    """Return the HTTP status that an error stands for; None if nothing tells."""
    if code and code.isdigit() and len(code) == 3:
        return int(code)
    if code in _STATUSES:
        return _STATUSES[code]
    try:
        detail = _decode_error(body).error
    except UNREADABLE:
        return None
    if not isinstance(detail, _ErrorDetail):
        return None
    return detail.status_code or _STATUSES.get(detail.type or "")


def error_body(error: GatewayError) -> bytes:
    """Return the body of the HTTP response that tells of ``error``."""
    if isinstance(error, UpstreamRefused) and error.body:
        return error.body
    return msgspec.json.encode({"error": _detail(error)})


def stream_error(error: GatewayError) -> bytes:
    """Return the event that tells of ``error`` in a stream. No ``[DONE]`` follows."""
    return sse.event(msgspec.json.encode({"error": _detail(error)}), b"error")


def _detail(error: GatewayError) -> dict[str, str | None]:
    detail = {
        "message": error.message,
        "type": _TYPES.get(error.type, error.type),
        "param": error.param,
        "code": error.code,
    }
    if error.request_id:
        # The header of a stream has it too, but an SDK's exception only has the body.
        detail["request_id"] = error.request_id
    return detail
