"""Traffic through the real dispatch, breakers and retry budget, on virtual time.

The upstreams are functions of the request and the time; nothing else is replaced.
"""

import json
import math
import random
from dataclasses import dataclass, field

import trio

from gandalf.actors.breakers import Breakers
from gandalf.actors.connector import Connector
from gandalf.actors.retry_budget import RetryBudget
from gandalf.actors.routes import RouteTable, Snapshot, build_routes
from gandalf.actors.watches import Watches
from gandalf.config import CircuitBreaker, Config, Provider, Retries
from gandalf.domain.errors import GatewayError
from gandalf.pipeline.dispatch import Dispatch
from gandalf.pipeline.stage import Pipeline
from gandalf.providers.registry import make_provider
from tests.pipeline.builders import (
    FakeResponder,
    a_chat_body,
    a_target,
    an_exchange,
    an_identity,
)

ANSWER = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
)
HANG = math.inf
"""Seconds that an upstream takes which never answers."""


@dataclass
class Answer:
    """What an upstream does with one request."""

    status: int = 200
    after: float = 0.5
    """Seconds until the answer."""
    headers: dict = field(default_factory=dict)
    connects: bool = True
    """False: the connection hangs until it is given up."""


class Response:
    """A whole answer."""

    complete = True

    def __init__(self, answer):
        self.status = answer.status
        self.headers = {b"content-type": b"application/json", **answer.headers}
        self._body = [ANSWER if answer.status == 200 else an_error(answer.status)]

    async def receive(self):
        await trio.lowlevel.checkpoint()
        return self._body.pop() if self._body else b""

    def rest(self):
        return self._body.pop()

    def close(self):
        pass


def an_error(status):
    return json.dumps({"error": {"message": f"simulated {status}"}}).encode()


class SimulatedUpstream:
    """Answers as ``behave(key, now)`` says; ``asked`` are key and time of each."""

    def __init__(self, behave):
        self.behave = behave
        self.asked = []

    async def send(self, request, timeouts, watch):
        key = json.loads(request.body).get("user", "")
        answer = self.behave(key, trio.current_time())
        self.asked.append((key, trio.current_time()))
        watch.phase("connect", timeouts.connect)
        with watch.guard():
            if not answer.connects:
                await trio.sleep_forever()
            await trio.lowlevel.checkpoint()
        watch.phase("response_headers", timeouts.response_headers)
        with watch.guard():
            await trio.sleep(answer.after)
        return Response(answer)

    def close(self):
        pass


@dataclass
class Outcome:
    """What became of one request."""

    key: str
    at: float
    status: int
    seconds: float
    attempts: list


class Simulation:
    """A gateway with a provider for each of ``upstreams``, tried in that order."""

    def __init__(self, *upstreams, breaker=None, retries=None, seed=1):
        names = "abcdef"[: len(upstreams)]
        self.upstreams = upstreams
        sections = [Provider(name=name, type="openai") for name in names]
        config = Config(
            providers=tuple(sections),
            circuit_breaker=breaker or CircuitBreaker(),
            retries=retries or Retries(),
        )
        self.breakers = Breakers(config.circuit_breaker)
        self.watches = Watches()
        self.targets = tuple(a_target(f"{name}/m") for name in names)
        snapshot = Snapshot(
            config=config,
            routes=build_routes(config),
            providers={s.name: make_provider(s) for s in sections},
            upstreams=dict(zip(names, upstreams, strict=True)),
            version=1,
        )
        routes = RouteTable(snapshot)
        self.connector = Connector(self.breakers, routes)
        self.dispatch = Dispatch(
            routes,
            self.breakers,
            RetryBudget(config.retries),
            lambda: config,
            self.watches,
            self.connector,
            uniform=random.Random(seed).uniform,
        )
        self.outcomes = []

    async def ask(self, key="k"):
        """Send one request as ``key`` and note what becomes of it."""
        exchange = an_exchange(a_chat_body(user=key), identity=an_identity(key))
        exchange.received_at = at = trio.current_time()
        exchange.targets = self.targets
        status = 200
        try:
            with exchange.scope:
                await Pipeline([self.dispatch]).run(exchange, FakeResponder())
        except GatewayError as error:
            status = error.status
        took = trio.current_time() - at
        outcome = Outcome(key, at, status, took, exchange.attempts)
        self.outcomes.append(outcome)
        return outcome

    async def traffic(self, count, rate, key="k"):
        """Send ``count`` requests, ``rate`` a second, and wait for the last answer."""
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(self.ask, key)
                await trio.sleep(1 / rate)

    def success(self, key=None):
        """Return the share of requests, of ``key`` if given, that were answered."""
        mine = [o for o in self.outcomes if key is None or o.key == key]
        return sum(o.status == 200 for o in mine) / len(mine)


def failing(share, seed, *, status=500, after=0.2):
    """An upstream of which a ``share`` of answers, drawn at random, are failures."""
    draw = random.Random(seed)

    def behave(key, now):
        good = draw.random() >= share
        return Answer(after=after) if good else Answer(status, after)

    return SimulatedUpstream(behave)


def down_until(until, *, failure=None, after=0.2):
    """An upstream that fails until ``until`` and is well from then on."""

    def behave(key, now):
        return Answer(after=after) if now >= until else failure or Answer(503, 0.01)

    return SimulatedUpstream(behave)
