"""Every endpoint, with everything behind it, both ways: by Quart and by the edge."""

import json
from contextlib import closing
from functools import partial

import httpx
import pytest
import trio

from gandalf.actors.supervisor import supervise
from gandalf.app import _Gateway
from gandalf.config import Config, Database, Key, Provider, RateLimits, Route, Server
from gandalf.config import RouteTarget as To
from gandalf.domain.identity import Role
from gandalf.domain.secret import Secret
from gandalf.http.edge import serve
from gandalf.http.page_access import SECTIONS
from gandalf.storage import database as storage
from gandalf.storage.keys import KeyStore

CHAT = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}


def key(role):
    return f"gnd_{role}_key_of_the_tests"


def bearer(role=Role.MEMBER):
    return {"authorization": f"Bearer {key(role)}"}


@pytest.fixture
async def gateway(tmp_path):
    targets = (To(provider="simulated", model="m-1"),)
    config = Config(
        database=Database(dsn=str(tmp_path / "g.db")),
        rate_limits=RateLimits(default_rpm=0, default_tpm=0),
        providers=(Provider(name="simulated"),),
        routes=tuple(Route(model_alias=a, targets=targets) for a in ("fast", "slow")),
        keys=(
            *(Key(name=r, key=Secret(key(r)), role=r) for r in Role),
            Key(name="few", key=Secret(key("few")), allowed_models=("fast",)),
        ),
    )
    database = storage.Database(config.database.dsn)
    await database.open()
    with closing(database):
        made = _Gateway(config, tmp_path / "g.yaml", {}, database, KeyStore(database))
        await made.keys.load()
        # The journal holds files open until it has stopped.
        async with supervise(made.journal):
            yield made


class EdgeClient:
    """As Quart's test client, but over a real socket and through the edge."""

    def __init__(self, client):
        self._client = client

    async def open(self, path, *, method="GET", headers=None, data=None):
        response = await self._client.request(
            method, path, headers=headers, content=data
        )
        return EdgeAnswer(response)

    async def get(self, path, **how):
        return await self.open(path, **how)

    async def post(self, path, **how):
        return await self.open(path, method="POST", **how)


class EdgeAnswer:
    def __init__(self, response):
        self._response = response
        self.status_code = response.status_code
        self.headers = response.headers

    async def get_json(self):
        return self._response.json()

    async def get_data(self):
        return self._response.content


@pytest.fixture(params=["quart", "edge"])
async def client(request, gateway, nursery):
    if request.param == "quart":
        yield gateway.application().test_client()
        return
    stop = trio.Event()
    serve_here = partial(
        serve,
        gateway.front,
        gateway.gateway,
        Server(addr="127.0.0.1:0"),
        shutdown_trigger=stop.wait,
    )
    urls = await nursery.start(serve_here)
    async with httpx.AsyncClient(
        base_url=urls[0], trust_env=False, timeout=60
    ) as client:
        yield EdgeClient(client)
    stop.set()


async def test_models_are_those_that_the_key_may_use(client):
    async def models(who):
        response = await client.get("/v1/models", headers=bearer(who))
        return [model["id"] for model in (await response.get_json())["data"]]

    assert await models(Role.MEMBER) == ["fast", "slow"]
    assert await models("few") == ["fast"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/nowhere", 404),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/models", 401),
        ("GET", "/metrics", 401),
        ("POST", "/v1/chat/completions", 401),
    ],
)
async def test_an_error_is_json(client, method, path, status):
    response = await client.open(path, method=method)

    assert response.status_code == status
    assert (await response.get_json())["error"]["message"]


async def test_metrics_are_for_those_who_may_view_all_usage(client):
    for role in Role:
        response = await client.get("/metrics", headers=bearer(role))
        expected = 200 if role in (Role.ADMIN, Role.VIEWER) else 403
        assert response.status_code == expected


async def test_a_draining_gateway_is_alive_but_not_ready(gateway, client):
    assert (await client.get("/readyz")).status_code == 200
    gateway.gateway.draining = True
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/healthz")).status_code == 200


async def test_a_chat_is_answered_whole_and_streamed(client):
    path = "/v1/chat/completions"
    whole = await client.post(path, headers=bearer(), data=json.dumps(CHAT))
    streamed = await client.post(
        path, headers=bearer(), data=json.dumps(CHAT | {"stream": True})
    )

    assert (await whole.get_json())["object"] == "chat.completion"
    assert (await streamed.get_data()).endswith(b"data: [DONE]\n\n")


async def test_embeddings_are_answered(client):
    body = json.dumps({"model": "fast", "input": ["a", "b"]})

    response = await client.post("/v1/embeddings", headers=bearer(), data=body)

    data = (await response.get_json())["data"]
    assert [one["index"] for one in data] == [0, 1]


async def test_head_and_options_are_answered(client):
    head = await client.open("/healthz", method="HEAD")
    options = await client.open("/v1/chat/completions", method="OPTIONS")

    assert head.status_code == 200
    if isinstance(client, EdgeClient):  # Leaving out the body is the server's part.
        assert await head.get_data() == b""
    assert options.status_code == 200
    assert "POST" in options.headers["allow"]


async def test_a_method_that_is_not_for_a_page_is_told_which_are(client):
    response = await client.get("/v1/chat/completions", headers=bearer())

    assert response.status_code == 405
    assert "POST" in response.headers["allow"]


async def test_a_record_is_for_its_own_key_and_those_who_may_view_all(client):
    chat = await client.post(
        "/v1/chat/completions", headers=bearer(), data=json.dumps(CHAT)
    )
    page = f"/admin/v1/requests/{chat.headers['x-request-id']}"
    with trio.fail_after(5):
        # What loads the row is a thread: nothing here could be waited for.
        while (await client.get(page, headers=bearer())).status_code != 200:  # noqa: ASYNC110
            await trio.sleep(0.01)

    seen = await client.get(page, headers=bearer(Role.VIEWER))
    hidden = await client.get(page, headers=bearer("few"))

    record = await seen.get_json()
    assert [a["outcome"] for a in record["attempts"]] == ["served"]
    assert hidden.status_code == 404


async def test_nothing_in_the_application_has_a_use_for_its_lifespan(gateway):
    # Quart is loaded long after the start, and nobody runs it.
    app = gateway.application()

    assert app.before_serving_funcs == []
    assert app.after_serving_funcs == []
    assert app.while_serving_gens == []


async def test_every_page_is_where_the_front_lets_people_look(gateway):
    rules = [rule.rule for rule in gateway.application().url_map.iter_rules()]
    first = {rule.split("/")[1] for rule in rules}

    assert first == SECTIONS | {path[1:] for path in gateway.system_pages.views}


async def test_the_edge_loads_quart_for_none_of_its_own_pages(gateway, nursery):
    stop = trio.Event()
    server = Server(addr="127.0.0.1:0")
    urls = await nursery.start(
        partial(
            serve, gateway.front, gateway.gateway, server, shutdown_trigger=stop.wait
        )
    )
    async with httpx.AsyncClient(
        base_url=urls[0], trust_env=False, timeout=60
    ) as client:
        for path in ("/healthz", "/readyz", "/metrics"):
            response = await client.get(path, headers=bearer(Role.ADMIN))
            assert response.status_code == 200
        assert (await client.get("/favicon.ico")).status_code == 404
        for path in gateway.model_views.views:
            assert (await client.get(path, headers=bearer())).status_code == 200
        await client.post("/v1/chat/completions", headers=bearer(), json=CHAT)
        assert not gateway.front.loaded
        response = await client.get("/v1/models/fast", headers=bearer())
        assert response.status_code == 200
        assert gateway.front.loaded
    stop.set()


async def test_a_key_in_the_request_id_is_neither_kept_nor_sent_back(client):
    given = "gnd_" + "a" * 43

    response = await client.post(
        "/v1/chat/completions",
        headers={**bearer(), "x-request-id": given},
        data=json.dumps(CHAT),
    )

    assert response.status_code == 200
    assert response.headers["x-request-id"] != given


async def test_a_viewers_body_is_not_read(client):
    response = await client.post(
        "/v1/chat/completions", headers=bearer(Role.VIEWER), data=b"no JSON"
    )

    assert response.status_code == 403
