"""Which objects a caller may see and change.

The organisation ``default`` is the operator's. An administrator of it without a team
administers the whole gateway; one of another organisation administers that one, and one
with a team that team alone. Other roles see their organisation's objects, as far as
their permissions go. An object outside the scope does not exist for the caller: 404,
never 403.
"""

from __future__ import annotations

from gandalf.domain.errors import NotFound, PermissionDenied
from gandalf.domain.identity import Identity, Role

OPERATOR_ORG = "default"


def is_operator(identity: Identity) -> bool:
    """Whether ``identity`` administers the whole gateway."""
    return (
        identity.role is Role.ADMIN
        and identity.org_id == OPERATOR_ORG
        and identity.team_id is None
    )


def org_of(identity: Identity) -> str | None:
    """Return the organisation that ``identity`` is confined to; None: to none."""
    return None if is_operator(identity) else identity.org_id


def team_of(identity: Identity) -> str | None:
    """Return the team that ``identity`` is confined to; None: to none."""
    return None if is_operator(identity) else identity.team_id


def sees(identity: Identity, org_id: str, team_id: str | None = None) -> bool:
    """Whether an object of ``org_id`` and ``team_id`` is within the scope."""
    if is_operator(identity):
        return True
    if org_id != identity.org_id:
        return False
    return identity.team_id is None or team_id == identity.team_id


def require_operator(identity: Identity) -> None:
    """Do nothing for an operator.

    Raises:
        PermissionDenied: The caller administers less than the whole gateway.
    """
    if not is_operator(identity):
        raise PermissionDenied(
            "this needs an administrator of the whole gateway: a key with the role"
            f" admin of the organisation {OPERATOR_ORG!r}, without a team"
        )


def not_found(kind: str, name: str) -> NotFound:
    """Return the error for an object that is not there or not the caller's to see."""
    shown = name if len(name) <= 100 else f"{name[:100]}..."
    return NotFound(f"there is no {kind} {shown!r}")
