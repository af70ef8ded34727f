"""Prices of the targets in force, and how each was found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gandalf.actors.routes import RouteTable
from gandalf.domain.identity import Permission
from gandalf.http.admin.scope import is_operator
from gandalf.http.admin.table import (
    AdminEndpoint,
    AdminReply,
    AdminRequest,
    Listed,
    Paging,
    listed,
)
from gandalf.pricing.describe import describe


class PriceQuery(Paging, frozen=True, kw_only=True):
    """Which prices to list."""

    alias: str = ""
    """Only targets of this model name."""
    target: str = ""
    """Only this target: ``provider/model``."""


class PriceEndpoints:
    """Handler for prices."""

    def __init__(self, routes: RouteTable) -> None:
        self._routes = routes

    def endpoints(self) -> Iterator[AdminEndpoint]:
        """Yield the rows of the table."""
        yield AdminEndpoint(
            method="GET",
            path="/prices",
            summary="List the price of each target, and how it was found.",
            handler=self.list_all,
            permissions=(Permission.VIEW_ALL_USAGE,),
            query=PriceQuery,
            reply=Listed,
            description=(
                "Amounts are in USD for a million tokens, or for one of other units."
                " Prices are set in the file only (`prices.overrides`). An organisation"
                " sees the targets of the models that it may use."
            ),
        )

    async def list_all(self, asked: AdminRequest) -> AdminReply:
        query: PriceQuery = asked.query
        offset, limit = query.bounded()
        snapshot, identity = self._routes.current, asked.identity
        aliases: dict[str, list[str]] = {}
        visible = None if is_operator(identity) else self._routes.models_for(identity)
        for alias, route in snapshot.routes.items():
            if visible is not None and alias not in visible:
                continue
            for name in (*(each.name for each in route.targets), *route.unpriced):
                aliases.setdefault(name, []).append(alias)
        found: list[dict[str, Any]] = [
            describe(price) | {"aliases": sorted(aliases[name])}
            for name, price in sorted(snapshot.prices.items())
            if name in aliases
            and query.target in ("", name)
            and (not query.alias or query.alias in aliases[name])
        ]
        return listed(found[offset : offset + limit], offset, limit, len(found))
