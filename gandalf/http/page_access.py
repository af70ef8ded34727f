"""Authentication and permission checks for pages that are not inference endpoints.

The endpoints of the admin API name their permissions in their own table
(``http.admin``); inference endpoints are authorised by their pipeline.
"""

from __future__ import annotations

from typing import Protocol

from gandalf.domain.identity import Identity, Permission
from gandalf.http.endpoints import RULES, take_key
from gandalf.http.spoken import spoken_at
from gandalf.pipeline.authenticate import any_token
from gandalf.pipeline.authorize import insufficient
from gandalf.providers.base import Headers

PREFIX = "/admin/v1"

SECTIONS = frozenset(
    pattern.split("/")[1] for pattern in (PREFIX, *(rule.pattern for rule in RULES))
)
"""What the paths of all pages and endpoints begin with, but for the system's pages."""


class Keys(Protocol):
    """Who knows whom a key stands for."""

    def authenticate(self, token: bytes) -> Identity: ...


def authenticate(keys: Keys, path: str, query: bytes, headers: Headers) -> Identity:
    """Return the identity behind a request for the page at ``path``.

    Raises:
        GatewayError: There is no key, or not a valid one.
    """
    spoken = spoken_at(path, headers)
    url_key = take_key(query)[1] if spoken.key_in_query else b""
    return keys.authenticate(any_token(headers, spoken.key_header, url_key))


def identify(
    keys: Keys,
    path: str,
    query: bytes,
    headers: Headers,
    any_of: tuple[Permission, ...],
) -> Identity:
    """Return who asks for the page at ``path``, if one of ``any_of`` is theirs.

    Raises:
        GatewayError: Nobody we know, or none of the permissions is theirs.
    """
    identity = authenticate(keys, path, query, headers)
    if not any(identity.may(permission) for permission in any_of):
        raise insufficient(identity, *any_of)
    return identity
