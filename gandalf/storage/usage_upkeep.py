"""Upkeep of usage: deletion by age in small steps, and the audit of the roll-ups."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial

import msgspec

from gandalf.domain import histogram, ids
from gandalf.domain.usage import UsageRecord
from gandalf.storage import balances, rollups
from gandalf.storage.database import Database
from gandalf.storage.rollups import (
    HOURS_OF_DAY,
    MEASURES,
    PURGED_BEFORE,
    Tallies,
)
from gandalf.storage.usage_series import HOUR_MS

_encode = msgspec.json.Encoder().encode
_records_of = msgspec.json.Decoder(list[UsageRecord]).decode


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A roll-up that is not the sum of its rows."""

    table: str
    series: int
    at: int
    """Hour or day since 1970."""
    measure: str
    rows: int
    """The sum of the rows, or of the hours."""
    stored: int


class UsageUpkeep:
    """Deletes what is too old, rebuilds, and audits."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delete_rows(self, before: float, limit: int) -> int:
        """Delete up to ``limit`` rows older than Unix time ``before``, oldest first.

        Returns how many; fewer than ``limit`` if no older ones are left. ``before`` is
        cut to a whole hour.
        """
        hour = int(before * 1000) // HOUR_MS
        return await self._database.write(partial(_delete_rows, hour=hour, limit=limit))

    async def delete_rollups(self, before: float, limit: int) -> int:
        """Delete up to ``limit`` hours, or else days, or series without either.

        Returns how many were deleted. ``before`` is cut to a whole day.
        """
        day = int(before * 1000) // HOUR_MS // HOURS_OF_DAY
        return await self._database.write(
            partial(_delete_rollups, day=day, limit=limit)
        )

    async def rebuild(self) -> int:
        """Make the roll-ups anew from the rows; return the number of rows."""
        return await self._database.write(rollups.rebuild)

    async def audit(self, since: float = 0.0, limit: int = 20) -> list[Difference]:
        """Return the first roll-ups since Unix time ``since`` that are not right.

        Hours are compared with their rows, days with their hours.
        """
        hour = int(since * 1000) // HOUR_MS
        return await self._database.read(partial(_audit, since=hour, limit=limit))


# What follows runs in the database's threads.


def _delete_rows(connection: sqlite3.Connection, hour: int, limit: int) -> int:
    # Told first: roll-ups of a time whose rows are gone in part cannot be rebuilt.
    if hour > rollups.purged_before(connection):
        connection.execute(
            "INSERT OR REPLACE INTO usage_state VALUES (?, ?)", (PURGED_BEFORE, hour)
        )
    # As one value: each row more is another wait for the interpreter's lock.
    documents = connection.execute(
        "SELECT json_group_array(json(record)) FROM"
        " (SELECT record FROM requests WHERE id < ? ORDER BY id LIMIT ?)",
        (ids.first_at(hour * HOUR_MS), limit),
    ).fetchone()[0]
    records = _records_of(documents)
    # What budgets have spent stays spent.
    balances.archive(connection, balances.tracked(connection), records)
    return connection.execute(
        "DELETE FROM requests WHERE id IN (SELECT value FROM json_each(?))",
        (_encode([record.request_id for record in records]).decode(),),
    ).rowcount


def _delete_rollups(connection: sqlite3.Connection, day: int, limit: int) -> int:
    for table, unit, before in (
        ("usage_hours", "hour", day * HOURS_OF_DAY),
        ("usage_days", "day", day),
    ):
        deleted = connection.execute(
            f"DELETE FROM {table} WHERE (series, {unit}) IN"  # noqa: S608 - constants
            f" (SELECT series, {unit} FROM {table} WHERE {unit} < ? LIMIT ?)",
            (before, limit),
        ).rowcount
        if deleted:
            return deleted
    return connection.execute(
        "DELETE FROM usage_series WHERE id IN (SELECT id FROM usage_series AS s"
        " WHERE last_hour < ? AND NOT EXISTS"
        " (SELECT 1 FROM requests WHERE series = s.id) LIMIT ?)",
        (day * HOURS_OF_DAY, limit),
    ).rowcount


def _audit(connection: sqlite3.Connection, since: int, limit: int) -> list[Difference]:
    since = max(since, rollups.purged_before(connection))
    found: list[Difference] = []
    for difference in _differences(connection, since):
        found.append(difference)
        if len(found) == limit:
            break
    return found


def _differences(connection: sqlite3.Connection, since: int) -> Iterator[Difference]:
    expected: Tallies = {}
    after = ids.first_at(since * HOUR_MS) if since else ""
    for series, records in rollups.batches(connection, after):
        for key, sums in rollups.tally(series, records).items():
            if key[1] < since:
                continue
            rollups.merge(expected, key, sums)
    yield from _wrong_hours(connection, expected, since)
    yield from _wrong_days(connection, since)


_stored = msgspec.json.Decoder(list[tuple[int, int, list[int], str, str]]).decode


def _wrong_hours(
    connection: sqlite3.Connection, expected: Tallies, since: int
) -> Iterator[Difference]:
    row = connection.execute(
        "SELECT json_group_array(json_array(series, hour,"  # noqa: S608 - constants
        f" json_array({', '.join(MEASURES)}), hex(latency), hex(ttft)))"
        " FROM (SELECT * FROM usage_hours WHERE hour >= ? ORDER BY hour, series)",
        (since,),
    ).fetchone()
    for series, hour, sums, latency, ttft in _stored(row[0]):
        counted = expected.pop((series, hour), None) or rollups.Tally()
        pairs = [
            *zip(MEASURES, counted.sums, sums, strict=True),
            ("latency", sum(counted.latency.values()), _observed(latency)),
            ("ttft", sum(counted.ttft.values()), _observed(ttft)),
        ]
        yield from _unequal("usage_hours", series, hour, pairs)
    for (series, hour), counted in expected.items():
        pairs = [(n, v, 0) for n, v in zip(MEASURES, counted.sums, strict=True)]
        yield from _unequal("usage_hours", series, hour, pairs)


def _wrong_days(connection: sqlite3.Connection, since: int) -> Iterator[Difference]:
    first = -(-since // HOURS_OF_DAY)
    before = rollups.summed_before(connection) or 0
    for measure in MEASURES:
        rows = connection.execute(
            "SELECT series, day, hours, stored FROM ("  # noqa: S608 - constants
            f"SELECT series, hour / {HOURS_OF_DAY} AS day, sum({measure}) AS hours"
            " FROM usage_hours WHERE hour >= ? AND hour < ? GROUP BY 1, 2)"
            f" LEFT JOIN (SELECT series, day, {measure} AS stored FROM usage_days)"
            " USING (series, day) WHERE hours IS NOT stored",
            (first * HOURS_OF_DAY, before * HOURS_OF_DAY),
        ).fetchall()
        for series, day, hours, stored in rows:
            pair = (measure, hours, stored or 0)
            yield from _unequal("usage_days", series, day, [pair])


def _unequal(
    table: str, series: int, at: int, pairs: list[tuple[str, int, int]]
) -> Iterator[Difference]:
    for measure, rows, stored in pairs:
        if rows != stored:
            yield Difference(
                table=table,
                series=series,
                at=at,
                measure=measure,
                rows=rows,
                stored=stored,
            )


def _observed(packed: str) -> int:
    return histogram.count_of(histogram.unpack(bytes.fromhex(packed)))
