"""Commands against a real gateway process, and on the database without one."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from gandalf.cli import declarative, main
from gandalf.http.admin.client import HttpApi

KEY = "gnd_the_admin_key_of_these_tests"
CONFIG = """
server: {addr: "127.0.0.1:0"}
database: {dsn: g.db}
providers: [{name: simulated, models: [demo]}]
telemetry: {logging: {format: json}}
"""
DOCUMENT = """
organizations: [{id: acme, tpm_limit: 1000}]
teams: [{id: research, org_id: acme}]
providers: [{name: other, type: simulated}]
routes:
  - model_alias: slow
    targets: [{provider: other, model: m-2}]
keys: [{name: web, org_id: acme, team_id: research}]
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """The URL and the configuration of a running gateway."""
    path = tmp_path_factory.mktemp("gateway") / "gandalf.yaml"
    path.write_text(CONFIG)
    command = [sys.executable, "-m", "gandalf", "serve", "--config", str(path)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "GANDALF_ADMIN_KEY": KEY},
    ) as process:
        try:
            yield (
                next(
                    found[0]
                    for line in process.stdout
                    if (found := re.search(r"http://127[^\s\"]+", line))
                ),
                path,
            )
        finally:
            process.send_signal(signal.SIGINT)
            process.stdout.read()


@pytest.fixture
def call(gateway, monkeypatch, capsys):
    """Run a command at the gateway; return exit code, stdout and stderr."""
    url, path = gateway
    monkeypatch.setenv("GANDALF_ADMIN_KEY", KEY)

    def call(*argv):
        status = main([*argv, "--config", str(path), "--url", url])
        told = capsys.readouterr()
        return status, told.out, told.err

    return call


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "objects.yaml"
    path.write_text(DOCUMENT)
    return str(path)


def test_objects_are_made_listed_changed_and_deleted(call):
    made, _, _ = call(
        "providers", "create", "--set", "name=p1", "--set", "type=simulated"
    )
    set_, _, _ = call("providers", "set", "p1", "--set", "timeouts.connect=7")
    listed = call("providers", "list")[1]
    one = json.loads(call("providers", "get", "p1", "--json")[1])
    deleted, _, told = call("providers", "delete", "p1")

    assert (made, set_, deleted) == (0, 0, 0)
    assert re.search(r"^p1 +simulated", listed, re.MULTILINE)
    assert (one["type"], one["timeouts"]["connect"]) == ("simulated", 7)
    assert "done" in told
    assert call("providers", "get", "p1")[0] == 3


def test_a_refusal_names_each_field_and_exits_with_3(call):
    status, out, err = call(
        *("providers", "create", "--set", "name=p1", "--set", "base_url=nonsense"),
        *("--set", "typ=x"),
    )

    assert (status, out) == (3, "")
    assert "base_url" in err
    assert "typ: " in err


def test_a_provisioned_object_is_refused_with_the_file_that_declares_it(call, gateway):
    status, _, err = call("providers", "delete", "simulated")

    assert status == 3
    assert str(gateway[1]) in err


def test_a_key_goes_through_the_gateway_and_is_revoked_by_its_text(call):
    status, out, err = call("keys", "create", "--name", "web", "--rpm", "5")
    key = out.strip()
    listed = json.loads(call("keys", "list", "--json")[1].splitlines()[-1])

    assert (status, key[:4]) == (0, "gnd_")
    assert (listed["name"], listed["rpm_limit"]) == ("web", 5)
    assert key not in err
    assert call("keys", "revoke", key)[0] == 0
    assert json.loads(call("keys", "get", listed["id"], "--json")[1])["blocked"]


def test_an_export_that_is_applied_changes_nothing(call, document, tmp_path):
    first = call("apply", "-f", document)
    exported = tmp_path / "export.yaml"
    call("export", "-o", str(exported))
    before = exported.read_text()

    again = call("apply", "-f", str(exported), "--prune")
    call("export", "-o", str(exported))

    assert first[0] == 0
    assert "+ routes/slow" in first[1]
    assert re.search(r"^gnd_\S+  web$", first[1], re.MULTILINE)
    assert again[:2] == (0, "nothing to change\n")
    assert exported.read_text() == before


def test_a_dry_run_shows_the_differences_and_changes_nothing(call, document):
    call("apply", "-f", document)
    before = call("export")[1]

    status, out, _ = call("apply", "-f", document, "--dry-run", "--prune")
    changed = call("teams", "set", "research", "--rpm", "9")
    shown = call("apply", "-f", document, "--dry-run")[1]

    assert status == 0
    assert "to create" not in out
    assert before == before.replace("rpm_limit", "")
    assert changed[0] == 0
    assert "~ teams/research\n    rpm_limit: 9 -> -" in shown
    assert call("teams", "set", "research", "--rpm", "none")[0] == 0


def test_an_apply_that_lost_a_race_is_told_and_changes_nothing(
    call, tmp_path, monkeypatch
):
    path = tmp_path / "teams.yaml"
    path.write_text("teams: [{id: loser}]")
    api = HttpApi(call("status")[1].split()[1], KEY)

    def other_change(changes):
        api.call("POST", "/teams", body={"id": "winner"})

    monkeypatch.setattr(declarative, "print_changes", other_change)

    status, _, err = call("apply", "-f", str(path))

    assert status == 3
    assert "have changed" in err
    assert call("teams", "get", "loser")[0] == 3


def test_status_and_top_show_a_running_gateway(call):
    status, out, _ = call("status")
    top, screen, _ = call("top", "--interval", "50ms", "--count", "1")

    assert (status, top) == (0, 0)
    assert re.search(r"^ready +yes$", out, re.MULTILINE)
    assert "requests/s" in screen
    assert "TARGET" in screen


def test_a_budget_is_made_raised_and_listed(call):
    made = call(
        *("budgets", "create", "--set", "name=all", "--set", "scope=global"),
        *("--set", "limit=100", "--set", "unit=requests"),
    )
    raised = call("budgets", "raise", "all", "+20", "--until", "friday")
    listed = call("budgets")

    assert (made[0], raised[0], listed[0]) == (0, 0, 0)
    assert re.search(r"^amount +20$", raised[1], re.MULTILINE)
    assert re.search(r"^all ", listed[1], re.MULTILINE)
    assert call("budgets", "raise", "all", "1", "--until", "someday")[0] == 2


def test_usage_of_a_remote_gateway_is_listed_and_summed_up(call):
    listed = call("usage", "--limit", "3", "--json")
    sums = call("usage", "summary", "--by", "model", "--tz", "Asia/Tokyo")

    assert (listed[0], sums[0]) == (0, 0)
    assert call("usage", "summary", "--since", "yesterday")[0] == 3


def test_a_wrong_key_is_told_and_not_shown(call, monkeypatch):
    monkeypatch.setenv("GANDALF_ADMIN_KEY", "gnd_another_key_that_is_unknown")

    status, _, err = call("orgs")

    assert status == 3
    assert "GANDALF_ADMIN_KEY" in err
    assert "another_key" not in err


# Without a running gateway.


@pytest.fixture
def alone(tmp_path, monkeypatch, capsys):
    """Run a command on a database that no gateway serves."""
    path = tmp_path / "gandalf.yaml"
    path.write_text(CONFIG)
    monkeypatch.delenv("GANDALF_ADMIN_KEY", raising=False)
    monkeypatch.delenv("GANDALF_URL", raising=False)

    def call(*argv):
        status = main([*argv, "--config", str(path)])
        told = capsys.readouterr()
        return status, told.out, told.err

    return call


def test_the_same_commands_work_on_the_database(alone, document, tmp_path):
    assert alone("apply", "-f", document)[0] == 0
    exported = alone("export", "--key-hashes")[1]
    (tmp_path / "export.yaml").write_text(exported)

    assert "slow" in alone("routes")[1]
    assert (
        alone("apply", "-f", str(tmp_path / "export.yaml"))[1] == "nothing to change\n"
    )


def test_what_only_a_process_has_needs_one(alone):
    status, _, err = alone("cache", "purge")

    assert status == 4
    assert "--url" in err


def test_a_gateway_that_does_not_answer_exits_with_4(alone, monkeypatch):
    monkeypatch.setenv("GANDALF_ADMIN_KEY", KEY)

    status, _, err = alone("orgs", "--url", "http://127.0.0.1:9")

    assert status == 4
    assert "http://127.0.0.1:9" in err


def test_a_url_without_a_key_says_how_to_make_one(alone):
    status, _, err = alone("orgs", "--url", "http://127.0.0.1:9")

    assert status == 2
    assert "gandalf keys create --role admin" in err


def test_a_document_that_is_no_yaml_is_named_with_its_line(alone, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("teams:\n  - {id: a\n")

    status, _, err = alone("apply", "-f", str(path))

    assert status == 2
    assert f"{path}:3:1" in err
