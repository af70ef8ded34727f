"""Whose the objects at the upstreams are: files, batches, stored responses.

All organisations share a provider's key, so the provider cannot tell them apart: what
one of them has made is the gateway's to know. An object that is not in this table
exists for nobody.

Objects are written as soon as they are known of, behind the answer that told of them:
``note`` does not wait. A process that is killed loses what it learnt in the last
moments, a commit's length (the object is then left at the provider, and reached by
nobody). While the database is away objects are kept in memory, up to ``MAX_PENDING``;
then no more are made.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import trio

from gandalf.domain.errors import Overloaded
from gandalf.domain.objects import ProviderObject
from gandalf.storage.errors import StorageError
from gandalf.storage.objects import PRUNED_AT_ONCE, Name, ObjectPage, PageQuery

log = logging.getLogger("gandalf.objects")

# Some 500 bytes each as a rule, and 16 kB at the most: what an upstream says of them.
MAX_CACHED = 2_000
MAX_PENDING = 10_000
"""Changes waiting for the database above which requests that make more are refused."""

# While the store is away it is tried again after pauses that double up to this.
MIN_PAUSE = 0.05
MAX_PAUSE = 3.0
# Waiting for one's own changes to be in the store, before a list is made of it.
LIST_WAIT = 2.0

# OpenAI keeps responses for 30 days, and longer within conversations.
KEEP_RESPONSES = 90 * 86400.0
PRUNE_EVERY = 3600.0


class Store(Protocol):
    """Where objects are kept. Implemented by ``gandalf.storage.objects``."""

    async def find(self, org_id: str, object_id: str) -> ProviderObject | None: ...

    async def page(self, query: PageQuery) -> ObjectPage | None: ...

    async def write(
        self, kept: Sequence[ProviderObject], deleted: Sequence[Name]
    ) -> None: ...

    async def prune(self, before: float) -> int: ...


class _Fetch:
    """Somebody is asking the store for an object."""

    __slots__ = ("done", "outdated")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.outdated = False
        """Whether the object was deleted meanwhile."""


class ObjectTable:
    """Owns what is known of objects and not in the store yet, and a part of the rest.

    Args:
        store: Where they are kept.
        now: Tells the Unix time.
    """

    name = "object-table"

    def __init__(self, store: Store, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self._cache: OrderedDict[Name, ProviderObject] = OrderedDict()
        # What the store does not have yet; None: deleted. The second of them is on its
        # way there, and overridden by the first.
        self._pending: dict[Name, ProviderObject | None] = {}
        self._writing: dict[Name, ProviderObject | None] = {}
        self._changes = 0
        self._stored = 0
        """How many of the changes are in the store."""
        self._fetches: dict[Name, _Fetch] = {}
        self._wake = trio.Event()
        self._written = trio.Event()
        self._closing = False
        self._prune_at = 0.0
        self.last_error: str | None = None
        """Why the store is not in use now. None while it is."""

    @property
    def degraded(self) -> bool:
        """Whether the store is away; what is known still works."""
        return self.last_error is not None

    @property
    def waiting(self) -> int:
        """Changes that are not in the store yet."""
        return len(self._pending) + len(self._writing)

    def admit(self) -> None:
        """Do nothing if one more object could be remembered.

        Raises:
            Overloaded: It could not; better that it is not made.
        """
        if self.waiting >= MAX_PENDING:
            raise Overloaded("new objects cannot be remembered now", retry_after=5.0)

    def note(self, one: ProviderObject) -> None:
        """Remember ``one``, or what is new about it. Never waits."""
        name = (one.org_id, one.id)
        known = self._known(name)
        if known is not None:
            one = msgspec.structs.replace(
                one,
                key_id=known.key_id,
                created_at=known.created_at,
                shown=one.shown or known.shown,
            )
            if one == known:
                return
        elif not one.created_at:
            one = msgspec.structs.replace(one, created_at=self._now())
        self._change(name, one)

    def forget(self, org_id: str, object_id: str) -> None:
        """Forget an object that is gone. Never waits."""
        self._change((org_id, object_id), None)

    def claim_usage(self, one: ProviderObject) -> bool:
        """Tell whether an object's usage was due; from now on it is not.

        Whoever gets True accounts for it: an answer that tells of usage may come any
        number of times. So does whoever asks about what is not remembered here.
        """
        known = self._known((one.org_id, one.id))
        if known is None:
            return True
        if not known.usage_due:
            return False
        self.note(msgspec.structs.replace(known, usage_due=False))
        return True

    async def get(self, org_id: str, object_id: str) -> ProviderObject | None:
        """Return the organisation's object of this id; None if it has no such thing.

        Raises:
            Overloaded: It is not known here, and the store cannot be read.
        """
        name = (org_id, object_id)
        while True:
            if (known := self._known(name)) is not None or self._is_gone(name):
                return known
            if (fetch := self._fetches.get(name)) is None:
                return await self._fetch(name)
            # Somebody asks already. If they gave up, or there is nothing, we ask.
            await fetch.done.wait()

    async def page(self, query: PageQuery) -> ObjectPage | None:
        """Return a part of a list, what was noted just now included.

        Raises:
            Overloaded: The store cannot be read, or lags behind.
        """
        noted = self._changes
        with trio.move_on_after(LIST_WAIT):
            while self._stored < noted:
                await self._written.wait()
        if self._stored < noted:
            raise Overloaded("objects cannot be listed now", retry_after=5.0)
        try:
            return await self._store.page(
                msgspec.structs.replace(query, now=self._now())
            )
        except StorageError as error:
            raise _away() from error

    async def run(self) -> None:
        """Write what is noted until closed and nothing is left."""
        pause = MIN_PAUSE
        try:
            while not (self._closing and not self.waiting):
                await self._wait_for_work()
                if await self._write():
                    pause = MIN_PAUSE
                    await self._prune()
                else:
                    await trio.sleep(pause)
                    pause = min(2 * pause, MAX_PAUSE)
        finally:
            if self.waiting:
                log.critical("%d objects of upstreams are lost", self.waiting)

    def close(self) -> None:
        """Let ``run`` return once all is written. Synchronous, idempotent."""
        self._closing = True
        self._wake.set()

    # What is known.

    def _known(self, name: Name) -> ProviderObject | None:
        for changes in (self._pending, self._writing):
            if name in changes:
                return changes[name]
        known = self._cache.get(name)
        if known is not None:
            self._cache.move_to_end(name)
        return known

    def _is_gone(self, name: Name) -> bool:
        return name in self._pending or name in self._writing

    def _change(self, name: Name, one: ProviderObject | None) -> None:
        self._changes += 1
        self._pending[name] = one
        self._cache.pop(name, None)
        if one is not None:
            self._remember(name, one)
        elif (fetch := self._fetches.get(name)) is not None:
            fetch.outdated = True
        self._wake.set()

    def _remember(self, name: Name, one: ProviderObject) -> None:
        self._cache[name] = one
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)

    async def _fetch(self, name: Name) -> ProviderObject | None:
        fetch = self._fetches[name] = _Fetch()
        try:
            found = await self._store.find(*name)
        except StorageError as error:
            raise _away() from error
        finally:
            del self._fetches[name]
            fetch.done.set()
        if self._is_gone(name) or name in self._cache:
            return self._known(name)
        # What is not there is not remembered: whoever guesses would fill the memory.
        # Nor is what somebody has deleted while it was read.
        if found is not None and not fetch.outdated:
            self._remember(name, found)
        return found

    # Writing.

    async def _wait_for_work(self) -> None:
        if self._pending or self._closing:
            return
        self._wake = trio.Event()
        with trio.move_on_after(PRUNE_EVERY):
            await self._wake.wait()

    async def _write(self) -> bool:
        """Write what is there; return whether the store took it."""
        if not self._pending:
            return True
        changes = self._changes
        self._writing, self._pending = self._pending, {}
        kept = [one for one in self._writing.values() if one is not None]
        deleted = [name for name, one in self._writing.items() if one is None]
        try:
            await self._store.write(kept, deleted)
        except StorageError as error:
            self._note_away(error)
            self._pending = self._writing | self._pending
            self._writing = {}
            return False
        self._writing = {}
        self._stored = changes
        self._note_back()
        self._written.set()
        self._written = trio.Event()
        return True

    def _note_away(self, error: StorageError) -> None:
        if not self.degraded:
            log.error("objects stay in memory for now: %s", error)
        self.last_error = str(error) or repr(error)

    def _note_back(self) -> None:
        if self.degraded:
            log.warning("the database takes objects again")
        self.last_error = None

    async def _prune(self) -> None:
        now = self._now()
        if now < self._prune_at or self._closing:
            return
        self._prune_at = now + PRUNE_EVERY
        try:
            if await self._store.prune(now - KEEP_RESPONSES) == PRUNED_AT_ONCE:
                self._prune_at = now
        except StorageError as error:
            log.warning("old responses are not forgotten: %s", error)


def _away() -> Overloaded:
    return Overloaded("objects cannot be looked up now", retry_after=5.0)
