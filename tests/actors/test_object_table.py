import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gandalf.actors import object_table
from gandalf.actors.object_table import ObjectTable
from gandalf.domain.errors import Overloaded
from gandalf.domain.objects import ProviderObject
from gandalf.storage.database import Database
from gandalf.storage.errors import StorageError
from gandalf.storage.objects import ObjectPage, ObjectStore, PageQuery


def an_object(object_id="file-1", **changes):
    fields = {"kind": "file", "provider": "openai", "org_id": "acme", **changes}
    return ProviderObject(id=object_id, **fields)


class FakeStore:
    """Keeps objects in memory; ``gate`` holds up who reads or writes."""

    def __init__(self):
        self.kept = {}
        self.finds = 0
        self.writes = []
        self.pruned = []
        self.broken = False
        self.gate = None

    async def find(self, org_id, object_id):
        self.finds += 1
        found = self.kept.get((org_id, object_id))
        await self._pass()
        return found

    async def page(self, query):
        await self._pass()
        found = [one for name, one in self.kept.items() if name[0] == query.org_id]
        return ObjectPage(found, more=False)

    async def write(self, kept, deleted):
        await self._pass()
        self.writes.append((list(kept), list(deleted)))
        self.kept |= {(one.org_id, one.id): one for one in kept}
        for name in deleted:
            self.kept.pop(name, None)

    async def prune(self, before):
        self.pruned.append(before)
        return 0

    async def _pass(self):
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        if self.broken:
            raise StorageError("away")


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture
def table(store):
    return ObjectTable(store, now=lambda: 5_000_000_000.0)


async def test_what_is_noted_is_known_at_once_and_written_soon(table, store, nursery):
    nursery.start_soon(table.run)

    table.note(an_object())
    known = await table.get("acme", "file-1")
    await wait_all_tasks_blocked()

    assert known == an_object(created_at=5_000_000_000.0)
    assert store.kept == {("acme", "file-1"): known}
    assert (table.waiting, store.finds) == (0, 0)
    table.close()


async def test_what_another_organisation_has_is_not_there(table):
    table.note(an_object())

    assert await table.get("other", "file-1") is None


async def test_what_the_store_has_is_read_once(table, store):
    store.kept["acme", "file-1"] = an_object()

    assert await table.get("acme", "file-1") == an_object()
    assert await table.get("acme", "file-1") == an_object()

    assert store.finds == 1


async def test_many_who_ask_share_one_read(table, store, nursery):
    store.kept["acme", "file-1"] = an_object()
    store.gate = trio.Event()
    found = []

    async def ask():
        found.append(await table.get("acme", "file-1"))

    for _ in range(5):
        nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    store.gate.set()
    await wait_all_tasks_blocked()

    assert found == [an_object()] * 5
    assert store.finds == 1


async def test_one_who_gives_up_leaves_the_others_their_answer(table, store, nursery):
    store.kept["acme", "file-1"] = an_object()
    store.gate = trio.Event()
    found = []

    async def ask():
        found.append(await table.get("acme", "file-1"))

    scope = trio.CancelScope()

    async def give_up():
        with scope:
            await ask()

    nursery.start_soon(give_up)
    await wait_all_tasks_blocked()
    nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    scope.cancel()
    store.gate.set()
    await wait_all_tasks_blocked()

    assert found == [an_object()]


async def test_what_is_forgotten_is_gone_even_while_it_is_read(table, store, nursery):
    store.kept["acme", "file-1"] = an_object()
    store.gate = trio.Event()

    async def ask():
        await table.get("acme", "file-1")

    nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    table.forget("acme", "file-1")
    store.gate.set()
    await wait_all_tasks_blocked()
    nursery.start_soon(table.run)
    await wait_all_tasks_blocked()

    assert await table.get("acme", "file-1") is None
    assert store.kept == {}
    table.close()


async def test_what_has_not_changed_is_not_written_again(table, store, nursery):
    nursery.start_soon(table.run)
    for changes in ({}, {}, {"key_id": "k2"}, {"shown": "{}"}, {"shown": ""}):
        table.note(an_object(**changes))
        await wait_all_tasks_blocked()

    assert [kept[0].shown for kept, _ in store.writes] == ["", "{}"]
    table.close()


async def test_unknown_names_are_not_remembered(table, store):
    for n in range(3):
        assert await table.get("acme", f"file-{n}") is None

    assert len(table._cache) == 0


async def test_the_cache_is_bounded(table, store, monkeypatch):
    monkeypatch.setattr(object_table, "MAX_CACHED", 2)
    for n in range(4):
        store.kept["acme", f"file-{n}"] = an_object(f"file-{n}")
        await table.get("acme", f"file-{n}")

    assert [name[1] for name in table._cache] == ["file-2", "file-3"]


async def test_usage_is_claimed_once(table):
    table.note(an_object(usage_due=True))

    claims = [table.claim_usage(an_object()) for _ in range(3)]

    assert claims == [True, False, False]


async def test_a_store_that_is_away_loses_nothing(
    table, store, nursery, autojump_clock
):
    nursery.start_soon(table.run)
    store.broken = True
    table.note(an_object("file-1"))
    await trio.sleep(1)
    table.note(an_object("file-2"))
    table.forget("acme", "file-1")
    degraded = table.degraded
    await trio.sleep(10)
    store.broken = False
    await trio.sleep(5)

    assert (degraded, table.degraded) == (True, False)
    assert [name[1] for name in store.kept] == ["file-2"]
    table.close()


async def test_while_the_store_is_away_unknown_names_are_not_404(table, store):
    store.broken = True
    table.note(an_object("file-1"))

    assert await table.get("acme", "file-1") is not None
    with pytest.raises(Overloaded):
        await table.get("acme", "file-2")
    with pytest.raises(Overloaded):
        await table.page(PageQuery(org_id="other", kind="file", limit=1))


async def test_no_more_objects_are_made_than_can_be_remembered(table, monkeypatch):
    monkeypatch.setattr(object_table, "MAX_PENDING", 2)
    table.admit()
    table.note(an_object("file-1"))
    table.note(an_object("file-2"))

    with pytest.raises(Overloaded):
        table.admit()


async def test_a_list_waits_for_what_was_noted_before(table, store, nursery):
    nursery.start_soon(table.run)
    table.note(an_object())

    page = await table.page(PageQuery(org_id="acme", kind="file", limit=10))

    assert [one.id for one in page.objects] == ["file-1"]
    table.close()


async def test_a_list_does_not_wait_for_ever(table, store, nursery, autojump_clock):
    store.gate = trio.Event()
    nursery.start_soon(table.run)
    table.note(an_object())

    with pytest.raises(Overloaded):
        await table.page(PageQuery(org_id="acme", kind="file", limit=10))

    assert trio.current_time() == object_table.LIST_WAIT
    store.gate.set()
    table.close()


async def test_closing_writes_what_is_left(table, store, nursery):
    table.note(an_object())
    table.close()

    await table.run()

    assert len(store.kept) == 1


async def test_what_is_old_is_forgotten(table, store, nursery):
    nursery.start_soon(table.run)
    table.note(an_object())
    await wait_all_tasks_blocked()

    assert store.pruned == [5_000_000_000.0 - object_table.KEEP_RESPONSES]
    table.close()


async def test_a_new_table_knows_what_an_old_one_wrote(tmp_path):
    database = Database(tmp_path / "gandalf.db")
    await database.open()
    async with trio.open_nursery() as nursery:
        table = ObjectTable(ObjectStore(database))
        nursery.start_soon(table.run)
        for n in range(50):
            table.note(an_object(f"file-{n}"))
        table.forget("acme", "file-7")
        table.close()

    again = ObjectTable(ObjectStore(database))

    assert (await again.get("acme", "file-49")).provider == "openai"
    assert await again.get("acme", "file-7") is None
    database.close()
