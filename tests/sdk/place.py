"""One gateway process, and one upstream of every kind behind it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import trio

from tests.fakes.upstream import FakeUpstream, fake_upstream
from tests.processes.gateway_process import (
    ADMIN_KEY,
    KEY,
    GatewayProcess,
    gateway,
    route,
    settings,
    until,
)
from tests.sdk.listeners import LISTENERS, Listener, listening
from tests.sdk.speakers import SPEAKERS, Speaker


class Place:
    """What the tests of this package run against."""

    def __init__(self, process: GatewayProcess, speakers: dict[str, Speaker]) -> None:
        self.gateway = process
        self.speakers = speakers
        self.aliases: set[str] = set()
        self._admin = process.client(ADMIN_KEY)

    def record(self, listener: Listener[Any]) -> dict[str, Any]:
        """What is on record of the last request of ``listener``, once it is."""
        return self.record_of(listener.request_id)

    def record_of(self, request_id: str) -> dict[str, Any]:
        """What is on record of a request, once it is."""

        def known() -> dict[str, Any] | None:
            answer = self._admin.get(f"/admin/v1/requests/{request_id}")
            return answer.json() if answer.status_code == 200 else None

        return until(known)

    def forget(self) -> None:
        """Let no upstream say what a test that failed has not used."""
        for speaker in self.speakers.values():
            speaker.fake.forget()

    def close(self) -> None:
        self._admin.close()


def embedding_alias(kind: str) -> str:
    return f"vectors-of-{kind}"


@contextmanager
def everything(directory: Path) -> Iterator[Place]:
    """Every upstream, and a gateway with a route to each that is called as it is."""
    with upstreams_in_a_thread(len(SPEAKERS)) as fakes:
        speakers = {
            kind: speaker(fake)
            for (kind, speaker), fake in zip(SPEAKERS.items(), fakes, strict=True)
        }
        config = _config(speakers)
        with gateway(directory, config) as process:
            with closing(Place(process, speakers)) as place:
                place.aliases = {each["model_alias"] for each in config["routes"]}
                yield place


def _config(speakers: dict[str, Speaker]) -> dict[str, Any]:
    routes = [route(kind, kind, each.model) for kind, each in speakers.items()]
    routes += [
        route(embedding_alias(kind), kind, each.embedding_model)
        for kind, each in speakers.items()
        if each.embedding_model
    ]
    dead = [
        speakers["openai"].provider | {"name": f"dead-for-{listener.name}"}
        for listener in LISTENERS
    ]
    routes += [route(each["name"], each["name"]) for each in dead]
    return settings(
        providers=[*(speaker.provider for speaker in speakers.values()), *dead],
        routes=routes,
        cache={"enabled": False},
        circuit_breaker={"enabled": False},
        retries={"max_attempts": 1},
        usage={"flush_every": "2ms"},
    )


@contextmanager
def upstreams_in_a_thread(count: int) -> Iterator[list[FakeUpstream]]:
    """Independent upstreams, on one event loop in one thread of its own."""
    ready: list[tuple[list[FakeUpstream], trio.lowlevel.TrioToken, trio.Event]] = []

    async def serve() -> None:
        stop = trio.Event()
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            fakes = [
                await stack.enter_async_context(fake_upstream(nursery))
                for _ in range(count)
            ]
            ready.append((fakes, trio.lowlevel.current_trio_token(), stop))
            await stop.wait()

    thread = threading.Thread(target=trio.run, args=(serve,), name="fake upstreams")
    thread.start()
    fakes, token, stop = until(lambda: ready)[0]
    try:
        yield fakes
    finally:
        token.run_sync_soon(stop.set)
        thread.join(10)
        assert not thread.is_alive()


@contextmanager
def client_of(place: Place, make: type[Listener[Any]]) -> Iterator[Listener[Any]]:
    """A client of the place's gateway, with a key as any member has."""
    with listening(make, place.gateway.url, KEY) as listener:
        yield listener
