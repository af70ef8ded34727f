"""The files that a request refers to, wherever in its body."""

from __future__ import annotations

from gandalf.dialects import json_object
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.openai.views import decode_messages
from gandalf.domain.errors import BadRequest

# Names under which a body refers to objects of the upstream's, wherever they stand.
_FILE_REFERENCES = frozenset({"file_id", "file_ids"})
# What says "file_id" in here is the client's own, or quotes an earlier answer.
_NO_REFERENCES = frozenset({"metadata", "annotations", "results", "outputs"})
MAX_REFERENCES = 100
"""Objects that one request may refer to: each may have to be looked up."""


def chat_references(body: bytes) -> tuple[str, ...]:
    """Return the files that the messages of a chat refer to.

    Raises:
        BadRequest: The body cannot be read, or refers to too many.
    """
    if not may_refer(body):
        return ()
    try:
        messages = decode_messages(body).messages
    except UNREADABLE as error:
        raise BadRequest("the body cannot be read", code="invalid_json") from error
    return few(dict.fromkeys(file_references(messages)))


def may_refer(body: bytes) -> bool:
    # An escape may hide the name from this look, never from the decoder.
    if b"file_id" not in body and not json_object.hides_letters(body):
        return False
    if json_object.is_vast(body):
        raise BadRequest(
            "the body is too intricate to look for files in", code="ambiguous_body"
        )
    return True


def few(found: dict[str, None]) -> tuple[str, ...]:
    if len(found) > MAX_REFERENCES:
        raise BadRequest(f"the request refers to more than {MAX_REFERENCES} objects")
    return tuple(found)


def file_references(value: object) -> list[str]:
    """Return all that stands under a name for files, at whatever depth."""
    found: list[str] = []
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        elif isinstance(value, dict):
            for name, member in value.items():
                if name in _FILE_REFERENCES:
                    found += _strings(member)
                elif name not in _NO_REFERENCES:
                    pending.append(member)
    return found


def _strings(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]
