"""Everything that the admin API manages, as of one moment, and a change of it."""

from __future__ import annotations

from typing import Any

import msgspec

from gandalf.domain.audit import AuditEntry
from gandalf.domain.keys import StoredKey
from gandalf.domain.managed import Kind, ManagedObject
from gandalf.domain.tenants import Tenant


class ManagedState(msgspec.Struct, frozen=True, kw_only=True):
    """All managed objects, tenants and keys, revoked ones included."""

    objects: tuple[ManagedObject, ...]
    tenants: tuple[Tenant, ...]
    keys: tuple[StoredKey, ...]


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the managed state, carried out whole or not at all."""

    objects: tuple[tuple[Kind, str, dict[str, Any] | None], ...] = ()
    """Kind, name and specification; None deletes the object."""
    new_tenants: tuple[Tenant, ...] = ()
    """Outermost first: an organisation before its teams."""
    changed_tenants: tuple[Tenant, ...] = ()
    removed_tenants: tuple[Tenant, ...] = ()
    """Innermost first."""
    new_keys: tuple[StoredKey, ...] = ()
    changed_keys: tuple[StoredKey, ...] = ()
    """Revoked ones included."""
    entries: tuple[AuditEntry, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__struct_fields__)
