"""Aliases, routes and the targets behind them."""

from __future__ import annotations

import msgspec


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A model at a provider: one place that a route can send a request to."""

    provider: str
    """Instance name of the provider, e.g. ``openai-eu``."""
    model: str
    """What that provider calls the model."""
    priority: int = 0
    """Lower is tried first."""
    weight: int = 1
    """Share of the traffic among targets of the same priority."""

    @property
    def name(self) -> str:
        """``provider/model``: the label in headers, records, metrics and logs."""
        return f"{self.provider}/{self.model}"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The model name that clients ask for, and where such requests may go."""

    alias: str
    targets: tuple[Target, ...]
    cache_ttl: float | None = None
    """Seconds an answer stays in the response cache. None means the default."""
    strict: bool = False
    """Whether a request is refused rather than lose any of it in translation."""
    fallback_on: tuple[str, ...] = ()
    """Refusals (``Refusal`` values) after which the next target is tried."""
    unpriced: tuple[str, ...] = ()
    """Names of targets that are left out because their price is not known, and their
    provider's ``on_unknown_price`` is ``refuse``."""
    reserve_output_tokens: int | None = None
    """Output tokens to reserve for a request that does not limit its own. None: the
    model's output limit."""
    version: str = ""
    """Changes whenever the route does, so that no stale answer is replayed."""
