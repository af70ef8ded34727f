"""What is on record about past requests, read for people."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from gandalf.storage.database import Database

Row = dict[str, Any]


class RequestRecords:
    """Reads the usage records and their attempts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self,
        request_id: str,
        *,
        key_id: str | None = None,
        org_id: str | None = None,
        team_id: str | None = None,
    ) -> Row | None:
        """Return the record of a request, its attempts under ``attempts``.

        Args:
            request_id: The record's own id, or what ``x-request-id`` said; of several
                requests that a client gave the same id, the latest is meant.
            key_id: Only requests of this key; None: of all.
            org_id: Only requests of this organisation; likewise.
            team_id: Only requests of this team; likewise.

        Raises:
            StorageError: The database could not be read.
        """
        scope = (key_id, org_id, team_id)
        find = partial(_find, request_id=request_id, scope=scope)
        return await self._database.read(find)

    async def latest(self, limit: int) -> list[Row]:
        """Return the ``limit`` newest records, newest first, without attempts."""
        return await self._database.read(partial(_latest, limit=limit))

    async def of(self, request_ids: Sequence[str]) -> list[Row]:
        """Return the records with these ids, newest first, without attempts."""
        return await self._database.read(partial(_of, request_ids=request_ids))


# What follows runs in a reader's thread.


def _find(
    connection: sqlite3.Connection, request_id: str, scope: tuple[str | None, ...]
) -> Row | None:
    found = _rows(
        connection,
        "SELECT * FROM usage_records WHERE request_id IN (SELECT id FROM requests"
        " WHERE id = ?1 OR client_id = ?1) AND (?2 IS NULL OR key_id = ?2)"
        " AND (?3 IS NULL OR org_id = ?3) AND (?4 IS NULL OR team_id = ?4)"
        " ORDER BY request_id DESC LIMIT 1",
        request_id,
        *scope,
    )
    if not found:
        return None
    attempts = _rows(
        connection,
        "SELECT * FROM attempts WHERE request_id = ? ORDER BY n",
        found[0]["request_id"],
    )
    for attempt in attempts:
        del attempt["request_id"]
    return found[0] | {"attempts": attempts}


def _latest(connection: sqlite3.Connection, limit: int) -> list[Row]:
    return _rows(
        connection,
        "SELECT * FROM usage_records ORDER BY request_id DESC LIMIT ?",
        limit,
    )


def _of(connection: sqlite3.Connection, request_ids: Sequence[str]) -> list[Row]:
    return _rows(
        connection,
        "SELECT * FROM usage_records WHERE request_id IN"
        " (SELECT value FROM json_each(?)) ORDER BY request_id DESC",
        msgspec.json.encode(request_ids).decode(),
    )


def _rows(connection: sqlite3.Connection, query: str, *values: object) -> list[Row]:
    cursor = connection.execute(query, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
