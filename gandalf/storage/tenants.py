"""Organisations, teams and users in the database: three tables of one shape."""

from __future__ import annotations

import sqlite3
from functools import partial

import msgspec

from gandalf.domain.audit import AuditEntry
from gandalf.domain.tenants import Tenant, TenantKind, Tenants
from gandalf.storage import audit
from gandalf.storage.database import Database

_JSON = frozenset({"allowed_models", "allowed_providers", "tags", "metadata"})
# Organisations have no org_id, and only users have a team_id.
_FIELDS: dict[TenantKind, tuple[str, ...]] = {
    kind: tuple(
        name
        for name in Tenant.__struct_fields__
        if name != "kind"
        and not (name == "org_id" and kind is TenantKind.ORGANIZATION)
        and not (name == "team_id" and kind is not TenantKind.USER)
    )
    for kind in TenantKind
}


class TenantInUse(Exception):
    """A tenant cannot be deleted while keys, users or teams belong to it."""


class TenantExists(Exception):
    """There is a tenant of this kind and id already."""


class NoSuchParent(Exception):
    """The organisation or team that a tenant belongs to does not exist."""


class TenantStore:
    """The tables of tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        kind: TenantKind,
        offset: int,
        limit: int,
        *,
        org_id: str | None = None,
        id: str | None = None,  # noqa: A002 - the field's name
    ) -> tuple[list[Tenant], int]:
        """Return a page of tenants by id, and how many match.

        Args:
            kind: Which table.
            offset: Rows to skip.
            limit: Rows to return.
            org_id: Only those of this organisation.
            id: Only this one.
        """
        return await self._database.read(
            partial(_page, kind=kind, offset=offset, limit=limit, org_id=org_id, id=id)
        )

    async def find(self, kind: TenantKind, tenant_id: str) -> Tenant | None:
        """Return the tenant ``tenant_id``."""
        return await self._database.read(partial(_find, kind=kind, id=tenant_id))

    async def insert(self, tenant: Tenant, entry: AuditEntry) -> None:
        """Add ``tenant`` and the audit entry that says so.

        Raises:
            TenantExists: There is one of this kind and id.
            NoSuchParent: Its organisation or team does not exist.
        """
        await self._database.write(partial(_insert_audited, tenant=tenant, entry=entry))

    async def update(self, tenant: Tenant, entry: AuditEntry) -> bool:
        """Write ``tenant`` and the audit entry; return whether it exists."""
        return await self._database.write(
            partial(_update_audited, tenant=tenant, entry=entry)
        )

    async def delete(self, kind: TenantKind, tenant_id: str, entry: AuditEntry) -> bool:
        """Delete a tenant; return whether it existed.

        Raises:
            TenantInUse: Keys, users or teams belong to it.
        """
        return await self._database.write(
            partial(_delete_audited, kind=kind, id=tenant_id, entry=entry)
        )


# The following functions run in the database's threads, in a transaction.


def load(connection: sqlite3.Connection) -> Tenants:
    """Return all tenants."""
    return Tenants(
        {
            (kind, tenant.id): tenant
            for kind in TenantKind
            for tenant in _select(connection, kind, "", ())
        }
    )


def _page(
    connection: sqlite3.Connection,
    kind: TenantKind,
    offset: int,
    limit: int,
    org_id: str | None,
    id: str | None,  # noqa: A002
) -> tuple[list[Tenant], int]:
    org = "id" if kind is TenantKind.ORGANIZATION else "org_id"
    given = [(c, v) for c, v in ((org, org_id), ("id", id)) if v is not None]
    where = f" WHERE {' AND '.join(f'{c} = ?' for c, _ in given)}" if given else ""
    values = tuple(value for _, value in given)
    total: int = connection.execute(
        f"SELECT count(*) FROM {kind}{where}",  # noqa: S608 - no value
        values,
    ).fetchone()[0]
    page = f"{where} ORDER BY id LIMIT ? OFFSET ?"
    return _select(connection, kind, page, (*values, limit, offset)), total


def _find(
    connection: sqlite3.Connection,
    kind: TenantKind,
    id: str,  # noqa: A002
) -> Tenant | None:
    found = _select(connection, kind, " WHERE id = ?", (id,))
    return found[0] if found else None


def insert(connection: sqlite3.Connection, tenant: Tenant) -> None:
    """Add ``tenant``.

    Raises:
        TenantExists: There is one of this kind and id.
        NoSuchParent: Its organisation or team does not exist.
    """
    fields = _FIELDS[tenant.kind]
    _check_parents(connection, tenant)
    try:
        connection.execute(
            f"INSERT INTO {tenant.kind} ({', '.join(fields)})"  # noqa: S608 - no value
            f" VALUES ({', '.join('?' * len(fields))})",
            _values(tenant),
        )
    except sqlite3.IntegrityError as error:
        raise TenantExists(tenant.id) from error


def _insert_audited(
    connection: sqlite3.Connection, tenant: Tenant, entry: AuditEntry
) -> None:
    insert(connection, tenant)
    audit.append(connection, entry)


def update(connection: sqlite3.Connection, tenant: Tenant) -> bool:
    """Write ``tenant``; return whether it exists.

    Raises:
        NoSuchParent: Its organisation or team does not exist.
    """
    _check_parents(connection, tenant)
    fields = _FIELDS[tenant.kind]
    updated = connection.execute(
        f"UPDATE {tenant.kind} SET {', '.join(f'{f} = ?' for f in fields)}"  # noqa: S608
        " WHERE id = ?",
        (*_values(tenant), tenant.id),
    ).rowcount
    return updated == 1


def _update_audited(
    connection: sqlite3.Connection, tenant: Tenant, entry: AuditEntry
) -> bool:
    updated = update(connection, tenant)
    if updated:
        audit.append(connection, entry)
    return updated


def delete(
    connection: sqlite3.Connection,
    kind: TenantKind,
    id: str,  # noqa: A002
) -> bool:
    """Delete a tenant; return whether it existed.

    Raises:
        TenantInUse: Keys, users or teams belong to it.
    """
    if (
        kind is TenantKind.USER
        and connection.execute(
            "SELECT 1 FROM api_keys WHERE user_id = ? AND NOT blocked LIMIT 1", (id,)
        ).fetchone()
    ):
        # Not a foreign key: keys may name users that are not in the table.
        raise TenantInUse(id)
    try:
        deleted = connection.execute(
            f"DELETE FROM {kind} WHERE id = ?",  # noqa: S608 - no value
            (id,),
        ).rowcount
    except sqlite3.IntegrityError as error:
        raise TenantInUse(id) from error
    if deleted:
        connection.execute("UPDATE key_version SET version = version + 1")
    return deleted == 1


def _delete_audited(
    connection: sqlite3.Connection,
    kind: TenantKind,
    id: str,  # noqa: A002
    entry: AuditEntry,
) -> bool:
    deleted = delete(connection, kind, id)
    if deleted:
        audit.append(connection, entry)
    return deleted


def _check_parents(connection: sqlite3.Connection, tenant: Tenant) -> None:
    if tenant.kind is TenantKind.ORGANIZATION:
        return
    if _find(connection, TenantKind.ORGANIZATION, tenant.org_id) is None:
        raise NoSuchParent(f"there is no organization {tenant.org_id!r}")
    if tenant.team_id is not None:
        team = _find(connection, TenantKind.TEAM, tenant.team_id)
        if team is None or team.org_id != tenant.org_id:
            raise NoSuchParent(
                f"there is no team {tenant.team_id!r} in its organization"
            )


def _values(tenant: Tenant) -> tuple[object, ...]:
    return tuple(
        msgspec.json.encode(value).decode() if name in _JSON else value
        for name in _FIELDS[tenant.kind]
        for value in (getattr(tenant, name),)
    )


def _select(
    connection: sqlite3.Connection,
    kind: TenantKind,
    rest: str,
    values: tuple[object, ...],
) -> list[Tenant]:
    fields = _FIELDS[kind]
    rows = connection.execute(
        f"SELECT {', '.join(fields)} FROM {kind}{rest}",  # noqa: S608 - no value
        values,
    )
    return [_tenant(kind, dict(zip(fields, row, strict=True))) for row in rows]


def _tenant(kind: TenantKind, row: dict[str, object]) -> Tenant:
    for name in _JSON:
        row[name] = msgspec.json.decode(str(row[name]))
    row["blocked"] = bool(row["blocked"])
    row.setdefault("org_id", row["id"])
    return msgspec.convert({"kind": kind, **row}, Tenant)
