"""The configuration in force: the file and the managed objects, changed while serving.

One task applies every change, so that none is computed from a state that another one
is about to replace:

- SIGHUP and ``POST /admin/v1/reload`` read the file again.
- The admin API changes managed objects.
- A change by another process (a command on the same database, another instance) is
  noticed by its version number within ``POLL_EVERY`` seconds.

An invalid change is refused whole and the configuration in force stays.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio

from gandalf.actors.routes import RouteTable
from gandalf.config import ConfigError
from gandalf.config.merge import ManagedInvalid, Merged
from gandalf.domain.audit import AuditEntry
from gandalf.domain.errors import ShuttingDown
from gandalf.domain.managed import ManagedObject
from gandalf.domain.state import ManagedState
from gandalf.http.upstreams import close_unused, make_snapshot
from gandalf.providers.credentials import Keeper
from gandalf.storage.errors import StorageError
from gandalf.storage.managed import Edit, Managed, ManagedStore
from gandalf.storage.reconcile import Plan, StateStore

log = logging.getLogger("gandalf.reload")

T = TypeVar("T")

# Sections that are read at the start only.
FIXED = ("server", "database", "usage", "telemetry")

POLL_EVERY = 0.5
"""Seconds between two looks at the version of the managed objects."""

MAILBOX_SIZE = 100
"""Changes that may wait. A full mailbox makes the callers wait, who are few."""

Read = Callable[[Sequence[ManagedObject]], Merged]
"""Reads the file and merges the managed objects into it. Blocking."""


class _Job(Generic[T]):
    """One change, and the place where its caller finds the result."""

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._done = trio.Event()
        self._result: T
        self._error: Exception | None = None

    async def run(self) -> None:
        try:
            self._result = await self._work()
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            self._error = error
        self._done.set()

    async def wait(self) -> T:
        await self._done.wait()
        if self._error is not None:
            raise self._error
        return self._result


class ConfigManager:
    """Owns the configuration in force and applies changes to it, one at a time.

    Args:
        read: Reads the file and merges managed objects into it.
        store: The managed objects.
        state: The managed objects, tenants and keys together.
        routes: Holder of the snapshot that requests use.
        configure: Called with each new configuration once it is in force.
        keeper: Keeps credentials fresh.
    """

    name = "config-manager"

    def __init__(
        self,
        read: Read,
        store: ManagedStore,
        state: StateStore,
        routes: RouteTable,
        configure: tuple[Callable[..., None], ...],
        keeper: Keeper | None = None,
        *,
        managed: Managed | None = None,
        merged: Merged | None = None,
    ) -> None:
        self._read = read
        self._store = store
        self._state = state
        self._routes = routes
        self._configure = configure
        self._keeper = keeper
        self.managed = managed or Managed(0, ())
        """The managed objects in force."""
        self.merged = merged
        """The configuration in force with the origin of its objects; None until the
        first change if it was made without a file."""
        self._send, self._receive = trio.open_memory_channel[_Job[object]](MAILBOX_SIZE)
        self.last_error = ""
        """Why the last reload was refused; empty if it was accepted."""

    def __repr__(self) -> str:
        version = self._routes.current.version
        return f"<ConfigManager version {version}, managed {self.managed.version}>"

    async def run(self) -> None:
        """Apply changes until closed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._poll)
            async for job in self._receive:
                await job.run()
            nursery.cancel_scope.cancel()

    def close(self) -> None:
        """Accept no more changes. Synchronous, idempotent."""
        self._send.close()

    async def reload(self) -> bool:
        """Read the file again; return whether it is in force. Never raises."""
        return await self._do(self._reload)

    async def change(
        self, edits: Sequence[Edit], entries: Sequence[AuditEntry] = ()
    ) -> Managed:
        """Apply ``edits`` to the managed objects, all or none, and put them in force.

        Raises:
            ManagedInvalid: The result would not be a valid configuration.
            ConfigError: The file itself is not valid at this moment.
            VersionMismatch: An object is not at the version that an edit expects.
            StorageError: The database could not be written to.
        """

        async def apply() -> Managed:
            managed, merged = await self._store.change(
                edits, lambda state: self._read(state.objects), entries, time.time()
            )
            self._put_in_force(managed, merged)
            return managed

        return await self._do(apply)

    async def look(self, at: Callable[[ManagedState], T]) -> T:
        """Return what ``at`` makes of everything that the admin API manages.

        It runs in the database's thread: with thousands of keys it takes a while.

        Raises:
            StorageError: The state could not be read.
        """
        return await self._state.look(at)

    async def reconcile(self, plan: Plan, *, dry_run: bool = False) -> None:
        """Carry out the change that ``plan`` decides on and put it in force.

        Raises:
            ManagedInvalid: The result would not be a valid configuration.
            ConfigError: The file itself is not valid at this moment.
            TenantInUse, NoSuchParent: A tenant cannot be changed so.
            StorageError: The database could not be written to; besides, what ``plan``
                raises.
        """

        async def apply() -> None:
            managed, merged = await self._state.change(
                plan,
                lambda state: self._read(state.objects),
                time.time(),
                dry_run=dry_run,
            )
            if not dry_run and managed.version != self.managed.version:
                self._put_in_force(managed, merged)

        await self._do(apply)

    async def _do(self, work: Callable[[], Awaitable[T]]) -> T:
        job = _Job(work)
        try:
            await self._send.send(job)  # type: ignore[arg-type] # the result is its own
        except trio.ClosedResourceError:
            raise ShuttingDown from None
        return await job.wait()

    async def _reload(self) -> bool:
        try:
            self._put_in_force(*await self._present())
        except (ConfigError, ManagedInvalid) as error:
            log.error("the new configuration is wrong, the old one stays: %s", error)
            self.last_error = str(error)
            return False
        except Exception as error:
            log.exception("the new configuration cannot be used, the old one stays")
            self.last_error = str(error) or type(error).__name__
            return False
        self.last_error = ""
        return True

    async def _present(self) -> tuple[Managed, Merged]:
        """Return what the file and the database say now.

        While the database is away the managed objects in force stay, so that a new
        file can be put in force all the same.
        """
        try:
            return await self._store.validated(lambda state: self._read(state.objects))
        except StorageError as error:
            log.warning("the managed objects stay as they are: %s", error)
            return self.managed, self._read(self.managed.objects)

    async def _poll(self) -> None:
        refused = -1
        while True:
            await trio.sleep(POLL_EVERY)
            try:
                version = await self._store.version()
            except StorageError:
                continue  # The key table reports it.
            if version not in (self.managed.version, refused):
                accepted = await self.reload()
                refused = -1 if accepted else version

    def _put_in_force(self, managed: Managed, merged: Merged) -> None:
        former = self._routes.current
        snapshot = make_snapshot(merged.config, former, self._keeper)
        self._routes.swap(snapshot)
        self.managed, self.merged = managed, merged
        for configure in self._configure:
            configure(snapshot.config)
        close_unused(former, snapshot)
        for section in FIXED:
            if getattr(former.config, section) != getattr(snapshot.config, section):
                log.warning("a change of %r needs a restart", section)
        for thing in merged.shadowed:
            log.warning(
                "%s/%s is declared in the file, the managed one is not in force",
                thing.kind,
                thing.name,
            )
        log.info("configuration %d is in force", snapshot.version)


def without_faults(
    read: Read, objects: Sequence[ManagedObject]
) -> tuple[Merged, list[ManagedInvalid]]:
    """Return the configuration for a start, leaving out managed objects at fault.

    A file that was edited while the gateway was down must not keep it down: what the
    managed objects contradict is reported, and they are not in force.

    Raises:
        ConfigError: The file alone has problems.
    """
    faults: list[ManagedInvalid] = []
    kept = list(objects)
    while True:
        try:
            return read(kept), faults
        except ManagedInvalid as error:
            faults.append(error)
            blamed = {(fault.kind, fault.name) for fault in error.faults}
            # Problems of the file's own settings that only the managed ones cause.
            left = [o for o in kept if blamed and (o.kind, o.name) not in blamed]
            kept = left if len(left) < len(kept) else []
