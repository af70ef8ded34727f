"""Who is calling: from the request's ``authorization`` field to an identity."""

from __future__ import annotations

from typing import Protocol

from gandalf.domain.errors import Unauthenticated
from gandalf.domain.identity import Identity
from gandalf.pipeline.exchange import Exchange, Reply
from gandalf.providers.base import Headers


class Keys(Protocol):
    """Who knows whom a key stands for. Implemented by ``gandalf.actors.key_table``."""

    def authenticate(self, token: bytes) -> Identity:
        """Return whom ``token`` stands for, or raise a GatewayError."""


class Authenticate:
    """Lets nobody by whom the key does not name."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def enter(self, exchange: Exchange) -> Reply | None:
        exchange.identity = self._keys.authenticate(bearer_token(exchange.headers))
        return None

    def settle(self, exchange: Exchange) -> None:
        pass


def bearer_token(headers: Headers) -> bytes:
    """Return the key that a request carries, as it stands there.

    Of two ``authorization`` fields, which arrive joined by a comma, neither counts:
    whoever is in front of us may have looked at the other one.

    Raises:
        Unauthenticated: There is none, or not exactly one.
    """
    field = headers.get(b"authorization", b"").strip(b" \t")
    if not field:
        raise Unauthenticated("no api key; send 'Authorization: Bearer gnd_...'")
    scheme, _, token = field.partition(b" ")
    token = token.lstrip(b" ")
    if scheme.lower() != b"bearer" or not token:
        raise Unauthenticated("expected 'Authorization: Bearer gnd_...'")
    if b" " in token or b"," in token:
        raise Unauthenticated("expected exactly one api key")
    return token
