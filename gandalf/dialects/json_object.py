r"""A JSON object as it was sent: its governed members, and changing one in place.

What a client sends reaches the upstream byte for byte, so values are read and
replaced at their offsets, and nothing is encoded anew. That is safe only if the
gateway and the upstream read the same value: parsers differ on which of two equal
names counts (msgspec takes the last, others the first, some fold case), so a governed
name that occurs twice at the top level is refused.

Two ways to the same answer. Usually each governed name stands in the body once at the
most, as a name, and that is it. If one is there twice, or may be hidden behind an
escape (``"mod\u0065l"``), the members of the object are walked one by one. Requests
are many and small, so their bodies are only ``check``ed when they arrive, and the few
places that are needed are looked for then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from gandalf.domain.errors import BadRequest

_COLON = re.compile(rb"[ \t\n\r]*:[ \t\n\r]*")
# No encoder escapes ASCII letters, digits or underscores; who does so has a motive.
_ESCAPED_LETTER = re.compile(rb"\\u00[3-7]")
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]', re.DOTALL)
_SPACE = re.compile(rb"[ \t\n\r]*")
_COMMA = re.compile(rb"[ \t\n\r]*,")
_LAST_COMMA = re.compile(rb",([ \t\n\r]*\}[ \t\n\r]*)\Z")

# A walk takes about 0.3 us a token and blocks the event loop; a body that needs one
# and has more tokens than this is no request that a client library makes.
MAX_TOKENS = 100_000


MAX_VALUES = 500_000
"""Values of a body that is decoded whole, about: each takes 0.3 us and some 60 bytes,
while everybody waits. Texts and files in base64 are few values."""


def is_vast(body: bytes) -> bool:
    """Whether ``body`` has more values than may be decoded on the event loop."""
    if len(body) <= MAX_VALUES:
        return False
    return sum(map(body.count, (b"[", b"{", b","))) > MAX_VALUES


class Span(NamedTuple):
    """Where a value stands: offsets of its first byte and just past its last."""

    start: int
    end: int


_decode_top = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

# Bytes up to which one regular expression beats a search for each name.
SMALL = 4096


class Governed:
    """The members of one kind of request that decide what the gateway does.

    Args:
        names: Theirs, at the top level of the request's body.
    """

    def __init__(self, *names: str) -> None:
        self.names = frozenset(names)
        self._quoted = {b'"%b"' % name.encode().lower(): name for name in sorted(names)}
        self._exact = {name: b'"%b"' % name.encode() for name in names}
        self._folded = {name.lower() for name in names}
        alternatives = b"|".join(sorted(name.lower().encode() for name in names))
        self._find_names = re.compile(rb'"(?:%b)"' % alternatives).findall

    def check(self, body: bytes) -> bool:
        """Refuse ``body`` if a governed name occurs more than once in it.

        Returns whether that was plain to see, which spares ``place`` to look again.

        Args:
            body: A JSON object that has been decoded already, so known to be valid.

        Raises:
            BadRequest: One does, or the body is too intricate to be sure.
        """
        if len(body) > SMALL:
            plain = self._found(body) is not None
        else:
            names = self._find_names(body.lower())
            plain = len(set(names)) == len(names) and not hides_letters(body)
        if not plain:
            self._walk(body)
        return plain

    def place(self, body: bytes, name: str, *, plain: bool = False) -> Span | None:
        """Return where the value of the governed ``name`` stands; None if it does not.

        Like ``members`` it finds a name that stands in the body once wherever that is.

        Args:
            body: Of what ``check`` has found good.
            name: As it is spelled.
            plain: What ``check`` has returned.
        """
        quoted = self._exact[name]
        at = body.find(quoted)
        colon = _COLON.match(body, at + len(quoted)) if at >= 0 else None
        if colon is None:
            return self._walk(body).get(name)
        start = colon.end()
        if not plain and (body.find(quoted, start) >= 0 or hides_letters(body)):
            return self._walk(body).get(name)
        return Span(start, value_end(body, start))

    def members(self, body: bytes) -> dict[str, Span]:
        """Return where the values of the governed names stand, ``end`` 0 if not sought.

        A name that stands in the body once is found wherever that is, be it the name
        of a parameter in a tool's schema: what may be absent is looked for in a decoded
        view first, or with ``member``.

        Args:
            body: A JSON object that has been decoded already, so known to be valid.

        Raises:
            BadRequest: A governed name occurs more than once, or the body is too
                intricate to be sure.
        """
        found = self._found(body)
        return self._walk(body) if found is None else found

    def _found(self, body: bytes) -> dict[str, Span] | None:
        """Return the members if a look tells; None: they must be walked through."""
        found: dict[str, Span] = {}
        folded = body.lower()
        for quoted, name in self._quoted.items():
            at = folded.find(quoted)
            if at < 0:
                continue
            after = at + len(quoted)
            colon = _COLON.match(body, after)
            # Written otherwise, there twice, or not as a name: look closer.
            if (
                colon is None
                or not body.startswith(name.encode(), at + 1)
                or folded.find(quoted, after) >= 0
            ):
                return None
            found[name] = Span(colon.end(), 0)
        return None if hides_letters(body) else found

    def member(self, body: bytes, name: str) -> Span | None:
        """Return where the value of the top-level member ``name`` stands, if any does.

        Raises:
            BadRequest: As ``members``.
        """
        if name not in _decode_top(body):
            return None
        return self.members(body).get(name)

    def _walk(self, body: bytes) -> dict[str, Span]:
        found: dict[str, Span] = {}
        seen: set[str] = set()
        for name, span in _members(body):
            folded = name.lower()
            if folded not in self._folded:
                continue
            if folded in seen:
                raise BadRequest(
                    f"the body has more than one {folded!r}",
                    code="duplicate_key",
                    param=folded,
                )
            seen.add(folded)
            if name in self.names:
                found[name] = span
        return found


def hides_letters(body: bytes) -> bool:
    """Whether ``body`` has an escape that could hide part of a name."""
    return b"\\u00" in body and _ESCAPED_LETTER.search(body) is not None


def value_end(body: bytes, start: int) -> int:
    """Return the offset just past the JSON value that starts at ``start``."""
    if body.startswith(b'"', start):
        # The usual case: a string with nothing escaped in it.
        end = body.find(b'"', start + 1) + 1
        if end > 0 and body.find(b"\\", start, end) < 0:
            return end
    depth = 0
    for token in _TOKEN.finditer(body, start):
        mark = body[token.start()]
        if mark in b"{[":
            depth += 1
        elif mark in b"}]":
            depth -= 1
            if depth == 0:
                return token.end()
        elif mark == ord('"') and depth == 0:
            return token.end()
        if depth < 0 or (depth == 0 and mark in b",}]"):
            return _trim(body, start, token.start())
    return len(body)


def splice(body: bytes, edits: list[tuple[Span, bytes]]) -> bytes:
    """Return ``body`` with each span replaced; all other bytes stay as they are."""
    if len(edits) == 1:
        (start, end), replacement = edits[0]
        return b"".join((body[:start], replacement, body[end:]))
    pieces = []
    done = 0
    for span, replacement in sorted(edits):
        pieces += [body[done : span.start], replacement]
        done = span.end
    pieces.append(body[done:])
    return b"".join(pieces)


def without_members(body: bytes, name: str) -> bytes:
    """Return ``body`` without its top-level members called ``name``.

    All other bytes stay as they are.
    """
    spans = []
    before = body.find(b"{") + 1
    for found, value in _members(body):
        comma = _COMMA.match(body, value.end)
        end = comma.end() if comma else value.end
        if found == name:
            spans.append(Span(before, end))
        before = end
    kept = splice(body, [(span, b"") for span in spans])
    # After a last member that is gone stands the comma before it.
    return _LAST_COMMA.sub(rb"\1", kept) if spans else body


def _members(body: bytes) -> Iterator[tuple[str, Span]]:
    """Yield the name and the value's place of each top-level member."""
    depth = 0
    name: str | None = None
    start = 0
    for count, token in enumerate(_TOKEN.finditer(body)):
        if count > MAX_TOKENS:
            raise BadRequest("the body is too intricate", code="ambiguous_body")
        mark = body[token.start()]
        if depth == 1:
            if mark == ord('"') and name is None:
                name = msgspec.json.decode(token[0], type=str)
            elif mark == ord(":"):
                start = token.end() + _blanks(body, token.end())
            elif mark in b",}" and name is not None:
                yield name, Span(start, _trim(body, start, token.start()))
                name = None
        if mark in b"{[":
            depth += 1
        elif mark in b"}]":
            depth -= 1


def _blanks(body: bytes, start: int) -> int:
    found = _SPACE.match(body, start)
    return len(found[0]) if found else 0


def _trim(body: bytes, start: int, end: int) -> int:
    return start + len(body[start:end].rstrip(b" \t\n\r"))
