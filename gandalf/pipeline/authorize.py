"""Whether the caller may do what they ask for."""

from __future__ import annotations

from gandalf.domain.errors import PermissionDenied
from gandalf.domain.identity import ROLE_PERMISSIONS, Identity, Permission, Role
from gandalf.pipeline.exchange import Exchange, Reply

# Looked up here, for to compute with flags takes several times as long.
_USERS = frozenset(
    role
    for role, allowed in ROLE_PERMISSIONS.items()
    if Permission.USE_MODELS in allowed
)

# Models of a key that an error names, and characters of one that a client made up.
MAX_NAMED = 20
MAX_NAME = 200


class Authorize:
    """Admits an exchange if the role of its key may use models.

    Before the body is read: who may not use models does not make the gateway work.
    """

    def enter(self, exchange: Exchange) -> Reply | None:
        identity = exchange.identity
        assert identity is not None  # noqa: S101 - authenticate comes before
        if identity.role not in _USERS:
            raise insufficient(identity, Permission.USE_MODELS)
        return None


class AuthorizeModel:
    """Admits an exchange if its key may use the model that it asks for."""

    def enter(self, exchange: Exchange) -> Reply | None:
        identity, call = exchange.identity, exchange.call
        assert identity is not None  # noqa: S101 - authenticate comes before
        assert call is not None  # noqa: S101 - read_call comes before
        # Most keys have no list of models.
        listed = identity.allowed_models or identity.allow_lists
        if listed and call.model and not identity.may_use(call.model):
            raise _not_allowed(call.model, identity)
        return None


def require(identity: Identity, *sufficient: Permission) -> None:
    """Do nothing if ``identity`` has one of these permissions.

    Raises:
        PermissionDenied: It has none of them, or there was none to have.
    """
    if not any(map(identity.may, sufficient)):
        raise insufficient(identity, *sufficient)


def insufficient(identity: Identity, *sufficient: Permission) -> PermissionDenied:
    """Return the error of a caller who has none of the ``sufficient`` permissions.

    It names them, and the roles that have one.
    """
    roles = [
        role.value
        for role, allowed in ROLE_PERMISSIONS.items()
        if any(permission in allowed for permission in sufficient)
    ]
    if not sufficient:
        return PermissionDenied("insufficient permissions", identity=identity)
    wanted = " or ".join(_name(permission) for permission in sufficient)
    return PermissionDenied(
        f"insufficient permissions: this takes {wanted}, which the role"
        f"{'s' if len(roles) > 1 else ''} {_listed(roles)}"
        f" {'have' if len(roles) > 1 else 'has'}; this api key has the role"
        f" {identity.role.value}",
        identity=identity,
    )


def _not_allowed(model: str, identity: Identity) -> PermissionDenied:
    allowed = [
        alias
        for listed in (identity.allowed_models, *identity.allow_lists)
        for alias in listed
        if identity.may_use(alias.removesuffix("*"))
    ]
    allowed = list(dict.fromkeys(allowed))
    shown = ", ".join(allowed[:MAX_NAMED])
    more = f" and {len(allowed) - MAX_NAMED} more" if len(allowed) > MAX_NAMED else ""
    return PermissionDenied(
        f"this api key may not use the model {model[:MAX_NAME]!r}; it may use:"
        f" {shown or 'none'}{more}",
        code="model_not_allowed",
    )


def _name(permission: Permission) -> str:
    every = permission == ROLE_PERMISSIONS[Role.ADMIN]
    return "every permission" if every else str(permission.name).lower()


def _listed(words: list[str]) -> str:
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else words[0]
