import logging
import math
import time

import msgspec
import pytest
import trio

from gandalf.actors.first_key import NoKey, announcement, ensure_key
from gandalf.actors.key_table import KeyTable
from gandalf.config import Auth, Config, Key, Provider, Route, RouteTarget, Server, Tls
from gandalf.domain.errors import Overloaded, PermissionDenied, Unauthenticated
from gandalf.domain.identity import Identity, Limits, Role
from gandalf.domain.keys import StoredKey, hash_key
from gandalf.domain.secret import Secret
from gandalf.domain.tenants import TenantKind, Tenants
from gandalf.storage.database import Database
from gandalf.storage.errors import StorageError
from gandalf.storage.keys import KeyChanges, KeyCount, KeyStore

TOKEN = b"gnd_0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFG"
OTHER = b"gnd_other-0123456789abcdefghijklmnopqrstuvwxyz-A"


class FakeStore:
    """Keys by their id. ``down`` makes it fail, ``latency`` makes it slow."""

    def __init__(self):
        self.keys: dict[str, tuple[int, str, Identity]] = {}
        self.version = 0
        self.down = False
        self.latency = 0.0
        self.reads = 0
        self.noted = []

    def put(self, token=TOKEN, key_id="k1", **fields):
        self.version += 1
        identity = Identity(key_id=key_id, **fields)
        self.keys[key_id] = (self.version, hash_key(token), identity)

    async def changes_since(self, version):
        await self._work()
        self.reads += 1
        if version == self.version:
            return None
        since = version if version < self.version else 0
        changed = {h: i for v, h, i in self.keys.values() if v > since}
        return KeyChanges(self.version, changed, len(self.keys), Tenants())

    async def note_used(self, key_ids, now):
        await self._work()
        self.noted.append((trio.current_time(), set(key_ids)))

    async def _work(self):
        await trio.sleep(self.latency)
        if self.down:
            raise StorageError("disk gone")


class UnixTime:
    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture
async def table(store):
    """A table whose store has been read once."""
    table = KeyTable(store, Config())
    await table.load()
    return table


def configured(*keys, **auth):
    return Config(keys=keys, auth=Auth(**auth))


def a_config_key(token=TOKEN, **fields):
    fields = {"name": "web", **fields}
    return Key(key=Secret(token.decode()), **fields)


# Who is who


async def test_a_stored_key_stands_for_its_identity(store, autojump_clock):
    store.put(org_id="acme", role=Role.VIEWER)
    table = KeyTable(store, Config())
    await table.load()

    assert table.authenticate(TOKEN) == Identity(
        key_id="k1", org_id="acme", role=Role.VIEWER
    )


async def test_a_key_of_the_configuration_is_known_by_its_name(store):
    key = a_config_key(
        org_id="acme", role=Role.VIEWER, allowed_models=("a*",), rpm_limit=5
    )
    table = KeyTable(store, configured(key))

    assert table.authenticate(TOKEN) == Identity(
        key_id="config:web",
        key_prefix="gnd_01234567",
        org_id="acme",
        role=Role.VIEWER,
        allowed_models=("a*",),
        limits=Limits(rpm=5),
    )


async def test_the_admin_key_is_an_admin(store):
    table = KeyTable(store, configured(admin_key=Secret(TOKEN.decode())))

    identity = table.authenticate(TOKEN)

    assert (identity.key_id, identity.role) == ("admin", Role.ADMIN)


async def test_a_reload_replaces_the_configured_keys_and_leaves_the_stored(
    store, autojump_clock
):
    store.put(OTHER, "k2")
    table = KeyTable(store, configured(a_config_key()))
    await table.load()

    table.replace_config_keys(configured(a_config_key(b"gnd_new", name="new")))

    assert table.authenticate(b"gnd_new").key_id == "config:new"
    assert table.authenticate(OTHER).key_id == "k2"
    with pytest.raises(Unauthenticated):
        table.authenticate(TOKEN)


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"gnd_",
        b"sk-0123456789",
        b"GND_" + TOKEN[4:],
        TOKEN[:-1],
        TOKEN + b"x",
        TOKEN + b"\x00",
        b"gnd_' OR '1'='1' --",
        b"gnd_" + "ключ".encode(),
        b"gnd_\xff\xfe",
        b"gnd_" + b"x" * 1_000_000,
        hash_key(TOKEN).encode(),
    ],
)
async def test_what_is_not_a_known_key_is_refused(store, table, token, autojump_clock):
    store.put()
    await table.load()

    with pytest.raises(Unauthenticated) as caught:
        table.authenticate(token)
    assert caught.value.status == 401
    assert caught.value.code == "invalid_api_key"


async def test_what_is_too_long_for_a_key_is_not_even_hashed(store, autojump_clock):
    endless = b"gnd_" + b"x" * 300
    table = KeyTable(store, configured(a_config_key(endless)))
    await table.load()

    with pytest.raises(Unauthenticated, match="not an api key"):
        table.authenticate(endless)


async def test_a_refusal_does_not_repeat_the_key(table, autojump_clock):
    with pytest.raises(Unauthenticated) as caught:
        table.authenticate(b"gnd_canary")
    assert "canary" not in str(caught.value)


async def test_a_blocked_key_is_known_and_refused(store, table, autojump_clock):
    store.put(blocked=True, expires_at=1.0)
    await table.load()

    with pytest.raises(PermissionDenied, match=r"is blocked$") as refused:
        table.authenticate(TOKEN)
    assert (refused.value.code, refused.value.identity.key_id) == (
        "api_key_blocked",
        "k1",
    )


@pytest.mark.parametrize(
    ("changes", "told", "code"),
    [
        ({"blocked_at": 86_400.0}, "is blocked since 1970-01-02 00:00 UTC", "blocked"),
        ({"revoked": True}, "was revoked", "revoked"),
        (
            {"revoked": True, "blocked_at": 86_400.0},
            "was revoked on 1970-01-02 00:00 UTC",
            "revoked",
        ),
    ],
)
async def test_a_refused_key_is_told_what_became_of_it_and_when(
    store, table, autojump_clock, changes, told, code
):
    store.put(blocked=True, **changes)
    await table.load()

    with pytest.raises(PermissionDenied) as refused:
        table.authenticate(TOKEN)

    prefix = refused.value.identity.key_prefix
    assert refused.value.message == f"the api key {prefix}... {told}"
    assert refused.value.code == f"api_key_{code}"


async def test_a_key_expires_on_time_without_being_read_again(store, autojump_clock):
    unix_time = UnixTime()
    store.put(expires_at=unix_time.now + 10)
    table = KeyTable(store, Config(), now=unix_time)
    await table.load()

    unix_time.now += 9.999
    assert table.authenticate(TOKEN).key_id == "k1"
    unix_time.now += 0.001
    with pytest.raises(Unauthenticated, match=r"expired on ....-..-.. ..:.. UTC") as e:
        table.authenticate(TOKEN)
    assert (e.value.code, e.value.identity.key_id) == ("api_key_expired", "k1")


# Following the store


async def test_a_new_key_is_known_and_a_revoked_one_refused_within_a_second(
    store, table, nursery, autojump_clock
):
    nursery.start_soon(table.run)

    store.put()
    await trio.sleep(0.9)
    assert table.authenticate(TOKEN).key_id == "k1"

    store.put(blocked=True)
    await trio.sleep(0.9)
    with pytest.raises(PermissionDenied):
        table.authenticate(TOKEN)
    table.close()


async def test_a_key_that_was_replaced_is_forgotten(
    store, table, nursery, autojump_clock
):
    nursery.start_soon(table.run)
    store.put()
    await trio.sleep(1)

    # Its row has another hash now: the old one is of no key any more.
    store.put(OTHER)
    await trio.sleep(1)

    assert table.authenticate(OTHER).key_id == "k1"
    with pytest.raises(Unauthenticated):
        table.authenticate(TOKEN)
    table.close()


@pytest.mark.parametrize(
    "version", [3, 1], ids=["deleted by hand", "older copy restored"]
)
async def test_a_key_that_is_gone_from_the_store_is_gone_here(
    store, table, nursery, version, autojump_clock
):
    nursery.start_soon(table.run)
    store.put()
    store.put(OTHER, "k2")
    await trio.sleep(1)

    del store.keys["k1"]
    store.version = version
    await trio.sleep(1)

    with pytest.raises(Unauthenticated):
        table.authenticate(TOKEN)
    # At version 1, the other was not there yet either, so far as versions tell.
    assert (version == 1) or table.authenticate(OTHER).key_id == "k2"
    table.close()


async def test_a_key_that_is_gone_is_forgotten_though_the_store_fails_meanwhile(
    store, table, autojump_clock
):
    class FailsOnce(FakeStore):
        async def changes_since(self, version):
            changes = await super().changes_since(version)
            self.down = self.reads == 2
            return changes

    failing = FailsOnce()
    failing.put()
    failing.put(OTHER, "k2")
    table = KeyTable(failing, Config())
    await table.load()
    del failing.keys["k1"]
    failing.version += 1

    with pytest.raises(StorageError):
        await table.load()
    failing.down = False
    await table.load()

    assert table.authenticate(OTHER).key_id == "k2"
    with pytest.raises(Unauthenticated):
        table.authenticate(TOKEN)


async def test_an_emptied_store_leaves_no_key(store, table, autojump_clock):
    store.put()
    await table.load()

    store.keys.clear()
    store.version = 0
    await table.load()

    with pytest.raises(Unauthenticated):
        table.authenticate(TOKEN)


async def test_nothing_is_read_again_while_nothing_changes(
    store, table, nursery, autojump_clock
):
    store.put()
    nursery.start_soon(table.run)

    await trio.sleep(10.1)

    assert store.reads == 1 + 20  # the load, and two polls a second
    table.close()


# A store that is lost


async def test_a_lost_store_locks_out_nobody_it_held(
    store, table, nursery, caplog, autojump_clock
):
    store.put()
    nursery.start_soon(table.run)
    await trio.sleep(1)

    store.down = True
    await trio.sleep(3600)

    assert table.authenticate(TOKEN).key_id == "k1"
    assert table.degraded
    with pytest.raises(Overloaded) as caught:
        table.authenticate(OTHER)
    assert caught.value.status == 503
    assert caught.value.retry_after is not None
    with pytest.raises(Unauthenticated):
        table.authenticate(b"not a key at all")
    # Said once, not with every poll.
    assert [r.levelno for r in caplog.records] == [logging.ERROR]
    table.close()


async def test_it_heals_by_itself_and_says_so(
    store, table, nursery, caplog, autojump_clock
):
    store.down = True
    nursery.start_soon(table.run)
    await trio.sleep(1)
    assert table.degraded

    store.put()
    store.down = False
    await trio.sleep(1)

    assert not table.degraded
    assert table.authenticate(TOKEN).key_id == "k1"
    with pytest.raises(Unauthenticated):
        table.authenticate(OTHER)
    assert caplog.messages == [
        "keys cannot be read; those known still work: disk gone",
        "keys can be read again",
    ]
    table.close()


async def test_a_store_that_hangs_counts_as_lost(store, table, nursery, autojump_clock):
    store.latency = math.inf
    nursery.start_soon(table.run)

    await trio.sleep(4.9)
    assert not table.degraded
    await trio.sleep(0.2)
    assert table.degraded
    with pytest.raises(Overloaded):
        table.authenticate(OTHER)
    nursery.cancel_scope.cancel()


async def test_before_the_store_was_read_an_unknown_key_is_nobodys_fault(
    store, autojump_clock
):
    table = KeyTable(store, Config())

    with pytest.raises(Overloaded):
        table.authenticate(TOKEN)


async def test_the_first_load_tells_that_the_store_is_lost(store, autojump_clock):
    store.down = True

    with pytest.raises(StorageError):
        await KeyTable(store, Config()).load()


# The last use


async def test_uses_are_noted_in_batches_every_half_minute(
    store, table, nursery, autojump_clock
):
    store.put()
    store.put(OTHER, "k2")
    await table.load()
    nursery.start_soon(table.run)

    for _ in range(100):
        table.authenticate(TOKEN)
    await trio.sleep(29.9)
    assert store.noted == []
    table.authenticate(OTHER)
    await trio.sleep(60)

    assert store.noted == [(30.0, {"k1", "k2"})]
    table.close()


async def test_the_last_uses_are_noted_at_the_end(store, table, autojump_clock):
    store.put()
    await table.load()
    table.authenticate(TOKEN)

    table.close()
    await table.run()

    assert store.noted == [(0.0, {"k1"})]


async def test_a_refused_key_and_a_configured_one_are_not_noted(store, autojump_clock):
    store.put(OTHER, blocked=True)
    table = KeyTable(store, configured(a_config_key()))
    await table.load()

    table.authenticate(TOKEN)
    with pytest.raises(PermissionDenied):
        table.authenticate(OTHER)
    table.close()
    await table.run()

    assert store.noted == []


async def test_a_slow_note_does_not_hold_up_a_revocation(
    store, table, nursery, autojump_clock
):
    class SlowNotes(FakeStore):
        async def note_used(self, key_ids, now):
            await trio.sleep(1000)

    slow = SlowNotes()
    slow.put()
    table = KeyTable(slow, Config())
    await table.load()
    nursery.start_soon(table.run)
    table.authenticate(TOKEN)
    await trio.sleep(31)

    slow.put(blocked=True)
    await trio.sleep(0.9)

    with pytest.raises(PermissionDenied):
        table.authenticate(TOKEN)
    nursery.cancel_scope.cancel()


async def test_a_use_that_cannot_be_noted_stops_nothing(
    store, table, nursery, caplog, autojump_clock
):
    store.put()
    await table.load()
    nursery.start_soon(table.run)
    table.authenticate(TOKEN)

    store.down = True
    await trio.sleep(31)
    store.down = False
    table.authenticate(TOKEN)
    await trio.sleep(30)

    assert store.noted == [(60.0, {"k1"})]
    assert "the last use of 1 keys is not noted" in caplog.text
    table.close()


# With the real store


async def test_a_key_revoked_by_another_process_is_refused_within_a_second(
    tmp_path, nursery
):
    ours, theirs = (Database(tmp_path / "gandalf.db") for _ in range(2))
    await ours.open()
    await theirs.open()
    table = KeyTable(KeyStore(ours), Config())
    await table.load()
    nursery.start_soon(table.run)
    key = StoredKey(
        key_id="k1", key_hash=hash_key(TOKEN), key_prefix="gnd_", created_at=time.time()
    )

    await KeyStore(theirs).insert(key)
    with trio.fail_after(1):
        while not knows(table):  # noqa: ASYNC110 - the other side is a thread
            await trio.sleep(0.01)
    await KeyStore(theirs).revoke("k1")
    with trio.fail_after(1):
        while knows(table):  # noqa: ASYNC110
            await trio.sleep(0.01)

    table.close()
    theirs.close()


def knows(table):
    try:
        return bool(table.authenticate(TOKEN))
    except (Unauthenticated, PermissionDenied):
        return False


# The first key


class FakeKeys:
    def __init__(self, *keys):
        self.keys = list(keys)

    async def count(self, now):
        usable = [key for key in self.keys if not key.blocked]
        return KeyCount(len(self.keys), len(usable))

    async def insert_first(self, key):
        if not self.keys:
            self.keys.append(key)
            return True
        return False


def a_stored_key(**changes):
    return msgspec.structs.replace(
        StoredKey(key_id="k", key_hash="h", key_prefix="gnd_", created_at=0.0),
        **changes,
    )


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        (configured(a_config_key()), FakeKeys()),
        (configured(admin_key=Secret("gnd_a")), FakeKeys()),
        (Config(), FakeKeys(a_stored_key())),
        (configured(generate_admin_key=True), FakeKeys(a_stored_key())),
    ],
)
async def test_no_key_is_made_where_there_is_one(config, keys):
    before = list(keys.keys)

    assert await ensure_key(config, keys) is None
    assert keys.keys == before


async def test_without_any_key_it_does_not_start_and_says_how_to_make_one():
    with pytest.raises(NoKey) as caught:
        await ensure_key(Config(), FakeKeys())
    assert "gandalf keys create --role admin" in str(caught.value)
    assert "GANDALF_ADMIN_KEY" in str(caught.value)


async def test_the_first_key_is_made_if_that_is_wanted_and_is_an_admins():
    keys = FakeKeys()

    secret = await ensure_key(configured(generate_admin_key=True), keys)

    (made,) = keys.keys
    assert made.role is Role.ADMIN
    assert made.key_hash == hash_key(secret.reveal().encode())
    assert await ensure_key(configured(generate_admin_key=True), keys) is None


async def test_revoked_keys_are_not_replaced_by_a_new_admin():
    keys = FakeKeys(a_stored_key(blocked=True))

    with pytest.raises(NoKey):
        await ensure_key(configured(generate_admin_key=True), keys)
    assert len(keys.keys) == 1


async def test_two_gateways_that_start_at_once_make_one_key():
    class Faster(FakeKeys):
        async def insert_first(self, key):
            self.keys.append(a_stored_key())  # by the other one, a moment before
            return False

    assert await ensure_key(configured(generate_admin_key=True), Faster()) is None


@pytest.mark.parametrize(
    ("server", "url"),
    [
        (Server(addr="127.0.0.1:8080"), "http://127.0.0.1:8080/v1/chat/completions"),
        (Server(addr=":80"), "http://127.0.0.1:80/v1/chat/completions"),
        (
            Server(addr="[::1]:443", tls=Tls(cert_file="c", key_file="k")),
            "https://[::1]:443/v1/chat/completions",
        ),
    ],
)
def test_the_announcement_shows_the_key_and_a_first_call(server, url):
    route = Route(model_alias="fast", targets=(RouteTarget(provider="p", model="m"),))
    text = announcement(Secret("gnd_new"), Config(server=server, routes=(route,)))

    assert "Bearer gnd_new" in text
    assert url in text
    assert '"model": "fast"' in text


def test_the_announcement_falls_back_to_a_model_of_a_provider():
    config = Config(providers=(Provider(name="openai", models=("gpt-4o",)),))

    assert '"model": "gpt-4o"' in announcement(Secret("gnd_new"), config)


async def test_the_tenants_of_a_database_without_any_key_are_known(tmp_path):
    database = Database(str(tmp_path / "g.db"))
    await database.open()
    table = KeyTable(KeyStore(database), Config())

    await table.load()

    assert table.tenant(TenantKind.ORGANIZATION, "default") is not None
    database.close()
