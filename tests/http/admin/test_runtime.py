"""Breakers, drain and cache purge through the admin API."""

import json

import pytest

TARGET = "simulated/m-1"


async def body(response):
    return json.loads(await response.get_data())


async def actions(admin):
    entries = (await body(await admin.get("/audit")))["data"]
    return [(entry["action"], entry["outcome"]) for entry in entries]


# Breakers.


async def test_a_tripped_target_is_shown_and_in_the_audit_trail(admin, gateway):
    tripped = await body(
        await admin.post(
            f"/breakers/{TARGET}/trip", {"seconds": 60, "reason": "maintenance"}
        )
    )

    assert (tripped["target"], tripped["state"]) == (TARGET, "open")
    assert tripped["reason"] == "tripped by config:admin: maintenance"
    assert gateway.breakers.admit(TARGET) is None
    shown = await body(await admin.get(f"/breakers/{TARGET}"))
    (listed,) = await body(await admin.get("/breakers"))
    assert 0 < listed["retry_in"] <= shown["retry_in"] <= tripped["retry_in"] <= 60
    assert shown | {"retry_in": 0} == listed | {"retry_in": 0}
    (entry, *_) = (await body(await admin.get("/audit")))["data"]
    assert entry["object"] == f"breakers/{TARGET}"
    assert (entry["before"], entry["after"]["state"]) == ({"state": "closed"}, "open")


async def test_a_reset_target_is_used_at_the_next_request(admin, gateway):
    await admin.post(f"/breakers/{TARGET}/trip")

    assert (await body(await admin.post(f"/breakers/{TARGET}/reset")))[
        "state"
    ] == "closed"

    assert gateway.breakers.admit(TARGET) is not None
    assert (await actions(admin))[0] == ("breakers.reset", "done")


async def test_only_a_target_of_the_configuration_has_a_breaker(admin, gateway):
    for method, path in (("GET", ""), ("POST", "/trip"), ("POST", "/reset")):
        response = await admin.call(method, f"/breakers/simulated/other{path}")
        assert response.status_code == 404
    assert gateway.breakers.statistics() == ()


@pytest.mark.parametrize("sent", [{"seconds": 0}, {"seconds": 1e9}, {"second": 1}])
async def test_a_trip_has_a_sane_length(admin, sent):
    response = await admin.post(f"/breakers/{TARGET}/trip", sent)

    assert response.status_code == 400
    assert (await body(response))["errors"][0]["field"] == next(iter(sent))


# Drain.


async def test_a_drained_gateway_is_not_ready_and_serves_all_the_same(admin, gateway):
    state = await body(await admin.post("/drain"))

    assert state == {"draining": True, "in_flight": 0}
    assert not gateway.ready
    assert (await admin.chat("fast", "member")).status_code == 200
    assert (await admin.delete("/drain")).status_code == 204
    assert gateway.ready
    assert not (await body(await admin.get("/drain")))["draining"]
    assert [a for a, _ in await actions(admin)] == ["drain.end", "drain.begin"]


async def test_the_end_of_a_drain_does_not_make_a_stopping_gateway_ready(
    admin, gateway
):
    await admin.post("/drain")
    gateway.gateway.draining = True

    await admin.delete("/drain")

    assert not gateway.ready


# Cache.


async def cached(admin, who):
    """Return whether a repeatable request of ``who`` is answered from the cache."""
    response = await admin.chat("fast", who, temperature=0)
    assert response.status_code == 200
    return response.headers["x-gandalf-cache"] == "hit"


async def test_a_purge_without_a_body_forgets_everything(admin):
    await cached(admin, "member")
    assert await cached(admin, "member")

    purged = await admin.post("/cache/purge")

    assert (purged.status_code, await purged.get_data()) == (204, b"")
    assert not await cached(admin, "member")


async def test_a_purge_of_another_alias_forgets_nothing(admin):
    await cached(admin, "member")

    await admin.post("/cache/purge", {"alias": "slow"})

    assert await cached(admin, "member")
    await admin.post("/cache/purge", {"alias": "fast"})
    assert not await cached(admin, "member")


async def test_an_organisations_admin_purges_its_own_answers_only(admin):
    await cached(admin, "member")
    await cached(admin, "acme")
    acme = admin.as_("acme")

    assert (await acme.post("/cache/purge", {"org_id": "default"})).status_code == 403
    assert (await acme.post("/cache/purge")).status_code == 204

    assert await cached(admin, "member")
    assert not await cached(admin, "acme")


# Configuration.


async def test_each_value_of_the_configuration_has_its_origin(admin, config_file):
    text = (
        config_file.read_text()
        + "auth: {admin_key: '${ADMIN_KEY:-gnd_the_key_of_the_administrator}'}\n"
    )
    config_file.write_text(text)
    await admin.post("/reload")
    await admin.post("/providers", {"name": "other", "type": "simulated"})

    shown = await body(await admin.get("/config"))

    origins = shown["origins"]
    assert origins["providers[0].name"] == "file:5"
    assert origins["auth.admin_key"] == "environment:ADMIN_KEY"
    assert origins["providers[1]"] == "managed"
    assert shown["config"]["providers"][1]["name"] == "other"
    assert shown["config"]["server"]["addr"]
    assert "server.addr" not in origins
    assert "gnd_the_key_of_the_administrator" not in json.dumps(shown)
