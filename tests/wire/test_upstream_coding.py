"""Answers of upstreams that compress although they are asked for ``identity``."""

import gzip
import os
import zlib
from contextlib import asynccontextmanager, closing

import brotli
import pytest
import trio
from backports import zstd

from gandalf.http.httpx_transport import HttpxUpstream
from gandalf.http.upstream import Pool
from gandalf.providers.watch import UpstreamBroken
from tests.fakes.calls import call, opened, read
from tests.fakes.servers import answering, serving

TEXT = b'{"choices": [{"message": {"content": "hello"}}]}' * 100
CODINGS = pytest.mark.parametrize(
    ("coding", "encode"),
    [
        (b"gzip", gzip.compress),
        (b"X-GZIP", gzip.compress),
        (b"deflate", zlib.compress),
        (b"br", brotli.compress),
        (b"zstd", zstd.compress),
        (b"gzip, br", lambda data: brotli.compress(gzip.compress(data))),
        (b"identity", bytes),
    ],
)


def answer(coding, body, status=b"200 OK"):
    return (
        b"HTTP/1.1 %b\r\ncontent-encoding: %b\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (status, coding, len(body), body)
    )


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.fixture(params=[Pool, HttpxUpstream])
def upstream_to(request):
    """Open an upstream of each kind to a server that runs a script."""

    @asynccontextmanager
    async def upstream(script):
        async with serving(script) as server:
            with closing(request.param(server.url)) as made:
                yield made

    return upstream


@CODINGS
async def test_a_whole_answer_is_decoded(upstream_to, coding, encode):
    async with upstream_to(answering(answer(coding, encode(TEXT)))) as upstream:
        got = await call(upstream)

    assert got.body == TEXT
    assert got.headers[b"content-type"] == b"application/json"


@pytest.mark.parametrize("coding", [b"gzip", b"br"])
async def test_neither_coding_nor_length_are_told_of_what_was_decoded(
    upstream_to, coding
):
    body = gzip.compress(TEXT) if coding == b"gzip" else brotli.compress(TEXT)
    async with upstream_to(answering(answer(coding, body))) as upstream:
        got = await call(upstream)

    assert b"content-encoding" not in got.headers
    assert b"content-length" not in got.headers
    assert got.headers[b"transfer-encoding"] == b"chunked"


async def test_each_event_of_a_compressed_stream_arrives_when_it_is_sent(upstream_to):
    async def script(peer):
        await peer.read_request()
        packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
        head = b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
        await peer.send(b"HTTP/1.1 200 OK\r\n" + head)
        for event, wanted in events:
            await wanted.wait()
            data = packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH)
            await peer.send(chunk(data))
        await peer.send(chunk(packer.flush()) + b"0\r\n\r\n")

    events = [(b"data: %d\n\n" % number, trio.Event()) for number in range(3)]
    async with upstream_to(script) as upstream:
        response = await opened(upstream)
        with closing(response), trio.fail_after(5):
            for event, wanted in events:
                wanted.set()
                got = b""
                while len(got) < len(event):
                    got += await response.receive()
                assert got == event
                assert not response.complete
            assert await response.receive() == b""
            assert response.complete


@pytest.mark.parametrize("framed", [True, False])
async def test_a_truncated_coding_is_a_broken_answer(upstream_to, framed):
    body = gzip.compress(TEXT)[:-1]
    whole = answer(b"gzip", body)
    if not framed:
        whole = b"HTTP/1.0 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + body

    async with upstream_to(answering(whole)) as upstream:
        response = await opened(upstream)
        with pytest.raises(UpstreamBroken, match="truncated"):
            await read(response)

    assert not response.complete


async def test_an_unknown_coding_is_named_when_the_body_is_read(upstream_to):
    async with upstream_to(answering(answer(b"gzip, lzma", b"x"))) as upstream:
        response = await opened(upstream)
        with pytest.raises(UpstreamBroken, match="unsupported content coding 'lzma'"):
            await read(response)


async def test_the_status_of_an_error_is_known_whatever_its_coding(upstream_to):
    refused = answer(b"lzma", b"x", b"429 Slow Down")
    async with upstream_to(answering(refused)) as upstream:
        response = await opened(upstream)
        response.close()

    assert response.status == 429


async def test_a_bomb_is_a_broken_answer(upstream_to):
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    async with upstream_to(answering(answer(b"gzip", bomb))) as upstream:
        response = await opened(upstream)
        with pytest.raises(UpstreamBroken, match="expands more than"):
            await read(response)


async def test_a_connection_is_used_again_after_a_compressed_answer():
    body = gzip.compress(TEXT)
    async with serving(
        answering(answer(b"gzip", body), answer(b"gzip", body))
    ) as server:
        with closing(Pool(server.url)) as pool:
            assert (await call(pool)).body == TEXT
            assert (await call(pool)).body == TEXT

    assert len(server.peers) == 1


async def test_others_run_while_a_large_answer_is_decoded():
    large = os.urandom(1024 * 1024) * 20
    turns = 0

    async def count():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    packed = zlib.compress(large, 1)
    async with serving(answering(answer(b"deflate", packed))) as server:
        with closing(Pool(server.url)) as pool:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(count)
                response = await opened(pool)
                before, size = turns, 0
                with closing(response):
                    while data := await response.receive():
                        assert len(data) <= 128 * 1024
                        size += len(data)
                nursery.cancel_scope.cancel()

    assert size == len(large)
    assert turns - before >= size // (128 * 1024)
