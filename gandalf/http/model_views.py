"""The models that a key may use: the lists that chat applications ask for at first."""

from __future__ import annotations

from typing import Protocol

import msgspec

from gandalf import __version__
from gandalf.dialects.ollama import pages as ollama_pages
from gandalf.dialects.registry import ANTHROPIC, GEMINI
from gandalf.domain.errors import NotFound
from gandalf.domain.identity import Identity, Permission
from gandalf.domain.model import Model
from gandalf.http import model_lists
from gandalf.http.page import Asked, Page, View
from gandalf.http.page_access import Keys, identify
from gandalf.http.spoken import spoken_at


class Models(Protocol):
    """Who knows which models there are for a key."""

    def models_for(self, identity: Identity) -> list[str]: ...

    def describe(self, alias: str) -> Model: ...


class ModelViews:
    """The lists, and what becomes of one model's page.

    Args:
        keys: Knows who asks.
        models: Knows what they may use.
    """

    def __init__(self, keys: Keys, models: Models) -> None:
        self._keys = keys
        self._models = models
        self.views: dict[str, View] = {
            "/v1/models": self._list,
            "/openai/v1/models": self._list,
            "/openai/models": self._list,
            "/v1beta/models": self._list_gemini,
            "/api/tags": self._list_ollama,
            "/api/ps": self._list_running_ollama,
            "/api/version": self._ollama_version,
        }
        """By path. They answer GET, and raise GatewayError."""

    def usable(self, asked: Asked, name: str) -> Model:
        """Return the model ``name``.

        Raises:
            GatewayError: There is none, or it is not for who asks.
        """
        if name not in self._names(asked):
            raise NotFound(f"no model {name!r} here", code="model_not_found")
        return self._models.describe(name)

    async def _list(self, asked: Asked) -> Page:
        models, dialect = self._all(asked), spoken_at(asked.path, asked.headers).dialect
        if dialect is ANTHROPIC:
            return _json(model_lists.anthropic_list(models))
        if dialect is GEMINI:
            return _json(model_lists.gemini_list(models))
        return _json(model_lists.openai_list(models))

    async def _list_gemini(self, asked: Asked) -> Page:
        return _json(model_lists.gemini_list(self._all(asked)))

    async def _list_ollama(self, asked: Asked) -> Page:
        return _raw(ollama_pages.render_tags(self._names(asked)))

    async def _list_running_ollama(self, asked: Asked) -> Page:
        self._identify(asked)
        return _json({"models": []})

    async def _ollama_version(self, asked: Asked) -> Page:
        self._identify(asked)
        return _raw(ollama_pages.render_version(__version__))

    def _names(self, asked: Asked) -> list[str]:
        return self._models.models_for(self._identify(asked))

    def _all(self, asked: Asked) -> list[Model]:
        return list(map(self._models.describe, self._names(asked)))

    def _identify(self, asked: Asked) -> Identity:
        return identify(self._keys, *asked, (Permission.USE_MODELS,))


def _json(value: object) -> Page:
    return _raw(msgspec.json.encode(value))


def _raw(body: bytes) -> Page:
    return Page(200, b"application/json", body)
