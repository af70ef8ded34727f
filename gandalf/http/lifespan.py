"""Tells an ASGI application that the server begins and ends (ASGI's "lifespan").

An application that raises when it is told wants to hear nothing of it, and is served
all the same. One that says that it could not start is not.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from gandalf.http.edge_asgi import ASGI, Message

log = logging.getLogger("gandalf.http")

# Seconds that an application may take to start, and to stop.
PATIENCE = 60.0


class LifespanFailed(Exception):
    """The application could not start, or not stop."""


@asynccontextmanager
async def lifespan(app: ASGI, state: dict[str, Any]) -> AsyncIterator[None]:
    """Have ``app`` started for as long as the block takes.

    Args:
        app: The application.
        state: What it leaves in here is for its requests.

    Raises:
        LifespanFailed: It says so, or has not said anything for too long.
    """
    told = _Lifespan(app, state)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(told.run)
        await told.tell("startup")
        yield
        await told.tell("shutdown")
        nursery.cancel_scope.cancel()


class _Lifespan:
    """The two ends of the conversation."""

    def __init__(self, app: ASGI, state: dict[str, Any]) -> None:
        self._app = app
        self._state = state
        self._send, self._receive = trio.open_memory_channel[Message](1)
        self._answered = trio.Event()
        self._over = False
        self._failure: str | None = None

    async def run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
        }
        try:
            await self._app(scope, self._receive.receive, self._answer)
        except Exception:
            log.warning("the application does not follow the lifespan", exc_info=True)
        finally:
            self._over = True
            self._answered.set()

    async def tell(self, what: str) -> None:
        """Tell the application of ``what``, and wait until it has seen to it."""
        if self._over:
            return
        self._answered = trio.Event()
        self._send.send_nowait({"type": f"lifespan.{what}"})
        with trio.move_on_after(PATIENCE) as patience:
            await self._answered.wait()
        if patience.cancelled_caught:
            raise LifespanFailed(f"{what}: no answer within {PATIENCE:g} s")
        if self._failure is not None:
            raise LifespanFailed(f"{what}: {self._failure}")

    async def _answer(self, message: Message) -> None:
        _, _, outcome = message["type"].rpartition(".")
        if outcome not in ("complete", "failed"):
            raise RuntimeError(f"unexpected ASGI message {message['type']!r}")
        if outcome == "failed":
            self._failure = message.get("message", "")
        self._answered.set()
