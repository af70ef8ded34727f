"""From configuration to provider: the one place that lists the types there are."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gandalf.config import Provider as ProviderConfig
from gandalf.providers.base import Provider
from gandalf.providers.openai import OpenAI
from gandalf.providers.simulated import Simulated

PROVIDER_TYPES: dict[str, Callable[[ProviderConfig], Provider]] = {
    "openai": OpenAI,
    "simulated": Simulated,
}


def make_provider(config: ProviderConfig) -> Provider:
    """Return the provider that ``config`` describes; its type is known to be one."""
    return PROVIDER_TYPES[config.type or config.name](with_total(config))


def with_total(config: ProviderConfig) -> ProviderConfig:
    """Return ``config`` with ``timeout_ms``, the older setting, as a total limit."""
    if not config.timeout_ms or config.timeouts.total is not None:
        return config
    timeouts = msgspec.structs.replace(config.timeouts, total=config.timeout_ms / 1000)
    return msgspec.structs.replace(config, timeouts=timeouts)
