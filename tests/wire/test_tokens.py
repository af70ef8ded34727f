"""A request with a JWT, from the socket of the client to the issuer's."""

import re
import time
from contextlib import closing
from functools import partial

import httpx
import pytest
import trio

from gandalf.actors.supervisor import supervise
from gandalf.app import _Gateway
from gandalf.config import (
    Auth,
    ClaimPaths,
    Config,
    Database,
    Issuer,
    Provider,
    RoleRule,
    Route,
    RouteTarget,
    Server,
)
from gandalf.domain.identity import Role
from gandalf.http.edge import serve
from gandalf.storage import database as storage
from gandalf.storage.keys import KeyStore
from tests.fakes.issuer import AUDIENCE, FakeIssuer
from tests.fakes.servers import serving

CHAT = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def idp():
    """An issuer at a real address."""
    issuer = FakeIssuer()

    async def answer(peer):
        while True:
            path = re.match(rb"GET (\S+)", await peer.read_request())[1].decode()
            body = issuer.document(path)
            head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n"
            await peer.send(head.encode() + body)

    async with serving(answer) as server:
        issuer.url = server.url
        issuer.unix_time = time.time
        yield issuer


@pytest.fixture
async def gateway(tmp_path, idp, nursery):
    issuer = Issuer(
        name="corp",
        issuer=idp.url,
        audiences=(AUDIENCE,),
        algorithms=("ES256",),
        claims=ClaimPaths(role="groups", user="sub"),
        roles=(RoleRule(value="ops", role=Role.ADMIN),),
        allow_operator=True,
        create_tenants=True,
    )
    config = Config(
        database=Database(dsn=str(tmp_path / "gandalf.db")),
        auth=Auth(issuers=(issuer,)),
        providers=(Provider(name="simulated"),),
        routes=(
            Route(
                model_alias="fast",
                targets=(RouteTarget(provider="simulated", model="m-1"),),
            ),
        ),
    )
    database = storage.Database(config.database.dsn)
    await database.open()
    with closing(database):
        made = _Gateway(config, tmp_path / "g.yaml", {}, database, KeyStore(database))
        await made.keys.load()
        async with supervise(made.journal, made.keys, made.issuers):
            yield made


@pytest.fixture
async def client(gateway, nursery):
    stop = trio.Event()
    urls = await nursery.start(
        partial(
            serve,
            gateway.front,
            gateway.gateway,
            Server(addr="127.0.0.1:0"),
            shutdown_trigger=stop.wait,
        )
    )
    async with httpx.AsyncClient(base_url=urls[0], trust_env=False) as made:
        yield made
    stop.set()


async def answered(client, method, path, token, **how):
    """Return the answer, once the gateway has the issuer's keys."""
    headers = {"authorization": f"Bearer {token.decode()}"}
    with trio.fail_after(30):
        while True:
            answer = await client.request(method, path, headers=headers, **how)
            if answer.status_code != 503:
                return answer
            assert answer.headers["retry-after"] == "1"
            await trio.sleep(0.01)


async def test_a_token_asks_a_model_and_its_user_is_made(client, idp):
    answer = await answered(
        client, "POST", "/v1/chat/completions", idp.token(), json=CHAT
    )
    key = await answered(client, "GET", "/v1/key", idp.token())

    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"]
    shown = key.json()
    assert (shown["id"], shown["user_id"]) == ("jwt:corp:alice", "alice")
    admin = idp.token(groups=["ops"], sub="root")
    with trio.fail_after(10):
        users = []
        while "alice" not in users:
            listed = await answered(client, "GET", "/admin/v1/users", admin)
            users = [user["id"] for user in listed.json()["data"]]


async def test_a_refused_token_is_told_why_in_the_form_of_the_dialect(client, idp):
    token = idp.token(aud="another")

    openai = await answered(client, "POST", "/v1/chat/completions", token, json=CHAT)
    admin = await answered(client, "GET", "/admin/v1/users", token)
    member = await answered(client, "GET", "/admin/v1/users", idp.token())

    assert openai.status_code == 401
    assert openai.json()["error"]["code"] == "invalid_token"
    assert (
        openai.json()["error"]["message"] == "the token is for another audience (aud)"
    )
    assert admin.status_code == 401
    assert "another audience" in admin.text
    assert member.status_code == 403
