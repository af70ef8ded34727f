"""Large requests, and upstreams that do not wait for the end of one."""

import ssl
from contextlib import closing

import pytest
import trio
import trustme

from gandalf.config import Timeouts
from gandalf.http.dial import tls_context
from gandalf.http.upstream import Pool
from gandalf.providers.base import UpstreamBroken, Watch
from tests.fakes.calls import TooLate, a_request, call, opened, read
from tests.fakes.servers import OK, echo_lengths, serving

MEGABYTES = 24 * 1024 * 1024
LARGE = a_request(b"x" * MEGABYTES)
REFUSAL = (
    b"HTTP/1.1 413 Too Large\r\ncontent-type: text/plain\r\n"
    b"content-length: 200000\r\n\r\n" + b"n" * 200_000
)


class Tls:
    """Certificates for both sides of ``localhost``."""

    def __init__(self):
        authority = trustme.CA()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self.server)
        self.client = tls_context()
        authority.configure_trust(self.client)


@pytest.fixture(scope="module")
def certificates():
    return Tls()


@pytest.fixture(params=["http", "https"])
def secured(request, certificates):
    """What ``serving`` and ``Pool`` take, for both schemes."""
    if request.param == "http":
        return {}, {}
    return {"tls": certificates.server, "name": "localhost"}, {
        "tls": certificates.client
    }


async def test_a_large_request_arrives_whole_and_keeps_its_connection(secured):
    server_how, pool_how = secured
    async with serving(echo_lengths, **server_how) as server:
        with closing(Pool(server.url, **pool_how)) as pool:
            first = await call(pool, LARGE)
            second = await call(pool, a_request(b"x" * 20_000))

    assert (first.body, second.body) == (b"%d" % MEGABYTES, b"20000")
    assert len(server.peers) == 1


async def test_an_answer_before_the_request_is_sent_is_delivered(secured):
    async def script(peer):
        await peer.read_head()
        await peer.send(REFUSAL)
        await peer.wait_left()

    server_how, pool_how = secured
    async with serving(script, **server_how) as server:
        with closing(Pool(server.url, **pool_how)) as pool:
            with trio.fail_after(5):
                got = await call(pool, LARGE)
            assert pool.open == 0

    assert (got.status, len(got.body)) == (413, 200_000)


async def test_an_upstream_that_never_reads_the_request_can_still_refuse_it(secured):
    async def script(peer):
        await peer.read_head()
        await peer.send(REFUSAL)
        await done.wait()

    done = trio.Event()
    server_how, pool_how = secured
    async with serving(script, **server_how) as server:
        with closing(Pool(server.url, **pool_how)) as pool:
            with trio.fail_after(5):
                got = await call(pool, LARGE)
            assert pool.open == 0
            done.set()

    assert (got.status, len(got.body)) == (413, 200_000)


async def test_an_answer_before_a_close_with_the_request_unread_is_delivered(secured):
    async def script(peer):
        await peer.read_head()
        await peer.send(b"HTTP/1.1 401 No\r\ncontent-length: 3\r\n\r\nno!")
        # Closing with the request unread sends a RST after the answer.

    server_how, pool_how = secured
    async with serving(script, **server_how) as server:
        with closing(Pool(server.url, **pool_how)) as pool:
            for _ in range(20):
                got = await call(pool, LARGE)
                assert (got.status, got.body) == (401, b"no!")
            assert pool.open == 0


async def test_a_good_answer_that_begins_early_does_not_cut_the_request():
    async def script(peer):
        await peer.read_head()
        await peer.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        request = await peer.read_request()
        await peer.send(b"%d" % len(request.partition(b"\r\n\r\n")[2]))

    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            got = await call(pool, LARGE)

    assert (got.status, got.body) == (200, b"%d" % MEGABYTES)


async def test_a_close_in_the_middle_of_the_request_is_broken(secured):
    async def script(peer):
        await peer.read_head()

    server_how, pool_how = secured
    async with serving(script, **server_how) as server:
        with closing(Pool(server.url, **pool_how)) as pool:
            with pytest.raises(UpstreamBroken) as broken:
                await call(pool, LARGE)
            assert pool.open == 0

    assert broken.value.sent


async def test_a_large_request_on_a_stale_connection_is_sent_again():
    connections = iter([1, 9])

    async def script(peer):
        for _ in range(next(connections)):
            await peer.read_request()
            await peer.send(OK)
        await peer.read_head()

    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            await call(pool)
            got = await call(pool, LARGE)

    assert got.body == b"ok"
    assert len(server.peers) == 2


async def test_an_upload_that_makes_no_progress_runs_into_its_limit(secured):
    async def script(peer):
        await peer.read_head()
        await done.wait()

    done = trio.Event()
    limits = Timeouts(connect=5.0, response_headers=0.1)
    server_how, pool_how = secured
    async with serving(script, **server_how) as server:
        with closing(Pool(server.url, **pool_how)) as pool:
            with pytest.raises(TooLate, match="response_headers"):
                await call(pool, LARGE, limits)
            assert pool.open == 0
        done.set()


async def test_a_cancelled_upload_raises_cancelled_and_no_group(secured):
    async def script(peer):
        await peer.read_head()
        reading.set()
        await peer.wait_left()

    reading = trio.Event()
    raised = []

    async def uploading(pool, scope):
        with scope:
            try:
                await pool.send(LARGE, Timeouts(), Watch())
            except BaseException as error:
                raised.append(type(error))
                raise

    server_how, pool_how = secured
    async with serving(script, **server_how) as server:
        with closing(Pool(server.url, **pool_how)) as pool:
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                nursery.start_soon(uploading, pool, scope)
                await reading.wait()
                scope.cancel()
            assert pool.open == 0

    assert raised == [trio.Cancelled]


async def test_an_answer_is_readable_while_the_upstream_stops_reading(secured):
    """The early answer's body comes in pieces, after sending was given up."""

    async def script(peer):
        await peer.read_head()
        await peer.send(b"HTTP/1.1 429 Slow\r\ntransfer-encoding: chunked\r\n\r\n")
        await begun.wait()
        for _ in range(3):
            await peer.send(b"4\r\nwait\r\n")
            await trio.lowlevel.checkpoint()
        await peer.send(b"0\r\n\r\n")
        await peer.wait_left()

    begun = trio.Event()
    server_how, pool_how = secured
    async with serving(script, **server_how) as server:
        with closing(Pool(server.url, **pool_how)) as pool:
            response = await opened(pool, LARGE)
            begun.set()
            assert await read(response) == b"waitwaitwait"
            assert pool.open == 0
