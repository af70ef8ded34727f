"""Who is calling, and what they may do."""

from __future__ import annotations

import enum

import msgspec

JWT_ID_PREFIX = "jwt:"
"""What the ids of identities begin with that a JWT stands for."""


class Permission(enum.IntFlag):
    """One bit for each thing that a role may allow."""

    USE_MODELS = 1
    MANAGE_OWN_KEYS = 2
    VIEW_OWN_USAGE = 4
    VIEW_ALL_USAGE = 8
    MANAGE_ALL_KEYS = 16
    MANAGE_PROVIDERS = 32
    MANAGE_ROUTES = 64
    MANAGE_ORGS = 128


class Role(enum.StrEnum):
    """What a key is for; each role stands for a fixed set of permissions."""

    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"
    SERVICE_ACCOUNT = "service_account"


ROLE_PERMISSIONS: dict[Role, Permission] = {
    Role.ADMIN: Permission(255),
    Role.MEMBER: Permission.USE_MODELS
    | Permission.MANAGE_OWN_KEYS
    | Permission.VIEW_OWN_USAGE,
    Role.VIEWER: Permission.VIEW_OWN_USAGE | Permission.VIEW_ALL_USAGE,
    Role.SERVICE_ACCOUNT: Permission.USE_MODELS,
}


class Limits(msgspec.Struct, frozen=True):
    """Per-minute allowances of a key. None means unlimited."""

    rpm: int | None = None
    tpm: int | None = None


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """Limits that all keys of an organisation, a team or a user share."""

    name: str
    """``org:acme``, ``team:research``: shown in refusals."""
    limits: Limits
    max_concurrent: int | None = None
    """Requests in flight. None means unlimited."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a key stands for. Immutable: a changed key is a new identity."""

    key_id: str
    key_prefix: str = ""
    """First characters of the key, safe to show in logs and lists."""
    org_id: str = "default"
    team_id: str | None = None
    user_id: str | None = None
    role: Role = Role.MEMBER
    allowed_models: tuple[str, ...] = ()
    """Aliases this key may use, exact or as ``prefix*``. Empty means every model."""
    limits: Limits | None = None
    """The key's own limits. None means the configured defaults."""
    max_budget_nanousd: int | None = None
    """Lifetime budget of the key, in nano-USD. None means none."""
    expires_at: float | None = None
    """Unix time in seconds. None means never."""
    blocked: bool = False
    """A blocked key is refused; revoking a key blocks it."""
    revoked: bool = False
    """Blocked for good."""
    blocked_at: float | None = None
    """Unix time in seconds. None if it is not blocked, or the time is not known."""
    blocked_by: str = ""
    """The tenant that is blocked, if it is not the key itself."""
    max_concurrent: int | None = None
    """Requests of the key in flight. None means unlimited."""
    levels: tuple[Level, ...] = ()
    """Limits shared with other keys, nearest level first."""
    allow_lists: tuple[tuple[str, ...], ...] = ()
    """Further lists of aliases, from the levels above; each one must cover an alias."""
    provider_lists: tuple[tuple[str, ...], ...] = ()
    """Lists of provider names; each one must hold the provider of a target."""
    tags: dict[str, str] = {}

    def may(self, permission: Permission) -> bool:
        """Whether this identity's role grants every bit of ``permission``."""
        return permission in ROLE_PERMISSIONS[self.role]

    def may_use(self, alias: str) -> bool:
        """Whether every allow-list of the key and its tenants covers ``alias``."""
        if self.allowed_models and not _covers(self.allowed_models, alias):
            return False
        return all(_covers(allowed, alias) for allowed in self.allow_lists)

    def may_use_provider(self, provider: str) -> bool:
        """Whether every list of providers holds ``provider``."""
        return all(provider in allowed for allowed in self.provider_lists)


def _covers(allowed: tuple[str, ...], alias: str) -> bool:
    return any(
        alias.startswith(name[:-1]) if name.endswith("*") else alias == name
        for name in allowed
    )
