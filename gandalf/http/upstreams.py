"""The connections to every provider of a configuration, kept over reloads."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from functools import cache

import trio

from gandalf.actors.routes import (
    WILDCARD,
    RouteTable,
    Snapshot,
    build_routes,
    targets_of,
    without_unpriced,
)
from gandalf.config import Config
from gandalf.config import Provider as ProviderConfig
from gandalf.http.dial import origin_of, tls_context
from gandalf.http.upstream import Pool
from gandalf.pricing.resolve import price_table
from gandalf.providers import catalogue
from gandalf.providers.base import Provider, RemoteProvider, Upstream
from gandalf.providers.credentials import Keeper
from gandalf.providers.registry import make_provider

CLOSE_IDLE_EVERY = 5.0


def make_snapshot(
    config: Config, former: Snapshot | None = None, keeper: Keeper | None = None
) -> Snapshot:
    """Return ``config`` as what requests go by.

    A provider whose section is what it was in ``former`` keeps its connections.
    ``keeper`` keeps the credentials fresh of those that need it.
    """
    kept = _unchanged(config, former) if former is not None else set()
    # One for all, made if any needs it: it takes 30 ms, and 0.8 MB as long as it lasts.
    tls = cache(tls_context)
    providers: dict[str, Provider] = {}
    upstreams: dict[str, Upstream] = {}
    for section in config.providers:
        if not section.enabled:
            continue
        if former is not None and section.name in kept:
            providers[section.name] = former.providers[section.name]
            upstreams[section.name] = former.upstreams[section.name]
        else:
            provider = providers[section.name] = make_provider(section, keeper)
            upstreams[section.name] = make_upstream(provider, section, tls)
    catalogue.equip(providers, config)
    routes = build_routes(config)
    prices = price_table(
        config,
        targets_of(routes),
        now=time.time(),
        every_model=any(alias.endswith(WILDCARD) for alias in routes),
    )
    routes = {alias: without_unpriced(r, prices) for alias, r in routes.items()}
    return Snapshot(
        config=config,
        routes=routes,
        prices=prices,
        providers=providers,
        upstreams=upstreams,
        version=former.version + 1 if former is not None else 1,
    )


def make_upstream(
    provider: Provider, config: ProviderConfig, tls: Callable[[], ssl.SSLContext]
) -> Upstream:
    """Return the connections to ``provider``; ``tls`` says what they must satisfy."""
    if not isinstance(provider, RemoteProvider):
        assert isinstance(provider, Upstream)  # noqa: S101 - a simulated one is both
        return provider
    if config.transport == "httpx":
        # Imported here: few use it, and it takes 4 MB of every process.
        from gandalf.http.httpx_transport import HttpxUpstream

        return HttpxUpstream(
            provider.base_url,
            max_connections=config.max_connections,
            keepalive_expiry=config.keepalive_expiry,
        )
    return Pool(
        provider.base_url,
        max_connections=config.max_connections,
        keepalive_expiry=config.keepalive_expiry,
        tls=tls() if origin_of(provider.base_url).secure else None,
    )


def credentials_of(snapshot: Snapshot) -> list[object]:
    """Return what the providers of ``snapshot`` prove themselves with."""
    return [getattr(p, "credential", None) for p in snapshot.providers.values()]


def close_unused(former: Snapshot, current: Snapshot) -> None:
    """Close the connections of ``former`` that ``current`` does not share.

    Those in use are closed when their responses are over.
    """
    for name, upstream in former.upstreams.items():
        if current.upstreams.get(name) is not upstream:
            upstream.close()


def _unchanged(config: Config, former: Snapshot) -> set[str]:
    before = {section.name: section for section in former.config.providers}
    return {
        section.name
        for section in config.providers
        if before.get(section.name) == section and section.name in former.upstreams
    }


class IdleCloser:
    """Closes upstream connections that nobody has used for too long.

    A pool does so itself while it is used; this is for those that are not any more.
    """

    name = "idle-closer"

    def __init__(self, routes: RouteTable) -> None:
        self._routes = routes
        self._closed = trio.Event()

    async def run(self) -> None:
        """Look at every pool each ``CLOSE_IDLE_EVERY`` seconds, until closed."""
        while not self._closed.is_set():
            with trio.move_on_after(CLOSE_IDLE_EVERY):
                await self._closed.wait()
            for upstream in self._routes.current.upstreams.values():
                if isinstance(upstream, Pool):
                    upstream.close_expired()

    def close(self) -> None:
        """Look no more. Synchronous, idempotent."""
        self._closed.set()
