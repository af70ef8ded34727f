"""Starts actors in order and stops them in the reverse order, whatever happens."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import trio

log = logging.getLogger("gandalf.supervisor")


class Actor(Protocol):
    """A long-lived owner of mutable state."""

    @property
    def name(self) -> str: ...

    async def run(self) -> None:
        """Work until closed, then drain and return."""

    def close(self) -> None:
        """Accept no more work. Synchronous, idempotent."""


class ActorEnded(RuntimeError):
    """An actor returned before it was closed: the process would serve without it."""


class _Running:
    """An actor with the scope that can stop it and the event that says it has."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._closed = False
        # Shielded: neither a cancelled parent nor a crashed sibling may cut an
        # actor short. Only ``stop`` ends it.
        self._scope = trio.CancelScope(shield=True)
        self._stopped = trio.Event()

    @property
    def name(self) -> str:
        return self._actor.name

    async def run(self) -> None:
        try:
            with self._scope:
                await self._actor.run()
        finally:
            self._stopped.set()
        if not self._closed:
            raise ActorEnded(f"{self.name} returned before it was closed")

    async def stop(self, grace: float) -> None:
        self._closed = True
        try:
            self._actor.close()
        except Exception:
            # The others must still be closed, and this one still be stopped.
            log.exception("%s failed to close, cancelled", self.name)
            self._scope.cancel()
        with trio.move_on_after(grace):
            await self._stopped.wait()
        if not self._stopped.is_set():
            log.error("%s did not drain in %.1fs, cancelled", self.name, grace)
            self._scope.cancel()
            await self._stopped.wait()


@asynccontextmanager
async def supervise(*actors: Actor, grace: float = 10.0) -> AsyncIterator[None]:
    """Run ``actors`` around the body of the ``async with``.

    List an actor after those it depends on: the last one listed stops first, so
    nobody is ever asked for help by an actor that outlives it. If an actor crashes,
    or returns before it is closed, the body is cancelled, the others still stop in
    order, and the crash is raised.

    Args:
        actors: What to run, dependencies first.
        grace: Seconds each actor gets to drain before it is cancelled.
    """
    async with trio.open_nursery() as nursery:
        running = [_Running(actor) for actor in actors]
        for actor in running:
            nursery.start_soon(actor.run, name=actor.name)
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                for actor in reversed(running):
                    await actor.stop(grace)
