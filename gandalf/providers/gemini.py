"""Google's Gemini API, by an API key.

Source: https://ai.google.dev/api. The model is in the URL, the key in a header: keys in
URLs end up in logs.
"""

from __future__ import annotations

from urllib.parse import quote, unquote_plus

from gandalf.config import Provider as ProviderConfig
from gandalf.dialects import gemini
from gandalf.domain.errors import BadRequest
from gandalf.providers.base import Ask, RemoteProvider, UpstreamRequest, api_key_of
from gandalf.providers.fields import render

BASE_URL = "https://generativelanguage.googleapis.com/v1beta"

_ACTIONS = {
    "chat": b":generateContent",
    "count_tokens": b":countTokens",
    "embeddings": b":embedContent",
    "batch_embeddings": b":batchEmbedContents",
}
# Google's system parameters, without the dollar that each may have before it
# (https://cloud.google.com/apis/docs/system-parameters). How the answer is to be
# written is ours to say, also which fields it has, for its usage is accounted for; and
# who asks is in the headers.
_NOT_PASSED = frozenset(
    {"alt", "fields", "callback", "key", "access_token", "oauth_token", "httpmethod"}
)


class Gemini(RemoteProvider):
    """One account at one base URL of the Gemini API."""

    def __init__(self, config: ProviderConfig, base_url: str = BASE_URL) -> None:
        super().__init__(config, base_url, gemini)
        self._headers = [
            (b"content-type", b"application/json"),
            (b"accept-encoding", b"identity"),
        ]
        if key := api_key_of(config):
            self._headers.append((b"x-goog-api-key", key.encode()))

    async def request(self, ask: Ask) -> UpstreamRequest:
        """Return the HTTP request for ``ask``; its URL names the model."""
        action, query = action_of(ask)
        target = b"%b/%b%b" % (self.prefix, model_path(ask.model), action)
        if query:
            target += b"?" + query
        headers = ask.headers + render(self._headers)
        return UpstreamRequest(b"POST", target, headers, ask.body)

    async def models_request(self) -> UpstreamRequest:
        """Return the HTTP request for the list of models."""
        headers = render(self._headers)
        return UpstreamRequest(b"GET", self.prefix + b"/models", headers, b"")


def action_of(ask: Ask) -> tuple[bytes, bytes]:
    """Return what follows the model's path, and the query, for ``ask``.

    Streams are always asked for as server-sent events. The rest of the client's query
    is kept, without how it wants its answer written.

    Raises:
        BadRequest: There is no such operation.
    """
    action = _ACTIONS.get(ask.operation)
    if action is None:
        raise BadRequest(
            f"the model's provider has no {ask.operation}",
            code="unsupported_operation",
        )
    if ask.operation == "embeddings" and gemini.is_batch(ask.body):
        action = _ACTIONS["batch_embeddings"]
    query = [field for field in ask.query.split(b"&") if field and _is_passed(field)]
    if ask.operation == "chat" and ask.stream:
        return b":streamGenerateContent", b"&".join([b"alt=sse", *query])
    return action, b"&".join(query)


def _is_passed(field: bytes) -> bool:
    name = unquote_plus(field.partition(b"=")[0].decode("latin-1")).lower()
    return name.removeprefix("$") not in _NOT_PASSED


def model_path(model: str) -> bytes:
    """Return the path of ``model``: ``models/x`` unless it is in another collection.

    Raises:
        BadRequest: It would lead elsewhere.
    """
    name = gemini.resource(model)
    if any(step in ("", ".", "..") for step in name.split("/")):
        raise BadRequest(f"{model!r} is no name of a model", param="model")
    return quote(name, safe="/").encode()
