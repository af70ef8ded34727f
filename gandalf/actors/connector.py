"""Opens upstream connections in the background, so that no request waits for them.

There are two occasions. A request that cannot connect to its target within
``HEAD_START`` has the next target's connection opened beside it, and goes to whichever
connects first (RFC 8305 does the same with the addresses of one host). The loser's
connection is opened to its end all the same, which tells whether it is dead or slow.
And an open target whose last failure was one to connect is tried every ``TRY_EVERY``
seconds until it can be connected to: only then is a request sent to it as a probe.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import trio

from gandalf.actors.breakers import Breakers, Permit
from gandalf.actors.routes import RouteTable
from gandalf.domain.errors import Fault
from gandalf.providers.base import Connectable
from gandalf.providers.watch import UpstreamBroken

HEAD_START = 0.25
"""Seconds that a target has to itself before the next one is connected to as well."""

TRY_EVERY = 1.0
"""Seconds between two connections to a target that cannot be connected to."""

MAX_CONNECTING = 64
"""Connections opened at the same time; what is posted beyond that is not done."""

DEFAULT_LIMIT = 10.0
"""Seconds to connect where ``timeouts.connect`` sets no limit."""

Done = Callable[[UpstreamBroken | None], object]


class Connector:
    """Opens connections. ``run`` it for as long as ``post`` is called."""

    name = "connector"

    def __init__(self, breakers: Breakers, routes: RouteTable) -> None:
        self._breakers = breakers
        self._routes = routes
        self._outbox, self._inbox = trio.open_memory_channel[
            tuple[Connectable, float | None, Done]
        ](MAX_CONNECTING)
        self.connecting = 0
        """Connections that are asked for and neither open nor failed."""
        self._trying: set[str] = set()

    def post(self, upstream: Connectable, limit: float | None, done: Done) -> bool:
        """Have a connection opened that ``upstream`` keeps for its next request.

        Args:
            upstream: The connections of a provider.
            limit: Seconds that it may take.
            done: Called in the end, with the error if there is no connection.

        Returns:
            False if too much is under way: ``done`` is not called then.
        """
        if self.connecting >= MAX_CONNECTING:
            return False
        try:
            self._outbox.send_nowait((upstream, limit, done))
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        self.connecting += 1
        return True

    def settle(
        self, upstream: Connectable, limit: float | None, permit: Permit
    ) -> None:
        """Connect to the target of ``permit`` and report the outcome to its breaker."""
        if not self.post(upstream, limit, partial(_report, permit)):
            permit.release()

    async def run(self) -> None:
        """Open connections until closed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._try_unreachable)
            async for job in self._inbox:
                nursery.start_soon(self._connect, *job)
            nursery.cancel_scope.cancel()

    def close(self) -> None:
        """Open no more. Synchronous, idempotent."""
        self._outbox.close()

    async def _connect(
        self, upstream: Connectable, limit: float | None, done: Done
    ) -> None:
        try:
            await upstream.connect(DEFAULT_LIMIT if limit is None else limit)
        except UpstreamBroken as error:
            done(error)
        else:
            done(None)
        finally:
            self.connecting -= 1

    async def _try_unreachable(self) -> None:
        while True:
            await trio.sleep(TRY_EVERY)
            snapshot = self._routes.current
            targets: dict[str, list[str]] = {}
            for target in self._breakers.unreachable():
                targets.setdefault(target.partition("/")[0], []).append(target)
            for name, its_targets in targets.items():
                upstream, provider = (
                    snapshot.upstreams.get(name),
                    snapshot.providers.get(name),
                )
                if (
                    name in self._trying
                    or provider is None
                    or not isinstance(upstream, Connectable)
                ):
                    continue
                limit = provider.timeouts.connect
                if self.post(upstream, limit, partial(self._tried, name, its_targets)):
                    self._trying.add(name)

    def _tried(
        self, name: str, targets: list[str], error: UpstreamBroken | None
    ) -> None:
        self._trying.discard(name)
        if error is None:
            for target in targets:
                self._breakers.reachable(target)


def _report(permit: Permit, error: UpstreamBroken | None) -> None:
    if error is None:
        permit.release()  # Slow to connect, and well.
    else:
        fault: Fault = error.fault
        permit.failure(fault, str(error), sent=False)
