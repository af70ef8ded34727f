"""Managed objects in the database, changed together with their audit entries.

A change is one transaction: the present objects are read, the edit is applied, the
whole configuration that would result is validated, and only then rows and audit
entries are written. So two changes at once cannot both be valid alone and invalid
together, whichever process makes them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from gandalf.domain.audit import AuditEntry
from gandalf.domain.managed import Kind, ManagedObject
from gandalf.storage import audit
from gandalf.storage.database import Database

T = TypeVar("T")


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """The wanted state of one object."""

    kind: Kind
    name: str
    spec: dict[str, Any] | None
    """None deletes the object."""
    expected_version: int | None = None
    """Version that the object must have; 0: it must not exist; None: any."""


class VersionMismatch(Exception):
    """An object is not at the version that the edit expects.

    Args:
        edit: The edit that failed.
        found: The present version; 0 if the object does not exist.
    """

    def __init__(self, edit: Edit, found: int) -> None:
        super().__init__(f"{edit.kind}/{edit.name} is at version {found}")
        self.edit = edit
        self.found = found


class Managed(msgspec.Struct, frozen=True):
    """All managed objects as of one moment."""

    version: int
    """Increases with each change."""
    objects: tuple[ManagedObject, ...]


class ManagedStore:
    """The table of managed objects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def version(self) -> int:
        """Return the version of the present state: one row, for pollers."""
        return await self._database.read(_version)

    async def load(self) -> Managed:
        """Return all managed objects.

        Raises:
            StorageError: They could not be read.
        """
        return await self._database.read(load)

    async def validated(self, validate: Callable[[Managed], T]) -> tuple[Managed, T]:
        """Return all managed objects, and ``validate`` of them, run in the thread.

        Raises:
            StorageError: They could not be read; besides, whatever ``validate`` raises.
        """
        return await self._database.read(partial(_validated, validate=validate))

    async def change(
        self,
        edits: Sequence[Edit],
        validate: Callable[[Managed], T],
        entries: Sequence[AuditEntry],
        now: float,
    ) -> tuple[Managed, T]:
        """Apply all ``edits`` or none; return the new state and what was validated.

        Args:
            edits: The wanted states.
            validate: Called in the database's thread with the state that would
                result; an exception of its rolls everything back.
            entries: Appended to the audit trail in the same transaction.
            now: Unix time in seconds.

        Raises:
            VersionMismatch: An object is not at the version that its edit expects.
            StorageError: Nothing was written.
        """
        return await self._database.write(
            partial(change, edits=edits, validate=validate, entries=entries, now=now)
        )


# The following functions run in the database's threads, in a transaction.


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("SELECT version FROM managed_version").fetchone()[
        0
    ]
    return version


def load(connection: sqlite3.Connection) -> Managed:
    """Return all managed objects."""
    rows = connection.execute(
        "SELECT kind, name, spec, version, created_at, updated_at"
        " FROM managed_objects ORDER BY kind, name"
    )
    objects = tuple(
        ManagedObject(
            kind=Kind(kind),
            name=name,
            spec=msgspec.json.decode(spec),
            version=version,
            created_at=created_at,
            updated_at=updated_at,
        )
        for kind, name, spec, version, created_at, updated_at in rows
    )
    return Managed(_version(connection), objects)


def _validated(
    connection: sqlite3.Connection, validate: Callable[[Managed], T]
) -> tuple[Managed, T]:
    state = load(connection)
    return state, validate(state)


def change(
    connection: sqlite3.Connection,
    edits: Sequence[Edit],
    validate: Callable[[Managed], T],
    entries: Sequence[AuditEntry],
    now: float,
) -> tuple[Managed, T]:
    """Apply all ``edits``; return the new state and what was validated."""
    for edit in edits:
        _apply(connection, edit, now)
    connection.execute("UPDATE managed_version SET version = version + 1")
    state = load(connection)
    validated = validate(state)
    for entry in entries:
        audit.append(connection, entry)
    return state, validated


def _apply(connection: sqlite3.Connection, edit: Edit, now: float) -> None:
    found = connection.execute(
        "SELECT version FROM managed_objects WHERE kind = ? AND name = ?",
        (edit.kind, edit.name),
    ).fetchone()
    version: int = found[0] if found else 0
    if edit.expected_version not in (None, version):
        raise VersionMismatch(edit, version)
    if edit.spec is None:
        connection.execute(
            "DELETE FROM managed_objects WHERE kind = ? AND name = ?",
            (edit.kind, edit.name),
        )
        return
    connection.execute(
        "INSERT INTO managed_objects (kind, name, spec, version, created_at,"
        " updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT (kind, name)"
        " DO UPDATE SET spec = ?3, version = ?4, updated_at = ?5",
        # Never a version that an object of this name had before it was deleted.
        (
            edit.kind,
            edit.name,
            msgspec.json.encode(edit.spec).decode(),
            _version(connection) + 1,
            now,
        ),
    )
