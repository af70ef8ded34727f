"""Unique identifiers that sort by the time they were made."""

from __future__ import annotations

import itertools
import random
import time
from functools import lru_cache

# Seeded by the system. An id is no secret, and a call of the system for each would
# cost more than all the rest of making it.
_random_bits = random.Random().getrandbits  # noqa: S311 - see above
# From anywhere in the lower half of what 48 bits can hold: it never comes to the end.
_count = itertools.count(_random_bits(47)).__next__


def new_id() -> str:
    """Return a UUID version 7 (RFC 9562, section 5.7) in its canonical text form.

    Its last 48 bits count the ids of this process, as section 6.2 allows.
    """
    milliseconds = time.time_ns() // 1_000_000
    return "%s%012x" % (_beginning(milliseconds), _count())  # noqa: UP031 - faster


@lru_cache(maxsize=1)
def _beginning(milliseconds: int) -> str:
    bits = _random_bits(26)
    return (
        f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}"
        f"-7{bits >> 14:03x}-{0x8000 | bits & 0x3FFF:04x}-"
    )
