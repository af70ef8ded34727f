"""What a caller of another organisation can learn or change, at every endpoint: nothing.

Each endpoint with an object in its path is asked twice by every role of another
organisation: for an object that exists and for one that does not. Status and body must
be the same but for the name that was asked for.
"""

import json
import re

import pytest

from gandalf.http.admin.api import described
from gandalf.storage import usage
from tests.storage.builders import a_record, entries_of

ROLES = ["admin", "member", "viewer", "service_account"]
MARK = "zz-secret"
# Of the gateway, not of an organisation: everyone whose role may see them may.
SHARED = {"providers.get", "routes.get"}
BODIES = {
    "teams.update": {"name": "x"},
    "budgets.replace": {"scope": "organization", "limit": "9"},
    "budgets.raise_limit": {"amount": "1", "until": "2030-01-01T00:00:00Z"},
}


async def body(response):
    return json.loads(await response.get_data())


async def made(admin, path, sent):
    response = await admin.post(path, sent)
    assert response.status_code == 201, await response.get_data()
    return await body(response)


@pytest.fixture
async def theirs(admin, gateway):
    """Return the ids of objects of another organisation, by section."""
    await made(admin, "/organizations", {"id": f"{MARK}-org", "name": MARK})
    org = {"org_id": f"{MARK}-org"}
    await made(admin, "/teams", {"id": f"{MARK}-team", "name": MARK, **org})
    user = {"id": f"{MARK}-user", "team_id": f"{MARK}-team", **org}
    await made(admin, "/users", user)
    key = await made(admin, "/keys", {"name": MARK, "team_id": f"{MARK}-team", **org})
    scope = {"scope": "team", "id": f"{MARK}-team", "limit": "1"}
    await made(admin, "/budgets", {"name": f"{MARK}-budget", **scope})
    await made(admin, "/providers", {"name": "open", "type": "simulated"})
    record = a_record(
        f"{MARK}-request",
        client_request_id=f"{MARK}-client",
        key_id=key["id"],
        alias=MARK,
        status=502,
        error_code="upstream_error",
        error_message=MARK,
        **org,
    )
    await gateway.database.write(lambda c: usage.insert(c, entries_of([record])))
    return {
        "organizations": f"{MARK}-org",
        "teams": f"{MARK}-team",
        "users": f"{MARK}-user",
        "keys": key["id"],
        "budgets": f"{MARK}-budget",
        "requests": f"{MARK}-request",
        "providers": "open",
        "routes": "fast",
        "breakers": "simulated/m-1",
    }


@pytest.fixture
async def strangers(admin):
    """Return a client for each role of the organisation ``acme``, by role."""
    found = {}
    for role in ROLES:
        key = await made(admin, "/keys", {"org_id": "acme", "role": role})
        found[role] = admin.as_(key["key"])
    await made(admin, "/teams", {"id": "red", "org_id": "acme"})
    key = await made(
        admin, "/keys", {"org_id": "acme", "team_id": "red", "role": "admin"}
    )
    found["admin of a team"] = admin.as_(key["key"])
    return found


def with_object():
    return [row for row in described() if "{" in row.path]


async def asked(client, row, name):
    """Return status and body of a request for the object ``name``, without that."""
    path = re.sub(r"\{\w+\}", name, row.path)
    sent = BODIES.get(row.operation_id, row.example)
    response = await client.call(row.method, path, sent)
    told = (await response.get_data()).decode().replace(name, "NAME")
    told = re.sub(r'"request_id":"[^"]*"', "", told)
    return response.status_code, told, response.headers.get("etag")


async def test_an_object_of_another_organisation_is_as_one_that_does_not_exist(
    admin, theirs, strangers
):
    before = await body(await admin.get("/export"))

    for row in with_object():
        if row.operation_id in SHARED:
            continue
        for role, client in strangers.items():
            exists = await asked(client, row, theirs[row.section])
            does_not = await asked(client, row, "no-such-object")
            assert exists == does_not, (role, row.operation_id)
            assert exists[0] in (403, 404), (role, row.operation_id, exists)

    assert await body(await admin.get("/export")) == before


async def test_no_list_names_anything_of_another_organisation(admin, theirs, strangers):
    rows = [r for r in described() if r.method == "GET" and "{" not in r.path]
    for row in rows:
        for role, client in strangers.items():
            told = await (await client.get(row.path)).get_data()
            assert MARK.encode() not in told, (role, row.operation_id)
            assert theirs["keys"].encode() not in told, (role, row.operation_id)
    # That these are where an operator sees them.
    for path in ("/teams", "/budgets", "/requests", "/usage", "/audit", "/keys"):
        assert MARK.encode() in await (await admin.get(path)).get_data(), path


@pytest.mark.parametrize(
    "query",
    [
        "/requests?id=zz-secret-client",
        "/requests?error=zz-secret",
        "/requests?org_id=zz-secret-org",
        "/usage?org_id=zz-secret-org",
        "/usage/summary?org_id=zz-secret-org",
        "/audit?object=teams/zz-secret-team",
        "/prices?alias=zz-secret",
    ],
)
async def test_a_search_finds_nothing_of_another_organisation(theirs, strangers, query):
    for role, client in strangers.items():
        wanted = await client.get(query)
        nothing = await client.get(query.replace("zz-secret", "no-such"))
        assert wanted.status_code == nothing.status_code, role
        told = [
            re.sub(rb'"request_id":"[^"]*"', b"", await each.get_data())
            for each in (wanted, nothing)
        ]
        assert told[0] == told[1], role


async def test_nothing_is_made_in_another_organisation(admin, theirs, strangers):
    before = await body(await admin.get("/export"))
    org = {"org_id": theirs["organizations"]}

    for client in strangers.values():
        for path, sent in (
            ("/organizations", {"id": "new"}),
            ("/teams", {"id": "new", **org}),
            ("/users", {"id": "new", **org}),
            ("/keys", org),
            ("/keys", {"team_id": theirs["teams"]}),
            ("/cache/purge", org),
            ("/apply", {"teams": [{"id": "new", **org}]}),
        ):
            response = await client.post(path, sent)
            assert 400 <= response.status_code < 500, path

    assert await body(await admin.get("/export")) == before
