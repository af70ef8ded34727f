"""OpenAI, and every upstream whose URLs and credentials look like OpenAI's."""

from __future__ import annotations

from gandalf.config import Provider as ProviderConfig
from gandalf.dialects import openai
from gandalf.domain.compat import OPENAI, Compat
from gandalf.domain.errors import BadRequest
from gandalf.providers.base import Ask, RemoteProvider, UpstreamRequest, api_key_of
from gandalf.providers.fields import render

BASE_URL = "https://api.openai.com/v1"

JSON = b"application/json"

# Of operations that are at one place each; ``Ask.path`` has those of the others.
PATHS = {
    "chat": b"/chat/completions",
    "completions": b"/completions",
    "embeddings": b"/embeddings",
}


MODELS = Ask(
    operation="models",
    model="",
    body=b"",
    method=b"GET",
    path=b"/models",
    content_type=b"",
)
"""Asks for the list of models."""


class OpenAI(RemoteProvider):
    """One account at one OpenAI-compatible base URL."""

    def __init__(
        self,
        config: ProviderConfig,
        base_url: str = BASE_URL,
        compat: Compat = OPENAI,
    ) -> None:
        super().__init__(config, base_url, openai, compat)
        self._headers = [(b"accept-encoding", b"identity")]
        if key := api_key_of(config):
            self._headers.append((b"authorization", b"Bearer " + key.encode()))
        self._for_json = b""

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
        headers = ask.headers + self._own(ask.content_type)
        return UpstreamRequest(ask.method, target, headers, ask.body, ask.upload)

    async def models_request(self) -> UpstreamRequest:
        """Return the HTTP request for the list of models."""
        return await self.request(MODELS)

    def _own(self, content_type: bytes) -> bytes:
        if content_type == JSON and self._for_json:
            return self._for_json
        fields = [*self._headers]
        if content_type:
            fields.append((b"content-type", content_type))
        own = render(fields)
        if content_type == JSON:
            # Not in the constructor: a key that cannot be sent fails its requests.
            self._for_json = own
        return own
