import json
import re
import subprocess
import sys
import time
import types
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio

from gandalf import __version__
from gandalf.actors.ledger import Ledger
from gandalf.cli import main
from gandalf.config import budgets_of, load
from gandalf.domain.identity import Role
from gandalf.domain.ids import first_at
from gandalf.domain.keys import StoredKey, hash_key
from gandalf.domain.usage import TokenUsage
from gandalf.storage import usage
from gandalf.storage.budgets import BudgetStore
from gandalf.storage.database import Database
from gandalf.storage.keys import KeyStore
from gandalf.storage.usage import UsageTable

from .storage.builders import a_record, an_attempt, entries_of

ROOT = Path(__file__).parent.parent


@pytest.fixture
def config(tmp_path):
    """A configuration whose database is not there yet."""
    path = tmp_path / "gandalf.yaml"
    path.write_text(
        f"database: {{dsn: {tmp_path}/var/gandalf.db}}\n"
        "providers: [{name: simulated, api_key: '${NOT_SET:-}'}]\n"
    )
    return path


@pytest.fixture
def run(config, capsys):
    """Run a command; return its status, and what it said on stdout and on stderr."""

    def run(*argv, config=config):
        try:
            status = main([*argv, "--config", str(config)])
        except SystemExit as ended:
            status = ended.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def in_database(config, work):
    """Run an async function on the database of ``config``."""

    async def run():
        database = Database(config.parent / "var" / "gandalf.db")
        await database.open()
        with closing(database):
            return await work(database)

    return trio.run(run)


def stored_keys(config):
    return in_database(config, lambda database: KeyStore(database).all())


def record(config, *records):
    async def insert(database):
        entries = entries_of(records)
        await database.write(lambda connection: usage.insert(connection, entries))

    in_database(config, insert)


# check


def test_check_says_that_a_file_is_valid(run, config):
    status, out, err = run("check")

    assert (status, err) == (0, "")
    assert out == f"{config}: valid (1 provider, 0 routes, 0 keys)\n"


def test_check_tells_every_problem_on_stderr_and_exits_with_2(run, config):
    config.write_text("servr: {}\ncache: {max_size: -1}\n")

    status, out, err = run("check")

    assert (status, out) == (2, "")
    assert err.splitlines() == [
        f"{config}:1:1: servr: unknown key; did you mean server?",
        f"{config}:2:19: cache.max_size: expected a whole number of at least 1, found '-1'",
    ]


# keys


def test_a_created_key_is_all_there_is_on_stdout_and_only_its_hash_is_kept(run, config):
    status, out, err = run("keys", "create", "--role", "admin", "--name", "ops")

    key = out.rstrip("\n")
    assert status == 0
    assert re.fullmatch("gnd_[A-Za-z0-9_-]{43}", key)
    assert key not in err
    (stored,) = stored_keys(config)
    assert stored.key_hash == hash_key(key.encode())
    assert (stored.name, stored.role, stored.org_id) == ("ops", Role.ADMIN, "default")


def test_a_key_is_created_as_asked(run, config):
    _, _, err = run(
        *("keys", "create", "--org", "acme", "--models", "gpt-*, x", "--rpm", "0"),
        *("--tpm", "1000", "--expires-in", "90d"),
    )

    (stored,) = stored_keys(config)
    assert "organization 'acme' is new" in err
    assert stored.org_id == "acme"
    assert stored.allowed_models == ("gpt-*", "x")
    assert (stored.rpm_limit, stored.tpm_limit) == (0, 1000)
    assert stored.expires_at - stored.created_at == 90 * 86400


@pytest.mark.parametrize(
    "option",
    [
        ("--role", "root"),
        ("--rpm", "-1"),
        ("--tpm", "many"),
        ("--expires-in", "soon"),
        ("--expires-in", "0"),
        ("--models", " , "),
        ("--unknown", "x"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_created(run, config, option):
    status, out, err = run("keys", "create", *option)

    assert (status, out) == (2, "")
    assert err
    assert not (config.parent / "var").exists()


def test_keys_are_listed_with_their_state_and_never_themselves(run):
    _, active, _ = run("keys", "create", "--name", "a b", "--models", "x,y*")
    _, revoked, _ = run("keys", "create", "--rpm", "0", "--tpm", "7")
    run("keys", "create", "--expires-in", "1ns")
    listed = run("keys", "list")[1].splitlines()
    run("keys", "revoke", listed[2].split()[0])

    status, out, err = run("keys", "list")

    assert (status, err) == (0, "")
    assert active.strip() not in out
    rows = [re.split(" {2,}", line) for line in out.splitlines()]
    assert rows[0][:4] == ["ID", "PREFIX", "STATE", "ROLE"]
    assert rows[1][1:10] == [
        *(active[:12], "active", "member", "default", "a b", "x,y*"),
        *("default", "default", "never"),
    ]
    assert rows[2][1:9] == [
        *(revoked[:12], "revoked", "member", "default", "-", "all"),
        *("unlimited", "7"),
    ]
    assert rows[3][2] == "expired"


def test_what_a_key_is_called_cannot_move_the_cursor(run):
    run("keys", "create", "--name", "evil\x1b[2J\nname")

    assert "evil?[2J?name" in run("keys", "list")[1]


def test_a_key_is_revoked_by_its_id_or_by_its_prefix(run, config):
    keys = [run("keys", "create")[1] for _ in range(2)]
    first, second = stored_keys(config)

    status, out, _ = run("keys", "revoke", first.key_id)
    assert (status, first.key_id in out) == (0, True)
    status, out, _ = run("keys", "revoke", keys[1][:12])
    assert (status, second.key_id in out) == (0, True)

    assert [key.blocked for key in stored_keys(config)] == [True, True]
    assert run("keys", "revoke", first.key_id)[:2] == (
        0,
        f"{first.key_id} was revoked before\n",
    )


@pytest.mark.parametrize("text", ["nobody", "gnd_", "", "%"])
def test_a_key_that_is_not_there_or_not_named_well_is_not_revoked(run, config, text):
    run("keys", "create")

    status, _, err = run("keys", "revoke", text)

    assert status == 1
    assert "there is no key" in err
    assert not stored_keys(config)[0].blocked


def test_a_prefix_of_several_keys_revokes_none_and_names_them(run, config):
    keys = [
        StoredKey(key_id=f"0198aaaa-{n}", key_hash=n, key_prefix="gnd_", created_at=0.0)
        for n in "12"
    ]

    async def insert(database):
        for key in keys:
            await KeyStore(database).insert(key)

    in_database(config, insert)

    status, _, err = run("keys", "revoke", "0198aaaa")

    assert status == 1
    assert all(key.key_id in err for key in keys)
    assert not any(key.blocked for key in stored_keys(config))


def test_keys_need_the_database_only_and_not_the_secrets_of_providers(run, config):
    config.write_text(config.read_text().replace("NOT_SET:-", "NOT_SET"))

    assert run("check")[0] == 2
    assert run("keys", "create")[0] == 0


def test_keys_are_made_beside_a_gateway_that_has_the_database_open(config):
    command = [sys.executable, "-m", "gandalf", "keys", "create", "--config", config]

    async def beside(database):
        store = KeyStore(database)
        assert await store.changes_since(0) is None
        done = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, cwd=ROOT
        )
        changes = await store.changes_since(0)
        return hash_key(done.stdout.strip()) in changes.identities

    assert in_database(config, beside)


@pytest.mark.parametrize("command", [("keys", "list"), ("usage",)])
def test_a_command_that_only_reads_does_not_warn_of_two_that_write(config, command):
    argv = [sys.executable, "-m", "gandalf", *command, "--config", config]

    async def beside(database):
        return await trio.run_process(
            argv, capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT
        )

    done = in_database(config, beside)

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "command", [("keys", "list"), ("keys", "revoke", "x"), ("usage",)]
)
def test_a_database_that_is_not_there_is_not_made_by_looking(run, config, command):
    status, out, err = run(*command)

    assert (status, out) == (1, "")
    assert "there is no database" in err
    assert not (config.parent / "var").exists()


def test_a_file_that_is_no_database_is_an_error_and_not_a_traceback(run, config):
    (config.parent / "var").mkdir()
    (config.parent / "var" / "gandalf.db").write_text("not a database, but a text" * 99)

    status, _, err = run("keys", "list")

    assert status == 1
    assert "gandalf.db" in err


@pytest.mark.parametrize("command", [("keys", "list"), ("usage",), ("check",)])
def test_a_configuration_that_is_not_there_is_told(run, tmp_path, command):
    status, _, err = run(*command, config=tmp_path / "none.yaml")

    assert status == 2
    assert "none.yaml: cannot be read" in err


# usage


def test_the_newest_requests_are_shown_first(run, config):
    record(config, *(a_record(f"r{n:02}", received_at=float(n)) for n in range(30)))

    status, out, _ = run("usage", "--limit", "3")

    assert status == 0
    assert [line.split()[1] for line in out.splitlines()] == [
        *("REQUEST", "r29", "r28", "r27")
    ]
    assert len(run("usage")[1].splitlines()) == 1 + 20


def test_a_request_is_one_line_and_what_was_not_reported_is_no_zero(run, config):
    record(
        config,
        a_record(
            "r1",
            received_at=0.0,
            tokens=TokenUsage(input=3, cache_read=4, output=0),
            latency=1.5,
            cost_nanousd=1_250_000,
        ),
        a_record("r0", received_at=-1.0, tokens=TokenUsage()),
    )

    _, out, _ = run("usage")

    rows = [line.split() for line in out.splitlines()]
    assert rows[1] == [
        *("1970-01-01T00:00:00Z", "r1", "k1", "fast", "openai-eu", "200"),
        *("complete", "7", "0", "1.500", "bypass", "0.00125"),
    ]
    assert rows[2][7:9] == ["-", "-"]
    assert rows[2][-1] == "-"


def test_one_request_is_shown_with_its_attempts(run, config):
    failed = an_attempt(
        status=None, outcome="upstream_timeout", decision="failover", reason="too slow"
    )
    record(config, a_record("r1", attempts=(failed, an_attempt(started=2.5))))

    status, out, _ = run("usage", "--request-id", "client-r1")

    assert status == 0
    assert re.search(r"^request_id +r1$", out, re.MULTILINE)
    assert re.search(r"^cache_read_tokens +-$", out, re.MULTILINE)
    attempts = [re.split(" {2,}", line) for line in out.splitlines()[-2:]]
    assert attempts[0][4:] == ["-", "upstream_timeout", "failover", "too slow"]
    assert attempts[1] == [
        *("2", "openai-eu/gpt-4o", "2.500", "1.500", "200", "served", "answer", "-")
    ]


def test_requests_are_written_as_json_one_a_line(run, config):
    record(config, a_record("r1"), a_record("r2"))

    _, out, _ = run("usage", "--json")
    assert {json.loads(line)["request_id"] for line in out.splitlines()} == {"r1", "r2"}
    _, out, _ = run("usage", "--json", "--request-id", "r1")
    assert json.loads(out)["attempts"][0]["target"] == "openai-eu/gpt-4o"


def test_a_request_that_is_not_on_record_is_told(run, config):
    record(config, a_record("r1"))

    assert run("usage", "--request-id", "r9")[::2] == (
        1,
        "no request 'r9' is on record\n",
    )


# serve, and the program itself


def test_serve_hands_the_file_to_the_application(run, config, monkeypatch):
    served = []
    app = types.ModuleType("gandalf.app")
    app.main = lambda path: served.append(path) or 7
    monkeypatch.setitem(sys.modules, "gandalf.app", app)
    monkeypatch.setattr("gandalf.app", app, raising=False)

    assert run("serve")[0] == 7
    assert served == [config]


def test_the_default_configuration_is_the_one_in_configs(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--help"])

    assert "configs/gandalf.yaml" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv", [(), ("keys", "x"), ("nonsense",), ("serve", "--conf", "x")]
)
def test_a_command_line_that_is_wrong_exits_with_2(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        main(argv)

    assert caught.value.code == 2
    assert "usage: gandalf" in capsys.readouterr().err


def test_the_module_is_the_command_and_says_its_version():
    command = [sys.executable, "-m", "gandalf", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    assert (done.returncode, done.stdout) == (0, f"gandalf {__version__}\n")


def test_nothing_heavy_is_imported_before_a_gateway_is_served():
    script = (
        "import sys\n"
        "from gandalf.cli import main\n"
        "try: main(['serve', '--help'])\n"
        "except SystemExit: print(sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT
    )

    assert "usage: gandalf" in done.stdout
    assert "'gandalf.cli'" in done.stderr
    for module in ("trio", "msgspec", "yaml", "sqlite3", "quart", "gandalf.config"):
        assert f"'{module}'" not in done.stderr


def test_a_reader_that_has_had_enough_is_no_error_to_complain_of(config):
    record(config, *(a_record(f"r{n}") for n in range(2000)))
    command = [sys.executable, "-m", "gandalf", "usage", "--limit", "2000"]
    with subprocess.Popen(
        [*command, "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        complaint = process.stderr.read()

    assert (process.returncode, complaint) == (1, b"")


# Prices.

PRICED = """
providers:
  - {name: openai, api_key: k, models: [gpt-4o]}
  - {name: anthropic, api_key: k, models: [claude-opus-4-1-20250805]}
  - {name: simulated, models: [sim]}
prices: {overrides: [{provider: openai, model: mine, input: 0.1, output: 0.2}]}
routes: [{model_alias: fast, targets: [{provider: openai, model: mine}]}]
"""


@pytest.fixture
def priced(tmp_path):
    path = tmp_path / "priced.yaml"
    path.write_text(PRICED)
    return path


def test_prices_are_shown_with_how_they_were_found(run, priced):
    status, out, _ = run("prices", config=priced)

    assert status == 0
    rows = {line.split()[0]: line.split()[1:6] for line in out.splitlines()}
    assert rows["gpt-4o"] == ["openai/gpt-4o", "exact", "openai/gpt-4o", "2.5", "10"]
    assert rows["fast"] == ["openai/mine", "override", "mine", "0.1", "0.2"]
    assert rows["claude-opus-4-1-20250805"][1:3] == [
        "fuzzy",
        "anthropic/claude-opus-4-1",
    ]
    assert rows["sim"] == ["simulated/sim", "none", "-", "-", "-"]


def test_prices_of_one_route_are_shown_whole_as_json(run, priced):
    status, out, _ = run("prices", "fast", "--json", config=priced)

    assert status == 0
    assert json.loads(out) == {
        "alias": "fast",
        "target": "openai/mine",
        "match": "override",
        "entry": "mine",
        "version": "config",
        "on_unknown_price": "allow",
        "cost_source": "prices",
        "prices": [
            {"service_tier": "standard", "usd": {"input": "0.1", "output": "0.2"}}
        ],
    }


def test_json_tells_the_tiers_hours_and_dates_of_a_price(run, priced):
    priced.write_text(
        "providers: [{name: deepseek, api_key: k, models: [deepseek-chat]}]"
    )

    _, out, _ = run("prices", "--json", config=priced)

    first, second = json.loads(out)["prices"]
    assert "hours" not in first
    assert second["hours"] == "00:30-16:30"


def test_prices_of_a_route_that_does_not_exist_are_an_error(run, priced):
    status, _, err = run("prices", "nothing", config=priced)

    assert (status, err) == (1, "there is no route 'nothing'\n")


def test_the_vendors_of_the_price_list_can_be_listed(run, priced):
    _, out, _ = run("prices", "--vendors", config=priced)

    assert "openrouter" in out


def test_a_price_file_that_cannot_be_read_is_told(run, priced, tmp_path):
    broken = tmp_path / "prices.json"
    broken.write_text("{}")
    priced.write_text(f"{PRICED.replace('prices: {', f'prices: {{file: {broken}, ')}")

    for command in ("prices", "check"):
        status, _, err = run(command, config=priced)

        assert status == 2
        assert "prices.json: Object missing required field" in err


# Costs, computed again.


def test_costs_are_computed_again_after_the_difference_was_shown(run, config):
    config.write_text(
        config.read_text().replace(
            "providers: [",
            "providers: [{name: openai-eu,"
            " type: openai, api_key: k, models: [gpt-4o]}, ",
        )
    )
    record(
        config,
        a_record("r1", tokens=TokenUsage(input=100, output=20)),
        a_record("r2", tokens=TokenUsage(input=10, output=0), cost_nanousd=1),
    )

    status, shown, said = run("usage", "rerate", "--since", "1970-01-01")
    _, before, _ = run("usage", "--json")
    _, kept, _ = run("usage", "rerate", "--since", "1970-01-01T00:00", "--apply")
    _, after, _ = run("usage", "--json")

    assert status == 0
    assert shown.splitlines()[1].split() == [
        *("openai-eu/gpt-4o", "2", "2", "0.000000001", "0.000475", "0.000474999"),
        *("1", "->", "0"),
    ]
    assert said == "nothing is changed yet; --apply keeps it\n"
    assert kept == shown
    costs = [
        [json.loads(line)["cost_nanousd"] for line in out.splitlines()]
        for out in (before, after)
    ]
    assert costs == [[1, None], [25_000, 450_000]]


# usage, summed up


def hourly_records():
    start = 20_000 * 86_400_000
    return [
        a_record(
            f"{first_at(start + hour * 3_600_000)}-7000-8000-{hour:012x}",
            client_request_id="",
            model="m-1" if hour % 2 else "m-2",
            key_id="k1" if hour < 30 else "k2",
            cost_nanousd=1_500_000_000,
        )
        for hour in range(40)
    ]


def test_usage_is_summed_up_by_day_and_group(config, run):
    record(config, *hourly_records())
    range_ = ("--since", "2024-10-04", "--until", "2024-10-06")

    status, out, _ = run("usage", "summary", *range_)

    assert status == 0
    assert [line.split()[:4] for line in out.splitlines()] == [
        ["BUCKET", "MODEL", "REQUESTS", "ERRORS"],
        ["2024-10-05", "m-1", "8", "0"],
        ["2024-10-05", "m-2", "8", "0"],
        ["2024-10-04", "m-1", "12", "0"],
        ["2024-10-04", "m-2", "12", "0"],
    ]
    assert "12.000000000" in out

    _, out, _ = run("usage", "summary", *range_, "--by", "", "--tz", "Asia/Tokyo")
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        ["2024-10-05", "24"],
        ["2024-10-04", "15"],
    ]


def test_sums_are_lines_of_json_too(config, run):
    record(config, *hourly_records())

    _, out, _ = run(
        *("usage", "summary", "--period", "total", "--by", "key_id"),
        *("--json", "--percentiles", "--key", "k2"),
    )

    [row] = map(json.loads, out.splitlines())
    assert (row["key_id"], row["requests"], row["cost_nanousd"]) == (
        "k2",
        10,
        15_000_000_000,
    )
    assert row["latency_p99_us"] == pytest.approx(1_500_000, rel=0.04)


def test_requests_are_listed_by_what_they_were(config, run):
    record(config, *hourly_records())

    _, out, _ = run("usage", "--key", "k2", "--model", "m-1", "--limit", "3", "--json")

    rows = [json.loads(line) for line in out.splitlines()]
    assert [int(row["request_id"][-2:], 16) for row in rows] == [39, 37, 35]
    assert {row["key_id"] for row in rows} == {"k2"}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("usage", "summary", "--by", "price"), "not a dimension: price"),
        (("usage", "summary", "--tz", "Middle/Earth"), "unknown time zone"),
        (("usage", "summary", "--since", "yesterday"), "not a time: 'yesterday'"),
        (("usage", "--since", "yesterday"), "not a time: 'yesterday'"),
    ],
)
def test_what_cannot_be_summed_up_is_said(config, run, argv, said):
    record(config, *hourly_records())

    status, _, err = run(*argv)

    assert (status, said in err) == (2, True)


def test_sums_that_went_wrong_are_found_and_rebuilt(config, run):
    record(config, *hourly_records())
    assert run("usage", "audit")[0] == 0

    async def spoil(database):
        await database.write(lambda c: c.execute("UPDATE usage_hours SET requests = 5"))

    in_database(config, spoil)
    status, out, _ = run("usage", "audit")
    assert status == 1
    assert "requests is 5, the sum is 1" in out

    assert run("usage", "rebuild")[1] == "roll-ups of 40 requests were made anew\n"
    assert run("usage", "audit")[0] == 0


# budgets


def with_budgets(config):
    config.write_text(
        config.read_text()
        + "budgets:\n"
        + "  - {name: all, scope: global, limit: 100, time_zone: Europe/Berlin}\n"
        + "  - {name: calls, scope: key, limit: 10, unit: requests}\n"
    )


def test_a_raise_is_one_call_and_ends_at_the_end_of_its_day(run, config):
    with_budgets(config)

    status, out, err = run("budgets", "raise", "all", "+20", "--until", "2126-06-07")

    assert (status, err) == (0, "")
    assert out == "all has 20.00 USD more until 2126-06-08T00:00:00+02:00\n"
    [one] = in_database(config, lambda database: BudgetStore(database).raises(0))
    assert (one.budget, one.subject, one.amount) == ("all", "", 20 * 10**9)


def test_a_raise_may_end_on_a_weekday_or_at_a_time(run, config):
    with_budgets(config)

    friday = run("budgets", "raise", "calls", "5", "--until", "friday", "--id", "k1")
    exact = run("budgets", "raise", "calls", "5", "--until", "2126-06-07T18:00")

    assert friday[0] == exact[0] == 0
    assert "calls has 5 requests more until" in friday[1]
    assert "2126-06-07T18:00:00+00:00" in exact[1]
    raises = in_database(config, lambda database: BudgetStore(database).raises(0))
    end = datetime.fromtimestamp(min(one.until for one in raises), UTC)
    assert (end.strftime("%A"), end.hour) == ("Saturday", 0)


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (("nothing", "1", "--until", "friday"), 1, "configured: all, calls"),
        (("all", "1", "--until", "2020-01-01"), 2, "an end that is to come"),
        (("all", "x", "--until", "friday"), 2, "not a number"),
        (("all", "0", "--until", "friday"), 2, "needs an amount"),
        (("calls", "1.5", "--until", "friday"), 2, "not an amount of requests"),
        (("all", "1", "--until", "someday"), 2, "someday"),
    ],
)
def test_a_raise_that_cannot_be_is_refused(run, config, argv, status, said):
    with_budgets(config)

    result = run("budgets", "raise", *argv)

    assert result[0] == status
    assert said in result[2]


def test_budgets_are_listed_with_what_they_have_spent(run, config):
    with_budgets(config)
    now = int(time.time())
    spent = {"charged_at": now, "charged_nanousd": 2 * 10**9, "cost_nanousd": 2 * 10**9}
    record(config, a_record("r1", key_id="k1", **spent))

    async def track(database):
        table = UsageTable(database)
        table.rules = Ledger(budgets_of(load(config, {}))).rules
        await table.track()

    in_database(config, track)
    status, out, _ = run("budgets", "list")

    assert status == 0
    assert [line.split() for line in out.splitlines()][1:] == [
        ["all", "-", "2.00", "USD", "100.00", "USD", "month@Europe/Berlin"],
        ["calls", "k1", "1", "requests", "10", "requests", "month@UTC"],
    ]
    status, out, _ = run("usage", "audit")
    assert status == 0
    assert "every balance is the sum of its records\n" in out


def test_an_audit_that_finds_something_says_what_and_fails(run, config):
    now = int(time.time())
    record(config, a_record("r1", key_id="k1", charged_at=now, charged_nanousd=5))

    async def damage(database):
        await UsageTable(database).track()
        await database.write(
            lambda connection: connection.execute(
                "UPDATE requests SET record = json_set(record, '$[30]', 6)"
            )
        )

    in_database(config, damage)
    status, out, _ = run("usage", "audit")

    assert status == 1
    assert "key/lifetime/usd" in out
    assert re.search(r" 5 +6 +r1$", out, re.MULTILINE)


def test_a_key_may_be_made_with_a_budget_and_tags(run, config):
    assert run("keys", "create", "--max-budget", "2.5", "--tags", "a,b=c")[0] == 0

    (stored,) = stored_keys(config)
    assert stored.max_budget_nanousd == 2_500_000_000
    assert stored.tags == {"a": "", "b": "c"}
    assert run("keys", "create", "--max-budget", "x")[0] == 2
