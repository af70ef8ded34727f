"""Tells systemd how the service is doing: the protocol of sd_notify(3).

systemd says in ``NOTIFY_SOCKET`` where it listens and in ``WATCHDOG_USEC`` how long the
service may be silent. Without the first, nothing is sent.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

import trio

log = logging.getLogger("gandalf.systemd")


class Systemd:
    """Reports the gateway's state to systemd, and that its event loop still turns.

    List it first among the actors: it then stops last, and the watchdog is fed for as
    long as the others drain.
    """

    name = "systemd"

    def __init__(
        self, environment: Mapping[str, str] = os.environ, pid: int | None = None
    ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._watchdog = _watchdog(environment, os.getpid() if pid is None else pid)
        self._closed = trio.Event()

    def ready(self, status: str) -> None:
        """Say that requests are served, at first or again after ``reloading``."""
        self._notify("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Say that the configuration is being read; ``ready`` must follow."""
        # systemd tells by the time whether this is about the reload it asked for.
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._notify("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self, status: str) -> None:
        """Say that the gateway has begun to stop."""
        self._notify("STOPPING=1", f"STATUS={status}")

    async def run(self) -> None:
        """Feed the watchdog until closed, if there is one."""
        if self._address is None or self._watchdog is None:
            await self._closed.wait()
        else:
            await self._feed(self._watchdog)

    def close(self) -> None:
        """Stop feeding the watchdog. Synchronous, idempotent."""
        self._closed.set()

    async def _feed(self, limit: float) -> None:
        while not self._closed.is_set():
            self._notify("WATCHDOG=1")
            # Half the limit, as sd_watchdog_enabled(3) advises: one may be late.
            with trio.move_on_after(limit / 2):
                await self._closed.wait()

    def _notify(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
                # A manager too busy to take a datagram must not hold up the loop.
                notifier.setblocking(False)
                notifier.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.warning("systemd cannot be told %s: %s", lines[0], error)


def _address(path: str) -> str | None:
    if path.startswith("/"):
        return path
    if path.startswith("@"):
        return "\0" + path[1:]  # the abstract namespace of Linux
    if path:
        # vsock, for example: systemd speaks it to the managers of virtual machines.
        log.warning("NOTIFY_SOCKET=%s is of a kind that is not spoken here", path)
    return None


def _watchdog(environment: Mapping[str, str], pid: int) -> float | None:
    """Return the seconds of silence allowed, or None if none are counted for us."""
    if environment.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None  # inherited from a parent that is the one being watched
    usec = environment.get("WATCHDOG_USEC", "")
    return int(usec) / 1_000_000 if usec.isdecimal() and int(usec) > 0 else None
