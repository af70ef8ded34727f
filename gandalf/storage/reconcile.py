"""Managed objects, tenants and keys changed together, in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from gandalf.domain.state import Changes, ManagedState
from gandalf.storage import keys, managed, tenants
from gandalf.storage.database import Database
from gandalf.storage.managed import Edit, Managed

T = TypeVar("T")

Plan = Callable[[ManagedState], Changes]
"""Decides on a change from the present state; an exception of its ends the change."""


class _RolledBack(Exception):
    """Ends the transaction of a dry run, with its result."""

    def __init__(self, result: object) -> None:
        super().__init__()
        self.result = result


class StateStore:
    """All tables that the admin API manages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self, at: Callable[[ManagedState], T]) -> T:
        """Return what ``at`` makes of the present state; it runs in a thread."""
        return await self._database.read(lambda connection: at(_load(connection)))

    async def change(
        self,
        plan: Plan,
        validate: Callable[[Managed], T],
        now: float,
        *,
        dry_run: bool = False,
    ) -> tuple[Managed, T]:
        """Carry out what ``plan`` decides; return the new state and what was validated.

        The present state is read in the transaction that changes it, so that of two
        changes that were decided on from the same state only one is carried out.

        Args:
            plan: Called in the database's thread.
            validate: Called with the managed objects that would result.
            now: Unix time in seconds.
            dry_run: Do all of it and roll it back.

        Raises:
            TenantExists, TenantInUse, NoSuchParent: A tenant cannot be changed so.
            StorageError: Nothing was written; besides, whatever ``plan`` and
                ``validate`` raise.
        """
        work = partial(_change, plan=plan, validate=validate, now=now, dry_run=dry_run)
        try:
            return await self._database.write(work)
        except _RolledBack as end:
            return end.result  # type: ignore[return-value] # what _change returns


# The following functions run in the database's threads, in a transaction.


def _load(connection: sqlite3.Connection) -> ManagedState:
    return ManagedState(
        objects=managed.load(connection).objects,
        tenants=tuple(tenants.load(connection).by_id.values()),
        keys=tuple(keys.load(connection)),
    )


def _change(
    connection: sqlite3.Connection,
    plan: Plan,
    validate: Callable[[Managed], T],
    now: float,
    *,
    dry_run: bool,
) -> tuple[Managed, T]:
    changes = plan(_load(connection))
    if not changes:
        state = managed.load(connection)
        return state, validate(state)
    _write_tenants(connection, changes)
    for key in changes.new_keys:
        keys.insert(connection, key)
    for key in changes.changed_keys:
        keys.update(connection, key)
    for tenant in changes.removed_tenants:
        tenants.delete(connection, tenant.kind, tenant.id)
    edits = [Edit(kind=kind, name=name, spec=s) for kind, name, s in changes.objects]
    result = managed.change(connection, edits, validate, changes.entries, now)
    if dry_run:
        raise _RolledBack(result)
    return result


def _write_tenants(connection: sqlite3.Connection, changes: Changes) -> None:
    for tenant in changes.new_tenants:
        tenants.insert(connection, tenant)
    for tenant in changes.changed_tenants:
        tenants.update(connection, tenant)
