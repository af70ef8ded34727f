"""Raises of budgets, and the thresholds that were told of, in the database."""

from __future__ import annotations

import sqlite3
from functools import partial

from gandalf.domain.audit import AuditEntry
from gandalf.domain.budgets import Raise, Told
from gandalf.storage import audit
from gandalf.storage.database import Database


class BudgetStore:
    """The tables of raises and of notices."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def raises(self, now: int) -> tuple[Raise, ...]:
        """Return the raises that hold at the Unix time ``now`` or later."""
        return await self._database.read(partial(_raises, now=now))

    async def add_raise(
        self, one: Raise, now: float, entry: AuditEntry | None = None
    ) -> None:
        """Add a raise and its audit entry, together or not at all.

        A raise with the same id stays as it is.
        """
        await self._database.write(partial(_add_raise, one=one, now=now, entry=entry))

    async def told(self) -> list[Told]:
        """Return the thresholds that were told of."""
        return await self._database.read(_told)

    async def note_told(self, told: Told) -> None:
        """Remember that a threshold was told of, and forget earlier windows."""
        await self._database.write(partial(_note_told, told=told))


# What follows runs in the database's threads.


def _raises(connection: sqlite3.Connection, now: int) -> tuple[Raise, ...]:
    rows = connection.execute(
        "SELECT id, budget, subject, amount, until FROM budget_raises"
        " WHERE until > ? ORDER BY id",
        (now,),
    )
    return tuple(Raise(*row) for row in rows)


def _add_raise(
    connection: sqlite3.Connection, one: Raise, now: float, entry: AuditEntry | None
) -> None:
    if entry is not None:
        audit.append(connection, entry)
    connection.execute(
        "INSERT INTO budget_raises (id, budget, subject, amount, until, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (*one, now),
    )


def _told(connection: sqlite3.Connection) -> list[Told]:
    rows = connection.execute(
        "SELECT budget, subject, threshold, window_start FROM budget_notices"
    )
    return [Told(*row) for row in rows]


def _note_told(connection: sqlite3.Connection, told: Told) -> None:
    connection.execute(
        "DELETE FROM budget_notices"
        " WHERE budget = ? AND subject = ? AND threshold = ? AND window_start < ?",
        told,
    )
    connection.execute(
        "INSERT INTO budget_notices (budget, subject, threshold, window_start)"
        " VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        told,
    )
