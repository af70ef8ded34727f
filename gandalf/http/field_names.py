"""Names of header fields in lower case, the same few objects for all who send them.

A stream keeps its two header sections for as long as it is open, and thousands are.
"""

from __future__ import annotations

MAX_KNOWN = 1000
"""Names remembered, as they were sent: whoever makes up more pays for them."""

MAX_LENGTH = 64

known: dict[bytes, bytes] = {}
"""To be asked first: ``known.get(name) or lowered(name)``."""


def lowered(name: bytes) -> bytes:
    """Return ``name`` in lower case, and remember it if there is room."""
    lower = known.get(name)
    if lower is None:
        lower = name.lower()
        if len(known) < MAX_KNOWN and len(name) <= MAX_LENGTH:
            lower = known.setdefault(lower, lower)
            known[name] = lower
    return lower
