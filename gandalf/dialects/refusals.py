"""The error for a client whose request cannot be read."""

from __future__ import annotations

import re

import msgspec

from gandalf.domain.errors import BadRequest

_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_WRONG_TYPE = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_KINDS = {
    "array": "an array",
    "object": "an object",
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
}


def refusal(error: Exception) -> BadRequest:
    """Return the error for a request whose body raised ``error`` (``UNREADABLE``)."""
    if isinstance(error, msgspec.ValidationError):
        return _invalid(str(error))
    reason = "nested too deeply" if isinstance(error, RecursionError) else error
    return BadRequest(f"the body is not valid JSON: {reason}", code="invalid_json")


def _invalid(message: str) -> BadRequest:
    """Return msgspec's ``message`` in plain words, with the field that it is about."""
    said, _, path = message.partition(" - at `$")
    path = path.removeprefix(".").removesuffix("`")
    if missing := _MISSING.fullmatch(said):
        field = f"{path}.{missing[1]}" if path else missing[1]
        return BadRequest(f"{field} is required", param=field)
    if wrong := _WRONG_TYPE.fullmatch(said):
        place = path or "the body"
        message = f"{place} must be {_kind(wrong[1])}, not {_kind(wrong[2])}"
        return BadRequest(message, param=path or None)
    return BadRequest(f"{path}: {said}" if path else said, param=path or None)


def _kind(types: str) -> str:
    """Return msgspec's names of JSON types (``array | null``) as words."""
    return " or ".join(_KINDS.get(name, name) for name in types.split(" | "))
