"""Ollama: on this machine, on another, or in its own cloud (https://ollama.com)."""

from __future__ import annotations

from urllib.parse import urlsplit

from gandalf.config import Provider as ProviderConfig
from gandalf.dialects import ollama
from gandalf.domain.errors import BadRequest
from gandalf.providers.base import Ask, RemoteProvider, UpstreamRequest, api_key_of
from gandalf.providers.fields import render

BASE_URL = "http://localhost:11434"

PATHS = {
    "chat": b"/api/chat",
    "generate": b"/api/generate",
    "embeddings": b"/api/embed",
    "legacy_embeddings": b"/api/embeddings",
}

# Where a server's APIs begin: ours, which its documentation calls the base URL, and the
# one in OpenAI's manner, which whoever spoke that with it before has in his settings.
_API_PATHS = ("/api", "/v1")


class Ollama(RemoteProvider):
    """One Ollama server.

    The base URL is the server's, with or without a last ``/api`` or ``/v1``. Without a
    key none is sent: servers of one's own want none, the cloud does.
    """

    def __init__(self, config: ProviderConfig, base_url: str = BASE_URL) -> None:
        super().__init__(config, base_url, ollama)
        for path in _API_PATHS:
            self.base_url = self.base_url.removesuffix(path).rstrip("/")
        self.prefix = urlsplit(self.base_url).path.encode()
        self._headers = [
            (b"content-type", b"application/json"),
            (b"accept-encoding", b"identity"),
        ]
        if key := api_key_of(config):
            self._headers.append((b"authorization", b"Bearer " + key.encode()))

    async def request(self, ask: Ask) -> UpstreamRequest:
        """Return the HTTP request for ``ask``; the model is named in its body."""
        path = PATHS.get(ask.operation)
        if path is None:
            raise BadRequest(
                f"{self.name} has no {ask.operation}", code="unsupported_operation"
            )
        headers = ask.headers + render(self._headers)
        return UpstreamRequest(b"POST", self.prefix + path, headers, ask.body)

    async def models_request(self) -> UpstreamRequest:
        """Return the HTTP request for the list of models."""
        headers = render(self._headers)
        return UpstreamRequest(b"GET", self.prefix + b"/api/tags", headers, b"")
