import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from gandalf.storage.errors import MigrationFailed, SchemaForeign, SchemaTooNew
from gandalf.storage.migrations import MIGRATIONS, migrate
from tests.storage.builders import file_size_limit

LATEST = len(MIGRATIONS)
NEXT = "CREATE TABLE colours (name TEXT);\nINSERT INTO colours VALUES ('grey; white');"
BROKEN = "CREATE TABLE colours (name TEXT);\nDELETE FROM organizations;\nSELEKT 1;"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "gandalf.db"


@pytest.fixture
def connection(path):
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
        yield connection


def connect(path):
    return sqlite3.connect(path, isolation_level=None, timeout=10)


def version_of(connection):
    return connection.execute("PRAGMA user_version").fetchone()[0]


def schema_of(connection):
    return connection.execute("SELECT name, sql FROM sqlite_master").fetchall()


def key_versions(connection):
    now = connection.execute("SELECT version FROM key_version").fetchone()[0]
    keys = connection.execute("SELECT id, version FROM api_keys ORDER BY id")
    return now, dict(keys)


def add_key(connection, key_id):
    connection.execute(
        "INSERT INTO api_keys (id, key_hash, created_at) VALUES (?, ?, 0)",
        (key_id, f"hash of {key_id}"),
    )


def test_a_new_database_gets_the_schema_and_the_default_organization(connection, path):
    migrate(connection, path)

    assert version_of(connection) == LATEST
    assert connection.execute("SELECT id, name FROM organizations").fetchall() == [
        ("default", "Default Organization")
    ]
    assert list(path.parent.glob("*.bak")) == []


def test_migrating_again_changes_nothing(connection, path):
    migrate(connection, path)
    before = schema_of(connection)
    migrate(connection, path)

    assert schema_of(connection) == before


def test_only_the_migrations_that_are_missing_are_applied(connection, path):
    migrate(connection, path)
    migrate(connection, path, (*MIGRATIONS, NEXT))

    assert version_of(connection) == LATEST + 1
    assert connection.execute("SELECT * FROM colours").fetchall() == [("grey; white",)]


def test_a_newer_schema_is_refused_and_left_alone(connection, path):
    migrate(connection, path, (*MIGRATIONS, NEXT))
    before = schema_of(connection)

    with pytest.raises(
        SchemaTooNew, match=f"version {LATEST + 1}, newer than {LATEST}"
    ):
        migrate(connection, path)

    assert schema_of(connection) == before
    assert version_of(connection) == LATEST + 1


def test_the_tables_of_another_program_are_refused_and_left_alone(connection, path):
    connection.execute("CREATE TABLE goose_db_version (id INTEGER)")
    before = schema_of(connection)

    with pytest.raises(SchemaForeign, match=r"database\.dsn"):
        migrate(connection, path)

    assert schema_of(connection) == before


def test_a_migration_that_fails_leaves_nothing_behind(connection, path):
    migrate(connection, path)
    before = schema_of(connection)

    with pytest.raises(MigrationFailed, match=f"migration {LATEST + 1}"):
        migrate(connection, path, (*MIGRATIONS, BROKEN))

    assert schema_of(connection) == before
    assert version_of(connection) == LATEST
    assert connection.execute("SELECT count(*) FROM organizations").fetchone() == (1,)
    assert not connection.in_transaction


def test_a_migration_that_fails_keeps_those_before_it(connection, path):
    with pytest.raises(MigrationFailed):
        migrate(connection, path, (*MIGRATIONS, NEXT, BROKEN))

    assert version_of(connection) == LATEST + 1


def test_a_database_is_copied_before_it_is_migrated(connection, path):
    migrate(connection, path)
    add_key(connection, "k1")  # still in the WAL

    with pytest.raises(MigrationFailed):
        migrate(connection, path, (*MIGRATIONS, BROKEN))

    [backup] = path.parent.glob("*.bak")
    assert backup.name == f"gandalf.db.v{LATEST}.bak"
    assert backup.stat().st_mode & 0o777 == 0o600
    with closing(connect(backup)) as copy:
        assert version_of(copy) == LATEST
        assert key_versions(copy) == (1, {"k1": 1})


def test_a_database_that_cannot_be_copied_is_not_migrated(connection, path):
    migrate(connection, path)

    with file_size_limit(1000):
        with pytest.raises(MigrationFailed, match="could not be copied"):
            migrate(connection, path, (*MIGRATIONS, NEXT))

    assert version_of(connection) == LATEST
    assert {p.name for p in path.parent.iterdir()} == {
        "gandalf.db",
        "gandalf.db-wal",
        "gandalf.db-shm",
    }


def test_several_processes_may_migrate_at_once(path):
    def work(_):
        with closing(connect(path)) as connection:
            migrate(connection, path, (*MIGRATIONS, NEXT))
            return version_of(connection)

    for _ in range(5):  # each with another chance of getting in each other's way
        for file in path.parent.iterdir():
            file.unlink()
        with closing(connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            migrate(connection, path)
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(4))) == [LATEST + 1] * 4

        with closing(connect(path)) as connection:
            colours = connection.execute("SELECT * FROM colours").fetchall()
        with closing(connect(path.with_name(f"{path.name}.v{LATEST}.bak"))) as copy:
            assert version_of(copy) == LATEST
        assert colours == [("grey; white",)]
        assert len(list(path.parent.glob("*.bak*"))) == 1


def test_each_change_of_a_key_gets_the_next_version(connection, path):
    migrate(connection, path)

    add_key(connection, "k1")
    add_key(connection, "k2")
    assert key_versions(connection) == (2, {"k1": 1, "k2": 2})

    connection.execute("UPDATE api_keys SET blocked = 1 WHERE id = 'k1'")
    assert key_versions(connection) == (3, {"k1": 3, "k2": 2})

    connection.execute("UPDATE api_keys SET rpm_limit = 5")
    assert key_versions(connection) == (5, {"k1": 4, "k2": 5})


def test_using_a_key_is_no_change_of_it(connection, path):
    migrate(connection, path)
    add_key(connection, "k1")

    connection.execute("UPDATE api_keys SET last_used_at = 1")

    assert key_versions(connection) == (1, {"k1": 1})


def test_every_column_of_a_key_but_its_use_counts_as_a_change(connection, path):
    migrate(connection, path)
    add_key(connection, "k1")
    columns = [row[1] for row in connection.execute("PRAGMA table_info(api_keys)")]
    connection.execute("PRAGMA foreign_keys = OFF")

    silent = set()
    for column in columns:
        before, _ = key_versions(connection)
        connection.execute(f"UPDATE api_keys SET {column} = {column}")
        if key_versions(connection)[0] == before:
            silent.add(column)

    assert silent == {"blocked_at", "last_used_at", "version"}


def test_deleting_a_key_is_at_least_noticed(connection, path):
    migrate(connection, path)
    add_key(connection, "k1")

    connection.execute("DELETE FROM api_keys")

    assert key_versions(connection) == (2, {})


def test_what_owns_keys_cannot_be_deleted_under_them(connection, path):
    migrate(connection, path)
    add_key(connection, "k1")

    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("DELETE FROM organizations")
