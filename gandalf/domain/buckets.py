"""Calendar buckets of usage: hours, days, weeks and months in a time zone.

Usage is summed up by hours of UTC. An hour belongs to the local day in which it begins,
which is exact where the zone's offset is a whole number of hours; elsewhere (India,
Nepal, parts of Australia) a day begins with the first full hour of UTC in it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple

HOUR = 3600
DAY = 86400
_EPOCH = date(1970, 1, 1)


class Period(enum.StrEnum):
    """Length of a bucket."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    """From Monday."""
    MONTHLY = "monthly"
    TOTAL = "total"
    """One bucket for all of it."""


class Span(NamedTuple):
    """Hours in which the offset of a time zone does not change."""

    first: int
    """Hours since 1970."""
    before: int
    offset: int
    """Seconds east of UTC."""


def spans(first: int, before: int, zone: tzinfo) -> Iterator[Span]:
    """Yield the spans that make up the hours from ``first`` to ``before`` - 1."""
    while first < before:
        offset = offset_at(first, zone)
        end = _end_of_offset(first, before, offset, zone)
        yield Span(first, end, offset)
        first = end


def offset_at(hour: int, zone: tzinfo) -> int:
    """Return the seconds that ``zone`` is east of UTC when ``hour`` begins."""
    offset = datetime.fromtimestamp(hour * HOUR, UTC).astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def bucket_start(period: Period, number: int, zone: tzinfo) -> str:
    """Return when a bucket begins, as RFC 3339 has it, in local time.

    Args:
        period: Length of the bucket.
        number: Its hour since 1970 for ``HOURLY``, else a local day since 1970 in it.
        zone: The time zone.
    """
    if period is Period.HOURLY:
        at = datetime.fromtimestamp(number * HOUR, UTC).astimezone(zone)
        return at.isoformat()
    day = first_day(period, number)
    local = datetime(day.year, day.month, day.day, tzinfo=zone)
    # Where clocks are put forward at midnight, the day begins later.
    return local.astimezone(UTC).astimezone(zone).isoformat()


def first_day(period: Period, number: int) -> date:
    """Return the first day of the bucket in which the local day ``number`` lies."""
    day = _EPOCH + timedelta(days=number)
    if period is Period.WEEKLY:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period is Period.MONTHLY else day


def day_number(day: date) -> int:
    """Return the days from 1970 to ``day``."""
    return (day - _EPOCH).days


def start_of(period: Period, at: float, zone: tzinfo) -> float:
    """Return the Unix time at which the bucket of ``at`` begins."""
    local = datetime.fromtimestamp(at, zone)
    if period is Period.HOURLY:
        return at // HOUR * HOUR
    day = first_day(period, day_number(local.date()))
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def _end_of_offset(first: int, before: int, offset: int, zone: tzinfo) -> int:
    """Return the first hour after ``first`` with another offset; at most ``before``."""
    same, other = first, first
    while other < before:
        other = min(same + DAY // HOUR, before)
        if other < before and offset_at(other, zone) == offset:
            same = other
            continue
        break
    # Between two hours, of which the first has the offset, and the second need not.
    while same + 1 < other:
        middle = (same + other) // 2
        if offset_at(middle, zone) == offset:
            same = middle
        else:
            other = middle
    return same + 1
