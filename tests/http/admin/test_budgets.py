"""Budgets, raises, reservations and prices through the admin API."""

import json
from datetime import UTC, datetime, timedelta

import pytest

TEAM = {"name": "red-month", "scope": "team", "id": "red", "limit": "1.5"}
NANO = 10**9


async def body(response):
    return json.loads(await response.get_data())


async def made(admin, path, sent):
    response = await admin.post(path, sent)
    assert response.status_code == 201, await response.get_data()
    return await body(response)


def in_days(days):
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def spend(gateway, key_id, cost):
    """Settle a request of ``key_id`` that has cost ``cost`` nano-USD."""
    identity = gateway.keys.find(key_id)
    ledger = gateway.ledger
    reserved = ledger.reserve("r1", ledger.accounts_of(identity), cost, 1)
    ledger.settle(reserved.id, cost, 1)


async def test_a_new_budget_refuses_the_next_request(admin):
    await made(admin, "/teams", {"id": "red", "org_id": "default"})
    key = await made(admin, "/keys", {"team_id": "red"})
    assert (await admin.chat("fast", key["key"])).status_code == 200

    sent = {**TEAM, "unit": "requests", "limit": "0"}
    budget = await made(admin, "/budgets", sent)

    assert (budget["origin"], budget["limit"]) == ("managed", "0")
    refused = await admin.chat("fast", key["key"])
    assert refused.status_code in (402, 429)
    assert (await admin.delete("/budgets/red-month")).status_code == 204
    assert (await admin.chat("fast", key["key"])).status_code == 200


async def test_a_budget_shows_what_is_spent_and_reserved_and_left(admin, gateway):
    await made(admin, "/teams", {"id": "red", "org_id": "default"})
    key = await made(admin, "/keys", {"team_id": "red"})
    await made(admin, "/budgets", TEAM)
    spend(gateway, key["id"], NANO // 2)
    accounts = gateway.ledger.accounts_of(gateway.keys.find(key["id"]))
    gateway.ledger.reserve("r2", accounts, NANO // 4, 1)

    shown = await admin.get("/budgets/red-month")

    (state,) = (await body(shown))["states"]
    assert shown.headers["etag"] == '"1"'
    assert (state["subject"], state["limit"], state["spent"]) == ("red", "1.50", "0.50")
    assert (state["reserved"], state["remaining"]) == ("0.25", "0.75")
    assert state["renews_at"].endswith("+00:00")
    (held,) = (await body(await admin.get("/reservations")))["data"]
    assert (held["request_id"], held["expired"]) == ("r2", False)
    assert held["claims"][0]["amount"] == "0.25"


async def test_a_budget_may_be_sent_back_as_it_was_shown(admin):
    await made(admin, "/budgets", TEAM)
    shown = await body(await admin.get("/budgets/red-month"))

    sent = await admin.put("/budgets/red-month", {**shown, "limit": "2"})

    assert sent.status_code == 200
    again = await body(await admin.get("/budgets/red-month"))
    assert (again["id"], again["limit"]) == ("red", "2")


async def test_a_budget_that_nobody_has_spent_of_has_a_state(admin):
    await made(admin, "/budgets", TEAM)

    (state,) = (await body(await admin.get("/budgets/red-month")))["states"]

    assert (state["spent"], state["remaining"]) == ("0.00", "1.50")


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"limit": "much"}, "limit"),
        ({"window": "fortnight"}, "window"),
        ({"scope": "planet"}, "scope"),
        ({"scope": "provider", "id": "nowhere"}, "id"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_an_invalid_budget_is_refused_with_its_field(admin, sent, field):
    response = await admin.post("/budgets", {**TEAM, **sent})

    assert response.status_code == 400
    assert (await body(response))["errors"][0]["field"] == field
    assert (await body(await admin.get("/budgets")))["data"] == []


async def test_a_raise_holds_at_once_and_is_in_the_audit_trail(admin, gateway):
    await made(admin, "/budgets", TEAM)

    raised = await made(
        admin, "/budgets/red-month/raise", {"amount": "2", "until": in_days(1)}
    )

    shown = await body(await admin.get("/budgets/red-month"))
    assert shown["states"][0]["limit"] == "3.50"
    assert [one["id"] for one in shown["raises"]] == [raised["id"]]
    (entry, *_) = (await body(await admin.get("/audit")))["data"]
    assert (entry["action"], entry["after"]["amount"]) == ("budgets.raise", "2.00")


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"amount": "-1", "until": in_days(1)}, "amount"),
        ({"amount": "1", "until": in_days(-1)}, "until"),
        ({"amount": "1", "until": in_days(1000)}, "until"),
        ({"amount": "1"}, "until"),
    ],
)
async def test_a_raise_must_make_sense(admin, sent, field):
    await made(admin, "/budgets", TEAM)

    response = await admin.post("/budgets/red-month/raise", sent)

    assert response.status_code == 400
    assert (await body(response))["errors"][0]["field"] == field


async def test_an_organisation_sees_its_own_budgets_and_accounts(admin, gateway):
    for id_ in ("acme", "default"):
        sent = {"name": id_, "scope": "organization", "id": id_, "limit": "1"}
        await made(admin, "/budgets", sent)
    await made(admin, "/budgets", {"name": "all", "scope": "global", "limit": "9"})
    each = {"name": "each", "scope": "organization", "limit": "5"}
    await made(admin, "/budgets", each)
    for key_id in ("config:acme", "config:member"):
        spend(gateway, key_id, 1)
    acme = admin.as_("acme")

    listed = (await body(await acme.get("/budgets")))["data"]

    assert [budget["name"] for budget in listed] == ["acme", "each"]
    assert [state["subject"] for state in listed[1]["states"]] == ["acme"]
    for name in ("default", "all"):
        theirs, nobodys = [
            await acme.get(f"/budgets/{wanted}") for wanted in (name, "none")
        ]
        assert theirs.status_code == nobodys.status_code == 404
    assert "raises" not in await body(await acme.get("/budgets/acme"))
    for response in (
        await acme.post("/budgets", TEAM),
        await acme.put("/budgets/acme", {**each, "name": "acme"}),
        await acme.delete("/budgets/acme"),
        await acme.post("/budgets/acme/raise", {"amount": "1", "until": in_days(1)}),
        await acme.get("/reservations"),
    ):
        assert response.status_code == 403


async def test_budgets_are_exported_and_applied(admin):
    await made(admin, "/budgets", TEAM)

    exported = await body(await admin.get("/export"))
    again = await body(await admin.post("/apply", exported))

    assert exported["budgets"] == [TEAM]
    assert again["changes"] == []


# Prices.


async def test_a_price_tells_how_it_was_found(admin):
    await made(
        admin,
        "/providers",
        {"name": "openai", "api_key": "${UPSTREAM_KEY}", "models": ["gpt-4o-mini"]},
    )

    listed = (await body(await admin.get("/prices?alias=gpt-4o-mini")))["data"]

    (price,) = listed
    assert (price["target"], price["match"]) == ("openai/gpt-4o-mini", "exact")
    assert price["aliases"] == ["gpt-4o-mini"]
    assert price["prices"][0]["usd"]["input"] == "0.15"


async def test_a_target_without_a_price_says_so(admin):
    listed = (await body(await admin.get("/prices")))["data"]

    assert [(price["target"], price["prices"]) for price in listed] == [
        ("simulated/m-1", [])
    ]
