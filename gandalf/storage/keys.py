"""API keys in the database. Only their hashes are there; a key is shown when made.

Nothing here is on a request's way: the gateway holds all keys in memory
(``gandalf.actors.key_table``) and reads from here what has changed.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection
from functools import partial

import msgspec

from gandalf.domain.audit import AuditEntry
from gandalf.domain.identity import Identity, Role
from gandalf.domain.keys import StoredKey
from gandalf.domain.tenants import Tenants, identity_of
from gandalf.storage import audit, tenants
from gandalf.storage.database import Database

log = logging.getLogger("gandalf.storage")

_COLUMNS = (
    "id, key_hash, key_prefix, name, user_id, team_id, org_id, role, allowed_models,"
    " rpm_limit, tpm_limit, max_concurrent, allowed_providers, tags, metadata,"
    " max_budget_nanousd, expires_at, blocked, revoked, blocked_at, created_at,"
    " last_used_at"
)

_JSON_FIELDS = ("allowed_models", "allowed_providers", "tags", "metadata")


class KeyChanges(msgspec.Struct, frozen=True):
    """What has happened to the keys since some version."""

    version: int
    identities: dict[str, Identity]
    """By hash: the keys made or changed since, revoked ones included."""
    total: int
    """How many keys there are now, changed or not."""
    tenants: Tenants
    """All of them, changed or not."""


class KeyCount(msgspec.Struct, frozen=True):
    """How many keys there are."""

    total: int
    usable: int
    """Neither revoked nor expired."""


class KeyFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions of a list of keys; None means any."""

    org_id: str | None = None
    team_id: str | None = None
    key_id: str | None = None


class KeyStore:
    """The table of keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def changes_since(self, version: int) -> KeyChanges | None:
        """Return what has changed since ``version``, or None if nothing has.

        Since version 0 is everything. A version may be lower than one returned
        before, if the database was restored from a copy.

        Raises:
            StorageError: It could not be read.
        """
        return await self._database.read(partial(_changes_since, version=version))

    async def count(self, now: float) -> KeyCount:
        """Return how many keys there are at the Unix time ``now``."""
        return await self._database.read(partial(_count, now=now))

    async def all(self) -> list[StoredKey]:
        """Return every key, oldest first."""
        return await self._database.read(load)

    async def page(
        self, wanted: KeyFilter, offset: int, limit: int
    ) -> tuple[list[StoredKey], int]:
        """Return a page of the matching keys, newest first, and how many match."""
        return await self._database.read(
            partial(_page, wanted=wanted, offset=offset, limit=limit)
        )

    async def find(self, key_id: str) -> StoredKey | None:
        """Return the key ``key_id``."""
        return await self._database.read(partial(_find, key_id=key_id))

    async def create(
        self, key: StoredKey, entry: AuditEntry, replaced: StoredKey | None = None
    ) -> None:
        """Add ``key`` and the audit entry that says so, in one transaction.

        Args:
            key: The new key.
            entry: Its audit entry.
            replaced: The key that it replaces, with the end of its validity.

        Raises:
            NoSuchParent: Its team is not one of its organisation.
        """
        await self._database.write(
            partial(_create, key=key, entry=entry, replaced=replaced)
        )

    async def update(self, key: StoredKey, entry: AuditEntry) -> bool:
        """Write what may change of ``key``, and the audit entry.

        Returns:
            Whether there is such a key.
        """
        return await self._database.write(partial(_update, key=key, entry=entry))

    async def insert(self, key: StoredKey) -> bool:
        """Add ``key``, and its organization if that is new.

        Returns:
            Whether the organization is new.
        """
        return await self._database.write(partial(_insert, key=key))

    async def insert_first(self, key: StoredKey) -> bool:
        """Add ``key`` if there is no other, revoked ones included; tell whether."""
        return await self._database.write(partial(_insert_first, key=key))

    async def revoke(self, key_id: str) -> bool:
        """Block the key ``key_id`` for good; tell whether there is such a key."""
        return await self._database.write(partial(_revoke, key_id=key_id))

    async def note_used(self, key_ids: Collection[str], now: float) -> None:
        """Remember that these keys have been used by the Unix time ``now``."""
        await self._database.write(partial(_note_used, key_ids=key_ids, now=now))


# What follows runs in the database's threads, in a transaction.


def _changes_since(connection: sqlite3.Connection, version: int) -> KeyChanges | None:
    current: int = _one(connection, "SELECT version FROM key_version")
    if current == version:
        return None
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM api_keys WHERE version > ?",  # noqa: S608 - constant
        (version if version < current else 0,),
    )
    known = tenants.load(connection)
    identities = {
        key.key_hash: identity_of(key, known) for key in map(_stored_key, rows)
    }
    total: int = _one(connection, "SELECT count(*) FROM api_keys")
    return KeyChanges(current, identities, total, known)


def _count(connection: sqlite3.Connection, now: float) -> KeyCount:
    row = connection.execute(
        "SELECT count(*), count(*) FILTER"
        " (WHERE NOT blocked AND (expires_at IS NULL OR expires_at > ?))"
        " FROM api_keys",
        (now,),
    ).fetchone()
    return KeyCount(*row)


def load(connection: sqlite3.Connection) -> list[StoredKey]:
    """Return every key, oldest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM api_keys ORDER BY created_at, id"  # noqa: S608 - constant
    )
    return [_stored_key(row) for row in rows]


def _page(
    connection: sqlite3.Connection, wanted: KeyFilter, offset: int, limit: int
) -> tuple[list[StoredKey], int]:
    fields = {"org_id": wanted.org_id, "team_id": wanted.team_id, "id": wanted.key_id}
    given = {name: value for name, value in fields.items() if value is not None}
    where = f" WHERE {' AND '.join(f'{name} = ?' for name in given)}" if given else ""
    values = tuple(given.values())
    total: int = connection.execute(
        f"SELECT count(*) FROM api_keys{where}",  # noqa: S608 - no value
        values,
    ).fetchone()[0]
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM api_keys{where}"  # noqa: S608 - no value
        " ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?",
        (*values, limit, offset),
    )
    return [_stored_key(row) for row in rows], total


def _find(connection: sqlite3.Connection, key_id: str) -> StoredKey | None:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM api_keys WHERE id = ?",  # noqa: S608 - constant
        (key_id,),
    ).fetchone()
    return None if row is None else _stored_key(row)


def insert(connection: sqlite3.Connection, key: StoredKey) -> None:
    """Add ``key``, and its organisation if that is new.

    Raises:
        NoSuchParent: Its team is not one of its organisation.
    """
    if (
        key.team_id is not None
        and not connection.execute(
            "SELECT 1 FROM teams WHERE id = ? AND org_id = ?", (key.team_id, key.org_id)
        ).fetchone()
    ):
        raise tenants.NoSuchParent(f"the organization has no team {key.team_id!r}")
    _insert(connection, key)


def _create(
    connection: sqlite3.Connection,
    key: StoredKey,
    entry: AuditEntry,
    replaced: StoredKey | None,
) -> None:
    insert(connection, key)
    if replaced is not None:
        connection.execute(
            "UPDATE api_keys SET expires_at = ? WHERE id = ?",
            (replaced.expires_at, replaced.key_id),
        )
    audit.append(connection, entry)


def update(connection: sqlite3.Connection, key: StoredKey) -> bool:
    """Write what may change of ``key``; return whether there is such a key."""
    updated = connection.execute(
        "UPDATE api_keys SET name = ?, role = ?, allowed_models = ?, rpm_limit = ?,"
        " tpm_limit = ?, max_concurrent = ?, allowed_providers = ?, tags = ?,"
        " metadata = ?, max_budget_nanousd = ?, expires_at = ?, blocked = ?,"
        " revoked = ? WHERE id = ?",
        (
            key.name,
            key.role.value,
            _json(key.allowed_models),
            key.rpm_limit,
            key.tpm_limit,
            key.max_concurrent,
            _json(key.allowed_providers),
            _json(key.tags),
            _json(key.metadata),
            key.max_budget_nanousd,
            key.expires_at,
            key.blocked,
            key.revoked,
            key.key_id,
        ),
    ).rowcount
    return updated == 1


def _update(connection: sqlite3.Connection, key: StoredKey, entry: AuditEntry) -> bool:
    updated = update(connection, key)
    if updated:
        audit.append(connection, entry)
    return updated


def _insert(connection: sqlite3.Connection, key: StoredKey) -> bool:
    added = connection.execute(
        "INSERT INTO organizations (id, name, created_at) VALUES (?, ?, ?)"
        " ON CONFLICT (id) DO NOTHING",
        (key.org_id, key.org_id, key.created_at),
    ).rowcount
    connection.execute(
        f"INSERT INTO api_keys ({_COLUMNS})"  # noqa: S608 - constant
        f" VALUES ({', '.join('?' * len(StoredKey.__struct_fields__))})",
        (
            key.key_id,
            key.key_hash,
            key.key_prefix,
            key.name,
            key.user_id,
            key.team_id,
            key.org_id,
            key.role.value,
            _json(key.allowed_models),
            key.rpm_limit,
            key.tpm_limit,
            key.max_concurrent,
            _json(key.allowed_providers),
            _json(key.tags),
            _json(key.metadata),
            key.max_budget_nanousd,
            key.expires_at,
            key.blocked,
            key.revoked,
            key.blocked_at,
            key.created_at,
            key.last_used_at,
        ),
    )
    return added == 1


def _insert_first(connection: sqlite3.Connection, key: StoredKey) -> bool:
    if _one(connection, "SELECT count(*) FROM api_keys"):
        return False
    _insert(connection, key)
    return True


def _revoke(connection: sqlite3.Connection, key_id: str) -> bool:
    update = "UPDATE api_keys SET blocked = 1, revoked = 1 WHERE id = ?"
    return connection.execute(update, (key_id,)).rowcount == 1


def _note_used(
    connection: sqlite3.Connection, key_ids: Collection[str], now: float
) -> None:
    # One statement, so that the interpreter's lock is not taken once a key.
    connection.execute(
        "UPDATE api_keys SET last_used_at = ?"
        " WHERE id IN (SELECT value FROM json_each(?))",
        (now, msgspec.json.encode(list(key_ids)).decode()),
    )


def _stored_key(row: tuple[object, ...]) -> StoredKey:
    fields = dict(zip(StoredKey.__struct_fields__, row, strict=True))
    try:
        for name in _JSON_FIELDS:
            fields[name] = msgspec.json.decode(str(fields[name]))
        for flag in ("blocked", "revoked"):
            fields[flag] = bool(fields[flag])
        return msgspec.convert(fields, StoredKey)
    except msgspec.MsgspecError as error:
        # Written by other hands. Whatever was meant, nobody gets in by it.
        log.error("key %s in the database is not valid: %s", fields["key_id"], error)
        return StoredKey(
            key_id=str(fields["key_id"]),
            key_hash=str(fields["key_hash"]),
            key_prefix=str(fields["key_prefix"]),
            role=Role.VIEWER,
            blocked=True,
            created_at=0.0,
        )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _one(connection: sqlite3.Connection, query: str) -> int:
    value: int = connection.execute(query).fetchone()[0]
    return value
