"""Roll-ups: sums of usage by hour, and of past days (UTC), for each series of requests.

``add`` runs in the transaction that inserts the rows, so at any moment a roll-up is the
sum of its rows; ``audit`` checks that. The hour of a row is that of its id, which tells
when the request arrived. The sums of a day are made of its hours when the first row of
a later day comes, and kept up to date from then on: days before ``summed_before``.

Statements are few and large: after each, the interpreter's lock is waited for, against
an event loop that wants it too. What is read comes as one value of JSON.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import NamedTuple

import msgspec

from gandalf.domain import histogram
from gandalf.domain.histogram import bucket_of
from gandalf.domain.usage import EndReason, UsageRecord
from gandalf.storage.usage_series import Group, Hours

HOURS_OF_DAY = 24

MEASURES = (
    "requests",
    "errors",
    "cached",
    "unpriced",
    "cost_nanousd",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "other_input_tokens",
    "other_output_tokens",
    "latency_us",
)
"""What is summed up; columns of ``usage_hours`` and ``usage_days``."""

# Series whose days are summed up by one statement.
SERIES_AT_ONCE = 100

# As in ``usage``: powers of two, so that few statements do for any number of rows.
STATEMENT_ROWS = 64
MAX_COUNT = 2**53 - 1

_COMPLETE = EndReason.COMPLETE
_NO_ERROR = frozenset({EndReason.COMPLETE, EndReason.CLIENT_DISCONNECT})

# Where a measure is among the sums.
_ERRORS = MEASURES.index("errors")
_CACHED = MEASURES.index("cached")
_UNPRICED = MEASURES.index("unpriced")
_COST = MEASURES.index("cost_nanousd")
_FIRST_TOKENS = MEASURES.index("input_tokens")
_OTHER_INPUT = MEASURES.index("other_input_tokens")
_OTHER_OUTPUT = MEASURES.index("other_output_tokens")
_LATENCY = MEASURES.index("latency_us")

_tokens = attrgetter(
    *(name.removesuffix("_tokens") for name in MEASURES[_FIRST_TOKENS:_OTHER_INPUT])
)

_encode = msgspec.json.Encoder().encode


class Tally:
    """Sums of some requests of one series in one hour or day."""

    __slots__ = ("latency", "sums", "ttft")

    def __init__(self) -> None:
        self.sums = [0] * len(MEASURES)
        self.latency: dict[int, int] = {}
        """Requests by bucket of their latency."""
        self.ttft: dict[int, int] = {}

    @classmethod
    def of(cls, records: Collection[UsageRecord]) -> Tally:
        """Return the sums of ``records``."""
        found = cls()
        sums = found.sums
        for record in records:
            # Most classes of tokens are not reported, and most counts are sane.
            for place, count in enumerate(_tokens(record.tokens), _FIRST_TOKENS):
                if count:
                    sums[place] += count if 0 < count <= MAX_COUNT else _sane(count)
            found._add(record)
        sums[0] = len(records)
        return found

    def _add(self, record: UsageRecord) -> None:
        sums, cost, other = self.sums, record.cost_nanousd, record.tokens.other
        if record.end_reason is not _COMPLETE and record.end_reason not in _NO_ERROR:
            sums[_ERRORS] += 1
        if record.cache == "hit":
            sums[_CACHED] += 1
        if cost is None:
            sums[_UNPRICED] += 1
        else:
            sums[_COST] += cost if 0 <= cost <= MAX_COUNT else _sane(cost)
        if other is not None:
            sums[_OTHER_INPUT] += _sane(other.prompt_tokens)
            sums[_OTHER_OUTPUT] += _sane(other.completion_tokens)
        latency_us = round(record.latency * 1e6)
        if latency_us > 0:
            sums[_LATENCY] += latency_us
            bucket = bucket_of(latency_us)
            self.latency[bucket] = self.latency.get(bucket, 0) + 1
        if record.ttft is not None:
            bucket = bucket_of(record.ttft * 1e6)
            self.ttft[bucket] = self.ttft.get(bucket, 0) + 1

    def merge(self, other: Tally) -> None:
        """Count in what ``other`` has counted."""
        self.sums = [a + b for a, b in zip(self.sums, other.sums, strict=True)]
        for mine, theirs in ((self.latency, other.latency), (self.ttft, other.ttft)):
            for bucket, count in theirs.items():
                mine[bucket] = mine.get(bucket, 0) + count


Tallies = dict[tuple[int, int], Tally]
"""By series, and hour or day."""


def tally(series: Iterable[int], records: Iterable[UsageRecord]) -> Tallies:
    """Return the sums of ``records`` by hour; ``series`` has the series of each."""
    groups: dict[tuple[int, int], list[UsageRecord]] = {}
    hours = Hours()
    for one, record in zip(series, records, strict=True):
        groups.setdefault((one, hours.of(record)), []).append(record)
    return {key: Tally.of(group) for key, group in groups.items()}


# What follows runs in the writer's thread.


def add(
    connection: sqlite3.Connection, ids: Sequence[int], groups: Sequence[Group]
) -> None:
    """Add records, which must have been inserted just now, to the roll-ups.

    Args:
        connection: The database.
        ids: Of each group the id of its series.
        groups: The records.
    """
    hours: Tallies = {}
    for one, group in zip(ids, groups, strict=True):
        merge(hours, (one, group.hour), Tally.of(group.records))
    store(connection, hours)


def merge(tallies: Tallies, key: tuple[int, int], sums: Tally) -> None:
    """Count ``sums`` in at ``key``."""
    if key in tallies:
        tallies[key].merge(sums)
    else:
        tallies[key] = sums


def correct(
    connection: sqlite3.Connection,
    changed: Sequence[tuple[UsageRecord, UsageRecord]],
) -> None:
    """Correct the costs after records were changed, given each before and after."""
    ids = _encode([before.request_id for before, _ in changed]).decode()
    row = connection.execute(
        "SELECT json_group_object(id, series) FROM requests"
        " WHERE id IN (SELECT value FROM json_each(?))",
        (ids,),
    ).fetchone()
    series = msgspec.json.decode(row[0], type=dict[str, int])
    hours: Tallies = {}
    hour_of = Hours().of
    for before, after in changed:
        key = series[before.request_id], hour_of(before)
        sums = hours.setdefault(key, Tally()).sums
        sums[_COST] += _sane(after.cost_nanousd or 0) - _sane(before.cost_nanousd or 0)
        sums[_UNPRICED] += (after.cost_nanousd is None) - (before.cost_nanousd is None)
    if hours:
        store(connection, hours)


def store(connection: sqlite3.Connection, hours: Tallies) -> None:
    """Add sums by hour to those that are stored."""
    _upsert(connection, "usage_hours", "hour", hours)
    newest = max(hour // HOURS_OF_DAY for _, hour in hours)
    before = summed_before(connection)
    if before is None:
        before = min(hour // HOURS_OF_DAY for _, hour in hours)
        _set_state(connection, DAYS_BEFORE, before)
    late = {k: sums for k, sums in hours.items() if k[1] // HOURS_OF_DAY < before}
    _upsert(connection, "usage_days", "day", _days(late))
    if newest > before:
        sum_days(connection, before, newest)


def sum_days(connection: sqlite3.Connection, first: int, before: int) -> None:
    """Make the sums of the days from ``first`` to ``before`` - 1 of their hours."""
    series = connection.execute(
        "SELECT json_group_array(DISTINCT series) FROM usage_hours"
        " WHERE hour >= ? AND hour < ?",
        (first * HOURS_OF_DAY, before * HOURS_OF_DAY),
    ).fetchone()
    every = _integers(series[0])
    for start in range(0, len(every), SERIES_AT_ONCE):
        some = every[start : start + SERIES_AT_ONCE]
        _sum_some_days(connection, some, first, before)
    _set_state(connection, DAYS_BEFORE, before)


def summed_before(connection: sqlite3.Connection) -> int | None:
    """Return the day before which all days are summed up; None before the first row."""
    return _state(connection, DAYS_BEFORE)


def _sum_some_days(
    connection: sqlite3.Connection, series: Sequence[int], first: int, before: int
) -> None:
    columns = ", ".join(MEASURES)
    row = connection.execute(
        "SELECT json_group_array(json_array("  # noqa: S608 - constants
        f"series, hour / {HOURS_OF_DAY}, json_array({columns}), hex(latency), hex(ttft)"
        ")) FROM json_each(?) CROSS JOIN usage_hours"
        " ON series = json_each.value AND hour >= ? AND hour < ?",
        (_encode(series).decode(), first * HOURS_OF_DAY, before * HOURS_OF_DAY),
    ).fetchone()
    days: dict[tuple[int, int], _Sums] = {}
    for one, day, sums, latency, ttft in _found_hours(row[0]):
        known = days.get((one, day), _NO_SUMS)
        days[one, day] = _Sums(
            [a + b for a, b in zip(known.sums, sums, strict=True)],
            known.latency + _unhex(latency),
            known.ttft + _unhex(ttft),
        )
    _write(connection, "usage_days", "day", days)


def _days(hours: Tallies) -> Tallies:
    days: Tallies = {}
    for (series, hour), sums in hours.items():
        days.setdefault((series, hour // HOURS_OF_DAY), Tally()).merge(sums)
    return days


# State.

DAYS_BEFORE = "days_before"
PURGED_BEFORE = "purged_before_hour"

_integers = msgspec.json.Decoder(list[int]).decode


def _state(connection: sqlite3.Connection, name: str) -> int | None:
    row = connection.execute(
        "SELECT value FROM usage_state WHERE name = ?", (name,)
    ).fetchone()
    return None if row is None else int(row[0])


def _set_state(connection: sqlite3.Connection, name: str, value: int) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO usage_state VALUES (?, ?)", (name, value)
    )


# Sums.

_found_histograms = msgspec.json.Decoder(list[tuple[int, int, str, str]]).decode


class _Sums(NamedTuple):
    """Sums that are to be written, with what is stored already in the histograms."""

    sums: Sequence[int]
    latency: int
    ttft: int


_NO_SUMS = _Sums([0] * len(MEASURES), 0, 0)
_found_hours = msgspec.json.Decoder(list[tuple[int, int, list[int], str, str]]).decode


def _upsert(
    connection: sqlite3.Connection, table: str, unit: str, tallies: Tallies
) -> None:
    if not tallies:
        return
    stored = connection.execute(
        f"SELECT json_group_array(json_array(series, {unit}, hex(latency), hex(ttft)))"  # noqa: S608
        f" FROM json_each(?) CROSS JOIN {table}"
        f" ON series = value ->> 0 AND {unit} = value ->> 1",
        (_encode(list(tallies)).decode(),),
    ).fetchone()
    known = {(s, at): (one, two) for s, at, one, two in _found_histograms(stored[0])}
    new: dict[tuple[int, int], _Sums] = {}
    for key, counted in tallies.items():
        latency, ttft = known.get(key, ("", ""))
        new[key] = _Sums(
            counted.sums,
            _unhex(latency) + histogram.from_counts(counted.latency),
            _unhex(ttft) + histogram.from_counts(counted.ttft),
        )
    _write(connection, table, unit, new)


def _write(
    connection: sqlite3.Connection,
    table: str,
    unit: str,
    sums: Mapping[tuple[int, int], _Sums],
) -> None:
    """Add the sums to those that are stored, and replace the histograms."""
    rows = [
        (*key, *each.sums, histogram.pack(each.latency), histogram.pack(each.ttft))
        for key, each in sums.items()
    ]
    start = 0
    while left := len(rows) - start:
        size = min(STATEMENT_ROWS, 1 << (left.bit_length() - 1))
        values = [value for row in rows[start : start + size] for value in row]
        connection.execute(_statement(table, unit, size), values)
        start += size


def _unhex(packed: str) -> int:
    return histogram.unpack(bytes.fromhex(packed))


@cache
def _statement(table: str, unit: str, rows: int) -> str:
    columns = ("series", unit, *MEASURES, "latency", "ttft")
    row = f"({', '.join('?' * len(columns))})"
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in MEASURES)
    return (
        f"INSERT INTO {table} ({', '.join(columns)})"  # noqa: S608 - constants
        f" VALUES {', '.join([row] * rows)} ON CONFLICT DO UPDATE SET {sums},"
        " latency = excluded.latency, ttft = excluded.ttft"
    )


def _sane(number: int) -> int:
    return max(0, min(number, MAX_COUNT))


# The rows again.

# Rows that are read at a time.
BATCH_ROWS = 1000

_record_of = msgspec.json.Decoder(UsageRecord).decode


def batches(
    connection: sqlite3.Connection, after: str = ""
) -> Iterator[tuple[list[int], list[UsageRecord]]]:
    """Yield series and records of all rows whose id is above ``after``, in order."""
    while True:
        rows = connection.execute(
            "SELECT series, record FROM requests WHERE id > ? ORDER BY id LIMIT ?",
            (after, BATCH_ROWS),
        ).fetchall()
        records = [_record_of(document) for _, document in rows]
        if records:
            yield [series for series, _ in rows], records
            after = records[-1].request_id
        if len(rows) < BATCH_ROWS:
            return


def rebuild(connection: sqlite3.Connection) -> int:
    """Make the roll-ups anew from the rows; return the number of rows.

    Of hours whose rows have been deleted by age the roll-ups stay as they are.
    """
    first = purged_before(connection)
    connection.execute("DELETE FROM usage_hours WHERE hour >= ?", (first,))
    rows = 0
    for series, records in batches(connection):
        found = tally(series, records)
        kept = {key: sums for key, sums in found.items() if key[1] >= first}
        _upsert(connection, "usage_hours", "hour", kept)
        rows += len(records)
    _rebuild_days(connection, first // HOURS_OF_DAY)
    return rows


def _rebuild_days(connection: sqlite3.Connection, first: int) -> None:
    span = connection.execute(
        "SELECT min(hour), max(hour) FROM usage_hours WHERE hour >= ?",
        (first * HOURS_OF_DAY,),
    ).fetchone()
    if span[0] is None:
        return
    connection.execute("DELETE FROM usage_days WHERE day >= ?", (first,))
    for day in range(span[0] // HOURS_OF_DAY, span[1] // HOURS_OF_DAY):
        sum_days(connection, day, day + 1)
    _set_state(connection, DAYS_BEFORE, span[1] // HOURS_OF_DAY)


def purged_before(connection: sqlite3.Connection) -> int:
    """Return the first hour of which all rows are there; 0 if none was deleted."""
    return _state(connection, PURGED_BEFORE) or 0
