"""Questions about usage: sums by bucket and group, and lists of requests.

Sums are made of roll-ups, never of rows. A list finds its rows by the index of their
series, so neither depends on the number of rows there are. Results come as one value
of JSON, for the reason that ``rollups`` gives.
"""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, tzinfo
from functools import partial
from typing import Any, NamedTuple

import msgspec

from gandalf.domain import histogram, ids
from gandalf.domain.buckets import Period, Span, day_number, first_day, spans
from gandalf.domain.usage import UsageRecord
from gandalf.storage import rollups
from gandalf.storage.database import Database
from gandalf.storage.rollups import HOURS_OF_DAY, MEASURES
from gandalf.storage.usage_series import DIMENSIONS, HOUR_MS

GROUPS = DIMENSIONS
"""What sums may be grouped by."""

# Rows that are looked through before the index of their series is asked: of most
# filters the newest rows are among them, and they are read in 5 ms.
SCANNED_FIRST = 4000

# Sorts after every id.
_END = "\x7f"

_encode = msgspec.json.Encoder().encode
_record_of = msgspec.json.Decoder(UsageRecord).decode


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests are meant: those with one of the values of each field given."""

    org_id: tuple[str, ...] = ()
    team_id: tuple[str, ...] = ()
    key_id: tuple[str, ...] = ()
    user_id: tuple[str, ...] = ()
    alias: tuple[str, ...] = ()
    provider: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    operation: tuple[str, ...] = ()
    end_reason: tuple[str, ...] = ()
    status: tuple[int, ...] = ()
    error_code: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()


EVERYTHING = Filters()


class Range(NamedTuple):
    """Milliseconds since 1970: from the first on, and before the second."""

    since: int = 0
    until: int = 1 << 46

    @property
    def hours(self) -> tuple[int, int]:
        """The hours that it touches: the first, and the one after the last."""
        return self.since // HOUR_MS, -(-self.until // HOUR_MS)


class Sums(msgspec.Struct, kw_only=True):
    """The sums of one group in one bucket."""

    bucket: int
    """As ``buckets.bucket_start`` takes it; 0 for ``TOTAL``."""
    group: tuple[str | int, ...]
    """Values of the dimensions that were grouped by."""
    sums: list[int]
    """In the order of ``MEASURES``."""
    latency: int = 0
    """Histograms; empty unless asked for."""
    ttft: int = 0

    def __getitem__(self, measure: str) -> int:
        return self.sums[_PLACES[measure]]


_PLACES = {name: place for place, name in enumerate(MEASURES)}


class UsageQueries:
    """Answers questions about usage."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sums(
        self,
        filters: Filters = EVERYTHING,
        within: Range | None = None,
        *,
        period: Period = Period.TOTAL,
        zone: tzinfo = UTC,
        group_by: Sequence[str] = (),
        histograms: bool = False,
    ) -> list[Sums]:
        """Return sums, by bucket (newest first) and group.

        Args:
            filters: Which requests.
            within: When they arrived; widened to whole hours. None: ever.
            period: Length of a bucket.
            zone: Where days, weeks and months begin.
            group_by: Of ``GROUPS``.
            histograms: Whether ``latency`` and ``ttft`` are asked for.

        Raises:
            StorageError: The database could not be read.
        """
        ask = partial(
            _sums,
            filters=filters,
            within=within,
            period=period,
            zone=zone,
            group_by=tuple(group_by),
            histograms=histograms,
        )
        return await self._database.read(ask)

    async def records(
        self,
        filters: Filters = EVERYTHING,
        within: Range | None = None,
        *,
        before: str = "",
        limit: int = 50,
    ) -> list[UsageRecord]:
        """Return the newest records, newest first.

        Args:
            filters: Which requests.
            within: When they arrived.
            before: Id of the last record of the page before. Empty: the first page.
            limit: How many.

        Raises:
            StorageError: The database could not be read.
        """
        ask = partial(
            _records, filters=filters, within=within, before=before, limit=limit
        )
        return await self._database.read(ask)

    async def count(
        self, filters: Filters = EVERYTHING, within: Range | None = None
    ) -> int | None:
        """Return how many records there are; None if the range cuts an hour in two."""
        since, until = within or Range()
        if since % HOUR_MS or (until % HOUR_MS and until != Range().until):
            return None
        return await self._database.read(
            partial(_count, filters=filters, within=Range(since, until))
        )


# What follows runs in a reader's thread.


def _where(filters: Filters) -> tuple[str, list[str]]:
    """Return the condition on ``usage_series AS s``, and its values."""
    conditions, values = [], []
    for name in filters.__struct_fields__:
        given = getattr(filters, name)
        if not given:
            continue
        values.append(_encode(given).decode())
        if name == "tag":
            conditions.append(
                "EXISTS (SELECT 1 FROM json_each(?) AS wanted"
                " WHERE instr(s.tags, json_quote(wanted.value)))"
            )
        else:
            conditions.append(f"s.{name} IN (SELECT value FROM json_each(?))")  # noqa: S608
    return " AND ".join(conditions) or "true", values


# Sums.


class _Piece(NamedTuple):
    """A part of the range that is read from one table, with one offset."""

    table: str
    unit: str
    first: int
    before: int
    bucket: str
    """SQL that computes the number of the bucket."""
    condition: str = "true"
    """SQL that further restricts the rows."""
    moved: int = 0
    """What is found is to be subtracted from the bucket so many days later."""

    @property
    def hours(self) -> tuple[int, int]:
        """The same in hours."""
        scale = HOURS_OF_DAY if self.unit == "day" else 1
        return self.first * scale, self.before * scale


class _Groups:
    """Adds up what the pieces of a range hold for each bucket and group."""

    def __init__(self, period: Period) -> None:
        self._coarse = period in (Period.WEEKLY, Period.MONTHLY)
        self._period = period
        self._found: dict[tuple[Any, ...], Sums] = {}

    def of(self, bucket: int, group: tuple[str | int, ...]) -> Sums:
        """Return the sums of ``group`` in the bucket of the hour or day ``bucket``."""
        if self._coarse:
            bucket = day_number(first_day(self._period, bucket))
        sums = self._found.get((bucket, group))
        if sums is None:
            sums = Sums(bucket=bucket, group=group, sums=[0] * len(MEASURES))
            self._found[bucket, group] = sums
        return sums

    def sorted(self) -> list[Sums]:
        """Return those with any request, the newest bucket first."""
        found = [sums for sums in self._found.values() if sums["requests"]]
        found.sort(key=lambda sums: [str(value) for value in sums.group])
        return sorted(found, key=lambda sums: sums.bucket, reverse=True)


def _sums(
    connection: sqlite3.Connection,
    filters: Filters,
    within: Range | None,
    period: Period,
    zone: tzinfo,
    group_by: tuple[str, ...],
    histograms: bool,
) -> list[Sums]:
    unknown = set(group_by) - set(GROUPS)
    if unknown:
        raise ValueError(f"not a dimension: {', '.join(sorted(unknown))}")
    groups = _Groups(period)
    width = 1 + len(group_by)
    for piece in _pieces(connection, within or Range(), period, zone):
        for row in _grouped(connection, piece, filters, group_by):
            sums = groups.of(row[0], tuple(row[1:width]))
            sums.sums = list(map(operator.add, sums.sums, row[width:]))
            if piece.moved:
                sums = groups.of(row[0] + piece.moved, tuple(row[1:width]))
                sums.sums = list(map(operator.sub, sums.sums, row[width:]))
        if histograms:
            _add_histograms(connection, piece, filters, group_by, groups)
    return groups.sorted()


def _pieces(
    connection: sqlite3.Connection, within: Range, period: Period, zone: tzinfo
) -> Iterator[_Piece]:
    first, before = _existing(connection, *within.hours)
    if period is Period.HOURLY:
        yield _Piece("usage_hours", "hour", first, before, "hour")
        return
    summed = rollups.summed_before(connection) or 0
    if period is Period.TOTAL:  # Without buckets no offset matters.
        for piece in _of_span(Span(first, before, 0), summed):
            yield piece._replace(bucket="0")
        return
    for span in spans(first, before, zone):
        yield from _of_span(span, summed)


def _existing(
    connection: sqlite3.Connection, first: int, before: int
) -> tuple[int, int]:
    """Return the range cut to the hours that anything is known of."""
    oldest_hour, newest_hour, oldest_day, newest_day = connection.execute(
        "SELECT (SELECT min(hour) FROM usage_hours), (SELECT max(hour) FROM"
        " usage_hours), (SELECT min(day) FROM usage_days), (SELECT max(day) FROM"
        " usage_days)"
    ).fetchone()
    ends = [] if newest_hour is None else [(oldest_hour, newest_hour + 1)]
    if newest_day is not None:
        ends.append((oldest_day * HOURS_OF_DAY, (newest_day + 1) * HOURS_OF_DAY))
    if not ends:
        return 0, 0
    return max(first, min(o for o, _ in ends)), min(before, max(n for _, n in ends))


def _of_span(span: Span, summed: int) -> Iterator[_Piece]:
    """Yield the pieces of hours with one offset: whole days of UTC, and the rest.

    In a zone that is not UTC some hours of each day are in another local day than their
    day of UTC: these are moved, so that the others need not be read.
    """
    local = f"(hour * 3600 + {span.offset}) / 86400"
    first = -(-span.first // HOURS_OF_DAY)
    before = min(span.before // HOURS_OF_DAY, summed)
    if first >= before:
        yield _Piece("usage_hours", "hour", span.first, span.before, local)
        return
    start, end = first * HOURS_OF_DAY, before * HOURS_OF_DAY
    if span.first < start:
        yield _Piece("usage_hours", "hour", span.first, start, local)
    yield _Piece("usage_days", "day", first, before, "day")
    if span.offset:
        condition = f"{local} <> hour / {HOURS_OF_DAY}"
        moved = 1 if span.offset < 0 else -1
        yield _Piece("usage_hours", "hour", start, end, local, condition, moved)
    if end < span.before:
        yield _Piece("usage_hours", "hour", end, span.before, local)


def _from(piece: _Piece, filters: Filters) -> tuple[str, list[Any]]:
    """Return the tables and conditions of a query about ``piece``, and its values."""
    condition, values = _where(filters)
    first, before = piece.hours
    text = (
        f" FROM usage_series AS s CROSS JOIN {piece.table} AS t ON t.series = s.id"
        f" AND t.{piece.unit} >= ? AND t.{piece.unit} < ? AND {piece.condition}"
        f" WHERE s.last_hour >= ? AND s.first_hour < ? AND {condition}"
    )
    return text, [piece.first, piece.before, first, before, *values]


def _grouped(
    connection: sqlite3.Connection,
    piece: _Piece,
    filters: Filters,
    group_by: tuple[str, ...],
) -> list[list[Any]]:
    tables, values = _from(piece, filters)
    columns = ["bucket", *group_by, *MEASURES]
    inner = [
        f"{piece.bucket} AS bucket",
        *(f"s.{name} AS {name}" for name in group_by),
        *(f"sum({name}) AS {name}" for name in MEASURES),
    ]
    groups = ", ".join(["bucket", *(f"s.{name}" for name in group_by)])
    row = connection.execute(
        f"SELECT json_group_array(json_array({', '.join(columns)})) FROM"  # noqa: S608
        f" (SELECT {', '.join(inner)}{tables} GROUP BY {groups})",
        values,
    ).fetchone()
    found: list[list[Any]] = msgspec.json.decode(row[0])
    return found


_histograms_of = msgspec.json.Decoder(list[tuple[int, int, str, str]]).decode


def _add_histograms(
    connection: sqlite3.Connection,
    piece: _Piece,
    filters: Filters,
    group_by: tuple[str, ...],
    groups: _Groups,
) -> None:
    tables, values = _from(piece, filters)
    row = connection.execute(
        f"SELECT json_group_array(json_array({piece.bucket}, s.id, hex(latency),"
        f" hex(ttft))){tables}",
        values,
    ).fetchone()
    of_series = _groups_of(connection, filters, group_by)
    unhex, unpack = bytes.fromhex, histogram.unpack
    for bucket, series, latency, ttft in _histograms_of(row[0]):
        group = of_series[series]
        found_latency, found_ttft = unpack(unhex(latency)), unpack(unhex(ttft))
        sums = groups.of(bucket, group)
        sums.latency += found_latency
        sums.ttft += found_ttft
        if piece.moved:
            sums = groups.of(bucket + piece.moved, group)
            sums.latency -= found_latency
            sums.ttft -= found_ttft


def _groups_of(
    connection: sqlite3.Connection, filters: Filters, group_by: tuple[str, ...]
) -> Mapping[int, tuple[Any, ...]]:
    """Return the group of each series."""
    condition, values = _where(filters)
    columns = ", ".join(["s.id", *(f"s.{name}" for name in group_by)])
    row = connection.execute(
        f"SELECT json_group_array(json_array({columns})) FROM usage_series AS s"  # noqa: S608
        f" WHERE {condition}",
        values,
    ).fetchone()
    return {series: tuple(group) for series, *group in msgspec.json.decode(row[0])}


# Records.


def _records(
    connection: sqlite3.Connection,
    filters: Filters,
    within: Range | None,
    before: str,
    limit: int,
) -> list[UsageRecord]:
    span = within or Range()
    low, high = id_bounds(span, before)
    if filters == EVERYTHING:
        found = newest(connection, low, high, limit)
    else:
        series = series_of_filters(connection, filters, span)
        found = newest_of(connection, series, low, high, limit)
    return read_records(connection, found)


def id_bounds(span: Range, before: str) -> tuple[str, str]:
    """Return the least id of ``span``, and the one that ends it and ``before``."""
    low = ids.first_at(span.since) if span.since > 0 else ""
    high = ids.first_at(span.until) if span.until < Range().until else _END
    return low, min(high, before) if before else high


def newest(
    connection: sqlite3.Connection, low: str, high: str, limit: int
) -> list[str]:
    """Return the newest ids of requests between ``low`` and ``high``."""
    return ids_of(
        connection,
        "SELECT id FROM requests WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT ?",
        (low, high, limit),
    )


def series_of_filters(
    connection: sqlite3.Connection,
    filters: Filters,
    span: Range,
    *,
    failed: bool = False,
) -> list[int]:
    """Return the numbers of the series that match, with ``failed`` of failures only."""
    condition, values = _where(filters)
    if failed:
        condition = f"s.error_code <> '' AND {condition}"
    first, before = span.hours
    row = connection.execute(
        "SELECT json_group_array(s.id) FROM usage_series AS s"  # noqa: S608
        f" WHERE s.last_hour >= ? AND s.first_hour < ? AND {condition}",
        (first, before, *values),
    ).fetchone()
    found: list[int] = msgspec.json.decode(row[0])
    return found


def newest_of(
    connection: sqlite3.Connection,
    series: Sequence[int],
    low: str,
    high: str,
    limit: int,
) -> list[str]:
    """Return the ids of the newest rows of ``series``."""
    every = _encode(series).decode()
    found = ids_of(
        connection,
        "SELECT id FROM (SELECT id, series FROM requests WHERE id >= ? AND id < ?"
        " ORDER BY id DESC LIMIT ?) WHERE series IN (SELECT value FROM json_each(?))"
        " LIMIT ?",
        (low, high, SCANNED_FIRST, every, limit),
    )
    if len(found) >= limit:
        return found
    row = connection.execute(
        "SELECT json_group_array(json_array(value, (SELECT max(id) FROM requests"
        " WHERE series = value AND id >= ? AND id < ?))) FROM json_each(?)",
        (low, high, every),
    ).fetchone()
    newest = [
        (last, one) for one, last in msgspec.json.decode(row[0]) if last is not None
    ]
    # What is among the newest is in a series whose newest row is, too.
    newest = sorted(newest, reverse=True)[:limit]
    if len(newest) == limit:
        low = newest[-1][0]
    return ids_of(
        connection,
        "SELECT requests.id AS id FROM json_each(?1) CROSS JOIN requests"
        " ON series = value AND requests.id < ?3 AND requests.id >= max(?2, coalesce("
        "(SELECT r.id FROM requests AS r WHERE r.series = value AND r.id < ?3"
        " ORDER BY r.id DESC LIMIT 1 OFFSET ?4 - 1), ''))"
        " ORDER BY requests.id DESC LIMIT ?4",
        (_encode([one for _, one in newest]).decode(), low, high, limit),
    )


_strings_of = msgspec.json.Decoder(list[str]).decode


def ids_of(
    connection: sqlite3.Connection, query: str, values: Sequence[object]
) -> list[str]:
    """Return the column ``id`` of a query."""
    row = connection.execute(
        f"SELECT json_group_array(id) FROM ({query})",  # noqa: S608
        values,
    ).fetchone()
    return _strings_of(row[0])


def read_records(
    connection: sqlite3.Connection, wanted: Iterable[str]
) -> list[UsageRecord]:
    """Return the records with these ids, newest first."""
    # As an array of texts: the records are documents of their own.
    row = connection.execute(
        "SELECT json_group_array(record) FROM (SELECT record FROM requests"
        " WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id DESC)",
        (_encode(list(wanted)).decode(),),
    ).fetchone()
    return [_record_of(document) for document in _strings_of(row[0])]


def _count(connection: sqlite3.Connection, filters: Filters, within: Range) -> int:
    oldest = rollups.purged_before(connection) * HOUR_MS
    within = Range(max(within.since, oldest), within.until)
    sums = _sums(connection, filters, within, Period.TOTAL, UTC, (), histograms=False)
    return sums[0]["requests"] if sums else 0
