"""OpenAI's models at Azure.

Two surfaces. The v1 API is OpenAI's own below ``/openai/v1``; the model in the body
names the deployment. The dated one has the deployment in the path and wants an
``api-version``. It has only a part of the operations; the rest is beside it, below
``/openai``. What Azure adds to the answers (``content_filter_results``,
``prompt_filter_results``) is not touched.

Sources:
https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
https://learn.microsoft.com/azure/ai-foundry/openai/reference
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from gandalf.config import Provider as ProviderConfig
from gandalf.dialects import openai
from gandalf.domain.errors import BadRequest
from gandalf.providers.base import Ask, RemoteProvider, UpstreamRequest, api_key_of
from gandalf.providers.credentials import Credential, Token
from gandalf.providers.fields import render
from gandalf.providers.openai import MODELS, PATHS

_DEPLOYED = (
    *PATHS.values(),
    b"/audio/speech",
    b"/audio/transcriptions",
    b"/audio/translations",
    b"/images/edits",
    b"/images/generations",
)
"""What the dated surface has below a deployment."""


class Azure(RemoteProvider):
    """One resource at Azure.

    Args:
        config: Its section. The base URL may end in ``/openai`` or ``/openai/v1``.
        credential: For the tokens; None: the API key of the section is sent.
    """

    def __init__(
        self, config: ProviderConfig, credential: Credential[Token] | None = None
    ) -> None:
        resource = config.base_url.rstrip("/").removesuffix("/openai/v1")
        resource = resource.removesuffix("/openai")
        config = msgspec.structs.replace(config, base_url=resource)
        super().__init__(config, resource, openai)
        self.credential = credential
        self._dated = config.api_version[:1].isdigit()
        version = config.api_version.encode()
        self._version = b"api-version=" + version if version else b""
        self._headers = [(b"accept-encoding", b"identity")]
        if credential is None and (key := api_key_of(config)):
            self._headers.append((b"api-key", key.encode()))

    async def request(self, ask: Ask) -> UpstreamRequest:
        """Return the HTTP request for ``ask``; its model is the deployment's name."""
        fields = [*self._headers]
        if ask.content_type:
            fields.append((b"content-type", ask.content_type))
        if self.credential is not None:
            fields.append((await self.credential.get()).header)
        headers = ask.headers + render(fields)
        target = self.prefix + self._path(ask)
        if query := self._query(ask):
            target += b"?" + query
        return UpstreamRequest(ask.method, target, headers, ask.body, upload=ask.upload)

    async def models_request(self) -> UpstreamRequest:
        """Return the HTTP request for the list of models."""
        return await self.request(MODELS)

    def _query(self, ask: Ask) -> bytes:
        # The configuration says which version is spoken, not who asks.
        asked = [
            parameter
            for parameter in ask.query.split(b"&")
            if ask.path and parameter and not parameter.startswith(b"api-version=")
        ]
        return b"&".join([self._version, *asked] if self._version else asked)

    def _path(self, ask: Ask) -> bytes:
        path = ask.path or PATHS.get(ask.operation)
        if not path:
            raise BadRequest(
                f"{self.name} has no {ask.operation}", code="unsupported_operation"
            )
        if not self._dated:
            return b"/openai/v1" + path
        if path in _DEPLOYED:
            return b"/openai/deployments/%b%b" % (quote(ask.model, "").encode(), path)
        return b"/openai" + path
