"""Content codings on both sides of a whole gateway, with an upstream on a real socket."""

import gzip
import json
import os
import zlib
from contextlib import closing
from dataclasses import replace

import brotli
import pytest
from backports import zstd

from gandalf.actors.supervisor import supervise
from gandalf.app import _Gateway
from gandalf.config import (
    Cache,
    CircuitBreaker,
    Config,
    Database,
    Key,
    Provider,
    RateLimits,
    Retries,
    Route,
    Server,
)
from gandalf.config import RouteTarget as To
from gandalf.domain.secret import Secret
from gandalf.storage import database as storage
from gandalf.storage.keys import KeyStore
from tests.fakes.upstream import chat, fake_upstream, respond, status
from tests.http.test_application import bearer, client, key  # noqa: F401

CHAT = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}
LIMIT = 200_000
CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "GZIP, br": lambda data: brotli.compress(gzip.compress(data)),
}
FORM = (
    b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nfast\r\n'
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
)
"""A form up to the bytes of its file."""

EVERY = pytest.mark.parametrize("coding", CODINGS)
PATHS = pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/messages",
        "/v1beta/models/fast:generateContent",
        "/api/chat",
    ],
)


@pytest.fixture
async def up(nursery):
    async with fake_upstream(nursery) as upstream:
        yield upstream


@pytest.fixture
async def gateway(tmp_path, up):
    config = Config(
        server=Server(max_body_bytes=LIMIT, max_upload_bytes=LIMIT),
        cache=Cache(enabled=False),
        circuit_breaker=CircuitBreaker(enabled=False),
        retries=Retries(max_attempts=1),
        database=Database(dsn=str(tmp_path / "g.db")),
        rate_limits=RateLimits(default_rpm=0, default_tpm=0),
        providers=(
            Provider(
                name="up", type="openai", base_url=f"{up.url}/v1", api_key=Secret("sk")
            ),
        ),
        routes=(Route(model_alias="fast", targets=(To(provider="up", model="m-1"),)),),
        keys=(Key(name="m", key=Secret(key("member")), role="member"),),
    )
    database = storage.Database(config.database.dsn)
    await database.open()
    with closing(database):
        made = _Gateway(config, tmp_path / "g.yaml", {}, database, KeyStore(database))
        await made.keys.load()
        async with supervise(made.journal, made.watches, made.objects):
            yield made
        for upstream in made.routes.current.upstreams.values():
            upstream.close()


async def ask(client, coding, body, path="/v1/chat/completions", **fields):  # noqa: F811
    headers = {**bearer(), "content-type": "application/json", **fields}
    if coding:
        headers["content-encoding"] = coding
    return await client.post(path, headers=headers, data=body)


def a_body(**fields):
    return json.dumps({**CHAT, **fields}).encode()


# From the client.


@EVERY
async def test_a_coded_request_is_passed_on_decoded(client, up, coding):  # noqa: F811
    body = a_body(user="x" * 100_000)

    answer = await ask(client, coding, CODINGS[coding](body))

    assert answer.status_code == 200
    (sent,) = up.requests
    assert sent.json() == {**json.loads(body), "model": "m-1"}
    assert b"content-encoding" not in dict(sent.headers)


@PATHS
async def test_an_unknown_coding_is_415_in_the_clients_dialect(client, up, path):  # noqa: F811
    answer = await ask(client, "lzma", b"x", path)

    error = await answer.get_json()
    message = error["error"] if path == "/api/chat" else error["error"]["message"]
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "gzip, deflate, br, zstd"
    assert "'lzma'" in message
    assert "gzip, deflate, br, zstd" in message
    assert not up.requests


@EVERY
async def test_a_malformed_or_truncated_body_is_400(client, up, coding):  # noqa: F811
    whole = CODINGS[coding](a_body())

    for body in (
        b"{not encoded, but plain JSON}",
        whole[:-1],
        whole[: len(whole) // 2],
    ):
        answer = await ask(client, coding, body)
        assert answer.status_code == 400
        code = (await answer.get_json())["error"]["code"]
        assert code == "invalid_content_encoding"

    assert not up.requests


@EVERY
async def test_a_body_above_the_limit_once_decoded_is_413(client, up, coding):  # noqa: F811
    large = a_body(user=os.urandom(LIMIT // 3).hex() + "x" * LIMIT)
    bomb = bytes(100 * 1024 * 1024)

    for body in (large, bomb):
        answer = await ask(client, coding, CODINGS[coding](body))
        assert answer.status_code == 413

    assert not up.requests


async def test_a_coded_body_of_somebody_unknown_is_not_decoded(client):  # noqa: F811
    wrong = {"authorization": "Bearer gnd_nobody"}

    answer = await ask(client, "lzma", b"x", **wrong)

    assert answer.status_code == 401


async def test_a_form_is_decoded_while_it_arrives(client, up):  # noqa: F811
    form = FORM + b"sound" * 10_000 + b"\r\n--b--\r\n"
    up.script(respond('{"text": "hello"}'))

    answer = await ask(
        client,
        "zstd",
        zstd.compress(form),
        "/v1/audio/transcriptions",
        **{"content-type": "multipart/form-data; boundary=b"},
    )

    assert answer.status_code == 200
    (sent,) = up.requests
    assert sent.body == form.replace(b"fast", b"m-1")
    assert b"content-encoding" not in dict(sent.headers)


@pytest.mark.parametrize(
    ("coding", "body", "wanted"),
    [
        ("lzma", b"x", 415),
        ("gzip", b"x" * 100, 400),
        ("gzip", gzip.compress(b"--b\r\n")[:-1], 400),
        ("gzip", gzip.compress(FORM + bytes(LIMIT)), 413),
    ],
    ids=["unknown", "malformed", "truncated", "too large"],
)
async def test_a_coded_form_is_refused_as_other_bodies_are(
    client,  # noqa: F811
    coding,
    body,
    wanted,
):
    answer = await ask(
        client,
        coding,
        body,
        "/v1/audio/transcriptions",
        **{"content-type": "multipart/form-data; boundary=b"},
    )

    assert answer.status_code == wanted


async def test_a_page_that_decodes_nothing_says_so(client):  # noqa: F811
    answer = await ask(client, "gzip", gzip.compress(b"{}"), "/api/show")

    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "identity"


# From the upstream.


def coded(answer, coding):
    body = CODINGS[coding](b"".join(answer.body))
    headers = (*answer.headers, ("content-encoding", coding))
    return replace(answer, body=(body,), headers=headers)


@EVERY
async def test_a_coded_answer_reaches_the_client_decoded(client, up, coding):  # noqa: F811
    up.script(coded(chat("Hello there"), coding))

    answer = await ask(client, "", a_body())

    content = (await answer.get_json())["choices"][0]["message"]["content"]
    assert content == "Hello there"
    assert "content-encoding" not in answer.headers
    assert int(answer.headers["content-length"]) == len(await answer.get_data())


@EVERY
async def test_a_coded_error_is_read(client, up, coding):  # noqa: F811
    refusal = status(400, "the prompt is too long")
    up.script(coded(refusal, coding))

    answer = await ask(client, "", a_body())

    assert answer.status_code == 400
    assert "the prompt is too long" in (await answer.get_data()).decode()


async def test_an_answer_in_an_unknown_coding_fails_and_names_it(client, up):  # noqa: F811
    up.otherwise = respond(b"?", headers=(("content-encoding", "lzma"),))

    answer = await ask(client, "", a_body())

    assert answer.status_code == 502
    assert "'lzma'" in (await answer.get_json())["error"]["message"]


async def test_a_truncated_coded_answer_fails(client, up):  # noqa: F811
    whole = coded(chat("Hello there"), "gzip")
    up.otherwise = replace(whole, body=(whole.body[0][:-1],))

    answer = await ask(client, "", a_body())

    assert answer.status_code == 502
