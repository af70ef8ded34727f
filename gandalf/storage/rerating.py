"""Past requests whose cost is computed again, in the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import msgspec

from gandalf.domain.ids import first_at
from gandalf.domain.usage import UsageRecord
from gandalf.storage import balances, rollups
from gandalf.storage.database import Database

BATCH_ROWS = 500
"""Records that are read, and changed in one transaction, at a time: some 50 ms."""

Rate = Callable[[UsageRecord], UsageRecord]
"""Returns a record with its cost computed again."""

_decode = msgspec.json.Decoder(UsageRecord).decode
_encode = msgspec.json.Encoder().encode


class Difference(msgspec.Struct):
    """What the costs of one target's requests are, and what they would be."""

    target: str
    rows: int = 0
    changed: int = 0
    before_nanousd: int = 0
    after_nanousd: int = 0
    unknown_before: int = 0
    """Rows without a cost; they are in no sum."""
    unknown_after: int = 0

    def add(self, before: UsageRecord, after: UsageRecord) -> None:
        """Add one record."""
        self.rows += 1
        self.changed += before != after
        self.before_nanousd += before.cost_nanousd or 0
        self.after_nanousd += after.cost_nanousd or 0
        self.unknown_before += before.cost_nanousd is None
        self.unknown_after += after.cost_nanousd is None


async def rerate(
    database: Database, since: float, rate: Rate, *, apply: bool
) -> list[Difference]:
    """Return by target what computing costs again changes.

    Args:
        database: The database.
        since: Unix time of the first request.
        rate: Computes a cost again.
        apply: Whether to keep what it computes. Records are changed by the batch, each
            batch in a transaction of its own; to run it again changes no more.

    Raises:
        StorageError: The database could not be read or written to.
    """
    found: dict[str, Difference] = {}
    last = first_at(max(0, int(since * 1000)))
    while True:
        work = partial(_batch, after=last, rate=rate, apply=apply)
        run = database.write if apply else database.read
        pairs = await run(work)
        for before, after in pairs:
            target = f"{before.provider}/{before.model}" if before.provider else "-"
            found.setdefault(target, Difference(target)).add(before, after)
        if len(pairs) < BATCH_ROWS:
            return sorted(found.values(), key=lambda each: each.target)
        last = pairs[-1][0].request_id


# What follows runs in the database's threads.


def _batch(
    connection: sqlite3.Connection, after: str, rate: Rate, *, apply: bool
) -> list[tuple[UsageRecord, UsageRecord]]:
    rows = connection.execute(
        "SELECT record FROM requests WHERE id > ? ORDER BY id LIMIT ?",
        (after, BATCH_ROWS),
    ).fetchall()
    records = [_decode(document) for (document,) in rows]
    pairs = [(record, _charged(record, rate(record))) for record in records]
    if apply:
        _keep(connection, [pair for pair in pairs if pair[0] != pair[1]])
    return pairs


def _keep(
    connection: sqlite3.Connection, changed: Sequence[tuple[UsageRecord, UsageRecord]]
) -> None:
    # One statement, so that the interpreter's lock is not taken once a row.
    connection.execute(
        "UPDATE requests SET record = changed.value ->> 1,"
        " charged = changed.value ->> 2 FROM json_each(?) AS changed"
        " WHERE requests.id = changed.value ->> 0",
        (_encode(_rows(after for _, after in changed)).decode(),),
    )
    balances.correct(connection, balances.tracked(connection), changed)
    rollups.correct(connection, changed)


def _charged(before: UsageRecord, after: UsageRecord) -> UsageRecord:
    """Return ``after``, budgets charged what it costs now, if that is known."""
    cost = after.cost_nanousd
    if cost is None or cost == before.charged_nanousd or not before.charged_at:
        return after
    return msgspec.structs.replace(after, charged_nanousd=cost)


def _rows(records: Iterable[UsageRecord]) -> list[tuple[str, str, int]]:
    return [
        (record.request_id, _encode(record).decode(), record.charged_nanousd)
        for record in records
    ]
