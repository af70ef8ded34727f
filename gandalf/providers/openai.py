"""OpenAI, and every upstream whose URLs and credentials look like OpenAI's."""

from __future__ import annotations

from gandalf.config import Provider as ProviderConfig
from gandalf.dialects import openai
from gandalf.domain.errors import BadRequest
from gandalf.providers.base import Ask, RemoteProvider, UpstreamRequest, api_key_of

BASE_URL = "https://api.openai.com/v1"

PATHS = {
    "chat": b"/chat/completions",
    "completions": b"/completions",
    "embeddings": b"/embeddings",
}


class OpenAI(RemoteProvider):
    """One account at one OpenAI-compatible base URL."""

    def __init__(self, config: ProviderConfig, base_url: str = BASE_URL) -> None:
        super().__init__(config, base_url, openai)
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
        return UpstreamRequest(
            b"POST", self.prefix + path, [*ask.headers, *self._headers], ask.body
        )
