"""Circuit breakers: see, trip and reset the breaker of each target."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gandalf.actors.breakers import Breakers, TargetHealth
from gandalf.domain.audit import AuditEntry
from gandalf.domain.identity import Permission
from gandalf.http.admin.audit import entry_of
from gandalf.http.admin.problems import Conflict
from gandalf.http.admin.scope import not_found, require_operator
from gandalf.http.admin.table import AdminEndpoint, AdminReply, AdminRequest
from gandalf.http.admin.values import text

_ALLOWED = (Permission.MANAGE_PROVIDERS,)
MAX_SECONDS = 7 * 86400


class Trip(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How to trip a breaker."""

    seconds: Annotated[float, Meta(gt=0, le=MAX_SECONDS)] = 300.0
    """Time until the first probe; up to a week."""
    reason: str = ""
    """Shown with the breaker's state and in the audit trail."""


class BreakerView(msgspec.Struct, kw_only=True):
    """The circuit breaker of one target."""

    target: str
    """``provider/model``."""
    state: str
    """``closed``, ``open`` or ``half_open``."""
    cause: str | None
    """Why the target is avoided; null if it is not."""
    reason: str
    """The same in words. Empty if it is not avoided."""
    retry_in: float | None
    """Seconds until the next probe, or until the end of a wait."""
    samples: int
    """Attempts in the window."""
    failures: int
    """Failures among them."""


class BreakerEndpoints:
    """Handlers for circuit breakers.

    Args:
        breakers: Their owner.
        targets: Returns the names of all targets of the configuration in force.
        append: Appends to the audit trail.
    """

    def __init__(
        self,
        breakers: Breakers,
        targets: Callable[[], Collection[str]],
        append: Callable[[AuditEntry], Awaitable[None]],
    ) -> None:
        self._breakers = breakers
        self._targets = targets
        self._append = append

    def endpoints(self) -> Iterator[AdminEndpoint]:
        """Yield the rows of the table."""
        yield AdminEndpoint(
            method="GET",
            path="/breakers",
            summary="List the circuit breakers of the targets used so far.",
            handler=self.list_all,
            permissions=_ALLOWED,
            reply=list[BreakerView],
        )
        yield AdminEndpoint(
            method="GET",
            path="/breakers/{name}",
            summary="Return the circuit breaker of one target.",
            handler=self.get,
            permissions=_ALLOWED,
            reply=BreakerView,
            description="The name of a target is `provider/model`.",
        )
        yield AdminEndpoint(
            method="POST",
            path="/breakers/{name}/trip",
            summary="Avoid a target for a time.",
            handler=self.trip,
            permissions=_ALLOWED,
            body=Trip,
            reply=BreakerView,
            example={"seconds": 600, "reason": "maintenance"},
            description=(
                "Requests that no other target can serve are still sent to it. After"
                " `seconds` a request is sent as a probe; its success closes the"
                " breaker. 409 if the circuit breaker is disabled."
            ),
        )
        yield AdminEndpoint(
            method="POST",
            path="/breakers/{name}/reset",
            summary="Close the circuit breaker of a target and end its waits.",
            handler=self.reset,
            permissions=_ALLOWED,
            reply=BreakerView,
        )

    async def list_all(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        return AdminReply(body=[self._view(h) for h in self._breakers.statistics()])

    async def get(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        return AdminReply(body=self._view(self._breakers.health(self._target(asked))))

    async def trip(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        target, wanted = self._target(asked), asked.body
        if not self._breakers.settings.enabled:
            raise Conflict(
                "the circuit breaker is disabled, so a tripped one would avoid nothing;"
                " set circuit_breaker.enabled"
            )
        reason = text("reason", wanted.reason)
        why = f"tripped by {asked.identity.key_id}" + (f": {reason}" if reason else "")
        after = {"state": "open", "seconds": wanted.seconds, "reason": reason}
        # The entry first: what cannot be recorded is not done.
        await self._note(asked, "trip", target, after)
        health = self._breakers.trip(target, wanted.seconds, why)
        return AdminReply(body=self._view(health))

    async def reset(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        target = self._target(asked)
        await self._note(asked, "reset", target, {"state": "closed"})
        return AdminReply(body=self._view(self._breakers.reset(target)))

    async def _note(
        self, asked: AdminRequest, action: str, target: str, after: dict[str, Any]
    ) -> None:
        before = {"state": self._breakers.health(target).state}
        entry = entry_of(
            asked,
            f"breakers.{action}",
            f"breakers/{target}",
            before=before,
            after=after,
        )
        await self._append(entry)

    def _view(self, health: TargetHealth) -> BreakerView:
        retry_in = None
        if health.until is not None:
            retry_in = max(0.0, health.until - self._breakers.clock())
        return BreakerView(
            target=health.target,
            state=health.state.value,
            cause=None if health.cause is None else health.cause.value,
            reason=health.reason,
            retry_in=retry_in,
            samples=health.samples,
            failures=health.failures,
        )

    def _target(self, asked: AdminRequest) -> str:
        name = asked.path["name"]
        if name not in self._targets():
            raise not_found("target", name)
        return name
