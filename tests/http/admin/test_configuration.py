"""Providers and routes through the admin API: in force on the next request."""

import json

import pytest

PROVIDER = {"name": "other", "type": "simulated"}
ROUTE = {"model_alias": "slow", "targets": [{"provider": "other", "model": "m-2"}]}


async def body(response):
    return json.loads(await response.get_data())


async def test_a_new_provider_and_route_serve_the_next_request(admin):
    made = await admin.post("/providers", PROVIDER)
    routed = await admin.post("/routes", ROUTE)
    answer = await admin.chat("slow", "member")

    assert (made.status_code, routed.status_code) == (201, 201)
    assert made.headers["location"] == "/admin/v1/providers/other"
    assert answer.status_code == 200
    assert answer.headers["x-gandalf-target"] == "other/m-2"


async def test_objects_show_their_origin(admin):
    await admin.post("/providers", PROVIDER)

    listed = await body(await admin.get("/providers"))

    assert [(p["id"], p["origin"]) for p in listed["data"]] == [
        ("simulated", "provisioned"),
        ("other", "managed"),
    ]
    assert listed["pagination"] == {"offset": 0, "limit": 2, "total": 2}


@pytest.mark.parametrize("method", ["put", "delete"])
async def test_a_provisioned_object_is_changed_in_its_file_only(
    admin, method, config_file
):
    response = await getattr(admin, method)("/providers/simulated")

    problem = await body(response)
    assert response.status_code == 409
    assert problem["code"] == "provisioned"
    assert str(config_file) in problem["detail"]


async def test_an_invalid_object_is_refused_with_its_field(admin, gateway):
    version = gateway.routes.current.version

    response = await admin.post("/providers", {**PROVIDER, "base_url": "nonsense"})

    problem = await body(response)
    assert response.status_code == 400
    assert response.content_type == "application/problem+json"
    assert [error["field"] for error in problem["errors"]] == ["base_url"]
    assert gateway.routes.current.version == version


async def test_a_provider_in_use_is_not_deleted(admin):
    await admin.post("/providers", PROVIDER)
    await admin.post("/routes", ROUTE)

    refused = await admin.delete("/providers/other")
    await admin.delete("/routes/slow")
    deleted = await admin.delete("/providers/other")

    assert (refused.status_code, (await body(refused))["code"]) == (409, "in_use")
    assert deleted.status_code == 204
    assert (await admin.get("/providers/other")).status_code == 404


async def test_two_of_one_name_are_a_conflict(admin):
    await admin.post("/providers", PROVIDER)

    assert (await admin.post("/providers", PROVIDER)).status_code == 409


async def test_a_stale_entity_tag_changes_nothing(admin):
    await admin.post("/providers", PROVIDER)
    etag = (await admin.get("/providers/other")).headers["etag"]
    first = await admin.put(
        "/providers/other", {**PROVIDER, "weight": 2}, headers={"if-match": etag}
    )

    second = await admin.put(
        "/providers/other", {**PROVIDER, "weight": 3}, headers={"if-match": etag}
    )

    assert (first.status_code, second.status_code) == (200, 412)
    assert (await body(await admin.get("/providers/other")))["weight"] == 2


async def test_a_secret_is_a_reference_and_is_never_shown(admin, gateway):
    spec = {"name": "up", "type": "openai", "api_key": "${UPSTREAM_KEY}"}

    made = await admin.post("/providers", spec)

    shown = await body(made)
    assert made.status_code == 201
    assert shown["api_key"].startswith("sha256:")
    assert gateway.routes.current.config.providers[-1].api_key.reveal() == (
        "sk-the-upstream-key"
    )
    for path in ("/providers", "/providers/up", "/audit", "/config"):
        assert b"sk-the" not in await (await admin.get(path)).get_data()


@pytest.mark.parametrize(
    "value", ["sk-in-clear-text", "${GANDALF_SECRET}", "${X:-sk-default}", "a${X}"]
)
async def test_a_literal_secret_and_the_gateways_own_are_refused(admin, value):
    response = await admin.post(
        "/providers", {"name": "up", "type": "openai", "api_key": value}
    )

    assert response.status_code == 400
    assert (await body(response))["errors"][0]["field"] == "api_key"


async def test_the_environment_does_not_reach_other_fields(admin, gateway):
    await admin.post("/providers", {**PROVIDER, "models": ["${UPSTREAM_KEY}"]})

    assert gateway.routes.current.config.providers[-1].models == ("${UPSTREAM_KEY}",)


async def test_an_organisations_admin_changes_no_provider(admin):
    response = await admin.as_("acme").post("/providers", PROVIDER)

    assert response.status_code == 403


async def test_managed_objects_survive_a_reload_of_the_file(admin, config_file):
    await admin.post("/providers", PROVIDER)
    text = config_file.read_text().replace("model_alias: fast", "model_alias: quick")
    config_file.write_text(text)

    response = await admin.post("/reload")

    assert response.status_code == 200
    assert (await admin.get("/providers/other")).status_code == 200
    assert (await admin.chat("quick", "member")).status_code == 200


async def test_an_invalid_file_is_refused_with_its_problems(admin, config_file):
    config_file.write_text("providers: [{name: x}]")

    response = await admin.post("/reload")

    assert response.status_code == 409
    assert "providers[0].type" in (await body(response))["detail"]
    assert (await admin.chat("fast", "member")).status_code == 200


async def test_a_repeated_post_with_an_idempotency_key_is_carried_out_once(admin):
    how = {"headers": {"idempotency-key": "k-1"}}
    first = await admin.post("/keys", {"name": "a"}, **how)

    again = await admin.post("/keys", {"name": "a"}, **how)
    other = await admin.post("/keys", {"name": "b"}, **how)

    assert await body(again) == await body(first)
    assert again.headers["idempotency-replayed"] == "true"
    assert other.status_code == 422
    assert (await body(await admin.get("/keys")))["pagination"]["total"] == 1


async def test_changes_and_refused_attempts_are_in_the_audit_trail(admin):
    await admin.post("/providers", PROVIDER)
    await admin.as_("member").post("/providers", PROVIDER)

    entries = (await body(await admin.get("/audit")))["data"]

    assert [(e["action"], e["actor"], e["outcome"]) for e in entries] == [
        ("providers.create", "config:member", "refused"),
        ("providers.create", "config:admin", "done"),
    ]
    assert entries[1]["after"] == PROVIDER
