"""Past requests: search them, and read the whole story of one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from gandalf.domain.identity import Identity, Permission
from gandalf.domain.prices import Rating
from gandalf.domain.usage import Billed, OtherUsage, TokenUsage, UsageRecord
from gandalf.http.admin.problems import FieldError, InvalidRequest
from gandalf.http.admin.scope import not_found, org_of, sees, team_of
from gandalf.http.admin.table import (
    DEFAULT_LIMIT,
    AdminEndpoint,
    AdminReply,
    AdminRequest,
    Listed,
    PageInfo,
)
from gandalf.http.admin.usage import (
    MAX_ROWS,
    Conditions,
    filters_of,
    range_of,
)
from gandalf.http.admin.usage_rows import request_row, usd
from gandalf.pricing.describe import units
from gandalf.storage.request_search import Found
from gandalf.storage.usage_queries import Filters, Range

# Whoever made a request may see its record: the handlers decide.
_READ = (
    Permission.VIEW_ALL_USAGE,
    Permission.VIEW_OWN_USAGE,
    Permission.USE_MODELS,
)
MAX_TEXT = 200

_decode = msgspec.json.decode


class Records(Protocol):
    """The usage records; ``storage.requests`` has them."""

    async def find(
        self,
        request_id: str,
        *,
        key_id: str | None = None,
        org_id: str | None = None,
        team_id: str | None = None,
    ) -> dict[str, Any] | None:
        """Return the record of a request with its attempts, ready for JSON.

        Of several that a client gave the same id, the latest within the scope.
        """


class Search(Protocol):
    """Finds usage records; ``storage.request_search`` has it."""

    async def search(
        self,
        filters: Filters = ...,
        within: Range | None = None,
        *,
        request_id: str = "",
        error: str = "",
        before: str = "",
        limit: int = 50,
    ) -> Found: ...


class RequestQuery(Conditions, frozen=True, kw_only=True):
    """Conditions of a search."""

    id: str = ""
    """The gateway's id of a request, or the client's ``x-request-id``."""
    error: str = ""
    """Part of the text or the code of the error, or of a failed attempt's reason."""


class RequestEndpoints:
    """Handlers for past requests.

    Args:
        records: Has the record of one request.
        search: Finds records.
    """

    def __init__(self, records: Records, search: Search) -> None:
        self._records = records
        self._search = search

    def endpoints(self) -> Iterator[AdminEndpoint]:
        """Yield the rows of the table."""
        yield AdminEndpoint(
            method="GET",
            path="/requests",
            summary="Search past requests, newest first.",
            handler=self.search,
            permissions=_READ,
            query=RequestQuery,
            reply=Listed,
            description=(
                "Several values of a condition are separated by commas. `error` finds"
                " failed requests by part of their error's text; a page may then hold"
                " fewer rows than `limit`: go on while there is a `pagination.next`,"
                " which is `after` of the next page. Without the permission to view"
                " all usage a caller finds the requests of its own key."
            ),
        )
        yield AdminEndpoint(
            method="GET",
            path="/requests/{id}",
            summary="Return the whole record of one request.",
            handler=self.get,
            permissions=_READ,
            reply=dict[str, Any],
            description=(
                "The id is the answer's `x-request-id`. The record has each attempt"
                " with its decision and times, tokens by class, and the cost with the"
                " unit prices that it was computed by."
            ),
        )

    async def search(self, asked: AdminRequest) -> AdminReply:
        query: RequestQuery = asked.query
        if query.format != "json":
            raise InvalidRequest(
                "format: expected json; `/usage` exports other formats",
                FieldError("format", "expected json"),
            )
        if len(query.error) > MAX_TEXT or len(query.id) > MAX_TEXT:
            name = "error" if len(query.error) > MAX_TEXT else "id"
            raise InvalidRequest(
                f"{name}: expected up to {MAX_TEXT} characters",
                FieldError(name, f"expected up to {MAX_TEXT} characters"),
            )
        limit = query.limit if 0 < query.limit <= MAX_ROWS else DEFAULT_LIMIT
        found = await self._search.search(
            filters_of(query, asked.identity),
            range_of(query),
            request_id=query.id,
            error=query.error,
            before=query.after,
            limit=limit,
        )
        info = PageInfo(offset=0, limit=limit, total=None, next=found.next or None)
        return AdminReply(body=Listed(list(map(_row, found.records)), info))

    async def get(self, asked: AdminRequest) -> AdminReply:
        request_id, identity = asked.path["id"], asked.identity
        record = await self._records.find(request_id, **_scope(identity))
        if record is None or not _may_see(identity, record):
            raise not_found("request", request_id)
        return AdminReply(body=_story(record))


def _scope(identity: Identity) -> dict[str, str | None]:
    if not identity.may(Permission.VIEW_ALL_USAGE):
        return {"key_id": identity.key_id}
    return {"org_id": org_of(identity), "team_id": team_of(identity)}


def _may_see(identity: Identity, record: dict[str, Any]) -> bool:
    if not identity.may(Permission.VIEW_ALL_USAGE):
        return bool(record["key_id"] == identity.key_id)
    return sees(identity, record["org_id"], record["team_id"])


def _row(record: UsageRecord) -> dict[str, Any]:
    row = request_row(record)
    row["error_message"] = record.error_message
    row["targets"] = [attempt.target for attempt in record.attempts]
    return row


# The whole story: the columns of the record, with its JSON values written out.


def _story(record: dict[str, Any]) -> dict[str, Any]:
    story = dict(record)
    for name in ("unread", "tags", "dropped", "approximated"):
        story[name] = _decode(story[name]) if story.get(name) else []
    if other := story.get("other_usage"):
        story["other_usage"] = msgspec.to_builtins(_decode(other, type=OtherUsage))
    if rating := story.get("rating"):
        story["rating"] = _rating(_decode(rating, type=Rating))
    story["cost_usd"] = _usd(story.get("cost_nanousd"))
    story["attempts"] = [_attempt(attempt) for attempt in story.get("attempts", ())]
    return story


def _attempt(attempt: dict[str, Any]) -> dict[str, Any]:
    shown = dict(attempt)
    if billed := shown.get("billed"):
        shown["billed"] = _billed(_decode(billed, type=Billed))
    return shown


def _billed(billed: Billed) -> dict[str, Any]:
    return {
        "tokens": _tokens(billed.tokens),
        "cost_nanousd": billed.cost_nanousd,
        "cost_usd": _usd(billed.cost_nanousd),
        "rating": None if billed.rating is None else _rating(billed.rating),
    }


def _tokens(tokens: TokenUsage) -> dict[str, Any]:
    counts = {name: getattr(tokens, name) for name in tokens.__struct_fields__}
    if tokens.other is not None:
        counts["other"] = msgspec.to_builtins(tokens.other)
    return {name: count for name, count in counts.items() if count is not None}


def _rating(rating: Rating) -> dict[str, Any]:
    return {
        "source": rating.source,
        "variant": rating.variant,
        "usd": units(rating.unit_prices),
    }


def _usd(nanousd: int | None) -> msgspec.Raw | None:
    return None if nanousd is None else usd(nanousd)
