"""httpx over our connections, and our requests over httpx's."""

import ast
import gzip
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import gandalf
from gandalf.config import Timeouts
from gandalf.http.httpx_transport import HttpxUpstream, PoolTransport
from gandalf.http.upstream import Pool
from gandalf.providers.watch import UpstreamBroken
from tests.fakes.calls import TooLate, a_request, call, opened, read
from tests.fakes.servers import OK, answering, echo_lengths, serving

PACKAGE = Path(gandalf.__file__).parent
CUT = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart"


def test_httpx_is_imported_off_the_hot_path_only():
    def imports_httpx(path):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", ())]
            if isinstance(node, ast.ImportFrom):
                names = [node.module]
            if isinstance(node, ast.Import | ast.ImportFrom) and "httpx" in names:
                return True
        return False

    found = {path.name for path in PACKAGE.rglob("*.py") if imports_httpx(path)}

    assert found == {
        "httpx_transport.py",  # for those who configure it
        "webhooks.py",
        "issuer_documents.py",  # the keys of JWT issuers
        "client.py",  # the command line's
    }


# --- httpx over the pool ---


@asynccontextmanager
async def clients(script, limits=5.0, **how):
    """An httpx client on a pool on a server that runs ``script``."""
    async with serving(script) as server:
        with closing(Pool(server.url, **how)) as pool:
            async with httpx.AsyncClient(
                transport=PoolTransport(pool), base_url=server.url, timeout=limits
            ) as client:
                yield client, pool, server


async def test_an_httpx_client_uses_and_reuses_the_pool():
    async with clients(echo_lengths) as (client, pool, server):
        for text in ("a", "bcd"):
            response = await client.post("/x", content=text)
            assert (response.status_code, response.text) == (200, str(len(text)))
        assert (pool.open, pool.idle) == (1, 1)

    assert len(server.peers) == 1


async def test_an_httpx_request_is_on_the_wire_once_and_whole():
    seen = []

    async def script(peer):
        seen.append(await peer.read_request())
        await peer.send(OK)

    async with clients(script) as (client, _, _):
        headers = {"Authorization": "Bearer sk", "User-Agent": "t", "Accept": "*/*"}
        await client.request("PUT", "/a%20b?c=d", json={}, headers=headers)

    head, _, body = seen[0].partition(b"\r\n\r\n")
    line, *fields = head.lower().split(b"\r\n")
    assert line == b"put /a%20b?c=d http/1.1"
    assert sorted(field.partition(b":")[0] for field in fields) == [
        b"accept",
        b"accept-encoding",
        b"authorization",
        b"content-length",
        b"content-type",
        b"host",
        b"user-agent",
    ]
    assert body == b"{}"


async def test_httpx_decodes_what_it_asked_for():
    packed = gzip.compress(b"hello")
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
    async with clients(answering(head % len(packed) + packed)) as (client, _, _):
        assert (await client.get("/")).text == "hello"


async def test_a_redirect_to_another_origin_is_never_followed_over_the_pool():
    away = b"HTTP/1.1 307 Away\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
    async with clients(answering(away, OK)) as (client, _, server):
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.get("/", follow_redirects=True)
        assert (await client.get("/")).status_code in (200, 307)

    assert len(server.peers) <= 2


async def test_an_unread_httpx_response_closes_its_connection():
    async def script(peer):
        await peer.read_request()
        await peer.send(CUT)
        await peer.wait_left()

    async with clients(script) as (client, pool, server):
        async with client.stream("GET", "/") as response:
            assert response.status_code == 200
            assert pool.open == 1
        assert pool.open == 0
        with trio.fail_after(1):
            await server.peers[0].left.wait()


async def test_broken_connections_are_httpx_errors():
    async with clients(answering(CUT)) as (client, pool, _):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")
        assert pool.open == 0
    async with clients(answering()) as (client, _, _):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")


async def test_a_refused_connection_is_a_connect_error():
    async with serving(answering()) as server:
        gone = server.url
    with closing(Pool(gone)) as pool:
        async with httpx.AsyncClient(transport=PoolTransport(pool)) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(gone)
        assert pool.open == 0


async def test_each_httpx_time_limit_is_its_own_error():
    async def script(peer):
        if (await peer.read_request()).startswith(b"GET /body"):
            await peer.send(CUT)
        await peer.wait_left()

    limits = httpx.Timeout(0.03)
    async with clients(script, limits, max_connections=1) as (client, pool, _):
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/headers")
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/body")
        assert pool.open == 0
        async with client.stream("GET", "/body"):
            with pytest.raises(httpx.PoolTimeout):
                await client.get("/waits-for-a-slot")
            assert pool.waiting == 0


# --- our requests over httpx ---


@asynccontextmanager
async def upstreams(script, **how):
    """An HttpxUpstream for a server that runs ``script``."""
    async with serving(script) as server:
        upstream = HttpxUpstream(server.url, **how)
        yield upstream, server
        upstream.close()
        await wait_all_tasks_blocked(0.01)


async def test_httpx_as_a_transport_reuses_connections():
    async with upstreams(echo_lengths) as (upstream, server):
        for size in (1, 300_000):
            got = await call(upstream, a_request(b"x" * size))
            assert (got.status, got.body) == (200, b"%d" % size)

    assert len(server.peers) == 1


async def test_httpx_as_a_transport_sends_only_what_it_was_given():
    seen = []

    async def script(peer):
        seen.append(await peer.read_request())
        await peer.send(OK)

    async with upstreams(script) as (upstream, server):
        await call(upstream)

    lines = seen[0].lower().split(b"\r\n")
    assert lines[0] == b"post /v1/chat/completions http/1.1"
    assert sorted(lines[1:-2]) == [
        b"authorization: bearer sk",
        b"content-length: 2",
        b"content-type: application/json",
        b"host: 127.0.0.1:%d" % server.port,
    ]


async def test_httpx_as_a_transport_keeps_its_phases_apart():
    async def script(peer):
        await peer.read_request()
        await peer.wait_left()

    async with upstreams(script, max_connections=1) as (upstream, _):
        limits = Timeouts(connect=5.0, response_headers=0.05)
        with pytest.raises(TooLate, match="response_headers"):
            await call(upstream, None, limits)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, upstream)
            await wait_all_tasks_blocked(0.02)
            with pytest.raises(TooLate, match="connect"):
                await call(upstream, None, Timeouts(connect=0.05))
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        CUT,
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx",
    ],
)
async def test_httpx_failures_are_broken_upstreams(answer):
    async with upstreams(answering(answer)) as (upstream, _):
        with pytest.raises(UpstreamBroken) as broken:
            await call(upstream)

    assert broken.value.sent
    assert "127.0.0.1" not in str(broken.value)


async def test_an_httpx_connect_failure_was_not_sent():
    async with serving(answering()) as server:
        gone = server.url
    upstream = HttpxUpstream(gone)
    with pytest.raises(UpstreamBroken) as broken:
        await call(upstream)
    upstream.close()

    assert not broken.value.sent


async def test_closing_an_unread_httpx_answer_tells_the_upstream():
    async def script(peer):
        await peer.read_request()
        await peer.send(CUT)
        await peer.wait_left()

    async with upstreams(script) as (upstream, server):
        for _ in range(3):
            response = await opened(upstream)
            assert await response.receive() == b"part"
            response.close()
            response.close()
        for peer in server.peers:
            with trio.fail_after(1):
                await peer.left.wait()
        with pytest.raises(trio.ClosedResourceError):
            await response.receive()

    assert len(server.peers) == 3


async def test_a_cancelled_read_over_httpx_does_not_look_like_the_end():
    async def script(peer):
        await peer.read_request()
        await peer.send(CUT)
        await peer.wait_left()

    async with upstreams(script) as (upstream, _):
        response = await opened(upstream)
        await response.receive()
        with trio.move_on_after(0.01):
            await response.receive()
        with pytest.raises(UpstreamBroken):
            await response.receive()
        response.close()


async def test_a_closed_httpx_upstream_finishes_what_is_under_way():
    async def script(peer):
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf")
        await closed.wait()
        await peer.send(b"half")
        await peer.wait_left()

    closed = trio.Event()
    async with upstreams(script) as (upstream, server):
        response = await opened(upstream)
        upstream.close()
        await wait_all_tasks_blocked(0.01)
        closed.set()
        assert await read(response) == b"halfhalf"
        with trio.fail_after(1):
            await server.peers[0].left.wait()
