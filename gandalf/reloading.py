"""Reloads the configuration while requests are served."""

from __future__ import annotations

import logging
from collections.abc import Callable

from gandalf.actors.routes import RouteTable, Snapshot
from gandalf.config import Config, ConfigError
from gandalf.http.upstreams import close_unused, make_snapshot
from gandalf.providers.credentials import Keeper

log = logging.getLogger("gandalf.reload")

# Sections that are read at the start only.
FIXED = ("server", "database", "usage", "telemetry")


class Reloader:
    """Puts a new configuration in force at once, or keeps the old one.

    Args:
        read: Reads and checks the file.
        routes: Where the snapshot in force is.
        configure: Each is told of the new configuration once it is in force.
        keeper: Keeps credentials fresh.
    """

    def __init__(
        self,
        read: Callable[[], Config],
        routes: RouteTable,
        configure: tuple[Callable[[Config], None], ...],
        keeper: Keeper | None = None,
    ) -> None:
        self._keeper = keeper
        self._read = read
        self._routes = routes
        self._configure = configure

    def reload(self) -> bool:
        """Read the configuration; return whether it is in force. Never raises."""
        former = self._routes.current
        try:
            config = self._read()
            snapshot = make_snapshot(config, former, self._keeper)
        except ConfigError as error:
            log.error("the new configuration is wrong, the old one stays: %s", error)
            return False
        except Exception:
            log.exception("the new configuration cannot be used, the old one stays")
            return False
        self._put_in_force(former, snapshot)
        return True

    def _put_in_force(self, former: Snapshot, snapshot: Snapshot) -> None:
        self._routes.swap(snapshot)
        for configure in self._configure:
            configure(snapshot.config)
        close_unused(former, snapshot)
        for section in FIXED:
            if getattr(former.config, section) != getattr(snapshot.config, section):
                log.warning("a change of %r needs a restart", section)
        log.info("configuration %d is in force", snapshot.version)
