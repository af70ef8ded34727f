"""Large requests, and upstreams that do not wait for the end of one."""

import ssl
from contextlib import closing

import msgspec
import pytest
import trio
import trustme

from gandalf.config import Timeouts
from gandalf.domain.errors import RequestTimeout
from gandalf.http.dial import tls_context
from gandalf.http.httpx_transport import HttpxUpstream
from gandalf.http.upstream import Pool
from gandalf.providers.watch import UpstreamBroken, Watch
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


async def test_a_large_request_that_was_read_and_refused_leaves_the_next_alone(secured):
    async def script(peer):
        while True:
            await peer.read_request()
            await peer.send(b"HTTP/1.1 429 Slow\r\ncontent-length: 0\r\n\r\n")

    server_how, pool_how = secured
    async with serving(script, **server_how) as server:
        with closing(Pool(server.url, **pool_how)) as pool:
            with trio.fail_after(5):
                for size in (200_000, 2, 200_000, 2):
                    assert (await call(pool, a_request(b"x" * size))).status == 429


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


# What arrives while it is sent.


class Arriving:
    """An upload whose pieces are there, or an error in their place."""

    def __init__(self, *pieces, length=None):
        self.pieces = list(pieces)
        self.length = length
        self.asked = 0

    async def receive(self):
        await trio.lowlevel.checkpoint()
        self.asked += 1
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        if piece is None:
            await trio.sleep_forever()
        return piece


def uploading(upload, body=b""):
    return msgspec.structs.replace(a_request(body), upload=upload)


async def until_answered(peer, end):
    """Read up to ``end`` and answer with all that was sent."""
    sent = b""
    while not sent.endswith(end):
        sent += await peer.stream.receive_some(65536)
    await peer.send(
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(sent), sent)
    )


@pytest.fixture(params=["pool", "httpx"])
def make_upstream(request):
    return {"pool": Pool, "httpx": HttpxUpstream}[request.param]


async def test_an_upload_of_known_length_is_sent_as_it_is(make_upstream):
    async def script(peer):
        await until_answered(peer, b"world")

    async with serving(script) as server:
        with closing(make_upstream(server.url)) as upstream:
            upload = Arriving(b"lo ", b"world", length=8)
            got = await call(upstream, uploading(upload, b"hel"))

    top, _, body = got.body.partition(b"\r\n\r\n")
    assert body == b"hello world"
    assert top.lower().count(b"content-length: 11") == 1
    assert b"transfer-encoding" not in top.lower()


async def test_an_upload_of_unknown_length_is_sent_in_chunks(make_upstream):
    async def script(peer):
        await until_answered(peer, b"0\r\n\r\n")

    async with serving(script) as server:
        with closing(make_upstream(server.url)) as upstream:
            got = await call(upstream, uploading(Arriving(b"lo ", b"world"), b"hel"))

    top, _, body = got.body.partition(b"\r\n\r\n")
    assert body == b"3\r\nhel\r\n3\r\nlo \r\n5\r\nworld\r\n0\r\n\r\n"
    assert b"content-length" not in top.lower()


async def test_an_upload_that_fails_is_what_is_raised(make_upstream):
    async def script(peer):
        await peer.read_head()
        await peer.wait_left()

    async with serving(script) as server:
        with closing(make_upstream(server.url)) as upstream:
            upload = Arriving(b"x", RequestTimeout("too slow"), length=8)
            with pytest.raises(RequestTimeout):
                await call(upstream, uploading(upload))
            with trio.fail_after(5):
                await server.peers[0].left.wait()


async def test_an_answer_ends_the_waiting_for_the_rest_of_an_upload(secured):
    async def script(peer):
        await peer.read_head()
        await peer.send(REFUSAL)
        await peer.wait_left()

    server_how, pool_how = secured
    async with serving(script, **server_how) as server:
        with closing(Pool(server.url, **pool_how)) as pool:
            with trio.fail_after(5):
                got = await call(pool, uploading(Arriving(b"x", None, length=8)))
            assert pool.open == 0

    assert (got.status, len(got.body)) == (413, 200_000)


async def test_an_upload_makes_a_connection_of_its_own_and_leaves_it_to_others():
    async with serving(echo_lengths) as server:
        with closing(Pool(server.url)) as pool:
            await call(pool)
            got = await call(pool, uploading(Arriving(b"12345", length=5)))
            assert got.body == b"5"
            assert (len(server.peers), pool.idle) == (2, 2)
            await call(pool)
            assert len(server.peers) == 2


async def test_the_time_that_a_client_takes_is_not_the_upstreams(make_upstream):
    async def script(peer):
        await until_answered(peer, b"world")

    class Slow(Arriving):
        async def receive(self):
            await trio.sleep(0.2)
            return await super().receive()

    limits = Timeouts(connect=5.0, response_headers=0.15)
    async with serving(script) as server:
        with closing(make_upstream(server.url)) as upstream:
            upload = Slow(b"hello ", b"world", length=11)
            got = await call(upstream, uploading(upload), limits)

    assert got.body.endswith(b"hello world")
