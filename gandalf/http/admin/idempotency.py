"""Answers repeated requests with the same ``Idempotency-Key`` from memory.

Source: draft-ietf-httpapi-idempotency-key-header. A key is remembered for a day, for
the credential that sent it, with the fingerprint of its request. Answers are kept in
memory only, because the answer to the creation of an API key holds the key.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from cachetools import TTLCache

from gandalf.domain.errors import BadRequest
from gandalf.http.admin.problems import Conflict

REMEMBERED = 4096
"""Keys; the oldest are forgotten first."""
TTL = 86_400.0
MAX_KEY_LENGTH = 255


class KeyReused(BadRequest):
    """The same idempotency key came with another request."""

    status = 422
    code = "idempotency_key_reused"


class Replay(NamedTuple):
    """An answer that was given before."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class IdempotencyKeys:
    """Owns the answers of recent POST requests."""

    def __init__(self) -> None:
        self._answers: TTLCache[tuple[str, str], tuple[bytes, Replay | None]] = (
            TTLCache(REMEMBERED, TTL)
        )

    def __repr__(self) -> str:
        return f"<IdempotencyKeys {len(self._answers)} remembered>"

    def begin(self, owner: str, key: str, request: bytes) -> Replay | None:
        """Return the earlier answer to ``request``, or None: it is the first.

        After None the caller ends with ``finish`` or ``forget``.

        Raises:
            KeyReused: ``key`` came with another request.
            Conflict: The first request with ``key`` is still being answered.
        """
        if not 0 < len(key) <= MAX_KEY_LENGTH:
            raise BadRequest(f"an Idempotency-Key has 1 to {MAX_KEY_LENGTH} characters")
        fingerprint = hashlib.sha256(request).digest()
        found = self._answers.get((owner, key))
        if found is None:
            self._answers[owner, key] = fingerprint, None
            return None
        if found[0] != fingerprint:
            raise KeyReused("this Idempotency-Key was used for another request")
        if found[1] is None:
            raise Conflict(
                "the first request with this Idempotency-Key is not answered yet",
                code="idempotency_in_progress",
            )
        return found[1]

    def finish(self, owner: str, key: str, answer: Replay) -> None:
        """Remember ``answer`` for repetitions."""
        found = self._answers.get((owner, key))
        if found is not None:
            self._answers[owner, key] = found[0], answer

    def forget(self, owner: str, key: str) -> None:
        """Let the request be tried anew: it failed, and nothing was changed."""
        self._answers.pop((owner, key), None)
