"""From a document of wanted objects and the present state to a change.

A document has a section for each kind of object. An object that it names is made, or
changed until it is as the document says; fields that are left out have their defaults.
With ``prune``, managed objects of the document's sections that it does not name are
deleted, and keys revoked. The decision is synchronous and touches nothing, so it runs
inside the transaction that carries it out.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gandalf.config.sealing import MasterKeys
from gandalf.domain.identity import Role
from gandalf.domain.ids import new_id
from gandalf.domain.keys import StoredKey, hash_key, new_key, shown_prefix
from gandalf.domain.managed import ID_FIELD, Kind
from gandalf.domain.secret import Secret
from gandalf.domain.state import ManagedState
from gandalf.domain.tenants import Tenant, TenantKind
from gandalf.http.admin.configuration import (
    spec_of,
)
from gandalf.http.admin.keys import Count, plain_key
from gandalf.http.admin.problems import Conflict, FieldError, InvalidRequest
from gandalf.http.admin.scope import OPERATOR_ORG
from gandalf.http.admin.secrets import Secrets
from gandalf.http.admin.tenants import TENANT_ID, NewTenant, checked, view_of
from gandalf.http.admin.values import Labels, Names, Usd, names, nanousd, text, unix

T = TypeVar("T")

_HASH = re.compile("[0-9a-f]{64}")
_UNCOMPARED = frozenset(
    {"id", "created_at", "updated_at", "last_used_at", "key_prefix"}
)


class WantedKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An API key. Without ``id`` it is known by its name in its organisation."""

    id: str = ""
    name: str = ""
    org_id: str = OPERATOR_ORG
    team_id: str | None = None
    user_id: str | None = None
    role: Role = Role.MEMBER
    allowed_models: Names = []
    allowed_providers: Names = []
    rpm_limit: Count | None = None
    tpm_limit: Count | None = None
    max_concurrent: Count | None = None
    max_budget: Usd | None = None
    tags: Labels = {}
    metadata: Labels = {}
    expires_at: datetime | None = None
    blocked: bool = False
    key_hash: str = ""
    """SHA-256 of the key's text, in hex: restores a key. Empty: a new text is made."""


class Document(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Wanted objects by kind. A section that is left out stays as it is."""

    providers: list[dict[str, Any]] | UnsetType = UNSET
    """As in the configuration file."""
    routes: list[dict[str, Any]] | UnsetType = UNSET
    """As in the configuration file."""
    budgets: list[dict[str, Any]] | UnsetType = UNSET
    """As in the configuration file."""
    organizations: list[NewTenant] | UnsetType = UNSET
    teams: list[NewTenant] | UnsetType = UNSET
    users: list[NewTenant] | UnsetType = UNSET
    keys: list[WantedKey] | UnsetType = UNSET


class FieldChange(msgspec.Struct, frozen=True):
    """One field of an object before and after."""

    field: str
    before: Any
    after: Any


class ObjectChange(msgspec.Struct, frozen=True, kw_only=True):
    """The change of one object."""

    action: Annotated[str, Meta(pattern="create|update|delete|revoke")]
    kind: str
    id: str
    org_id: str = ""
    fields: list[FieldChange] = []


class Planned(NamedTuple):
    """The change of one object, and what is written for it."""

    change: ObjectChange
    thing: Any
    """The tenant, key or specification to write; None deletes a managed object."""
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Planner:
    """Plans the change from a state to a document.

    Args:
        document: The wanted objects.
        prune: Whether to delete objects that the document does not name.
        provisioned: Objects of the configuration file, which are not changed here.
        path: That file, for messages.
        secrets: Seals secrets and hides them.
        own_key: Id of the key that asks for the change.
    """

    def __init__(
        self,
        document: Document,
        *,
        prune: bool,
        provisioned: Collection[tuple[Kind, str]],
        path: str,
        secrets: Secrets,
        own_key: str,
    ) -> None:
        self._document = document
        self._prune = prune
        self._provisioned = provisioned
        self._path = path
        self._secrets = secrets
        self._own_key = own_key
        self._hashes: set[str] = set()
        self.made: list[tuple[StoredKey, Secret]] = []
        """Keys whose text was made up for this plan."""

    def plan(self, state: ManagedState) -> list[Planned]:
        """Return what differs, in the order in which it has to be written.

        Raises:
            InvalidRequest: The document is not valid; the error names the fields.
            Conflict: The change is not allowed.
        """
        return [
            *(p for kind in Kind for p in self._objects(kind, state)),
            *self._tenants(state),
            *self._keys(state),
        ]

    # Providers, routes and the like.

    def _objects(self, kind: Kind, state: ManagedState) -> Iterator[Planned]:
        wanted = getattr(self._document, kind, UNSET)
        if wanted is UNSET:
            return
        hidden = self._secrets.hidden
        present = {
            thing.name: thing.spec
            for thing in state.objects
            if thing.kind is kind and (kind, thing.name) not in self._provisioned
        }
        names_seen: set[str] = set()
        for i, body in enumerate(wanted):
            where = f"{kind}[{i}]"
            spec = _within(where, partial(spec_of, body, kind))
            name = spec.get(ID_FIELD[kind])
            if not isinstance(name, str) or not name:
                raise _invalid(f"{where}.{ID_FIELD[kind]}", "is required: text")
            _once(names_seen, name, f"{where}.{ID_FIELD[kind]}")
            self._refuse_provisioned(kind, name)
            former = present.get(name)
            _within(where, partial(self._secrets.store, spec, former, kind, name))
            yield from _planned(
                kind,
                name,
                spec,
                None if former is None else hidden(former, kind, name),
                hidden(spec, kind, name),
            )
        if self._prune:
            for name in sorted(present.keys() - names_seen):
                before = hidden(present[name], kind, name)
                yield from _planned(kind, name, None, before, None)

    def _refuse_provisioned(self, kind: Kind, name: str) -> None:
        if (kind, name) in self._provisioned:
            raise Conflict(
                f"{kind}/{name} is declared in {self._path}; change it there and"
                " reload, or leave it out of the document",
                code="provisioned",
            )

    # Organisations, teams and users.

    def _tenants(self, state: ManagedState) -> Iterator[Planned]:
        present = {(tenant.kind, tenant.id): tenant for tenant in state.tenants}
        removed: list[Planned] = []
        for kind in TenantKind:
            wanted: list[NewTenant] | UnsetType = getattr(self._document, kind)
            if wanted is UNSET:
                continue
            seen: set[str] = set()
            for i, each in enumerate(wanted):
                _once(seen, each.id, f"{kind}[{i}].id")
                former = present.get((kind, each.id))
                yield from self._tenant(f"{kind}[{i}]", kind, each, former)
            if self._prune:
                removed[:0] = [
                    planned
                    for (its_kind, name), tenant in present.items()
                    if its_kind is kind and name not in seen and not _is_default(tenant)
                    for planned in _planned(kind, name, tenant, view_of(tenant), None)
                ]
        yield from removed

    def _tenant(
        self, where: str, kind: TenantKind, wanted: NewTenant, former: Tenant | None
    ) -> Iterator[Planned]:
        if not TENANT_ID.fullmatch(wanted.id):
            raise _invalid(
                f"{where}.id", "expected up to 128 letters, digits and . _ @ -"
            )
        is_org = kind is TenantKind.ORGANIZATION
        org_id = wanted.id if is_org else wanted.org_id or OPERATOR_ORG
        if former is not None and former.org_id != org_id:
            raise _invalid(
                f"{where}.org_id", f"the present one is {former.org_id!r}, and stays"
            )
        now = time.time()
        fields = msgspec.structs.asdict(wanted) | {
            "org_id": org_id,
            "team_id": wanted.team_id if kind is TenantKind.USER else None,
            "created_at": now if former is None else former.created_at,
            "updated_at": now,
        }
        tenant = _within(where, lambda: checked(Tenant(kind=kind, **fields)))
        before = None if former is None else view_of(former)
        yield from _planned(kind, tenant.id, tenant, before, view_of(tenant))

    # Keys.

    def _keys(self, state: ManagedState) -> Iterator[Planned]:
        wanted = self._document.keys
        if wanted is UNSET:
            return
        seen: set[str] = set()
        self._hashes = {key.key_hash for key in state.keys}
        orgs, index = self._organizations(state), _KeyIndex(state.keys)
        for i, each in enumerate(wanted):
            where = f"keys[{i}]"
            former = index.find(where, each)
            if each.org_id not in orgs:
                raise _invalid(
                    f"{where}.org_id", f"there is no organization {each.org_id!r}"
                )
            key = self._key(where, each, former)
            self._refuse_own(key)
            if former is not None:
                _once(seen, former.key_id, where)
            before = None if former is None else plain_key(former)
            yield from _planned("keys", key.key_id, key, before, plain_key(key))
        if self._prune:
            for key in state.keys:
                if key.key_id not in seen and not key.revoked:
                    gone = msgspec.structs.replace(key, blocked=True, revoked=True)
                    self._refuse_own(gone)
                    yield from _planned("keys", key.key_id, gone, plain_key(key), None)

    def _organizations(self, state: ManagedState) -> set[str]:
        """Return the organisations that there will be, but for those to delete."""
        wanted = self._document.organizations
        named = set() if wanted is UNSET else {each.id for each in wanted}
        return named | {OPERATOR_ORG} | {tenant.org_id for tenant in state.tenants}

    def _refuse_own(self, key: StoredKey) -> None:
        if key.key_id == self._own_key and (key.blocked or key.role is not Role.ADMIN):
            raise Conflict(
                f"this would revoke, block or demote the key {key.key_id} that asks for"
                " it; name it in the section keys as it is, or use another key",
                code="own_key",
            )

    def _key(
        self, where: str, wanted: WantedKey, former: StoredKey | None
    ) -> StoredKey:
        fields: dict[str, Any] = {
            "name": _within(where, lambda: text("name", wanted.name)),
            "role": wanted.role,
            "rpm_limit": wanted.rpm_limit,
            "tpm_limit": wanted.tpm_limit,
            "max_concurrent": wanted.max_concurrent,
            "max_budget_nanousd": _within(
                where, lambda: nanousd("max_budget", wanted.max_budget)
            ),
            "tags": wanted.tags,
            "metadata": wanted.metadata,
            "expires_at": _within(where, lambda: unix("expires_at", wanted.expires_at)),
            "blocked": wanted.blocked,
        }
        for name in ("allowed_models", "allowed_providers"):
            fields[name] = _within(where, partial(names, name, getattr(wanted, name)))
        if former is None:
            return self._new_key(where, wanted, fields)
        for name in ("org_id", "team_id", "user_id"):
            if getattr(former, name) != getattr(wanted, name):
                raise _invalid(
                    f"{where}.{name}",
                    f"the present one is {getattr(former, name)!r}, and stays: make"
                    " another key",
                )
        return msgspec.structs.replace(former, **fields)

    def _new_key(
        self, where: str, wanted: WantedKey, fields: dict[str, Any]
    ) -> StoredKey:
        secret = new_key()
        key_hash, prefix = hash_key(secret.reveal().encode()), shown_prefix(secret)
        if wanted.key_hash:
            if not _HASH.fullmatch(wanted.key_hash):
                raise _invalid(f"{where}.key_hash", "expected 64 hexadecimal digits")
            if wanted.key_hash in self._hashes:
                raise _invalid(f"{where}.key_hash", "is that of another key")
            self._hashes.add(wanted.key_hash)
            key_hash, prefix = wanted.key_hash, "gnd_"
        key = StoredKey(
            key_id=wanted.id or new_id(),
            key_hash=key_hash,
            key_prefix=prefix,
            org_id=wanted.org_id,
            team_id=wanted.team_id,
            user_id=wanted.user_id,
            created_at=time.time(),
            **fields,
        )
        if not wanted.key_hash:
            self.made.append((key, secret))
        return key


def document_of(
    state: ManagedState,
    provisioned: Collection[tuple[Kind, str]],
    secrets: Secrets,
    *,
    key_hashes: bool,
) -> dict[str, list[dict[str, Any]]]:
    """Return the present state as a document; to apply it changes nothing."""
    sections: dict[str, list[dict[str, Any]]] = {}
    for kind in Kind:
        sections[kind] = [
            secrets.hidden(thing.spec, kind, thing.name)
            for thing in state.objects
            if thing.kind is kind and (kind, thing.name) not in provisioned
        ]
    for tenant in sorted(state.tenants, key=lambda tenant: tenant.id):
        view = view_of(tenant)
        del view["created_at"], view["updated_at"]
        sections.setdefault(tenant.kind, []).append(_without_defaults(view, NewTenant))
    for key in state.keys:
        if key.revoked:
            continue
        shown = {n: v for n, v in plain_key(key).items() if n in _KEY_FIELDS}
        if key_hashes:
            shown["key_hash"] = key.key_hash
        sections.setdefault("keys", []).append(_without_defaults(shown, WantedKey))
    return {name: objects for name, objects in sections.items() if objects}


_KEY_FIELDS = frozenset(WantedKey.__struct_fields__)


def version_of(state: ManagedState) -> str:
    """Return the entity tag of the whole state."""
    sealed = Secrets(MasterKeys({}), {})  # nothing needs to be opened for a hash
    content = document_of(state, (), sealed, key_hashes=True)
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:16]


def _without_defaults(
    view: dict[str, Any], type_: type[msgspec.Struct]
) -> dict[str, Any]:
    defaults = _DEFAULTS[type_]
    return {
        name: value
        for name, value in msgspec.json.decode(msgspec.json.encode(view)).items()
        if name == "id" or value != defaults.get(name)
    }


_DEFAULTS: dict[type[msgspec.Struct], dict[str, Any]] = {
    type_: msgspec.to_builtins(type_()) for type_ in (NewTenant, WantedKey)
}


def _planned(
    kind: str,
    name: str,
    thing: Any,  # noqa: ANN401 - a tenant, a key or a specification
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> Iterator[Planned]:
    fields = _difference(before or {}, after or {})
    if before is not None and after is not None and not fields:
        return
    action = "update"
    if before is None:
        action = "create"
    elif after is None:
        action = "revoke" if kind == "keys" else "delete"
    org_id = str((after or before or {}).get("org_id", ""))
    change = ObjectChange(
        action=action, kind=str(kind), id=name, org_id=org_id, fields=fields
    )
    yield Planned(change, thing, before, after)


def _difference(before: dict[str, Any], after: dict[str, Any]) -> list[FieldChange]:
    former, wanted = msgspec.to_builtins(before), msgspec.to_builtins(after)
    return [
        FieldChange(name, former.get(name), wanted.get(name))
        for name in dict.fromkeys((*former, *wanted))
        if name not in _UNCOMPARED
        and former.get(name) != wanted.get(name)
        # A field that one side lacks differs only if the other says something.
        and not (_empty(former.get(name)) and _empty(wanted.get(name)))
    ]


def _empty(value: Any) -> bool:  # noqa: ANN401 - any JSON
    return value is None or value is False or value in ("", [], {}, ())


class _KeyIndex:
    """Keys by id, and those that are not revoked by organisation and name."""

    def __init__(self, keys: Iterable[StoredKey]) -> None:
        self._by_id: dict[str, StoredKey] = {}
        self._by_name: dict[tuple[str, str], list[StoredKey]] = {}
        for key in keys:
            self._by_id[key.key_id] = key
            if not key.revoked:
                self._by_name.setdefault((key.org_id, key.name), []).append(key)

    def find(self, where: str, wanted: WantedKey) -> StoredKey | None:
        """Return the key that is meant; None if it is to be made.

        Raises:
            InvalidRequest: The document does not say which key is meant.
            Conflict: The key has been revoked.
        """
        if wanted.id:
            former = self._by_id.get(wanted.id)
            if former is not None and former.revoked:
                raise Conflict(
                    f"{where}: the key {wanted.id} was revoked, which is for good;"
                    " leave it out, or leave out its id to make another",
                    code="key_revoked",
                )
            return former
        if not wanted.name:
            raise _invalid(f"{where}.name", "a key needs a name or an id")
        found = self._by_name.get((wanted.org_id, wanted.name), [])
        if len(found) > 1:
            raise _invalid(
                f"{where}.name", f"{len(found)} keys have this name; say which by id"
            )
        return found[0] if found else None


def _is_default(tenant: Tenant) -> bool:
    return (tenant.kind, tenant.id) == (TenantKind.ORGANIZATION, OPERATOR_ORG)


def _once(seen: set[str], name: str, where: str) -> None:
    if name in seen:
        raise _invalid(where, f"{name!r} is in the document twice")
    seen.add(name)


def _within(where: str, work: Callable[[], T]) -> T:
    """Return what ``work`` returns; errors of its name their place in the document."""
    try:
        return work()
    except InvalidRequest as error:
        errors = [
            FieldError(f"{where}.{each.field}", each.message) for each in error.errors
        ]
        raise InvalidRequest(f"{where}: {error.message}", *errors) from error


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {message}", FieldError(field, message))
