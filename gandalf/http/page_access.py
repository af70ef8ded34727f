"""Who may see which page: whose a request is, and the permission behind each path.

Deny by default: a path below ``/admin/v1`` that is not listed needs every permission
there is. Inference endpoints are not here; their pipeline authorizes.
"""

from __future__ import annotations

from typing import Protocol

from gandalf.domain.errors import PermissionDenied
from gandalf.domain.identity import Identity, Permission
from gandalf.http.endpoints import RULES, take_key
from gandalf.http.spoken import spoken_at
from gandalf.pipeline.authenticate import any_token
from gandalf.providers.base import Headers

PREFIX = "/admin/v1"

# First path element below the prefix: what reading takes, and what changing takes.
# Each is a list of which one suffices.
ADMIN_PAGES: dict[str, tuple[tuple[Permission, ...], tuple[Permission, ...]]] = {
    "requests": (
        (Permission.VIEW_ALL_USAGE, Permission.VIEW_OWN_USAGE),
        (Permission(255),),
    ),
    "usage": (
        (Permission.VIEW_ALL_USAGE, Permission.VIEW_OWN_USAGE),
        (Permission(255),),
    ),
    "keys": (
        (Permission.MANAGE_ALL_KEYS, Permission.MANAGE_OWN_KEYS),
        (Permission.MANAGE_ALL_KEYS, Permission.MANAGE_OWN_KEYS),
    ),
    "providers": ((Permission.MANAGE_PROVIDERS,), (Permission.MANAGE_PROVIDERS,)),
    "health": ((Permission.MANAGE_PROVIDERS,), (Permission.MANAGE_PROVIDERS,)),
    "cache": ((Permission.MANAGE_PROVIDERS,), (Permission.MANAGE_PROVIDERS,)),
    "routes": ((Permission.MANAGE_ROUTES,), (Permission.MANAGE_ROUTES,)),
    "organizations": ((Permission.MANAGE_ORGS,), (Permission.MANAGE_ORGS,)),
}


SECTIONS = frozenset(
    pattern.split("/")[1] for pattern in (PREFIX, *(rule.pattern for rule in RULES))
)
"""What the paths of all pages and endpoints begin with, but for the system's pages."""


class Keys(Protocol):
    """Who knows whom a key stands for."""

    def authenticate(self, token: bytes) -> Identity: ...


_READING = frozenset({"GET", "HEAD", "OPTIONS"})


def permissions_for(method: str, path: str) -> tuple[Permission, ...]:
    """Return the permissions of which a caller of an admin page needs one."""
    section = path.removeprefix(PREFIX).strip("/").partition("/")[0]
    reading, changing = ADMIN_PAGES.get(section, ((Permission(255),),) * 2)
    return reading if method in _READING else changing


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
    spoken = spoken_at(path, headers)
    url_key = take_key(query)[1] if spoken.key_in_query else b""
    identity = keys.authenticate(any_token(headers, spoken.key_header, url_key))
    if not any(identity.may(permission) for permission in any_of):
        raise PermissionDenied("insufficient permissions")
    return identity
