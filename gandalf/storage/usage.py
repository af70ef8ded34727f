"""From the journal into the table of finished requests.

Rows go in by the hundreds with one statement. ``executemany`` gives up the
interpreter's lock and waits for it again once a row, against an event loop that wants
it too: beside a loop that was busy all the time it came to a hundred rows a second.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache, partial

import msgspec

from gandalf.storage import journal
from gandalf.storage.database import Database

# Rows in one statement, at the most. A power of two: what is left is inserted by
# halves, so that some seven statements, compiled once, do for any number of rows. The
# compiled ones take 1 kB a row, and those of more rows are hardly quicker.
STATEMENT_ROWS = 64


class Ingested(msgspec.Struct, frozen=True):
    """What became of a span of the journal."""

    end: int
    """Where the next span starts."""
    records: int = 0
    corrupt: int = 0


class UsageTable:
    """Finished requests, in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ingest(self, span: journal.Span) -> Ingested:
        """Insert what ``span`` of the journal holds; what is there already stays.

        Raises:
            JournalUnreadable: The journal could not be read.
            StorageError: The database could not be written to; nothing was inserted.
        """
        return await self._database.write(partial(_ingest, span=span))


# What follows runs in the writer's thread.


def _ingest(connection: sqlite3.Connection, span: journal.Span) -> Ingested:
    batch = journal.read(span)
    insert(connection, batch.entries)
    return Ingested(batch.end, len(batch.entries), batch.corrupt)


def insert(connection: sqlite3.Connection, entries: Sequence[journal.Entry]) -> None:
    """Insert ``entries``, but for those that are there already."""
    start = 0
    while left := len(entries) - start:
        size = min(STATEMENT_ROWS, 1 << (left.bit_length() - 1))
        values = [value for entry in entries[start : start + size] for value in entry]
        connection.execute(_statement(size), values)
        start += size


@cache
def _statement(rows: int) -> str:
    # Only a primary key that is there already is passed over. OR IGNORE would pass
    # over every other mistake as well.
    return (
        "INSERT INTO requests (id, client_id, record) VALUES"  # noqa: S608
        f" {', '.join(['(?, ?, ?)'] * rows)} ON CONFLICT DO NOTHING"
    )
