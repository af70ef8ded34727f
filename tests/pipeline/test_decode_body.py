"""A request body that has a content coding: its bounds, and what others notice."""

import gzip
import os
import zlib

import pytest
import trio

from gandalf.config import Server
from gandalf.domain.errors import Overloaded, PayloadTooLarge
from gandalf.pipeline.decode_body import STEPS_AT_ONCE, DecodeBody, decode
from gandalf.pipeline.exchange import Reply
from tests.pipeline.builders import a_config, an_exchange
from tests.wire.edge_server import edge_server, post


class Room:
    """Takes note of what is counted in; refuses beyond ``limit``."""

    def __init__(self, limit=1 << 40):
        self.taken = 0
        self.limit = limit

    def take(self, size):
        if self.taken + size > self.limit:
            raise Overloaded("full")
        self.taken += size


def test_a_body_without_a_coding_costs_no_wait():
    assert DecodeBody(a_config).enter(an_exchange()) is None


async def test_identity_leaves_the_body_as_it_is():
    exchange = an_exchange(headers={b"content-encoding": b"identity"})
    body = exchange.body

    await DecodeBody(a_config).enter(exchange)

    assert exchange.body is body


async def test_what_is_held_decoded_is_counted_before_it_is_held():
    room, body = Room(), os.urandom(300_000)

    assert await decode(gzip.compress(body), ("gzip",), 300_000, room.take) == body
    assert room.taken == 300_000
    with pytest.raises(Overloaded):
        await decode(gzip.compress(body), ("gzip",), 300_000, Room(200_000).take)


async def test_one_byte_above_the_limit_is_too_large():
    packed = gzip.compress(bytes(1001))

    assert len(await decode(packed, ("gzip",), 1001, Room().take)) == 1001
    with pytest.raises(PayloadTooLarge, match="1000"):
        await decode(packed, ("gzip",), 1000, Room().take)


async def test_others_run_while_a_large_body_is_decoded(nursery):
    turns = 0

    async def count():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    nursery.start_soon(count)
    large = os.urandom(1 << 20) * 16
    await decode(zlib.compress(large, 1), ("deflate",), len(large), Room().take)

    assert turns >= len(large) // (STEPS_AT_ONCE * 64 * 1024) - 1
    nursery.cancel_scope.cancel()


async def test_a_decoded_body_takes_its_room_beside_those_of_other_requests():
    config = a_config(server=Server(max_body_bytes=1000))

    async def decoding(exchange):
        entered = DecodeBody(lambda: config).enter(exchange)
        if entered is not None:
            await entered
        return Reply(200, b"text/plain", b"%d" % len(exchange.body))

    coded = b"content-encoding: gzip\r\n"
    async with edge_server(decoding, max_body_bytes_total=900) as edge:
        fits = await edge.ask(post("/v1/embeddings", gzip.compress(bytes(800)), coded))
        again = await edge.ask(post("/v1/embeddings", gzip.compress(bytes(800)), coded))
        too_much = await edge.ask(
            post("/v1/embeddings", gzip.compress(bytes(900)), coded)
        )

    assert (fits.status, fits.body) == (200, b"800")
    assert (again.status, again.body) == (200, b"800")
    assert too_much.status == 503
