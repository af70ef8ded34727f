"""All endpoints of the admin API, in the order of the reference."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from gandalf.actors.breakers import Breakers
from gandalf.actors.ledger import Ledger
from gandalf.actors.limiter import RateLimiter
from gandalf.actors.routes import RouteTable
from gandalf.config import Config
from gandalf.domain.audit import AuditEntry
from gandalf.domain.identity import Permission
from gandalf.domain.managed import Kind
from gandalf.domain.tenants import TenantKind
from gandalf.http.admin import openapi, reference
from gandalf.http.admin.apply import ApplyEndpoints, Reconciler
from gandalf.http.admin.audit import AuditTrail, Trail
from gandalf.http.admin.breakers import BreakerEndpoints
from gandalf.http.admin.budgets import BudgetEndpoints, Raises
from gandalf.http.admin.budgets import Keys as KnownKeys
from gandalf.http.admin.configuration import ConfigObjects, Configuration
from gandalf.http.admin.keys import Keys, Store
from gandalf.http.admin.limits import LimitEndpoints
from gandalf.http.admin.prices import PriceEndpoints
from gandalf.http.admin.probe import Journal, ProviderTest
from gandalf.http.admin.records import Records, RequestEndpoints, Search
from gandalf.http.admin.runtime import Runtime, RuntimeEndpoints
from gandalf.http.admin.secrets import Secrets
from gandalf.http.admin.table import AdminEndpoint, AdminReply, AdminRequest
from gandalf.http.admin.tenants import Store as TenantStore
from gandalf.http.admin.tenants import TenantEndpoints
from gandalf.http.admin.usage import Queries, UsageEndpoints
from gandalf.http.page_access import PREFIX

_TENANTS: dict[TenantKind, dict[str, Any]] = {
    TenantKind.ORGANIZATION: {"id": "acme", "name": "Acme", "tpm_limit": 1_000_000},
    TenantKind.TEAM: {"id": "research", "org_id": "acme", "rpm_limit": 600},
    TenantKind.USER: {
        "id": "ada@acme.example",
        "org_id": "acme",
        "team_id": "research",
    },
}
_EVERYBODY = tuple(permission for permission in Permission)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The owners that the handlers ask."""

    config: Configuration
    state: Reconciler
    current: Callable[[], Config]
    version: Callable[[], int]
    config_path: str
    keys: Store
    tenants: TenantStore
    refresh_keys: Callable[[], Awaitable[None]]
    cut: Callable[[str], int]
    records: Records
    search: Search
    usage: Queries
    trail: Trail
    append_audit: Callable[[AuditEntry], Awaitable[None]]
    runtime: Runtime
    known_keys: KnownKeys
    raises: Raises
    load_raises: Callable[[], Awaitable[None]]
    breakers: Breakers
    limiter: RateLimiter
    ledger: Ledger
    journal: Journal
    routes: RouteTable
    secrets: Secrets


def endpoints(parts: Parts) -> tuple[AdminEndpoint, ...]:
    """Return the whole table."""
    rows = tuple(_rows(parts))
    return (*rows, *_descriptions(rows))


def described() -> tuple[AdminEndpoint, ...]:
    """Return the table for descriptions; its handlers cannot be called."""
    nothing: Any = None
    return endpoints(Parts(**dict.fromkeys(Parts.__dataclass_fields__, nothing)))


def _rows(parts: Parts) -> Iterator[AdminEndpoint]:
    def objects(kind: Kind, noun: str, permission: Permission) -> ConfigObjects:
        return ConfigObjects(
            kind,
            noun,
            permission,
            parts.config,
            parts.current,
            parts.config_path,
            parts.secrets,
        )

    yield from objects(
        Kind.PROVIDER, "provider", Permission.MANAGE_PROVIDERS
    ).endpoints({"name": "openai", "type": "openai", "api_key": "${OPENAI_API_KEY}"})
    yield from ProviderTest(
        parts.routes, parts.journal, parts.ledger, parts.append_audit
    ).endpoints()
    yield from objects(Kind.ROUTE, "route", Permission.MANAGE_ROUTES).endpoints(
        {
            "model_alias": "fast",
            "targets": [{"provider": "openai", "model": "gpt-5-mini"}],
        }
    )
    yield from BudgetEndpoints(
        parts.config,
        parts.current,
        parts.config_path,
        parts.secrets,
        parts.ledger,
        parts.known_keys,
        parts.raises,
        parts.load_raises,
    ).endpoints()
    yield from PriceEndpoints(parts.routes).endpoints()
    for kind, example in _TENANTS.items():
        yield from TenantEndpoints(kind, parts.tenants, parts.refresh_keys).endpoints(
            example
        )
    yield from Keys(parts.keys, parts.refresh_keys, parts.cut).endpoints()
    yield from LimitEndpoints(
        lambda key_id: parts.known_keys.find(key_id),
        parts.limiter,
        parts.ledger,
        parts.routes,
    ).endpoints()
    yield from ApplyEndpoints(
        parts.state, parts.refresh_keys, parts.config_path, parts.secrets
    ).endpoints()
    yield from RequestEndpoints(parts.records, parts.search).endpoints()
    yield from UsageEndpoints(parts.usage).endpoints()
    yield from AuditTrail(parts.trail).endpoints()
    yield from BreakerEndpoints(
        parts.breakers, lambda: parts.routes.target_names(), parts.append_audit
    ).endpoints()
    yield from RuntimeEndpoints(
        parts.runtime,
        lambda: (parts.current(), parts.version()),
        lambda: merged.origins if (merged := parts.config.merged) else {},
        parts.append_audit,
    ).endpoints()


def _descriptions(rows: tuple[AdminEndpoint, ...]) -> Iterator[AdminEndpoint]:
    async def openapi_json(_: AdminRequest) -> AdminReply:
        return AdminReply(raw=msgspec.json.encode(openapi.document(rows, PREFIX)))

    async def docs(_: AdminRequest) -> AdminReply:
        return AdminReply(
            raw=reference.page(rows, PREFIX), content_type="text/html; charset=utf-8"
        )

    for path, handler, summary in (
        ("/openapi.json", openapi_json, "Describe this API as OpenAPI 3.1."),
        ("/docs", docs, "Describe this API as a page."),
    ):
        yield AdminEndpoint(
            method="GET",
            path=path,
            summary=summary,
            handler=handler,
            permissions=_EVERYBODY,
            reply=dict[str, Any],
        )
