"""Whether the caller may do what they ask for."""

from __future__ import annotations

from gandalf.domain.errors import PermissionDenied
from gandalf.domain.identity import Identity, Permission
from gandalf.pipeline.exchange import Exchange, Reply


class Authorize:
    """Admits an exchange if its key may use models, and this one."""

    async def enter(self, exchange: Exchange) -> Reply | None:
        identity, call = exchange.identity, exchange.call
        assert identity is not None  # noqa: S101 - authenticate comes before
        assert call is not None  # noqa: S101 - read_call comes before
        require(identity, Permission.USE_MODELS)
        if call.model and not identity.may_use(call.model):
            raise PermissionDenied(
                "this api key may not use this model", code="model_not_allowed"
            )
        return None

    def settle(self, exchange: Exchange) -> None:
        pass


def require(identity: Identity, *sufficient: Permission) -> None:
    """Do nothing if ``identity`` has one of these permissions.

    Raises:
        PermissionDenied: It has none of them, or there was none to have.
    """
    if not any(map(identity.may, sufficient)):
        raise PermissionDenied("insufficient permissions")
