"""OpenAI, and every upstream whose URLs and credentials look like OpenAI's."""

from __future__ import annotations

from urllib.parse import urlsplit

from gandalf.config import Provider as ProviderConfig
from gandalf.dialects import openai_chat
from gandalf.dialects.base import Dialect
from gandalf.providers.base import UpstreamRequest

BASE_URL = "https://api.openai.com/v1"

PATHS = {
    "chat": b"/chat/completions",
    "embeddings": b"/embeddings",
}


class OpenAI:
    """One account at one OpenAI-compatible base URL."""

    dialect: Dialect = openai_chat

    def __init__(self, config: ProviderConfig) -> None:
        self.name = config.name
        self.timeouts = config.timeouts
        self.on_client_disconnect = config.on_client_disconnect
        self.base_url = (config.base_url or BASE_URL).rstrip("/")
        self._prefix = urlsplit(self.base_url).path.encode()
        self._headers = [
            (b"content-type", b"application/json"),
            (b"accept-encoding", b"identity"),
        ]
        if key := config.auth.api_key or config.api_key:
            bearer = b"Bearer " + key.reveal().encode()
            self._headers.append((b"authorization", bearer))

    async def request(
        self, operation: str, model: str, body: bytes, *, stream: bool
    ) -> UpstreamRequest:
        """Return the HTTP request for ``body``; the model is named in it already."""
        return UpstreamRequest(
            b"POST", self._prefix + PATHS[operation], self._headers, body
        )
