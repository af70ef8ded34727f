"""The running gateway: cache, circuit breakers, reload, configuration in force."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol

import msgspec

from gandalf.actors.breakers import TargetHealth
from gandalf.config import Config
from gandalf.domain.audit import AuditEntry
from gandalf.domain.errors import GatewayError
from gandalf.domain.identity import Permission
from gandalf.domain.secret import Secret
from gandalf.http.admin.audit import entry_of
from gandalf.http.admin.configuration import fingerprint
from gandalf.http.admin.problems import Conflict
from gandalf.http.admin.scope import require_operator
from gandalf.http.admin.table import AdminEndpoint, AdminReply, AdminRequest

_PROVIDERS = (Permission.MANAGE_PROVIDERS,)


class Runtime(Protocol):
    """What the handlers need of the running gateway; ``app`` has it."""

    async def reload(self) -> bool: ...

    def purge_cache(self) -> int:
        """Forget all cached answers; return how many there were."""

    def target_health(self) -> tuple[TargetHealth, ...]: ...

    @property
    def reload_error(self) -> str: ...


class Reloaded(msgspec.Struct, frozen=True):
    """Result of a reload."""

    version: int
    """Counts the configurations in force since the start."""


class ConfigView(msgspec.Struct, frozen=True):
    """The configuration in force."""

    version: int
    config: dict[str, Any]
    """As the file has it, defaults filled in; secrets are fingerprints."""


class RuntimeEndpoints:
    """Handlers for the running gateway.

    Args:
        runtime: The gateway.
        current: Returns the configuration in force and its version.
        append: Appends to the audit trail.
    """

    def __init__(
        self,
        runtime: Runtime,
        current: Callable[[], tuple[Config, int]],
        append: Callable[[AuditEntry], Awaitable[None]],
    ) -> None:
        self._runtime = runtime
        self._current = current
        self._append = append

    def endpoints(self) -> Iterator[AdminEndpoint]:
        """Yield the rows of the table."""
        yield AdminEndpoint(
            method="POST",
            path="/cache/purge",
            summary="Forget all cached answers.",
            handler=self.purge,
            permissions=_PROVIDERS,
        )
        yield AdminEndpoint(
            method="GET",
            path="/health/targets",
            summary="Show the circuit breaker of each target used so far.",
            handler=self.targets,
            permissions=_PROVIDERS,
            reply=list[TargetHealth],
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
            summary="Show the configuration in force.",
            handler=self.config,
            permissions=_PROVIDERS,
            reply=ConfigView,
        )

    async def purge(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        count = self._runtime.purge_cache()
        await self._append(
            entry_of(asked, "cache.purge", "cache", after={"purged": count})
        )
        return AdminReply()

    async def targets(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        return AdminReply(body=self._runtime.target_health())

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
        return AdminReply(body=ConfigView(version, _builtins(config)))


def _builtins(config: Config) -> dict[str, Any]:
    def hide(value: object) -> str:
        if isinstance(value, Secret):
            return fingerprint(value.reveal())
        raise GatewayError

    shown: dict[str, Any] = msgspec.to_builtins(config, enc_hook=hide)
    return shown
