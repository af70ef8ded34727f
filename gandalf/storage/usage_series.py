"""Series: requests that agree in all that usage is grouped and filtered by.

Each row of ``requests`` names its series, so that rows are found by an index of numbers
and are summed up in the same place, now and after a rebuild.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

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


def hour_of(record: UsageRecord) -> int:
    """Return the hour since 1970 in which the request arrived."""
    milliseconds = milliseconds_of(record.request_id)
    if milliseconds is None:  # Not one of ours; tests and imports.
        milliseconds = int(record.received_at * 1000)
    return milliseconds // HOUR_MS


def series_of(record: UsageRecord) -> Series:
    """Return the series that ``record`` belongs to."""
    return Series(
        record.org_id,
        record.team_id or "",
        record.key_id,
        record.user_id or "",
        record.alias,
        record.provider,
        record.model,
        record.operation,
        _encode(sorted(set(record.tags))).decode() if record.tags else "",
        record.end_reason.value,
        record.status,
        record.error_code,
    )


# What follows runs in the writer's thread.


def ids_of(connection: sqlite3.Connection, records: Sequence[UsageRecord]) -> list[int]:
    """Return the id of the series of each record; series that are new are inserted."""
    every = [series_of(record) for record in records]
    hours: dict[Series, tuple[int, int]] = {}
    for one, record in zip(every, records, strict=True):
        hour = hour_of(record)
        first, last = hours.get(one, (hour, hour))
        hours[one] = min(first, hour), max(last, hour)
    known = _find(connection, hours)
    missing = {one: span for one, span in hours.items() if one not in known}
    replaced: dict[Series, Series] = {}
    if missing:
        if _count(connection) + len(missing) > MAX_SERIES:
            replaced = {one: _collapsed(one) for one in missing}
            missing = {replaced[one]: span for one, span in missing.items()}
        _insert(connection, missing)
        known |= _find(connection, missing)
    _widen(connection, known, hours)
    return [known[replaced.get(one, one)].id for one in every]


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
    connection: sqlite3.Connection, hours: Mapping[Series, tuple[int, int]]
) -> None:
    # There may be some of what is left after collapsing.
    known = _find(connection, hours)
    rows = [(*one, *span) for one, span in hours.items() if one not in known]
    if rows:
        connection.execute(_INSERT, (_encode(rows).decode(),))


def _widen(
    connection: sqlite3.Connection,
    known: Mapping[Series, _Known],
    hours: Mapping[Series, tuple[int, int]],
) -> None:
    """Have the hours of each series cover those of its new rows."""
    rows = []
    for one, (first, last) in hours.items():
        found = known.get(one)
        if found and (first < found.first_hour or last > found.last_hour):
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
