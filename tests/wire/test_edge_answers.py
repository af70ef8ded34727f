"""How answers look on the wire, whole and streamed, good and broken off."""

import pytest
import trio

from gandalf.domain.errors import RateLimited, UpstreamError
from gandalf.pipeline.exchange import Reply
from tests.wire.edge_server import (
    CHAT,
    ScriptedBody,
    edge_server,
    eventually,
    get,
    pages,
    post,
    replying,
    settle_down,
    streaming,
)

BROKEN = UpstreamError("up", "the upstream broke off")


async def test_a_whole_answer_has_its_length_and_a_date_and_keeps_the_connection():
    async with edge_server(replying(b'{"ok":true}')) as edge:
        client = edge.connect()
        for _ in range(3):
            await client.send(CHAT)
            response = await client.response()
            assert response.status == 200
            assert response.body == b'{"ok":true}'
            assert response.headers[b"content-length"] == b"11"
            assert response.headers[b"date"].endswith(b"GMT")
            assert b"connection" not in response.headers
        assert edge.counters.accepted == 1


async def test_a_large_answer_arrives_whole():
    body = bytes(range(256)) * 40_000
    async with edge_server(replying(body)) as edge:
        client = edge.connect(receive_buffer=4096)
        await client.send(CHAT + CHAT)

        assert (await client.response()).body == body
        assert (await client.response()).body == body


async def test_a_stream_leaves_in_chunks_as_it_comes_and_keeps_the_connection():
    body = ScriptedBody()
    async with edge_server(streaming(body)) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await body.give(b"data: 1\n\n")
        status, headers = await client.head()
        assert (status, headers[b"transfer-encoding"]) == (200, b"chunked")
        assert await client.piece() == b"data: 1\n\n"
        await settle_down()
        assert not client.data

        await body.give(b"data: 2\n\n")
        assert await client.piece() == b"data: 2\n\n"
        body.end()
        assert await client.piece() == b"data: [DONE]\n\n"
        assert await client.piece() == b""
        edge.stage.script = replying(b"next")
        await client.send(CHAT)
        assert (await client.response()).body == b"next"


async def test_the_head_of_a_stream_leaves_together_with_its_first_bytes():
    body = ScriptedBody()
    async with edge_server(streaming(body)) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await eventually(lambda: edge.stage.settled)
        await settle_down()
        client.pull()
        assert not client.data

        await body.give(b"data: 1\n\n")
        await eventually(lambda: client.pull() or client.data)
        assert client.data.endswith(b"\r\n\r\n9\r\ndata: 1\n\n\r\n")


async def test_an_error_before_the_answer_is_a_status_and_keeps_the_connection():
    async def script(exchange):
        raise RateLimited("rpm", 2.5)

    async with edge_server(script) as edge:
        client = edge.connect()
        for _ in range(2):
            await client.send(CHAT)
            response = await client.response()
            assert response.status == 429
            assert response.headers[b"retry-after"] == b"3"
            assert response.error["code"] == "rate_limit_exceeded"


async def test_an_error_in_a_stream_is_an_event_without_the_last_chunk():
    body = ScriptedBody()
    async with edge_server(streaming(body)) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await body.give(b"data: 1\n\n")
        await body.give(BROKEN)

        response = await client.response()
        assert response.body.startswith(b"data: 1\n\n")
        assert b"the upstream broke off" in response.body
        # An SDK's exception has the event and not the headers.
        assert response.headers[b"x-request-id"] in response.body
        assert b"[DONE]" not in response.body
        assert not response.complete
        await client.eof()


async def test_a_bug_in_a_stage_is_a_500_that_tells_nothing(caplog):
    async def script(exchange):
        raise ValueError("secret")

    async with edge_server(script) as edge:
        response = await edge.ask(CHAT)

        assert response.status == 500
        assert b"secret" not in response.body
    assert "secret" in caplog.text


async def test_no_header_value_can_begin_a_line_of_its_own(caplog):
    async def script(exchange):
        exchange.reply_headers.append((b"x-target", b"a\r\nset-cookie: b\0"))
        return Reply(200, b"text/plain", b"ok")

    async with edge_server(script) as edge:
        response = await edge.ask(CHAT)

        assert b"set-cookie" not in response.headers
        assert response.headers[b"x-target"] == b"a  set-cookie: b "
        assert response.body == b"ok"


async def test_a_stream_to_http_1_0_ends_with_the_connection():
    body = ScriptedBody()
    async with edge_server(streaming(body)) as edge:
        client = edge.connect()
        await client.send(
            b"POST /v1/chat/completions HTTP/1.0\r\n"
            b"connection: keep-alive\r\ncontent-length: 2\r\n\r\n{}"
        )
        await body.give(b"data: 1\n\n")
        body.end()

        response = await client.response()
        assert b"transfer-encoding" not in response.headers
        assert response.headers[b"connection"] == b"close"
        assert response.body == b"data: 1\n\ndata: [DONE]\n\n"


async def test_an_empty_piece_does_not_end_a_stream_early():
    async def page(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"a", b"", b"b", b""):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with edge_server(app=pages(page)) as edge:
        response = await edge.ask(get("/"))

        assert response.complete
        assert response.body == b"ab"


# Back-pressure: whoever produces an answer waits for whoever reads it.


async def test_a_client_that_does_not_read_holds_its_own_upstream_back():
    class Flood:
        ending = b""
        given = 0

        async def receive(self):
            await trio.lowlevel.checkpoint()
            self.given += 65536
            return b"x" * 65536

    flood = Flood()
    async with edge_server(streaming(flood)) as edge:
        client = edge.connect(receive_buffer=4096)
        await client.send(CHAT)
        await settle_down()
        taken = flood.given
        await settle_down()
        assert flood.given == taken
        assert taken < 8 * 1024 * 1024

        edge.stage.script = replying(b"others are served")
        assert (await edge.ask(CHAT)).body == b"others are served"

        for _ in range(50):
            client.pull()
            client.data.clear()
            await settle_down()
            if flood.given > taken:
                break
        assert flood.given > taken


# A stream that is silent.


async def test_a_silent_stream_says_that_it_is_alive(mock_clock):
    body = ScriptedBody()
    async with edge_server(streaming(body), keep_alive_interval=15.0) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await body.give(b"data: 1\n\n")
        await client.head()
        assert await client.piece() == b"data: 1\n\n"

        for _ in range(29):
            mock_clock.jump(0.5)
            await settle_down()
        client.pull()
        assert not client.data
        mock_clock.jump(0.5)
        assert await client.piece() == b": keep-alive\n\n"

        mock_clock.jump(14.4)
        await settle_down()
        client.pull()
        assert not client.data
        mock_clock.jump(1.0)
        assert await client.piece() == b": keep-alive\n\n"
        body.end()
        assert await client.piece() == b"data: [DONE]\n\n"


async def test_a_stream_that_waits_for_its_first_content_is_opened_and_kept_alive(
    mock_clock,
):
    body, content = ScriptedBody(), trio.Event()
    async with edge_server(streaming(body, content), keep_alive_interval=15.0) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await eventually(lambda: edge.stage.entered)
        mock_clock.jump(15.1)
        await settle_down()

        status, _ = await client.head()
        assert status == 200
        assert await client.piece() == b": keep-alive\n\n"
        content.set()
        await body.give(b"data: 1\n\n")
        assert await client.piece() == b"data: 1\n\n"


async def test_a_stream_opened_by_a_sign_of_life_can_still_fail_in_an_event(mock_clock):
    release = trio.Event()

    async def script(exchange):
        await streaming(ScriptedBody(), release)(exchange)
        raise BROKEN

    async with edge_server(script, keep_alive_interval=1.0) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await eventually(lambda: edge.stage.entered)
        mock_clock.jump(1.1)
        await settle_down()
        release.set()

        response = await client.response()
        assert response.body.startswith(b": keep-alive\n\n")
        assert b"the upstream broke off" in response.body
        assert not response.complete


async def test_a_whole_answer_gets_no_sign_of_life(mock_clock):
    release = trio.Event()

    async def script(exchange):
        await release.wait()
        return Reply(200, b"application/json", b"{}")

    async with edge_server(script, keep_alive_interval=1.0) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await eventually(lambda: edge.stage.entered)
        for _ in range(5):
            mock_clock.jump(1)
            await settle_down()
        release.set()

        assert (await client.response()).body == b"{}"


async def test_signs_of_life_do_not_get_into_events_that_are_being_written(mock_clock):
    body = ScriptedBody()
    size = 30_000_000
    async with edge_server(streaming(body), keep_alive_interval=1.0) as edge:
        client = edge.connect(receive_buffer=4096)
        await client.send(CHAT)
        await body.give(b"x" * size)
        await settle_down()
        for _ in range(10):
            mock_clock.jump(1)
            await settle_down()
        body.end()

        response = await client.response()
        assert response.complete
        assert response.body.replace(b": keep-alive\n\n", b"") == (
            b"x" * size + body.ending
        )
        assert b"keep-alive" not in response.body[:size]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
async def test_hot_pages_asked_by_another_method_are_the_applications(path):
    async with edge_server() as edge:
        response = await edge.ask(get(path))
        assert response.body == b"GET %b? " % path.encode()
        assert edge.stage.entered == []


async def test_a_query_does_not_hide_a_hot_page():
    async with edge_server(replying(b"hot")) as edge:
        assert (await edge.ask(post("/v1/chat/completions?a=b"))).body == b"hot"
