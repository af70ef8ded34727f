"""Requests that no page and no endpoint answers, and what their clients are told."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from gandalf.dialects.registry import OPENAI
from gandalf.domain.errors import NotFound
from gandalf.http import endpoints
from gandalf.http.endpoints import RULES
from gandalf.http.spoken import spoken_at
from gandalf.pipeline.endpoint import Endpoint
from gandalf.providers.base import Headers

# Longer paths are not compared with those there are: that takes time.
MAX_COMPARED = 200
# Characters of a path that an error repeats.
MAX_SHOWN = 200

# What clients put in front of a path too much, or leave out: a base URL that ends
# with the version although the client adds it, and the other way round.
_PREFIXES = ("/v1", "/v1beta", "/api", "/openai")
_METHODS = (b"POST", b"GET")
_KNOWN = [
    *sorted({rule.pattern for rule in RULES if "{" not in rule.pattern}),
    "/v1/models",
    "/v1beta/models",
    "/api/tags",
]


def not_found(path: str) -> NotFound:
    """Return the error for a path that is nothing here, with a hint if one helps."""
    shown = path if len(path) <= MAX_SHOWN else f"{path[:MAX_SHOWN]}..."
    hint = _meant(path)
    question = f"; did you mean {hint}?" if hint else ""
    return NotFound(f"there is no {shown}{question}")


def wants_websocket(method: str, path: str, headers: Headers) -> bool:
    """Return True for a WebSocket handshake at an endpoint that answers POST."""
    return (
        method == "GET"
        and headers.get(b"upgrade", b"").lower() == b"websocket"
        and endpoints.find(b"POST", path.encode()) is not None
    )


def is_anothers(endpoint: Endpoint | None, path: str, headers: Headers) -> bool:
    """Return True for a client of another API at an endpoint that only OpenAI has.

    ``/v1/files`` is OpenAI's here; Google's and Anthropic's clients ask for it, too,
    and mean their own.
    """
    if endpoint is None or not endpoint.path:
        return False
    return spoken_at(path, headers).dialect is not OPENAI


def _meant(path: str) -> str:
    """Return the path that a client may have meant; "" if there is none like it."""
    if len(path) > MAX_COMPARED:
        return ""
    for candidate in _variants(path):
        if candidate != path and _exists(candidate):
            return candidate
    found = get_close_matches(path, _KNOWN, n=1, cutoff=0.85)
    return found[0] if found else ""


def _variants(path: str) -> Iterator[str]:
    parts = [part for part in path.split("/") if part]
    plain = "/" + "/".join(parts)
    yield plain
    for prefix in _PREFIXES:
        yield prefix + plain
    for skipped in range(1, min(len(parts), 3)):
        if f"/{parts[skipped - 1]}" not in _PREFIXES:
            break
        rest = "/" + "/".join(parts[skipped:])
        yield rest
        for prefix in _PREFIXES:
            yield prefix + rest


def _exists(path: str) -> bool:
    if path in _KNOWN:
        return True
    return any(endpoints.find(method, path.encode()) for method in _METHODS)
