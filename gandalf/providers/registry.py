"""From configuration to provider: the one place that lists the types there are.

A row for each pair of type and hosting in ``gandalf.config.hostings``. Providers are
imported when one of them is configured: what a cloud needs costs those without it
nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from gandalf.config import Provider as ProviderConfig
from gandalf.config import auth_type, hosting_of, provider_type
from gandalf.config.presets import PRESETS
from gandalf.dialects import openai
from gandalf.providers.base import Provider, RemoteProvider, api_key_of
from gandalf.providers.credentials import (
    AwsKeys,
    Credential,
    Fixed,
    Keeper,
    Token,
)
from gandalf.providers.openai import OpenAI
from gandalf.providers.presets import Preset


class Row(NamedTuple):
    """How a type at a hosting is made."""

    make: Callable[[ProviderConfig, Any], Provider]
    """Of its section, and what to prove itself with unless that is an API key."""
    catalogue_id: str = ""
    """What the model catalogue calls it."""


def make_provider(config: ProviderConfig, keeper: Keeper | None = None) -> Provider:
    """Return the provider that ``config`` describes; it has been checked.

    Args:
        config: Its section.
        keeper: Keeps its credentials fresh, if they must be.
    """
    row = ROWS[provider_type(config), hosting_of(config)]
    provider = row.make(with_total(config), credential_of(config, keeper))
    if isinstance(provider, RemoteProvider):
        provider.catalogue_id = row.catalogue_id
    return provider


def with_total(config: ProviderConfig) -> ProviderConfig:
    """Return ``config`` with ``timeout_ms``, the older setting, as a total limit."""
    if not config.timeout_ms or config.timeouts.total is not None:
        return config
    timeouts = msgspec.structs.replace(config.timeouts, total=config.timeout_ms / 1000)
    return msgspec.structs.replace(config, timeouts=timeouts)


# What to prove oneself with.


def credential_of(
    config: ProviderConfig, keeper: Keeper | None = None
) -> Credential[Any] | None:
    """Return what the provider of ``config`` proves itself with besides its API key."""
    kind, auth = auth_type(config), config.auth
    if kind == "api_key" or _has_key(config):
        return None
    if kind == "bearer":
        return Fixed(Token(api_key_of(config)))
    if kind == "aws_sigv4" and auth.secret_access_key is not None:
        session = auth.session_token
        return Fixed(
            AwsKeys(
                auth.access_key_id,
                auth.secret_access_key.reveal(),
                session.reveal() if session is not None else None,
            )
        )
    if keeper is None:
        raise ValueError(f"nobody keeps the credentials of {config.name}")
    return keeper.keep(config.name, (kind, auth), _fetcher(config))


def _has_key(config: ProviderConfig) -> bool:
    """Whether the provider itself sends a key as a bearer token."""
    if auth_type(config) == "bearer":
        return hosting_of(config) in ("", "bedrock")
    # AWS's own way to say it, which counts where nothing else is said.
    return bool(
        hosting_of(config) == "bedrock"
        and not config.auth.type
        and os.environ.get("AWS_BEARER_TOKEN_BEDROCK")
    )


def _fetcher(config: ProviderConfig) -> Callable[[], Any]:
    kind, auth = auth_type(config), config.auth
    if kind == "aws_sigv4":
        from gandalf.providers import credentials_aws

        return partial(credentials_aws.fetch, auth.profile)
    if kind == "gcp_oauth":
        from gandalf.providers import credentials_google

        return partial(credentials_google.fetch, auth.credentials_file)
    from gandalf.providers import credentials_azure

    if kind == "entra":
        return partial(credentials_azure.fetch_entra, auth)
    return partial(credentials_azure.fetch_managed_identity, auth, os.environ)


# The providers.


def _openai(config: ProviderConfig, _: Credential[Any] | None) -> Provider:
    return OpenAI(config)


def _preset(config: ProviderConfig, _: Credential[Any] | None) -> Provider:
    return Preset(config)


def _simulated(config: ProviderConfig, _: Credential[Any] | None) -> Provider:
    from gandalf.providers.simulated import Simulated

    return Simulated(config)


def _azure(config: ProviderConfig, credential: Credential[Any] | None) -> Provider:
    from gandalf.providers.azure import Azure

    return Azure(config, credential)


def _anthropic(config: ProviderConfig, _: Credential[Any] | None) -> Provider:
    from gandalf.providers.anthropic import Anthropic

    return Anthropic(config)


def _gemini(config: ProviderConfig, _: Credential[Any] | None) -> Provider:
    from gandalf.providers.gemini import Gemini

    return Gemini(config)


def _ollama(config: ProviderConfig, _: Credential[Any] | None) -> Provider:
    from gandalf.providers.ollama import Ollama

    return Ollama(config)


def _vertex_openai(config: ProviderConfig, credential: Credential[Any]) -> Provider:
    from gandalf.providers.vertex import Vertex, speak_openai

    return Vertex(config, credential, openai, speak_openai)


def _vertex_anthropic(config: ProviderConfig, credential: Credential[Any]) -> Provider:
    from gandalf.dialects import anthropic
    from gandalf.providers.vertex import Vertex, speak_anthropic

    return Vertex(config, credential, anthropic, speak_anthropic)


def _vertex_gemini(config: ProviderConfig, credential: Credential[Any]) -> Provider:
    from gandalf.dialects import gemini
    from gandalf.providers.gemini import action_of
    from gandalf.providers.vertex import Vertex, speak_gemini

    return Vertex(config, credential, gemini, speak_gemini(action_of))


def _bedrock(config: ProviderConfig, credential: Credential[Any] | None) -> Provider:
    from gandalf.providers.bedrock import BedrockConverse

    return BedrockConverse(config, credential)


def _bedrock_anthropic(
    config: ProviderConfig, credential: Credential[Any] | None
) -> Provider:
    from gandalf.dialects import anthropic
    from gandalf.providers.bedrock import BedrockAnthropic

    return BedrockAnthropic(config, credential, anthropic)


ROWS: dict[tuple[str, str], Row] = {
    ("openai", ""): Row(_openai, "openai"),
    ("openai", "azure"): Row(_azure, "azure"),
    ("openai", "vertex"): Row(_vertex_openai, "google-vertex"),
    ("anthropic", ""): Row(_anthropic, "anthropic"),
    ("anthropic", "vertex"): Row(_vertex_anthropic, "google-vertex"),
    ("anthropic", "bedrock"): Row(_bedrock_anthropic, "amazon-bedrock"),
    ("gemini", ""): Row(_gemini, "google"),
    ("gemini", "vertex"): Row(_vertex_gemini, "google-vertex"),
    # The models that Ollama itself hosts are those that anybody can run with it.
    ("ollama", ""): Row(_ollama, "ollama-cloud"),
    ("bedrock", "bedrock"): Row(_bedrock, "amazon-bedrock"),
    ("simulated", ""): Row(_simulated),
    **{(n, ""): Row(_preset, preset.catalogue_id) for n, preset in PRESETS.items()},
}
