"""Which dialect can be had at which cloud, and how the gateway proves itself there.

The one table behind the checks, the reference and the registry of providers, which has
a factory for each of its rows.
"""

from __future__ import annotations

from gandalf.config.presets import PRESETS
from gandalf.config.settings import Provider

_KEY = ("api_key", "bearer")
_AZURE = ("api_key", "bearer", "entra", "managed_identity")
_VERTEX = ("gcp_oauth", "bearer")
_BEDROCK = ("aws_sigv4", "bearer")

AUTHS: dict[tuple[str, str], tuple[str, ...]] = {
    ("openai", ""): _KEY,
    ("openai", "azure"): _AZURE,
    ("openai", "vertex"): _VERTEX,
    ("anthropic", ""): ("api_key",),
    ("anthropic", "vertex"): _VERTEX,
    ("anthropic", "bedrock"): _BEDROCK,
    ("gemini", ""): ("api_key",),
    ("gemini", "vertex"): _VERTEX,
    ("ollama", ""): ("api_key",),
    ("bedrock", "bedrock"): _BEDROCK,
    ("simulated", ""): ("api_key",),
    **{(name, ""): _KEY for name in PRESETS},
}
"""The values of ``auth.type`` by type and hosting; what is implied comes first."""

TYPES: dict[str, tuple[str, ...]] = {}
"""The hostings that can carry each type. "" is the provider itself."""
for _type, _hosting in AUTHS:
    TYPES[_type] = (*TYPES.get(_type, ()), _hosting)


def provider_type(provider: Provider) -> str:
    """Return the type of ``provider``: what it says, or else its name."""
    return provider.type or provider.name


def hosting_of(provider: Provider) -> str:
    """Return the hosting of ``provider``: what it says, or what its type implies."""
    if provider_type(provider) == "bedrock":
        return provider.hosting or "bedrock"
    return provider.hosting


def auth_type(provider: Provider) -> str:
    """Return how ``provider`` proves itself: what it says, or what that implies.

    A key for a provider at Bedrock can only be one of Bedrock's API keys.
    """
    if provider.auth.type:
        return provider.auth.type
    hosting = hosting_of(provider)
    if hosting == "bedrock" and (provider.auth.api_key or provider.api_key):
        return "bearer"
    return AUTHS[provider_type(provider), hosting][0]
