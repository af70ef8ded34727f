"""Unique identifiers that sort by the time they were made."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

# Ids that one call of the system gives the randomness for: it costs more than all the
# rest of making one.
_BATCH = 256
# Random digits of each: 3 of the third group, 3 of the fourth, whose first one is the
# variant, and the 12 of the last.
_DIGITS = 18


def new_id() -> str:
    """Return a UUID version 7 (RFC 9562, section 5.7) in its canonical text form.

    It tells its time, and nothing of how many others there are. Called by one thread
    at a time.
    """
    return next(_ids)


def _new_ids() -> Iterator[str]:
    known = 0
    begin = ""
    while True:
        digits = os.urandom(_DIGITS * _BATCH // 2).hex()
        for at in range(0, len(digits), _DIGITS):
            milliseconds = time.time_ns() // 1_000_000
            if milliseconds != known:
                known = milliseconds
                begin = f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7"
            yield (
                f"{begin}{digits[at : at + 3]}-8{digits[at + 3 : at + 6]}"
                f"-{digits[at + 6 : at + 18]}"
            )


_ids = _new_ids()


def milliseconds_of(id_: str) -> int | None:
    """Return the Unix time in milliseconds that ``id_`` tells; None: it is not ours."""
    if len(id_) != 36 or id_[14] != "7":
        return None
    try:
        return int(id_[:8], 16) << 16 | int(id_[9:13], 16)
    except ValueError:
        return None


def first_at(milliseconds: int) -> str:
    """Return what sorts before every id of ``milliseconds`` or later, and after others.

    Args:
        milliseconds: Unix time.
    """
    return f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}"
