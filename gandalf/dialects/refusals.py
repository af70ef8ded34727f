"""What a client is told whose request cannot be read."""

from __future__ import annotations

import msgspec

from gandalf.domain.errors import BadRequest


def refusal(error: Exception) -> BadRequest:
    """Return what ``error``, one of ``UNREADABLE`` of a request's body, means to it."""
    if isinstance(error, msgspec.ValidationError):
        return BadRequest(str(error), param=_param_of(str(error)))
    reason = "nested too deeply" if isinstance(error, RecursionError) else error
    return BadRequest(f"the body is not valid JSON: {reason}", code="invalid_json")


def _param_of(message: str) -> str | None:
    """Return the field a msgspec message speaks of (``... - at `$.stream```)."""
    path = message.rpartition("`$.")[2].removesuffix("`") if "`$." in message else ""
    if "missing required field" in message:
        field = message.partition("field `")[2].partition("`")[0]
        return f"{path}.{field}" if path else field
    return path or None
