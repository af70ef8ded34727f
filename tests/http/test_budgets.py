"""Budgets with everything behind them: every way to an upstream goes through one."""

import json
import math
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from functools import partial

import httpx
import pytest
import trio
from msgspec import structs

from gandalf.actors.supervisor import supervise
from gandalf.app import _Gateway
from gandalf.config import (
    Budget,
    Config,
    Database,
    Key,
    ModelPrice,
    Prices,
    Provider,
    RateLimits,
    Route,
    Server,
    Usage,
)
from gandalf.config import RouteTarget as To
from gandalf.dialects.registry import OPENAI
from gandalf.domain.objects import ProviderObject
from gandalf.domain.secret import Secret
from gandalf.http.edge import serve
from gandalf.http.endpoints import RULES
from gandalf.storage import database as storage
from gandalf.storage.keys import KeyStore
from tests.dialects.test_multipart import a_field, a_file, form
from tests.fakes import openai_format as fmt
from tests.fakes.upstream import chat, fake_upstream, respond, stream

KEY = "gnd_member_of_the_tests"
OTHER = "gnd_another_of_the_tests"
SAYS = [{"role": "user", "content": "hi"}]
PARTS = {"role": "user", "parts": [{"text": "hi"}]}
MULTIPART = {"content-type": "multipart/form-data; boundary=b0undary"}
# One USD for a million tokens in, ten for a million out: 1,000 and 10,000 nano-USD.
PRICES = Prices(overrides=(ModelPrice(model="m", input=10**6, output=10**7),))


def a_budget(limit, name="b", scope="key", **fields):
    return Budget(name=name, scope=scope, limit=str(limit), **fields)


@asynccontextmanager
async def serving(tmp_path, nursery, *budgets, prices=PRICES, **fields):
    """A gateway on a socket before a fake upstream, and a client of it."""
    async with fake_upstream(nursery) as upstream:
        targets = (To(provider="up", model="m"),)
        config = Config(
            database=Database(dsn=str(tmp_path / "g.db")),
            usage=Usage(flush_every=0.02),
            rate_limits=RateLimits(default_rpm=0, default_tpm=0),
            providers=(
                Provider(
                    name="up",
                    type="openai",
                    base_url=upstream.url,
                    api_key=Secret("sk"),
                    allow_batches=True,
                ),
            ),
            routes=(Route(model_alias="fast", targets=targets, **fields),),
            keys=(
                Key(name="k", key=Secret(KEY)),
                Key(name="other", key=Secret(OTHER)),
            ),
            budgets=budgets,
            prices=prices,
        )
        database = storage.Database(config.database.dsn)
        await database.open()
        with closing(database):
            made = _Gateway(
                config, tmp_path / "g.yaml", {}, database, KeyStore(database)
            )
            await made.keys.load()
            await made._load_ledger()
            async with supervise(made.journal, made.watches, made.objects):
                stop = trio.Event()
                [url] = await nursery.start(
                    partial(
                        serve,
                        made.front,
                        made.gateway,
                        Server(addr="127.0.0.1:0"),
                        shutdown_trigger=stop.wait,
                    )
                )
                headers = {"authorization": f"Bearer {KEY}"}
                async with httpx.AsyncClient(
                    base_url=url, headers=headers, trust_env=False, timeout=10
                ) as client:
                    client.upstream, client.made = upstream, made
                    yield client
                stop.set()
            for pool in made.routes.current.upstreams.values():
                pool.close()


def body_for(rule):
    """A valid request to an endpoint: its fields beside method and URL."""
    if rule.method != b"POST" or rule.pattern.endswith("/cancel"):
        return {}
    if rule.upload:
        fields = [] if rule.operation == "files" else [a_field("model", b"fast")]
        data = form(*fields, a_field("prompt", b"x"), a_file(b"sound"))
        return {"content": data, "headers": MULTIPART}
    path = rule.pattern
    if "generateContent" in path or "countTokens" in path or "streamGen" in path:
        return {"json": {"contents": [PARTS]}}
    if "atchEmbed" in path:
        one = {"model": "models/fast", "content": PARTS}
        return {"json": {"requests": [one]}}
    if "embedContent" in path:
        return {"json": {"content": PARTS}}
    if path.endswith("/batches"):
        return {
            "json": {
                "input_file_id": "file-1",
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
            }
        }
    return {
        "json": {
            "model": "fast",
            "max_tokens": 9,
            "messages": SAYS,
            "input": "hi",
            "prompt": "hi",
            "voice": "alloy",
            "query": "q",
            "documents": ["d"],
        }
    }


def url_for(rule):
    kind = {"files": "file-1", "responses": "resp_1", "batches": "batch_1"}
    name = kind.get(rule.operation, "")
    return rule.pattern.replace("{id}", name).replace("{model}", "fast")


def has_upstream(rule):
    """Lists are made from what the gateway knows."""
    listing = rule.method == b"GET" and rule.pattern.endswith(("/files", "/batches"))
    return not listing and "tunedModels" not in rule.pattern


REACHING = [rule for rule in RULES if has_upstream(rule)]


def note_objects(client):
    for kind, name in (
        ("file", "file-1"),
        ("response", "resp_1"),
        ("batch", "batch_1"),
    ):
        client.made.objects.note(
            ProviderObject(id=name, kind=kind, provider="up", org_id="default")
        )


async def ask(client, rule):
    how = body_for(rule)
    return await client.request(rule.method.decode(), url_for(rule), **how)


async def test_no_way_to_an_upstream_leads_past_a_budget(tmp_path, nursery):
    budget = a_budget(0, unit="requests")
    async with serving(tmp_path, nursery, budget) as client:
        note_objects(client)

        found = {}
        for rule in REACHING:
            answer = await ask(client, rule)
            if answer.status_code != 429 or "exhausted" not in answer.text:
                found[rule.method, rule.pattern] = (answer.status_code, answer.text)

        assert found == {}
        assert client.upstream.requests == []
        assert client.made.ledger.statistics().refusals == len(REACHING)


async def test_every_way_to_an_upstream_is_reserved_settled_and_recorded(
    tmp_path, nursery
):
    budget = a_budget(10_000, unit="requests")
    async with serving(tmp_path, nursery, budget) as client:
        note_objects(client)
        client.upstream.otherwise = anything
        for rule in REACHING:
            await ask(client, rule)

        reached = len(client.upstream.requests)
        assert reached > 40
        assert client.made.ledger.statistics().reservations == 0
        await drift_is_none(client)
        [spent] = await spent_by(client, "b")
        rows = await client.made.records.latest(1000)
        charged = [row for row in rows if row["charged_at"]]
        assert spent == len(charged)
        # What costs nothing (a look at a file) is voided, and the rest is charged.
        assert 20 < spent <= reached


def anything(request):
    """An answer to whatever was asked, with usage in OpenAI's form."""
    return chat() if b"messages" in request.body else respond('{"id": "x"}')


async def spent_by(client, budget):
    """What is spent of a budget, for each subject."""
    ledger = client.made.ledger
    states = ledger.states(ledger._accounts.values())
    return [state.spent for state in states if state.budget.name == budget]


async def until(what):
    """Wait for something that happens on sockets and in threads."""
    with trio.fail_after(10):
        while not what():  # noqa: ASYNC110 - nobody sets an event then
            await trio.sleep(0.01)


async def drift_is_none(client):
    """What the ledger holds in memory, the balances and the rows are the same."""
    made = client.made
    await until(made.journal._is_empty)
    kept = await made.usage.balances()
    held = {
        key: {start: spent for start, spent in sums.items() if spent}
        for key, sums in made.ledger.sums().items()
    }
    assert {k: v for k, v in held.items() if v} == {
        key: used
        for key, sums in kept.items()
        if (used := {start: spent for start, spent in sums.items() if spent})
    }


async def say(client, model="fast", **fields):
    body = {"model": model, "messages": SAYS, "max_tokens": 10, **fields}
    return await client.post("/v1/chat/completions", json=body)


async def test_a_refusal_says_which_budget_what_is_left_and_when_it_renews(
    tmp_path, nursery
):
    # A request may cost 100,000 nano-USD for its answer and some for the prompt.
    budget = a_budget("0.0002", window="month")
    async with serving(tmp_path, nursery, budget) as client:
        client.upstream.otherwise = chat(usage=fmt.usage(10, 10))
        assert (await say(client)).status_code == 200

        answer = await say(client)

        assert answer.status_code == 429
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("insufficient_quota",) * 2
        assert "'b' (key 'config:k')" in error["message"]
        assert "0.00009 USD of 0.0002 USD left" in error["message"]
        assert "renews at" in error["message"]
        assert int(answer.headers["retry-after"]) > 0
        never = await say(client, max_tokens=1000)
        assert "can never be served" in never.text
        assert "retry-after" not in never.headers
        await drift_is_none(client)


@pytest.mark.parametrize(
    ("path", "body", "shape"),
    [
        (
            "/v1/messages",
            {"model": "fast", "max_tokens": 9, "messages": SAYS},
            lambda said: said["error"]["details"]["error_code"],
        ),
        (
            "/v1beta/models/fast:generateContent",
            {"contents": [PARTS]},
            lambda said: said["error"]["status"],
        ),
        ("/api/chat", {"model": "fast", "messages": SAYS}, lambda said: said["error"]),
    ],
)
async def test_a_refusal_is_told_in_the_clients_dialect(
    tmp_path, nursery, path, body, shape
):
    async with serving(tmp_path, nursery, a_budget(0)) as client:
        answer = await client.post(path, json=body)

        assert answer.status_code == 429
        assert shape(answer.json()).startswith(
            ("insufficient_quota", "RESOURCE_EXHAUSTED", "the budget 'b'")
        )


async def test_a_budget_and_an_unknown_price_do_not_go_together(tmp_path, nursery):
    async with serving(tmp_path, nursery, a_budget(5), prices=Prices()) as client:
        answer = await say(client)

        assert (answer.status_code, answer.json()["error"]["code"]) == (
            403,
            "price_unknown",
        )
        assert "up/m" in answer.text
        assert client.upstream.requests == []


async def test_a_soft_budget_serves_what_has_no_price(tmp_path, nursery):
    soft = a_budget(5, hard=False)
    async with serving(tmp_path, nursery, soft, prices=Prices()) as client:
        assert (await say(client)).status_code == 200


async def test_200_at_once_on_a_budget_for_100(tmp_path, nursery):
    body = json.dumps({"model": "fast", "messages": SAYS, "max_tokens": 10})
    prompt = OPENAI.read_call("chat", body.encode()).estimated_tokens
    # Each costs exactly what it reserves.
    each = prompt * 1000 + 10 * 10_000
    budget = a_budget(f"{100 * each / 1e9:.9f}", window="lifetime")
    async with serving(tmp_path, nursery, budget) as client:
        client.upstream.otherwise = chat(usage=fmt.usage(prompt, 10))
        statuses = []

        async def one():
            answer = await client.post("/v1/chat/completions", content=body)
            statuses.append(answer.status_code)

        async with trio.open_nursery() as asking:
            for _ in range(200):
                asking.start_soon(one)

        assert (statuses.count(200), statuses.count(429)) == (100, 100)
        assert await spent_by(client, "b") == [100 * each]
        assert client.made.ledger.statistics().reservations == 0
        await drift_is_none(client)


async def test_a_stream_is_ended_where_its_budget_ends(tmp_path, nursery):
    # Room for the prompt and some 2,000 tokens of answer.
    async with serving(tmp_path, nursery, a_budget("0.02")) as client:
        words = [f" word{n}" for n in range(20_000)]
        client.upstream.otherwise = stream(*fmt.chat_events(*words))

        body = {"model": "fast", "messages": SAYS, "stream": True}
        text = ""
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            # Cut short, it does not end as a whole answer does.
            with suppress(httpx.RemoteProtocolError):
                async for piece in answer.aiter_text():
                    text += piece

        events = [e for e in text.split("\n\n") if e]
        error = json.loads(events[-1].split("data: ", 1)[1])["error"]
        assert error["code"] == "insufficient_quota"
        assert "[DONE]" not in text
        [spent] = await spent_by(client, "b")
        # It is charged for what it has got: an event is at least a token.
        assert spent >= (len(events) - 2) * 10_000
        # And what it has got is at most a step beyond the budget.
        assert spent <= 20_000_000 + 1024 * 10_000
        await drift_is_none(client)


async def test_a_budget_that_comes_with_a_reload_knows_what_was_spent_before(
    tmp_path, nursery
):
    async with serving(tmp_path, nursery, a_budget("1")) as client:
        client.upstream.otherwise = chat(usage=fmt.usage(10, 10))
        await say(client)
        release = trio.Event()
        client.upstream.script(replace(chat(usage=fmt.usage(1, 1)), before=(release,)))

        async with trio.open_nursery() as asking:
            asking.start_soon(say, client)
            await until(lambda: len(client.upstream.requests) == 2)
            team = a_budget("1", "all", scope="global")
            config = client.made.routes.config()
            client.made._replace_budgets(
                structs.replace(config, budgets=(*config.budgets, team))
            )
            await say(client)
            release.set()
        await say(client)

        await drift_is_none(client)
        assert await spent_by(client, "b") == await spent_by(client, "all") == [341_000]


async def test_a_key_is_told_what_it_has_left(tmp_path, nursery):
    budgets = (
        a_budget("1", window="month", time_zone="Europe/Berlin"),
        a_budget(100, "calls", unit="requests", window="lifetime", hard=False),
        a_budget(5, "other", scope="team"),
    )
    async with serving(tmp_path, nursery, *budgets) as client:
        client.upstream.otherwise = chat(usage=fmt.usage(10, 10))
        await say(client)

        said = (await client.get("/v1/key")).json()

        assert (said["id"], said["role"]) == ("config:k", "member")
        month, calls = said["budgets"]
        assert (month["limit"], month["spent"]) == ("1.00", "0.00011")
        assert month["remaining"] == "0.99989"
        assert month["renews_at"].endswith(("00:00:00+02:00", "00:00:00+01:00"))
        assert (calls["spent"], calls["remaining"], calls["renews_at"]) == (1, 99, None)
        assert said["limits"] == {
            "requests_per_minute": None,
            "tokens_per_minute": None,
        }
        nobody = {"authorization": "Bearer gnd_nobody"}
        assert (await client.get("/v1/key", headers=nobody)).status_code == 401


async def leave_after(client, events):
    """Ask for a stream and hang up when ``events`` of it have come."""
    body = json.dumps({"model": "fast", "messages": SAYS, "stream": True})
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
        f"authorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    url = client.base_url
    async with await trio.open_tcp_stream(url.host, url.port) as connection:
        await connection.send_all((head + body).encode())
        seen = b""
        while seen.count(b"data: ") < events:
            seen += await connection.receive_some()


async def test_a_client_that_leaves_mid_stream_pays_for_the_prompt_and_what_it_got(
    tmp_path, nursery
):
    async with serving(tmp_path, nursery, a_budget("1")) as client:
        words = [f" word{n}" for n in range(50)]
        events = fmt.chat_events(*words)
        client.upstream.otherwise = stream(*events[:40], math.inf)
        await leave_after(client, 40)

        await until(lambda: not client.made.gateway.in_flight)
        await drift_is_none(client)
        [spent] = await spent_by(client, "b")
        assert spent > 40 * 10_000
        assert spent < 200 * 10_000
        [row] = await client.made.records.latest(1)
        assert (row["end_reason"], row["usage_source"]) == (
            "client_disconnect",
            "estimated",
        )
        assert row["input_tokens"] > 0
        assert row["output_tokens"] >= 40
