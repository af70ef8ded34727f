"""Unique identifiers that sort by the time they were made."""

from __future__ import annotations

import os
import time


def new_id() -> str:
    """Return a UUID version 7 (RFC 9562, section 5.7) in its canonical text form."""
    value = (
        (time.time_ns() // 1_000_000 & 0xFFFFFFFFFFFF) << 80
        | 0x7 << 76
        | (int.from_bytes(os.urandom(10), "big") & 0x0FFF_3FFF_FFFF_FFFF_FFFF)
        | 0x2 << 62
    )
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
