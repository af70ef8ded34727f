"""Secrets that the admin API is sent: sealed in the database, shown nowhere."""

import base64
import logging
import sqlite3
from contextlib import closing

import pytest

from gandalf import config
from gandalf.actors.supervisor import supervise
from gandalf.app import _Gateway
from gandalf.config.merge import load_merged
from gandalf.storage import database as storage
from gandalf.storage.keys import KeyStore
from gandalf.storage.managed import ManagedStore
from tests.http.admin.conftest import AdminClient

SECRET = "sk-canary-of-the-sealed-secret"
OTHER = "sk-another-canary-of-the-tests"
KEY = f"k1:{base64.b64encode(bytes(range(32))).decode()}"

UP = {"name": "up", "type": "openai", "api_key": SECRET}


@pytest.fixture
async def gateway(config_file):
    environ = {"GANDALF_MASTER_KEY": KEY, "UPSTREAM_KEY": OTHER}
    settings = config.load(config_file, environ)
    database = storage.Database(settings.database.dsn)
    await database.open()
    with closing(database):
        managed = await ManagedStore(database).load()
        made = _Gateway(
            settings,
            config_file,
            environ,
            database,
            KeyStore(database),
            managed=managed,
            merged=load_merged(config_file, environ, managed.objects),
        )
        await made.keys.load()
        async with supervise(made.keys, made.journal, made.config):
            yield made
        for upstream in made.routes.current.upstreams.values():
            upstream.close()


@pytest.fixture
def admin(gateway):
    return AdminClient(gateway.application().test_client())


async def body(response):
    return await response.get_json()


def in_force(gateway, name="up"):
    providers = gateway.routes.current.config.providers
    return next(p for p in providers if p.name == name)


def stored(gateway):
    """Everything that the database holds, as text."""
    with closing(sqlite3.connect(gateway.settings.database.dsn)) as connection:
        return "\n".join(connection.iterdump())


async def test_a_secret_is_sealed_and_shown_nowhere(admin, gateway, caplog):
    caplog.set_level(logging.DEBUG)
    made = await admin.post("/providers", UP)

    assert made.status_code == 201
    assert in_force(gateway).api_key.reveal() == SECRET
    assert "v1.k1." in stored(gateway)
    assert "canary" not in stored(gateway)
    assert "canary" not in caplog.text
    assert b"canary" not in await made.get_data()
    for path in ("/providers", "/providers/up", "/audit", "/config", "/export"):
        shown = await (await admin.get(path)).get_data()
        assert b"canary" not in shown
        assert b"v1.k1." not in shown


async def test_what_was_shown_can_be_sent_back(admin, gateway):
    shown = await body(await admin.post("/providers", UP))
    before = stored(gateway).count("v1.k1.")

    kept = await admin.put("/providers/up", {**shown, "weight": 7})

    assert kept.status_code == 200
    assert (in_force(gateway).api_key.reveal(), in_force(gateway).weight) == (SECRET, 7)
    assert stored(gateway).count("v1.k1.") == before


async def test_a_reference_that_was_shown_can_be_sent_back(admin, gateway):
    shown = await body(
        await admin.post("/providers", {**UP, "api_key": "${UPSTREAM_KEY}"})
    )

    kept = await admin.put("/providers/up", {**shown, "weight": 7})

    assert kept.status_code == 200
    assert in_force(gateway).api_key.reveal() == OTHER
    assert "${UPSTREAM_KEY}" in stored(gateway)


async def test_a_secret_can_be_moved_to_another_field_by_its_fingerprint(
    admin, gateway
):
    shown = await body(await admin.post("/providers", UP))
    moved = {"name": "up", "type": "openai", "auth": {"api_key": shown["api_key"]}}

    response = await admin.put("/providers/up", moved)

    assert response.status_code == 200
    assert in_force(gateway).auth.api_key.reveal() == SECRET


async def test_a_secret_can_be_replaced(admin, gateway):
    await admin.post("/providers", UP)

    await admin.put("/providers/up", {**UP, "api_key": OTHER})

    assert in_force(gateway).api_key.reveal() == OTHER
    entries = (await body(await admin.get("/audit")))["data"]
    change = next(e for e in entries if e["action"] == "providers.replace")
    before, after = change["before"]["api_key"], change["after"]["api_key"]
    assert before.startswith("sha256:")
    assert after.startswith("sha256:")
    assert before != after


async def test_to_apply_an_export_with_a_sealed_secret_changes_nothing(admin, gateway):
    await admin.post("/providers", UP)
    exported = await body(await admin.get("/export"))

    applied = await body(await admin.post("/apply", exported))

    assert applied["changes"] == []
    assert in_force(gateway).api_key.reveal() == SECRET


async def test_a_secret_is_sealed_by_an_apply_too(admin, gateway):
    nested = {"name": "up", "type": "openai", "auth": {"api_key": SECRET}}

    dry = await admin.post("/apply?dry_run=true", {"providers": [nested]})
    done = await admin.post("/apply", {"providers": [nested]})

    assert done.status_code == 200
    assert b"canary" not in await dry.get_data() + await done.get_data()
    assert "canary" not in stored(gateway)
    assert in_force(gateway).auth.api_key.reveal() == SECRET


@pytest.mark.parametrize(
    "value",
    ["${GANDALF_MASTER_KEY}", "${X:-sk-default}", "a${X}", "sha256:0123456789ab"],
)
async def test_a_mistaken_reference_is_not_sealed_as_a_secret(admin, value):
    response = await admin.post("/providers", {**UP, "api_key": value})

    assert response.status_code == 400
    assert (await body(response))["errors"][0]["field"] == "api_key"


async def test_a_path_of_a_file_is_nothing_but_text(admin, gateway, config_file):
    value = f"!file{config_file}"

    await admin.post("/providers", {**UP, "api_key": value})

    assert in_force(gateway).api_key.reveal() == value


async def test_a_sealed_text_that_is_sent_is_not_opened(admin, gateway):
    await admin.post("/providers", UP)
    with closing(sqlite3.connect(gateway.settings.database.dsn)) as connection:
        (spec,) = connection.execute("SELECT spec FROM managed_objects").fetchone()
    sealed = spec.partition('"api_key":"')[2].partition('"')[0]

    await admin.post("/providers", {**UP, "name": "thief", "api_key": sealed})

    assert in_force(gateway, "thief").api_key.reveal() == sealed
