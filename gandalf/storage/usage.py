"""From the journal into the table of finished requests, and into all that is summed up.

Rows go in by the hundreds with one statement. ``executemany`` gives up the
interpreter's lock and waits for it again once a row, against an event loop that wants
it too: beside a loop that was busy all the time it came to a hundred rows a second.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial

import msgspec

from gandalf.domain.budgets import KEY_RULE, Drift, Rule, Tracked
from gandalf.domain.usage import OpenedRequest
from gandalf.storage import balances, journal, rollups, usage_series
from gandalf.storage.balance_audit import audit
from gandalf.storage.balances import Sums
from gandalf.storage.database import Database

# Rows in one statement, at the most. A power of two: what is left is inserted by
# halves, so that some seven statements, compiled once, do for any number of rows. The
# compiled ones take 1 kB a row, and those of more rows are hardly quicker.
STATEMENT_ROWS = 64

CostOf = Callable[[OpenedRequest], int | None]
"""What a request in flight at a crash is charged, in nano-USD; None if not known."""

_encode = msgspec.json.Encoder().encode
_strings_of = msgspec.json.Decoder(list[str]).decode
_opened_of = msgspec.json.Decoder(OpenedRequest).decode


class Ingested(msgspec.Struct, frozen=True):
    """What became of a span of the journal."""

    end: int
    """Where the next span starts."""
    records: int = 0
    corrupt: int = 0


class UsageTable:
    """Finished requests, in the database.

    Args:
        database: The database.
        source: Names the journal: requests that one has opened are settled by it only.
    """

    def __init__(self, database: Database, source: str = "") -> None:
        self._database = database
        self._source = source
        self.rules: tuple[Rule, ...] = (KEY_RULE,)
        """What balances are kept of. Set by the owner of the budgets."""
        self._tracked: tuple[Rule, ...] = ()

    async def ingest(self, span: journal.Span) -> Ingested:
        """Insert what ``span`` of the journal holds; what is there already stays.

        Raises:
            JournalUnreadable: The journal could not be read.
            StorageError: The database could not be written to; nothing was inserted.
        """
        # New rules have no balances yet that could be added to.
        ingest = partial(_ingest, span=span, rules=self._tracked, source=self._source)
        return await self._database.write(ingest)

    async def track(self) -> Tracked | None:
        """Keep balances of the present ``rules``; None if that is so already.

        Raises:
            StorageError: The database could not be written to.
        """
        rules = self.rules
        if rules is self._tracked:
            return None
        tracked = await self._database.write(partial(balances.track, rules=rules))
        self._tracked = rules
        return tracked

    async def settle_crashed(self, cost_of: CostOf) -> int:
        """Make a record of each request that was in flight when the process died.

        To be called at the start, once the journal is loaded; returns how many.
        """
        settle = partial(
            _settle_crashed, rules=self._tracked, source=self._source, cost_of=cost_of
        )
        return await self._database.write(settle)

    async def balances(self) -> Sums:
        """Return the balances of all rules that are tracked."""
        return await self._database.read(balances.load)

    async def audit(self, since: int = 0) -> list[Drift]:
        """Return the balances that are not the sums of their records.

        Args:
            since: Only windows that end after this Unix time are looked at.
        """
        return await self._database.read(partial(audit, since=since))


# What follows runs in the writer's thread.


def _ingest(
    connection: sqlite3.Connection,
    span: journal.Span,
    rules: Sequence[Rule],
    source: str,
) -> Ingested:
    batch = journal.read(span)
    insert(connection, batch.entries, rules)
    _note_opened(connection, batch, source)
    return Ingested(batch.end, len(batch.entries), batch.corrupt)


def insert(
    connection: sqlite3.Connection,
    entries: Sequence[journal.Entry],
    rules: Sequence[Rule] = (),
) -> None:
    """Insert ``entries``, but for those that are there already, and charge them.

    Whatever is summed up over usage records is brought up to date here, in the
    transaction of the rows.
    """
    new = _without_known(connection, entries)
    if not new:
        return
    records = [entry.record for entry in new]
    places, groups = usage_series.grouped(records)
    ids = usage_series.ids_of(connection, groups)
    _insert_rows(connection, new, [ids[place] for place in places])
    rollups.add(connection, ids, groups)
    balances.charge(connection, rules, records)


def _insert_rows(
    connection: sqlite3.Connection,
    entries: Sequence[journal.Entry],
    series: Sequence[int],
) -> None:
    start = 0
    while left := len(entries) - start:
        size = min(STATEMENT_ROWS, 1 << (left.bit_length() - 1))
        values: list[str | int | None] = []
        for at in range(start, start + size):
            document, record = entries[at]
            values += (
                record.request_id,
                record.client_request_id or None,
                series[at],
                document,
                record.charged_nanousd,
            )
        connection.execute(_statement(size), values)
        start += size


def _without_known(
    connection: sqlite3.Connection, entries: Sequence[journal.Entry]
) -> list[journal.Entry]:
    """Return those of ``entries`` that are not in the table, each once."""
    by_id = {entry.record.request_id: entry for entry in reversed(entries)}
    # As one value: each row more is another wait for the interpreter's lock.
    known = connection.execute(
        "SELECT json_group_array(id) FROM requests"
        " WHERE id IN (SELECT value FROM json_each(?))",
        (_encode(list(by_id)).decode(),),
    ).fetchone()
    for request_id in _strings_of(known[0]):
        del by_id[request_id]
    return list(reversed(by_id.values()))


@cache
def _statement(rows: int) -> str:
    return (
        "INSERT INTO requests"  # noqa: S608
        " (id, client_id, series, record, charged) VALUES"
        f" {', '.join(['(?, ?, ?, ?, ?)'] * rows)}"
    )


# Requests in flight.


def _note_opened(
    connection: sqlite3.Connection, batch: journal.Batch, source: str
) -> None:
    """Remember the requests that have no record yet, and forget those that have.

    The lines of most requests are in the same span, which leaves nothing to be done.
    """
    finished = {entry.record.request_id for entry in batch.entries}
    opened = batch.opened
    closed_elsewhere = list(finished - opened.keys())
    if closed_elsewhere:
        connection.execute(
            "DELETE FROM open_requests WHERE id IN (SELECT value FROM json_each(?))",
            (_encode(closed_elsewhere).decode(),),
        )
    for request_id in opened.keys() - finished:
        connection.execute(
            "INSERT OR REPLACE INTO open_requests (id, source, opened)"
            " VALUES (?, ?, ?)",
            (request_id, source, opened[request_id].decode()),
        )


def _settle_crashed(
    connection: sqlite3.Connection,
    rules: Sequence[Rule],
    source: str,
    cost_of: CostOf,
) -> int:
    rows = connection.execute(
        "SELECT opened FROM open_requests WHERE source = ? ORDER BY id", (source,)
    ).fetchall()
    entries = list(_crashed((document for (document,) in rows), cost_of))
    insert(connection, entries, rules)
    connection.execute("DELETE FROM open_requests WHERE source = ?", (source,))
    return len(entries)


def _crashed(documents: Iterable[str], cost_of: CostOf) -> Iterable[journal.Entry]:
    for document in documents:
        opened = _opened_of(document)
        cost = opened.cost_nanousd
        record = opened.crashed(cost_of(opened) if cost is None else cost)
        yield journal.Entry(_encode(record).decode(), record)
