"""Who may see which page: the permission behind every path that needs one.

Deny by default: a path below ``/admin/v1`` that is not listed needs every permission
there is. Inference endpoints are not here; their pipeline authorizes.
"""

from __future__ import annotations

from gandalf.domain.identity import Permission

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

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


def permissions_for(method: str, path: str) -> tuple[Permission, ...]:
    """Return the permissions of which a caller of an admin page needs one."""
    section = path.removeprefix(PREFIX).strip("/").partition("/")[0]
    reading, changing = ADMIN_PAGES.get(section, ((Permission(255),),) * 2)
    return reading if method in _READING else changing
