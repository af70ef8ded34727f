"""Which bytes of an upstream are an answer, whole, and which are not."""

from contextlib import closing

import pytest
import trio

from gandalf.http.upstream import Pool
from gandalf.providers.watch import UpstreamBroken
from tests.fakes.calls import a_request, call, opened, read
from tests.fakes.servers import OK, answering, serving

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Two: a\r\nx-two: b\r\n\r\n"
    b"5\r\nhello\r\n1;ext=1\r\n \r\n005\r\nworld\r\n0\r\nx-trailer: t\r\n\r\n"
)
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world"
UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\nserver: old\r\n\r\nhello world"


@pytest.mark.parametrize("answer", [CHUNKED, LENGTH, UNTIL_CLOSE])
async def test_every_framing_gives_the_same_body(answer):
    async with serving(answering(answer)) as server:
        with closing(Pool(server.url)) as pool:
            got = await call(pool)

    assert (got.status, got.body) == (200, b"hello world")


@pytest.mark.parametrize("answer", [CHUNKED, LENGTH, UNTIL_CLOSE])
async def test_an_answer_may_come_byte_by_byte(answer):
    async def script(peer):
        await peer.read_request()
        await peer.send_bytewise(answer)

    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            got = await call(pool)

    assert (got.status, got.body) == (200, b"hello world")


@pytest.mark.parametrize("answer", [CHUNKED, LENGTH], ids=["chunked", "length"])
async def test_an_answer_is_complete_once_its_end_has_come_and_all_of_it_is_taken(
    answer,
):
    async def script(peer):
        await peer.read_request()
        await peer.send(answer[:-1])
        await taken.wait()
        await peer.send(answer[-1:])

    taken = trio.Event()
    got = b""
    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            response = await opened(pool)
            with closing(response):
                while len(got) < (11 if answer is CHUNKED else 10):
                    got += await response.receive()
                assert not response.complete
                taken.set()
                while not response.complete:
                    got += await response.receive()
                assert await response.receive() == b""

    assert got == b"hello world"


async def test_header_names_are_lower_case_and_repeated_fields_joined():
    async with serving(answering(CHUNKED)) as server:
        with closing(Pool(server.url)) as pool:
            got = await call(pool)

    assert got.headers == {b"transfer-encoding": b"chunked", b"x-two": b"a, b"}


@pytest.mark.parametrize("answer", [CHUNKED, LENGTH], ids=["chunked", "length"])
async def test_an_answer_cut_at_any_byte_is_never_a_whole_one(answer):
    cuts = iter(range(len(answer) + 1))

    async def script(peer):
        await peer.read_request()
        await peer.send(answer[: next(cuts)])

    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            for _ in range(len(answer)):
                with pytest.raises(UpstreamBroken) as broken:
                    await call(pool)
                assert broken.value.sent
            whole = await call(pool)

    assert whole.body == b"hello world"
    assert pool.open == pool.idle


async def test_a_connection_reset_in_the_body_is_not_its_end():
    async def script(peer):
        await peer.read_request()
        await peer.send(UNTIL_CLOSE)
        await begun.wait()
        peer.reset()

    begun = trio.Event()
    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            response = await opened(pool)
            assert await response.receive() == b"hello world"
            begun.set()
            with pytest.raises(UpstreamBroken, match="broke"):
                await read(response)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x02\x00garbage",
        b"<html>502</html>",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 No\r\n\r\n",
        b"HTTP/1.1 200 OK\nbare: lf\n\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: lzma\r\ncontent-length: 1\r\n\r\nx",
    ],
)
async def test_what_is_not_an_answer_we_can_pass_on_is_broken(answer):
    async with serving(answering(answer)) as server:
        with closing(Pool(server.url)) as pool:
            with pytest.raises(UpstreamBroken) as broken:
                await call(pool)

    assert broken.value.sent
    assert pool.open == 0


@pytest.mark.parametrize(
    "flood",
    [
        b"HTTP/1.1 200 OK\r\n" + b"x-filler: yyyyyyyyyyyyyyyyyyyyyy\r\n" * 30_000,
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1_000_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 40_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"
        + b"x: y\r\n" * 200_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: "
        + b"y" * 1_000_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;x=" + b"y" * 1_000_000,
    ],
    ids=["fields", "field", "interim", "trailers", "trailer", "extension"],
)
async def test_a_megabyte_without_any_body_is_refused(flood):
    async def script(peer):
        await peer.read_request()
        await peer.send(flood)
        await peer.wait_left()

    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            with pytest.raises(UpstreamBroken):
                await call(pool)

    assert pool.open == 0


async def test_a_field_repeated_thousands_of_times_is_refused():
    # 33 KB in all; joining such fields costs the square of their number.
    many = b"HTTP/1.1 200 OK\r\n" + b"a: 0123456789\r\n" * 2200
    async with serving(answering(many + b"content-length: 0\r\n\r\n")) as server:
        with closing(Pool(server.url)) as pool:
            with pytest.raises(UpstreamBroken, match="repeated"):
                await call(pool)


async def test_interim_responses_are_skipped():
    interim = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    )
    async with serving(answering(interim + LENGTH)) as server:
        with closing(Pool(server.url)) as pool:
            got = await call(pool)

    assert (got.status, got.body) == (200, b"hello world")
    assert got.headers == {b"content-length": b"11"}


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_some_statuses_have_no_body_and_keep_the_connection(status):
    bare = b"HTTP/1.1 " + status + b"\r\n\r\n"
    async with serving(answering(bare, OK)) as server:
        with closing(Pool(server.url)) as pool:
            first = await call(pool)
            second = await call(pool)

    assert (first.body, second.body) == (b"", b"ok")
    assert len(server.peers) == 1


async def test_the_answer_to_head_has_no_body_whatever_its_length():
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    async with serving(answering(head)) as server:
        with closing(Pool(server.url)) as pool:
            got = await call(pool, a_request(b"", b"HEAD"))

    assert (got.status, got.body) == (200, b"")


@pytest.mark.parametrize("status", [301, 307, 429, 500])
async def test_a_redirect_or_an_error_is_returned_as_it_is(status):
    answer = b"HTTP/1.1 %d X\r\nlocation: http://127.0.0.1:1/\r\n" % status
    async with serving(answering(answer + b"content-length: 2\r\n\r\nno")) as server:
        with closing(Pool(server.url)) as pool:
            got = await call(pool)

    assert (got.status, got.body) == (status, b"no")
    assert got.headers[b"location"] == b"http://127.0.0.1:1/"


@pytest.mark.parametrize(
    "extra", [b"X", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"]
)
async def test_data_after_the_answer_is_in_no_answer(extra):
    async with serving(answering(LENGTH + extra)) as server:
        with closing(Pool(server.url)) as pool:
            first = await call(pool)
            assert pool.open == 0
            second = await call(pool)

    assert first.body == second.body == b"hello world"
    assert first.headers == {b"content-length": b"11"}


async def test_an_answer_after_one_without_a_body_is_not_whole_when_it_is_cut():
    script = answering(b"HTTP/1.1 204 No Content\r\n\r\n", CHUNKED[:-20])
    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            await call(pool)
            with pytest.raises(UpstreamBroken):
                await call(pool)

    assert len(server.peers) == 1


async def test_what_arrived_together_is_received_together():
    events = b"".join(b"6\r\nevent%d\r\n" % i for i in range(5))
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    async with serving(answering(head + events + b"0\r\n\r\n")) as server:
        with closing(Pool(server.url)) as pool:
            response = await opened(pool)
            data = await response.receive()
            end = await response.receive()
            response.close()

    assert data == b"event0event1event2event3event4"
    assert end == b""


async def test_nothing_is_read_that_nobody_asked_for():
    size = 64 * 1024 * 1024
    progress = 0

    async def script(peer):
        nonlocal progress
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            await peer.send(b"x" * 65536)
            progress += 65536

    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            response = await opened(pool)
            first = await response.receive()
            await trio.testing.wait_all_tasks_blocked(0.02)
            response.close()

    # What the kernel buffers on both sides; the rest was never sent.
    assert len(first) <= 65536
    assert progress < size / 2
