"""Every key there is, in memory: whom a request's key stands for.

Authenticating is one SHA-256 and one look into a dictionary. It does no I/O, no text
of a caller comes near SQL, and a lost database does not lock out the keys it held.
The dictionary is searched by hash, and a caller who times the search learns about the
hash of his guess, which tells him nothing about a better guess: a comparison in
constant time would add nothing.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Protocol

import trio

from gandalf.config import Config
from gandalf.config.budgets import max_budget_of
from gandalf.domain.budgets import tag_values
from gandalf.domain.errors import Overloaded, PermissionDenied, Unauthenticated
from gandalf.domain.identity import JWT_ID_PREFIX, Identity, Role
from gandalf.domain.keys import (
    KEY_PREFIX,
    MAX_KEY_LENGTH,
    hash_key,
    limits,
    shown_prefix,
)
from gandalf.domain.secret import Secret
from gandalf.domain.tenants import Tenant, TenantKind, Tenants
from gandalf.storage.errors import StorageError
from gandalf.storage.keys import KeyChanges

log = logging.getLogger("gandalf.keys")

# A revoked key must be refused within a second on every instance.
POLL_EVERY = 0.5

# Many missed polls: the store hangs, though it has not failed.
STALE_AFTER = 5.0

NOTE_USED_EVERY = 30.0

_PREFIX = KEY_PREFIX.encode()


class Store(Protocol):
    """Where keys are kept. Implemented by ``gandalf.storage.keys``."""

    async def changes_since(self, version: int) -> KeyChanges | None: ...

    async def note_used(self, key_ids: Collection[str], now: float) -> None: ...


class Tokens(Protocol):
    """Verifies JWTs. Implemented by ``gandalf.actors.token_issuers``."""

    def authenticate(self, token: bytes, tenants: Tenants) -> Identity: ...


class KeyTable:
    """Owns the table of keys, and keeps it as the configuration and the store are.

    A key that both have is the configuration's: there it must be removed.

    Args:
        store: Polled for changes while ``run`` runs.
        config: Whose keys are known besides.
        tokens: Verifies bearer tokens that are JWTs. None: there are only keys.
        clock: Tells how old the last poll is.
        now: Tells the Unix time, for expiry.
    """

    name = "key-table"

    def __init__(
        self,
        store: Store,
        config: Config,
        *,
        tokens: Tokens | None = None,
        clock: Callable[[], float] = trio.current_time,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._config = config
        self._tokens = tokens
        self._tenants = Tenants()
        self._configured = _configured_keys(config, self._tenants)
        self._stored: dict[str, Identity] = {}
        # Below every version: a database without keys, at version 0, has tenants too.
        self._version = -1
        self._read_at = -math.inf
        self._used: set[str] = set()
        self._clock = clock
        self._now = now
        self._closed = trio.Event()
        self._wake = trio.Event()
        self._next_load = trio.Event()

    def __repr__(self) -> str:
        keys = len(self._stored) + len(self._configured)
        return f"<KeyTable {keys} keys, version {self._version}>"

    def authenticate(self, token: bytes) -> Identity:
        """Return the identity behind ``token``: a key, or a JWT of an issuer.

        Raises:
            Unauthenticated: It is no key, an unknown one, or one that has expired.
            PermissionDenied: It has been blocked.
            Overloaded: It is unknown, but the store may know it and cannot be read.
        """
        if not token.startswith(_PREFIX) or len(token) > MAX_KEY_LENGTH:
            if self._tokens is not None and token.count(b".") == 2:
                return self._holder_of(self._tokens, token)
            raise Unauthenticated("this is not an api key of this gateway")
        key_hash = hash_key(token)
        identity = self._configured.get(key_hash)
        stored = identity is None
        if identity is None:
            identity = self._stored.get(key_hash)
            if identity is None:
                raise self._unknown()
        if identity.blocked:
            raise _blocked(identity)
        if identity.expires_at is not None and identity.expires_at <= self._now():
            raise Unauthenticated(
                f"{_named(identity)} expired on {_date(identity.expires_at)}",
                code="api_key_expired",
                identity=identity,
            )
        if stored:
            self._used.add(identity.key_id)
        return identity

    @property
    def degraded(self) -> bool:
        """Whether the store cannot be read; keys that are known still work."""
        return self._clock() - self._read_at > STALE_AFTER

    def replace_config_keys(self, config: Config) -> None:
        """Know the keys of ``config`` in the place of those configured before."""
        self._config = config
        self._configured = _configured_keys(config, self._tenants)

    def tenant(self, kind: TenantKind, tenant_id: str) -> Tenant | None:
        """Return a tenant as it was when the store was last read."""
        return self._tenants.by_id.get((kind, tenant_id))

    def find(self, key_id: str) -> Identity | None:
        """Return the identity behind the key ``key_id``, also of a blocked one.

        It looks at every key: for pages, not for requests.
        """
        for table in (self._configured, self._stored):
            for identity in table.values():
                if identity.key_id == key_id:
                    return identity
        return None

    async def refresh(self) -> None:
        """Return once a change that the store has now is in force here."""
        loaded = self._next_load
        self._wake.set()
        await loaded.wait()

    async def load(self) -> None:
        """Read what has changed in the store. Not while ``run`` runs: that does it.

        Raises:
            StorageError: The store could not be read; the table is as it was.
        """
        changes = await self._store.changes_since(self._version)
        if changes is not None and not self._apply(changes):
            # Keys are gone, not revoked: somebody has restored an older database or
            # deleted rows. What is left of them here must go too.
            self._version = 0
            changes = await self._store.changes_since(0)
            self._stored = {}
            if changes is not None:
                self._apply(changes)
        self._read_at = self._clock()

    async def run(self) -> None:
        """Follow the store until closed; then say which keys were used last."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow)
            nursery.start_soon(self._note_used)

    def close(self) -> None:
        """Stop following. What is known stays known."""
        self._closed.set()
        self._wake.set()

    def _holder_of(self, tokens: Tokens, token: bytes) -> Identity:
        identity = tokens.authenticate(token, self._tenants)
        if identity.blocked:
            raise _blocked(identity)
        return identity

    def _unknown(self) -> Unauthenticated | Overloaded:
        # An infrastructure fault is never a 401: clients throw away keys over those.
        if self.degraded:
            return Overloaded("api keys cannot be looked up now", retry_after=5.0)
        return Unauthenticated("unknown api key")

    def _apply(self, changes: KeyChanges) -> bool:
        """Take the changes over; tell whether the table is then what the store has."""
        self._stored.update(changes.identities)
        self._version = changes.version
        if changes.tenants != self._tenants:
            self._tenants = changes.tenants
            self._configured = _configured_keys(self._config, changes.tenants)
        return len(self._stored) == changes.total

    async def _follow(self) -> None:
        lost = False
        while not await self._woken_after(POLL_EVERY):
            loaded, self._next_load = self._next_load, trio.Event()
            try:
                await self.load()
            except StorageError as error:
                if not lost:
                    log.error("keys cannot be read; those known still work: %s", error)
                self._read_at = -math.inf
                lost = True
            else:
                if lost:
                    log.warning("keys can be read again")
                lost = False
            finally:
                loaded.set()
        self._next_load.set()

    async def _note_used(self) -> None:
        closed = False
        while not closed:
            closed = await self._closed_after(NOTE_USED_EVERY)
            used, self._used = self._used, set()
            if not used:
                continue
            try:
                await self._store.note_used(used, self._now())
            except StorageError as error:
                # Only a time of last use; the next use brings it again.
                log.warning(
                    "the last use of %d keys is not noted: %s", len(used), error
                )

    async def _woken_after(self, seconds: float) -> bool:
        """Wait until ``refresh`` or ``seconds`` have passed; return whether closed."""
        with trio.move_on_after(seconds):
            await self._wake.wait()
        if not self._closed.is_set():
            self._wake = trio.Event()
        return self._closed.is_set()

    async def _closed_after(self, seconds: float) -> bool:
        with trio.move_on_after(seconds):
            await self._closed.wait()
        return self._closed.is_set()


def _configured_keys(config: Config, tenants: Tenants) -> dict[str, Identity]:
    keys = {
        _hash(key.key): tenants.equip(
            Identity(
                key_id=f"config:{key.name}",
                key_prefix=shown_prefix(key.key),
                org_id=key.org_id,
                role=key.role,
                allowed_models=key.allowed_models,
                limits=limits(key.rpm_limit, key.tpm_limit),
                team_id=key.team_id,
                user_id=key.user_id,
                max_budget_nanousd=max_budget_of(key.max_budget),
                tags=tag_values(key.tags),
            )
        )
        for key in config.keys
    }
    if (admin_key := config.auth.admin_key) is not None:
        keys[_hash(admin_key)] = Identity(
            key_id="admin", key_prefix=shown_prefix(admin_key), role=Role.ADMIN
        )
    return keys


def _blocked(identity: Identity) -> PermissionDenied:
    since = identity.blocked_at
    if identity.blocked_by:
        told, code = f"is blocked: {identity.blocked_by} is blocked", "api_key_blocked"
    elif identity.revoked:
        when = "" if since is None else f" on {_date(since)}"
        told, code = f"was revoked{when}", "api_key_revoked"
    else:
        when = "" if since is None else f" since {_date(since)}"
        told, code = f"is blocked{when}", "api_key_blocked"
    return PermissionDenied(f"{_named(identity)} {told}", code=code, identity=identity)


def _named(identity: Identity) -> str:
    if identity.key_id.startswith(JWT_ID_PREFIX):
        return f"the holder of the token, {identity.key_id},"
    return f"the api key {identity.key_prefix}..."


def _date(unix_time: float) -> str:
    return datetime.fromtimestamp(unix_time, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _hash(key: Secret) -> str:
    return hash_key(key.reveal().encode())
