"""Who is calling: from the key that a request carries to an identity.

A key stands in ``authorization``, or where the dialect's own clients put it: a header
field of its own, for Gemini also the URL. Another dialect's field counts for nothing.
"""

from __future__ import annotations

import re
from typing import Protocol

from gandalf.domain.budgets import MAX_TAGS, TAG, tag_names
from gandalf.domain.errors import BadRequest, PermissionDenied, Unauthenticated
from gandalf.domain.identity import Identity
from gandalf.domain.keys import KEY_PREFIX
from gandalf.pipeline.exchange import Exchange, Reply
from gandalf.providers.base import Headers

_OUR_PREFIX = KEY_PREFIX.encode()

TAGS_HEADER = b"x-gandalf-tags"
"""Where a request has tags, separated by commas."""

# As nearly every client writes it: nothing to strip, and one key at the most.
_usual = re.compile(rb"Bearer ([^ \t,]+)").fullmatch


class Keys(Protocol):
    """Who knows whom a key stands for. Implemented by ``gandalf.actors.key_table``."""

    def authenticate(self, token: bytes) -> Identity:
        """Return whom ``token`` stands for, or raise a GatewayError."""


class Authenticate:
    """Lets nobody by whom the key does not name."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def enter(self, exchange: Exchange) -> Reply | None:
        endpoint = exchange.endpoint
        if endpoint.key_header or endpoint.key_in_query:
            url_key = exchange.url_key if endpoint.key_in_query else b""
            token = any_token(exchange.headers, endpoint.key_header, url_key)
        else:
            token = bearer_token(exchange.headers)
        try:
            identity = self._keys.authenticate(token)
        except (PermissionDenied, Unauthenticated) as refused:
            # A revoked or expired key: its record names who still uses it. No later
            # stage runs.
            exchange.identity = refused.identity
            raise
        exchange.identity = identity
        given = exchange.headers.get(TAGS_HEADER)
        if given is not None or identity.tags:
            exchange.tags = tags(given or b"", identity)
        return None


def tags(field: bytes, identity: Identity) -> tuple[str, ...]:
    """Return the tags of a request: those of its key, then those of ``field``.

    Raises:
        BadRequest: One of them is not a tag, or there are too many.
    """
    given = [one.strip() for one in field.decode("latin-1").split(",")]
    for tag in filter(None, given):
        if not TAG.fullmatch(tag):
            raise BadRequest(
                f"{TAGS_HEADER.decode()}: a tag is up to 64 letters, digits and any of"
                f" . _ : / = @ + -, not {tag[:100]!r}",
                param=TAGS_HEADER.decode(),
            )
    own = tag_names(identity.tags)
    found = tuple(dict.fromkeys((*own, *filter(None, given))))
    if len(found) > MAX_TAGS:
        raise BadRequest(
            f"a request has at most {MAX_TAGS} tags, those of its key included",
            param=TAGS_HEADER.decode(),
        )
    return found


def bearer_token(headers: Headers) -> bytes:
    """Return the key that a request carries, as it stands there.

    Of two ``authorization`` fields, which arrive joined by a comma, neither counts:
    whoever is in front of us may have looked at the other one.

    Raises:
        Unauthenticated: There is none, or not exactly one.
    """
    field = headers.get(b"authorization", b"")
    if (usual := _usual(field)) is not None:
        return usual[1]
    field = field.strip(b" \t")
    if not field:
        raise Unauthenticated("no api key; send 'Authorization: Bearer gnd_...'")
    scheme, _, token = field.partition(b" ")
    token = token.lstrip(b" ")
    if scheme.lower() != b"bearer" or not token:
        raise Unauthenticated("expected 'Authorization: Bearer gnd_...'")
    return _one(token)


def any_token(headers: Headers, key_header: bytes, url_key: bytes = b"") -> bytes:
    """Return the key that a request carries in any of the places where it may.

    Args:
        headers: The request's.
        key_header: The dialect's own field for keys; may be empty.
        url_key: What stood in the URL; may be empty.

    Raises:
        Unauthenticated: There is none, or two that differ. Of two, one that alone has
            the form of a key of the gateway's counts: Claude Code sends
            ``ANTHROPIC_API_KEY``, too, if it is in the environment.
    """
    tokens = set()
    if field := headers.get(key_header, b"").strip(b" \t"):
        tokens.add(_one(field))
    if url_key:
        tokens.add(url_key)
    if not tokens or b"authorization" in headers:
        tokens.add(bearer_token(headers))
    if len(tokens) > 1:
        ours = [token for token in tokens if token.startswith(_OUR_PREFIX)]
        if len(ours) == 1:
            return ours[0]
        raise Unauthenticated("expected exactly one api key")
    return tokens.pop()


def _one(token: bytes) -> bytes:
    if b" " in token or b"," in token:
        raise Unauthenticated("expected exactly one api key")
    return token
