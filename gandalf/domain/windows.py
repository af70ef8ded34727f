"""Budget windows: the hour, day, week, month or rolling days that an instant is in.

A window is computed from the instant, the time zone and the period alone; nothing is
reset by a job. An instant is integer Unix seconds, and a window is half-open:
``start <= at < end``. The start identifies it.

- Days begin at local midnight, weeks on Monday, months on the first. A day on which the
  clock changes has 23 or 25 hours, and each instant is in exactly one day.
- Hours are whole hours since local midnight. Where the clock changes by half an hour
  (Lord Howe), the last hour of that day is shorter.
- Rolling N days are the local day of the instant and the N - 1 days before it. The
  oldest day leaves at midnight.
"""

from __future__ import annotations

import enum
import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

HOUR = 3600
FOREVER = 2**62
"""End of the only window of a lifetime budget."""

MAX_ROLLING_DAYS = 366

_ROLLING = re.compile(r"([1-9][0-9]{0,2})d")


class Unit(enum.Enum):
    """Length of a window. ``DAY`` serves rolling periods too, several at a time."""

    LIFETIME = "lifetime"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Window(NamedTuple):
    """A half-open range of Unix seconds."""

    start: int
    end: int


LIFETIME = Window(0, FOREVER)


class Period:
    """A kind of window in a time zone. Use ``period`` to get one.

    Args:
        unit: Length of a window.
        days: Windows that count together: N for rolling N days, else 1.
        zone: The time zone.
    """

    __slots__ = ("_last", "days", "name", "unit", "zone")

    def __init__(self, unit: Unit, days: int, zone: ZoneInfo) -> None:
        self.unit = unit
        self.days = days
        self.zone = zone
        name = f"{days}d" if days > 1 else unit.value
        self.name = name if unit is Unit.LIFETIME else f"{name}@{zone.key}"
        """Identifies the period in the database: ``month@Europe/Berlin``."""
        self._last = Window(0, 0)

    def window(self, at: int) -> Window:
        """Return the window that the instant ``at`` is in."""
        last = self._last
        if last.start <= at < last.end:
            return last
        self._last = window = self._window(at)
        return window

    def first_counted(self, window: Window) -> int:
        """Return the start of the oldest window that counts together with ``window``.

        The same window's, but for rolling periods.
        """
        if self.days == 1:
            return window.start
        return self._start(self._local(window.start) - timedelta(self.days - 1))

    def leaves_at(self, start: int) -> int:
        """Return when the window that begins at ``start`` counts no longer."""
        if self.days == 1:
            return self.window(start).end
        return self._start(self._local(start) + timedelta(self.days))

    def local_time(self, at: int) -> str:
        """Return the instant ``at`` in the time zone, as ISO 8601."""
        return datetime.fromtimestamp(at, self.zone).isoformat()

    def _window(self, at: int) -> Window:
        if self.unit is Unit.LIFETIME:
            return LIFETIME
        if self.unit is not Unit.HOUR:
            return self._between(self._first(self._local(at)), at)
        day = self._between(self._local(at), at)
        start = at - (at - day.start) % HOUR
        return Window(start, min(start + HOUR, day.end))

    def _between(self, first: date, at: int) -> Window:
        """Return the window of ``at``, which begins on ``first`` or next to it.

        Next to it where the clock is set back across midnight: the local date then
        returns to the day before.
        """
        start, following = self._start(first), self._next(first)
        end = self._start(following)
        while at >= end:
            following = self._next(following)
            start, end = end, self._start(following)
        return Window(start, end)

    def _first(self, day: date) -> date:
        """Return the first day of the window that ``day`` is in."""
        if self.unit is Unit.WEEK:
            return day - timedelta(day.weekday())
        return day.replace(day=1) if self.unit is Unit.MONTH else day

    def _next(self, first: date) -> date:
        """Return the first day of the window after the one that begins on ``first``."""
        if self.unit is Unit.MONTH:
            return (first + timedelta(31)).replace(day=1)
        return first + timedelta(7 if self.unit is Unit.WEEK else 1)

    def _local(self, at: int) -> date:
        return datetime.fromtimestamp(at, UTC).astimezone(self.zone).date()

    def _start(self, day: date) -> int:
        """Return the instant of local midnight.

        The earlier one of two; where the clock skips midnight, the instant at which it
        is set forward.
        """
        midnight = datetime(day.year, day.month, day.day, tzinfo=self.zone)
        return int(midnight.timestamp())

    def __repr__(self) -> str:
        return f"<Period {self.name}>"


@lru_cache(maxsize=256)
def period(name: str, time_zone: str = "UTC") -> Period:
    """Return the period called ``lifetime``, ``hour``, ``day``, ... or ``7d``.

    Raises:
        ValueError: There is no such period, or no such time zone.
    """
    try:
        zone = ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"no time zone of that name: {time_zone!r}") from None
    rolling = _ROLLING.fullmatch(name)
    if rolling is None:
        return Period(Unit(name), 1, zone)
    days = int(rolling[1])
    if days > MAX_ROLLING_DAYS:
        raise ValueError(f"more than {MAX_ROLLING_DAYS} days: {name!r}")
    return Period(Unit.DAY, days, zone)
