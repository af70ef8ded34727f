"""Search among past requests, by id and by the text of their error."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from gandalf.domain.usage import UsageRecord
from gandalf.storage.database import Database
from gandalf.storage.usage_queries import (
    EVERYTHING,
    Filters,
    Range,
    id_bounds,
    ids_of,
    newest,
    newest_of,
    read_records,
    series_of_filters,
)

PAGE = 500
"""Failed requests whose text is looked through at a time."""

MAX_EXAMINED = 20_000
"""Failed requests whose text is looked through by one search."""

_encode = msgspec.json.Encoder().encode


class Found(NamedTuple):
    """A page of a search."""

    records: list[UsageRecord]
    next: str
    """Cursor of the next page; empty if there is none."""


class RequestSearch:
    """Searches the usage records."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def search(
        self,
        filters: Filters = EVERYTHING,
        within: Range | None = None,
        *,
        request_id: str = "",
        error: str = "",
        before: str = "",
        limit: int = 50,
    ) -> Found:
        """Return a page of the matching records, newest first.

        Args:
            filters: Which requests.
            within: When they arrived. None: ever.
            request_id: The record's own id or the client's ``x-request-id``.
            error: Part of the error's text, code or attempts; case is ignored in ASCII.
                Only failed requests have one. A page may then hold fewer records than
                ``limit`` although there is a next one: one search looks through
                ``MAX_EXAMINED`` of them.
            before: Cursor of the page before. Empty: the first page.
            limit: Records of a page.

        Raises:
            StorageError: The database could not be read.
        """
        ask = partial(
            _search,
            filters=filters,
            within=within or Range(),
            request_id=request_id,
            error=error,
            before=before,
            limit=limit,
        )
        return await self._database.read(ask)


# What follows runs in a reader's thread.


def _search(
    connection: sqlite3.Connection,
    filters: Filters,
    within: Range,
    request_id: str,
    error: str,
    before: str,
    limit: int,
) -> Found:
    low, high = id_bounds(within, before)
    if filters == EVERYTHING and not (request_id or error):
        return _page(connection, newest(connection, low, high, limit), limit)
    series = series_of_filters(connection, filters, within, failed=bool(error))
    if request_id:
        found = _named(connection, request_id, series, low, high)
        if error:
            found = _with_text(connection, found, error)
        return _page(connection, found[:limit], limit)
    if not error:
        found = newest_of(connection, series, low, high, limit)
        return _page(connection, found, limit)
    return _search_text(connection, series, (low, high), error, limit)


def _page(connection: sqlite3.Connection, found: list[str], limit: int) -> Found:
    following = found[-1] if len(found) == limit else ""
    return Found(read_records(connection, found), following)


def _named(
    connection: sqlite3.Connection,
    request_id: str,
    series: Sequence[int],
    low: str,
    high: str,
) -> list[str]:
    return ids_of(
        connection,
        "SELECT id FROM requests WHERE (id = ?1 OR client_id = ?1) AND id >= ?2"
        " AND id < ?3 AND series IN (SELECT value FROM json_each(?4))"
        " ORDER BY id DESC LIMIT 1000",
        (request_id, low, high, _encode(series).decode()),
    )


def _search_text(
    connection: sqlite3.Connection,
    series: Sequence[int],
    bounds: tuple[str, str],
    error: str,
    limit: int,
) -> Found:
    low, high = bounds
    found: list[str] = []
    for _ in range(0, MAX_EXAMINED, PAGE):
        page = newest_of(connection, series, low, high, PAGE)
        found += _with_text(connection, page, error)
        if len(found) >= limit:
            return _page(connection, found[:limit], limit)
        if len(page) < PAGE:
            return Found(read_records(connection, found), "")
        high = page[-1]
    return Found(read_records(connection, found), high)


def _with_text(
    connection: sqlite3.Connection, among: Sequence[str], error: str
) -> list[str]:
    return ids_of(
        connection,
        "SELECT id FROM requests WHERE id IN (SELECT value FROM json_each(?1))"
        " AND instr(lower(json_extract(record, '$[15]') || ' '"
        " || coalesce(json_extract(record, '$[24]'), '') || ' '"
        " || coalesce(json_extract(record, '$[23]'), '')), lower(?2))"
        " ORDER BY id DESC",
        (_encode(among).decode(), error),
    )
