"""A document of all managed objects: exported, applied, refused, raced."""

import json

import trio

from gandalf.storage.keys import KeyStore

PROVIDER = {"name": "other", "type": "simulated"}
ROUTE = {"model_alias": "slow", "targets": [{"provider": "other", "model": "m-2"}]}
DOCUMENT = {
    "providers": [PROVIDER],
    "routes": [ROUTE],
    "budgets": [
        {"name": "month", "scope": "organization", "limit": "1000", "unit": "requests"}
    ],
    "organizations": [{"id": "acme", "name": "Acme", "tpm_limit": 1000}],
    "teams": [{"id": "research", "org_id": "acme", "rpm_limit": 5}],
    "users": [{"id": "ada", "org_id": "acme", "team_id": "research"}],
    "keys": [{"name": "web", "org_id": "acme", "team_id": "research"}],
}


async def body(response):
    return json.loads(await response.get_data())


async def export(admin, query=""):
    response = await admin.get(f"/export{query}")
    return await body(response), response.headers["etag"]


async def test_a_document_makes_everything_at_once_and_shows_new_keys_once(admin):
    response = await admin.post("/apply", DOCUMENT)

    applied = await body(response)
    assert response.status_code == 200
    assert [(c["action"], c["kind"], c["id"]) for c in applied["changes"][:6]] == [
        ("create", "providers", "other"),
        ("create", "routes", "slow"),
        ("create", "budgets", "month"),
        ("create", "organizations", "acme"),
        ("create", "teams", "research"),
        ("create", "users", "ada"),
    ]
    (made,) = applied["made_keys"]
    assert made["name"] == "web"
    assert (await admin.chat("slow", made["key"])).status_code == 200


async def test_applying_an_export_changes_nothing(admin, gateway):
    await admin.post("/apply", DOCUMENT)
    document, etag = await export(admin)
    version = gateway.routes.current.version

    applied = await body(await admin.post("/apply?prune=true", document))

    assert applied["changes"] == []
    assert applied["made_keys"] == []
    assert await export(admin) == (document, etag)
    assert gateway.routes.current.version == version


async def test_an_export_has_what_was_wanted_and_no_provisioned_object(admin):
    await admin.post("/apply", DOCUMENT)

    document, _ = await export(admin)

    (key,) = document.pop("keys")
    assert key == {"id": key["id"], **DOCUMENT["keys"][0]}
    wanted = {name: things for name, things in DOCUMENT.items() if name != "keys"}
    default, *organizations = reversed(document.pop("organizations"))
    assert default["id"] == "default"
    assert {**document, "organizations": organizations} == wanted


async def test_a_dry_run_shows_the_changes_and_makes_none(admin):
    before = await export(admin)

    shown = await body(await admin.post("/apply?dry_run=true", DOCUMENT))

    assert shown["applied"] is False
    assert len(shown["changes"]) == 7
    assert shown["made_keys"] == []
    assert await export(admin) == before


async def test_a_dry_run_is_validated_as_a_whole(admin):
    wrong = {"routes": [{**ROUTE, "targets": [{"provider": "nobody", "model": "m"}]}]}

    response = await admin.post("/apply?dry_run=true", wrong)

    problem = await body(response)
    assert response.status_code == 400
    assert problem["errors"][0]["field"] == "routes[0].targets[0].provider"


async def test_one_invalid_object_refuses_all_of_the_document(admin):
    before = await export(admin)
    wrong = {**DOCUMENT, "teams": [{"id": "research", "org_id": "nowhere"}]}

    response = await admin.post("/apply", wrong)

    assert response.status_code == 400
    assert "nowhere" in (await body(response))["detail"]
    assert await export(admin) == before
    assert (await admin.get("/providers/other")).status_code == 404


async def test_a_field_error_names_its_place_in_the_document(admin):
    response = await admin.post("/apply", {"teams": [{"id": "a b"}]})
    unknown = await admin.post("/apply", {"keys": [{"name": "x", "secret": "y"}]})

    assert (await body(response))["errors"][0]["field"] == "teams[0].id"
    assert (await body(unknown))["errors"][0]["field"] == "keys[0].secret"


async def test_a_provisioned_object_is_refused_with_the_file_that_declares_it(
    admin, config_file
):
    response = await admin.post("/apply", {"providers": [{"name": "simulated"}]})

    problem = await body(response)
    assert (response.status_code, problem["code"]) == (409, "provisioned")
    assert str(config_file) in problem["detail"]


async def test_of_two_applies_at_once_one_wins_and_the_other_is_told(admin):
    _, etag = await export(admin)
    answers = []

    async def apply(name):
        document = {"organizations": [{"id": name}]}
        response = await admin.post("/apply", document, headers={"if-match": etag})
        answers.append(response.status_code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(apply, "first")
        nursery.start_soon(apply, "second")

    assert sorted(answers) == [200, 412]
    listed = await body(await admin.get("/organizations"))
    made = {org["id"] for org in listed["data"]} & {"first", "second"}
    assert len(made) == 1


async def test_a_change_shows_the_fields_before_and_after(admin):
    await admin.post("/apply", DOCUMENT)
    changed = {"teams": [{"id": "research", "org_id": "acme", "rpm_limit": 9}]}

    applied = await body(await admin.post("/apply", changed))

    (change,) = applied["changes"]
    assert change["action"] == "update"
    assert change["fields"] == [{"field": "rpm_limit", "before": 5, "after": 9}]


async def test_pruning_deletes_what_the_sections_do_not_name_and_nothing_else(
    admin, gateway
):
    made = await body(await admin.post("/apply", DOCUMENT))
    key = made["made_keys"][0]["key"]

    applied = await body(
        await admin.post("/apply?prune=true", {"routes": [], "users": [], "keys": []})
    )

    assert [(c["action"], c["kind"]) for c in applied["changes"]] == [
        ("delete", "routes"),
        ("delete", "users"),
        ("revoke", "keys"),
    ]
    assert (await admin.get("/providers/other")).status_code == 200
    assert (await admin.get("/routes/slow")).status_code == 404
    assert (await admin.chat("fast", key)).status_code == 403
    (stored,) = await KeyStore(gateway.database).all()
    assert stored.revoked


async def test_pruning_does_not_revoke_the_key_that_asks_for_it(admin):
    made = await body(await admin.post("/keys", {"name": "ops", "role": "admin"}))
    own = admin.as_(made["key"])

    response = await own.post("/apply?prune=true", {"keys": []})

    assert (response.status_code, (await body(response))["code"]) == (409, "own_key")
    assert (await own.get("/keys")).status_code == 200


async def test_an_export_with_hashes_restores_keys_after_everything_is_gone(
    admin, gateway
):
    made = await body(await admin.post("/apply", DOCUMENT))
    key = made["made_keys"][0]["key"]
    document, _ = await export(admin, "?key_hashes=true")

    def wipe(connection):
        for table in ("api_keys", "users", "teams", "organizations", "managed_objects"):
            connection.execute(f"DELETE FROM {table}")

    await gateway.database.write(wipe)
    await gateway.config.reload()
    applied = await body(await admin.post("/apply", document))

    assert applied["made_keys"] == []
    assert await export(admin, "?key_hashes=true") == (
        document,
        (await export(admin))[1],
    )
    assert (await admin.chat("slow", key)).status_code == 200


async def test_an_apply_is_in_the_audit_trail_object_by_object(admin):
    await admin.post("/apply", DOCUMENT)

    entries = (await body(await admin.get("/audit?action=teams.")))["data"]

    assert [entry["object"] for entry in entries] == ["teams/research"]
    assert entries[0]["after"]["rpm_limit"] == 5


async def test_only_an_operator_applies_and_exports(admin):
    for who in ("acme", "member", "viewer"):
        assert (await admin.as_(who).get("/export")).status_code == 403
        assert (await admin.as_(who).post("/apply", {})).status_code == 403


async def test_a_literal_secret_is_not_applied(admin):
    wrong = {"providers": [{"name": "openai", "api_key": "sk-literal-and-long"}]}

    response = await admin.post("/apply", wrong)

    text = (await response.get_data()).decode()
    assert response.status_code == 400
    assert "sk-literal" not in text
    assert "providers[0].api_key" in text


async def test_a_key_that_was_revoked_is_not_revived_by_an_old_export(admin):
    await admin.post("/apply", DOCUMENT)
    document, _ = await export(admin, "?key_hashes=true")
    await admin.post("/apply?prune=true", {"keys": []})

    response = await admin.post("/apply", document)

    problem = await body(response)
    assert (response.status_code, problem["code"]) == (409, "key_revoked")
    assert document["keys"][0]["id"] in problem["detail"]


async def test_a_hash_belongs_to_one_key(admin):
    await admin.post("/apply", DOCUMENT)
    document, _ = await export(admin, "?key_hashes=true")
    copy = {**document["keys"][0], "id": "another"}

    response = await admin.post("/apply", {"keys": [copy]})

    assert response.status_code == 400
    assert (await body(response))["errors"][0]["field"] == "keys[0].key_hash"


async def test_a_key_of_an_unknown_organization_is_refused(admin):
    response = await admin.post("/apply", {"keys": [{"name": "x", "org_id": "typo"}]})

    assert response.status_code == 400
    assert (await body(response))["errors"][0]["field"] == "keys[0].org_id"


async def test_a_document_does_not_block_or_demote_the_key_that_applies_it(admin):
    made = await body(await admin.post("/keys", {"name": "ops", "role": "admin"}))
    own = admin.as_(made["key"])

    for wrong in ({"blocked": True, "role": "admin"}, {"role": "viewer"}):
        response = await own.post(
            "/apply", {"keys": [{"id": made["id"], "name": "ops", **wrong}]}
        )
        assert (response.status_code, (await body(response))["code"]) == (
            409,
            "own_key",
        )


async def test_a_document_with_the_same_object_twice_is_refused(admin):
    response = await admin.post("/apply", {"teams": [{"id": "a"}, {"id": "a"}]})

    assert response.status_code == 400
    assert (await body(response))["errors"][0]["field"] == "teams[1].id"


async def test_an_organization_with_keys_is_not_pruned_and_nothing_else_is(admin):
    await admin.post("/apply", DOCUMENT)
    before = await export(admin)

    response = await admin.post(
        "/apply?prune=true", {"routes": [], "organizations": []}
    )

    assert (response.status_code, (await body(response))["code"]) == (409, "in_use")
    assert await export(admin) == before
