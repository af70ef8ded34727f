"""Effective limits of a key, and the page of its holder."""

import json

from gandalf.domain.identity import Identity
from gandalf.http.admin.limits import LimitEndpoints
from gandalf.http.admin.table import AdminRequest


async def body(response):
    return json.loads(await response.get_data())


async def a_key(admin, **fields):
    return await body(await admin.post("/keys", fields))


async def test_each_level_shows_its_limits_and_what_is_left(admin):
    await admin.post("/teams", {"id": "red", "org_id": "default", "rpm_limit": 3})
    made = await a_key(admin, team_id="red", rpm_limit=10, max_concurrent=2)
    await admin.chat("fast", made["key"])

    shown = await body(await admin.get(f"/keys/{made['id']}/limits"))

    key, team = shown["levels"]
    assert (key["level"], team["level"]) == ("key", "team:red")
    assert key["requests_per_minute"]["remaining"] == 9
    assert team["requests_per_minute"]["remaining"] == 2
    assert shown["requests_per_minute"] == team["requests_per_minute"]
    assert shown["requests_per_minute"]["source"] == "team:red"
    assert shown["concurrent_requests"]["remaining"] == 2
    assert shown["tokens_per_minute"] is None


async def test_a_default_limit_is_called_one(admin, gateway, config_file):
    text = config_file.read_text().replace("default_rpm: 0", "default_rpm: 7")
    config_file.write_text(text)
    await admin.post("/reload")
    made = await a_key(admin)

    shown = await body(await admin.get(f"/keys/{made['id']}/limits"))

    limit = shown["requests_per_minute"]
    assert (limit["limit"], limit["source"]) == (7, "default")


async def test_allow_lists_show_each_level_and_what_remains(admin):
    await admin.post(
        "/teams", {"id": "red", "org_id": "default", "allowed_models": ["f*"]}
    )
    made = await a_key(admin, team_id="red", allowed_models=["fast", "slow"])

    shown = await body(await admin.get(f"/keys/{made['id']}/limits"))

    assert shown["allowed_models"] == [["fast", "slow"], ["f*"]]
    assert shown["models"] == ["fast"]


async def test_keys_of_the_file_have_limits_too(admin):
    shown = await body(await admin.get("/keys/config:member/limits"))

    assert shown["key_id"] == "config:member"


async def test_another_organisations_key_is_as_one_that_is_not_there(admin):
    made = await a_key(admin)
    acme = admin.as_("acme")

    theirs = await acme.get(f"/keys/{made['id']}/limits")
    nobodys = await acme.get("/keys/nobody/limits")

    assert theirs.status_code == nobodys.status_code == 404
    assert (await body(theirs))["code"] == (await body(nobodys))["code"]


async def test_every_role_sees_itself(admin):
    for who in ("admin", "member", "viewer", "service_account"):
        shown = await body(await admin.as_(who).get("/self"))
        assert (shown["id"], shown["role"]) == (f"config:{who}", who)
        assert shown["limits"]["models"] == ["fast"]
    assert shown["permissions"] == ["use_models"]


async def test_a_member_may_follow_its_links(admin):
    made = await a_key(admin)
    holder = admin.as_(made["key"])

    links = (await body(await holder.get("/self")))["links"]

    path = links["limits"].removeprefix("/admin/v1")
    assert (await body(await holder.get(path)))["key_id"] == made["id"]


async def test_a_caller_without_a_key_is_led_to_no_page_of_one(gateway):
    pages = LimitEndpoints(
        gateway.keys.find, gateway.limiter, gateway.ledger, gateway.routes
    )
    request = AdminRequest(
        identity=Identity(key_id="jwt:issuer:ada"),
        path={},
        query=None,
        body=None,
        if_match=None,
        request_id="r",
        remote="",
    )

    reply = await pages.myself(request)

    assert "requests" in reply.body.links
    assert "limits" not in reply.body.links
