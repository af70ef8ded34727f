import logging
import sqlite3
import stat
from contextlib import asynccontextmanager, closing

import pytest
import trio

from gandalf.storage.database import Database, has_wal_reset_bug
from gandalf.storage.errors import DatabaseGone, StorageError


@asynccontextmanager
async def a_database(path, **options):
    database = Database(path, **options)
    await database.open()
    try:
        yield database
    finally:
        database.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "gandalf.db"


def add_org(name):
    def work(connection):
        connection.execute(
            "INSERT INTO organizations (id, name, created_at) VALUES (?, ?, 0)",
            (name, name),
        )

    return work


def orgs(connection):
    rows = connection.execute("SELECT id FROM organizations ORDER BY rowid")
    return [row[0] for row in rows]


def pragma(name):
    return lambda connection: connection.execute(f"PRAGMA {name}").fetchone()[0]


async def test_what_was_written_is_read(path):
    async with a_database(path) as database:
        await database.write(add_org("acme"))

        assert await database.read(orgs) == ["default", "acme"]


async def test_what_was_written_is_there_after_opening_again(path):
    async with a_database(path) as database:
        await database.write(add_org("acme"))
    async with a_database(path) as database:
        assert await database.read(orgs) == ["default", "acme"]


async def test_an_exception_in_the_work_takes_all_of_it_back(path):
    def work(connection):
        add_org("acme")(connection)
        raise KeyError("a bug")

    async with a_database(path) as database:
        with pytest.raises(KeyError):
            await database.write(work)
        assert await database.read(orgs) == ["default"]

        await database.write(add_org("next"))
        assert await database.read(orgs) == ["default", "next"]


async def test_an_error_of_sqlite_takes_all_of_it_back_and_is_ours(path):
    def work(connection):
        add_org("acme")(connection)
        add_org("acme")(connection)

    async with a_database(path) as database:
        with pytest.raises(StorageError, match="UNIQUE"):
            await database.write(work)

        assert await database.read(orgs) == ["default"]


async def test_a_reader_cannot_write(path):
    async with a_database(path) as database:
        with pytest.raises(StorageError, match="readonly"):
            await database.read(add_org("acme"))

        assert await database.read(orgs) == ["default"]


async def test_a_reader_sees_one_moment(path):
    def work(connection):
        before = orgs(connection)
        with closing(sqlite3.connect(path)) as other, other:
            add_org("acme")(other)
        return before == orgs(connection)

    async with a_database(path) as database:
        assert await database.read(work)
        assert await database.read(orgs) == ["default", "acme"]


async def test_writers_take_turns(path):
    def rename(connection):
        (name,) = connection.execute("SELECT name FROM organizations").fetchone()
        connection.execute("UPDATE organizations SET name = ?", (f"{name}x",))

    async with a_database(path) as database:
        await database.write(lambda c: c.execute("UPDATE organizations SET name = ''"))
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(database.write, rename)

        name = "SELECT name FROM organizations"
        assert await database.read(lambda c: c.execute(name).fetchone()) == ("x" * 20,)


async def test_more_readers_than_connections_take_turns(path):
    found = []

    async with a_database(path, readers=2) as database:

        async def look():
            found.append(await database.read(orgs))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(look)

    assert found == [["default"]] * 10


@pytest.mark.parametrize(
    ("name", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)],
)
async def test_the_writer_is_durable_and_strict(path, name, value):
    async with a_database(path) as database:
        assert await database.write(pragma(name)) == value


async def test_only_the_writer_moves_the_wal_into_the_database(path):
    async with a_database(path) as database:
        assert await database.write(pragma("wal_autocheckpoint")) > 0
        assert await database.read(pragma("wal_autocheckpoint")) == 0


async def test_a_lock_of_another_process_is_waited_for_no_longer_than_that(path):
    async with a_database(path, busy_timeout=0.05) as database:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError, match="locked"):
                await database.write(add_org("acme"))
            assert await database.read(orgs) == ["default"]
            other.execute("ROLLBACK")

        await database.write(add_org("acme"))
        assert await database.read(orgs) == ["default", "acme"]


async def test_a_full_disk_takes_the_work_back_and_is_survived(path):
    async with a_database(path) as database:
        pages = await database.write(pragma("page_count"))
        await database.write(pragma(f"max_page_count = {pages}"))
        with pytest.raises(StorageError, match="full"):
            await database.write(add_org("x" * 100_000))
        assert await database.read(orgs) == ["default"]

        await database.write(pragma("max_page_count = 100000"))
        await database.write(add_org("acme"))
        assert await database.read(orgs) == ["default", "acme"]


async def test_a_connection_that_became_read_only_is_replaced(path):
    async with a_database(path) as database:
        await database.write(lambda c: c.execute("PRAGMA query_only = ON"))
        with pytest.raises(StorageError, match="readonly"):
            await database.write(add_org("acme"))

        await database.write(add_org("acme"))
        assert await database.read(orgs) == ["default", "acme"]


async def test_a_file_that_is_gone_is_noticed_and_used_again_when_it_is_back(path):
    aside = path.with_name("aside")

    async with a_database(path) as database:
        path.rename(aside)
        with pytest.raises(DatabaseGone):
            await database.write(add_org("lost"))
        with pytest.raises(DatabaseGone):
            await database.read(orgs)
        assert not path.exists()

        aside.rename(path)
        await database.write(add_org("acme"))
        assert await database.read(orgs) == ["default", "acme"]


async def test_a_file_that_was_replaced_is_the_one_used_from_then_on(path):
    async with a_database(path.with_name("other")) as other:
        await other.write(add_org("other"))

    async with a_database(path) as database:
        await database.write(add_org("acme"))
        await database.read(orgs)
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink()
        path.with_name("other").rename(path)

        await database.write(add_org("next"))
        assert await database.read(orgs) == ["default", "other", "next"]


async def test_a_file_that_goes_away_during_a_write_was_not_written(path):
    def work(connection):
        add_org("acme")(connection)
        path.unlink()

    async with a_database(path) as database:
        with pytest.raises(DatabaseGone):
            await database.write(work)


async def test_a_new_file_is_made_with_its_folder_and_is_nobody_elses(tmp_path):
    path = tmp_path / "var" / "gandalf.db"

    async with a_database(path) as database:
        await database.write(add_org("acme"))
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}

    assert modes["gandalf.db"] == 0o600
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("path", ["", ":memory:", "file:x.db?mode=memory"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(StorageError, match=r"database\.dsn"):
        Database(path)


async def test_what_is_no_database_is_refused(path):
    path.write_text("Dear diary, " * 1000)

    with pytest.raises(StorageError, match="not a database"):
        await Database(path).open()

    assert path.read_text().startswith("Dear diary")


async def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match="cannot open"):
        await Database(tmp_path / "file" / "gandalf.db").open()


async def test_a_closed_database_is_not_opened_by_chance(path):
    database = Database(path)
    with pytest.raises(StorageError, match="not open"):
        await database.read(orgs)
    await database.open()
    database.close()
    database.close()

    with pytest.raises(StorageError, match="not open"):
        await database.write(add_org("acme"))


@pytest.mark.parametrize(
    ("version", "warnings"), [((3, 40, 1), 1), ((3, 51, 3), 0)], ids=["bug", "no bug"]
)
async def test_a_second_process_is_warned_about_if_sqlite_has_the_bug(
    path, version, warnings, monkeypatch, caplog
):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)

    async with a_database(path):
        assert caplog.records == []
        async with a_database(path):
            pass

    assert [r.levelno for r in caplog.records] == [logging.WARNING] * warnings


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((4, 0, 0), False),
    ],
)
def test_versions_with_the_wal_reset_bug(version, affected):
    assert has_wal_reset_bug(version) is affected
