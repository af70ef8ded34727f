"""Errors: what an upstream says, and what the gateway says.

Source: https://docs.ollama.com/api/errors. An error is a message and no more: what kind
it is only the HTTP status tells, and in a stream nothing does.
"""

from __future__ import annotations

import msgspec

from gandalf.dialects import ndjson
from gandalf.dialects.conversation import Failed
from gandalf.dialects.error_details import read_error as read_error
from gandalf.dialects.refusal_rules import Rule
from gandalf.domain.errors import GatewayError, UpstreamRefused

REFUSALS: tuple[Rule, ...] = ()
"""Ollama tells no reasons: only its messages say them, as the common rules know."""


def failed_in(error: msgspec.Raw) -> Failed | None:
    """Return the error that the value of a member ``error`` tells of, if it does."""
    value = bytes(error)
    if value in (b"", b"null", b'""'):
        return None
    return Failed(message=read_error(b'{"error":%b}' % value).message)


def error_body(error: GatewayError) -> bytes:
    """Return the body of the HTTP response that tells of ``error``."""
    if isinstance(error, UpstreamRefused) and error.body:
        return error.body
    return _told(error)


def stream_error(error: GatewayError) -> bytes:
    """Return the line that tells of ``error`` in a stream, and is its last one."""
    return ndjson.line(_told(error))


def _told(error: GatewayError) -> bytes:
    told = {"error": error.message}
    if error.request_id:
        told["request_id"] = error.request_id
    return msgspec.json.encode(told)
