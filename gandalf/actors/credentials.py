"""Keeps the credentials of all providers fresh, ahead of time.

Each credential has one owner, which fetches it in a thread: at once when it is added,
again when half to three quarters of its life are over, and with growing pauses while
that fails. Requests read what is held. Only those that find nothing good wait, all of
them for the one fetch that is under way, and not for long; while a failed fetch waits
to be tried again they are told so at once. A metadata server that hangs delays nobody
whose token is still good, and no other credential.

Some servers (Google's metadata server) give the same token out until shortly before
it expires. It is then asked for again after half of what is left, and so on, which
ends as soon as a new one is to be had.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Hashable, Iterable
from random import Random
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import trio

from gandalf.domain.errors import Fault, UpstreamUnavailable
from gandalf.providers.blocking import Blocking
from gandalf.providers.credentials import Expiring, FetchFailed

log = logging.getLogger("gandalf.credentials")

# What lives shorter than this may expire while a request is on its way.
MARGIN = 10.0
# A fetch that takes longer is given up and tried again.
FETCH_TIMEOUT = 30.0
# A request does not wait longer than this, as for a connection; another target may do.
PATIENCE = 5.0
# Whatever its life, a credential is asked for as often: it may have been replaced.
MAX_AGE = 3600.0
MIN_PAUSE = 1.0
MAX_PAUSE = 60.0

T = TypeVar("T", bound=Expiring)
R = TypeVar("R")


class Runner(Protocol):
    """Runs what blocks. Implemented by ``gandalf.providers.blocking``."""

    async def run(self, function: Callable[[], R]) -> R: ...


class CredentialHealth(NamedTuple):
    """How one credential is doing, for metrics."""

    name: str
    age: float
    """Seconds since it was fetched; ``inf`` if it never was."""
    expires_in: float
    """Seconds; negative if it has expired, ``inf`` if it never does."""
    failures: int
    """Fetches that failed since the last good one."""
    last_error: str
    """Why the last fetch failed; "" if it did not. Holds nothing secret."""


class Credentials:
    """Owns all credentials that must be fetched.

    Args:
        now: Tells the Unix time.
        random: For the moment of a refresh and the pauses after failures.
        runner: Makes what runs the fetches of one credential.
    """

    name = "credentials"

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        random: Random | None = None,
        runner: Callable[[], Runner] = Blocking,
    ) -> None:
        self._now = now
        self._random = random or Random()  # noqa: S311 - spreads load
        self._runner = runner
        self._owners: dict[Hashable, Owner[Any]] = {}
        self._nursery: trio.Nursery | None = None
        self._closed = trio.Event()

    def keep(self, name: str, identity: Hashable, fetch: Callable[[], T]) -> Owner[T]:
        """Return the owner of a credential, which begins to fetch it if it is new.

        Args:
            name: The provider's; what the log and the metrics call it.
            identity: Those of the same identity are one credential.
            fetch: Blocking; runs in a thread. Raises FetchFailed.
        """
        owner = self._owners.get(identity)
        if owner is None:
            owner = Owner(name, fetch, self._runner(), self._now, self._random)
            self._owners[identity] = owner
            if self._nursery is not None:
                self._nursery.start_soon(owner.run)
        return owner

    def keep_only(self, used: Iterable[object]) -> None:
        """Drop the credentials that are not among ``used``."""
        wanted = {id(credential) for credential in used}
        for identity, owner in tuple(self._owners.items()):
            if id(owner) not in wanted:
                owner.drop()
                del self._owners[identity]

    def health(self) -> list[CredentialHealth]:
        """Return how each credential is doing."""
        return [owner.health() for owner in self._owners.values()]

    async def run(self) -> None:
        """Keep the credentials fresh until closed."""
        async with trio.open_nursery() as nursery:
            for owner in self._owners.values():
                nursery.start_soon(owner.run)
            self._nursery = nursery
            await self._closed.wait()
            self._nursery = None
            nursery.cancel_scope.cancel()

    def close(self) -> None:
        """Fetch no more. What is held stays held."""
        self._closed.set()


class Owner(Generic[T]):
    """Owns one credential."""

    def __init__(
        self,
        name: str,
        fetch: Callable[[], T],
        runner: Runner,
        now: Callable[[], float],
        random: Random,
    ) -> None:
        self._name = name
        self._fetch = fetch
        self._runner = runner
        self._now = now
        self._random = random
        self._value: T | None = None
        self._fetched_at = -math.inf
        self._failure: FetchFailed | None = None
        self._failures = 0
        self._retry_at = -math.inf
        self._fetched = trio.Event()
        """Set when the fetch that is under way or comes next is over."""
        self._wanted = trio.Event()
        """Set when somebody begins to wait for a fetch, or it is dropped."""
        self._waiting = 0
        self._dropped = False

    def current(self) -> T | None:
        """Return what is held; None if nothing is, or it is about to expire."""
        value = self._value
        if value is None or value.expires_at - MARGIN <= self._now():
            return None
        return value

    async def get(self) -> T:
        """Return what is held, waiting only if nothing that is good is.

        Raises:
            UpstreamUnavailable: There is none to be had, for now.
        """
        value = self.current()
        if value is not None:
            return value
        if self._dropped or self._retry_at > trio.current_time():
            raise self._unavailable()
        self._wanted.set()
        self._waiting += 1
        try:
            with trio.move_on_after(PATIENCE):
                await self._fetched.wait()
        finally:
            self._waiting -= 1
        value = self.current()
        if value is None:
            raise self._unavailable()
        return value

    def health(self) -> CredentialHealth:
        """Return how it is doing."""
        now = self._now()
        expires_at = -math.inf if self._value is None else self._value.expires_at
        return CredentialHealth(
            self._name,
            now - self._fetched_at,
            expires_at - now,
            self._failures,
            str(self._failure or ""),
        )

    def drop(self) -> None:
        """Fetch no more, but for those who wait already."""
        self._dropped = True
        self._wanted.set()

    async def run(self) -> None:
        """Fetch, and fetch again ahead of time, until dropped."""
        while not self._dropped or self._waiting:
            await self._refresh()
            fetched, self._fetched = self._fetched, trio.Event()
            fetched.set()
            if self._dropped:
                return
            self._wanted = trio.Event()
            await self._pause()

    async def _refresh(self) -> None:
        try:
            with trio.fail_after(FETCH_TIMEOUT):
                value = await self._runner.run(self._fetch)
        except trio.TooSlowError:
            self._failed(FetchFailed(f"no answer in {FETCH_TIMEOUT:.0f}s"))
        except FetchFailed as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 - a library's; its text may be secret
            self._failed(FetchFailed(type(error).__name__))
        else:
            self._succeeded(value)

    def _succeeded(self, value: T) -> None:
        if value.expires_at - MARGIN <= self._now():
            self._failed(FetchFailed("what was fetched has expired"))
            return
        if self._failures:
            log.warning("credential %s: fetched again", self._name)
        self._value = value
        self._fetched_at = self._now()
        self._failure = None
        self._failures = 0
        self._retry_at = -math.inf

    def _failed(self, error: FetchFailed) -> None:
        if not self._failures:
            log.error("credential %s cannot be fetched: %s", self._name, error)
        pause = min(MAX_PAUSE, MIN_PAUSE * 2 ** min(self._failures, 10))
        self._failure = error
        self._failures += 1
        self._retry_at = trio.current_time() + pause * self._random.uniform(0.5, 1.0)

    async def _pause(self) -> None:
        """Wait until it is time to fetch again."""
        if self._failures:
            await trio.sleep_until(self._retry_at)
            return
        life = self._value.expires_at - self._now() if self._value else 0.0
        pause = max(MIN_PAUSE, min(MAX_AGE, life) * self._random.uniform(0.5, 0.75))
        with trio.move_on_after(pause):
            await self._wanted.wait()

    def _unavailable(self) -> UpstreamUnavailable:
        # Why is in the log: what the gateway proves itself with is nobody's business.
        return UpstreamUnavailable(
            self._name,
            "the gateway has no valid credentials for it now",
            fault=Fault.GATEWAY,
            retry_after=max(MIN_PAUSE, self._retry_at - trio.current_time()),
        )
