"""The running gateway: cache, drain, reload, configuration in force."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Protocol

import msgspec

from gandalf.config import Config
from gandalf.domain.audit import AuditEntry
from gandalf.domain.errors import GatewayError, PermissionDenied
from gandalf.domain.identity import Permission
from gandalf.domain.secret import Secret
from gandalf.http.admin.audit import entry_of
from gandalf.http.admin.problems import Conflict
from gandalf.http.admin.scope import is_operator, require_operator
from gandalf.http.admin.secrets import fingerprint
from gandalf.http.admin.table import AdminEndpoint, AdminReply, AdminRequest

_PROVIDERS = (Permission.MANAGE_PROVIDERS,)


class Runtime(Protocol):
    """What the handlers need of the running gateway; ``app`` has it."""

    async def reload(self) -> bool: ...

    def purge_cache(self, *, alias: str | None, org_id: str | None) -> int:
        """Forget cached answers of an alias and to an organisation; None: any.

        Returns the number of answers.
        """

    @property
    def in_flight(self) -> int:
        """Requests that are being answered."""

    drained: bool
    """Whether the gateway says that it is not ready because it was told to."""

    @property
    def reload_error(self) -> str: ...


class Purge(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which cached answers to forget; without fields all of them."""

    alias: str | None = None
    """Answers to this model name."""
    org_id: str | None = None
    """Answers to this organisation."""


class DrainState(msgspec.Struct, frozen=True):
    """Progress of a drain."""

    draining: bool
    in_flight: int
    """Requests that are being answered."""


class Reloaded(msgspec.Struct, frozen=True):
    """Result of a reload."""

    version: int
    """Counts the configurations in force since the start."""


class ConfigView(msgspec.Struct, frozen=True):
    """The configuration in force."""

    version: int
    config: dict[str, Any]
    """As the file has it, defaults filled in; secrets are fingerprints."""
    origins: dict[str, str]
    """By dotted path: ``file:LINE``, ``environment:NAME`` or ``managed``. A value that
    is not listed is a default."""


class RuntimeEndpoints:
    """Handlers for the running gateway.

    Args:
        runtime: The gateway.
        current: Returns the configuration in force and its version.
        origins: Returns the origin of each value that is not a default.
        append: Appends to the audit trail.
    """

    def __init__(
        self,
        runtime: Runtime,
        current: Callable[[], tuple[Config, int]],
        origins: Callable[[], Mapping[str, str]],
        append: Callable[[AuditEntry], Awaitable[None]],
    ) -> None:
        self._runtime = runtime
        self._current = current
        self._origins = origins
        self._append = append

    def endpoints(self) -> Iterator[AdminEndpoint]:
        """Yield the rows of the table."""
        yield AdminEndpoint(
            method="POST",
            path="/cache/purge",
            summary="Forget cached answers: all, of a model, or of an organisation.",
            handler=self.purge,
            permissions=_PROVIDERS,
            body=Purge,
            example={"alias": "fast"},
            description=(
                "Answers that are in the making are not stored either. An"
                " organisation's administrator forgets its own."
            ),
        )
        yield AdminEndpoint(
            method="GET",
            path="/drain",
            summary="Show whether the gateway is draining, and what is still running.",
            handler=self.drain_state,
            permissions=_PROVIDERS,
            reply=DrainState,
        )
        yield AdminEndpoint(
            method="POST",
            path="/drain",
            summary="Report not ready on `/readyz`, so that load balancers send no more"
            " requests.",
            handler=self.drain,
            permissions=_PROVIDERS,
            reply=DrainState,
            description=(
                "Running requests finish, and requests that still come are served."
                " The process stays."
            ),
        )
        yield AdminEndpoint(
            method="DELETE",
            path="/drain",
            summary="Report ready again.",
            handler=self.undrain,
            permissions=_PROVIDERS,
        )
        yield AdminEndpoint(
            method="POST",
            path="/reload",
            summary="Read the configuration file again and put it in force.",
            handler=self.reload,
            permissions=_PROVIDERS,
            reply=Reloaded,
            description="409 with every problem if the file is not valid.",
        )
        yield AdminEndpoint(
            method="GET",
            path="/config",
            summary="Show the configuration in force, each value with its origin.",
            handler=self.config,
            permissions=_PROVIDERS,
            reply=ConfigView,
        )

    async def purge(self, asked: AdminRequest) -> AdminReply:
        wanted: Purge = asked.body
        org_id = _purged_org(asked, wanted)
        count = self._runtime.purge_cache(alias=wanted.alias, org_id=org_id)
        after = {"purged": count, "alias": wanted.alias, "org_id": org_id}
        entry = entry_of(
            asked, "cache.purge", "cache", org_id=org_id or "", after=after
        )
        await self._append(entry)
        return AdminReply()

    async def drain_state(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        return AdminReply(body=self._drain_state())

    async def drain(self, asked: AdminRequest) -> AdminReply:
        await self._set_drained(asked, "drain.begin", drained=True)
        return AdminReply(body=self._drain_state())

    async def undrain(self, asked: AdminRequest) -> AdminReply:
        await self._set_drained(asked, "drain.end", drained=False)
        return AdminReply()

    async def _set_drained(
        self, asked: AdminRequest, action: str, *, drained: bool
    ) -> None:
        require_operator(asked.identity)
        before = {"draining": self._runtime.drained}
        entry = entry_of(
            asked, action, "drain", before=before, after={"draining": drained}
        )
        await self._append(entry)
        self._runtime.drained = drained

    def _drain_state(self) -> DrainState:
        return DrainState(self._runtime.drained, self._runtime.in_flight)

    async def reload(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        if not await self._runtime.reload():
            raise Conflict(
                "the configuration on disk is not valid and the old one stays:"
                f" {self._runtime.reload_error}",
                code="invalid_configuration",
            )
        _, version = self._current()
        await self._append(
            entry_of(asked, "config.reload", "config", after={"version": version})
        )
        return AdminReply(body=Reloaded(version))

    async def config(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        config, version = self._current()
        view = ConfigView(version, _builtins(config), dict(self._origins()))
        return AdminReply(body=view)


def _purged_org(asked: AdminRequest, wanted: Purge) -> str | None:
    """Return the organisation whose answers are to be forgotten; None: of all."""
    identity = asked.identity
    if is_operator(identity):
        return wanted.org_id
    if identity.team_id is not None:
        # The cache does not know teams.
        raise PermissionDenied("this needs the administrator of an organization")
    if wanted.org_id not in (None, identity.org_id):
        raise PermissionDenied("cannot access resources outside your organization")
    return identity.org_id


def _builtins(config: Config) -> dict[str, Any]:
    def hide(value: object) -> str:
        if isinstance(value, Secret):
            return fingerprint(value.reveal())
        raise GatewayError

    shown: dict[str, Any] = msgspec.to_builtins(config, enc_hook=hide)
    return shown
