"""Request bodies that are passed on while they arrive."""

from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio

from gandalf.config import Timeouts
from gandalf.domain.usage import EndReason
from gandalf.http.upstream import Pool
from gandalf.pipeline.exchange import Reply
from gandalf.providers.base import UpstreamRequest
from gandalf.providers.watch import Watch
from tests.fakes.servers import serving
from tests.wire.edge_server import (
    CHAT,
    edge_server,
    eventually,
    post,
    settle_down,
)

PATH = "/v1/files"


def head(fields=b"content-length: 10\r\n"):
    return b"POST %b HTTP/1.1\r\nhost: gandalf\r\n%b\r\n" % (PATH.encode(), fields)


CHUNKED = b"transfer-encoding: chunked\r\n"


async def counting(exchange):
    """Answer with the size of the body, and the largest piece of it."""
    size = largest = 0
    while piece := await exchange.upload.receive():
        size += len(piece)
        largest = max(largest, len(piece))
    return Reply(200, b"text/plain", b"%d %d" % (size, largest))


async def ignoring(exchange):
    return Reply(403, b"text/plain", b"no")


async def test_the_exchange_begins_before_the_body_has_come():
    async with edge_server(counting) as edge:
        client = edge.connect()
        await client.send(head() + b"12345")
        await eventually(lambda: edge.stage.entered)
        assert edge.stage.entered[0].body == b""
        assert edge.stage.entered[0].upload.length == 10

        await client.send(b"67890")
        assert (await client.response()).body.startswith(b"10 ")


@pytest.mark.parametrize("pause", [False, True])
async def test_another_request_may_follow_on_the_connection(pause):
    chunked = head(CHUNKED) + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx-sum: 1\r\n\r\n"
    async with edge_server(counting) as edge:
        client = edge.connect()
        for request, size in [
            (head() + b"x" * 10, b"10"),
            (chunked, b"5"),
            (head(b"content-length: 0\r\n"), b"0"),
            (head(b""), b"0"),
        ]:
            if pause:
                for at in range(len(request)):
                    await client.send(request[at : at + 1])
                    await trio.lowlevel.checkpoint()
            else:
                await client.send(request)
            response = await client.response()
            assert response.body.split()[0] == size
            assert b"connection" not in response.headers
        assert edge.stage.entered[1].upload.length is None


async def test_requests_behind_an_upload_are_answered():
    async def script(exchange):
        if exchange.upload is None:
            return Reply(200, b"text/plain", exchange.body)
        return await counting(exchange)

    async with edge_server(script) as edge:
        client = edge.connect()
        await client.send(head() + b"x" * 10 + CHAT + head() + b"y" * 10 + CHAT)
        bodies = [(await client.response()).body for _ in range(4)]
        assert bodies == [b"10 10", b"{}", b"10 10", b"{}"]


async def test_what_asks_for_an_upgrade_is_an_upload_all_the_same():
    fields = b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 10\r\n"
    async with edge_server(counting) as edge:
        client = edge.connect()
        await client.send(head(fields) + b"x" * 4)
        await settle_down()
        await client.send(b"x" * 6 + CHAT.replace(b"chat/completions", b"nowhere"))
        assert (await client.response()).body.startswith(b"10 ")
        assert (await client.response()).status == 200


async def test_who_waits_for_100_continue_gets_it_when_the_body_is_read():
    read = trio.Event()

    async def script(exchange):
        await read.wait()
        return await counting(exchange)

    async with edge_server(script) as edge:
        client = edge.connect()
        await client.send(head(b"content-length: 3\r\nexpect: 100-continue\r\n"))
        await settle_down()
        client.pull()
        assert not client.data

        read.set()
        await client.until(lambda: client.data == b"HTTP/1.1 100 Continue\r\n\r\n")
        client.data.clear()
        await client.send(b"abc")
        assert (await client.response()).body == b"3 3"


async def test_who_is_refused_instead_of_100_continue_need_not_send_the_body():
    async with edge_server(ignoring) as edge:
        client = edge.connect()
        await client.send(head(b"content-length: 3\r\nexpect: 100-continue\r\n"))
        response = await client.response()
        assert (response.status, response.headers[b"connection"]) == (403, b"close")
        await client.eof()


async def test_an_answer_before_the_end_of_the_body_is_the_last():
    async with edge_server(ignoring) as edge:
        client = edge.connect()
        await client.send(head(b"content-length: 1000000\r\n") + b"x" * 1000)
        response = await client.response()
        assert (response.status, response.body) == (403, b"no")
        assert response.headers[b"connection"] == b"close"
        # The rest may still be sent: no reset loses the answer.
        await client.send(b"x" * 100_000)
        await client.eof()
        assert not client.was_reset
        client.close()
        await edge.is_idle()
        assert edge.counters.crashes == 0


async def test_a_body_that_nobody_reads_holds_the_client_back():
    async def script(exchange):
        await trio.sleep_forever()

    async with edge_server(script) as edge:
        client = edge.connect()
        await client.send(head(b"content-length: 100000000\r\n"))
        await eventually(lambda: edge.stage.entered)
        sent = 0
        with pytest.raises(BlockingIOError):  # noqa: PT012 the loop is the point
            for _ in range(10_000):
                sent += client.sock.send(b"x" * 60_000)
                await trio.lowlevel.checkpoint()
        assert sent < 64 * 1024 * 1024


async def test_a_body_that_is_said_to_be_too_large_is_refused_at_once():
    async with edge_server(counting, max_upload_bytes=9) as edge:
        response = await edge.ask(head())
        assert (response.status, response.error["code"]) == (413, "request_too_large")
        assert edge.stage.entered == []
        assert edge.counters.bad_requests == 1


async def test_a_body_that_turns_out_too_large_is_refused():
    async with edge_server(counting, max_upload_bytes=9) as edge:
        client = edge.connect()
        await client.send(head(CHUNKED) + b"5\r\nabcde\r\n")
        await eventually(lambda: edge.stage.entered)
        await client.send(b"5\r\nabcde\r\n")
        response = await client.response()
        assert (response.status, response.headers[b"connection"]) == (413, b"close")
        await client.eof()
        assert edge.counters.bad_requests == 1


async def test_the_limit_of_other_bodies_does_not_count_nor_their_sum():
    limits = {"max_body_bytes": 10, "max_body_bytes_total": 10}
    async with edge_server(counting, **limits) as edge:
        response = await edge.ask(post(PATH, b"x" * 1000))
        assert response.body == b"1000 1000"


async def test_a_malformed_body_is_refused():
    async with edge_server(counting) as edge:
        response = await edge.ask(head(CHUNKED) + b"3\r\nabc\r\nnonsense\r\n")
        assert (response.status, response.error["code"]) == (400, "invalid_request")


async def test_nonsense_behind_a_whole_body_is_refused_after_its_answer():
    async with edge_server(counting) as edge:
        client = edge.connect()
        await client.send(head() + b"x" * 4)
        await eventually(lambda: edge.stage.entered)
        await client.send(b"x" * 6 + b"nonsense\r\n\r\n")
        assert (await client.response()).status == 200
        assert (await client.response()).status == 400
        await client.eof()


async def test_a_client_that_stops_sending_is_told_so_with_408(mock_clock):
    async with edge_server(counting, read_timeout=10.0) as edge:
        client = edge.connect()
        await client.send(head() + b"x")
        await settle_down()
        for _ in range(3):
            # Whoever makes progress has the whole time again.
            mock_clock.jump(8)
            await settle_down()
            await client.send(b"x")
            await settle_down()
        mock_clock.jump(11)
        response = await client.response()
        assert (response.status, response.error["code"]) == (408, "request_timeout")
        await client.eof()
        assert edge.counters.bad_requests == 1


async def test_time_that_nobody_reads_in_is_not_the_clients(mock_clock):
    read = trio.Event()

    async def script(exchange):
        await read.wait()
        return await counting(exchange)

    async with edge_server(script, read_timeout=10.0) as edge:
        client = edge.connect()
        await client.send(head() + b"x")
        await settle_down()
        mock_clock.jump(60)
        await settle_down()
        read.set()
        await settle_down()
        await client.send(b"x" * 9)
        assert (await client.response()).status == 200


async def test_a_client_that_leaves_in_the_middle_of_an_upload_stops_it():
    async with edge_server(counting) as edge:
        client = edge.connect()
        await client.send(head() + b"x")
        await eventually(lambda: edge.stage.entered)

        client.close()
        await edge.is_idle()
        assert edge.stage.cancelled == 1
        assert edge.stage.settled[0].end_reason is EndReason.CLIENT_DISCONNECT


# On to an upstream.


@asynccontextmanager
async def passing_on(answer, **settings):
    """An edge that passes uploads on to a server that runs ``answer``."""
    resident = []

    async def script(exchange):
        watch = Watch()
        request = UpstreamRequest(b"POST", b"/x", b"", b"", exchange.upload)
        with closing(await pool.send(request, Timeouts(), watch)) as response:
            resident.append(rss())
            body = b""
            while piece := await response.receive():
                body += piece
            return Reply(response.status, b"text/plain", body)

    async with serving(answer) as server:
        with closing(Pool(server.url)) as pool:
            async with edge_server(script, **settings) as edge:
                yield edge, server, pool, resident


async def swallow(peer):
    """Answer with the length of a body of announced length, and keep none of it."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await peer.stream.receive_some(65536)
    top, _, rest = data.partition(b"\r\n\r\n")
    (length,) = (
        int(line.split(b":")[1])
        for line in top.lower().split(b"\r\n")
        if line.startswith(b"content-length")
    )
    size = len(rest)
    while size < length:
        size += len(await peer.stream.receive_some(65536))
    text = b"%d" % size
    await peer.send(
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text)
    )
    await peer.wait_left()


def rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_a_large_body_reaches_the_upstream_and_takes_no_memory():
    size = 50 * 1024 * 1024
    piece = b"x" * 65536
    async with passing_on(swallow) as (edge, _, _, resident):
        client = edge.connect()
        await client.send(head(b"content-length: %d\r\n" % size))
        before = rss()
        for _ in range(size // len(piece)):
            await client.send(piece)
        response = await client.response()
        assert response.body == b"%d" % size
        assert resident[0] - before < 16 * 1024 * 1024


async def test_a_client_that_hangs_up_closes_the_upstream():
    async def answer(peer):
        await peer.read_head()
        await peer.wait_left()

    async with passing_on(answer) as (edge, server, pool, _):
        client = edge.connect()
        await client.send(head() + b"12345")
        await eventually(lambda: server.peers)
        client.close()
        await edge.is_idle()
        await eventually(lambda: server.peers[0].left.is_set())
        assert pool.open == 0


async def test_an_upstream_that_refuses_early_is_heard():
    async def answer(peer):
        await peer.read_head()
        await peer.send(b"HTTP/1.1 429 Slow\r\ncontent-length: 4\r\n\r\nslow")
        await peer.wait_left()

    async with passing_on(answer) as (edge, _, pool, _):
        client = edge.connect()
        await client.send(head() + b"12345")
        response = await client.response()
        assert (response.status, response.body) == (429, b"slow")
        assert response.headers[b"connection"] == b"close"
        assert pool.open == 0


async def test_a_client_that_is_too_slow_closes_the_upstream(mock_clock):
    async def answer(peer):
        await peer.read_head()
        await peer.wait_left()

    async with passing_on(answer, read_timeout=10.0) as (edge, server, pool, _):
        client = edge.connect()
        await client.send(head() + b"12345")
        await eventually(lambda: server.peers)
        await settle_down()
        mock_clock.jump(11)
        assert (await client.response()).status == 408
        assert pool.open == 0
        await eventually(lambda: server.peers[0].left.is_set())
