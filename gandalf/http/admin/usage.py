"""Usage: lists of requests, and sums by bucket and group.

The shapes are the predecessor's with more members: ``usage_rows``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo

import msgspec

from gandalf.domain import histogram
from gandalf.domain.buckets import Period
from gandalf.domain.identity import Identity, Permission
from gandalf.domain.usage import UsageRecord
from gandalf.http.admin.problems import FieldError, InvalidRequest
from gandalf.http.admin.scope import org_of, team_of
from gandalf.http.admin.table import (
    DEFAULT_LIMIT,
    AdminEndpoint,
    AdminReply,
    AdminRequest,
    Listed,
    PageInfo,
)
from gandalf.http.admin.usage_rows import EXPORTS, SumsShape, export, request_row
from gandalf.storage.usage_queries import Filters, Range, Sums
from gandalf.storage.usage_series import DIMENSIONS

MAX_ROWS = 1000
"""Rows of one page."""
MAX_OFFSET = 10_000
"""Rows that a page may begin after without a cursor."""
EXPORT_PAGE = 500
"""Rows of an export that are read and sent at a time."""
MAX_HOURLY = timedelta(days=62)
"""Range of hourly sums: some hundred thousand groups are still made in a second."""

_NOBODY = "\0"
"""What no dimension of a request is."""

# How far back sums go if the request does not say.
_DEFAULT_RANGE = {
    Period.HOURLY: timedelta(days=2),
    Period.DAILY: timedelta(days=31),
    Period.WEEKLY: timedelta(weeks=26),
}


class Queries(Protocol):
    """The questions; ``storage.usage_queries`` answers them."""

    async def sums(
        self,
        filters: Filters = ...,
        within: Range | None = None,
        *,
        period: Period = ...,
        zone: tzinfo = ...,
        group_by: Sequence[str] = (),
        histograms: bool = False,
    ) -> list[Sums]: ...

    async def records(
        self,
        filters: Filters = ...,
        within: Range | None = None,
        *,
        before: str = "",
        limit: int = 50,
    ) -> list[UsageRecord]: ...

    async def count(
        self, filters: Filters = ..., within: Range | None = None
    ) -> int | None: ...


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests are meant. Several values of a field are separated by commas."""

    org_id: str = ""
    team_id: str = ""
    key_id: str = ""
    user_id: str = ""
    alias: str = ""
    provider: str = ""
    model: str = ""
    """The upstream's name for it."""
    operation: str = ""
    end_reason: str = ""
    status: str = ""
    error_code: str = ""
    tag: str = ""
    since: str = ""
    """Inclusive; RFC 3339, or a date in ``tz``."""
    until: str = ""
    """Exclusive."""
    tz: str = "UTC"
    """Time zone, such as ``Europe/Berlin``."""
    limit: int = DEFAULT_LIMIT
    """At most 1,000."""
    after: str = ""
    """Cursor: ``pagination.next`` of the page before."""
    format: str = "json"
    """``json``, ``csv`` or ``ndjson``; the latter two are whole, not paged."""


class RecordsQuery(Conditions, frozen=True, kw_only=True):
    """Conditions of a list of requests."""

    offset: int = 0
    """Rows to skip, at most 10,000; ``after`` has no such limit."""


class SummaryQuery(Conditions, frozen=True, kw_only=True):
    """Conditions of sums."""

    period: Literal["hourly", "daily", "weekly", "monthly", "total"] = "daily"
    group_by: str = "org_id,key_id,model"
    """Dimensions, separated by commas; empty: none."""
    percentiles: bool = False
    """Whether latencies are asked for."""
    limit: int = MAX_ROWS


class UsageEndpoints:
    """Handlers for usage."""

    def __init__(
        self,
        queries: Queries,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._queries = queries
        self._now = now

    def endpoints(self) -> Iterator[AdminEndpoint]:
        """Yield the rows of the table."""
        permissions = (Permission.VIEW_ALL_USAGE, Permission.VIEW_OWN_USAGE)
        yield AdminEndpoint(
            method="GET",
            path="/usage",
            summary="List requests with what they used, newest first.",
            handler=self.requests,
            permissions=permissions,
            query=RecordsQuery,
            reply=Listed,
            description=(
                "`total` counts whole hours, and is absent if `since` or `until` is"
                " within one. Without the permission to view all usage a caller sees"
                " the requests of its own key."
            ),
        )
        yield AdminEndpoint(
            method="GET",
            path="/usage/summary",
            summary="Sum usage up by bucket and group, newest bucket first.",
            handler=self.summary,
            permissions=permissions,
            query=SummaryQuery,
            reply=Listed,
            description=(
                f"`group_by` takes {', '.join(f'`{name}`' for name in DIMENSIONS)}."
                " `since` and `until` are widened to whole hours of UTC; without"
                " `since` the last 2 days are summed up by hour, 31 by day, 26 weeks by"
                " week, and everything by month or in total. Percentiles are within"
                f" {histogram.RELATIVE_ERROR:.0%} of a latency that was observed."
            ),
        )

    async def requests(self, asked: AdminRequest) -> AdminReply:
        query: RecordsQuery = asked.query
        filters, within = filters_of(query, asked.identity), range_of(query)
        _check_format(query.format)
        if query.format != "json":
            return export(query.format, self._pages(filters, within))
        if not 0 <= query.offset <= MAX_OFFSET:
            raise InvalidRequest(
                "offset is too large; use the cursor `pagination.next` as `after`",
                FieldError("offset", f"at most {MAX_OFFSET}"),
            )
        limit = _limit(query.limit, DEFAULT_LIMIT)
        wanted = query.offset + limit
        found = await self._queries.records(
            filters, within, before=query.after, limit=wanted
        )
        page = found[query.offset :]
        info = PageInfo(
            offset=query.offset,
            limit=limit,
            total=await self._queries.count(filters, within),
            next=page[-1].request_id if len(found) == wanted else None,
        )
        return AdminReply(body=Listed([request_row(record) for record in page], info))

    async def summary(self, asked: AdminRequest) -> AdminReply:
        query: SummaryQuery = asked.query
        filters, zone = filters_of(query, asked.identity), _zone(query.tz)
        _check_format(query.format)
        group_by, period = _group_by(query.group_by), Period(query.period)
        sums = await self._queries.sums(
            filters,
            range_of(query, self._default_since(query, period, zone)),
            period=period,
            zone=zone,
            group_by=group_by,
            histograms=query.percentiles,
        )

        shape = SumsShape(period, zone, group_by, query.percentiles)
        if query.format != "json":
            return export(query.format, shape.pages(sums))
        limit = _limit(query.limit, MAX_ROWS)
        start = _start_after(sums, query.after)
        page = sums[start : start + limit]
        following = _cursor(page[-1]) if start + limit < len(sums) else None
        info = PageInfo(offset=start, limit=limit, total=len(sums), next=following)
        rows = [row async for some in shape.pages(page) for row in some]
        return AdminReply(body=Listed(rows, info))

    def _default_since(self, query: SummaryQuery, period: Period, zone: tzinfo) -> str:
        past = _DEFAULT_RANGE.get(period)
        if query.since:
            first = _moment("since", query.since, zone)
            last = _moment("until", query.until, zone) if query.until else self._now()
            if period is Period.HOURLY and last - first > MAX_HOURLY:
                raise InvalidRequest(
                    f"hourly sums are of at most {MAX_HOURLY.days} days",
                    FieldError("since", "too far back; use period=daily"),
                )
            return query.since
        if past is None:
            return ""
        until = _moment("until", query.until, zone) if query.until else self._now()
        return (until - past).isoformat()

    async def _pages(
        self, filters: Filters, within: Range
    ) -> AsyncIterator[list[dict[str, Any]]]:
        before = ""
        while True:
            found = await self._queries.records(
                filters, within, before=before, limit=EXPORT_PAGE
            )
            if found:
                yield [request_row(record) for record in found]
                before = found[-1].request_id
            if len(found) < EXPORT_PAGE:
                return


# Conditions.


def filters_of(query: Conditions, identity: Identity) -> Filters:
    """Return the conditions of ``query`` within the scope of the caller."""
    given: dict[str, Any] = {
        name: tuple(value.split(","))
        for name in Filters.__struct_fields__
        if (value := getattr(query, name))
    }
    if "status" in given:
        given["status"] = _statuses(given["status"])
    for name, own in _confined(identity):
        wanted = given.get(name)
        if wanted is not None and own not in wanted:
            own = _NOBODY
        given[name] = (own,)
    return Filters(**given)


def _confined(identity: Identity) -> Iterator[tuple[str, str]]:
    """Yield the dimensions whose value is not the caller's to choose."""
    if not identity.may(Permission.VIEW_ALL_USAGE):
        yield "key_id", identity.key_id
    elif (org := org_of(identity)) is not None:
        yield "org_id", org
        if (team := team_of(identity)) is not None:
            yield "team_id", team


def _statuses(values: Sequence[str]) -> tuple[int, ...]:
    try:
        return tuple(map(int, values))
    except ValueError:
        raise InvalidRequest(
            "status: expected numbers", FieldError("status", "expected numbers")
        ) from None


def range_of(query: Conditions, since: str | None = None) -> Range:
    """Return the range of time that ``query`` is about."""
    zone = _zone(query.tz)
    given = query.since if since is None else since
    first = _milliseconds(_moment("since", given, zone)) if given else Range().since
    until = query.until
    last = _milliseconds(_moment("until", until, zone)) if until else Range().until
    return Range(first, last)


def _milliseconds(at: datetime) -> int:
    return max(0, round(at.timestamp() * 1000))


def _moment(name: str, text: str, zone: tzinfo) -> datetime:
    # A plus that was not escaped arrives as a blank.
    text = text.strip().replace(" ", "+")
    try:
        if len(text) == len("2026-11-01"):
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=zone)
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at
    except ValueError:
        pass
    raise InvalidRequest(
        f"invalid {name} format, use RFC3339",
        FieldError(name, "such as 2026-11-01T00:00:00Z, or 2026-11-01"),
    )


def _zone(name: str) -> tzinfo:
    if name.upper() in ("UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise InvalidRequest(
            f"unknown time zone {name[:60]!r}",
            FieldError("tz", "expected a name such as Europe/Berlin"),
        ) from None


def _group_by(text: str) -> tuple[str, ...]:
    names = tuple(filter(None, (name.strip() for name in text.split(","))))
    for name in names:
        if name not in DIMENSIONS:
            raise InvalidRequest(
                f"group_by: unknown dimension {name[:60]!r}",
                FieldError("group_by", f"expected some of {', '.join(DIMENSIONS)}"),
            )
    return names


def _check_format(text: str) -> None:
    if text not in ("json", *EXPORTS):
        raise InvalidRequest(
            f"unknown format {text[:60]!r}",
            FieldError("format", "expected json, csv or ndjson"),
        )


def _limit(given: int, default: int) -> int:
    return given if 0 < given <= MAX_ROWS else default


# Cursors of sums: bucket and group of the last row.


def _cursor(sums: Sums) -> str:
    return msgspec.json.encode([sums.bucket, *sums.group]).hex()


def _start_after(sums: Sequence[Sums], cursor: str) -> int:
    """Return the index of the first row after ``cursor``, which may be gone."""
    if not cursor:
        return 0
    try:
        bucket, *group = msgspec.json.decode(bytes.fromhex(cursor), type=list[Any])
        if not isinstance(bucket, int):
            raise ValueError
    except (ValueError, msgspec.DecodeError):
        raise InvalidRequest(
            "after: not a cursor", FieldError("after", "as `pagination.next` has it")
        ) from None
    last = (-bucket, [str(value) for value in group])
    for index, found in enumerate(sums):
        if (-found.bucket, [str(value) for value in found.group]) > last:
            return index
    return len(sums)
