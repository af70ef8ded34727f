"""The audit trail in the database. Rows are appended and never changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial

import msgspec

from gandalf.domain.audit import AuditEntry
from gandalf.storage.database import Database

_FIELDS = AuditEntry.__struct_fields__
_COLUMNS = ", ".join(f'"{name}"' for name in _FIELDS)
_JSON = frozenset({"before", "after"})
_INSERT = (
    f"INSERT INTO audit_log ({_COLUMNS}) VALUES"  # noqa: S608 - constant
    f" ({', '.join('?' * len(_FIELDS))})"
)


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions of a search; None and "" mean any."""

    actor: str = ""
    action: str = ""
    """Exact, or a prefix such as ``keys.``."""
    object: str = ""
    org_id: str | None = None
    since: float | None = None
    """Unix time, inclusive."""
    until: float | None = None
    """Unix time, exclusive."""
    before_id: str = ""
    """Keyset cursor: only entries older than this one."""


class AuditLog:
    """Appends and reads audit entries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, entry: AuditEntry) -> None:
        """Append ``entry`` in a transaction of its own."""
        await self._database.write(partial(append, entry=entry))

    async def search(self, wanted: AuditFilter, limit: int) -> list[AuditEntry]:
        """Return at most ``limit`` matching entries, newest first."""
        return await self._database.read(partial(_search, wanted=wanted, limit=limit))


def append(connection: sqlite3.Connection, entry: AuditEntry) -> None:
    """Append ``entry`` in the transaction of the change that it describes."""
    values: list[object] = []
    for name in _FIELDS:
        value = getattr(entry, name)
        if name in _JSON and value is not None:
            value = msgspec.json.encode(value).decode()
        values.append(value)
    connection.execute(_INSERT, values)


def _search(
    connection: sqlite3.Connection, wanted: AuditFilter, limit: int
) -> list[AuditEntry]:
    conditions, values = _conditions(wanted)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM audit_log{where} ORDER BY id DESC LIMIT ?",  # noqa: S608 - no value
        (*values, limit),
    )
    return [_entry(row) for row in rows]


def _conditions(wanted: AuditFilter) -> tuple[list[str], list[object]]:
    tests: Sequence[tuple[str, object]] = (
        ("actor = ?", wanted.actor or None),
        ("substr(action, 1, length(?)) = ?", wanted.action or None),
        ("object = ?", wanted.object or None),
        ("org_id = ?", wanted.org_id),
        ("at >= ?", wanted.since),
        ("at < ?", wanted.until),
        ("id < ?", wanted.before_id or None),
    )
    conditions: list[str] = []
    values: list[object] = []
    for condition, value in tests:
        if value is not None:
            conditions.append(condition)
            values += [value] * condition.count("?")
    return conditions, values


def _entry(row: tuple[object, ...]) -> AuditEntry:
    fields = dict(zip(_FIELDS, row, strict=True))
    for name in _JSON:
        if (text := fields[name]) is not None:
            fields[name] = msgspec.json.decode(str(text))
    return msgspec.convert(fields, AuditEntry)
