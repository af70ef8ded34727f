"""Failover over real sockets: a first target that cannot be connected to."""

import json
from contextlib import closing

from gandalf.actors.watches import Watches
from gandalf.http.upstream import Pool
from tests.fakes.servers import serving
from tests.pipeline.test_dispatch import ANSWER, Limits, World

TIMEOUTS = Limits(connect=2.0, response_headers=20.0)
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
)


async def answering_for_ever(peer):
    while True:
        await peer.read_request()
        await peer.send(HEAD % len(ANSWER) + ANSWER)


def a_world(nursery, first, second):
    w = World(Watches(), (), (), timeouts=TIMEOUTS)
    w.dispatch._routes.current.upstreams.update(a=first, b=second)
    nursery.start_soon(w.watches.run)
    nursery.start_soon(w.connector.run)
    return w


async def test_a_host_that_does_not_answer_is_overtaken_by_the_next(deaf_port, nursery):
    async with serving(answering_for_ever) as server:
        with (
            closing(Pool(f"http://127.0.0.1:{deaf_port}")) as deaf,
            closing(Pool(server.url)) as well,
        ):
            w = a_world(nursery, deaf, well)

            assert json.loads(await w.ask()) == json.loads(ANSWER)

            assert w.exchange.attempts[0].duration < TIMEOUTS.connect
            assert w.trail == [
                ("a/m", "upstream_timeout", "failover"),
                ("b/m", "served", "answer"),
            ]
            nursery.cancel_scope.cancel()
