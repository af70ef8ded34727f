"""What is a request, and what is refused before it is one."""

import pytest
import trio

from tests.wire.edge_server import (
    CHAT,
    ScriptedBody,
    edge_server,
    get,
    hanging,
    post,
    replying,
    settle_down,
    streaming,
)

POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: gandalf\r\n"

MALFORMED = {
    "length beside chunks": POST
    + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks beside a length": POST
    + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "the same length twice": POST + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"content-length: 2, 2\r\n\r\n{}",
    "a signed length": POST + b"content-length: +2\r\n\r\n{}",
    "a hexadecimal length": POST + b"content-length: 0x2\r\n\r\n{}",
    "no length": POST + b"content-length:\r\n\r\n",
    "an endless length": POST + b"content-length: %d\r\n\r\n" % 10**40,
    "an unknown coding": POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding before chunked": POST
    + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "two codings": POST
    + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": POST + b"content-length : 2\r\n\r\n{}",
    "a folded line": POST + b"a: b\r\n c\r\n\r\n",
    "a line that ends in LF": POST + b"a: b\nc: d\r\n\r\n",
    "a CR in a line": POST + b"a: b\rc: d\r\n\r\n",
    "an LF ends the head": POST + b"a: b\r\n\n",
    "an underscore in a name": POST + b"content_length: 2\r\n\r\n",
    "a parenthesis in a name": POST + b"a(b: c\r\n\r\n",
    "no name": POST + b": c\r\n\r\n",
    "a control character in a value": POST + b"a: b\x01c\r\n\r\n",
    "a NUL in a value": POST + b"a: b\0c\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": POST + b"host: other\r\n\r\n",
    "two authorizations": POST
    + b"authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
    "a control character in the target": b"GET /\x01 HTTP/1.1\r\nhost: a\r\n\r\n",
    "a byte above ASCII in the target": b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n",
    "a fragment": b"GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n",
    "an authority": b"GET a:80 HTTP/1.1\r\nhost: a\r\n\r\n",
    "no http URL": b"GET ftp://a/b HTTP/1.1\r\nhost: a\r\n\r\n",
    "an asterisk to GET": b"GET * HTTP/1.1\r\nhost: a\r\n\r\n",
    "a method in small letters": b"get / HTTP/1.1\r\nhost: a\r\n\r\n",
    "a hello of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 40,
    "LF after a chunk's size": POST + b"transfer-encoding: chunked\r\n\r\n2\n{}\r\n",
    "more in a chunk than its size": POST
    + b"transfer-encoding: chunked\r\n\r\n2\r\n{}}\r\n0\r\n\r\n",
    "an endless chunk": POST
    + b"transfer-encoding: chunked\r\n\r\n%b\r\n" % (b"f" * 17),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
async def test_what_can_be_read_in_two_ways_is_refused_and_the_connection_closed(data):
    async with edge_server() as edge:
        client = edge.connect()
        await client.send(data + CHAT)

        response = await client.response()
        assert response.status == 400
        assert response.error["type"] == "invalid_request_error"
        assert response.headers[b"connection"] == b"close"
        await client.eof()
        assert not client.data
        assert edge.stage.entered == []


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
async def test_one_byte_at_a_time_is_refused_just_so(data):
    async with edge_server() as edge:
        client = edge.connect()
        for at in range(len(data)):
            if at % 7 == 0:
                await trio.lowlevel.checkpoint()
            try:
                client.sock.send(data[at : at + 1])
            except (BrokenPipeError, ConnectionResetError):
                break

        assert (await client.response()).status == 400
        assert edge.stage.entered == []


@pytest.mark.parametrize(
    "line",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/2.0\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.2\r\nhost: a\r\n\r\n",
        b"GET / HTTP/0.9\r\nhost: a\r\n\r\n",
        b"GET /\r\n\r\n",
    ],
)
async def test_other_versions_are_refused_with_505(line):
    async with edge_server() as edge:
        response = await edge.ask(line)

        assert response.status == 505
        assert response.error["code"] == "http_version_not_supported"


@pytest.mark.parametrize("method", [b"CONNECT", b"TRACE", b"PROPFIND", b"SOURCE"])
async def test_methods_that_nobody_needs_are_refused_with_405(method):
    target = b"a:80" if method == b"CONNECT" else b"/"
    async with edge_server() as edge:
        response = await edge.ask(
            b"%b %b HTTP/1.1\r\nhost: a\r\n\r\n" % (method, target)
        )

        assert response.status == 405
        assert b"POST" in response.headers[b"allow"]


H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"


@pytest.mark.parametrize("cut", [None, 1, 7])
async def test_a_wish_to_upgrade_is_ignored_and_the_body_is_read_all_the_same(cut):
    request = post("/v1/chat/completions", b'{"a":1}', H2C)
    chunked = POST + H2C + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    websocket = get("/ws", b"connection: Upgrade\r\nupgrade: websocket\r\n")
    data = request + chunked + websocket + CHAT
    async with edge_server() as edge:
        client = edge.connect()
        for at in range(0, len(data), cut or len(data)):
            await client.send(data[at : at + (cut or len(data))])
            await trio.lowlevel.checkpoint()

        bodies = [(await client.response()).body for _ in range(4)]
        assert bodies == [b'{"a":1}', b"abc", b"GET /ws? ", b"{}"]


async def test_a_chunked_body_arrives_whole_without_extensions_and_trailers():
    async with edge_server() as edge:
        response = await edge.ask(
            POST + b"transfer-encoding: Chunked\r\n\r\n"
            b"3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nx-trailer: y\r\n\r\n"
        )

        assert response.body == b"abc0123456789"
        assert b"x-trailer" not in edge.stage.entered[0].headers


async def test_field_names_come_in_small_letters_and_repeated_fields_joined():
    async with edge_server() as edge:
        await edge.ask(post("/v1/chat/completions", b"{}", b"X-A: 1\r\nx-a: 2\r\n"))

        assert edge.stage.entered[0].headers[b"x-a"] == b"1, 2"


@pytest.mark.parametrize("target", [b"http://other/p/%61?q=1", b"HTTP://o:1/p/%61?q=1"])
async def test_of_an_absolute_target_only_the_path_counts(target):
    async with edge_server() as edge:
        response = await edge.ask(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % target)

        assert response.body == b"GET /p/a?q=1 "


async def test_requests_sent_at_once_are_answered_in_order():
    async with edge_server() as edge:
        client = edge.connect()
        bodies = [b"%d" % number for number in range(10)]
        await client.send(b"".join(post("/v1/chat/completions", b) for b in bodies))

        assert [(await client.response()).body for _ in bodies] == bodies
        assert client.is_open()


async def test_of_too_many_requests_sent_at_once_the_last_answer_says_close():
    async with edge_server() as edge:
        client = edge.connect()
        await client.send(CHAT * 40)

        responses = [await client.response() for _ in range(16)]
        assert [b"connection" in each.headers for each in responses] == [False] * 15 + [
            True
        ]
        await client.eof()
        assert len(edge.stage.entered) == 16


async def test_a_bad_request_behind_good_ones_does_not_cost_them_their_answers():
    async with edge_server() as edge:
        client = edge.connect()
        await client.send(CHAT + CHAT + b"\0\0\0\0")

        statuses = [(await client.response()).status for _ in range(3)]
        assert statuses == [200, 200, 400]
        await client.eof()


async def test_nothing_after_a_request_that_says_close_is_read():
    async with edge_server() as edge:
        client = edge.connect()
        close = post("/v1/chat/completions", b"{}", b"connection: close\r\n")
        await client.send(close + CHAT)

        response = await client.response()
        assert response.headers[b"connection"] == b"close"
        await client.eof()
        assert len(edge.stage.entered) == 1


async def test_http_1_0_gets_its_answer_and_the_end_of_the_connection():
    async with edge_server() as edge:
        client = edge.connect()
        await client.send(
            b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}"
        )

        response = await client.response()
        assert (response.status, response.body) == (200, b"{}")
        await client.eof()


async def test_http_1_0_may_ask_to_keep_the_connection():
    request = (
        b"POST /v1/chat/completions HTTP/1.0\r\n"
        b"connection: keep-alive\r\ncontent-length: 2\r\n\r\n{}"
    )
    async with edge_server() as edge:
        client = edge.connect()
        for _ in range(2):
            await client.send(request)
            response = await client.response()
            assert response.headers[b"connection"] == b"keep-alive"


# Sizes.


async def test_a_header_section_at_its_limit_passes_and_above_is_refused_with_431():
    async with edge_server(max_header_bytes=2000) as edge:
        good = await edge.ask(get("/", b"a: %b\r\n" % (b"x" * 1900)))
        bad = await edge.ask(get("/", b"a: %b\r\n" % (b"x" * 2100)))
        assert (good.status, bad.status) == (200, 431)
        assert bad.error["code"] == "headers_too_large"


async def test_a_field_that_never_ends_is_refused_while_it_arrives():
    async with edge_server(max_header_bytes=2000) as edge:
        client = edge.connect()
        await client.send(b"GET / HTTP/1.1\r\nhost: a\r\nx: ")
        for _ in range(30):
            await client.send(b"y" * 100)
            await settle_down()
            client.pull()
            if client.data:
                break
        assert (await client.response()).status == 431


@pytest.mark.parametrize(
    "fields",
    [b"".join(b"x%d: y\r\n" % n for n in range(120)), b"x: y\r\n" * 120],
    ids=["different", "the same"],
)
async def test_too_many_fields_are_refused_with_431(fields):
    async with edge_server() as edge:
        assert (await edge.ask(get("/", fields))).status == 431


async def test_a_long_target_is_refused_with_414():
    async with edge_server() as edge:
        assert (await edge.ask(get("/" + "x" * 8100))).status == 200
        response = await edge.ask(get("/" + "x" * 8200))
        assert (response.status, response.error["code"]) == (414, "uri_too_long")


async def test_a_body_announced_too_large_is_refused_before_it_is_sent():
    async with edge_server(max_body_bytes=1000) as edge:
        response = await edge.ask(POST + b"content-length: 1001\r\n\r\n")

        assert (response.status, response.error["code"]) == (413, "request_too_large")


async def test_who_sends_the_large_body_all_the_same_can_still_read_why_not():
    async with edge_server(max_body_bytes=1000) as edge:
        client = edge.connect()
        await client.send(post("/v1/chat/completions", b"x" * 3_000_000))

        assert (await client.response()).status == 413
        client.close()
        await edge.is_idle()


async def test_a_chunked_body_is_refused_when_it_grows_too_large():
    async with edge_server(max_body_bytes=1000) as edge:
        client = edge.connect()
        await client.send(POST + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(10):
            await client.send(b"64\r\n%b\r\n" % (b"x" * 100))
        await settle_down()
        client.pull()
        assert not client.data
        await client.send(b"64\r\n%b\r\n" % (b"x" * 100))

        assert (await client.response()).status == 413


@pytest.mark.parametrize("tail", [b"1;x=", b"0\r\nx: "], ids=["extension", "trailer"])
async def test_what_is_sent_beside_the_data_of_chunks_is_bounded(tail):
    async with edge_server(max_header_bytes=2000) as edge:
        client = edge.connect()
        await client.send(POST + b"transfer-encoding: chunked\r\n\r\n" + tail)
        for _ in range(40):
            await client.send(b"y" * 100)
            await settle_down()
            client.pull()
            if client.data:
                break
        assert (await client.response()).status == 400


async def test_a_body_of_many_tiny_chunks_is_no_offence():
    async with edge_server(max_header_bytes=2000) as edge:
        client = edge.connect()
        await client.send(POST + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(50):
            await client.send(b"1\r\nx\r\n" * 100)
            await settle_down()
        await client.send(b"0\r\n\r\n")

        assert (await client.response()).body == b"x" * 5000


async def test_bodies_that_memory_cannot_hold_are_shed_with_503():
    async with edge_server(max_body_bytes=800, max_body_bytes_total=1000) as edge:
        first = edge.connect()
        await first.send(POST + b"content-length: 800\r\n\r\n" + b"x" * 700)
        await settle_down()

        shed = await edge.ask(post("/v1/chat/completions", b"x" * 400))
        assert (shed.status, shed.error["code"]) == (503, "overloaded")
        assert shed.headers[b"retry-after"] == b"1"

        await first.send(b"x" * 100)
        assert (await first.response()).status == 200
        assert (await edge.ask(post("/v1/chat/completions", b"x" * 800))).status == 200


async def test_what_a_client_took_back_or_was_refused_counts_no_longer():
    async with edge_server(max_body_bytes=800, max_body_bytes_total=1000) as edge:
        for _ in range(5):
            left = edge.connect()
            await left.send(POST + b"content-length: 800\r\n\r\n" + b"x" * 700)
            await settle_down()
            left.close()
            await edge.is_idle()
            refused = edge.connect()
            chunk = b"190\r\n%b\r\n" % (b"x" * 400)
            await refused.send(POST + b"transfer-encoding: chunked\r\n\r\n" + chunk * 3)
            assert (await refused.response()).status == 413
            refused.close()

        assert (await edge.ask(post("/v1/chat/completions", b"x" * 800))).status == 200


async def test_a_body_that_memory_cannot_hold_is_shed_before_it_is_sent():
    async with edge_server(hanging, max_body_bytes_total=1000) as edge:
        first = edge.connect()
        await first.send(post("/v1/chat/completions", b"x" * 900))
        await settle_down()

        shed = await edge.ask(POST + b"content-length: 200\r\n\r\n")
        assert shed.status == 503


async def test_a_body_counts_no_longer_once_its_stream_has_begun():
    body = ScriptedBody()
    long = post("/v1/chat/completions", b"x" * 900)
    async with edge_server(streaming(body), max_body_bytes_total=1000) as edge:
        first, second = edge.connect(), edge.connect()
        await first.send(long)
        await body.give(b"data: 1\n\n")
        await second.send(long)
        await settle_down()

        body.end()
        for client in (first, second):
            assert (await client.response()).status == 200
        # And is not given back twice.
        client = edge.connect()
        await client.send(POST + b"content-length: 1001\r\n\r\n")
        assert (await client.response()).status == 503


async def test_a_hanging_request_holds_its_body_until_it_is_over():
    async with edge_server(hanging, max_body_bytes_total=1000) as edge:
        client = edge.connect()
        await client.send(post("/v1/chat/completions", b"x" * 900))
        await settle_down()
        assert (await edge.ask(post("/page", b"x" * 200))).status == 503

        client.close()
        await edge.is_idle()
        assert (await edge.ask(post("/page", b"x" * 200))).status == 200


# Expect: 100-continue.

EXPECT = POST + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n"


async def test_who_waits_to_send_a_body_is_told_to_go_on():
    async with edge_server() as edge:
        client = edge.connect()
        await client.send(EXPECT % 5)
        assert await client.head() == (100, {})
        await client.send(b"hello")

        assert (await client.response()).body == b"hello"


async def test_who_waits_to_send_too_large_a_body_gets_the_final_status_at_once():
    async with edge_server(max_body_bytes=4) as edge:
        client = edge.connect()
        await client.send(EXPECT % 5)

        assert (await client.response()).status == 413


async def test_who_does_not_wait_after_all_gets_only_the_answer():
    async with edge_server() as edge:
        response = await edge.ask((EXPECT % 5) + b"hello")
        assert response.body == b"hello"


async def test_who_has_begun_to_send_the_body_is_not_invited():
    async with edge_server() as edge:
        client = edge.connect()
        await client.send((EXPECT % 5) + b"he")
        await settle_down()
        client.pull()
        assert not client.data
        await client.send(b"llo")
        assert (await client.response()).body == b"hello"


async def test_the_invitation_comes_after_the_answer_to_the_request_before():
    async with edge_server(replying(b"[]")) as edge:
        client = edge.connect()
        await client.send(CHAT + (EXPECT % 5))

        assert (await client.response()).body == b"[]"
        assert await client.head() == (100, {})
        await client.send(b"hello")
        assert (await client.response()).status == 200


async def test_other_expectations_are_refused_with_417():
    async with edge_server() as edge:
        request = post("/v1/chat/completions", b"{}", b"expect: miracles\r\n")
        assert (await edge.ask(request)).status == 417
