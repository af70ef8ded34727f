"""Balances, requests in flight at a crash, and the audit, in a real database."""

import random

import pytest

from gandalf.domain.budgets import KEY_RULE, Rule, Scope, Unit
from gandalf.domain.ids import first_at
from gandalf.domain.usage import (
    EndReason,
    OpenedRequest,
    OtherUsage,
    TokenUsage,
    UsageSource,
)
from gandalf.domain.windows import period
from gandalf.storage import balances, journal
from gandalf.storage.database import Database
from gandalf.storage.journal import JournalDirectory
from gandalf.storage.usage import UsageTable
from gandalf.storage.usage_upkeep import UsageUpkeep
from tests.storage.builders import a_record

NOW = 1_780_315_200
DAY = 86_400


def a_rule(scope, window="day", unit="usd", subject="", zone="Europe/Berlin"):
    return Rule(Scope(scope), subject, window, zone, Unit(unit))


RULES = (
    *(a_rule(scope) for scope in Scope),
    a_rule("team", "month", "tokens"),
    a_rule("global", "3d", "requests"),
    a_rule("alias", "hour", subject="fast"),
    KEY_RULE,
)


def an_opened(name="r1", **changes):
    fields = {
        "request_id": name,
        "client_request_id": "",
        "charged_at": NOW,
        "operation": "chat",
        "dialect": "openai",
        "key_id": "k1",
        "org_id": "default",
        "team_id": None,
        "user_id": None,
        "alias": "fast",
        "provider": "openai-eu",
        "model": "gpt-4o",
        "stream": True,
        "tags": ("a",),
        "input_tokens": 40,
        "output_tokens": 100,
        "cost_nanousd": 500,
    }
    return OpenedRequest(**{**fields, **changes})


def a_charged(name, cost=7, **changes):
    fields = {"charged_at": NOW, "cost_nanousd": cost, "charged_nanousd": cost}
    return a_record(name, **{**fields, **changes})


@pytest.fixture
async def database(tmp_path):
    database = Database(tmp_path / "gandalf.db")
    await database.open()
    yield database
    database.close()


@pytest.fixture
async def table(database):
    table = UsageTable(database, "here")
    table.rules = RULES
    await table.track()
    return table


class Journal:
    """A segment that is written line by line and loaded when the test says so."""

    def __init__(self, path, table):
        self.segment = JournalDirectory(path / "journal", 1 << 20)
        self.segment.path.mkdir()
        self.segment = self.segment.allocate()
        self.table = table

    async def load(self, *lines):
        for line in lines:
            encode = (
                journal.encode_opened
                if isinstance(line, OpenedRequest)
                else journal.encode
            )
            self.segment.append(encode(line))
        self.segment.consumed = (await self.table.ingest(self.segment.span())).end


@pytest.fixture
def lines(tmp_path, table):
    journal = Journal(tmp_path, table)
    yield journal
    journal.segment.close()


def read(query):
    return lambda connection: connection.execute(query).fetchall()


async def test_a_balance_is_the_sum_of_its_records(table, lines):
    await lines.load(
        a_charged("r1", 7, tags=("a", "b"), team_id="t"),
        a_charged("r2", 5, tags=("a",), team_id="t"),
        a_record("refused"),
    )
    await lines.load(a_charged("r3", 3, charged_at=NOW + DAY))

    sums = await table.balances()

    today = period("day", "Europe/Berlin").window(NOW).start
    assert sums[a_rule("tag").name, "a"] == {today: 12}
    assert sums[a_rule("tag").name, "b"] == {today: 7}
    assert sums[a_rule("global").name, ""] == {today: 12, today + DAY: 3}
    assert sums[KEY_RULE.name, "k1"] == {0: 15}
    assert list(sums[a_rule("team", "month", "tokens").name, "t"].values()) == [240]
    assert await table.audit() == []


async def test_a_record_that_is_loaded_twice_is_charged_once(table, lines):
    await lines.load(a_charged("r1"), a_charged("r1"))
    lines.segment.consumed = 0
    await lines.load()

    assert (await table.balances())[KEY_RULE.name, "k1"] == {0: 7}
    assert await table.audit() == []


async def test_a_rule_that_comes_later_begins_with_the_records_there_are(table, lines):
    await lines.load(a_charged("r1"), a_charged("r2", user_id="u"))
    added = a_rule("user", "week")
    table.rules = (*RULES, added)

    tracked = await table.track()

    assert tracked.rules == (added,)
    assert [list(v.values()) for v in tracked.sums.values()] == [[7]]
    await lines.load(a_charged("r3", user_id="u"))
    assert list((await table.balances())[added.name, "u"].values()) == [14]
    assert await table.audit() == []
    assert await table.track() is None


async def test_a_rule_that_goes_and_comes_back_has_missed_nothing(table, lines):
    await lines.load(a_charged("r1"))
    table.rules = (KEY_RULE,)
    await table.track()
    await lines.load(a_charged("r2"))
    assert list(await table.balances()) == [(KEY_RULE.name, "k1")]

    table.rules = RULES
    await table.track()

    assert list((await table.balances())[a_rule("key").name, "k1"].values()) == [14]


async def test_what_was_in_flight_at_a_crash_is_charged_at_its_reservation(
    table, lines, database
):
    await lines.load(an_opened("done"), an_opened("lost"), an_opened("free"))
    # A stream has reserved more since; the last line counts.
    await lines.load(
        a_charged("done", 30), an_opened("lost", output_tokens=300, cost_nanousd=900)
    )
    await lines.load(an_opened("late", cost_nanousd=None), a_charged("free", 1))

    assert await table.settle_crashed(lambda opened: 11) == 2

    rows = await database.read(
        read(
            "SELECT request_id, end_reason, usage_source, input_tokens, output_tokens,"
            " cost_nanousd, charged_at FROM usage_records WHERE end_reason = 'crashed'"
            " ORDER BY request_id"
        )
    )
    assert rows == [
        ("late", "crashed", "estimated", 40, 100, 11, NOW),
        ("lost", "crashed", "estimated", 40, 300, 900, NOW),
    ]
    assert (await table.balances())[KEY_RULE.name, "k1"] == {0: 30 + 1 + 900 + 11}
    assert await table.settle_crashed(lambda opened: 11) == 0
    assert await table.audit() == []


async def test_another_journals_requests_in_flight_are_left_alone(
    table, lines, database
):
    await lines.load(an_opened("ours"))

    assert await UsageTable(database, "there").settle_crashed(lambda opened: 0) == 0

    assert await table.settle_crashed(lambda opened: 0) == 1


async def test_a_segment_that_is_replayed_after_a_crash_settles_nothing_twice(
    table, lines
):
    await lines.load(an_opened("r1"), a_charged("r1"))
    await lines.load(an_opened("r2"))
    await table.settle_crashed(lambda opened: 0)
    # It could not be deleted.
    lines.segment.consumed = 0
    await lines.load()

    await table.settle_crashed(lambda opened: 0)

    assert (await table.balances())[KEY_RULE.name, "k1"] == {0: 507}
    assert await table.audit() == []


async def test_the_audit_names_the_first_row_that_differs(table, lines, database):
    await lines.load(*(a_charged(f"r{n}", n) for n in range(1, 6)))

    await database.write(
        lambda connection: connection.execute(
            "UPDATE requests SET record = json_set(record, '$[30]', 1000)"
            " WHERE id IN ('r3', 'r5')"
        )
    )

    [drift] = [d for d in await table.audit() if d.rule == KEY_RULE.name]
    assert (drift.subject, drift.spent, drift.total) == ("k1", 15, 2007)
    assert drift.first_row == "r3"


async def test_the_audit_sees_a_row_that_is_gone(table, lines, database):
    await lines.load(a_charged("r1"), a_charged("r2"))

    await database.write(
        lambda connection: connection.execute("DELETE FROM requests WHERE id = 'r1'")
    )

    [drift] = [d for d in await table.audit() if d.rule == KEY_RULE.name]
    assert (drift.spent, drift.total, drift.first_row) == (14, 7, "")


async def test_rows_that_are_deleted_for_their_age_are_no_drift(table, lines, database):
    old = f"{first_at(NOW * 1000)}-7000-8000-000000000001"
    new = f"{first_at((NOW + DAY) * 1000)}-7000-8000-000000000001"
    await lines.load(a_charged(old, tags=("a",)), a_charged(new, tags=("a",)))

    assert await UsageUpkeep(database).delete_rows(NOW + DAY / 2, 100) == 1

    assert await table.audit() == []
    assert (await table.balances())[KEY_RULE.name, "k1"] == {0: 14}


async def test_a_corrected_record_corrects_its_balances(table, lines, database):
    before = a_charged("r1", 7)
    after = a_charged("r1", 9)
    await lines.load(before, a_charged("r2", 5))

    def rerate(connection):
        balances.correct(connection, RULES, [(before, after)])
        connection.execute(
            "UPDATE requests SET record = json_set(record, '$[30]', 9), charged = 9"
            " WHERE id = 'r1'"
        )

    await database.write(rerate)

    assert (await table.balances())[KEY_RULE.name, "k1"] == {0: 14}
    assert await table.audit() == []


@pytest.mark.parametrize("seed", range(3))
async def test_the_two_ways_to_sum_up_agree(table, lines, seed):
    """Python's and SQLite's, over records of every kind."""
    dice = random.Random(seed)

    def some(*choices):
        return dice.choice(choices)

    records = [
        a_charged(
            f"r{n:04}",
            dice.randrange(10**12),
            charged_at=some(0, NOW, NOW + dice.randrange(90 * DAY)),
            key_id=some("k1", "k2"),
            team_id=some(None, "t1", "t2"),
            user_id=some(None, "u"),
            alias=some("", "fast", "slow/er"),
            provider=some("", "p1"),
            tags=some((), ("a",), ("a", "b'c")),
            end_reason=some(*EndReason),
            usage_source=some(*UsageSource),
            tokens=some(
                TokenUsage(),
                TokenUsage(input=3, cache_read=2, output=1, reasoning=9),
                TokenUsage(input=1, other=OtherUsage(image_input=5, web_searches=2)),
                TokenUsage(cache_write=4, cache_write_1h=5, audio_output=6),
            ),
        )
        for n in range(300)
    ]

    await lines.load(*records)

    assert await table.audit() == []
    assert len(await table.balances()) > 15
