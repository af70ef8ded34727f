"""JWTs as bearer tokens: the issuers' public keys, and the tokens verified with them.

A request never waits for an issuer: its keys are fetched in the background, and those
last fetched are used for as long as it cannot be reached. A token that is signed with
an unknown key has the keys fetched again, at most once in ``MIN_REFETCH`` seconds, and
is answered with 503 and a ``retry-after`` meanwhile.

A verified token is remembered by its hash until it expires, but not for longer than
``REMEMBERED`` seconds, and not once its issuer has withdrawn a key.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import trio
from cachetools import TLRUCache

from gandalf.config import Issuer
from gandalf.config.check_issuers import fault_of_issuer_url
from gandalf.domain.audit import AuditEntry
from gandalf.domain.errors import Overloaded, Unauthenticated
from gandalf.domain.identity import Identity
from gandalf.domain.ids import new_id
from gandalf.domain.tenants import Tenant, TenantKind, Tenants
from gandalf.storage.errors import StorageError
from gandalf.storage.tenants import NoSuchParent, TenantExists

if TYPE_CHECKING:
    from gandalf.actors.token_verification import Header, SigningKey

log = logging.getLogger("gandalf.tokens")

MAX_TOKEN_BYTES = 8192
"""A token with hundreds of groups in it; verifying one takes 0.1 ms."""

MAX_VERIFIED = 10_000
"""Verified tokens that are remembered, 2 kB each."""

REMEMBERED = 60.0

REFRESH_EVERY = 300.0
"""Seconds between two fetches of an issuer's keys."""

MIN_REFETCH = 10.0

FETCH_TIMEOUT = 10.0

FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0
"""Seconds between two attempts at an issuer that cannot be reached."""

MAILBOX_SIZE = 1000
"""Teams and users that wait to be made. When full, a later request has them made."""

Fetch = Callable[[str], Awaitable[bytes]]
"""Returns the body at a URL, of bounded size, or raises FetchFailed."""


class FetchFailed(Exception):
    """A document of an issuer could not be fetched; the text says why."""


class TenantMaker(Protocol):
    """Where teams and users are made. Implemented by ``gandalf.storage.tenants``."""

    async def insert(self, tenant: Tenant, entry: AuditEntry) -> None: ...


class _Verified:
    """One verified token."""

    __slots__ = ("forgotten_at", "held", "issuer", "own", "tenants")

    def __init__(self, own: Identity, issuer: Issuer, forgotten_at: float) -> None:
        self.own = own
        self.issuer = issuer
        self.forgotten_at = forgotten_at
        self.held = own
        """With all that it inherits from ``tenants``."""
        self.tenants: Tenants | None = None


class TokenIssuers:
    """Owns the issuers' keys and the verified tokens.

    Args:
        issuers: The configured issuers.
        fetch: Fetches a document of an issuer.
        store: Where teams and users are made.
        clock: Tells the age of keys.
        now: Tells the Unix time, for expiry.
    """

    name = "token-issuers"

    def __init__(
        self,
        issuers: Iterable[Issuer],
        fetch: Fetch,
        store: TenantMaker,
        *,
        clock: Callable[[], float] = trio.current_time,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._fetch = fetch
        self._store = store
        self._clock = clock
        self._now = now
        self._keys: dict[str, _IssuerKeys] = {}
        self._verified: TLRUCache[bytes, _Verified] = TLRUCache(
            MAX_VERIFIED, ttu=lambda _, token, now: token.forgotten_at, timer=now
        )
        self._nursery: trio.Nursery | None = None
        self._send, self._receive = trio.open_memory_channel[tuple[Tenant, Identity]](
            MAILBOX_SIZE
        )
        self._pending: set[tuple[TenantKind, str]] = set()
        """Teams and users in the mailbox."""
        self.configure(issuers)

    def __repr__(self) -> str:
        return f"<TokenIssuers {len(self._keys)}, {len(self._verified)} tokens>"

    def authenticate(self, token: bytes, tenants: Tenants) -> Identity:
        """Return the identity that ``token`` stands for, with all that it inherits.

        Raises:
            Unauthenticated: The token is not valid, or no issuer is configured.
            PermissionDenied: It is valid and may not be used here.
            Overloaded: Its issuer's keys are not known at this moment.
        """
        if not self._keys:
            raise Unauthenticated("this is not an api key of this gateway")
        if len(token) > MAX_TOKEN_BYTES:
            raise Unauthenticated(
                f"a token is at most {MAX_TOKEN_BYTES} bytes long",
                code="invalid_token",
            )
        digest = hashlib.sha256(token).digest()
        verified = self._verified.get(digest)
        if verified is None:
            verified = self._verify(token)
            self._verified[digest] = verified
        if verified.tenants is not tenants:
            self._inherit(verified, tenants)
        return verified.held

    def configure(self, issuers: Iterable[Issuer]) -> None:
        """Accept the tokens of ``issuers`` from now on, and of no other."""
        wanted = {issuer.issuer: issuer for issuer in issuers}
        if wanted == {name: keys.issuer for name, keys in self._keys.items()}:
            return
        self._verified.clear()
        for name, keys in tuple(self._keys.items()):
            if wanted.get(name) != keys.issuer:
                keys.drop()
                del self._keys[name]
        for name, issuer in wanted.items():
            if name not in self._keys:
                keys = _IssuerKeys(issuer, self._fetch, self._clock, self._withdrawn)
                self._keys[name] = keys
                if self._nursery is not None:
                    self._nursery.start_soon(keys.run)

    @property
    def degraded(self) -> bool:
        """Whether the keys of an issuer could not be fetched since the start."""
        return any(keys.degraded for keys in self._keys.values())

    async def run(self) -> None:
        """Fetch keys and make teams and users until closed."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for keys in self._keys.values():
                nursery.start_soon(keys.run)
            async for tenant, identity in self._receive:
                await self._make(tenant, identity)
            self._nursery = None
            nursery.cancel_scope.cancel()

    def close(self) -> None:
        """Fetch no more. What is known stays known."""
        self._send.close()

    def _verify(self, token: bytes) -> _Verified:
        # joserfc takes 50 ms to import, and most gateways have no issuer.
        from gandalf.actors import token_verification as verification
        from gandalf.actors.token_claims import identity_of

        header, name = verification.parse(token)
        keys = self._keys.get(name)
        if keys is None:
            raise verification.refused("the token's issuer is not accepted here")
        key = keys.find(header)
        now, issuer = self._now(), keys.issuer
        claims = verification.verify(token, header, key, issuer, now)
        expires_at = verification.expires_at(claims, issuer)
        own = msgspec.structs.replace(
            identity_of(claims, issuer), expires_at=expires_at
        )
        return _Verified(own, issuer, min(expires_at, now + REMEMBERED))

    def _inherit(self, verified: _Verified, tenants: Tenants) -> None:
        from gandalf.actors.token_claims import missing_tenants, unknown

        missing = missing_tenants(verified.own, tenants)
        if missing and not verified.issuer.create_tenants:
            raise unknown(missing[0])
        try:
            for tenant in missing:
                if (tenant.kind, tenant.id) not in self._pending:
                    self._send.send_nowait((tenant, verified.own))
                    self._pending.add((tenant.kind, tenant.id))
        except (trio.WouldBlock, trio.ClosedResourceError):
            pass  # the next request tries again: these tenants are not noted as seen
        else:
            verified.tenants = tenants
        verified.held = tenants.equip(verified.own)

    def _withdrawn(self) -> None:
        """Forget all tokens: one may have been signed with a key that is gone."""
        self._verified.clear()

    async def _make(self, tenant: Tenant, identity: Identity) -> None:
        now = self._now()
        tenant = msgspec.structs.replace(tenant, created_at=now, updated_at=now)
        entry = AuditEntry(
            id=new_id(),
            at=now,
            actor=identity.key_id,
            actor_org=identity.org_id,
            action=f"{tenant.kind}.create",
            object=f"{tenant.kind}/{tenant.id}",
            org_id=tenant.org_id,
            after={"id": tenant.id, "org_id": tenant.org_id},
        )
        try:
            await self._store.insert(tenant, entry)
        except TenantExists:
            pass  # two requests at once, or another instance
        except (NoSuchParent, StorageError) as error:
            log.warning("%s is not made: %s", entry.object, error)
        finally:
            self._pending.discard((tenant.kind, tenant.id))


class _IssuerKeys:
    """The public keys of one issuer, kept fresh by one task."""

    def __init__(
        self,
        issuer: Issuer,
        fetch: Fetch,
        clock: Callable[[], float],
        withdrawn: Callable[[], None],
    ) -> None:
        self.issuer = issuer
        self._fetch = fetch
        self._clock = clock
        self._withdrawn = withdrawn
        self._keys: tuple[SigningKey, ...] = ()
        self._tried_at = -math.inf
        self._failures = 0
        self._wanted = trio.Event()
        self._scope = trio.CancelScope()

    def find(self, header: Header) -> SigningKey:
        """Return the key that must have signed the token with this ``header``.

        Raises:
            Unauthenticated: The issuer has no such key.
            Overloaded: It may have, but that is not known at this moment.
        """
        from gandalf.actors import token_verification as verification

        if not self._keys:
            raise self._unknown()
        key = verification.find_key(self._keys, header, self.issuer)
        if key is not None:
            return key
        if self._clock() - self._tried_at >= MIN_REFETCH:
            self._wanted.set()
        if self._wanted.is_set() or self._failures:
            raise self._unknown()
        raise verification.refused("the token's key is not one of its issuer")

    def drop(self) -> None:
        """Fetch no more."""
        self._scope.cancel()

    @property
    def degraded(self) -> bool:
        """Whether there are no keys, though they were asked for."""
        return not self._keys and self._failures > 0

    async def run(self) -> None:
        """Fetch the keys now and then, and when an unknown one is asked for."""
        with self._scope:
            while True:
                await self._refresh()
                self._wanted = trio.Event()
                with trio.move_on_after(self._pause()):
                    await self._wanted.wait()

    def _unknown(self) -> Overloaded:
        # Never a 401: clients throw their credentials away over those.
        return Overloaded(
            "the signing keys of the token's issuer are being fetched", retry_after=1.0
        )

    def _pause(self) -> float:
        if not self._failures:
            return REFRESH_EVERY
        return min(LAST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10))

    async def _refresh(self) -> None:
        try:
            with trio.fail_after(FETCH_TIMEOUT):
                keys = await self._fetched()
        except (FetchFailed, ValueError, trio.TooSlowError) as error:
            self._failed(str(error) or "it took too long")
        else:
            if self._failures:
                log.warning("the keys of issuer %s can be fetched", self.issuer.name)
            self._failures = 0
            self._replace(keys)
        self._tried_at = self._clock()

    async def _fetched(self) -> tuple[SigningKey, ...]:
        from gandalf.actors.token_verification import read_keys

        return read_keys(await self._fetch(self.issuer.jwks_url or await self._found()))

    async def _found(self) -> str:
        """Return the URL of the keys, by OpenID Connect discovery."""
        base = self.issuer.issuer.rstrip("/")
        answer = await self._fetch(f"{base}/.well-known/openid-configuration")
        try:
            document = msgspec.json.decode(answer, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise FetchFailed("discovery did not answer with JSON") from error
        if document.get("issuer") != self.issuer.issuer:
            raise FetchFailed("discovery answers for another issuer")
        url = document.get("jwks_uri")
        if not isinstance(url, str) or fault_of_issuer_url(url):
            raise FetchFailed("discovery names no usable jwks_uri")
        return url

    def _failed(self, reason: str) -> None:
        if not self._failures:
            log.warning(
                "the keys of issuer %s cannot be fetched; %d known: %s",
                self.issuer.name,
                len(self._keys),
                reason,
            )
        self._failures += 1

    def _replace(self, keys: tuple[SigningKey, ...]) -> None:
        former = {(key.key_id, key.thumbprint) for key in self._keys}
        self._keys = keys
        if former - {(key.key_id, key.thumbprint) for key in keys}:
            self._withdrawn()
