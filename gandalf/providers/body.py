"""Changes to a request body's members, with every other byte kept."""

from __future__ import annotations

from gandalf.dialects.json_object import Governed, Span, splice, value_end

_BLANK = b" \t\n\r"


def without(body: bytes, governed: Governed, name: str) -> bytes:
    """Return ``body`` without its member ``name``, if it has one."""
    value = governed.member(body, name)
    return body if value is None else splice(body, [(_with_comma(body, value), b"")])


def member(body: bytes, value: Span) -> Span:
    """Return where the whole member with this ``value`` stands, its name included."""
    colon = body.rindex(b":", 0, value.start)
    closing = body.rindex(b'"', 0, colon)
    opening = body.rindex(b'"', 0, closing)
    return Span(opening, value.end or value_end(body, value.start))


def _with_comma(body: bytes, value: Span) -> Span:
    """Return where the member stands with the comma that goes if it goes."""
    start, end = member(body, value)
    after = len(body) - len(body[end:].lstrip(_BLANK))
    if body[after] == ord(","):
        return Span(start, after + 1)
    before = len(body[:start].rstrip(_BLANK))
    return Span(before - 1 if body[before - 1] == ord(",") else start, end)
