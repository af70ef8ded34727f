"""OpenAI's endpoints beside those for chats, completions and embeddings.

``{id}`` stands for an object of the upstream's.
"""

from __future__ import annotations

from typing import NamedTuple


class Passed(NamedTuple):
    """One kind of URL whose requests are passed on as they are."""

    method: bytes
    path: str
    """Below ``/v1`` here, and below the base URL there."""
    operation: str
    upload: bool = False
    """Whether its body is taken while it arrives."""


PASSED: tuple[Passed, ...] = (
    Passed(b"POST", "/responses", "responses"),
    Passed(b"POST", "/responses/input_tokens", "responses"),
    Passed(b"POST", "/responses/compact", "responses"),
    Passed(b"GET", "/responses/{id}", "responses"),
    Passed(b"DELETE", "/responses/{id}", "responses"),
    Passed(b"POST", "/responses/{id}/cancel", "responses"),
    Passed(b"GET", "/responses/{id}/input_items", "responses"),
    Passed(b"POST", "/moderations", "moderations"),
    Passed(b"POST", "/images/generations", "images"),
    Passed(b"POST", "/images/edits", "images", upload=True),
    Passed(b"POST", "/images/variations", "images", upload=True),
    Passed(b"POST", "/audio/speech", "audio"),
    Passed(b"POST", "/audio/transcriptions", "audio", upload=True),
    Passed(b"POST", "/audio/translations", "audio", upload=True),
    Passed(b"POST", "/rerank", "rerank"),
    Passed(b"POST", "/files", "files", upload=True),
    Passed(b"GET", "/files", "files"),
    Passed(b"GET", "/files/{id}", "files"),
    Passed(b"DELETE", "/files/{id}", "files"),
    Passed(b"GET", "/files/{id}/content", "files"),
    Passed(b"POST", "/batches", "batches"),
    Passed(b"GET", "/batches", "batches"),
    Passed(b"GET", "/batches/{id}", "batches"),
    Passed(b"POST", "/batches/{id}/cancel", "batches"),
)
