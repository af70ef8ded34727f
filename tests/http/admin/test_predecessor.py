"""The calls of the predecessor's documentation, and the shapes that it answered with."""

import json
import re

import pytest

PROVIDER = {
    "name": "spare",
    "type": "simulated",
    "base_url": "",
    "models": ["m-3"],
    "priority": 2,
    "weight": 3,
    "enabled": True,
    "max_rps": 0,
    "timeout_ms": 30000,
}
ROUTE = {
    "model_alias": "slow",
    "targets": [
        {"provider_id": "simulated", "model": "m-1", "priority": 1, "weight": 1}
    ],
    "cache_ttl_s": 60,
}
KEY = {
    "role": "member",
    "allowed_models": ["fast"],
    "rpm_limit": 60,
    "tpm_limit": 1000,
    "max_budget": 12.5,
    "expires_at": "2030-01-01T00:00:00Z",
}
PAGE = {"offset", "limit", "total"}


async def body(response):
    return json.loads(await response.get_data())


async def test_providers_are_made_listed_changed_and_deleted(admin):
    made = await admin.post("/providers", PROVIDER)
    listed = await body(await admin.get("/providers?offset=3&limit=1"))
    changed = await admin.put("/providers/spare", {**PROVIDER, "weight": 5})
    deleted = await admin.delete("/providers/spare")

    assert made.status_code == 201
    assert made.headers["location"] == "/admin/v1/providers/spare"
    shown = await body(made)
    assert shown["id"] == "spare"
    assert {name: shown[name] for name in PROVIDER} == PROVIDER
    # Paging is ignored here.
    assert listed["pagination"] == {"offset": 0, "limit": 2, "total": 2}
    assert (changed.status_code, (await body(changed))["weight"]) == (200, 5)
    assert (deleted.status_code, await deleted.get_data()) == (204, b"")
    assert (await admin.get("/providers/spare")).status_code == 404


async def test_a_provider_needs_a_name(admin):
    response = await admin.post("/providers", {"type": "simulated"})

    assert response.status_code == 400
    assert (await body(response))["error"]["message"] == "name is required"


async def test_routes_are_made_listed_changed_and_deleted(admin):
    made = await admin.post("/routes", ROUTE)
    shown = await body(made)
    listed = await body(await admin.get("/routes"))
    changed = await admin.put("/routes/slow", {**ROUTE, "cache_ttl_s": 5})
    deleted = await admin.delete("/routes/slow")

    assert made.status_code == 201
    assert made.headers["location"] == "/admin/v1/routes/slow"
    assert shown["model_alias"] == "slow"
    assert shown["cache_ttl_s"] == 60
    assert shown["targets"][0]["provider_id"] == "simulated"
    assert [route["model_alias"] for route in listed["data"]] == ["fast", "slow"]
    assert set(listed["pagination"]) == PAGE
    assert (await body(changed))["cache_ttl_s"] == 5
    assert deleted.status_code == 204


async def test_a_route_needs_an_alias(admin):
    response = await admin.post("/routes", {"targets": []})

    assert response.status_code == 400
    assert (await body(response))["error"]["message"] == "model_alias is required"


async def test_keys_are_made_listed_changed_and_deleted(admin):
    made = await admin.post("/keys", KEY)
    shown = await body(made)
    listed = await body(await admin.get("/keys?org_id=default&offset=0&limit=10"))
    changed = await admin.put(f"/keys/{shown['id']}", {"rpm_limit": 0, "blocked": True})
    deleted = await admin.delete(f"/keys/{shown['id']}")

    assert made.status_code == 201
    assert made.headers["location"] == f"/admin/v1/keys/{shown['id']}"
    assert re.fullmatch("gnd_.{20,}", shown["key"])
    assert shown["key"].startswith(shown["key_prefix"])
    assert shown["expires_at"].startswith("2030-01-01T00:00:00")
    assert {n: shown[n] for n in KEY if n != "expires_at"} == {
        n: v for n, v in KEY.items() if n != "expires_at"
    }
    assert [key["id"] for key in listed["data"]] == [shown["id"]]
    assert listed["pagination"] == {"offset": 0, "limit": 10, "total": 1}
    assert "key" not in listed["data"][0]
    after = await body(changed)
    assert (after["rpm_limit"], after["blocked"], after["max_budget"]) == (
        0,
        True,
        12.5,
    )
    assert deleted.status_code == 204


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"role": "king"}, "role"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"max_budget": -1}, "max_budget"),
        ({"max_budget": 1e-10}, "max_budget"),
    ],
)
async def test_an_invalid_key_is_refused(admin, sent, field):
    response = await admin.post("/keys", sent)

    assert response.status_code == 400
    assert (await body(response))["errors"][0]["field"] == field


async def test_a_foreign_organisation_is_refused_in_the_same_words(admin):
    acme = admin.as_("acme")

    made = await acme.post("/keys", {"org_id": "default"})
    listed = await acme.get("/keys?org_id=default")

    assert (made.status_code, listed.status_code) == (403, 403)
    assert (await body(made))["error"]["message"] == (
        "cannot create keys outside your organization"
    )
    assert (await body(listed))["error"]["message"] == (
        "cannot access resources outside your organization"
    )


async def test_a_keys_budget_may_be_changed_and_cleared(admin, gateway):
    made = await body(await admin.post("/keys", {"max_budget": 0.1}))
    identity = gateway.keys.find(made["id"])
    assert identity.max_budget_nanousd == 100_000_000

    await admin.put(f"/keys/{made['id']}", {"max_budget": 1.000000001})
    assert gateway.keys.find(made["id"]).max_budget_nanousd == 1_000_000_001
    await admin.put(f"/keys/{made['id']}", {"max_budget": None})

    assert gateway.keys.find(made["id"]).max_budget_nanousd is None


@pytest.mark.parametrize("query", ["offset=-1", "limit=0", "limit=1000"])
async def test_paging_out_of_bounds_is_corrected(admin, query):
    listed = await body(await admin.get(f"/keys?{query}"))

    assert listed["pagination"] == {"offset": 0, "limit": 50, "total": 0}


async def test_the_cache_is_purged_also_when_it_is_disabled(admin, config_file):
    purged = await admin.post("/cache/purge")
    config_file.write_text(config_file.read_text() + "cache: {enabled: false}\n")
    assert (await admin.post("/reload")).status_code == 200
    again = await admin.post("/cache/purge")

    assert [purged.status_code, again.status_code] == [204, 204]


@pytest.mark.parametrize("name", ["since", "until"])
async def test_an_invalid_time_is_refused_in_the_same_words(admin, name):
    for path in ("/usage", "/usage/summary"):
        response = await admin.get(f"{path}?{name}=yesterday")
        assert response.status_code == 400
        message = (await body(response))["error"]["message"]
        assert message == f"invalid {name} format, use RFC3339"


async def test_usage_is_listed_and_summed(admin):
    assert set((await body(await admin.get("/usage")))["pagination"]) >= {
        "offset",
        "limit",
    }
    assert (await body(await admin.get("/usage/summary?period=daily")))["data"] == []
