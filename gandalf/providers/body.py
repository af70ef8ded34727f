"""Changes to a request body's members, with every other byte kept."""

from __future__ import annotations

from gandalf.dialects.json_object import Governed, Span, splice, value_end
from gandalf.domain.compat import Compat

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


_ELSEWHERE = frozenset({"stream_options", "name", "strict"})
"""Not removed here: the gateway's own, and members of messages and tools."""


class RefusedFields:
    """Fields of a request that a vendor refuses, or calls otherwise.

    Every other byte of the request is kept.
    """

    def __init__(self, compat: Compat) -> None:
        self._refused = tuple(
            name for name in compat.refused_fields if name not in _ELSEWHERE
        )
        self._seed = compat.seed_field
        self._governed = Governed(*self._refused, "seed")

    @classmethod
    def of(cls, compat: Compat) -> RefusedFields | None:
        """Return the fields that ``compat`` tells of; None if there are none."""
        made = cls(compat)
        return made if made._refused or made._seed != "seed" else None

    def leave_out(self, body: bytes) -> tuple[bytes, tuple[str, ...]]:
        """Return ``body`` as the vendor takes it, and the fields that it has lost."""
        lost = []
        for name in self._refused:
            made = without(body, self._governed, name)
            if made is not body:
                lost.append(name)
                body = made
        if self._seed != "seed":
            body = self._with_seed(body)
        return body, tuple(lost)

    def _with_seed(self, body: bytes) -> bytes:
        value = self._governed.member(body, "seed")
        if value is None:
            return body
        start = member(body, value).start
        return splice(body, [(Span(start, start + 6), b'"%b"' % self._seed.encode())])
