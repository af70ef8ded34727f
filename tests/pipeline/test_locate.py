import json

import pytest
import trio

from gandalf.actors.object_table import ObjectTable
from gandalf.actors.routes import RouteTable, Snapshot, build_routes
from gandalf.config import Config, Provider, Route, RouteTarget
from gandalf.dialects.openai.passthrough_answers import read_answer
from gandalf.domain.errors import (
    BadRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    UpstreamUnavailable,
)
from gandalf.domain.identity import Limits
from gandalf.domain.objects import ProviderObject, SeenObject
from gandalf.domain.usage import Attempt, TokenUsage
from gandalf.pipeline.cost import cost_of
from gandalf.pipeline.exchange import Exchange
from gandalf.pipeline.locate import Locate
from gandalf.pipeline.passthrough import read_passthrough
from gandalf.providers.openai import OpenAI
from gandalf.providers.registry import make_provider
from gandalf.storage.database import Database
from gandalf.storage.objects import ObjectStore
from tests.dialects.openai_events import (
    FILE,
    RESPONSE_ID,
    USAGE,
    a_batch,
    a_response,
    encoded,
)
from tests.pipeline.builders import an_endpoint, an_identity, enter
from tests.pipeline.uploads import FakeUpload
from tests.pricing.builders import a_price


class Other:
    """A provider that speaks another dialect."""

    dialect = object()

    def __init__(self, name):
        self.name = name


def a_route_table(**priorities):
    names = ["eu", "us"]
    sections = [
        Provider(
            name=name,
            type="openai",
            priority=priorities.get(name, 0),
            allow_batches=True,
        )
        for name in names
    ]
    demo = Provider(name="demo", type="simulated", priority=0)
    claude = Provider(name="claude", type="openai")
    targets = [RouteTarget(provider=name, model="gpt") for name in (*names, "claude")]
    config = Config(
        providers=(demo, claude, *sections),
        routes=(
            Route(model_alias="fast", targets=tuple(targets)),
            Route(model_alias="claude", targets=(targets[2],)),
        ),
    )
    providers = {"demo": make_provider(demo), "claude": Other("claude")}
    providers |= {section.name: OpenAI(section) for section in sections}
    return RouteTable(
        Snapshot(
            config=config,
            routes=build_routes(config),
            providers=providers,
            upstreams={},
            version=1,
        )
    )


@pytest.fixture
async def objects(tmp_path):
    database = Database(tmp_path / "gandalf.db")
    await database.open()
    table = ObjectTable(ObjectStore(database))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(table.run)
        yield table
        table.close()
    database.close()


@pytest.fixture
def routes():
    return a_route_table()


def an_object(object_id, provider="eu", **changes):
    fields = {"kind": "file", "org_id": "acme", **changes}
    return ProviderObject(id=object_id, provider=provider, **fields)


async def an_exchange(method, path, body=b"", *, org="acme", tpm=0, **changes):
    operation = path.split("/")[1]
    exchange = Exchange(
        endpoint=an_endpoint(operation, path=path.encode(), method=method.encode()),
        headers=changes.pop("headers", {}),
        body=body if isinstance(body, bytes) else encoded(body),
        request_id="r",
        received_at=0.0,
        query=changes.pop("query", b""),
        upload=changes.pop("upload", None),
    )
    exchange.identity = an_identity(org_id=org, **changes)
    exchange.limits = Limits(rpm=60, tpm=tpm)
    exchange.call = await read_passthrough(exchange)
    return exchange


async def located(stage, exchange):
    """The providers that ``exchange`` may go to."""
    assert await enter(stage, exchange) is None
    return [target.provider for target in exchange.targets]


def with_route(exchange, routes, alias="fast"):
    exchange.targets = routes.find(alias).targets
    return exchange


def answered(stage, exchange, body, provider="eu"):
    """Let the answer ``body`` of ``provider`` pass, and settle."""
    target = next(t for t in exchange.targets if t.provider == provider)
    exchange.attempts.append(Attempt(target=target.name))
    answer = read_answer(exchange.call, encoded(body))
    exchange.usage = answer.usage
    exchange.upstream_worked = True
    stage.settle(exchange)
    return exchange.usage


# What an organisation has.


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/files/file-1"),
        ("DELETE", "/files/file-1"),
        ("GET", "/files/file-1/content"),
    ],
)
async def test_a_request_goes_where_its_object_is(objects, routes, method, path):
    stage = Locate(objects, routes)
    objects.note(an_object("file-1", "us"))

    exchange = await an_exchange(method, path)

    assert await located(stage, exchange) == ["us"]
    assert exchange.targets[0].model == ""


@pytest.mark.parametrize(
    ("method", "path", "org"),
    [
        ("GET", "/files/file-1", "other"),
        ("GET", "/files/file-2", "acme"),
        ("GET", "/batches/file-1", "acme"),
        ("POST", "/responses/file-1/cancel", "acme"),
    ],
)
async def test_what_is_not_the_callers_does_not_exist(
    objects, routes, method, path, org
):
    objects.note(an_object("file-1"))
    exchange = await an_exchange(method, path, org=org)

    with pytest.raises(NotFound):
        await enter(Locate(objects, routes), exchange)

    assert exchange.targets == ()


async def test_an_object_of_a_provider_that_is_gone_cannot_be_reached(objects, routes):
    objects.note(an_object("file-1", "gone"))

    with pytest.raises(UpstreamUnavailable):
        await enter(Locate(objects, routes), await an_exchange("GET", "/files/file-1"))


# New files.


async def a_new_file(**changes):
    return await an_exchange("POST", "/files", upload=FakeUpload(b"x"), **changes)


async def test_a_new_file_goes_to_the_first_that_speaks_openai(objects, routes):
    assert await located(Locate(objects, routes), await a_new_file()) == ["eu"]


async def test_the_priority_of_providers_says_which_is_first(objects):
    stage = Locate(objects, a_route_table(eu=2, us=1))

    assert await located(stage, await a_new_file()) == ["us"]


async def test_the_client_may_say_where_a_new_file_goes(objects, routes):
    exchange = await a_new_file(headers={b"x-gandalf-provider": b"us"})

    assert await located(Locate(objects, routes), exchange) == ["us"]


@pytest.mark.parametrize("name", [b"nobody", b"claude", b"demo", b"", b"\xff"])
async def test_a_provider_that_cannot_keep_files_is_refused(objects, routes, name):
    exchange = await a_new_file(headers={b"x-gandalf-provider": name})

    with pytest.raises(BadRequest) as caught:
        await enter(Locate(objects, routes), exchange)

    assert caught.value.param == "x-gandalf-provider"


async def test_a_new_file_is_its_organisations(objects, routes):
    stage = Locate(objects, routes)
    exchange = await a_new_file(key_id="k7")
    await enter(stage, exchange)

    answered(stage, exchange, FILE)
    known = await objects.get("acme", "file-abc123")

    assert (known.provider, known.key_id, known.kind) == ("eu", "k7", "file")
    assert await objects.get("default", "file-abc123") is None
    assert exchange.upstream_worked is False


async def test_a_deleted_file_is_forgotten(objects, routes):
    stage = Locate(objects, routes)
    objects.note(an_object("file-1"))
    exchange = await an_exchange("DELETE", "/files/file-1")
    await enter(stage, exchange)

    answered(stage, exchange, {"id": "file-1", "object": "file", "deleted": True})

    assert await objects.get("acme", "file-1") is None


async def test_nothing_new_is_made_that_could_not_be_remembered(
    objects, routes, monkeypatch
):
    monkeypatch.setattr("gandalf.actors.object_table.MAX_PENDING", 0)
    stage = Locate(objects, routes)
    made = await a_new_file()
    unstored = {"model": "fast", "input": "x", "store": False}
    asked = await an_exchange("POST", "/responses", unstored)

    with pytest.raises(Overloaded):
        await enter(stage, made)
    assert await located(stage, with_route(asked, routes)) == ["eu", "us"]


# Batches.

BATCH = {"input_file_id": "file-1", "endpoint": "/v1/responses"}


async def test_a_batch_goes_where_its_input_is(objects, routes):
    objects.note(an_object("file-1", "us"))

    exchange = await an_exchange("POST", "/batches", BATCH)

    assert await located(Locate(objects, routes), exchange) == ["us"]


async def test_the_input_of_somebody_else_is_no_input(objects, routes):
    objects.note(an_object("file-1", org_id="other"))

    with pytest.raises(NotFound):
        await enter(
            Locate(objects, routes), await an_exchange("POST", "/batches", BATCH)
        )


async def test_a_provider_that_does_not_allow_batches_gets_none(objects, routes):
    objects.note(an_object("file-1", "claude"))
    exchange = await an_exchange("POST", "/batches", BATCH)

    with pytest.raises(PermissionDenied) as caught:
        await enter(Locate(objects, routes), exchange)

    assert caught.value.code == "batches_not_allowed"


@pytest.mark.parametrize("limited", [{"tpm": 1}, {"allowed_models": ("fast",)}])
async def test_a_key_with_limits_that_batches_escape_may_not_make_them(
    objects, routes, limited
):
    objects.note(an_object("file-1"))
    exchange = await an_exchange("POST", "/batches", BATCH, **limited)

    with pytest.raises(PermissionDenied) as caught:
        await enter(Locate(objects, routes), exchange)

    assert caught.value.code == "batches_not_allowed"


async def test_the_usage_of_a_batch_is_accounted_for_once(objects, routes):
    stage = Locate(objects, routes)
    objects.note(an_object("file-1"))
    made = await an_exchange("POST", "/batches", BATCH)
    await enter(stage, made)
    answered(stage, made, a_batch())
    done = a_batch("completed", output_file_id="file-2", usage=USAGE)

    told = []
    for body in (a_batch("in_progress"), done, done):
        exchange = await an_exchange("GET", "/batches/batch_abc123")
        await enter(stage, exchange)
        told.append(answered(stage, exchange, body))

    assert [usage and usage.total_tokens for usage in told] == [None, 48, None]
    assert (await objects.get("acme", "file-2")).provider == "eu"


async def test_a_batch_costs_once_however_often_it_is_looked_at(objects, routes):
    stage = Locate(objects, routes)
    objects.note(an_object("file-1"))
    made = await an_exchange("POST", "/batches", BATCH)
    await enter(stage, made)
    answered(stage, made, a_batch())
    done = a_batch("completed", usage=USAGE)

    costs = []
    for body in (done, done, done):
        exchange = await an_exchange("GET", "/batches/batch_abc123")
        exchange.price = a_price(input=1_000, cache_read=1_000, output=1_000)
        await enter(stage, exchange)
        answered(stage, exchange, body)
        costs.append(cost_of(exchange, exchange.spent, 0.0)[0])

    assert costs == [48, 0, 0]


# Responses.


async def a_response_call(**fields):
    return await an_exchange(
        "POST", "/responses", {"model": "fast", "input": "x"} | fields
    )


async def test_a_model_is_served_by_those_who_speak_openai(objects, routes):
    exchange = with_route(await a_response_call(), routes)

    assert await located(Locate(objects, routes), exchange) == ["eu", "us"]
    assert [target.model for target in exchange.targets] == ["gpt", "gpt"]


async def test_a_model_that_nobody_serves_so_is_refused(objects, routes):
    exchange = with_route(await a_response_call(model="claude"), routes, "claude")

    with pytest.raises(BadRequest) as caught:
        await enter(Locate(objects, routes), exchange)

    assert caught.value.code == "unsupported_operation"


async def test_what_a_request_refers_to_ties_it_to_a_provider(objects, routes):
    objects.note(an_object("resp_1", "us", kind="response"))
    exchange = with_route(await a_response_call(previous_response_id="resp_1"), routes)

    assert await located(Locate(objects, routes), exchange) == ["us"]


@pytest.mark.parametrize("org_id", ["other", "acme"])
async def test_an_earlier_response_of_somebody_else_is_none(objects, routes, org_id):
    objects.note(an_object("resp_2", org_id="other", kind="response"))
    objects.note(an_object("resp_3", kind="response"))
    exchange = with_route(await a_response_call(previous_response_id="resp_2"), routes)

    with pytest.raises(NotFound):
        await enter(Locate(objects, routes), exchange)


async def test_objects_that_are_apart_cannot_be_used_together(objects, routes):
    objects.note(an_object("resp_1", "us", kind="response"))
    objects.note(an_object("file-1", "eu"))
    content = [{"type": "input_file", "file_id": "file-1"}]
    exchange = with_route(
        await a_response_call(
            previous_response_id="resp_1", input=[{"role": "user", "content": content}]
        ),
        routes,
    )

    with pytest.raises(BadRequest, match="different providers"):
        await enter(Locate(objects, routes), exchange)


async def test_an_object_where_no_target_is_cannot_be_used(objects, routes):
    objects.note(an_object("resp_1", "azure", kind="response"))
    exchange = with_route(await a_response_call(previous_response_id="resp_1"), routes)

    with pytest.raises(BadRequest) as caught:
        await enter(Locate(objects, routes), exchange)

    assert caught.value.code == "object_elsewhere"


async def test_a_name_that_cannot_be_one_is_not_looked_up(objects, routes):
    exchange = with_route(
        await a_response_call(previous_response_id="a/b" * 99), routes
    )

    with pytest.raises(NotFound) as caught:
        await enter(Locate(objects, routes), exchange)

    assert len(caught.value.message) < 200


async def test_the_usage_of_a_new_response_counts_and_its_repetition_does_not(
    objects, routes
):
    stage = Locate(objects, routes)
    made = with_route(await a_response_call(), routes)
    await enter(stage, made)
    first = answered(stage, made, a_response(usage=USAGE), provider="us")
    again = await an_exchange("GET", f"/responses/{RESPONSE_ID}")

    assert await located(stage, again) == ["us"]
    second = answered(stage, again, a_response(usage=USAGE), provider="us")

    assert (first.total_tokens, second) == (48, None)


async def test_the_usage_of_a_background_response_comes_later(objects, routes):
    stage = Locate(objects, routes)
    made = with_route(await a_response_call(background=True), routes)
    await enter(stage, made)
    told = [answered(stage, made, a_response("queued"))]

    for status in ("in_progress", "completed", "completed"):
        exchange = await an_exchange("GET", f"/responses/{RESPONSE_ID}")
        await enter(stage, exchange)
        usage = USAGE if status == "completed" else None
        told.append(answered(stage, exchange, a_response(status, usage=usage)))

    assert [usage and usage.total_tokens for usage in told] == [None, None, 48, None]


async def test_counting_the_tokens_of_a_response_costs_none(objects, routes):
    stage = Locate(objects, routes)
    asked = {"model": "fast", "input": "x"}
    exchange = with_route(
        await an_exchange("POST", "/responses/input_tokens", asked), routes
    )
    await enter(stage, exchange)

    answered(stage, exchange, {"object": "response.input_tokens", "input_tokens": 11})

    assert exchange.upstream_worked is False


async def test_a_stream_that_announced_its_response_accounts_for_it_once(
    objects, routes
):
    stage = Locate(objects, routes)
    made = with_route(await a_response_call(stream=True), routes)
    await enter(stage, made)
    made.attempts.append(Attempt(target="eu/gpt"))
    made.call.note(SeenObject(id=RESPONSE_ID, kind="response", usage_due=True))

    # Somebody asks for it before the stream has told of its end.
    early = await an_exchange("GET", f"/responses/{RESPONSE_ID}")
    await enter(stage, early)
    told = answered(stage, early, a_response(usage=USAGE))
    made.call.note(SeenObject(id=RESPONSE_ID, kind="response"))
    made.usage = TokenUsage(input=37, output=11)
    stage.settle(made)

    assert told.total_tokens == 48
    assert made.usage is None


async def test_an_object_is_the_targets_that_answered(objects, routes):
    stage = Locate(objects, routes)
    exchange = with_route(await a_response_call(), routes)
    await enter(stage, exchange)
    exchange.attempts.append(Attempt(target="eu/gpt"))

    answered(stage, exchange, a_response(), provider="us")

    assert (await objects.get("acme", RESPONSE_ID)).provider == "us"


async def test_a_name_that_no_path_could_hold_is_not_remembered(objects, routes):
    stage = Locate(objects, routes)
    exchange = with_route(await a_response_call(), routes)
    await enter(stage, exchange)

    answered(stage, exchange, a_response(id="../x"))

    assert objects.waiting == 0


def a_chat_about(part, routes, org="acme"):
    content = [{"type": "file", "file": {"filename": "x"}}]
    body = encoded(
        {"model": "fast", "messages": [{"role": "user", "content": content}]}
    ).replace(b'"filename": "x"', part)
    assert part in body
    exchange = Exchange(
        endpoint=an_endpoint(), headers={}, body=body, request_id="r", received_at=0.0
    )
    exchange.identity = an_identity(org_id=org)
    exchange.call = exchange.dialect.read_call("chat", body)
    return with_route(exchange, routes)


async def test_a_chat_goes_where_its_file_is(objects, routes):
    objects.note(an_object("file-1", "us"))

    exchange = a_chat_about(b'"file_id":"file-1"', routes)

    assert await located(Locate(objects, routes), exchange) == ["us"]


@pytest.mark.parametrize("name", [b"file_id", b"f\\u0069le_id", b"file\\u005fid"])
async def test_a_chat_about_somebody_elses_file_is_about_none(objects, routes, name):
    objects.note(an_object("file-1", "us", org_id="other"))

    with pytest.raises(NotFound):
        await enter(
            Locate(objects, routes), a_chat_about(b'"%b":"file-1"' % name, routes)
        )


async def test_a_chat_about_a_file_where_no_target_is_is_refused(objects, routes):
    objects.note(an_object("file-1", "azure"))

    with pytest.raises(BadRequest) as caught:
        await enter(
            Locate(objects, routes), a_chat_about(b'"file_id":"file-1"', routes)
        )

    assert caught.value.code == "object_elsewhere"


async def test_a_tool_may_call_its_parameters_as_it_likes(objects, routes):
    exchange = a_chat_about(b'"filename":"x"', routes)
    tools = [{"type": "function", "function": {"parameters": {"file_id": "text"}}}]
    body = json.dumps({**json.loads(exchange.call.body), "tools": tools})
    exchange.call = exchange.dialect.read_call("chat", body.encode())

    assert len(await located(Locate(objects, routes), exchange)) == 3


async def test_other_requests_are_left_alone(objects, routes):
    exchange = Exchange(
        endpoint=an_endpoint(),
        headers={},
        body=b"",
        request_id="r",
        received_at=0.0,
    )
    exchange.identity = an_identity()
    exchange.usage = TokenUsage(input=1)
    exchange.call = exchange.dialect.read_call(
        "chat", b'{"model":"fast","messages":[]}'
    )
    stage = Locate(objects, routes)

    assert await enter(stage, exchange) is None
    stage.settle(exchange)

    assert exchange.usage == TokenUsage(input=1)


# Lists.


async def listing(objects, routes, path="/files", query=b"", org="acme"):
    exchange = await an_exchange("GET", path, query=query, org=org)
    reply = await enter(Locate(objects, routes), exchange)
    return json.loads(reply.body)


async def test_a_list_shows_what_the_organisation_has(objects, routes):
    described = FILE | {"expires_at": None}
    shown = json.dumps(described)
    objects.note(an_object("file-1", "eu", created_at=1.0, shown=shown))
    objects.note(an_object("file-2", "us", created_at=2.0))
    objects.note(an_object("file-3", org_id="other"))

    answer = await listing(objects, routes)

    assert answer == {
        "object": "list",
        "data": [{"id": "file-2", "object": "file"}, described],
        "first_id": "file-2",
        "last_id": "file-1",
        "has_more": False,
    }


async def test_a_list_is_turned_over_page_by_page(objects, routes):
    for n in range(3):
        objects.note(an_object(f"batch_{n}", kind="batch", created_at=n + 1.0))

    first = await listing(objects, routes, "/batches", b"limit=2")
    rest = await listing(objects, routes, "/batches", b"limit=2&after=batch_1")

    assert [one["id"] for one in first["data"]] == ["batch_2", "batch_1"]
    assert [one["id"] for one in rest["data"]] == ["batch_0"]
    assert (first["has_more"], rest["has_more"]) == (True, False)


async def test_who_has_nothing_gets_an_empty_list(objects, routes):
    answer = await listing(objects, routes)

    assert (answer["data"], answer["first_id"]) == ([], None)


@pytest.mark.parametrize(
    "query",
    [
        b"limit=0",
        b"limit=x",
        b"limit=10001",
        b"limit=" + b"9" * 5000,
        b"limit=1&limit=2",
        b"order=up",
        b"\xff",
        b"&".join(b"a%d=1" % n for n in range(30)),
    ],
)
async def test_a_list_of_nonsense_is_refused(objects, routes, query):
    with pytest.raises(BadRequest):
        await listing(objects, routes, query=query)


async def test_a_list_after_what_is_not_there_is_refused(objects, routes):
    objects.note(an_object("file-1", org_id="other"))

    with pytest.raises(NotFound):
        await listing(objects, routes, query=b"after=file-1")
