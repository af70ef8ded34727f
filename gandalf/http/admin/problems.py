"""Errors of the admin API as problem details.

Source: RFC 9457. ``errors`` lists the invalid fields; ``code`` is stable, ``detail`` is
for people and says what to do. The member ``error`` repeats code and message in the
form of OpenAI's API, which generic clients read.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from gandalf.domain.errors import BadRequest, GatewayError

CONTENT_TYPE = b"application/problem+json"


class FieldError(msgspec.Struct, frozen=True):
    """One invalid field of a request."""

    field: str
    """Dotted path in the body, or the name of a query parameter."""
    message: str


class InvalidRequest(BadRequest):
    """The request's body or query does not describe a valid change."""

    code = "invalid_request"

    def __init__(self, message: str, *errors: FieldError) -> None:
        super().__init__(message, param=errors[0].field if errors else None)
        self.errors = errors


class Conflict(GatewayError):
    """The change contradicts the present state."""

    status = 409
    type = "invalid_request_error"
    code = "conflict"

    def __init__(self, message: str, *, code: str = "conflict") -> None:
        super().__init__(message)
        self.code = code


class PreconditionFailed(GatewayError):
    """The object has changed since the caller read it."""

    status = 412
    type = "invalid_request_error"
    code = "precondition_failed"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of an error."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldError] = []
    request_id: str = ""
    error: dict[str, Any] = {}


def problem_body(error: GatewayError, request_id: str) -> bytes:
    """Return the problem details of ``error``."""
    errors = list(error.errors) if isinstance(error, InvalidRequest) else []
    return msgspec.json.encode(
        Problem(
            title=HTTPStatus(error.status).phrase,
            status=error.status,
            detail=error.message,
            code=error.code,
            errors=errors,
            request_id=request_id,
            error={
                "message": error.message,
                "type": error.type,
                "code": error.code,
                "param": error.param,
            },
        )
    )
