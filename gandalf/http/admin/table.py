"""An endpoint of the admin API as data.

Routing, permissions, the OpenAPI document, the reference pages and the command line are
made from these rows; there is no other list of endpoints.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gandalf.domain.identity import Identity, Permission

EVERYTHING = Permission(255)
"""A permission that only the role ``admin`` has."""

DEFAULT_LIMIT = 50
MAX_LIMIT = 100
MAX_OFFSET = 2**31
"""More than any list has; the database counts up to 2**63."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminRequest:
    """A request to one endpoint, decoded and authorised."""

    identity: Identity
    path: dict[str, str]
    """Values of the path's placeholders."""
    query: Any
    """An instance of the endpoint's ``query`` type; None if it has none."""
    body: Any
    """An instance of the endpoint's ``body`` type; None if it has none."""
    if_match: str | None
    """The entity tag that the object must have, without quotes; None: any."""
    request_id: str
    remote: str
    """Network address of the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminReply:
    """The answer of a handler."""

    body: Any = None
    """Encoded as JSON; None: no body (204)."""
    etag: str = ""
    """Entity tag of the object in ``body``, without quotes."""
    location: str = ""
    """Path of the object that was made (201)."""
    raw: bytes | None = None
    """Body of another media type than JSON."""
    content_type: str = "application/json"
    stream: AsyncIterator[bytes] | None = None
    """Body that is sent piece by piece, as it is made."""


Handler = Callable[[AdminRequest], Awaitable[AdminReply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminEndpoint:
    """One row of the table."""

    method: str
    path: str
    """Below ``/admin/v1``, with placeholders: ``/keys/{id}``."""
    summary: str
    """One imperative sentence."""
    handler: Handler
    permissions: tuple[Permission, ...]
    """The caller needs one of these."""
    body: type[Any] | None = None
    query: type[msgspec.Struct] | None = None
    reply: Any = None
    """Type of the body of a successful answer; None: 204 without a body."""
    status: int = 200
    description: str = ""
    """Further sentences for the reference."""
    example: Any = None
    """A request body."""
    tag: str = field(default="")
    """Section of the reference; empty: the first element of the path."""

    @property
    def operation_id(self) -> str:
        """Name of the operation, unique: ``keys.create``."""
        return f"{self.section}.{self.handler.__name__}"

    @property
    def section(self) -> str:
        """First element of the path."""
        return self.path.split("/")[1]


class Paging(msgspec.Struct, frozen=True, kw_only=True):
    """Position in a list."""

    offset: int = 0
    limit: int = DEFAULT_LIMIT

    def bounded(self) -> tuple[int, int]:
        """Return offset and limit within bounds, as the predecessor corrected them."""
        limit = self.limit if 0 < self.limit <= MAX_LIMIT else DEFAULT_LIMIT
        return min(max(0, self.offset), MAX_OFFSET), limit


class PageInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Position of the items of a list in the whole of it."""

    offset: int = msgspec.field(name="offset")
    limit: int
    total: int | None = None
    """Absent where counting would take too long."""
    next: str | None = None
    """Cursor of the next page, for ``?after=``; absent on the last one."""


class Listed(msgspec.Struct, frozen=True):
    """The envelope of a list."""

    data: list[Any]
    pagination: PageInfo


def listed(items: list[Any], offset: int, limit: int, total: int) -> AdminReply:
    """Return the reply for a page of a list."""
    info = PageInfo(offset=offset, limit=limit, total=total)
    return AdminReply(body=Listed(items, info))
