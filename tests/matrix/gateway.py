"""The gateway's own stages, dialects and connection pools, for one request at a time.

Upstreams are real servers on the loopback, so that HTTP's framing is the gateway's own
business; the client is in memory. Each request has a world of its own: no breaker, retry
budget or kept connection is left over from another. Time is virtual.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from random import Random

import trio

from gandalf.actors.breakers import Breakers, Cause
from gandalf.actors.connector import Connector
from gandalf.actors.retry_budget import RetryBudget
from gandalf.actors.routes import RouteTable, Snapshot, build_routes
from gandalf.actors.watches import Watches
from gandalf.config import (
    CircuitBreaker,
    Config,
    Provider,
    ProviderAuth,
    Retries,
    Route,
    RouteTarget,
    Timeouts,
)
from gandalf.domain.identity import Identity
from gandalf.domain.secret import Secret
from gandalf.domain.usage import UsageRecord
from gandalf.http.dial import tls_context
from gandalf.http.endpoints import find
from gandalf.http.gateway import Gateway
from gandalf.http.responder import ExchangeResponder
from gandalf.http.upstreams import make_upstream
from gandalf.pipeline.dispatch import Dispatch
from gandalf.pipeline.exchange import Exchange
from gandalf.pipeline.read_call import ReadCall
from gandalf.pipeline.record_usage import RecordUsage
from gandalf.pipeline.select_targets import SelectTargets
from gandalf.pipeline.stage import Pipeline
from gandalf.providers.base import Provider as MadeProvider
from gandalf.providers.registry import make_provider
from tests.fakes.servers import Peer, serving

from .clients import Client
from .formats import Format
from .replies import Reply

# Seconds. Short, for the sweeper that enforces them wakes ten times a second; ``total``
# is longer than all that a finished answer is waited for.
CONNECT = 0.5
TIMEOUTS = Timeouts(
    connect=CONNECT, response_headers=1.0, first_token=1.5, idle=1.0, total=8.0
)
# One failure that counts opens the breaker, which shows that it did.
BREAKER = CircuitBreaker(consecutive_failures=1, min_samples=1, error_threshold=0.01)


@dataclass
class Received:
    """What the client has got: the ``Channel`` that the gateway answers through."""

    status: int = 0
    fields: bytes = b""
    body: bytes = b""
    started: bool = False
    streamed: bool = False
    """Whether the header section left before the body was known."""
    complete: bool = False
    """Whether HTTP's own end of the response has left."""

    async def whole(self, status: int, fields: bytes, body: bytes) -> None:
        self.started = self.complete = True
        self.status, self.fields, self.body = status, fields, body

    async def start(self, status: int, fields: bytes) -> None:
        self.started = self.streamed = True
        self.status, self.fields = status, fields

    async def send(self, data: bytes) -> None:
        self.body += data

    async def end(self, data: bytes) -> None:
        self.body += data
        self.complete = True

    async def abort(self, data: bytes) -> None:
        self.body += data


class _Journal:
    """Takes the one record."""

    def __init__(self) -> None:
        self.records: list[UsageRecord] = []

    def reserve(self) -> None:
        pass

    def release(self) -> None:
        pass

    def write(self, record: UsageRecord) -> None:
        self.records.append(record)

    def flush(self) -> None:
        pass


class _Known:
    """A stage in the place of authentication: everybody is known."""

    def enter(self, exchange: Exchange) -> None:
        exchange.identity = Identity(key_id="k")


@dataclass
class Outcome:
    """What became of one request."""

    received: Received
    record: UsageRecord
    learned: dict[str, str]
    """Why a target is avoided from now on, for those that are."""


Deliver = Callable[[Gateway, bytes, bytes, bytes], Awaitable[Received]]
"""Sends a request with a path, a query and a body to the gateway."""


async def in_memory(
    gateway: Gateway, path: bytes, query: bytes, body: bytes
) -> Received:
    """Answer a request without a connection to the client."""
    endpoint = find(b"POST", path)
    assert endpoint is not None
    received = Received()
    with trio.CancelScope() as scope:
        now = trio.current_time()
        exchange = gateway.open(endpoint, {}, body, now, scope, query=query)
        await gateway.answer(exchange, ExchangeResponder(exchange, received))
    return received


class World:
    """A place where upstreams are scripted and requests are answered.

    Args:
        urls: Where the upstreams are.
        watches: Keeps the time limits of attempts.
        deliver: The way of a request to the gateway.
    """

    def __init__(
        self, urls: dict[str, str], watches: Watches, deliver: Deliver
    ) -> None:
        self._urls = urls
        self._watches = watches
        self._deliver = deliver
        self.first: Reply | None = None
        """What the first target does."""
        self.second: Reply | None = None
        self._provider = cache(self._make_provider)

    async def script(self, peer: Peer, *, second: bool) -> None:
        reply = self.second if second else self.first
        if reply is None:
            # Connected to beside a target that did not answer, and not needed.
            await peer.wait_left()
        else:
            await reply.play(peer)

    def _make_provider(self, form: Format, name: str, where: str) -> MadeProvider:
        return make_provider(self._section(form, name, where))

    def _section(self, form: Format, name: str, where: str) -> Provider:
        fields = dict(form.config)
        if "auth" in fields:
            auth = dict(fields["auth"])
            auth["api_key"] = Secret(auth["api_key"])
            fields["auth"] = ProviderAuth(**auth)
        if "api_key" in fields:
            fields["api_key"] = Secret(fields["api_key"])
        url = self._urls[where] + form.base_path
        return Provider(name=name, base_url=url, timeouts=TIMEOUTS, **fields)

    async def ask(
        self,
        client: Client,
        form: Format,
        first: Reply,
        second: Reply | None,
        *,
        stream: bool,
    ) -> Outcome:
        """Answer one request of ``client`` with one target, or with two."""
        self.first, self.second = first, second
        sections = {"a": self._section(form, "a", first.where)}
        if second is not None:
            sections["b"] = self._section(form, "b", "second")
        route = Route(
            model_alias="alias",
            targets=tuple(
                RouteTarget(provider=name, model=form.model, priority=at)
                for at, name in enumerate(sections)
            ),
        )
        config = Config(
            providers=tuple(sections.values()),
            routes=(route,),
            retries=Retries(max_attempts=1),
            circuit_breaker=BREAKER,
        )
        providers = {
            name: self._provider(form, name, first.where if name == "a" else "second")
            for name in sections
        }
        upstreams = {
            name: make_upstream(providers[name], section, tls_context)
            for name, section in sections.items()
        }
        routes = RouteTable(
            Snapshot(
                config=config,
                routes=build_routes(config),
                providers=providers,
                upstreams=upstreams,
                version=1,
            )
        )
        try:
            return await self._answer(client, routes, stream=stream)
        finally:
            for upstream in upstreams.values():
                upstream.close()

    async def _answer(
        self, client: Client, routes: RouteTable, *, stream: bool
    ) -> Outcome:
        config = routes.config()
        breakers = Breakers(config.circuit_breaker)
        journal = _Journal()
        connector = Connector(breakers, routes)
        dispatch = Dispatch(
            routes,
            breakers,
            RetryBudget(config.retries),
            routes.config,
            self._watches,
            connector,
        )
        recording = RecordUsage(journal)
        stages = [
            recording,
            _Known(),
            ReadCall(),
            SelectTargets(routes, Random(1)),
            dispatch,
        ]
        path, query, body = client.request(stream=stream)
        gateway = Gateway(Pipeline(stages))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connector.run)
            received = await self._deliver(gateway, path, query, body)
            if connector.connecting:
                # What is still connecting is reported to the breaker in the end.
                await trio.sleep(2 * CONNECT)
            nursery.cancel_scope.cancel()
        recording.flush()
        [record] = journal.records
        return Outcome(received, record, _learned(breakers))


@asynccontextmanager
async def a_world(deliver: Deliver = in_memory) -> AsyncIterator[World]:
    """Serve the upstreams, and keep the gateway's time limits."""
    watches = Watches()
    urls: dict[str, str] = {}
    world = World(urls, watches, deliver)

    async def first(peer: Peer) -> None:
        await world.script(peer, second=False)

    async def second(peer: Peer) -> None:
        await world.script(peer, second=True)

    async with AsyncExitStack() as stack:
        urls["server"] = (await stack.enter_async_context(serving(first))).url
        urls["second"] = (await stack.enter_async_context(serving(second))).url
        # Bound but not listening: the system refuses who connects.
        refusing = stack.enter_context(socket.socket())
        refusing.bind(("127.0.0.1", 0))
        urls["refusing"] = f"http://127.0.0.1:{refusing.getsockname()[1]}"
        urls["full"] = _full(stack)
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(watches.run)
        yield world
        nursery.cancel_scope.cancel()


_CAUSES = {
    Cause.FAILURES: "failure",
    Cause.RATE_LIMIT: "rate limit",
    Cause.CREDENTIALS: "credentials",
}


def _learned(breakers: Breakers) -> dict[str, str]:
    causes = {health.target: health.cause for health in breakers.statistics()}
    return {target: _CAUSES[cause] for target, cause in causes.items() if cause}


def _full(stack: AsyncExitStack) -> str:
    """Return the URL of a listener whose queue is full: who connects hears nothing."""
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    for _ in range(3):
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(listener.getsockname())
    return f"http://127.0.0.1:{listener.getsockname()[1]}"
