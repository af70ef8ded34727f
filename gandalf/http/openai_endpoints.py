"""OpenAI's endpoints beside those for chats and embeddings: what each is for.

Those with an object in their path are found by pattern; none of them is hot.
"""

from __future__ import annotations

from gandalf.dialects.registry import OPENAI
from gandalf.domain.objects import ID
from gandalf.http.endpoints import Endpoint

PREFIX = b"/v1"

ROUTES: tuple[tuple[bytes, bytes, str, bool], ...] = (
    # Method, path below the prefix, operation, whether the body is an upload. An
    # asterisk stands for the id of an object.
    (b"POST", b"/responses", "responses", False),
    (b"POST", b"/responses/input_tokens", "responses", False),
    (b"POST", b"/responses/compact", "responses", False),
    (b"GET", b"/responses/*", "responses", False),
    (b"DELETE", b"/responses/*", "responses", False),
    (b"POST", b"/responses/*/cancel", "responses", False),
    (b"GET", b"/responses/*/input_items", "responses", False),
    (b"POST", b"/moderations", "moderations", False),
    (b"POST", b"/images/generations", "images", False),
    (b"POST", b"/images/edits", "images", True),
    (b"POST", b"/images/variations", "images", True),
    (b"POST", b"/audio/speech", "audio", False),
    (b"POST", b"/audio/transcriptions", "audio", True),
    (b"POST", b"/audio/translations", "audio", True),
    (b"POST", b"/rerank", "rerank", False),
    (b"POST", b"/files", "files", True),
    (b"GET", b"/files", "files", False),
    (b"GET", b"/files/*", "files", False),
    (b"DELETE", b"/files/*", "files", False),
    (b"GET", b"/files/*/content", "files", False),
    (b"POST", b"/batches", "batches", False),
    (b"GET", b"/batches", "batches", False),
    (b"GET", b"/batches/*", "batches", False),
    (b"POST", b"/batches/*/cancel", "batches", False),
)

EXACT: dict[tuple[bytes, bytes], Endpoint] = {
    (method, PREFIX + path): Endpoint(
        operation, OPENAI, upload=upload, path=path, method=method
    )
    for method, path, operation, upload in ROUTES
    if b"*" not in path
}
"""By method and path: to be looked up like ``HOT_ROUTES``."""

_PATTERNS = {
    (method, tuple(path.split(b"/")[1:])): operation
    for method, path, operation, _ in ROUTES
    if b"*" in path
}


def find(method: bytes, path: bytes) -> Endpoint | None:
    """Return the endpoint at ``path``, its object's id in the endpoint's own path.

    Args:
        method: Of the request.
        path: Without the query, as it stands in the request line. An id that is
            escaped there is no id of an object.
    """
    exact = EXACT.get((method, path))
    if exact is not None or not path.startswith(PREFIX + b"/"):
        return exact
    below = path[len(PREFIX) :]
    collection, *rest = below.split(b"/")[1:]
    if not rest or len(rest) > 2 or not _is_id(rest[0]):
        return None
    operation = _PATTERNS.get((method, (collection, b"*", *rest[1:])))
    if operation is None:
        return None
    return Endpoint(operation, OPENAI, path=below, method=method)


def methods_at(path: bytes) -> list[bytes]:
    """Return the methods that there are for ``path``; empty if there is no such."""
    methods = dict.fromkeys(method for method, *_ in ROUTES)
    return [method for method in methods if find(method, path) is not None]


def _is_id(text: bytes) -> bool:
    return ID.fullmatch(text.decode("latin-1")) is not None
