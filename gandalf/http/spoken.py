"""Which dialect a URL is spoken to in: where its key stands, how an error is told."""

from __future__ import annotations

from typing import NamedTuple

from gandalf.dialects.base import Dialect
from gandalf.dialects.registry import ANTHROPIC, GEMINI, OLLAMA, OPENAI
from gandalf.http.endpoints import AZURE_KEY
from gandalf.providers.base import Headers


class Spoken(NamedTuple):
    """How a client speaks to us."""

    dialect: Dialect
    key_header: bytes
    """Where its key may stand beside ``authorization``."""
    key_in_query: bool = False


_OPENAI = Spoken(OPENAI, OPENAI.KEY_HEADER)
_AZURE = Spoken(OPENAI, AZURE_KEY)
_ANTHROPIC = Spoken(ANTHROPIC, ANTHROPIC.KEY_HEADER)
_GEMINI = Spoken(GEMINI, GEMINI.KEY_HEADER, key_in_query=True)
_OLLAMA = Spoken(OLLAMA, OLLAMA.KEY_HEADER)

_PREFIXES = (
    ("/v1/messages", _ANTHROPIC),
    ("/v1beta/", _GEMINI),
    ("/api/", _OLLAMA),
    ("/openai/", _AZURE),
)


def spoken_at(path: str, headers: Headers) -> Spoken:
    """Return how a request to ``path`` speaks.

    The APIs of OpenAI, Anthropic and Gemini all have ``/v1/models``: what a client says
    of its key or its version tells whose it means.
    """
    for prefix, spoken in _PREFIXES:
        if path.startswith(prefix):
            return spoken
    if b"anthropic-version" in headers:
        return _ANTHROPIC
    if b"x-goog-api-key" in headers or b"x-goog-api-client" in headers:
        return _GEMINI
    return _OPENAI
