"""Pages of the ASGI application, Quart's and others, on the edge."""

import pytest
import trio
from quart import Response, request
from quart_trio import QuartTrio

from tests.wire.edge_server import (
    CHAT,
    edge_server,
    get,
    pages,
    post,
    reply_page,
    settle_down,
)


def head(path):
    return get(path).replace(b"GET", b"HEAD", 1)


async def test_the_application_is_told_what_was_asked():
    scopes = []

    async def page(scope, receive, send):
        scopes.append(scope)
        await reply_page(send)

    async with edge_server(app=pages(page)) as edge:
        await edge.ask(get("/a%20b/%C3%A9?x=%31", b"X-A: 1\r\nx-a: 2\r\ncookie: c\r\n"))

        (scope,) = scopes
        assert scope["type"] == "http"
        assert scope["http_version"] == "1.1"
        assert scope["method"] == "GET"
        assert scope["scheme"] == "http"
        assert scope["path"] == "/a b/é"
        assert scope["raw_path"] == b"/a%20b/%C3%A9"
        assert scope["query_string"] == b"x=%31"
        assert scope["root_path"] == ""
        assert scope["headers"] == [
            (b"host", b"gandalf"),
            (b"x-a", b"1, 2"),
            (b"cookie", b"c"),
        ]
        assert scope["client"][0] == "127.0.0.1"
        assert scope["server"] == edge.address


async def test_a_path_that_is_no_text_is_still_a_path():
    """H1: on stock hypercorn, one such request over h2c ends the process."""
    async with edge_server() as edge:
        response = await edge.ask(get("/%ff%00"))
        assert response.body == "GET /\ufffd\0? ".encode()


async def test_an_answer_has_its_length_and_not_the_applications_framing():
    async def page(scope, receive, send):
        headers = [
            (b"Content-Length", b"999"),
            (b"Transfer-Encoding", b"chunked"),
            (b"Connection", b"close"),
            (b"X-Page", b"1"),
        ]
        await reply_page(send, 201, b"body", headers)

    async with edge_server(app=pages(page)) as edge:
        client = edge.connect()
        for _ in range(2):
            await client.send(get("/"))
            response = await client.response()
            assert (response.status, response.body) == (201, b"body")
            assert response.headers[b"content-length"] == b"4"
            assert response.headers[b"x-page"] == b"1"
            assert b"connection" not in response.headers


async def test_head_gets_no_body_but_its_length():
    async def page(scope, receive, send):
        await reply_page(send, 200, b"body")

    async with edge_server(app=pages(page)) as edge:
        client = edge.connect()
        for _ in range(2):
            await client.send(head("/"))
            response = await client.response(head_only=True)
            assert response.headers[b"content-length"] == b"4"
        await settle_down()
        client.pull()
        assert not client.data


async def test_head_gets_the_length_that_the_application_tells_without_a_body():
    async def page(scope, receive, send):
        await reply_page(send, 200, b"", [(b"content-length", b"12345")])

    async with edge_server(app=pages(page)) as edge:
        client = edge.connect()
        await client.send(head("/") + get("/"))
        assert (await client.response(head_only=True)).headers[
            b"content-length"
        ] == b"12345"
        assert (await client.response()).body == b""


async def test_head_of_a_stream_gets_no_chunks():
    async def page(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})

    async with edge_server(app=pages(page)) as edge:
        client = edge.connect()
        await client.send(head("/") + get("/"))
        await client.response(head_only=True)
        assert (await client.response()).body == b"ab"


@pytest.mark.parametrize("status", [204, 304])
async def test_statuses_without_a_body_have_none(status):
    async def page(scope, receive, send):
        await reply_page(send, status, b"")

    async with edge_server(app=pages(page)) as edge:
        client = edge.connect()
        for _ in range(2):
            await client.send(get("/"))
            response = await client.response()
            assert response.status == status
            assert b"content-length" not in response.headers


async def fails_early(scope, receive, send):
    raise ValueError("secret")


async def fails_in_a_group(scope, receive, send):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        raise ExceptionGroup("two", [ValueError("secret"), KeyError("secret")])


async def speaks_out_of_turn(scope, receive, send):
    await send({"type": "http.response.body", "body": b"secret"})


@pytest.mark.parametrize(
    "page",
    [fails_early, fails_in_a_group, speaks_out_of_turn],
    ids=lambda p: p.__name__,
)
async def test_a_page_that_fails_is_a_500_that_tells_nothing(page, caplog):
    async with edge_server(app=pages(page)) as edge:
        client = edge.connect()
        await client.send(get("/"))
        response = await client.response()
        assert response.status == 500
        assert response.error["code"] == "internal_error"
        assert b"secret" not in response.body
        await client.eof()
        assert edge.counters.crashes == 1

        assert (await edge.ask(CHAT)).status == 200


async def test_a_page_that_says_nothing_is_a_500():
    async def page(scope, receive, send):
        pass

    async with edge_server(app=pages(page)) as edge:
        assert (await edge.ask(get("/"))).status == 500


async def test_a_page_that_answers_before_it_reads_the_body_is_fine():
    """H1: on stock hypercorn, data after an early answer ends the process."""

    async def page(scope, receive, send):
        await reply_page(send, 401, b"no")

    async with edge_server(app=pages(page)) as edge:
        client = edge.connect()
        await client.send(post("/", b"x" * 100_000) + get("/"))
        assert (await client.response()).status == 401
        assert (await client.response()).status == 401


async def test_after_its_answer_a_page_is_told_that_the_request_is_over():
    seen = []

    async def page(scope, receive, send):
        await receive()
        await reply_page(send, 200, b"ok")
        seen.append((await receive())["type"])

    async with edge_server(app=pages(page)) as edge:
        assert (await edge.ask(get("/"))).body == b"ok"
        await edge.is_idle()
        assert seen == ["http.disconnect"]


async def test_what_the_lifespan_leaves_is_there_for_every_page():
    async def app(scope, receive, send):
        if scope["type"] == "http":
            await reply_page(send, 200, scope["state"]["word"])
            return
        await receive()
        scope["state"]["word"] = b"hello"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async with edge_server(app=app) as edge:
        assert (await edge.ask(get("/"))).body == b"hello"


# Quart itself.


def a_quart_app() -> QuartTrio:
    app = QuartTrio("test", static_folder=None)
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["BODY_TIMEOUT"] = None
    app.config["MAX_CONTENT_LENGTH"] = None
    app.left = []

    @app.post("/echo")
    async def echo() -> bytes:
        return await request.get_data()

    @app.get("/stream")
    async def stream() -> Response:
        async def body():
            for number in range(130):
                yield b"%d\n" % number
                await trio.sleep(1)

        return Response(body())

    @app.get("/wait")
    async def wait() -> str:
        try:
            await trio.sleep_forever()
        finally:
            # Q2: what is asynchronous here would be cancelled; this is not.
            app.left.append("/wait")

    @app.get("/fail")
    async def fail() -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise KeyError("secret")

    return app


async def test_a_body_of_20_megabytes_reaches_a_quart_page():
    """Q1, Q4: the limit is the server's, not a default of the framework."""
    async with edge_server(app=a_quart_app()) as edge:
        body = bytes(range(256)) * 80_000
        assert (await edge.ask(post("/echo", body))).body == body


async def test_a_body_too_large_never_reaches_quart():
    async with edge_server(app=a_quart_app(), max_body_bytes=1000) as edge:
        head_only = b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\n\r\n"
        assert (await edge.ask(head_only)).status == 413


async def test_a_stream_of_quart_that_takes_minutes_arrives_whole(autojump_clock):
    """Q1: with hypercorn and Quart's defaults it is cut after 60 seconds."""
    async with edge_server(app=a_quart_app()) as edge:
        client = edge.connect()
        await client.send(get("/stream"))
        await trio.sleep(131)

        response = await client.response()
        assert response.complete
        assert response.body == b"".join(b"%d\n" % number for number in range(130))


async def test_a_client_that_leaves_cancels_a_quart_page_and_its_finally_runs():
    app = a_quart_app()
    async with edge_server(app=app) as edge:
        client = edge.connect()
        await client.send(get("/wait"))
        await settle_down()
        client.close()
        await edge.is_idle()
        assert app.left == ["/wait"]


async def test_an_exception_group_in_a_quart_page_is_a_500_and_nothing_worse():
    """Q3: a group of errors and cancellations must not get past the page."""
    async with edge_server(app=a_quart_app()) as edge:
        response = await edge.ask(get("/fail"))
        assert response.status == 500
        assert b"secret" not in response.body
        assert (await edge.ask(post("/echo", b"still there"))).body == b"still there"


async def test_a_hot_page_does_not_pass_through_the_application():
    """Q5: the framework's price is paid by those pages only that need it."""

    async def page(scope, receive, send):
        raise AssertionError("the application was asked")

    async with edge_server(app=pages(page)) as edge:
        assert (await edge.ask(CHAT)).status == 200
        assert edge.counters.crashes == 0


@pytest.mark.parametrize("target", [b"*", b"/"])
async def test_options_are_the_applications(target):
    async with edge_server(app=a_quart_app()) as edge:
        response = await edge.ask(b"OPTIONS %b HTTP/1.1\r\nhost: a\r\n\r\n" % target)
        assert response.status == 404
