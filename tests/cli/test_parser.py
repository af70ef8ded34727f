"""The tree of commands: help, errors, completion, and the page made from it."""

import json
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest

from gandalf.cli import main, reference
from gandalf.cli.parser import build, parse, walk
from gandalf.config import load
from gandalf.http.admin.api import described

PAGE = Path(__file__).parent.parent.parent / "docs" / "cli.md"
COMMANDS = {" ".join(path): parser for path, parser in walk(build())}
LEAVES = [name for name, parser in COMMANDS.items() if parser.get_default("run")]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example_that_begins_with_the_command(name):
    example = reference.example_of(COMMANDS[name])

    assert f"gandalf {name.split()[0]}" in example


@pytest.mark.parametrize("name", LEAVES)
def test_every_example_is_a_valid_command_line(name):
    example = reference.example_of(COMMANDS[name])
    if example.startswith("source <("):
        example = example[len("source <(") : -1]
    words = shlex.split(example)
    while words[0] != "gandalf":
        words.pop(0)  # assignments before the command

    assert callable(parse(words[1:]).run)


def test_every_endpoint_has_a_command():
    rows = {
        run.args[0].operation_id
        for parser in COMMANDS.values()
        if hasattr(run := parser.get_default("run"), "args")
    }
    own = {
        "usage.summary",
        "budgets.list_all",
        "budgets.raise_limit",
        "keys.list_all",
        "keys.create",
        "keys.revoke",
        "apply.apply",
        "export.export",
    }
    pages = {"openapi.json.openapi_json", "docs.docs"}

    assert {row.operation_id for row in described()} - rows <= own | pages


def test_the_page_of_the_documentation_is_the_parser():
    assert PAGE.read_text() == reference.markdown(), (
        "run: python -m gandalf.cli.reference > docs/cli.md"
    )


@pytest.mark.parametrize(
    ("argv", "usage", "message"),
    [
        (["keys", "list", "--orgg", "a"], "gandalf keys list", "did you mean --org?"),
        (["serve", "now"], "gandalf serve", "unknown argument now"),
        (["keys", "create", "--rpm", "many"], "gandalf keys create", "a whole number"),
        (["keys", "create", "--expires-in", "soon"], "keys create", "such as 30s"),
        (["routes", "create", "--set", "x"], "routes create", "path=value"),
        (["keys", "create", "--tags", "=x"], "keys create", "name=value"),
        (["usage", "rerate", "--since", "x"], "usage rerate", "2026-12-01T08:00"),
    ],
)
def test_a_wrong_argument_shows_the_usage_of_its_command(argv, usage, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(argv)

    told = capsys.readouterr().err
    assert caught.value.code == 2
    assert usage in told.splitlines()[0]
    assert message in told.splitlines()[-1]
    assert "invalid" not in told.splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "action"),
    [
        (["keys"], "keys list"),
        (["usage", "--limit", "3"], "usage recent"),
        (["prices", "fast"], "prices show"),
        (["audit", "--action", "keys."], "audit list"),
        (["config"], "config show"),
    ],
)
def test_a_group_without_an_action_means_its_default(argv, action):
    named = parse([*action.split(), *argv[1:]])
    short = parse(argv)

    assert vars(short).keys() == vars(named).keys()
    assert short.config == named.config


def test_the_script_for_bash_completes_commands_and_options(capsys, tmp_path):
    main(["completion", "bash"])
    script = tmp_path / "gandalf.bash"
    script.write_text(capsys.readouterr().out)

    def complete(*words):
        line = " ".join(shlex.quote(word) for word in words)
        program = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1};"
            ' compopt() { :; }; _gandalf; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", program], capture_output=True, text=True)
        return done.stdout.split()

    assert complete("gandalf", "ap") == ["apply"]
    assert complete("gandalf", "keys", "rot") == ["rotate"]
    assert complete("gandalf", "keys", "list", "--js") == ["--json"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_every_command(shell, capsys):
    assert main(["completion", shell]) == 0

    script = capsys.readouterr().out
    for name in COMMANDS:
        assert name in script


# check and init


def test_check_takes_a_file_and_tells_problems_as_json(tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text("servr: {}\n")

    assert main(["check", str(path), "--format", "json"]) == 2

    problem = json.loads(capsys.readouterr().out)
    assert (problem["line"], problem["key"]) == (1, "servr")


def test_check_tells_that_an_empty_file_serves_nothing(tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text("")

    assert main(["check", str(path)]) == 0
    assert "declares no provider" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("database: {dsn: 'postgres://db/x'}", "the path of a SQLite file"),
        ("providers: [{name: openai, api_key: $UPSTREAM}]", "write ${UPSTREAM}"),
        ("providers: [{name: openai, api_key: ${UPSTREAM}}]", "needs quotes"),
        ("auth: {admin_key: gnd_abc}", "openssl rand -hex 32"),
    ],
)
def test_check_says_what_to_do(text, hint, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("UPSTREAM", "sk-the-key-of-the-upstream")
    path = tmp_path / "x.yaml"
    path.write_text(text)

    assert main(["check", str(path)]) == 2
    told = capsys.readouterr().err
    assert hint in told
    assert "sk-the-key" not in told


def test_a_short_admin_key_of_the_environment_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GANDALF_ADMIN_KEY", "gnd_abc")
    path = tmp_path / "x.yaml"
    path.write_text("providers: [{name: simulated}]")

    assert main(["check", str(path)]) == 2
    told = capsys.readouterr().err
    assert "GANDALF_ADMIN_KEY" in told
    assert "openssl rand -hex 32" in told
    assert "gnd_abc" not in told


def test_the_schema_for_editors_knows_every_section_and_refuses_others(capsys):
    assert main(["check", "--format", "schema"]) == 0

    schema = json.loads(capsys.readouterr().out)
    assert {"server", "providers", "routes", "keys"} <= schema["properties"].keys()
    assert schema["additionalProperties"] is False
    provider = schema["properties"]["providers"]["items"]
    assert provider["required"] == ["name"]


def test_init_writes_a_valid_file_with_the_providers_of_the_environment(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-the-key")
    monkeypatch.setenv("GROQ_API_KEY", "gsk-the-key")
    path = tmp_path / "etc" / "gandalf.yaml"

    assert main(["init", "--config", str(path)]) == 0
    assert main(["check", str(path)]) == 0

    text = path.read_text()
    assert re.findall(r"- name: (\S+)", text)[:2] == ["anthropic", "groq"]
    assert "the-key" not in text
    assert main(["init", "--config", str(path)]) == 1
    assert "--force" in capsys.readouterr().err


def test_serve_without_a_file_starts_from_the_environment(
    tmp_path, monkeypatch, capsys
):
    served = []
    app = types.ModuleType("gandalf.app")
    app.main = lambda path: served.append(path) or 0
    monkeypatch.setitem(sys.modules, "gandalf.app", app)
    monkeypatch.setattr("gandalf.app", app, raising=False)
    monkeypatch.chdir(tmp_path)

    assert main(["serve"]) == 0

    (path,) = served
    environ = {"OPENAI_API_KEY": "sk-1", "MISTRAL_API_KEY": "k"}
    loaded = load(path, environ)
    assert [each.name for each in loaded.providers] == ["openai", "mistral"]
    assert loaded.auth.generate_admin_key
    assert [each.name for each in load(path, {}).providers] == ["simulated"]


def test_a_relative_database_is_beside_the_configuration_file(
    tmp_path, monkeypatch, capsys
):
    path = tmp_path / "etc" / "gandalf.yaml"
    path.parent.mkdir()
    path.write_text("database: {dsn: var/g.db}")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    assert main(["keys", "create", "--config", str(path)]) == 0

    assert (tmp_path / "etc" / "var" / "g.db").exists()
    assert list(elsewhere.iterdir()) == []


def test_usage_finds_the_database_of_the_demo(tmp_path, monkeypatch, capsys):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "gandalf.yaml").write_text("database: {dsn: ../main.db}")
    (tmp_path / "configs" / "demo.yaml").write_text("database: {dsn: ../demo.db}")
    monkeypatch.chdir(tmp_path)
    main(["keys", "create", "--config", "configs/demo.yaml"])

    assert main(["usage"]) == 0
    assert "this is the demo's: demo.db" in capsys.readouterr().err
