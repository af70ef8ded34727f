from functools import partial

import pytest
import trio

from gandalf.actors.breakers import Breakers
from gandalf.actors.connector import MAX_CONNECTING, TRY_EVERY, Connector
from gandalf.actors.routes import RouteTable, Snapshot, build_routes
from gandalf.config import CircuitBreaker, Config, Provider
from gandalf.domain.errors import Fault
from gandalf.providers.registry import make_provider
from gandalf.providers.watch import UpstreamBroken

T = "up/m"


class Upstream:
    """Connects after ``takes`` seconds, or fails if that is longer than it may take."""

    def __init__(self, takes=0.0):
        self.takes = takes
        self.idle = 0
        self.tried_at = []

    async def send(self, request, timeouts, watch):
        raise NotImplementedError

    async def connect(self, limit):
        self.tried_at.append(trio.current_time())
        await trio.sleep(min(self.takes, limit))
        if self.takes > limit:
            raise UpstreamBroken("connect took too long", sent=False)
        self.idle += 1

    def close(self):
        pass


class World:
    def __init__(self, upstream):
        section = Provider(name="up", type="openai", models=("m",))
        config = Config(providers=(section,))
        snapshot = Snapshot(
            config=config,
            routes=build_routes(config),
            providers={"up": make_provider(section)},
            upstreams={"up": upstream},
            version=1,
        )
        self.upstream = upstream
        self.breakers = Breakers(CircuitBreaker())
        self.connector = Connector(self.breakers, RouteTable(snapshot))

    def cannot_connect(self):
        for _ in range(5):
            failure = self.breakers.admit(T).failure
            failure(Fault.TARGET, "cannot connect", sent=False)


@pytest.fixture
async def world(nursery):
    def make(takes=0.0):
        w = World(Upstream(takes))
        nursery.start_soon(w.connector.run)
        return w

    return make


async def test_an_unreachable_target_is_tried_until_it_can_be_connected_to(
    autojump_clock, world
):
    w = world(takes=10.0)
    w.cannot_connect()
    await trio.sleep(9.5)
    assert w.breakers.admit(T) is None
    assert len(w.upstream.tried_at) >= 3  # Each takes the limit of two seconds.

    w.upstream.takes = 0.0
    await trio.sleep(2.0 + 2 * TRY_EVERY)

    assert w.breakers.unreachable() == []
    assert w.breakers.admit(T) is not None
    tried = len(w.upstream.tried_at)
    await trio.sleep(10)
    assert len(w.upstream.tried_at) == tried


async def test_a_target_that_can_be_connected_to_is_left_to_the_requests(
    autojump_clock, world
):
    w = world()
    for _ in range(5):
        w.breakers.admit(T).failure(Fault.TARGET, "upstream_500")

    await trio.sleep(10)

    assert w.upstream.tried_at == []


@pytest.mark.parametrize(("takes", "failures"), [(1.0, 0), (3.0, 1)])
async def test_a_permit_is_settled_by_whether_a_connection_can_be_opened(
    autojump_clock, world, takes, failures
):
    w = world(takes)
    w.connector.settle(w.upstream, 2.0, w.breakers.admit(T))

    await trio.sleep(5)

    assert w.breakers.statistics()[0].failures == failures
    assert w.connector.connecting == 0


async def test_what_is_too_much_is_not_begun(autojump_clock, world):
    w = world(takes=1.0)
    ended = []
    post = partial(w.connector.post, w.upstream, None, ended.append)
    assert all(post() for _ in range(MAX_CONNECTING))
    assert not post()

    await trio.sleep(2)

    assert ended == [None] * MAX_CONNECTING
    assert post()


async def test_a_closed_connector_ends(autojump_clock, nursery):
    w = World(Upstream())
    w.connector.close()
    with trio.fail_after(1):
        await w.connector.run()
    assert not w.connector.post(w.upstream, 1.0, print)
