"""Whether the caller may do what they ask for."""

from __future__ import annotations

from gandalf.domain.errors import PermissionDenied
from gandalf.domain.identity import ROLE_PERMISSIONS, Identity, Permission
from gandalf.pipeline.exchange import Exchange, Reply

# Looked up here, for to compute with flags takes several times as long.
_USERS = frozenset(
    role
    for role, allowed in ROLE_PERMISSIONS.items()
    if Permission.USE_MODELS in allowed
)


class Authorize:
    """Admits an exchange if its key may use models, and this one."""

    def enter(self, exchange: Exchange) -> Reply | None:
        identity, call = exchange.identity, exchange.call
        assert identity is not None  # noqa: S101 - authenticate comes before
        assert call is not None  # noqa: S101 - read_call comes before
        if identity.role not in _USERS:
            raise _insufficient()
        # Most keys have no list of models.
        listed = identity.allowed_models or identity.allow_lists
        if listed and call.model and not identity.may_use(call.model):
            raise PermissionDenied(
                "this api key may not use this model", code="model_not_allowed"
            )
        return None


def require(identity: Identity, *sufficient: Permission) -> None:
    """Do nothing if ``identity`` has one of these permissions.

    Raises:
        PermissionDenied: It has none of them, or there was none to have.
    """
    if not any(map(identity.may, sufficient)):
        raise _insufficient()


def _insufficient() -> PermissionDenied:
    return PermissionDenied("insufficient permissions")
