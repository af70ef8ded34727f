"""Series: requests that agree in all that usage is grouped and filtered by.

Each row of ``requests`` names its series, so that rows are found by an index of numbers
and are summed up in the same place, now and after a rebuild.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from gandalf.domain.ids import milliseconds_of
from gandalf.domain.usage import EndReason, UsageRecord

HOUR_MS = 3_600_000

DIMENSIONS = (
    "org_id",
    "team_id",
    "key_id",
    "user_id",
    "alias",
    "provider",
    "model",
    "operation",
    "tags",
    "end_reason",
    "status",
    "error_code",
)
"""What a series is known by; columns of ``usage_series``. Absent values are empty."""

MAX_SERIES = 50_000
"""Series above which requests that were refused share one for all aliases, and new ones
one for all tags: both are the client's words, and there must be an end to them."""
OTHER = "(other)"

_encode = msgspec.json.Encoder().encode


class Series(NamedTuple):
    """The dimensions of a request, in the order of ``DIMENSIONS``."""

    org_id: str
    team_id: str
    key_id: str
    user_id: str
    alias: str
    provider: str
    model: str
    operation: str
    tags: str
    """A JSON array, sorted; empty: none."""
    end_reason: str
    status: int
    error_code: str


class Group:
    """Records of one series that arrived in the same hour."""

    __slots__ = ("hour", "records", "series")

    def __init__(self, series: Series, hour: int) -> None:
        self.series = series
        self.hour = hour
        self.records: list[UsageRecord] = []


def grouped(records: Iterable[UsageRecord]) -> tuple[list[int], list[Group]]:
    """Return for each record the index of its group, and the groups."""
    groups: list[Group] = []
    known: dict[tuple[object, ...], int] = {}
    places = []
    hours = Hours()
    for record in records:
        hour = hours.of(record)
        key = _raw_dimensions(record), hour
        place = known.get(key)
        if place is None:
            place = known[key] = len(groups)
            groups.append(Group(_series(*key[0]), hour))
        groups[place].records.append(record)
        places.append(place)
    return places, groups


# ``_value_`` is a plain attribute of an enumeration's member.
# Its ``value`` and its hash are functions in Python.
_raw_dimensions = attrgetter(
    *("end_reason._value_" if name == "end_reason" else name for name in DIMENSIONS)
)


def _series(*raw: Any) -> Series:  # noqa: ANN401 - a record's fields
    series = Series._make(raw)
    tags = sorted(set(series.tags))
    return series._replace(
        team_id=series.team_id or "",
        user_id=series.user_id or "",
        tags=_encode(tags).decode() if tags else "",
    )


class Hours:
    """Tells the hours since 1970 in which requests arrived, by their ids.

    An id's first eight characters tell the time to 65 seconds, so most of the others
    need not be looked at.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def of(self, record: UsageRecord) -> int:
        """Return the hour of ``record``."""
        prefix = record.request_id[:8]
        hour = self._known.get(prefix)
        if hour is not None:
            return hour
        milliseconds = milliseconds_of(record.request_id)
        if milliseconds is None:  # Not one of ours; tests and imports.
            return int(record.received_at * 1000) // HOUR_MS
        hour = milliseconds // HOUR_MS
        first, last = milliseconds & ~0xFFFF, milliseconds | 0xFFFF
        if first // HOUR_MS == last // HOUR_MS:
            self._known[prefix] = hour
        return hour


# What follows runs in the writer's thread.


def ids_of(connection: sqlite3.Connection, groups: Sequence[Group]) -> list[int]:
    """Return the id of the series of each group; series that are new are inserted."""
    series = [group.series for group in groups]
    known = _find(connection, dict.fromkeys(series))
    missing = {one for one in series if one not in known}
    if missing and _count(connection) + len(missing) > MAX_SERIES:
        series = [_collapsed(one) if one in missing else one for one in series]
    spans: dict[Series, tuple[int, int]] = {}
    for one, group in zip(series, groups, strict=True):
        first, last = spans.get(one, (group.hour, group.hour))
        spans[one] = min(first, group.hour), max(last, group.hour)
    if missing:
        known |= _insert(connection, spans)
    _widen(connection, known, spans)
    return [known[one].id for one in series]


class _Known(NamedTuple):
    """A series in the database."""

    id: int
    first_hour: int
    last_hour: int


_found_series = msgspec.json.Decoder(list[tuple[int, int, int, int]]).decode

_FIND = (
    "SELECT json_group_array(json_array(wanted.key, s.id, first_hour, last_hour))"  # noqa: S608
    " FROM json_each(?) AS wanted CROSS JOIN usage_series AS s ON "
    + " AND ".join(
        f"{name} = wanted.value ->> {n}" for n, name in enumerate(DIMENSIONS)
    )
)
_INSERT = (
    f"INSERT INTO usage_series ({', '.join(DIMENSIONS)}, first_hour, last_hour)"  # noqa: S608
    " SELECT "
    + ", ".join(f"value ->> {n}" for n in range(len(DIMENSIONS) + 2))
    + " FROM json_each(?)"
)
_WIDEN = (
    "UPDATE usage_series"
    " SET first_hour = span.value ->> 1, last_hour = span.value ->> 2"
    " FROM json_each(?) AS span WHERE usage_series.id = span.value ->> 0"
)


def _find(
    connection: sqlite3.Connection, wanted: Iterable[Series]
) -> dict[Series, _Known]:
    order = list(wanted)
    row = connection.execute(_FIND, (_encode(order).decode(),)).fetchone()
    return {order[n]: _Known(*rest) for n, *rest in _found_series(row[0])}


def _count(connection: sqlite3.Connection) -> int:
    # About: ids are given in order, and those of deleted series not again.
    row = connection.execute("SELECT coalesce(max(id), 0) FROM usage_series")
    count: int = row.fetchone()[0]
    return count


def _insert(
    connection: sqlite3.Connection, spans: Mapping[Series, tuple[int, int]]
) -> dict[Series, _Known]:
    """Insert the series that are not there; return all of them."""
    known = _find(connection, spans)
    rows = [(*one, *span) for one, span in spans.items() if one not in known]
    if not rows:
        return known
    connection.execute(_INSERT, (_encode(rows).decode(),))
    return _find(connection, spans)


def _widen(
    connection: sqlite3.Connection,
    known: Mapping[Series, _Known],
    spans: Mapping[Series, tuple[int, int]],
) -> None:
    """Have the hours of each series cover those of its new rows."""
    rows = []
    for one, (first, last) in spans.items():
        found = known[one]
        if first < found.first_hour or last > found.last_hour:
            span = min(first, found.first_hour), max(last, found.last_hour)
            rows.append((found.id, *span))
    if rows:
        connection.execute(_WIDEN, (_encode(rows).decode(),))


def _collapsed(series: Series) -> Series:
    refused = series.end_reason == EndReason.REFUSED and series.alias
    return series._replace(
        alias=OTHER if refused else series.alias,
        tags=_encode([OTHER]).decode() if series.tags else "",
    )
