"""Distributions of durations that can be added up, with a known relative error.

The buckets are spaced logarithmically, as in DDSketch (Masson, Rim, Lee, 2019): any
quantile is within ``RELATIVE_ERROR`` of a duration that was observed, for any sum of
histograms. Counts are 64-bit lanes of one integer, so that adding two histograms is one
addition of integers: tens of thousands of them are added in some milliseconds.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable

RELATIVE_ERROR = 0.04
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_SCALE = 1 / math.log(_GAMMA)

BUCKETS = 300
"""From 1 microsecond to 7 hours; what is longer counts as that long."""

_LANE = 64
_LANE_BYTES = _LANE // 8
_WIDTHS = ((1 << 8, 1, "B"), (1 << 16, 2, "H"), (1 << 32, 4, "I"), (1 << 64, 8, "Q"))
_HEAD = struct.Struct("<HB")

_log = math.log


def bucket_of(duration_us: float) -> int:
    """Return the index of the bucket that a duration in microseconds falls into."""
    if duration_us <= 1:
        return 0
    return min(math.ceil(_log(duration_us) * _SCALE), BUCKETS - 1)


def from_counts(counts: dict[int, int]) -> int:
    """Return the histogram with ``counts``, by index of the bucket, as one integer."""
    return sum(count << (_LANE * bucket) for bucket, count in counts.items())


def pack(histogram: int) -> bytes:
    """Return ``histogram`` in the form that is stored; b"" if it is empty.

    The index of the first bucket in two bytes, the width of a count in one, and the
    counts up to the last bucket that is not empty, little-endian.
    """
    if not histogram:
        return b""
    first = ((histogram & -histogram).bit_length() - 1) // _LANE
    counts = _counts(histogram >> (_LANE * first))
    largest = max(counts)
    width, code = next((w, c) for limit, w, c in _WIDTHS if largest < limit)
    return _HEAD.pack(first, width) + struct.pack(f"<{len(counts)}{code}", *counts)


def unpack(packed: bytes) -> int:
    """Return the histogram that ``pack`` stored."""
    if not packed:
        return 0
    first: int
    width: int
    first, width = _HEAD.unpack_from(packed)
    data = packed[_HEAD.size :]
    lanes = bytearray(len(data) // width * _LANE_BYTES)
    if width == 1:
        lanes[::_LANE_BYTES] = data
    else:
        for place in range(width):
            lanes[place::_LANE_BYTES] = data[place::width]
    return int.from_bytes(lanes, "little") << (_LANE * first)


def quantiles(histogram: int, ranks: Iterable[float]) -> list[float | None]:
    """Return the durations in microseconds at ``ranks`` (0.5: the median).

    None for each if nothing was observed.
    """
    counts = _counts(histogram)
    total = sum(counts)
    return [_quantile(counts, total, rank) for rank in ranks]


def count_of(histogram: int) -> int:
    """Return the number of durations in ``histogram``."""
    return sum(_counts(histogram))


def _quantile(counts: tuple[int, ...], total: int, rank: float) -> float | None:
    if not total:
        return None
    wanted = max(1, math.ceil(rank * total))
    seen = 0
    for bucket, count in enumerate(counts):
        seen += count
        if seen >= wanted:
            return 2 * _GAMMA**bucket / (_GAMMA + 1) if bucket else 1.0
    return None


def _counts(histogram: int) -> tuple[int, ...]:
    size = (histogram.bit_length() + _LANE - 1) // _LANE
    data = histogram.to_bytes(size * _LANE_BYTES, "little")
    return struct.unpack(f"<{size}Q", data)
