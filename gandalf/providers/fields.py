"""Header fields as they are on the wire: of each its name, ``: ``, value and line end.

A request's fields are bytes all the way: most of them are the same for every request,
and so is the work of writing them down.
"""

from __future__ import annotations

from collections.abc import Iterable

from gandalf.providers.watch import UpstreamBroken


def render(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the fields with these names and values.

    Raises:
        UpstreamBroken: One of them would be more than a line.
    """
    lines = [b"%b: %b\r\n" % pair for pair in pairs]
    return checked(b"".join(lines), len(lines))


def checked(fields: bytes, lines: int) -> bytes:
    """Return ``fields`` if they are so many lines.

    Raises:
        UpstreamBroken: They are not.
    """
    if fields.count(b"\n") != lines or fields.count(b"\r") != lines:
        # Most often a key that was read from a file, with the line's end.
        raise UpstreamBroken("a header field holds a line break", sent=False)
    return fields


def parse(fields: bytes) -> list[tuple[bytes, bytes]]:
    """Return the names and values of ``fields``."""
    pairs = [line.partition(b": ") for line in fields.split(b"\r\n")[:-1]]
    return [(name, value) for name, _, value in pairs]


def names(fields: bytes, name: bytes) -> bool:
    """Whether a field of this name, in lower case, is among ``fields``."""
    start = name + b": "
    return fields.startswith(start) or b"\n" + start in fields
