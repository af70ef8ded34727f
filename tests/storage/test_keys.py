import sqlite3
import time
from contextlib import closing

import msgspec
import pytest

from gandalf.domain.identity import Identity, Limits, Role
from gandalf.domain.keys import (
    KEY_PREFIX,
    StoredKey,
    hash_key,
    new_key,
    shown_prefix,
)
from gandalf.domain.secret import Secret
from gandalf.storage.database import Database
from gandalf.storage.errors import StorageError
from gandalf.storage.keys import KeyCount, KeyStore


@pytest.fixture
async def database(tmp_path):
    database = Database(tmp_path / "gandalf.db")
    await database.open()
    yield database
    database.close()


@pytest.fixture
def store(database):
    return KeyStore(database)


def a_key(key_id="k1", **changes):
    fields = {
        "key_hash": hash_key(key_id.encode()),
        "key_prefix": "gnd_abcdefgh",
        "created_at": 1_700_000_000.5,
        **changes,
    }
    return StoredKey(key_id=key_id, **fields)


FULL = a_key(
    name="web app",
    user_id="u1",
    org_id="acme",
    role=Role.SERVICE_ACCOUNT,
    allowed_models=("gpt-*", 'odd "name"'),
    rpm_limit=0,
    tpm_limit=5,
    expires_at=1_800_000_000.25,
)


def execute(database, statement, *values):
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute(statement, values)


# What a key is


def test_a_new_key_is_the_prefix_and_32_random_bytes_in_base64url():
    keys = {new_key().reveal() for _ in range(100)}

    assert len(keys) == 100
    for key in keys:
        assert len(key) == 47
        assert key.startswith(KEY_PREFIX)
        assert set(key) <= set(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        )


def test_a_key_is_kept_as_its_sha256_in_hex():
    # printf gnd_test | sha256sum
    expected = "2ea1743475ab99b6783392ab92ccd0923b5d5765e9515b58ae6ac483f4dbc4dd"

    assert hash_key(b"gnd_test") == expected


def test_only_the_first_twelve_characters_of_a_key_are_shown():
    key = new_key()

    assert shown_prefix(key) == key.reveal()[:12]
    assert shown_prefix(Secret("gnd_short-secret")) == "gnd_"


def test_a_key_without_limits_of_its_own_has_those_of_the_configuration():
    assert a_key().identity().limits is None
    assert a_key(rpm_limit=0).identity().limits == Limits(rpm=0, tpm=None)


# What is stored of it


async def test_what_is_inserted_is_read_back(store):
    await store.insert(FULL)

    assert await store.all() == [FULL]
    changes = await store.changes_since(0)
    assert changes.identities == {
        FULL.key_hash: Identity(
            key_id="k1",
            key_prefix="gnd_abcdefgh",
            org_id="acme",
            user_id="u1",
            role=Role.SERVICE_ACCOUNT,
            allowed_models=("gpt-*", 'odd "name"'),
            limits=Limits(rpm=0, tpm=5),
            expires_at=1_800_000_000.25,
        )
    }


async def test_an_organization_is_made_with_its_first_key(store):
    assert await store.insert(a_key("k1", org_id="acme")) is True
    assert await store.insert(a_key("k2", org_id="acme")) is False
    assert await store.insert(a_key("k3")) is False


async def test_the_same_key_cannot_be_inserted_twice(store):
    await store.insert(FULL)

    with pytest.raises(StorageError, match="UNIQUE"):
        await store.insert(msgspec.structs.replace(FULL, key_id="k2", org_id="new"))
    assert len(await store.all()) == 1


async def test_only_what_has_changed_is_read_again(store):
    await store.insert(a_key("k1"))
    await store.insert(a_key("k2"))
    everything = await store.changes_since(0)
    assert everything.total == len(everything.identities) == 2
    assert await store.changes_since(everything.version) is None

    assert await store.revoke("k2") is True

    changes = await store.changes_since(everything.version)
    (identity,) = changes.identities.values()
    assert (identity.key_id, identity.blocked, identity.revoked) == ("k2", True, True)
    assert abs(identity.blocked_at - time.time()) < 60
    assert changes.total == 2


async def test_what_is_not_there_cannot_be_revoked(store):
    assert await store.revoke("nobody") is False


async def test_an_unknown_version_from_the_future_brings_everything(store):
    await store.insert(a_key("k1"))

    changes = await store.changes_since(1000)

    assert len(changes.identities) == 1
    assert changes.version < 1000


async def test_the_last_use_is_noted_and_is_not_a_change(store):
    await store.insert(a_key("k1"))
    await store.insert(a_key("k2"))
    version = (await store.changes_since(0)).version

    await store.note_used({"k1", "not there"}, 1_700_000_100.0)

    assert [key.last_used_at for key in await store.all()] == [1_700_000_100.0, None]
    assert await store.changes_since(version) is None


async def test_keys_are_counted_with_those_that_still_work(store):
    await store.insert(a_key("k1", expires_at=100.0))
    await store.insert(a_key("k2", blocked=True))
    await store.insert(a_key("k3"))

    assert await store.count(99.0) == KeyCount(total=3, usable=2)
    assert await store.count(100.0) == KeyCount(total=3, usable=1)


async def test_only_one_key_is_the_first(store):
    assert await store.insert_first(a_key("k1", blocked=True)) is True
    assert await store.insert_first(a_key("k2")) is False
    assert [key.key_id for key in await store.all()] == ["k1"]


@pytest.mark.parametrize(
    "damage",
    [
        "role = 'root'",
        "allowed_models = 'gpt-4o'",
        "allowed_models = '{}'",
        "rpm_limit = 'many'",
        "expires_at = 'tomorrow'",
    ],
)
async def test_a_row_that_makes_no_sense_lets_nobody_in(
    store, database, damage, caplog
):
    await store.insert(a_key("k1"))
    await store.insert(a_key("k2"))
    execute(database, f"UPDATE api_keys SET {damage} WHERE id = 'k1'")

    identities = (await store.changes_since(0)).identities.values()

    assert {i.key_id: i.blocked for i in identities} == {"k1": True, "k2": False}
    assert "key k1 in the database is not valid" in caplog.text


async def test_no_key_itself_is_in_any_file_of_the_database(store, database, tmp_path):
    key = new_key()
    await store.insert(
        a_key(key_hash=hash_key(key.reveal().encode()), key_prefix=shown_prefix(key))
    )

    database.close()

    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert any(b"api_keys" in path.read_bytes() for path in files)
    assert not any(key.reveal().encode() in path.read_bytes() for path in files)


async def test_a_key_that_is_unblocked_forgets_that_it_was(store, database):
    await store.insert(a_key("k1"))
    await store.revoke("k1")

    def unblock(connection):
        connection.execute("UPDATE api_keys SET blocked = 0")

    await database.write(unblock)

    (key,) = await store.all()
    assert (key.blocked, key.revoked, key.blocked_at) == (False, False, None)
