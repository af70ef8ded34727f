import json
import subprocess
import sys

import httpx
import openai
import pytest
import trio

from tests.fakes import upstream as fake
from tests.fakes.openai_format import chat_events, chunk, error, event, usage
from tests.fakes.upstream import fake_upstream


@pytest.fixture
async def up(nursery):
    async with fake_upstream(nursery) as upstream:
        yield upstream


@pytest.fixture
async def client():
    async with httpx.AsyncClient(timeout=5) as client:
        yield client


async def post(client, up, **body):
    return await client.post(f"{up.url}/chat/completions", json={"model": "m", **body})


async def test_it_answers_as_openai_would_and_keeps_the_connection(up, client):
    first = await post(client, up)
    streamed = await post(client, up, stream=True)

    assert first.json()["choices"][0]["message"]["content"] == "Hello there"
    assert streamed.content == b"".join(chat_events(usage=None))
    assert up.connections == 1
    assert [request.connection for request in up.requests] == [0, 0]


async def test_it_records_every_byte_of_a_request(up):
    raw = b"POST /v1/x HTTP/1.1\r\nHost: up\r\nX-Odd:  a\r\ncontent-length: 2\r\n\r\n{}"
    connection = await trio.open_tcp_stream("127.0.0.1", up.port)
    async with connection:
        await connection.send_all(raw[:20])
        await connection.send_all(raw[20:])
        await up.wait_for_requests(1)

    (request,) = up.requests
    assert request.raw == raw
    assert request.body == b"{}"
    assert request.header("x-odd") == "a"
    assert (b"X-Odd", b"a") in request.headers


async def test_a_script_is_followed_in_order_and_then_the_default(up, client):
    up.script(fake.status(503), fake.status(429, retry_after="7"), fake.html_error())

    answers = [await post(client, up) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [503, 429, 502, 200]
    assert answers[1].headers["retry-after"] == "7"
    assert answers[2].headers["content-type"] == "text/html"


async def test_an_answer_may_depend_on_the_request(up, client):
    up.script(lambda request: fake.chat(request.json()["model"]))

    answer = await post(client, up)

    assert answer.json()["choices"][0]["message"]["content"] == "m"


REQUEST = b"POST / HTTP/1.1\r\nhost: up\r\ncontent-length: 2\r\n\r\n{}"


@pytest.fixture
async def raw(up):
    connection = await trio.open_tcp_stream("127.0.0.1", up.port)
    async with connection:
        with trio.fail_after(5):
            yield connection


async def test_a_cut_answer_ends_after_so_many_bytes(up, raw):
    up.script(fake.stream(b"data: 1\n\n", b"data: 2\n\n").cut(12))
    await raw.send_all(REQUEST)

    received = b"".join([data async for data in raw])

    assert received.endswith(b"\r\n\r\n9\r\ndata: 1\n\n\r\n3\r\ndat\r\n")


async def test_an_answer_may_end_in_a_reset(up, raw):
    go = trio.Event()
    up.script(fake.stream(b"data: 1\n\n", go, b"data: 2\n\n").cut(12, "reset"))
    await raw.send_all(REQUEST)
    await raw.receive_some()
    go.set()

    async def read_on():
        while await raw.receive_some():
            pass

    with pytest.raises(trio.BrokenResourceError):
        await read_on()


async def test_it_notices_when_the_client_leaves_in_mid_stream(up, raw):
    up.script(fake.stream(b"data: 1\n\n").stalled(9))

    await raw.send_all(REQUEST)
    await raw.receive_some()
    await raw.aclose()
    (request,) = up.requests
    with trio.fail_after(5):
        await request.client_left.wait()

    assert request.client_left_at >= request.received_at
    await up.wait_for(lambda: up.open_connections == 0)


async def test_silence_lasts_until_the_client_gives_up(up, client):
    up.script(fake.silence())

    async with trio.open_nursery() as patience:
        patience.start_soon(post, client, up)
        await up.wait_for_requests(1)
        patience.cancel_scope.cancel()
    with trio.fail_after(5):
        await up.requests[0].client_left.wait()

    assert up.requests[0].answered_at is None


async def test_a_step_may_wait_for_the_test(up, client, nursery):
    go = trio.Event()
    up.script(fake.stream(b"a", go, b"b"))

    async with client.stream("POST", up.url, json={}) as response:
        pieces = response.aiter_raw()
        assert await pieces.__anext__() == b"a"
        go.set()
        assert await pieces.__anext__() == b"b"
        assert [piece async for piece in pieces] == []


@pytest.mark.parametrize("answer", [fake.garbage(), fake.hang_up()])
async def test_what_is_not_http_is_a_protocol_error(up, client, answer):
    up.script(answer)

    with pytest.raises(httpx.RemoteProtocolError):
        await post(client, up)


async def test_a_body_is_chopped_in_the_middle_of_characters(up, client):
    up.script(fake.stream("naïve 🧙".encode()).chopped(1))

    answer = await post(client, up)

    assert answer.text == "naïve 🧙"


async def test_an_early_answer_does_not_wait_for_the_body(up):
    up.script(fake.Answer(status=413, early=True, end="close"))
    connection = await trio.open_tcp_stream("127.0.0.1", up.port)
    async with connection:
        await connection.send_all(
            b"POST / HTTP/1.1\r\nhost: up\r\ncontent-length: 1000\r\n\r\n"
        )
        with trio.fail_after(5):
            data = await connection.receive_some(1000)

    assert data.startswith(b"HTTP/1.1 413 ")


async def test_bytes_may_come_before_the_header_section(up, client):
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    up.script(fake.Answer(before=(hints,), body=(b"{}",)))

    answer = await post(client, up)

    assert answer.status_code == 200


async def test_a_length_that_is_closed_framing_ends_with_the_connection(up, client):
    up.script(fake.Answer(body=(b"{}",), framing="close"))

    answer = await post(client, up)
    again = await post(client, up)

    assert answer.content == b"{}"
    assert again.status_code == 200
    assert up.connections == 2


def test_events_can_lack_what_they_should_have():
    everywhere = chat_events("x", usage=usage(), usage_everywhere=True)
    bare = chat_events("x", usage=None, finish_reason=None, done=False)

    assert all(b'"total_tokens"' in one for one in everywhere[:-1])
    assert b"usage" not in b"".join(bare)
    assert not any(b"[DONE]" in one for one in bare)
    assert chat_events("x", newline=b"\r\n")[-1] == b"data: [DONE]\r\n\r\n"
    assert json.loads(event(chunk(role="assistant"))[6:])["choices"][0]["delta"]
    assert json.loads(error())["error"]["type"] == "server_error"


async def test_it_serves_as_a_process_of_its_own_to_the_official_sdk():
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.fakes.upstream"], stdout=subprocess.PIPE
    )
    with trio.fail_after(20):
        url = (await process.stdout.receive_some(200)).decode().strip()
    async with openai.AsyncOpenAI(api_key="k", base_url=url) as client:
        answer = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}]
        )
    process.terminate()
    await process.stdout.aclose()
    await process.wait()

    assert answer.choices[0].message.content == "Hello there"
