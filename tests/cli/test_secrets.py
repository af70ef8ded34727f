import base64
import time

import pytest
import trio

from gandalf.cli import main
from gandalf.config.sealing import MasterKeys, Place
from gandalf.domain.managed import Kind
from gandalf.storage.audit import AuditFilter, AuditLog
from gandalf.storage.database import Database
from gandalf.storage.managed import Edit, ManagedStore

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
SECRET = "sk-canary-of-the-tests"
PLACE = Place(Kind.PROVIDER, "up", "api_key")


def encoded(key_id, key):
    return f"{key_id}:{base64.b64encode(key).decode()}"


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Run a command with these master keys on a database with one sealed secret."""
    path = tmp_path / "gandalf.yaml"
    path.write_text(f"database: {{dsn: {tmp_path / 'g.db'}}}\n")
    sealed = MasterKeys({"old": OLD}).seal(SECRET, PLACE)
    spec = {"name": "up", "type": "openai", "api_key": sealed}
    edits = [
        Edit(kind=Kind.PROVIDER, name="up", spec=spec),
        Edit(kind=Kind.PROVIDER, name="ref", spec={"name": "ref", "api_key": "${X}"}),
    ]
    in_database(
        tmp_path,
        lambda d: ManagedStore(d).change(edits, lambda _: None, (), time.time()),
    )

    def run(action, *keys):
        monkeypatch.setenv("GANDALF_MASTER_KEY", ",".join(keys))
        status = main(["secrets", action, "--config", str(path)])
        return status, *capsys.readouterr()

    return run


def in_database(folder, work):
    async def run():
        database = Database(str(folder / "g.db"))
        await database.open()
        try:
            return await work(database)
        finally:
            database.close()

    return trio.run(run)


def sealed_in(folder):
    managed = in_database(folder, lambda d: ManagedStore(d).load())
    return {thing.name: thing.spec["api_key"] for thing in managed.objects}


def test_a_rotation_seals_with_the_newest_key_and_the_old_one_may_go(run, tmp_path):
    status, _, said = run("rotate", encoded("new", NEW), encoded("old", OLD))

    assert status == 0
    assert "1 object(s) sealed anew with the master key new" in said
    stored = sealed_in(tmp_path)
    assert MasterKeys({"new": NEW}).open(stored["up"], PLACE) == SECRET
    assert stored["ref"] == "${X}"
    assert run("check", encoded("new", NEW))[0] == 0


def test_a_rotation_is_audited_without_the_secret(run, tmp_path):
    run("rotate", encoded("new", NEW), encoded("old", OLD))

    [entry] = in_database(tmp_path, lambda d: AuditLog(d).search(AuditFilter(), 10))

    assert (entry.actor, entry.action, entry.object) == (
        "cli",
        "secrets.rotate",
        "providers/up",
    )
    assert entry.after == {"master_key": "new"}


def test_a_second_rotation_changes_nothing(run, tmp_path):
    keys = encoded("new", NEW), encoded("old", OLD)
    run("rotate", *keys)
    before = sealed_in(tmp_path)

    status, _, said = run("rotate", *keys)

    assert (status, sealed_in(tmp_path)) == (0, before)
    assert said.startswith("0 object(s)")


def test_a_rotation_without_the_old_key_changes_nothing(run, tmp_path):
    before = sealed_in(tmp_path)

    status, _, said = run("rotate", encoded("new", NEW))

    assert status == 1
    assert "providers/up: api_key: is sealed with the master key 'old'" in said
    assert sealed_in(tmp_path) == before
    assert run("rotate")[::2] == (1, "GANDALF_MASTER_KEY is not set\n")


def test_a_check_names_what_cannot_be_opened(run):
    good = run("check", encoded("old", OLD))
    wrong = run("check", encoded("old", NEW))

    assert (good[0], wrong[0]) == (0, 1)
    assert good[1].splitlines()[1].split() == ["providers/up", "api_key", "old", "ok"]
    assert "cannot be opened with the master key 'old'" in wrong[1]
    assert "canary" not in good[1] + wrong[1]
