"""API keys: list, make, change, revoke. A key is shown once, when it is made."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gandalf.domain.audit import AuditEntry
from gandalf.domain.errors import PermissionDenied
from gandalf.domain.identity import Identity, Permission, Role
from gandalf.domain.ids import new_id
from gandalf.domain.keys import StoredKey, hash_key, new_key, shown_prefix
from gandalf.domain.secret import Secret
from gandalf.http.admin.audit import entry_of
from gandalf.http.admin.problems import (
    Conflict,
    FieldError,
    InvalidRequest,
    PreconditionFailed,
)
from gandalf.http.admin.scope import (
    OPERATOR_ORG,
    is_operator,
    not_found,
    org_of,
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
from gandalf.http.admin.values import (
    MAX_COUNT,
    Labels,
    Names,
    Usd,
    names,
    nanousd,
    rfc3339,
    text,
    unix,
)
from gandalf.storage.keys import KeyFilter
from gandalf.storage.tenants import NoSuchParent

_MANAGE = (Permission.MANAGE_ALL_KEYS,)
_READ = (Permission.MANAGE_ALL_KEYS, Permission.MANAGE_OWN_KEYS)

Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]


class Store(Protocol):
    """The keys; ``storage.keys`` has them."""

    async def page(
        self, wanted: KeyFilter, offset: int, limit: int
    ) -> tuple[list[StoredKey], int]: ...

    async def find(self, key_id: str) -> StoredKey | None: ...

    async def create(
        self, key: StoredKey, entry: AuditEntry, replaced: StoredKey | None = None
    ) -> None: ...

    async def update(self, key: StoredKey, entry: AuditEntry) -> bool: ...


class KeyListQuery(Paging, frozen=True, kw_only=True):
    """Which keys to list."""

    org_id: str = ""
    team_id: str = ""


class NewKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A key to make."""

    name: str = ""
    org_id: str = ""
    """Empty: the caller's own."""
    team_id: str | None = None
    user_id: str | None = None
    role: Role = Role.MEMBER
    allowed_models: Names = []
    """Exact aliases or ``prefix*``; empty: every model."""
    allowed_providers: Names = []
    """Empty: every provider."""
    rpm_limit: Count | None = None
    """Requests per minute; null: the default, 0: unlimited."""
    tpm_limit: Count | None = None
    """Tokens per minute; null: the default, 0: unlimited."""
    max_concurrent: Count | None = None
    """Requests in flight; null or 0: unlimited."""
    max_budget: Usd | None = None
    """What the key may spend in its lifetime, in USD; null: unlimited."""
    tags: Labels = {}
    metadata: Labels = {}
    expires_at: datetime | None = None


class KeyChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to change of a key; a field that is left out stays as it is."""

    name: str | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    allowed_models: list[str] | UnsetType = UNSET
    rpm_limit: Count | UnsetType | None = UNSET
    tpm_limit: Count | UnsetType | None = UNSET
    max_budget: Usd | UnsetType | None = UNSET
    expires_at: datetime | UnsetType | None = UNSET
    blocked: bool | UnsetType = UNSET


class Rotation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How to replace a key."""

    overlap_seconds: Annotated[float, Meta(ge=0, le=90 * 86400)] = 0.0
    """How long the old key still works."""


class Revocation(msgspec.Struct, kw_only=True):
    """How to revoke a key."""

    cut: bool = False
    """Whether its requests in flight end with an error now."""


class KeyView(msgspec.Struct, kw_only=True):
    """A key as lists show it."""

    id: str
    key_prefix: str
    name: str
    org_id: str
    team_id: str | None
    user_id: str | None
    role: Role
    allowed_models: list[str]
    allowed_providers: list[str]
    rpm_limit: int | None
    tpm_limit: int | None
    max_concurrent: int | None
    max_budget: float | None
    tags: dict[str, str]
    metadata: dict[str, str]
    expires_at: str | None
    blocked: bool
    created_at: str
    last_used_at: str | None
    origin: str = "managed"


class KeyMade(KeyView, kw_only=True):
    """A new key, with its text."""

    key: str
    """Shown this once."""


class Keys:
    """Handlers for API keys of the database.

    Args:
        store: The keys.
        refresh: Returns once a change is in force.
        cut: Cuts the requests in flight of a key short; returns how many.
    """

    def __init__(
        self,
        store: Store,
        refresh: Callable[[], Awaitable[None]],
        cut: Callable[[str], int],
    ) -> None:
        self._store = store
        self._refresh = refresh
        self._cut = cut

    def endpoints(self) -> Iterator[AdminEndpoint]:
        """Yield the rows of the table."""
        yield AdminEndpoint(
            method="GET",
            path="/keys",
            summary="List API keys, newest first.",
            handler=self.list_all,
            permissions=_READ,
            query=KeyListQuery,
            reply=Listed,
            description="A key without the right to manage keys sees itself only.",
        )
        yield AdminEndpoint(
            method="POST",
            path="/keys",
            summary="Make an API key; its text is in this answer only.",
            handler=self.create,
            permissions=_MANAGE,
            body=NewKey,
            reply=KeyMade,
            status=201,
            example={"name": "web-app", "allowed_models": ["fast"], "rpm_limit": 600},
        )
        yield AdminEndpoint(
            method="GET",
            path="/keys/{id}",
            summary="Return one API key.",
            handler=self.get,
            permissions=_READ,
            reply=KeyView,
        )
        yield AdminEndpoint(
            method="PUT",
            path="/keys/{id}",
            summary="Change an API key; fields that are left out stay as they are.",
            handler=self.update,
            permissions=_MANAGE,
            body=KeyChange,
            reply=KeyView,
            example={"rpm_limit": 60, "blocked": False},
        )
        yield AdminEndpoint(
            method="DELETE",
            path="/keys/{id}",
            summary="Revoke an API key: it is refused from the next request on.",
            handler=self.revoke,
            permissions=_MANAGE,
            query=Revocation,
            description="`cut=true` also ends its running streams with an error.",
        )
        yield AdminEndpoint(
            method="POST",
            path="/keys/{id}/rotate",
            summary="Replace an API key by a new one with the same rights.",
            handler=self.rotate,
            permissions=_READ,
            body=Rotation,
            reply=KeyMade,
            status=201,
            example={"overlap_seconds": 3600},
            description=(
                "Both work for `overlap_seconds`; then the old one has expired. A key"
                " may rotate itself."
            ),
        )

    async def list_all(self, asked: AdminRequest) -> AdminReply:
        query: KeyListQuery = asked.query
        offset, limit = query.bounded()
        identity = asked.identity
        if not identity.may(Permission.MANAGE_ALL_KEYS):
            wanted = KeyFilter(key_id=identity.key_id)
        else:
            own = org_of(identity)
            if own is not None and query.org_id not in ("", own):
                raise PermissionDenied(
                    "cannot access resources outside your organization"
                )
            wanted = KeyFilter(
                org_id=own or query.org_id or None,
                team_id=team_of(identity) or query.team_id or None,
            )
        keys, total = await self._store.page(wanted, offset, limit)
        return listed([_view(key) for key in keys], offset, limit, total)

    async def get(self, asked: AdminRequest) -> AdminReply:
        key = await self._found(asked)
        return AdminReply(body=_view(key), etag=_etag(key))

    async def create(self, asked: AdminRequest) -> AdminReply:
        wanted: NewKey = asked.body
        identity = asked.identity
        org_id = wanted.org_id or identity.org_id
        team_id = wanted.team_id or team_of(identity)
        if not sees(identity, org_id, team_id):
            raise PermissionDenied("cannot create keys outside your organization")
        secret, now = new_key(), time.time()
        key = StoredKey(
            key_id=new_id(),
            key_hash=hash_key(secret.reveal().encode()),
            key_prefix=shown_prefix(secret),
            name=text("name", wanted.name),
            org_id=org_id,
            team_id=team_id,
            user_id=wanted.user_id,
            role=wanted.role,
            allowed_models=names("allowed_models", wanted.allowed_models),
            allowed_providers=names("allowed_providers", wanted.allowed_providers),
            rpm_limit=wanted.rpm_limit,
            tpm_limit=wanted.tpm_limit,
            max_concurrent=wanted.max_concurrent,
            max_budget_nanousd=nanousd("max_budget", wanted.max_budget),
            tags=wanted.tags,
            metadata=wanted.metadata,
            expires_at=unix("expires_at", wanted.expires_at),
            created_at=now,
        )
        return await self._create(asked, "create", key, secret)

    async def _create(
        self,
        asked: AdminRequest,
        action: str,
        key: StoredKey,
        secret: Secret,
        replaced: StoredKey | None = None,
    ) -> AdminReply:
        entry = _entry(asked, action, key, after=plain_key(key))
        try:
            await self._store.create(key, entry, replaced)
        except NoSuchParent as error:
            raise InvalidRequest(
                str(error), FieldError("team_id", str(error))
            ) from error
        await self._refresh()
        made = KeyMade(**plain_key(key), key=secret.reveal())
        return AdminReply(body=made, location=f"/keys/{key.key_id}", etag=_etag(key))

    async def update(self, asked: AdminRequest) -> AdminReply:
        key = await self._found(asked)
        _check(asked, key)
        change: KeyChange = asked.body
        fields = {
            name: getattr(change, name)
            for name in change.__struct_fields__
            if getattr(change, name) is not UNSET
        }
        for name in ("allowed_models", "allowed_providers"):
            if name in fields:
                fields[name] = names(name, fields[name])
        if "expires_at" in fields:
            fields["expires_at"] = unix("expires_at", fields["expires_at"])
        if "max_budget" in fields:
            amount = fields.pop("max_budget")
            fields["max_budget_nanousd"] = nanousd("max_budget", amount)
        changed = msgspec.structs.replace(key, **fields)
        await self._write(asked, "update", key, changed)
        return AdminReply(body=_view(changed), etag=_etag(changed))

    async def revoke(self, asked: AdminRequest) -> AdminReply:
        key = await self._found(asked)
        _check(asked, key)
        revoked = msgspec.structs.replace(key, blocked=True, revoked=True)
        await self._write(asked, "revoke", key, revoked)
        if asked.query.cut:
            self._cut(key.key_id)
        return AdminReply()

    async def rotate(self, asked: AdminRequest) -> AdminReply:
        key = await self._found(asked)
        _check(asked, key)
        now = time.time()
        if key.blocked or (key.expires_at is not None and key.expires_at <= now):
            raise Conflict("a key that is revoked or has expired cannot be rotated")
        secret = new_key()
        fresh = msgspec.structs.replace(
            key,
            key_id=new_id(),
            key_hash=hash_key(secret.reveal().encode()),
            key_prefix=shown_prefix(secret),
            created_at=now,
            last_used_at=None,
        )
        end = now + asked.body.overlap_seconds
        if key.expires_at is not None:
            end = min(end, key.expires_at)
        replaced = msgspec.structs.replace(key, expires_at=end)
        return await self._create(asked, "rotate", fresh, secret, replaced)

    async def _write(
        self, asked: AdminRequest, action: str, key: StoredKey, changed: StoredKey
    ) -> None:
        entry = _entry(
            asked, action, key, before=plain_key(key), after=plain_key(changed)
        )
        if not await self._store.update(changed, entry):
            raise not_found("key", key.key_id)
        await self._refresh()

    async def _found(self, asked: AdminRequest) -> StoredKey:
        key_id, identity = asked.path["id"], asked.identity
        key = await self._store.find(key_id)
        if key is None or not _may_see(identity, key):
            raise not_found("key", key_id)
        return key


def _may_see(identity: Identity, key: StoredKey) -> bool:
    if identity.may(Permission.MANAGE_ALL_KEYS):
        return sees(identity, key.org_id, key.team_id)
    return key.key_id == identity.key_id


def _check(asked: AdminRequest, key: StoredKey) -> None:
    if asked.if_match is not None and asked.if_match != _etag(key):
        raise PreconditionFailed("the key has changed since you read it")
    own = key.key_id == asked.identity.key_id
    if key.org_id == OPERATOR_ORG and not (own or is_operator(asked.identity)):
        raise not_found("key", key.key_id)


def _view(key: StoredKey) -> KeyView:
    return KeyView(**plain_key(key))


def plain_key(key: StoredKey) -> dict[str, Any]:
    """Return ``key`` as the API shows it."""
    return {
        "id": key.key_id,
        "key_prefix": key.key_prefix,
        "name": key.name,
        "org_id": key.org_id,
        "team_id": key.team_id,
        "user_id": key.user_id,
        "role": key.role,
        "allowed_models": list(key.allowed_models),
        "allowed_providers": list(key.allowed_providers),
        "rpm_limit": key.rpm_limit,
        "tpm_limit": key.tpm_limit,
        "max_concurrent": key.max_concurrent,
        "max_budget": None
        if key.max_budget_nanousd is None
        else key.max_budget_nanousd / 10**9,
        "tags": key.tags,
        "metadata": key.metadata,
        "expires_at": rfc3339(key.expires_at),
        "blocked": key.blocked,
        "created_at": rfc3339(key.created_at) or "",
        "last_used_at": rfc3339(key.last_used_at),
    }


def _etag(key: StoredKey) -> str:
    plain = plain_key(key)
    del plain["last_used_at"]
    return hashlib.sha256(msgspec.json.encode(plain)).hexdigest()[:16]


def _entry(
    asked: AdminRequest, action: str, key: StoredKey, **states: dict[str, Any]
) -> AuditEntry:
    return entry_of(
        asked, f"keys.{action}", f"keys/{key.key_id}", org_id=key.org_id, **states
    )
