"""OpenAI, and every upstream whose URLs and credentials look like OpenAI's."""

from __future__ import annotations

from gandalf.config import Provider as ProviderConfig
from gandalf.dialects import openai
from gandalf.domain.errors import BadRequest
from gandalf.providers.base import Ask, RemoteProvider, UpstreamRequest, api_key_of

BASE_URL = "https://api.openai.com/v1"

# Of operations that are at one place each; ``Ask.path`` has those of the others.
PATHS = {
    "chat": b"/chat/completions",
    "completions": b"/completions",
    "embeddings": b"/embeddings",
}


class OpenAI(RemoteProvider):
    """One account at one OpenAI-compatible base URL."""

    def __init__(self, config: ProviderConfig, base_url: str = BASE_URL) -> None:
        super().__init__(config, base_url, openai)
        self._headers = [(b"accept-encoding", b"identity")]
        if key := api_key_of(config):
            self._headers.append((b"authorization", b"Bearer " + key.encode()))

    async def request(self, ask: Ask) -> UpstreamRequest:
        """Return the HTTP request for ``ask``; the model is named in its body."""
        path = ask.path or PATHS.get(ask.operation)
        if path is None:
            raise BadRequest(
                f"{self.name} has no {ask.operation}", code="unsupported_operation"
            )
        target = self.prefix + path
        if ask.query:
            target += b"?" + ask.query
        headers = [*ask.headers, *self._headers]
        if ask.content_type:
            headers.append((b"content-type", ask.content_type))
        return UpstreamRequest(ask.method, target, headers, ask.body, ask.upload)
