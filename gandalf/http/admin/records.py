"""Past requests: one record with its attempts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from gandalf.domain.identity import Permission
from gandalf.http.admin.scope import not_found, sees
from gandalf.http.admin.table import AdminEndpoint, AdminReply, AdminRequest


class Records(Protocol):
    """The usage records; ``storage.requests`` has them."""

    async def find(self, request_id: str) -> dict[str, Any] | None:
        """Return the record of a request with its attempts, ready for JSON."""


class RequestEndpoints:
    """Handlers for past requests."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def endpoints(self) -> Iterator[AdminEndpoint]:
        """Yield the rows of the table."""
        yield AdminEndpoint(
            method="GET",
            path="/requests/{id}",
            summary="Return the record of one request, with its attempts.",
            handler=self.get,
            # Whoever made a request may see its record: the handler decides.
            permissions=(
                Permission.VIEW_ALL_USAGE,
                Permission.VIEW_OWN_USAGE,
                Permission.USE_MODELS,
            ),
            reply=dict[str, Any],
            description="The id is the answer's `x-request-id`.",
        )

    async def get(self, asked: AdminRequest) -> AdminReply:
        request_id, identity = asked.path["id"], asked.identity
        record = await self._records.find(request_id)
        if record is not None:
            own = record["key_id"] == identity.key_id
            others = identity.may(Permission.VIEW_ALL_USAGE) and sees(
                identity, record["org_id"], record["team_id"]
            )
            if own or others:
                return AdminReply(body=record)
        raise not_found("request", request_id)
