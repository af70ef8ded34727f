"""Effective limits of a key and their origins; the page of a key's own holder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from gandalf.actors.ledger import Ledger
from gandalf.actors.limiter import Allowance, LimitState, RateLimiter
from gandalf.actors.routes import RouteTable
from gandalf.domain.budgets import tag_names
from gandalf.domain.identity import Identity, Limits, Permission
from gandalf.http.admin.scope import not_found, sees
from gandalf.http.admin.table import AdminEndpoint, AdminReply, AdminRequest
from gandalf.http.admin.values import rfc3339
from gandalf.http.key_page import budget_view
from gandalf.http.page_access import PREFIX
from gandalf.pipeline.rate_limit import effective_limits

_EVERYBODY = tuple(Permission)


class LimitView(msgspec.Struct, frozen=True, kw_only=True):
    """One limit of one level."""

    limit: int
    remaining: int
    source: str
    """``key``, ``default`` (of the configuration), or the level: ``team:research``."""
    reset_seconds: float | None = None
    """Time until all of it is there again. None for requests in flight."""


class LevelView(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one level; null: no limit at this level."""

    level: str
    """``key``, ``user:ID``, ``team:ID`` or ``org:ID``."""
    requests_per_minute: LimitView | None
    tokens_per_minute: LimitView | None
    concurrent_requests: LimitView | None


class LimitsView(msgspec.Struct, frozen=True, kw_only=True):
    """The limits that apply to a key."""

    key_id: str
    levels: list[LevelView]
    """Nearest first. Each level is enforced separately."""
    requests_per_minute: LimitView | None
    """The tightest of all levels: the one with the least left now. Null: unlimited."""
    tokens_per_minute: LimitView | None
    concurrent_requests: LimitView | None
    allowed_models: list[list[str]]
    """Allow-lists of all levels; a model must be on each of them."""
    allowed_providers: list[list[str]]
    """Likewise."""
    models: list[str]
    """Aliases that the key may use now."""
    budgets: list[dict[str, Any]]
    """What they have spent, reserved and left."""


class SelfView(msgspec.Struct, frozen=True, kw_only=True):
    """What a key's holder may know about it."""

    id: str
    key_prefix: str
    org_id: str
    team_id: str | None
    user_id: str | None
    role: str
    permissions: list[str]
    tags: list[str]
    expires_at: str | None
    limits: LimitsView
    links: dict[str, str]
    """Paths for this key: what it may read of itself."""


class LimitEndpoints:
    """Handlers for effective limits.

    Args:
        find: Returns the identity behind the id of a key.
        limiter: Owner of the rate limits.
        ledger: Owner of the budgets.
        routes: The configuration in force.
    """

    def __init__(
        self,
        find: Callable[[str], Identity | None],
        limiter: RateLimiter,
        ledger: Ledger,
        routes: RouteTable,
    ) -> None:
        self._find = find
        self._limiter = limiter
        self._ledger = ledger
        self._routes = routes

    def endpoints(self) -> Iterator[AdminEndpoint]:
        """Yield the rows of the table."""
        yield AdminEndpoint(
            method="GET",
            path="/keys/{id}/limits",
            summary="Show the limits that apply to a key, their origin and what is left"
            " now.",
            handler=self.limits,
            permissions=(Permission.MANAGE_ALL_KEYS, Permission.MANAGE_OWN_KEYS),
            reply=LimitsView,
            description=(
                "Also of keys that the file declares: their id is `config:NAME`."
            ),
        )
        yield AdminEndpoint(
            method="GET",
            path="/self",
            summary="Show the caller's own key: role, permissions, limits, models.",
            handler=self.myself,
            permissions=_EVERYBODY,
            reply=SelfView,
        )

    async def limits(self, asked: AdminRequest) -> AdminReply:
        key_id, caller = asked.path["id"], asked.identity
        identity = self._find(key_id)
        if identity is None or not _may_see(caller, identity):
            raise not_found("key", key_id)
        return AdminReply(body=self._limits(identity))

    async def myself(self, asked: AdminRequest) -> AdminReply:
        identity = asked.identity
        links = {"key": "/v1/key", "models": "/v1/models"}
        if _may_read_requests(identity):
            links["requests"] = f"{PREFIX}/requests"
        if _may_read_usage(identity):
            links["usage"] = f"{PREFIX}/usage"
            links["usage_summary"] = f"{PREFIX}/usage/summary"
        # A token of an issuer is no key that could be looked up.
        known = self._find(identity.key_id) is not None
        if known and identity.may(Permission.MANAGE_OWN_KEYS):
            links["limits"] = f"{PREFIX}/keys/{identity.key_id}/limits"
        view = SelfView(
            id=identity.key_id,
            key_prefix=identity.key_prefix,
            org_id=identity.org_id,
            team_id=identity.team_id,
            user_id=identity.user_id,
            role=identity.role,
            permissions=[
                (permission.name or "").lower()
                for permission in Permission
                if identity.may(permission)
            ],
            tags=list(tag_names(identity.tags)),
            expires_at=rfc3339(identity.expires_at),
            limits=self._limits(identity),
            links=links,
        )
        return AdminReply(body=view)

    def _limits(self, identity: Identity) -> LimitsView:
        levels = list(self._levels(identity))
        models = (identity.allowed_models, *identity.allow_lists)
        states = self._ledger.states(self._ledger.accounts_of(identity))
        return LimitsView(
            key_id=identity.key_id,
            levels=levels,
            requests_per_minute=_tightest(x.requests_per_minute for x in levels),
            tokens_per_minute=_tightest(x.tokens_per_minute for x in levels),
            concurrent_requests=_tightest(x.concurrent_requests for x in levels),
            allowed_models=[list(names) for names in models if names],
            allowed_providers=[list(names) for names in identity.provider_lists],
            models=self._routes.models_for(identity),
            budgets=[budget_view(state) for state in states],
        )

    def _levels(self, identity: Identity) -> Iterator[LevelView]:
        limits = effective_limits(identity, self._routes.config().rate_limits)
        state = self._limiter.state(identity.key_id, limits)
        own = identity.limits or Limits()
        yield LevelView(
            level="key",
            requests_per_minute=_view(
                state.requests, "default" if own.rpm is None else "key"
            ),
            tokens_per_minute=_view(
                state.tokens, "default" if own.tpm is None else "key"
            ),
            concurrent_requests=self._concurrent(
                identity.key_id, identity.max_concurrent, "key"
            ),
        )
        for level in identity.levels:
            shared: LimitState = self._limiter.state(level.name, level.limits)
            yield LevelView(
                level=level.name,
                requests_per_minute=_view(shared.requests, level.name),
                tokens_per_minute=_view(shared.tokens, level.name),
                concurrent_requests=self._concurrent(
                    level.name, level.max_concurrent, level.name
                ),
            )

    def _concurrent(
        self, name: str, limit: int | None, source: str
    ) -> LimitView | None:
        if limit is None:
            return None
        left = max(0, limit - self._limiter.in_flight(name))
        return LimitView(limit=limit, remaining=left, source=source)


def _may_see(caller: Identity, identity: Identity) -> bool:
    if caller.may(Permission.MANAGE_ALL_KEYS):
        return sees(caller, identity.org_id, identity.team_id)
    return identity.key_id == caller.key_id


def _may_read_requests(identity: Identity) -> bool:
    return identity.may(Permission.VIEW_OWN_USAGE) or identity.may(
        Permission.USE_MODELS
    )


def _may_read_usage(identity: Identity) -> bool:
    return identity.may(Permission.VIEW_OWN_USAGE) or identity.may(
        Permission.VIEW_ALL_USAGE
    )


def _view(allowance: Allowance | None, source: str) -> LimitView | None:
    if allowance is None:
        return None
    return LimitView(
        limit=allowance.limit,
        remaining=allowance.remaining,
        reset_seconds=round(allowance.reset, 3),
        source=source,
    )


def _tightest(limits: Iterator[LimitView | None]) -> LimitView | None:
    present = [limit for limit in limits if limit is not None]
    return min(present, key=lambda each: (each.remaining, each.limit), default=None)
