import json

import pytest

from gandalf.domain.objects import ProviderObject
from gandalf.storage import objects
from gandalf.storage.database import Database
from gandalf.storage.objects import ObjectStore, PageQuery


@pytest.fixture
async def store(tmp_path):
    database = Database(tmp_path / "gandalf.db")
    await database.open()
    yield ObjectStore(database)
    database.close()


def an_object(object_id="file-1", **changes):
    fields = {
        "kind": "file",
        "provider": "openai-eu",
        "org_id": "acme",
        "key_id": "k1",
        "created_at": 1000.5,
        "shown": json.dumps({"id": object_id, "purpose": "batch"}),
        **changes,
    }
    return ProviderObject(id=object_id, **fields)


def some_files(count, **changes):
    return [
        an_object(f"file-{n}", created_at=float(n), **changes) for n in range(count)
    ]


def a_query(**changes):
    return PageQuery(**{"org_id": "acme", "kind": "file", "limit": 10, **changes})


async def listed(store, **changes):
    page = await store.page(a_query(**changes))
    return [one.id for one in page.objects], page.more


async def test_an_object_is_found_as_it_was_written(store):
    kept = an_object(usage_due=True)

    await store.write([kept, an_object("file-2")], [])

    assert await store.find("acme", "file-1") == kept
    assert await store.find("acme", "file-3") is None


async def test_an_object_of_another_organisation_is_not_there(store):
    await store.write([an_object()], [])

    assert await store.find("other", "file-1") is None
    assert await listed(store, org_id="other") == ([], False)


async def test_two_organisations_may_have_the_same_id(store):
    ours, theirs = an_object(), an_object(org_id="other", provider="azure")

    await store.write([ours, theirs], [])
    await store.write([], [("acme", "file-1")])

    assert await store.find("acme", "file-1") is None
    assert await store.find("other", "file-1") == theirs


async def test_what_is_there_keeps_its_key_and_time_and_description(store):
    await store.write([an_object(usage_due=True)], [])

    await store.write([an_object(key_id="k2", created_at=9.0, shown="")], [])

    assert await store.find("acme", "file-1") == an_object()


async def test_a_list_is_in_the_order_of_making_latest_first(store):
    await store.write(some_files(3), [])

    assert await listed(store) == (["file-2", "file-1", "file-0"], False)
    assert await listed(store, oldest_first=True) == (
        ["file-0", "file-1", "file-2"],
        False,
    )


async def test_a_list_comes_in_pages(store):
    await store.write(some_files(5), [])

    assert await listed(store, limit=2) == (["file-4", "file-3"], True)
    assert await listed(store, limit=2, after="file-3") == (["file-2", "file-1"], True)
    assert await listed(store, limit=2, after="file-1") == (["file-0"], False)


async def test_objects_of_the_same_moment_are_each_listed_once(store):
    await store.write([an_object(f"file-{n}") for n in range(5)], [])

    seen, after = [], ""
    while len(seen) < 5:
        ids, _ = await listed(store, limit=2, after=after)
        seen += ids
        after = ids[-1]

    assert sorted(seen) == [f"file-{n}" for n in range(5)]


async def test_a_page_after_what_is_not_there_is_none(store):
    await store.write([an_object(kind="batch")], [])

    assert await store.page(a_query(after="file-9")) is None
    assert await store.page(a_query(after="file-1")) is None


async def test_a_list_has_one_kind_and_purpose(store):
    shown = json.dumps({"purpose": "vision"})
    await store.write(
        [
            an_object("file-1"),
            an_object("file-2", shown=shown),
            an_object("file-3", shown=""),
            an_object("batch_1", kind="batch"),
        ],
        [],
    )

    assert (await listed(store))[0] == ["file-3", "file-2", "file-1"]
    assert (await listed(store, purpose="vision"))[0] == ["file-2"]
    assert (await listed(store, kind="batch"))[0] == ["batch_1"]


async def test_a_file_that_has_expired_is_not_listed_and_a_batch_is(store):
    shown = json.dumps({"expires_at": 2000})
    await store.write(
        [an_object(shown=shown), an_object("batch_1", kind="batch", shown=shown)], []
    )

    assert (await listed(store, now=1999.0))[0] == ["file-1"]
    assert (await listed(store, now=2001.0))[0] == []
    assert (await listed(store, now=2001.0, kind="batch"))[0] == ["batch_1"]


async def test_a_description_that_sqlite_cannot_read_does_not_spoil_a_list(store):
    deep = "[" * 3000 + "]" * 3000
    await store.write([an_object(shown=f'{{"a":{deep}}}'), an_object("file-2")], [])

    assert len((await listed(store))[0]) == 2
    assert (await listed(store, purpose="batch"))[0] == ["file-2"]


async def test_old_responses_are_forgotten_some_at_a_time(store, monkeypatch):
    monkeypatch.setattr(objects, "PRUNED_AT_ONCE", 2)
    old = [an_object(f"resp_{n}", kind="response", created_at=1.0) for n in range(3)]
    new = an_object("resp_9", kind="response", created_at=50.0)
    file = an_object("file-1", created_at=1.0)
    await store.write([*old, new, file], [])

    assert [await store.prune(50.0), await store.prune(50.0)] == [2, 1]

    assert await store.prune(50.0) == 0
    assert await store.find("acme", "resp_9") == new
    assert await store.find("acme", "file-1") == file


async def test_a_list_is_made_from_its_index(store):
    plans = []

    def explain(connection):
        connection.set_trace_callback(plans.append)
        objects._page(connection, a_query(after="file-1"))
        connection.set_trace_callback(None)
        query = plans[-1]
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]

    await store.write(some_files(2), [])
    plan = " ".join(await store._database.read(explain))

    assert "provider_objects_listed" in plan
    assert "TEMP B-TREE" not in plan
