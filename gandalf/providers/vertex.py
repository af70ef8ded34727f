"""Vertex AI: Google's models, Anthropic's, and its OpenAI-compatible endpoint.

    {host}/v1/projects/{project}/locations/{region}/...
        publishers/google/models/{model}:{generateContent, ...}
        publishers/anthropic/models/{model}:{rawPredict, streamRawPredict}
        endpoints/openapi/chat/completions

A region has a host of its own; ``global``, and the multi-regions ``us`` and ``eu``,
have theirs. Anthropic's requests have no model in the body, for it is in the path, and
their version is a member of the body; all other bytes are the client's. What Anthropic
has in header fields (``anthropic-beta``) stays in them.

Sources:
https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations
https://docs.anthropic.com/en/api/claude-on-vertex-ai and the official SDK of Anthropic
https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/count-tokens
https://cloud.google.com/vertex-ai/generative-ai/docs/migrate/openai/overview
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from gandalf.config import Provider as ProviderConfig
from gandalf.dialects.base import UpstreamDialect
from gandalf.dialects.json_object import Governed, Span, splice
from gandalf.domain.errors import BadRequest, Fault, UpstreamUnavailable
from gandalf.providers.base import Ask, RemoteProvider, UpstreamRequest
from gandalf.providers.body import member, without
from gandalf.providers.credentials import Credential, Token
from gandalf.providers.fields import parse, render
from gandalf.providers.openai import PATHS as OPENAI_PATHS

ANTHROPIC_VERSION = b"vertex-2023-10-16"

# By https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations.
_MULTI_REGIONS = ("us", "eu")

_NOT_HERE = (b":batchEmbedContents",)
"""What only Google's other API has."""

_GOVERNED = Governed("model", "anthropic_version")


class Spoken(NamedTuple):
    """What a dialect's request looks like at Vertex."""

    path: bytes
    """Below the location; with the query, if there is one."""
    body: bytes


Speak = Callable[[Ask], Spoken | None]
"""Returns None if there is no such operation."""


class Vertex(RemoteProvider):
    """One project in one region.

    Args:
        config: Its section.
        credential: For the tokens.
        dialect: What is spoken there.
        speak: How it is spoken there.
    """

    def __init__(
        self,
        config: ProviderConfig,
        credential: Credential[Token],
        dialect: UpstreamDialect,
        speak: Speak,
    ) -> None:
        base_url = config.base_url.rstrip("/").removesuffix("/v1")
        config = msgspec.structs.replace(config, base_url=base_url)
        super().__init__(config, host_of(config.region), dialect)
        # What Google's own front says is in its own words, whoever made the model.
        self.relays_errors = dialect.NAME == "gemini"
        self.credential: Credential[Token] = credential
        self._project = config.project
        self._region = config.region
        self._speak = speak

    async def request(self, ask: Ask) -> UpstreamRequest:
        """Return the HTTP request for ``ask``, with a token of Google's."""
        spoken = self._speak(ask)
        if spoken is None:
            raise BadRequest(
                f"{self.name} has no {ask.operation}", code="unsupported_operation"
            )
        token = await self.credential.get()
        fields = [f for f in parse(ask.headers) if f[0] != b"anthropic-version"]
        fields += [
            (b"content-type", ask.content_type),
            (b"accept-encoding", b"identity"),
            token.header,
        ]
        target = self.prefix + self._location(token) + spoken.path
        return UpstreamRequest(
            ask.method, target, render(fields), spoken.body, upload=ask.upload
        )

    def _location(self, token: Token) -> bytes:
        project = self._project or token.project
        if not project:
            raise UpstreamUnavailable(
                self.name,
                "its project is not known: it must be configured",
                fault=Fault.GATEWAY,
                should_retry=False,
            )
        return b"/v1/projects/%b/locations/%b/" % (
            quote(project, "").encode(),
            self._region.encode(),
        )


def host_of(region: str) -> str:
    """Return the address of Vertex AI in ``region``."""
    if region == "global":
        return "https://aiplatform.googleapis.com"
    if region in _MULTI_REGIONS:
        return f"https://aiplatform.{region}.rep.googleapis.com"
    return f"https://{region}-aiplatform.googleapis.com"


def speak_anthropic(ask: Ask) -> Spoken | None:
    """Say a request of Anthropic's Messages API."""
    models = b"publishers/anthropic/models/"
    if ask.operation == "count_tokens":
        # The model is that of the body.
        return Spoken(models + b"count-tokens:rawPredict", _versioned(ask.body))
    if ask.operation != "chat":
        return None
    action = b":streamRawPredict" if ask.stream else b":rawPredict"
    body = _versioned(without(ask.body, _GOVERNED, "model"))
    return Spoken(models + quote(ask.model, "@").encode() + action, body)


def speak_openai(ask: Ask) -> Spoken | None:
    """Say a request of OpenAI's; its model is ``publisher/model``."""
    if ask.operation != "chat":
        return None
    return Spoken(b"endpoints/openapi" + OPENAI_PATHS["chat"], ask.body)


def speak_gemini(action_of: Callable[[Ask], tuple[bytes, bytes]]) -> Speak:
    """Return how to say a request of Gemini's.

    Args:
        action_of: Returns what follows the model's path, and the query.
    """

    def speak(ask: Ask) -> Spoken | None:
        action, query = action_of(ask)
        if action in _NOT_HERE:
            return None
        path = _google_model(ask.model) + action
        return Spoken(path + b"?" + query if query else path, ask.body)

    return speak


def _google_model(name: str) -> bytes:
    # A tuned model is an endpoint of the project's; others may be other publishers'.
    if name.startswith(("endpoints/", "publishers/")):
        return quote(name, "/@").encode()
    return b"publishers/google/models/" + quote(name, "@").encode()


def _versioned(body: bytes) -> bytes:
    """Return ``body`` with Vertex's version of the Messages API."""
    version = b'"anthropic_version":"%b"' % ANTHROPIC_VERSION
    sent = _GOVERNED.member(body, "anthropic_version")
    if sent is not None:
        return splice(body, [(member(body, sent), version)])
    start = body.index(b"{") + 1
    comma = b"" if body[start:].lstrip().startswith(b"}") else b","
    return splice(body, [(Span(start, start), version + comma)])
