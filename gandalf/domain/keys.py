"""What an API key of ours looks like, and what is kept of it."""

from __future__ import annotations

import hashlib
import secrets

import msgspec

from gandalf.domain.identity import Identity, Limits, Role
from gandalf.domain.secret import Secret

KEY_PREFIX = "gnd_"

# Ours have 47 characters; those of a configuration file may be longer. What is longer
# than this is no key, and is not worth a hash.
MAX_KEY_LENGTH = 256

_SHOWN_LENGTH = 12
_LONG_ENOUGH_TO_SHOW = 2 * _SHOWN_LENGTH


def new_key() -> Secret:
    """Return a fresh key: ``gnd_`` and 32 random bytes in base64url, unpadded."""
    return Secret(KEY_PREFIX + secrets.token_urlsafe(32))


def hash_key(token: bytes) -> str:
    """Return what is kept in place of the key: its SHA-256 in lower-case hex.

    A key is 256 random bits, so nothing slower than one SHA-256 is needed to keep
    anyone from finding it by its hash.
    """
    return hashlib.sha256(token).hexdigest()


def shown_prefix(key: Secret) -> str:
    """Return the beginning of the key, by which its owner can tell it from others."""
    text = key.reveal()
    # One that somebody made up may be too short for a part of it to be told.
    return text[:_SHOWN_LENGTH] if len(text) >= _LONG_ENOUGH_TO_SHOW else KEY_PREFIX


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as the database keeps it. Revoking it sets ``blocked`` and ``revoked``."""

    key_id: str
    key_hash: str
    key_prefix: str
    name: str = ""
    user_id: str | None = None
    team_id: str | None = None
    org_id: str = "default"
    role: Role = Role.MEMBER
    allowed_models: tuple[str, ...] = ()
    """Empty means every model."""
    rpm_limit: int | None = None
    """None means the configured default, 0 unlimited."""
    tpm_limit: int | None = None
    """None means the configured default, 0 unlimited."""
    max_concurrent: int | None = None
    """Requests in flight. None or 0 means unlimited."""
    allowed_providers: tuple[str, ...] = ()
    """Empty means every provider."""
    tags: dict[str, str] = {}
    metadata: dict[str, str] = {}
    """For people and scripts; the gateway does not read it."""
    max_budget_nanousd: int | None = None
    """Lifetime budget in nano-USD. None means none."""
    expires_at: float | None = None
    """Unix time in seconds. None means never."""
    blocked: bool = False
    revoked: bool = False
    blocked_at: float | None = None
    """Unix time in seconds; kept by the database."""
    created_at: float
    """Unix time in seconds."""
    last_used_at: float | None = None
    """Unix time in seconds, up to half a minute late. None means never."""

    def identity(self) -> Identity:
        """Return whom the key stands for."""
        return Identity(
            key_id=self.key_id,
            key_prefix=self.key_prefix,
            org_id=self.org_id,
            team_id=self.team_id,
            user_id=self.user_id,
            role=self.role,
            allowed_models=self.allowed_models,
            limits=limits(self.rpm_limit, self.tpm_limit),
            max_concurrent=self.max_concurrent or None,
            provider_lists=(self.allowed_providers,) if self.allowed_providers else (),
            max_budget_nanousd=self.max_budget_nanousd,
            tags=self.tags,
            expires_at=self.expires_at,
            blocked=self.blocked,
            revoked=self.revoked,
            blocked_at=self.blocked_at,
        )


def limits(rpm: int | None, tpm: int | None) -> Limits | None:
    """Return a key's own limits, or None if it has none."""
    return None if rpm is None and tpm is None else Limits(rpm, tpm)
