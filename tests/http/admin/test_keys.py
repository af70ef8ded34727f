"""API keys through the admin API, and the borders between organisations."""

import json

import pytest

from gandalf.http.admin.api import described


async def body(response):
    return json.loads(await response.get_data())


async def test_a_new_key_works_at_the_next_request(admin):
    made = await body(await admin.post("/keys", {"name": "app", "rpm_limit": 5}))

    answer = await admin.chat("fast", made["key"])

    assert answer.status_code == 200
    assert answer.headers["x-ratelimit-limit-requests"] == "5"


async def test_the_text_of_a_key_is_shown_once(admin):
    made = await body(await admin.post("/keys", {"name": "app"}))

    for path in ("/keys", f"/keys/{made['id']}", "/audit"):
        text = await (await admin.get(path)).get_data()
        assert made["key"].encode() not in text
        assert made["id"].encode() in text


async def test_a_revoked_key_is_refused_at_the_next_request(admin):
    made = await body(await admin.post("/keys", {}))
    revoked = await admin.delete(f"/keys/{made['id']}")

    assert revoked.status_code == 204
    assert (await admin.chat("fast", made["key"])).status_code == 403


async def test_a_field_that_is_left_out_stays_and_null_clears_it(admin):
    made = await body(
        await admin.post("/keys", {"name": "app", "rpm_limit": 5, "tpm_limit": 7})
    )

    changed = await body(await admin.put(f"/keys/{made['id']}", {"rpm_limit": None}))

    assert (changed["name"], changed["rpm_limit"], changed["tpm_limit"]) == (
        "app",
        None,
        7,
    )


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"role": "king"}, "role"),
        ({"rpm_limit": -1}, "rpm_limit"),
        ({"rpm_limt": 1}, "rpm_limt"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"allowed_models": ["a", ""]}, "allowed_models[1]"),
    ],
)
async def test_an_invalid_field_is_named(admin, sent, field):
    response = await admin.post("/keys", sent)

    assert response.status_code == 400
    assert (await body(response))["errors"][0]["field"] == field


async def test_an_organisations_admin_sees_and_changes_nothing_outside_it(admin):
    theirs = await body(await admin.post("/keys", {"name": "secret"}))
    acme = admin.as_("acme")
    own = await body(await acme.post("/keys", {"name": "own"}))

    assert own["org_id"] == "acme"
    assert [k["id"] for k in (await body(await acme.get("/keys")))["data"]] == [
        own["id"]
    ]
    for response in (
        await acme.get(f"/keys/{theirs['id']}"),
        await acme.put(f"/keys/{theirs['id']}", {"blocked": True}),
        await acme.delete(f"/keys/{theirs['id']}"),
    ):
        assert response.status_code == 404
    assert (await acme.get("/keys?org_id=default")).status_code == 403
    assert (await acme.post("/keys", {"org_id": "default"})).status_code == 403
    entries = (await body(await acme.get("/audit")))["data"]
    assert {entry["org_id"] for entry in entries} == {"acme"}


async def test_a_member_sees_no_key_of_the_database(admin):
    made = await body(await admin.post("/keys", {}))

    member = admin.as_("member")

    assert (await body(await member.get("/keys")))["data"] == []
    assert (await member.get(f"/keys/{made['id']}")).status_code == 404
    assert (await member.delete(f"/keys/{made['id']}")).status_code == 403


# Every cell of role by endpoint: the table says what happens.

ENDPOINTS = described()
PERMITTED = {
    "admin": {e.operation_id for e in ENDPOINTS},
    "member": {
        "keys.list_all",
        "keys.get",
        "keys.limits",
        "keys.rotate",
        "requests.get",
        "requests.search",
        "usage.requests",
        "usage.summary",
    },
    "viewer": {
        "budgets.get",
        "budgets.list_all",
        "prices.list_all",
        "requests.get",
        "requests.search",
        "usage.requests",
        "usage.summary",
    },
    "service_account": {"requests.get", "requests.search"},
}
EVERYBODY = {"openapi.json.openapi_json", "docs.docs", "self.myself"}


@pytest.mark.parametrize("role", list(PERMITTED))
async def test_an_endpoint_is_for_the_roles_that_may_use_it(admin, role):
    permitted = {
        endpoint.operation_id
        for endpoint in ENDPOINTS
        if (await tried(admin.as_(role), endpoint)).status_code != 403
    }

    assert permitted == PERMITTED[role] | EVERYBODY


async def test_an_endpoint_needs_a_key(admin):
    for endpoint in ENDPOINTS:
        response = await tried(admin.as_("gnd_nobody"), endpoint)
        assert response.status_code == 401, endpoint
        assert (await body(response))["code"] == "invalid_api_key"


async def tried(admin, endpoint):
    path = endpoint.path.replace("{id}", "none").replace("{name}", "none")
    return await admin.call(endpoint.method, path)


async def test_an_unknown_page_is_not_found_by_those_with_a_key(admin):
    assert (await admin.get("/nowhere")).status_code == 404
    assert (await admin.as_("gnd_nobody").get("/nowhere")).status_code == 401
