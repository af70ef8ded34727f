"""Anthropic's own API, and every upstream whose URLs and credentials look like it.

Source: https://platform.claude.com/docs/en/api/overview and .../api/versioning. The
version is the client's own if it speaks Anthropic's dialect, for body and version
belong together; what the gateway translates is written for ``VERSION``, the last one
that takes the sampling parameters of older models.
"""

from __future__ import annotations

from gandalf.config import Provider as ProviderConfig
from gandalf.dialects import anthropic
from gandalf.domain.errors import BadRequest
from gandalf.providers.base import Ask, RemoteProvider, UpstreamRequest, api_key_of
from gandalf.providers.fields import names, render

BASE_URL = "https://api.anthropic.com/v1"
VERSION = b"2023-06-01"

PATHS = {
    "chat": b"/messages",
    "count_tokens": b"/messages/count_tokens",
}

_VERSION_FIELD = b"anthropic-version: %b\r\n" % VERSION


class Anthropic(RemoteProvider):
    """One account at one base URL that speaks Anthropic's dialect."""

    def __init__(self, config: ProviderConfig, base_url: str = BASE_URL) -> None:
        super().__init__(config, base_url, anthropic)
        self._headers = [
            (b"content-type", b"application/json"),
            (b"accept-encoding", b"identity"),
        ]
        if key := api_key_of(config):
            self._headers.append((b"x-api-key", key.encode()))
        self._rendered = b""

    async def request(self, ask: Ask) -> UpstreamRequest:
        """Return the HTTP request for ``ask``; the model is named in its body."""
        path = PATHS.get(ask.operation)
        if path is None:
            raise BadRequest(
                f"{self.name} has no {ask.operation}", code="unsupported_operation"
            )
        headers = ask.headers + self._always()
        if not names(ask.headers, b"anthropic-version"):
            headers += _VERSION_FIELD
        target = self.prefix + path
        if ask.query:
            target += b"?" + ask.query
        return UpstreamRequest(b"POST", target, headers, ask.body)

    async def models_request(self) -> UpstreamRequest:
        """Return the HTTP request for the list of models."""
        headers = self._always() + _VERSION_FIELD
        return UpstreamRequest(b"GET", self.prefix + b"/models", headers, b"")

    def _always(self) -> bytes:
        if not self._rendered:
            # Not in the constructor: a key that cannot be sent fails its requests.
            self._rendered = render(self._headers)
        return self._rendered
