"""Organisations, teams and users."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gandalf.domain.audit import AuditEntry
from gandalf.domain.errors import PermissionDenied
from gandalf.domain.identity import Identity, Permission, Role
from gandalf.domain.ids import new_id
from gandalf.domain.tenants import Tenant, TenantKind
from gandalf.http.admin.audit import entry_of
from gandalf.http.admin.problems import (
    Conflict,
    FieldError,
    InvalidRequest,
    PreconditionFailed,
)
from gandalf.http.admin.scope import (
    OPERATOR_ORG,
    not_found,
    org_of,
    require_operator,
    sees,
    team_of,
)
from gandalf.http.admin.table import (
    AdminEndpoint,
    AdminReply,
    AdminRequest,
    Listed,
    Paging,
    listed,
)
from gandalf.http.admin.values import MAX_COUNT, Labels, Names, names, rfc3339, text
from gandalf.storage.tenants import NoSuchParent, TenantExists, TenantInUse

Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
TENANT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
_ALLOWED = (Permission.MANAGE_ORGS, Permission.MANAGE_ALL_KEYS)
_NOUNS = {
    TenantKind.ORGANIZATION: "organization",
    TenantKind.TEAM: "team",
    TenantKind.USER: "user",
}


class Store(Protocol):
    """The tenants; ``storage.tenants`` has them."""

    async def page(
        self,
        kind: TenantKind,
        offset: int,
        limit: int,
        *,
        org_id: str | None = None,
        id: str | None = None,  # noqa: A002 - the field's name
    ) -> tuple[list[Tenant], int]: ...

    async def find(self, kind: TenantKind, tenant_id: str) -> Tenant | None: ...

    async def insert(self, tenant: Tenant, entry: AuditEntry) -> None: ...

    async def update(self, tenant: Tenant, entry: AuditEntry) -> bool: ...

    async def delete(
        self, kind: TenantKind, tenant_id: str, entry: AuditEntry
    ) -> bool: ...


class TenantQuery(Paging, frozen=True, kw_only=True):
    """Which tenants to list."""

    org_id: str = ""


class NewTenant(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A tenant to make. ``org_id`` and ``team_id`` do not apply to organisations."""

    id: str = ""
    """Empty: a new one is made up."""
    name: str = ""
    org_id: str = ""
    """Empty: the caller's own."""
    team_id: str | None = None
    """Of a user."""
    allowed_models: Names = []
    allowed_providers: Names = []
    rpm_limit: Count | None = None
    tpm_limit: Count | None = None
    max_concurrent: Count | None = None
    tags: Labels = {}
    metadata: Labels = {}
    blocked: bool = False


class TenantChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to change of a tenant; a field that is left out stays as it is."""

    name: str | UnsetType = UNSET
    team_id: str | UnsetType | None = UNSET
    allowed_models: Names | UnsetType = UNSET
    allowed_providers: Names | UnsetType = UNSET
    rpm_limit: Count | UnsetType | None = UNSET
    tpm_limit: Count | UnsetType | None = UNSET
    max_concurrent: Count | UnsetType | None = UNSET
    tags: Labels | UnsetType = UNSET
    metadata: Labels | UnsetType = UNSET
    blocked: bool | UnsetType = UNSET


class TenantEndpoints:
    """Handlers for one kind of tenant.

    Args:
        kind: Which.
        store: The tenants.
        refresh: Returns once a change is in force.
    """

    def __init__(
        self, kind: TenantKind, store: Store, refresh: Callable[[], Awaitable[None]]
    ) -> None:
        self._kind = kind
        self._noun = _NOUNS[kind]
        self._store = store
        self._refresh = refresh

    def endpoints(self, example: dict[str, Any]) -> Iterator[AdminEndpoint]:
        """Yield the rows of the table."""
        base, noun = f"/{self._kind}", self._noun
        yield AdminEndpoint(
            method="GET",
            path=base,
            summary=f"List the {noun}s within the caller's scope.",
            handler=self.list_all,
            permissions=_ALLOWED,
            query=TenantQuery,
            reply=Listed,
        )
        yield AdminEndpoint(
            method="POST",
            path=base,
            summary=f"Make a {self._noun}.",
            handler=self.create,
            permissions=_ALLOWED,
            body=NewTenant,
            reply=dict[str, Any],
            status=201,
            example=example,
            description=(
                "All its keys share its limits; its allow-lists narrow theirs."
            ),
        )
        yield AdminEndpoint(
            method="GET",
            path=f"{base}/{{id}}",
            summary=f"Return one {noun}.",
            handler=self.get,
            permissions=_ALLOWED,
            reply=dict[str, Any],
        )
        yield AdminEndpoint(
            method="PUT",
            path=f"{base}/{{id}}",
            summary=f"Change a {noun}; fields that are left out stay as they are.",
            handler=self.update,
            permissions=_ALLOWED,
            body=TenantChange,
            reply=dict[str, Any],
            example={"rpm_limit": 1000, "blocked": False},
        )
        yield AdminEndpoint(
            method="DELETE",
            path=f"{base}/{{id}}",
            summary=f"Delete a {noun} that nothing belongs to.",
            handler=self.delete,
            permissions=_ALLOWED,
        )

    async def list_all(self, asked: AdminRequest) -> AdminReply:
        query: TenantQuery = asked.query
        offset, limit = query.bounded()
        identity = asked.identity
        own = org_of(identity)
        if own is not None and query.org_id not in ("", own):
            raise PermissionDenied("cannot access resources outside your organization")
        team = team_of(identity) if self._kind is TenantKind.TEAM else None
        found, total = await self._store.page(
            self._kind, offset, limit, org_id=own or query.org_id or None, id=team
        )
        return listed([view_of(tenant) for tenant in found], offset, limit, total)

    async def get(self, asked: AdminRequest) -> AdminReply:
        tenant = await self._found(asked)
        return AdminReply(body=view_of(tenant), etag=_etag(tenant))

    async def create(self, asked: AdminRequest) -> AdminReply:
        tenant = self._new(asked.body, asked.identity)
        self._check_create(asked.identity, tenant)
        entry = self._entry(asked, "create", tenant, after=view_of(tenant))
        try:
            await self._store.insert(tenant, entry)
        except TenantExists as error:
            raise Conflict(
                f"there is a {self._noun} {tenant.id!r} already", code="already_exists"
            ) from error
        except NoSuchParent as error:
            raise InvalidRequest(
                str(error), FieldError("org_id", str(error))
            ) from error
        await self._refresh()
        return AdminReply(
            body=view_of(tenant),
            etag=_etag(tenant),
            location=f"/{self._kind}/{tenant.id}",
        )

    async def update(self, asked: AdminRequest) -> AdminReply:
        tenant = await self._found(asked)
        self._check_change(asked, tenant)
        change: TenantChange = asked.body
        fields = {
            name: getattr(change, name)
            for name in change.__struct_fields__
            if getattr(change, name) is not UNSET
        }
        if "team_id" in fields and self._kind is not TenantKind.USER:
            raise InvalidRequest("unknown field", FieldError("team_id", "is unknown"))
        changed = checked(
            msgspec.structs.replace(tenant, **fields, updated_at=time.time())
        )
        entry = self._entry(
            asked, "update", tenant, before=view_of(tenant), after=view_of(changed)
        )
        try:
            if not await self._store.update(changed, entry):
                raise not_found(self._noun, tenant.id)
        except NoSuchParent as error:
            raise InvalidRequest(
                str(error), FieldError("team_id", str(error))
            ) from error
        await self._refresh()
        return AdminReply(body=view_of(changed), etag=_etag(changed))

    async def delete(self, asked: AdminRequest) -> AdminReply:
        tenant = await self._found(asked)
        self._check_change(asked, tenant)
        if (self._kind, tenant.id) == (TenantKind.ORGANIZATION, OPERATOR_ORG):
            raise Conflict("the operator's organization cannot be deleted")
        entry = self._entry(asked, "delete", tenant, before=view_of(tenant))
        try:
            await self._store.delete(self._kind, tenant.id, entry)
        except TenantInUse as error:
            raise Conflict(
                f"keys, teams or users belong to the {self._noun} {tenant.id!r};"
                " block it instead, or delete them first",
                code="in_use",
            ) from error
        await self._refresh()
        return AdminReply()

    # Checks.

    def _new(self, wanted: NewTenant, identity: Identity) -> Tenant:
        tenant_id = wanted.id or new_id()
        if not TENANT_ID.fullmatch(tenant_id):
            raise InvalidRequest(
                "id: expected letters, digits and . _ @ -",
                FieldError("id", "expected up to 128 letters, digits and . _ @ -"),
            )
        is_org = self._kind is TenantKind.ORGANIZATION
        now = time.time()
        fields = msgspec.structs.asdict(wanted) | {
            "id": tenant_id,
            "org_id": tenant_id if is_org else wanted.org_id or identity.org_id,
            "team_id": wanted.team_id if self._kind is TenantKind.USER else None,
        }
        return checked(
            Tenant(kind=self._kind, **fields, created_at=now, updated_at=now)
        )

    def _check_create(self, identity: Identity, tenant: Tenant) -> None:
        if self._kind is TenantKind.ORGANIZATION:
            require_operator(identity)
        elif not sees(identity, tenant.org_id, _team(tenant)):
            raise PermissionDenied(
                f"cannot create {self._noun}s outside your organization or team"
            )

    def _check_change(self, asked: AdminRequest, tenant: Tenant) -> None:
        identity = asked.identity
        outermost = TenantKind.TEAM if identity.team_id else TenantKind.ORGANIZATION
        if identity.role is not Role.ADMIN or (
            self._kind is outermost and org_of(identity) is not None
        ):
            # Who is confined to a tenant does not lift that tenant's own limits.
            raise PermissionDenied(
                f"the {self._noun} that you administer is changed by those above you"
            )
        if asked.if_match is not None and asked.if_match != _etag(tenant):
            raise PreconditionFailed(f"the {self._noun} has changed since you read it")

    async def _found(self, asked: AdminRequest) -> Tenant:
        tenant_id = asked.path["id"]
        tenant = await self._store.find(self._kind, tenant_id)
        if tenant is None or not self._visible(asked.identity, tenant):
            raise not_found(self._noun, tenant_id)
        return tenant

    def _visible(self, identity: Identity, tenant: Tenant) -> bool:
        if self._kind is TenantKind.ORGANIZATION:
            return org_of(identity) in (None, tenant.id)
        return sees(identity, tenant.org_id, _team(tenant))

    def _entry(
        self, asked: AdminRequest, action: str, tenant: Tenant, **states: dict[str, Any]
    ) -> AuditEntry:
        return entry_of(
            asked,
            f"{self._kind}.{action}",
            f"{self._kind}/{tenant.id}",
            org_id=tenant.org_id,
            **states,
        )


def _no_parent(field: str, error: NoSuchParent) -> InvalidRequest:
    return InvalidRequest(str(error), FieldError(field, str(error)))


def _team(tenant: Tenant) -> str | None:
    return tenant.id if tenant.kind is TenantKind.TEAM else tenant.team_id


def checked(tenant: Tenant) -> Tenant:
    """Return ``tenant``. Raises InvalidRequest if its name or a list is not valid."""
    return msgspec.structs.replace(
        tenant,
        name=text("name", tenant.name),
        allowed_models=names("allowed_models", tenant.allowed_models),
        allowed_providers=names("allowed_providers", tenant.allowed_providers),
    )


def view_of(tenant: Tenant) -> dict[str, Any]:
    """Return ``tenant`` as the API shows it."""
    view: dict[str, Any] = msgspec.structs.asdict(tenant)
    del view["kind"]
    if tenant.kind is TenantKind.ORGANIZATION:
        del view["org_id"]
    if tenant.kind is not TenantKind.USER:
        del view["team_id"]
    view["created_at"] = rfc3339(tenant.created_at)
    view["updated_at"] = rfc3339(tenant.updated_at or tenant.created_at)
    return view


def _etag(tenant: Tenant) -> str:
    return hashlib.sha256(msgspec.json.encode(view_of(tenant))).hexdigest()[:16]
