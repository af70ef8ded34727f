"""From the journal into the tables of finished requests.

Rows go in by the hundreds with one statement. ``executemany`` gives up the
interpreter's lock and waits for it again once a row, against an event loop that wants
it too: beside a loop that was busy all the time it came to a hundred rows a second.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from functools import cache, partial

import msgspec

from gandalf.domain.usage import UsageRecord
from gandalf.storage import journal
from gandalf.storage.database import Database

log = logging.getLogger("gandalf.storage")

# Rows in one statement, at the most. A power of two: what is left is inserted by
# halves, so that some seven statements, compiled once, do for any number of rows. The
# compiled ones take 6 kB a row, and those of more rows are hardly quicker.
STATEMENT_ROWS = 64

Row = tuple[object, ...]

_RECORDS = (
    "usage_records (request_id, client_request_id, received_at, operation, dialect,"
    " key_id, org_id, team_id, user_id, alias, provider, model, stream, status,"
    " end_reason, error_code, cache, input_tokens, cache_read_tokens,"
    " cache_write_tokens, cache_write_1h_tokens, output_tokens, reasoning_tokens,"
    " audio_input_tokens, audio_output_tokens, usage_source, estimated_tokens,"
    " latency_us, ttft_us, overhead_us)"
)
_ATTEMPTS = (
    "attempts (request_id, n, target, started_us, duration_us, ttfb_us, status,"
    " outcome, decision, reason)"
)


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
    insert(connection, batch.records)
    return Ingested(batch.end, len(batch.records), batch.corrupt)


def insert(connection: sqlite3.Connection, records: Sequence[UsageRecord]) -> None:
    """Insert ``records`` and their attempts, but for those that are there already."""
    start = 0
    while left := len(records) - start:
        size = min(STATEMENT_ROWS, 1 << (left.bit_length() - 1))
        _insert_some(connection, records[start : start + size])
        start += size


def _insert_some(
    connection: sqlite3.Connection, records: Sequence[UsageRecord]
) -> None:
    try:
        _execute(connection, _RECORDS, [_record_row(record) for record in records])
    except (OverflowError, UnicodeEncodeError, sqlite3.IntegrityError):
        # One that SQLite does not take must not hold up all that come after it.
        if len(records) > 1:
            half = len(records) // 2
            _insert_some(connection, records[:half])
            _insert_some(connection, records[half:])
            return
        record = journal.essentials(records[0])
        log.error("usage record %s kept in short", record.request_id)
        _execute(connection, _RECORDS, [_record_row(record)])
        return
    attempts = [row for record in records for row in _attempt_rows(record)]
    for start in range(0, len(attempts), STATEMENT_ROWS):
        _execute(connection, _ATTEMPTS, attempts[start : start + STATEMENT_ROWS])


def _execute(connection: sqlite3.Connection, table: str, rows: list[Row]) -> None:
    values = [value for row in rows for value in row]
    connection.execute(_statement(table, len(rows), len(rows[0])), values)


@cache
def _statement(table: str, rows: int, columns: int) -> str:
    # Only a primary key that is there already is passed over. OR IGNORE would pass
    # over every other mistake as well.
    row = f"({', '.join('?' * columns)})"
    return (
        f"INSERT INTO {table} VALUES {', '.join([row] * rows)}"  # noqa: S608
        " ON CONFLICT DO NOTHING"
    )


def _record_row(record: UsageRecord) -> Row:
    tokens = record.tokens
    return (
        record.request_id,
        record.client_request_id,
        record.received_at,
        record.operation,
        record.dialect,
        record.key_id,
        record.org_id,
        record.team_id,
        record.user_id,
        record.alias,
        record.provider,
        record.model,
        record.stream,
        record.status,
        record.end_reason.value,
        record.error_code,
        record.cache,
        tokens.input,
        tokens.cache_read,
        tokens.cache_write,
        tokens.cache_write_1h,
        tokens.output,
        tokens.reasoning,
        tokens.audio_input,
        tokens.audio_output,
        record.usage_source.value,
        record.estimated_tokens,
        _us(record.latency),
        None if record.ttft is None else _us(record.ttft),
        _us(record.overhead),
    )


def _attempt_rows(record: UsageRecord) -> list[Row]:
    return [
        (
            record.request_id,
            n,
            attempt.target,
            _us(attempt.started),
            _us(attempt.duration),
            None if attempt.ttfb is None else _us(attempt.ttfb),
            attempt.status,
            attempt.outcome,
            attempt.decision,
            attempt.reason,
        )
        for n, attempt in enumerate(record.attempts)
    ]


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
