"""The test of a provider: a real request over a real socket."""

import json

import pytest
import trio

from tests.fakes.upstream import fake_upstream, hang_up, respond, silence, status

SECRET = "sk-the-upstream-key"
MODELS = json.dumps({"object": "list", "data": [{"id": "m-1"}, {"id": "m-2"}]})


async def body(response):
    return json.loads(await response.get_data())


@pytest.fixture
async def up(nursery):
    async with fake_upstream(nursery) as upstream:
        yield upstream


@pytest.fixture
async def tested(admin, up):
    """Return a function that tests the provider ``up``, made with ``fields``."""

    async def test(sent=None, **fields):
        made = await admin.post(
            "/providers",
            {
                "name": "up",
                "type": "openai",
                "base_url": up.url,
                "api_key": "${UPSTREAM_KEY}",
                **fields,
            },
        )
        assert made.status_code == 201, await made.get_data()
        response = await admin.post("/providers/up/test", sent)
        assert SECRET not in (await response.get_data()).decode()
        return await body(response)

    return test


async def records(admin):
    return (await body(await admin.get("/requests")))["data"]


async def test_the_list_of_models_is_read_and_costs_nothing(admin, tested, up):
    up.script(respond(MODELS))

    found = await tested()

    assert (found["ok"], found["probe"], found["status"]) == (True, "models", 200)
    assert found["message"] == "answered with a list of 2 models"
    assert (found["cost_usd"], found["request_id"]) == (0, "")
    assert found["latency_ms"] > 0
    (request,) = up.requests
    assert (request.method, request.target) == ("GET", "/v1/models")
    assert request.header("authorization") == f"Bearer {SECRET}"
    assert await records(admin) == []


async def test_a_chat_is_recorded_and_costs_what_it_used(admin, tested, up, gateway):
    found = await tested({"model": "gpt-4o-mini"})

    assert (found["ok"], found["probe"], found["model"]) == (
        True,
        "chat",
        "gpt-4o-mini",
    )
    assert up.requests[0].json()["max_completion_tokens"] == 16
    with trio.fail_after(5):
        while not (listed := await records(admin)):  # noqa: ASYNC110 - a thread writes
            await trio.sleep(0.01)
    assert listed[0]["id"] == found["request_id"]
    assert (listed[0]["key_id"], listed[0]["provider_id"]) == ("config:admin", "up")
    assert (listed[0]["prompt_tokens"], listed[0]["status_code"]) == (9, 200)


@pytest.mark.parametrize("kind", ["anthropic", "gemini", "ollama"])
async def test_other_dialects_list_their_models_too(tested, up, kind):
    up.script(respond('{"models": [{"name": "m"}]}'))

    found = await tested(type=kind)

    assert (found["ok"], found["probe"]) == (True, "models")
    assert up.requests[0].method == "GET"


async def test_refused_credentials_are_the_verdict_and_no_secret_is_shown(tested, up):
    up.script(status(401, f"Incorrect API key provided: {SECRET}"))

    found = await tested()

    assert (found["ok"], found["status"]) == (False, 401)
    assert (found["fault"], found["failover"], found["retry"]) == (
        "credentials",
        True,
        False,
    )


@pytest.mark.parametrize(
    ("answer", "fault"), [(status(503), "target"), (status(429), "rate_limit")]
)
async def test_a_failure_is_judged_as_one_of_a_request(tested, up, answer, fault):
    up.script(answer)

    found = await tested()

    assert (found["ok"], found["fault"], found["failover"]) == (False, fault, True)


async def test_a_broken_connection_has_no_status(tested, up):
    up.script(hang_up())

    found = await tested()

    assert (found["ok"], found["status"], found["fault"]) == (False, None, "target")


async def test_a_silent_provider_is_given_up_at_the_limit(tested, up):
    up.script(silence())

    found = await tested({"timeout_seconds": 0.2})

    assert (found["ok"], found["code"]) == (False, "upstream_timeout")
    with trio.fail_after(5):
        await up.requests[0].client_left.wait()


async def test_a_server_without_a_list_is_sent_a_chat_to_a_model_of_a_route(
    admin, tested, up
):
    up.script(status(404))

    found = await tested(models=["m-9"])

    assert (found["ok"], found["probe"], found["model"]) == (True, "chat", "m-9")


async def test_a_simulated_provider_answers_a_chat(admin):
    found = await body(await admin.post("/providers/simulated/test"))

    assert (found["ok"], found["probe"], found["model"]) == (True, "chat", "m-1")


async def test_a_test_is_in_the_audit_trail(admin):
    await admin.post("/providers/simulated/test")

    (entry, *_) = (await body(await admin.get("/audit")))["data"]
    assert (entry["action"], entry["object"]) == (
        "providers.test",
        "providers/simulated",
    )


async def test_a_provider_that_cannot_be_tested_is_refused(admin):
    await admin.post("/providers", {"name": "off", "type": "simulated"})
    await admin.put("/providers/off", {"type": "simulated", "enabled": False})
    await admin.post("/providers", {"name": "bare", "type": "simulated"})

    assert (await admin.post("/providers/none/test")).status_code == 404
    assert (await admin.post("/providers/off/test")).status_code == 409
    assert (await admin.post("/providers/bare/test")).status_code == 409
