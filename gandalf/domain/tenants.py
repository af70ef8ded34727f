"""Organisations, teams and users, and what a key inherits from them.

A key belongs to an organisation, and may belong to a team and to a user of it. Each
level has limits of its own, which all its keys share: every level is checked, so the
tightest one decides. Allow-lists intersect. Tags are merged; the nearest level wins.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from gandalf.domain.identity import Identity, Level, Limits
from gandalf.domain.keys import StoredKey


class TenantKind(enum.StrEnum):
    """The kinds of tenants, by their section of the admin API."""

    ORGANIZATION = "organizations"
    TEAM = "teams"
    USER = "users"


SHORT: dict[TenantKind, str] = {
    TenantKind.ORGANIZATION: "org",
    TenantKind.TEAM: "team",
    TenantKind.USER: "user",
}
"""Prefix of a level's name: ``team:research``."""


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation, a team or a user."""

    kind: TenantKind
    id: str
    name: str = ""
    org_id: str
    """The organisation's own id if it is one."""
    team_id: str | None = None
    """A user's team."""
    allowed_models: tuple[str, ...] = ()
    """Aliases, exact or as ``prefix*``. Empty: every one that the others allow."""
    allowed_providers: tuple[str, ...] = ()
    """Names of providers. Empty: every one that the others allow."""
    rpm_limit: int | None = None
    """Requests per minute of all its keys together. None or 0: no limit here."""
    tpm_limit: int | None = None
    """Tokens per minute of all its keys together. None or 0: no limit here."""
    max_concurrent: int | None = None
    """Requests in flight of all its keys together. None or 0: no limit here."""
    tags: dict[str, str] = {}
    metadata: dict[str, str] = {}
    """For people and scripts; the gateway does not read it."""
    blocked: bool = False
    """Whether its keys are refused."""
    created_at: float = 0.0
    """Unix time in seconds."""
    updated_at: float = 0.0

    def level(self) -> Level | None:
        """Return the limits that its keys share; None if it has none."""
        if not (self.rpm_limit or self.tpm_limit or self.max_concurrent):
            return None
        return Level(
            name=f"{SHORT[self.kind]}:{self.id}",
            limits=Limits(self.rpm_limit, self.tpm_limit),
            max_concurrent=self.max_concurrent or None,
        )


class Tenants(msgspec.Struct, frozen=True):
    """All tenants as of one moment, by kind and id."""

    by_id: dict[tuple[TenantKind, str], Tenant] = {}

    def chain(
        self, org_id: str, team_id: str | None, user_id: str | None
    ) -> Iterator[Tenant]:
        """Yield user, team and organisation, as far as they are known."""
        user = self.by_id.get((TenantKind.USER, user_id or ""))
        if user is not None and user.org_id == org_id:
            yield user
            team_id = team_id or user.team_id
        team = self.by_id.get((TenantKind.TEAM, team_id or ""))
        if team is not None and team.org_id == org_id:
            yield team
        org = self.by_id.get((TenantKind.ORGANIZATION, org_id))
        if org is not None:
            yield org

    def equip(self, identity: Identity) -> Identity:
        """Return ``identity`` with all that it inherits."""
        tenants = tuple(self.chain(identity.org_id, identity.team_id, identity.user_id))
        if not tenants:
            return identity
        tags: dict[str, str] = {}
        for tenant in reversed(tenants):
            tags |= tenant.tags
        blocked = next((t for t in tenants if t.blocked), None)
        by_kind = {tenant.kind: tenant for tenant in tenants}
        user = by_kind.get(TenantKind.USER)
        return msgspec.structs.replace(
            identity,
            team_id=identity.team_id or (user.team_id if user else None),
            levels=tuple(level for t in tenants if (level := t.level()) is not None),
            allow_lists=tuple(t.allowed_models for t in tenants if t.allowed_models),
            provider_lists=(
                *identity.provider_lists,
                *(t.allowed_providers for t in tenants if t.allowed_providers),
            ),
            tags=tags | identity.tags,
            blocked=identity.blocked or blocked is not None,
            blocked_by=f"{SHORT[blocked.kind]} {blocked.id}" if blocked else "",
        )


def identity_of(key: StoredKey, tenants: Tenants) -> Identity:
    """Return the identity behind ``key``, with all that it inherits."""
    return tenants.equip(key.identity())
