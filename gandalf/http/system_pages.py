"""The pages that every deployment asks for every few seconds: health and metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gandalf import config
from gandalf.domain.errors import NotFound
from gandalf.domain.identity import Permission
from gandalf.http.page import Asked, Page, View
from gandalf.http.page_access import Keys, identify


class Health(Protocol):
    """Who knows whether requests should be sent here."""

    @property
    def ready(self) -> bool: ...

    @property
    def degraded(self) -> str:
        """What is not as it should be, though requests are served; or empty."""


class PageMetrics(Protocol):
    """Who counts the pages served, and renders all metrics."""

    def observe_page(
        self, method: str, path: str, status: int, duration: float
    ) -> None: ...

    async def scrape(self) -> bytes: ...


class SystemPages:
    """The pages, and what they need.

    Args:
        keys: Knows who may read the metrics.
        health: Knows how the gateway is.
        metrics: Counts the pages, and renders all metrics.
        current: Returns the present configuration.
    """

    def __init__(
        self,
        *,
        keys: Keys,
        health: Health,
        metrics: PageMetrics,
        current: Callable[[], config.Config],
    ) -> None:
        self._keys = keys
        self._health = health
        self._metrics = metrics
        self._current = current
        self.views: dict[str, View] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._scrape,
        }
        """By path. They answer GET, and raise GatewayError."""

    def observe(self, method: str, path: str, status: int, duration: float) -> None:
        """Count a page, these or others, that was answered."""
        self._metrics.observe_page(method, path, status, duration)

    async def _healthz(self, _: Asked) -> Page:
        return Page(200, b"text/plain", b"ok")

    async def _readyz(self, _: Asked) -> Page:
        headers = []
        if degraded := self._health.degraded:
            headers.append((b"x-gandalf-degraded", degraded.encode()))
        if self._health.ready:
            return Page(200, b"text/plain", b"ok", headers)
        return Page(503, b"text/plain", b"not ready", headers)

    async def _scrape(self, asked: Asked) -> Page:
        settings = self._current().telemetry.metrics
        if not settings.enabled:
            raise NotFound("metrics are disabled")
        if not settings.public:
            identify(self._keys, *asked, (Permission.VIEW_ALL_USAGE,))
        body = await self._metrics.scrape()
        return Page(200, b"text/plain; version=0.0.4; charset=utf-8", body)
