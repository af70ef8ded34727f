"""The graceful end: nobody new, everybody finishes or is told, nothing hangs."""

import pytest
import trio
import trio.lowlevel

from gandalf.domain.usage import EndReason
from tests.wire.edge_server import (
    CHAT,
    ScriptedBody,
    edge_server,
    eventually,
    get,
    hanging,
    pages,
    replying,
    settle_down,
    streaming,
)


async def test_nobody_new_is_accepted_and_idle_connections_are_closed_at_once():
    async with edge_server() as edge:
        client = edge.connect()
        await client.send(CHAT)
        await client.response()

        edge.stop.set()
        await client.eof()
        await eventually(edge.stopped.is_set)
        assert edge.gateway.draining
        with pytest.raises(ConnectionRefusedError):
            edge.connect()


async def test_a_running_exchange_gets_its_answer_and_then_the_end(mock_clock):
    release = trio.Event()

    async def script(exchange):
        await release.wait()
        return await replying(b"whole")(exchange)

    async with edge_server(script, shutdown_timeout=30.0) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await eventually(lambda: edge.stage.entered)
        edge.stop.set()
        await settle_down()
        mock_clock.jump(29)
        await settle_down()
        release.set()

        response = await client.response()
        assert response.body == b"whole"
        assert response.headers[b"connection"] == b"close"
        await client.eof()
        client.close()
        await eventually(edge.stopped.is_set)


async def test_a_running_stream_goes_on_to_its_end():
    body = ScriptedBody()
    async with edge_server(streaming(body)) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await body.give(b"data: 1\n\n")
        edge.stop.set()
        await settle_down()
        await body.give(b"data: 2\n\n")
        body.end()

        response = await client.response()
        assert response.complete
        assert response.body == b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n"
        await client.eof()
        client.close()
        await eventually(edge.stopped.is_set)


async def test_a_request_that_is_half_there_is_still_answered():
    async with edge_server() as edge:
        client = edge.connect()
        await client.send(CHAT[:-1])
        await settle_down()
        edge.stop.set()
        await settle_down()
        await client.send(CHAT[-1:])

        response = await client.response()
        assert response.status == 200
        assert response.headers[b"connection"] == b"close"


async def test_requests_that_wait_behind_the_last_answer_are_left_to_another_server():
    release = trio.Event()

    async def script(exchange):
        await release.wait()
        return await replying(b"{}")(exchange)

    async with edge_server(script) as edge:
        client = edge.connect()
        await client.send(CHAT * 3)
        await eventually(lambda: edge.stage.entered)
        edge.stop.set()
        await settle_down()
        release.set()

        assert (await client.response()).headers[b"connection"] == b"close"
        await client.eof()
        assert not client.data
        assert len(edge.stage.entered) == 1
        client.close()
        await eventually(edge.stopped.is_set)


async def test_what_does_not_end_in_time_ends_with_an_error(mock_clock):
    body = ScriptedBody()

    async def page(scope, receive, send):
        await trio.sleep_forever()

    async with edge_server(hanging, pages(page), shutdown_timeout=30.0) as edge:
        waiting, stream, paging = edge.connect(), edge.connect(), edge.connect()
        await waiting.send(CHAT)
        await eventually(lambda: len(edge.stage.entered) == 1)
        edge.stage.script = streaming(body)
        await stream.send(CHAT)
        await body.give(b"data: 1\n\n")
        await paging.send(get("/"))
        await settle_down()
        edge.stop.set()
        await settle_down()
        mock_clock.jump(29.9)
        await settle_down()
        assert not edge.stopped.is_set()
        assert edge.gateway.in_flight

        mock_clock.jump(0.2)
        for client in (waiting, paging):
            response = await client.response()
            assert (response.status, response.error["code"]) == (503, "shutting_down")
        cut = await stream.response()
        assert b"shutting_down" in cut.body
        assert not cut.complete
        for client in (waiting, stream, paging):
            await client.eof()
            client.close()
        await eventually(edge.stopped.is_set)
        assert all(e.cut is EndReason.SHUTDOWN for e in edge.stage.entered)


async def test_a_client_that_does_not_read_cannot_hold_up_the_end(mock_clock):
    """H3: with stock hypercorn the process never exits."""
    body = ScriptedBody()
    async with edge_server(
        streaming(body), shutdown_timeout=1.0, write_timeout=1000.0
    ) as edge:
        client = edge.connect(receive_buffer=4096)
        await client.send(CHAT)
        await body.give(b"x" * 20_000_000)
        await settle_down()
        edge.stop.set()
        await settle_down()
        mock_clock.jump(1.1)
        await settle_down()
        assert not edge.stopped.is_set()
        mock_clock.jump(2.1)
        await eventually(edge.stopped.is_set)


async def test_a_half_written_chunk_is_completed_before_the_error_event(mock_clock):
    body = ScriptedBody()
    size = 20_000_000
    async with edge_server(streaming(body), shutdown_timeout=1.0) as edge:
        client = edge.connect(receive_buffer=4096)
        await client.send(CHAT)
        await body.give(b"x" * size)
        await settle_down()
        edge.stop.set()
        await settle_down()
        mock_clock.jump(1.1)
        await settle_down()

        response = await client.response()
        assert response.body[:size] == b"x" * size
        assert b"shutting_down" in response.body[size:]
        assert not response.complete


async def test_a_half_written_whole_answer_is_completed_and_nothing_follows(mock_clock):
    body = b"x" * 20_000_000
    async with edge_server(replying(body), shutdown_timeout=1.0) as edge:
        client = edge.connect(receive_buffer=4096)
        await client.send(CHAT)
        await settle_down()
        edge.stop.set()
        await settle_down()
        mock_clock.jump(1.1)
        await settle_down()

        assert (await client.response()).body == body
        await client.eof()
        assert not client.data


async def test_a_client_that_keeps_its_side_open_cannot_hold_up_the_end(mock_clock):
    async with edge_server(hanging, shutdown_timeout=1.0) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await eventually(lambda: edge.stage.entered)
        edge.stop.set()
        await settle_down()
        mock_clock.jump(1.1)
        assert (await client.response()).status == 503
        for _ in range(3):
            await settle_down()
            mock_clock.jump(1)
        await eventually(edge.stopped.is_set)


async def test_cancelling_the_server_ends_everything_at_once():
    async with edge_server(hanging) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await eventually(lambda: edge.stage.entered)
    assert edge.stage.cancelled == 1
    assert edge.stage.settled
    assert edge.counters.open_connections == 0


async def test_the_application_is_told_of_the_end_after_the_last_connection():
    events = []

    async def app(scope, receive, send):
        if scope["type"] == "http":
            await trio.lowlevel.checkpoint()
            events.append("page")
            return
        while True:
            kind = (await receive())["type"]
            events.append(kind)
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return

    async with edge_server(app=app) as edge:
        await edge.ask(get("/"))
        edge.stop.set()
        await eventually(edge.stopped.is_set)
    assert events == ["lifespan.startup", "page", "lifespan.shutdown"]
