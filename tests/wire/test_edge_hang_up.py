"""A client that leaves is noticed, whatever is under way, and its work is stopped."""

import struct
from socket import SO_LINGER, SOL_SOCKET

import pytest
import trio

from gandalf.config import Disconnect
from gandalf.domain.usage import EndReason
from gandalf.pipeline.drains import Drains
from gandalf.pipeline.exchange import Reply
from tests.wire.edge_server import (
    CHAT,
    ScriptedBody,
    edge_server,
    eventually,
    get,
    hanging,
    pages,
    post,
    settle_down,
    streaming,
)


def close(client):
    client.close()


def reset(client):
    client.sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


leaving = pytest.mark.parametrize("leave", [close, reset])


@leaving
async def test_a_client_that_leaves_before_the_answer_stops_the_exchange(leave):
    async with edge_server(hanging) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await eventually(lambda: edge.stage.entered)

        leave(client)
        await edge.is_idle()
        assert edge.stage.cancelled == 1
        assert edge.stage.settled[0].end_reason is EndReason.CLIENT_DISCONNECT
        assert not edge.gateway.in_flight


@leaving
async def test_a_client_that_leaves_before_the_first_content_stops_the_exchange(leave):
    async with edge_server(streaming(ScriptedBody(), trio.Event())) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await eventually(lambda: edge.stage.entered)

        leave(client)
        await edge.is_idle()
        assert edge.stage.cancelled == 1


@leaving
async def test_a_client_that_leaves_in_the_middle_of_a_stream_stops_the_exchange(leave):
    body = ScriptedBody()
    async with edge_server(streaming(body)) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await body.give(b"data: 1\n\n")
        await client.head()
        assert await client.piece() == b"data: 1\n\n"

        leave(client)
        await edge.is_idle()
        assert edge.stage.entered[0].cut is EndReason.CLIENT_DISCONNECT


@leaving
async def test_a_client_that_leaves_with_its_buffers_full_stops_the_exchange(leave):
    class Flood:
        ending = b""

        async def receive(self):
            await trio.lowlevel.checkpoint()
            return b"x" * 65536

    async with edge_server(streaming(Flood())) as edge:
        client = edge.connect(receive_buffer=4096)
        await client.send(CHAT)
        await settle_down()
        assert edge.stage.entered

        leave(client)
        await edge.is_idle()
        assert edge.stage.entered[0].client_left


@leaving
@pytest.mark.parametrize(
    "waiting",
    [CHAT, CHAT * 3, CHAT * 100, get("/page"), CHAT + b"\0"],
    ids=["one", "three", "too many", "a page", "nonsense"],
)
async def test_requests_that_wait_behind_do_not_hide_that_the_client_left(
    leave, waiting, mock_clock
):
    async with edge_server(hanging) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await eventually(lambda: edge.stage.entered)
        await client.send(waiting)
        await settle_down()

        leave(client)
        mock_clock.jump(1)
        await edge.is_idle()
        assert edge.stage.cancelled == 1
        assert len(edge.stage.entered) == 1


async def test_half_a_request_behind_does_not_hide_that_the_client_left():
    async with edge_server(hanging) as edge:
        client = edge.connect()
        await client.send(CHAT + CHAT[:-1])
        await eventually(lambda: edge.stage.entered)

        client.close()
        await edge.is_idle()
        assert edge.stage.cancelled == 1


async def test_a_client_whose_requests_wait_is_held_back():
    async with edge_server(hanging) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await eventually(lambda: edge.stage.entered)

        # More than any buffer of the system holds: it stops being taken.
        sent = 0
        with pytest.raises(BlockingIOError):  # noqa: PT012 the loop is the point
            for _ in range(10_000):
                sent += client.sock.send(post("/v1/chat/completions", b"x" * 60_000))
                await trio.lowlevel.checkpoint()
        await settle_down()
        assert sent < 64 * 1024 * 1024


async def test_an_exchange_that_is_to_be_drained_runs_on_with_nobody_to_hear_it():
    body = ScriptedBody()
    exchanges = []

    async def script(exchange):
        exchanges.append(exchange)
        exchange.drains = Drains(Disconnect(policy="drain"))
        return Reply(200, b"text/event-stream", body)

    async with edge_server(script) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await body.give(b"1")
        await client.head()
        client.close()
        await eventually(lambda: exchanges[0].client_left)

        for _ in range(20):
            await body.give(b"x" * 100_000)
        body.end()
        await edge.is_idle()
        assert body.given == 2_000_001
        assert exchanges[0].cut is None


async def test_a_drained_exchange_is_not_held_up_by_what_its_client_did_not_take():
    body = ScriptedBody()
    exchanges = []

    async def script(exchange):
        exchanges.append(exchange)
        exchange.drains = Drains(Disconnect(policy="drain"))
        return Reply(200, b"text/event-stream", body)

    async with edge_server(script) as edge:
        client = edge.connect(receive_buffer=4096)
        await client.send(CHAT)
        await body.give(b"x" * 20_000_000)
        await settle_down()

        client.close()
        await eventually(lambda: exchanges[0].client_left)
        await body.give(b"more")
        body.end()
        await edge.is_idle()
        assert body.given == 20_000_004


async def test_a_client_that_leaves_stops_a_page_of_the_application():
    ended = []

    async def page(scope, receive, send):
        try:
            await trio.sleep_forever()
        finally:
            ended.append(scope["path"])

    async with edge_server(app=pages(page)) as edge:
        client = edge.connect()
        await client.send(get("/slow"))
        await settle_down()

        client.close()
        await edge.is_idle()
        assert ended == ["/slow"]


async def test_a_client_that_leaves_in_the_middle_of_its_request_is_forgotten():
    for cut in (1, 30, len(CHAT) - 1):
        async with edge_server() as edge:
            client = edge.connect()
            await client.send(CHAT[:cut])
            await settle_down()

            client.close()
            await edge.is_idle()
            assert edge.stage.entered == []
            assert edge.counters.crashes == 0
