"""The clock of an attempt at an upstream, and what is raised when it is over."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from gandalf.domain.errors import Fault


class UpstreamBroken(Exception):
    """The connection failed, or what came over it was not HTTP.

    Attributes:
        sent: Whether the upstream may have seen any of the request.
        fault: ``Fault.GATEWAY`` if a limit of the gateway itself was the cause.
    """

    def __init__(
        self, message: str, *, sent: bool, fault: Fault = Fault.TARGET
    ) -> None:
        super().__init__(message)
        self.sent = sent
        self.fault = fault


class Watch:
    """The clock of one attempt: whoever is responsible for a phase says it begins.

    Whoever waits for an upstream sets ``stop`` to what makes that waiting fail, or
    waits inside ``with watch.guard()``, and then raises UpstreamBroken. ``expired``
    tells that it was for the time, ``name`` and ``limit`` which phase it was.
    """

    __slots__ = (
        "deadline",
        "expired",
        "hedge",
        "hedge_at",
        "limit",
        "name",
        "overtaken",
        "resent_at",
        "stop",
        "total_deadline",
    )

    def __init__(self, total_deadline: float = math.inf) -> None:
        self.total_deadline = total_deadline
        self.deadline = total_deadline
        self.name = "connect"
        self.limit = 0.0
        self.expired = False
        self.stop: Callable[[], object] = _nobody
        self.hedge: Callable[[], object] | None = None
        """Called at ``hedge_at`` if the attempt is still connecting then."""
        self.hedge_at = math.inf
        self.overtaken = False
        """Whether another target had connected first."""
        self.resent_at = 0.0
        """When the request was sent again, its kept connection being closed. 0: not."""

    def phase(self, name: str, limit: float | None, now: float | None = None) -> None:
        """Begin a phase that may last ``limit`` seconds. None: no limit.

        ``now`` is for whoever has just asked what time it is.
        """
        self.name = name
        if limit is None:
            self.deadline = self.total_deadline
        else:
            self.limit = limit
            self.deadline = (trio.current_time() if now is None else now) + limit

    @property
    def worked(self) -> bool:
        """True if the upstream may have seen the request."""
        return self.name not in ("connect", "pool")

    def sweep(self, now: float) -> None:
        """Stop who waits if the time is over by ``now``."""
        if self.hedge is not None and now >= self.hedge_at:
            hedge, self.hedge = self.hedge, None
            if not self.worked and not self.expired:
                hedge()
        if self.expired or (now < self.deadline and now < self.total_deadline):
            return
        if now >= self.total_deadline:
            self.name = "total"
        self.expired = True
        self.stop()

    def overtake(self, limit: float) -> None:
        """Stop connecting, after at least ``limit`` seconds: another target has."""
        if not self.worked and not self.expired and self.stop is not _nobody:
            self.limit = limit
            self.expired = self.overtaken = True
            self.stop()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Wait inside, with a cancel scope of its own.

        Raises:
            UpstreamBroken: The time was over.
        """
        with trio.CancelScope() as scope:
            self.stop = scope.cancel
            yield
            return
        raise UpstreamBroken(f"{self.name} took too long", sent=self.worked)


class ScopedWatch(Watch):
    """A watch that needs nobody to sweep it: it moves the deadline of a scope."""

    __slots__ = ("_scope",)

    def __init__(self, scope: trio.CancelScope) -> None:
        super().__init__()
        self._scope = scope

    def phase(self, name: str, limit: float | None, now: float | None = None) -> None:
        super().phase(name, limit, now)
        self._scope.deadline = self.deadline


def _nobody() -> None:
    """Stops nobody: there is nobody who waits yet."""
