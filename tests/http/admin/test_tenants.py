"""Organisations, teams, users and what their keys inherit."""

import json

import pytest
import trio

from gandalf.domain.usage import EndReason
from tests.pipeline.builders import an_exchange


async def body(response):
    return json.loads(await response.get_data())


async def made(admin, path, **fields):
    response = await admin.post(path, fields)
    assert response.status_code == 201, await response.get_data()
    return await body(response)


async def a_team(admin, **fields):
    await made(admin, "/organizations", id="acme")
    return await made(admin, "/teams", id="t", org_id="acme", **fields)


async def a_key(admin, **fields):
    made_key = await made(admin, "/keys", org_id="acme", **fields)
    return made_key["key"]


async def statuses(admin, *keys, model="fast"):
    return [(await admin.chat(model, key)).status_code for key in keys]


async def test_a_teams_requests_per_minute_are_shared_by_its_keys(admin):
    await a_team(admin, rpm_limit=3)
    one, two = await a_key(admin, team_id="t"), await a_key(admin, team_id="t")
    other = await a_key(admin)

    assert await statuses(admin, one, two, one, two, other) == [200] * 3 + [429, 200]


async def test_a_refusal_names_the_level_and_takes_nothing_from_the_others(
    admin, gateway
):
    await a_team(admin, rpm_limit=1)
    key = await made(admin, "/keys", org_id="acme", team_id="t", rpm_limit=10)
    await admin.chat("fast", key["key"])

    refused = await admin.chat("fast", key["key"])

    assert "team:t: rpm limit reached" in (await body(refused))["error"]["message"]
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    await admin.put("/teams/t", {"rpm_limit": None})
    allowed = await admin.chat("fast", key["key"])
    assert allowed.headers["x-ratelimit-remaining-requests"] == "8"


async def test_a_users_limit_holds_for_all_its_keys(admin):
    await a_team(admin)
    await made(admin, "/users", id="ada", org_id="acme", team_id="t", rpm_limit=1)
    one, two = await a_key(admin, user_id="ada"), await a_key(admin, user_id="ada")

    assert await statuses(admin, one, two) == [200, 429]


async def test_requests_in_flight_are_limited_per_level(admin, gateway):
    await a_team(admin, max_concurrent=1)
    key = await made(admin, "/keys", org_id="acme", team_id="t")
    identity = gateway.keys.authenticate(key["key"].encode())
    (level,) = identity.levels
    gateway.limiter.enter(level.name, 1)

    refused = await admin.chat("fast", key["key"])
    gateway.limiter.leave(level.name)
    allowed = await admin.chat("fast", key["key"])

    assert (refused.status_code, allowed.status_code) == (429, 200)
    assert "concurrent" in (await body(refused))["error"]["message"]


async def test_allow_lists_intersect(admin):
    await admin.post(
        "/routes",
        {"model_alias": "slow", "targets": [{"provider": "simulated", "model": "m"}]},
    )
    await a_team(admin, allowed_models=["fast", "other*"])
    key = await a_key(admin, team_id="t", allowed_models=["fast", "slow"])

    assert await statuses(admin, key) == [200]
    assert await statuses(admin, key, model="slow") == [403]


async def test_a_provider_outside_the_list_is_no_target(admin):
    await a_team(admin, allowed_providers=["elsewhere"])
    key = await a_key(admin, team_id="t")

    refused = await admin.chat("fast", key)

    assert refused.status_code == 403
    assert (await body(refused))["error"]["code"] == "provider_not_allowed"


@pytest.mark.parametrize("path", ["/organizations/acme", "/teams/t"])
async def test_a_blocked_tenant_blocks_its_keys_from_the_next_request_on(admin, path):
    await a_team(admin)
    key = await a_key(admin, team_id="t")
    await admin.put(path, {"blocked": True})

    refused = await admin.chat("fast", key)

    assert refused.status_code == 403
    assert "is blocked" in (await body(refused))["error"]["message"]
    await admin.put(path, {"blocked": False})
    assert await statuses(admin, key) == [200]


async def test_a_configured_key_inherits_from_its_organization(admin):
    await made(admin, "/organizations", id="acme", rpm_limit=1)

    assert await statuses(admin, "acme", "acme") == [200, 429]


async def test_a_tenant_with_keys_is_not_deleted(admin):
    await a_team(admin)
    await a_key(admin, team_id="t")

    for path in ("/teams/t", "/organizations/acme"):
        response = await admin.delete(path)
        assert (response.status_code, (await body(response))["code"]) == (409, "in_use")


async def test_a_key_of_an_unknown_team_is_refused(admin):
    response = await admin.post("/keys", {"team_id": "nowhere"})

    assert response.status_code == 400
    assert (await body(response))["errors"][0]["field"] == "team_id"


async def test_an_admin_of_an_organization_does_not_lift_its_limits(admin):
    await a_team(admin, rpm_limit=1)
    acme = admin.as_("acme")

    assert (await acme.put("/organizations/acme", {"rpm_limit": 9})).status_code == 403
    assert (await acme.put("/teams/t", {"rpm_limit": 9})).status_code == 200
    assert (await acme.post("/organizations", {"id": "x"})).status_code == 403
    assert (await acme.post("/teams", {"org_id": "default"})).status_code == 403
    assert (await acme.get("/organizations/default")).status_code == 404
    listed = (await body(await acme.get("/organizations")))["data"]
    assert [org["id"] for org in listed] == ["acme"]


async def test_a_teams_admin_sees_its_team_only(admin):
    await a_team(admin)
    await made(admin, "/teams", id="u", org_id="acme")
    lead = admin.as_(await a_key(admin, team_id="t", role="admin"))

    assert [t["id"] for t in (await body(await lead.get("/teams")))["data"]] == ["t"]
    assert (await lead.get("/teams/u")).status_code == 404
    assert (await lead.put("/teams/t", {"rpm_limit": 1})).status_code == 403
    assert (await lead.post("/keys", {"team_id": "u"})).status_code == 403
    assert (await lead.post("/keys", {})).status_code == 201


async def test_a_rotated_key_works_beside_the_new_one_until_the_overlap_is_over(
    admin, gateway, monkeypatch
):
    await a_team(admin)
    old = await made(admin, "/keys", org_id="acme", team_id="t", rpm_limit=7)

    new = await made(admin, f"/keys/{old['id']}/rotate", overlap_seconds=3600)

    assert await statuses(admin, old["key"], new["key"]) == [200, 200]
    assert (new["team_id"], new["rpm_limit"]) == ("t", 7)
    monkeypatch.setattr(gateway.keys, "_now", lambda: 4e9)
    assert await statuses(admin, old["key"], new["key"]) == [401, 200]


async def test_a_key_rotates_itself_and_no_other(admin):
    await a_team(admin)
    own = await made(admin, "/keys", org_id="acme", team_id="t")
    other = await made(admin, "/keys", org_id="acme", team_id="t")
    holder = admin.as_(own["key"])

    assert (await holder.post(f"/keys/{own['id']}/rotate", {})).status_code == 201
    assert (await holder.post(f"/keys/{other['id']}/rotate", {})).status_code == 401
    assert await statuses(admin, own["key"]) == [401]


async def test_revoking_a_key_cuts_its_requests_in_flight_if_asked_to(admin, gateway):
    await a_team(admin)
    key = await made(admin, "/keys", org_id="acme")

    identity = gateway.keys.authenticate(key["key"].encode())
    theirs, others = an_exchange(identity=identity), an_exchange()
    gateway.gateway.in_flight |= {theirs, others}
    with trio.fail_after(60):
        await admin.delete(f"/keys/{key['id']}?cut=true")
    gateway.gateway.in_flight -= {theirs, others}

    assert (theirs.cut, others.cut) == (EndReason.REVOKED, None)
    assert await statuses(admin, key["key"]) == [403]
