"""Lists of requests and sums of usage over the admin API, by Quart and by the edge."""

import csv
import io
import json
from contextlib import closing
from datetime import UTC, datetime

import pytest

from gandalf.actors.supervisor import supervise
from gandalf.app import _Gateway
from gandalf.config import Config, Database, Key, Provider
from gandalf.domain.identity import Role
from gandalf.domain.ids import first_at
from gandalf.domain.secret import Secret
from gandalf.domain.usage import EndReason, TokenUsage
from gandalf.storage import database as storage
from gandalf.storage import usage
from gandalf.storage.keys import KeyStore
from tests.http.test_application import client, key  # noqa: F401
from tests.storage.builders import a_record, entries_of

HOUR = 3600
NOON = int(datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp())


def a_request(number, hours=0, **changes):
    at = NOON + hours * HOUR + number
    fields = {
        "client_request_id": "",
        "received_at": float(at),
        "key_id": "config:member",
        "cost_nanousd": 1_000_000_001,
    }
    request_id = f"{first_at(at * 1000)}-7000-8000-{number:012x}"
    return a_record(request_id, **{**fields, **changes})


REQUESTS = [
    a_request(1),
    a_request(2, alias="=cmd|'/c calc'!A0", tags=("a", "b")),
    a_request(
        3,
        5,
        key_id="config:admin",
        status=502,
        end_reason=EndReason.FAILED,
        error_code="upstream_error",
        cost_nanousd=None,
        tokens=TokenUsage(),
    ),
    a_request(4, 24, org_id="acme", key_id="acme-key"),
    a_request(5, 30, org_id="acme", key_id="acme-key", model="gpt-5", cache="hit"),
]


@pytest.fixture
async def gateway(tmp_path):
    config = Config(
        database=Database(dsn=str(tmp_path / "g.db")),
        providers=(Provider(name="simulated"),),
        keys=(
            *(Key(name=r, key=Secret(key(r)), role=r) for r in Role),
            Key(name="acme", key=Secret(key("acme")), role="admin", org_id="acme"),
        ),
    )
    database = storage.Database(config.database.dsn)
    await database.open()
    with closing(database):
        await database.write(lambda c: usage.insert(c, entries_of(REQUESTS)))
        made = _Gateway(config, tmp_path / "g.yaml", {}, database, KeyStore(database))
        await made.keys.load()
        async with supervise(made.journal):
            yield made


async def get(client, path, who="admin"):  # noqa: F811
    headers = {"authorization": f"Bearer {key(who)}"}
    return await client.get(f"/admin/v1{path}", headers=headers)


async def rows(client, path, who="admin"):  # noqa: F811
    answer = await get(client, path, who)
    assert answer.status_code == 200, await answer.get_data()
    return (await answer.get_json())["data"]


def numbers(found):
    return [int(row["id"][-2:], 16) for row in found]


async def test_requests_are_listed_with_what_they_used(client):  # noqa: F811
    answer = await get(client, "/usage")

    body = await answer.get_json()
    assert numbers(body["data"]) == [5, 4, 3, 2, 1]
    assert body["pagination"] == {"offset": 0, "limit": 50, "total": 5}
    last = body["data"][-1]
    assert last["created_at"] == "2026-11-01T12:00:01.000Z"
    assert (last["prompt_tokens"], last["completion_tokens"]) == (100, 20)
    assert (last["cost_nanousd"], last["cached"]) == (1_000_000_001, False)
    assert last["latency_ms"] == 1500.0
    # As a decimal, to the nano-dollar.
    assert b'"cost_usd":1.000000001' in await answer.get_data()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("key_id=config:member", [2, 1]),
        ("key_id=config:member,acme-key&model=gpt-4o", [4, 2, 1]),
        ("org_id=acme", [5, 4]),
        ("status=502", [3]),
        ("status=500,502", [3]),
        ("end_reason=failed", [3]),
        ("error_code=upstream_error", [3]),
        ("tag=b", [2]),
        ("model=nothing", []),
        ("since=2026-11-01T12:00:02Z", [5, 4, 3, 2]),
        ("until=2026-11-01T12:00:02Z", [1]),
        ("since=2026-11-02T00:00:00%2B01:00", [5, 4]),
        ("since=2026-11-02T00:00:00+01:00", [5, 4]),
        ("since=2026-11-02&tz=Asia/Tokyo", [5, 4, 3]),
        ("limit=2&offset=1", [4, 3]),
    ],
)
async def test_a_list_may_be_filtered(client, query, found):  # noqa: F811
    assert numbers(await rows(client, f"/usage?{query}")) == found


async def test_pages_follow_one_another_by_cursor(client):  # noqa: F811
    seen, after = [], ""
    while True:
        answer = await get(client, f"/usage?limit=2&after={after}")
        body = await answer.get_json()
        seen += numbers(body["data"])
        after = body["pagination"].get("next")
        if after is None:
            break

    assert seen == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/usage?since=yesterday", "since"),
        ("/usage?until=2026-11-01T00:00:00", "until"),
        ("/usage?tz=Middle/Earth", "tz"),
        ("/usage?tz=../../etc/passwd", "tz"),
        ("/usage?status=bad", "status"),
        ("/usage?format=xml", "format"),
        ("/usage?offset=10001", "offset"),
        ("/usage/summary?group_by=price", "group_by"),
        ("/usage/summary?period=yearly", "period"),
        ("/usage/summary?after=zz", "after"),
        ("/usage/summary?period=hourly&since=2020-01-01", "since"),
        ("/usage?unknown=1", "unknown"),
    ],
)
async def test_what_cannot_be_meant_is_refused_and_named(client, path, field):  # noqa: F811
    answer = await get(client, path)

    assert answer.status_code == 400
    assert (await answer.get_json())["errors"][0]["field"] == field


@pytest.mark.parametrize(
    ("who", "found"),
    [
        ("admin", [5, 4, 3, 2, 1]),
        ("acme", [5, 4]),
        ("member", [2, 1]),
    ],
)
async def test_a_caller_sees_what_is_in_its_scope(client, who, found):  # noqa: F811
    assert numbers(await rows(client, "/usage", who)) == found
    sums = await rows(client, "/usage/summary?period=total&group_by=", who)
    assert sums[0]["request_count"] == len(found)
    # Whatever is asked for.
    others = await rows(client, "/usage?org_id=default&key_id=config:admin", who)
    assert numbers(others) == ([3] if who == "admin" else [])


async def test_usage_is_for_those_who_may_see_some(client):  # noqa: F811
    answer = await get(client, "/usage", Role.SERVICE_ACCOUNT)

    assert answer.status_code == 403


async def test_sums_have_the_predecessors_shape(client):  # noqa: F811
    found = await rows(client, "/usage/summary?since=2026-10-01&until=2026-12-01")

    assert [
        (row["bucket"], row["org_id"], row["key_id"], row["request_count"])
        for row in found
    ] == [
        ("2026-11-02T00:00:00+00:00", "acme", "acme-key", 1),
        ("2026-11-02T00:00:00+00:00", "acme", "acme-key", 1),
        ("2026-11-01T00:00:00+00:00", "default", "config:admin", 1),
        ("2026-11-01T00:00:00+00:00", "default", "config:member", 2),
    ]
    last = found[-1]
    assert last["period"] == "daily"
    assert last["total_tokens"] == last["prompt_tokens"] + last["completion_tokens"]
    assert (last["total_tokens"], last["cost_nanousd"]) == (240, 2_000_000_002)
    assert (found[1]["cached_count"], found[2]["error_count"]) == (1, 1)
    assert found[2]["unpriced_count"] == 1


async def test_sums_go_by_the_calendar_of_a_time_zone(client):  # noqa: F811
    found = await rows(
        client,
        "/usage/summary?since=2026-10-01&group_by=&tz=Asia/Tokyo&until=2026-12-01",
    )

    assert [(row["bucket"], row["request_count"]) for row in found] == [
        ("2026-11-03T00:00:00+09:00", 1),
        ("2026-11-02T00:00:00+09:00", 2),
        ("2026-11-01T00:00:00+09:00", 2),
    ]


async def test_percentiles_are_given_where_they_are_asked_for(client):  # noqa: F811
    query = "/usage/summary?period=total&group_by=status&percentiles=true"

    found = await rows(client, query)

    assert [row["status"] for row in found] == [200, 502]
    assert found[0]["latency_ms"]["p99"] == pytest.approx(1500, rel=0.04)
    assert found[0]["ttft_ms"]["p50"] == pytest.approx(400, rel=0.04)


async def test_pages_of_sums_follow_one_another_by_cursor(client):  # noqa: F811
    seen, after = [], ""
    while True:
        answer = await get(
            client,
            f"/usage/summary?since=2026-10-01&until=2026-12-01&limit=1&after={after}",
        )
        body = await answer.get_json()
        seen += [(row["bucket"], row["model"]) for row in body["data"]]
        assert body["pagination"]["total"] == 4
        after = body["pagination"].get("next")
        if after is None:
            break

    assert len(seen) == 4
    assert sorted(seen, reverse=True)[0] == seen[0] or len(set(seen)) >= 3


@pytest.mark.parametrize("path", ["/usage", "/usage/summary?since=2026-10-01"])
async def test_all_of_it_may_be_had_as_lines_of_json(client, path):  # noqa: F811
    glue = "&" if "?" in path else "?"
    answer = await get(client, f"{path}{glue}format=ndjson")

    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = (await answer.get_data()).splitlines()
    assert [json.loads(line) for line in lines] == await rows(client, path)


async def test_all_of_it_may_be_had_as_csv(client, monkeypatch):  # noqa: F811
    monkeypatch.setattr("gandalf.http.admin.usage.EXPORT_PAGE", 2)

    answer = await get(client, "/usage?format=csv")

    assert answer.headers["content-type"].startswith("text/csv")
    text = (await answer.get_data()).decode()
    found = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["id"][-2:], 16) for row in found] == [5, 4, 3, 2, 1]
    assert found[-1]["cost_usd"] == "1.000000001"
    assert found[3]["tags"] == "a b"
    # No spreadsheet may take a client's text for a formula.
    assert found[3]["alias"] == "'=cmd|'/c calc'!A0"


# The caller's own key.


async def test_a_key_is_told_its_limits_and_what_it_used(client, gateway):  # noqa: F811
    headers = {"authorization": f"Bearer {key('member')}"}

    answer = await client.get("/v1/key", headers=headers)

    found = await answer.get_json()
    assert (found["id"], found["role"]) == ("config:member", "member")
    assert found["limits"]["requests_per_minute"]["limit"] == 60
    assert found["usage"]["total"] == {
        "requests": 2,
        "errors": 0,
        "tokens": 240,
        "cost_usd": "2.000000002",
    }
    assert set(found["usage"]) == {"today", "this_week", "this_month", "total"}
    assert found["usage"]["today"]["requests"] == 0


async def test_nobody_is_told_of_a_key_that_is_none(client):  # noqa: F811
    assert (await client.get("/v1/key")).status_code == 401
