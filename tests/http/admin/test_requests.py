"""Search among past requests, and the whole story of one."""

import json
from datetime import UTC, datetime

import pytest

from gandalf.domain.ids import first_at
from gandalf.domain.prices import Rating, UnitPrices
from gandalf.domain.usage import Billed, EndReason, OtherUsage, TokenUsage
from gandalf.storage import request_search, usage
from tests.storage.builders import a_record, an_attempt, entries_of

NOON = int(datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp())
RATES = Rating("config", "batch", UnitPrices(input=2_500_000, requests=10**10))


def a_request(number, **changes):
    at = NOON + number
    fields = {"client_request_id": "", "received_at": float(at), **changes}
    return a_record(f"{first_at(at * 1000)}-7000-8000-{number:012x}", **fields)


def failed(number, message, **changes):
    fields = {
        "status": 502,
        "end_reason": EndReason.FAILED,
        "error_code": "upstream_error",
        "error_message": message,
        **changes,
    }
    return a_request(number, **fields)


REQUESTS = [
    a_request(1, key_id="config:member", user_id="ada", team_id="red"),
    failed(2, "The upstream has 100% enough", key_id="config:member"),
    failed(3, "", attempts=(an_attempt(reason="its engine is overloaded"),)),
    a_request(4, client_request_id="order-7", alias="slow", model="m-2"),
    failed(5, "overloaded", org_id="acme", key_id="config:acme"),
    a_request(6, client_request_id="order-7", org_id="acme", key_id="config:acme"),
    a_request(
        7,
        attempts=(
            an_attempt(
                target="a/m",
                outcome="upstream_500",
                decision="failover",
                billed=Billed(TokenUsage(input=3), 30, RATES),
            ),
            an_attempt(target="b/m"),
        ),
        tokens=TokenUsage(input=10, other=OtherUsage(images=2)),
        cost_nanousd=1_000_000_001,
        rating=RATES,
        tags=("a", "b"),
        unread=(("not_json", 2),),
        dropped=("logit_bias",),
        approximated=("seed",),
    ),
]


@pytest.fixture
async def past(gateway, admin):
    await gateway.database.write(lambda c: usage.insert(c, entries_of(REQUESTS)))
    return admin


async def body(response):
    assert response.status_code == 200, await response.get_data()
    return json.loads(await response.get_data())


async def found(admin, query, who="admin"):
    answer = await body(await admin.as_(who).get(f"/requests?{query}"))
    return [int(row["id"][-2:], 16) for row in answer["data"]]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [7, 6, 5, 4, 3, 2, 1]),
        ("key_id=config:member", [2, 1]),
        ("org_id=acme", [6, 5]),
        ("team_id=red", [1]),
        ("user_id=ada", [1]),
        ("alias=slow", [4]),
        ("provider=openai-eu&model=m-2", [4]),
        ("status=502", [5, 3, 2]),
        ("end_reason=failed&org_id=acme", [5]),
        ("since=2026-11-01T12:00:03Z&until=2026-11-01T12:00:05Z", [4, 3]),
        ("id=order-7", [6, 4]),
        (f"id={REQUESTS[0].request_id}", [1]),
        ("id=order-7&org_id=default", [4]),
        ("id=nothing", []),
        ("error=OVERLOADED", [5, 3]),
        ("error=upstream_error", [5, 3, 2]),
        ("error=100%25%20e", [2]),
        ("error=overloaded&org_id=acme", [5]),
        ("error=gpt-4o&status=200", []),
        ("error=over&id=order-7", []),
    ],
)
async def test_requests_are_found_by(past, query, numbers):
    assert await found(past, query) == numbers


async def test_pages_follow_each_other_without_gap_or_repetition(past):
    for query in ("limit=2", "limit=2&error=o", "limit=1&org_id=default"):
        whole = await found(past, query.replace("limit=2", "").replace("limit=1", ""))
        pages, after = [], ""
        while True:
            answer = await body(await past.get(f"/requests?{query}&after={after}"))
            pages += [int(row["id"][-2:], 16) for row in answer["data"]]
            after = answer["pagination"].get("next")
            if not after:
                break
        assert pages == whole


async def test_a_search_for_a_text_goes_on_where_one_page_has_stopped(
    past, monkeypatch
):
    monkeypatch.setattr(request_search, "PAGE", 1)
    monkeypatch.setattr(request_search, "MAX_EXAMINED", 2)

    answer = await body(await past.get("/requests?error=enough"))
    assert answer["data"] == []
    after = answer["pagination"]["next"]

    assert await found(past, f"error=enough&after={after}") == [2]


async def test_a_caller_finds_what_is_within_its_scope(past):
    assert await found(past, "", "member") == [2, 1]
    assert await found(past, "org_id=acme", "member") == []
    assert await found(past, "error=overloaded", "member") == []
    assert await found(past, "", "acme") == [6, 5]
    assert await found(past, "id=order-7", "acme") == [6]
    assert await found(past, "key_id=config:member", "acme") == []
    assert await found(past, "", "viewer") == [7, 4, 3, 2, 1]
    assert await found(past, "", "service_account") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=x", "status"),
        ("since=yesterday", "since"),
        ("format=csv", "format"),
        (f"error={'e' * 201}", "error"),
        ("colour=red", "colour"),
    ],
)
async def test_an_invalid_condition_is_named(past, query, field):
    response = await past.get(f"/requests?{query}")

    assert response.status_code == 400
    problem = json.loads(await response.get_data())
    assert problem["errors"][0]["field"] == field


async def test_the_story_of_a_request_has_all_that_is_on_record(past):
    story = await body(await past.get(f"/requests/{REQUESTS[-1].request_id}"))

    first, second = story["attempts"]
    assert (first["target"], first["decision"]) == ("a/m", "failover")
    assert first["billed"]["tokens"] == {"input": 3}
    assert first["billed"]["rating"]["usd"] == {"input": "2.5", "requests": "0.01"}
    assert (second["outcome"], second["duration_us"]) == ("served", 1_500_000)
    assert story["cost_usd"] == 1.000000001
    assert story["rating"] == {
        "source": "config",
        "variant": "batch",
        "usd": {"input": "2.5", "requests": "0.01"},
    }
    assert (story["input_tokens"], story["other_usage"]) == (10, {"images": 2})
    assert (story["tags"], story["unread"]) == (["a", "b"], [["not_json", 2]])
    assert (story["dropped"], story["approximated"]) == (["logit_bias"], ["seed"])
    assert (story["latency_us"], story["ttft_us"]) == (1_500_000, 400_000)


async def test_an_id_that_two_organisations_chose_leads_each_to_its_own(past):
    theirs = await body(await past.as_("acme").get("/requests/order-7"))
    ours = await body(await past.as_("viewer").get("/requests/order-7"))

    assert (theirs["org_id"], ours["org_id"]) == ("acme", "default")
