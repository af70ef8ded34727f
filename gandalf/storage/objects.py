"""What upstreams keep for clients: whose it is, and which provider has it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial

import msgspec

from gandalf.domain.objects import ProviderObject
from gandalf.storage.database import Database

Name = tuple[str, str]
"""Organisation and id."""

# Deleted in one transaction: some 20 ms, in which nobody else can write.
PRUNED_AT_ONCE = 2000

# The upstream's words: what no JSON function can read must not spoil the list.
_SAYS = "CASE WHEN json_valid(shown) THEN json_extract(shown, '$.{}') END"
_COLUMNS = ", ".join(ProviderObject.__struct_fields__)


class ObjectPage(msgspec.Struct, frozen=True):
    """A part of a list."""

    objects: list[ProviderObject]
    more: bool
    """Whether there are others after them."""


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of which list."""

    org_id: str
    kind: str
    """``file`` or ``batch``."""
    limit: int
    after: str = ""
    """Id of the object after which the part begins. Empty: at the beginning."""
    oldest_first: bool = False
    purpose: str = ""
    """Only files that say that they are for this."""
    now: float = 0.0
    """Unix time; what has expired by then is left out."""


class ObjectStore:
    """The table of objects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, org_id: str, object_id: str) -> ProviderObject | None:
        """Return the object that ``org_id`` knows by this id, if there is one.

        Raises:
            StorageError: It could not be read.
        """
        return await self._database.read(partial(_find, name=(org_id, object_id)))

    async def page(self, query: PageQuery) -> ObjectPage | None:
        """Return a part of a list; None if there is nothing called ``after``.

        Raises:
            StorageError: It could not be read.
        """
        return await self._database.read(partial(_page, query=query))

    async def write(
        self, kept: Sequence[ProviderObject], deleted: Sequence[Name]
    ) -> None:
        """Insert or update ``kept``, delete ``deleted``.

        An object that is there already keeps its key and its time, and its
        description unless there is a new one.

        Raises:
            StorageError: Nothing was written.
        """
        await self._database.write(partial(_write, kept=kept, deleted=deleted))

    async def prune(self, before: float) -> int:
        """Forget some responses that are older than the Unix time ``before``.

        Returns:
            How many: ``PRUNED_AT_ONCE`` if there are more.
        """
        return await self._database.write(partial(_prune, before=before))


# What follows runs in the database's threads, in a transaction.


def _find(connection: sqlite3.Connection, name: Name) -> ProviderObject | None:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM provider_objects"  # noqa: S608 - constant
        " WHERE org_id = ? AND id = ?",
        name,
    ).fetchone()
    return None if row is None else _object(row)


def _page(connection: sqlite3.Connection, query: PageQuery) -> ObjectPage | None:
    place: tuple[float, str] | None = None
    if query.after:
        found = _find(connection, (query.org_id, query.after))
        if found is None or found.kind != query.kind:
            return None
        place = (found.created_at, found.id)
    beyond, order = (">", "ASC") if query.oldest_first else ("<", "DESC")
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM provider_objects"  # noqa: S608 - constants
        " WHERE org_id = ?1 AND kind = ?2 AND kind <> 'response'"
        f" AND (?3 IS NULL OR (created_at, id) {beyond} (?3, ?4))"
        f" AND (?5 = '' OR {_SAYS.format('purpose')} = ?5)"
        f" AND coalesce({_SAYS.format('expires_at')}, ?6) >= ?6"
        f" ORDER BY created_at {order}, id {order} LIMIT ?7",
        (
            query.org_id,
            query.kind,
            *(place or (None, None)),
            query.purpose,
            # A batch that has expired is still there, and says so.
            query.now if query.kind == "file" else 0,
            query.limit + 1,
        ),
    ).fetchall()
    objects = [_object(row) for row in rows[: query.limit]]
    return ObjectPage(objects, len(rows) > query.limit)


def _write(
    connection: sqlite3.Connection,
    kept: Sequence[ProviderObject],
    deleted: Sequence[Name],
) -> None:
    # One statement, so that the interpreter's lock is not taken once a row.
    rows = [[getattr(one, name) for name in one.__struct_fields__] for one in kept]
    connection.execute(
        f"INSERT INTO provider_objects ({_COLUMNS})"  # noqa: S608 - constant
        f" SELECT {_FROM_JSON} FROM json_each(?) WHERE true"
        " ON CONFLICT (org_id, id) DO UPDATE SET kind = excluded.kind,"
        " provider = excluded.provider, usage_due = excluded.usage_due,"
        " shown = CASE WHEN excluded.shown = '' THEN shown ELSE excluded.shown END",
        (msgspec.json.encode(rows).decode(),),
    )
    connection.execute(
        "DELETE FROM provider_objects WHERE (org_id, id) IN (SELECT"
        " json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))",
        (msgspec.json.encode(list(deleted)).decode(),),
    )


_FROM_JSON = ", ".join(
    f"json_extract(value, '$[{n}]')"
    for n in range(len(ProviderObject.__struct_fields__))
)


def _prune(connection: sqlite3.Connection, before: float) -> int:
    return connection.execute(
        "DELETE FROM provider_objects WHERE (org_id, id) IN (SELECT org_id, id FROM"
        " provider_objects WHERE kind = 'response' AND created_at < ? LIMIT ?)",
        (before, PRUNED_AT_ONCE),
    ).rowcount


def _object(row: tuple[object, ...]) -> ProviderObject:
    fields = dict(zip(ProviderObject.__struct_fields__, row, strict=True))
    return msgspec.convert(fields, ProviderObject, strict=False)
