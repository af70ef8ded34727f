"""Which models there are and where requests for them may go: one immutable snapshot.

A reload builds a new snapshot and swaps it in at once. A request reads the table when
its target is chosen and keeps what it found, so it never sees half of each.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from gandalf.config import Config
from gandalf.config import Provider as ProviderConfig
from gandalf.config import Route as RouteConfig
from gandalf.domain.identity import Identity
from gandalf.domain.model import Model
from gandalf.domain.routing import Route, Target
from gandalf.pricing.table import PriceTable
from gandalf.providers.base import Provider, Upstream

log = logging.getLogger("gandalf.routes")

WILDCARD = "*"
"""End of an alias that stands for all names with the same beginning."""
MAX_MATCHED = 1000
"""Names that wildcards are matched with until the next reload. Each has breakers,
prices and metrics of its own, and clients make the names up."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that a request's way depends on, of one version of the configuration.

    ``routes`` usually comes from ``build_routes(config)``.
    """

    config: Config
    routes: Mapping[str, Route]
    """By alias."""
    providers: Mapping[str, Provider]
    """By instance name."""
    upstreams: Mapping[str, Upstream]
    """The providers' connections, by the same names."""
    prices: PriceTable = field(default_factory=PriceTable)
    """What each target of the routes costs, by the target's name."""
    version: int
    """Counts the swaps; the metric ``config_version`` shows it."""


class RouteTable:
    """Owns the current snapshot. Synchronous: who asks sees one version."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._wildcards = _wildcards(snapshot.routes)
        self._matched: dict[str, Route] = {}
        """Routes that wildcards have made, by the alias that was asked for."""

    @property
    def current(self) -> Snapshot:
        """The snapshot in force."""
        return self._snapshot

    def config(self) -> Config:
        """Return the configuration in force: what stages take as ``current``."""
        return self._snapshot.config

    def find(self, alias: str) -> Route | None:
        """Return the route that clients call ``alias``, if there is one."""
        route = self._snapshot.routes.get(alias)
        if not self._wildcards:
            return route
        if route is None or alias.endswith(WILDCARD):
            return self._matched.get(alias) or self._match(alias)
        return route

    def _match(self, alias: str) -> Route | None:
        """Return the route of the longest wildcard that ``alias`` matches."""
        if len(self._matched) >= MAX_MATCHED or not _NAME.fullmatch(alias):
            return None
        for prefix, route in self._wildcards:
            if alias.startswith(prefix):
                made = self._matched[alias] = self._made(route, alias)
                return made
        return None

    def _made(self, route: Route, alias: str) -> Route:
        prices = self._snapshot.prices
        targets = tuple(
            msgspec.structs.replace(target, model=alias)
            if target.model in (WILDCARD, route.alias)
            else target
            for target in route.targets
        )
        for target in targets:
            prices.learn(target)
        made = msgspec.structs.replace(route, alias=alias, targets=targets)
        return without_unpriced(made, prices)

    def models_for(self, identity: Identity) -> list[str]:
        """Return the aliases that ``identity`` may use, sorted."""
        return sorted(
            alias
            for alias, route in self._snapshot.routes.items()
            if route.targets
            and not alias.endswith(WILDCARD)
            and identity.may_use(alias)
        )

    def describe(self, alias: str) -> Model:
        """Return what is known of the model behind ``alias``, under that name.

        Of several targets the first one speaks for all.
        """
        route = self.find(alias)
        if route is None or not route.targets:
            return Model(name=alias)
        target = route.targets[0]
        provider = self._snapshot.providers.get(target.provider)
        if provider is None:
            return Model(name=alias)
        return msgspec.structs.replace(provider.model(target.model), name=alias)

    def target_names(self) -> set[str]:
        """Return the names of all targets of all routes."""
        return {target.name for target in targets_of(self._snapshot.routes)}

    def swap(self, snapshot: Snapshot) -> Snapshot:
        """Put ``snapshot`` in force and return the former one.

        The caller closes those of its upstreams that the new one does not share;
        exchanges under way keep what they hold.
        """
        former, self._snapshot = self._snapshot, snapshot
        self._wildcards = _wildcards(snapshot.routes)
        self._matched = {}
        return former


def _wildcards(routes: Mapping[str, Route]) -> list[tuple[str, Route]]:
    """Return the routes whose alias ends in a wildcard, the longest prefix first."""
    found = [
        (alias.removesuffix(WILDCARD), route)
        for alias, route in routes.items()
        if alias.endswith(WILDCARD)
    ]
    return sorted(found, key=_prefix_length, reverse=True)


def _prefix_length(wildcard: tuple[str, Route]) -> int:
    return len(wildcard[0])


def targets_of(routes: Mapping[str, Route]) -> Iterator[Target]:
    """Yield the targets of all ``routes``; one that several share comes repeatedly."""
    for route in routes.values():
        yield from route.targets


def build_routes(config: Config) -> dict[str, Route]:
    """Return the routes of ``config`` by alias.

    These are the configured ones, and for each other model that enabled providers
    list in ``models`` one of that name, over all the providers that list it. Targets
    at disabled providers are left out; a route may end up with none.
    """
    enabled = {p.name: p for p in config.providers if p.enabled}
    routes = {
        route.model_alias: _route(
            route.model_alias,
            _configured(route, enabled),
            route.cache_ttl_s,
            enabled,
            strict=route.strict,
            fallback_on=route.fallback_on,
            reserve_output_tokens=route.reserve_output_tokens,
        )
        for route in config.routes
    }
    for model, targets in _listed(enabled.values()).items():
        if model not in routes:
            routes[model] = _route(model, targets, 0, enabled)
    return routes


def without_unpriced(route: Route, prices: PriceTable) -> Route:
    """Return ``route`` without targets whose unknown price forbids to use them."""
    unpriced = tuple(
        target.name
        for target in route.targets
        if (price := prices.get(target.name))
        and price.refuse
        and not price.known
        and not target.model.endswith(WILDCARD)
    )
    if not unpriced:
        return route
    left = tuple(target for target in route.targets if target.name not in unpriced)
    log.warning(
        "the route %s goes without %s: no price is known",
        route.alias,
        ", ".join(unpriced),
    )
    return msgspec.structs.replace(route, targets=left, unpriced=unpriced)


def _configured(
    route: RouteConfig, enabled: Mapping[str, ProviderConfig]
) -> list[Target]:
    return [
        Target(
            provider=target.provider,
            model=target.model,
            priority=target.priority,
            weight=target.weight,
        )
        for target in route.targets
        if target.provider in enabled
    ]


def _listed(providers: Iterable[ProviderConfig]) -> dict[str, list[Target]]:
    listed: dict[str, list[Target]] = {}
    for provider in providers:
        # A model listed twice is still one target.
        for model in dict.fromkeys(provider.models):
            target = Target(
                provider=provider.name,
                model=model,
                priority=provider.priority,
                weight=provider.weight,
            )
            listed.setdefault(model, []).append(target)
    return listed


def _route(
    alias: str,
    targets: list[Target],
    cache_ttl_s: int,
    providers: Mapping[str, ProviderConfig],
    *,
    strict: bool = False,
    fallback_on: tuple[str, ...] = (),
    reserve_output_tokens: int | None = None,
) -> Route:
    route = Route(
        strict=strict,
        fallback_on=fallback_on,
        reserve_output_tokens=reserve_output_tokens,
        alias=alias,
        targets=tuple(sorted(targets, key=lambda target: target.priority)),
        cache_ttl=float(cache_ttl_s) if cache_ttl_s else None,
    )
    return msgspec.structs.replace(route, version=_version(route, providers))


def _version(route: Route, providers: Mapping[str, ProviderConfig]) -> str:
    # A provider moved elsewhere may answer differently under the same names.
    places = [
        (p.type, p.base_url, p.hosting, p.region, p.project, p.api_version)
        for p in (providers[target.provider] for target in route.targets)
    ]
    content = msgspec.json.encode((route, places), order="deterministic")
    return hashlib.sha256(content).hexdigest()[:12]
