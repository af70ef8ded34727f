"""The audit trail: who changed what, and who was refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Protocol

import msgspec

from gandalf.domain.audit import AuditEntry
from gandalf.domain.identity import Permission
from gandalf.domain.ids import new_id
from gandalf.http.admin.scope import org_of
from gandalf.http.admin.table import (
    DEFAULT_LIMIT,
    AdminEndpoint,
    AdminReply,
    AdminRequest,
    Listed,
    PageInfo,
)
from gandalf.http.admin.values import unix
from gandalf.storage.audit import AuditFilter

MAX_ENTRIES = 1000


def entry_of(
    asked: AdminRequest,
    action: str,
    object: str,  # noqa: A002 - the field's name
    *,
    org_id: str = "",
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> AuditEntry:
    """Return the audit entry of a change that ``asked`` asks for.

    Args:
        asked: The request.
        action: Such as ``keys.create``.
        object: Kind and id.
        org_id: Organisation that the object belongs to.
        before: State of the object, without secrets.
        after: State that it will have, without secrets.
    """
    return AuditEntry(
        id=new_id(),
        at=time.time(),
        actor=asked.identity.key_id,
        actor_org=asked.identity.org_id,
        remote=asked.remote,
        request_id=asked.request_id,
        action=action,
        object=object,
        org_id=org_id,
        before=before,
        after=after,
    )


class Trail(Protocol):
    """The entries; ``storage.audit`` has them."""

    async def search(self, wanted: AuditFilter, limit: int) -> list[AuditEntry]: ...


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions of a search."""

    actor: str = ""
    action: str = ""
    """Exact, or a prefix such as ``keys.``."""
    object: str = ""
    since: datetime | None = None
    """Inclusive, RFC 3339."""
    until: datetime | None = None
    """Exclusive."""
    after: str = ""
    """Cursor: the id of the last entry of the page before."""
    limit: int = DEFAULT_LIMIT
    """At most 1,000."""
    format: str = "json"
    """``json``, or ``ndjson`` for one entry a line."""


class AuditTrail:
    """Handler of the audit trail."""

    def __init__(self, trail: Trail) -> None:
        self._trail = trail

    def endpoints(self) -> Iterator[AdminEndpoint]:
        """Yield the rows of the table."""
        yield AdminEndpoint(
            method="GET",
            path="/audit",
            summary="Search the audit trail, newest entries first.",
            handler=self.search,
            permissions=(Permission.MANAGE_ALL_KEYS,),
            query=AuditQuery,
            reply=Listed,
            description=(
                "An organisation's administrator sees the entries about its own"
                " objects. Secrets are fingerprints."
            ),
        )

    async def search(self, asked: AdminRequest) -> AdminReply:
        query: AuditQuery = asked.query
        limit = query.limit if 0 < query.limit <= MAX_ENTRIES else DEFAULT_LIMIT
        wanted = AuditFilter(
            actor=query.actor,
            action=query.action,
            object=query.object,
            org_id=org_of(asked.identity),
            since=unix("since", query.since),
            until=unix("until", query.until),
            before_id=query.after,
        )
        entries = await self._trail.search(wanted, limit)
        if query.format == "ndjson":
            lines = msgspec.json.Encoder().encode_lines(entries)
            return AdminReply(raw=lines, content_type="application/x-ndjson")
        following = entries[-1].id if len(entries) == limit else None
        info = PageInfo(offset=0, limit=limit, total=len(entries), next=following)
        return AdminReply(body=Listed(list(entries), info))
