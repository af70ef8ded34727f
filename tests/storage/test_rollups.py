"""Roll-ups are the sums of their rows, whatever happens."""

import sqlite3
from contextlib import closing

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gandalf.domain import histogram
from gandalf.domain.ids import first_at, milliseconds_of, new_id
from gandalf.domain.usage import EndReason, OtherUsage, TokenUsage
from gandalf.storage import rollups, usage, usage_series
from gandalf.storage.database import Database
from gandalf.storage.errors import StorageError
from gandalf.storage.migrations import migrate
from gandalf.storage.rerating import rerate
from gandalf.storage.rollups import MEASURES
from gandalf.storage.usage import UsageTable
from gandalf.storage.usage_series import HOUR_MS
from gandalf.storage.usage_upkeep import Difference, UsageUpkeep
from tests.storage.builders import a_record, a_segment, entries_of, some_records

DAY_MS = 24 * HOUR_MS
START_MS = 20_000 * DAY_MS


def an_id(at_ms, number=0):
    return f"{first_at(at_ms)}-7000-8000-{number:012x}"


def a_request(number=0, at_ms=START_MS, **changes):
    return a_record(an_id(at_ms, number), **changes)


@pytest.fixture
async def database(tmp_path):
    database = Database(tmp_path / "gandalf.db")
    await database.open()
    yield database
    database.close()


@pytest.fixture
def upkeep(database):
    return UsageUpkeep(database)


async def insert(database, *records):
    await database.write(lambda c: usage.insert(c, entries_of(records)))


def rows(database, query):
    with closing(sqlite3.connect(database.path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


def total(database, table="usage_hours"):
    sums = ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in MEASURES)
    [row] = rows(database, f"SELECT {sums} FROM {table}")
    return row


def test_an_id_tells_its_time():
    before = milliseconds_of(new_id())

    assert before is not None
    assert first_at(before) <= new_id()
    assert milliseconds_of("r1") is None
    assert milliseconds_of("x" * 14 + "7" + "x" * 21) is None


async def test_every_measure_of_a_request_is_in_its_hour(database):
    tokens = TokenUsage(
        input=1,
        cache_read=2,
        cache_write=3,
        cache_write_1h=4,
        output=5,
        reasoning=6,
        audio_input=7,
        audio_output=8,
        other=OtherUsage(image_input=9, image_output=10),
    )
    await insert(
        database,
        a_request(1, tokens=tokens, cost_nanousd=11, latency=0.5, ttft=0.1),
        a_request(
            2,
            tokens=TokenUsage(),
            cost_nanousd=None,
            cache="hit",
            latency=1.5,
            ttft=None,
        ),
    )

    [row] = rows(database, "SELECT * FROM usage_hours")
    latency, ttft = row.pop("latency"), row.pop("ttft")
    assert row == {
        "series": 1,
        "hour": START_MS // HOUR_MS,
        "requests": 2,
        "errors": 0,
        "cached": 1,
        "unpriced": 1,
        "cost_nanousd": 11,
        "input_tokens": 1,
        "cache_read_tokens": 2,
        "cache_write_tokens": 3,
        "cache_write_1h_tokens": 4,
        "output_tokens": 5,
        "reasoning_tokens": 6,
        "audio_input_tokens": 7,
        "audio_output_tokens": 8,
        "other_input_tokens": 9,
        "other_output_tokens": 10,
        "latency_us": 2_000_000,
    }
    assert histogram.count_of(histogram.unpack(latency)) == 2
    [first] = histogram.quantiles(histogram.unpack(ttft), [0.5])
    assert first == pytest.approx(100_000, rel=histogram.RELATIVE_ERROR)


@pytest.mark.parametrize(
    "change",
    [
        {"org_id": "x"},
        {"team_id": "x"},
        {"key_id": "x"},
        {"user_id": "x"},
        {"alias": "x"},
        {"provider": "x"},
        {"model": "x"},
        {"operation": "x"},
        {"tags": ("x",)},
        {"end_reason": EndReason.INCOMPLETE},
        {"status": 503},
        {"error_code": "x"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_requests_that_differ_in_a_dimension_are_summed_apart(database, change):
    await insert(database, a_request(1), a_request(2, **change), a_request(3))

    found = rows(database, "SELECT requests FROM usage_hours ORDER BY series")
    assert [row["requests"] for row in found] == [2, 1]
    series = rows(database, "SELECT series FROM requests ORDER BY id")
    assert [row["series"] for row in series] == [1, 2, 1]


async def test_the_order_of_tags_makes_no_difference(database):
    await insert(
        database, a_request(1, tags=("b", "a")), a_request(2, tags=("a", "b", "a"))
    )

    [row] = rows(database, "SELECT tags FROM usage_series")
    assert row["tags"] == '["a","b"]'


@pytest.mark.parametrize(
    ("end_reason", "errors"),
    [(reason, reason not in ("complete", "client_disconnect")) for reason in EndReason],
)
async def test_what_did_not_end_well_is_an_error(database, end_reason, errors):
    await insert(database, a_request(end_reason=end_reason))

    assert total(database)["errors"] == errors


async def test_a_row_that_comes_again_is_counted_once(database, tmp_path):
    segment = a_segment(tmp_path, [a_request(n) for n in range(100)])
    table = UsageTable(database)

    for _ in range(3):
        await table.ingest(segment.span())
    await insert(database, a_request(5), a_request(5), a_request(100), a_request(100))

    assert total(database)["requests"] == 101


async def test_nothing_is_counted_of_a_load_that_fails(database, upkeep):
    await database.write(
        lambda c: c.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON usage_hours WHEN NEW.hour > 480000"
            " BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
    )

    with pytest.raises(StorageError, match="broken"):
        await insert(database, a_request(1), a_request(2, at_ms=START_MS + DAY_MS))

    assert rows(database, "SELECT * FROM requests") == []
    assert rows(database, "SELECT * FROM usage_series") == []
    await database.write(lambda c: c.execute("DROP TRIGGER broken"))
    await insert(database, a_request(1), a_request(2, at_ms=START_MS + DAY_MS))
    assert await upkeep.audit() == []


async def test_a_past_day_is_summed_up_when_the_next_one_begins(database):
    await insert(database, *(a_request(n, START_MS + n * HOUR_MS) for n in range(24)))
    assert rows(database, "SELECT * FROM usage_days") == []

    await insert(database, a_request(24, START_MS + DAY_MS))

    [row] = rows(database, "SELECT day, requests, latency FROM usage_days")
    assert (row["day"], row["requests"]) == (20_000, 24)
    assert histogram.count_of(histogram.unpack(row["latency"])) == 24


async def test_a_late_row_is_counted_in_its_past_day(database, upkeep):
    await insert(database, a_request(1), a_request(2, START_MS + 2 * DAY_MS))

    await insert(
        database,
        a_request(3),
        a_request(4, key_id="new"),
        a_request(5, START_MS + DAY_MS),
        a_request(6, START_MS - 5 * DAY_MS),
    )

    found = rows(database, "SELECT day, requests FROM usage_days ORDER BY day, series")
    assert [(row["day"], row["requests"]) for row in found] == [
        (19_995, 1),
        (20_000, 2),
        (20_000, 1),
        (20_001, 1),
    ]
    assert await upkeep.audit() == []


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.integers(0, 60),
                st.integers(0, 4 * 24),
                st.sampled_from(["k1", "k2"]),
                st.sampled_from(["a", "b"]),
                st.integers(0, 10**12),
            ),
            max_size=30,
        ),
        max_size=6,
    )
)
def test_rows_in_any_order_make_the_same_roll_ups_as_a_rebuild(loads):
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, None)
        unique = {}
        for load in loads:
            records = []
            for number, hour, key, model, cost in load:
                at = START_MS + hour * HOUR_MS
                record = a_request(
                    number, at, key_id=key, model=model, cost_nanousd=cost
                )
                unique.setdefault(record.request_id, record)
                records.append(record)
            usage.insert(connection, entries_of(records))
        kept = {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("usage_hours", "usage_days")
        }

        assert rollups.rebuild(connection) == len(unique)

        for table, before in kept.items():
            query = f"SELECT * FROM {table} ORDER BY 1, 2"
            assert connection.execute(query).fetchall() == before
        [(requests, cost)] = connection.execute(
            "SELECT coalesce(sum(requests), 0), coalesce(sum(cost_nanousd), 0)"
            " FROM usage_hours"
        )
        assert requests == len(unique)
        assert cost == sum(record.cost_nanousd for record in unique.values())


async def test_an_audit_names_what_differs(database, upkeep):
    await insert(database, *(a_request(n) for n in range(3)))
    await insert(database, a_request(3, START_MS + DAY_MS))
    assert await upkeep.audit() == []

    await database.write(lambda c: c.execute("UPDATE usage_days SET cost_nanousd = 7"))
    await database.write(
        lambda c: c.execute("UPDATE usage_hours SET requests = 9 WHERE hour > 480000")
    )

    assert await upkeep.audit() == [
        Difference(
            table="usage_hours",
            series=1,
            at=480_024,
            measure="requests",
            rows=1,
            stored=9,
        ),
        Difference(
            table="usage_days",
            series=1,
            at=20_000,
            measure="cost_nanousd",
            rows=0,
            stored=7,
        ),
    ]


async def test_an_audit_notices_rows_without_roll_ups_and_roll_ups_without_rows(
    database, upkeep
):
    await insert(database, a_request(1), a_request(2, key_id="other"))
    await database.write(lambda c: c.execute("DELETE FROM usage_hours WHERE series=1"))
    await database.write(lambda c: c.execute("DELETE FROM requests WHERE series=2"))

    found = {(each.series, each.measure): each for each in await upkeep.audit()}

    assert (found[1, "requests"].rows, found[1, "requests"].stored) == (1, 0)
    assert (found[2, "requests"].rows, found[2, "requests"].stored) == (0, 1)


async def test_a_rebuild_puts_right_what_was_wrong(database, upkeep):
    await insert(database, *(a_request(n, START_MS + n * HOUR_MS) for n in range(50)))
    await database.write(lambda c: c.execute("UPDATE usage_hours SET requests = 9"))
    await database.write(lambda c: c.execute("DELETE FROM usage_days"))
    assert await upkeep.audit() != []

    assert await upkeep.rebuild() == 50

    assert await upkeep.audit() == []
    assert total(database)["requests"] == 50
    assert total(database, "usage_days")["requests"] == 48


async def test_a_monster_of_a_number_is_counted_as_far_as_it_can_be(database, upkeep):
    monster = TokenUsage(input=10**30, output=-5)
    await insert(database, a_request(1, tokens=monster), a_request(2, tokens=monster))

    assert total(database)["input_tokens"] == 2 * (2**53 - 1)
    assert total(database)["output_tokens"] == 0
    assert await upkeep.audit() == []


async def test_aliases_of_refused_requests_do_not_make_series_without_end(
    database, monkeypatch
):
    monkeypatch.setattr(usage_series, "MAX_SERIES", 10)
    refused = {"end_reason": EndReason.REFUSED, "status": 404, "attempts": ()}

    for number in range(30):
        await insert(database, a_request(number, alias=f"made-up-{number}", **refused))
    await insert(database, a_request(30, alias="real"))

    series = rows(
        database,
        "SELECT alias, sum(requests) AS n FROM usage_series"
        " JOIN usage_hours ON series = id GROUP BY 1",
    )
    assert len(series) == 12
    assert {row["alias"]: row["n"] for row in series}["(other)"] == 20
    assert {row["alias"]: row["n"] for row in series}["real"] == 1


async def test_tags_do_not_make_series_without_end(database, monkeypatch):
    monkeypatch.setattr(usage_series, "MAX_SERIES", 10)

    for number in range(30):
        await insert(database, a_request(number, tags=(f"t{number}",)))

    assert len(rows(database, "SELECT * FROM usage_series")) == 11
    assert total(database)["requests"] == 30


# Deletion by age.


async def test_old_rows_are_deleted_in_steps_and_their_roll_ups_stay(database, upkeep):
    await insert(database, *(a_request(n, START_MS + n * HOUR_MS) for n in range(60)))
    horizon = (START_MS + 50 * HOUR_MS) / 1000 + 1800

    steps = []
    while not steps or steps[-1] == 20:
        steps.append(await upkeep.delete_rows(horizon, 20))

    assert steps == [20, 20, 10]
    assert len(rows(database, "SELECT * FROM requests")) == 10
    assert total(database)["requests"] == 60
    assert await upkeep.audit() == []
    await upkeep.rebuild()
    assert total(database)["requests"] == 60
    assert total(database, "usage_days")["requests"] == 48


async def test_old_roll_ups_and_series_are_deleted_in_steps(database, upkeep):
    old = [a_request(n, START_MS + n * HOUR_MS, key_id=f"k{n}") for n in range(30)]
    await insert(database, *old, a_request(99, START_MS + 9 * DAY_MS, key_id="new"))
    horizon = (START_MS + 8 * DAY_MS) / 1000

    await upkeep.delete_rows(horizon, 1000)
    deleted = 0
    while step := await upkeep.delete_rollups(horizon, 7):
        assert step <= 7
        deleted += step

    assert deleted == 30 + 30 + 30
    assert total(database)["requests"] == 1
    [series] = rows(database, "SELECT key_id FROM usage_series")
    assert series["key_id"] == "new"


async def test_a_series_whose_rows_are_there_is_kept(database, upkeep):
    await insert(database, a_request(1), a_request(2, START_MS + 9 * DAY_MS))

    while await upkeep.delete_rollups((START_MS + 20 * DAY_MS) / 1000, 10):
        pass

    assert len(rows(database, "SELECT * FROM usage_series")) == 1


async def test_records_of_the_journal_are_read_by_what_they_say(database, tmp_path):
    segment = a_segment(tmp_path, some_records(3, tags=("x",)))

    await UsageTable(database).ingest(segment.span())

    [row] = rows(database, "SELECT tags FROM usage_series")
    assert msgspec.json.decode(row["tags"]) == ["x"]


async def test_costs_that_are_computed_again_are_corrected_in_hours_and_days(
    database, upkeep
):
    await insert(
        database,
        a_request(1, cost_nanousd=None),
        a_request(2, cost_nanousd=500),
        a_request(3, START_MS + 2 * DAY_MS, cost_nanousd=70),
    )

    def dearer(record):
        return msgspec.structs.replace(record, cost_nanousd=1000)

    await rerate(database, 0.0, dearer, apply=True)

    assert total(database)["cost_nanousd"] == 3000
    assert total(database)["unpriced"] == 0
    assert total(database, "usage_days")["cost_nanousd"] == 2000
    assert await upkeep.audit() == []


async def test_a_series_that_others_are_counted_in_covers_all_of_their_hours(
    database, monkeypatch
):
    monkeypatch.setattr(usage_series, "MAX_SERIES", 0)
    for hour in (5, 1, 9):
        at = START_MS + hour * HOUR_MS
        await insert(database, a_request(hour, at, tags=(f"t{hour}",)))

    [row] = rows(database, "SELECT first_hour, last_hour FROM usage_series")
    first = START_MS // HOUR_MS
    assert (row["first_hour"], row["last_hour"]) == (first + 1, first + 9)


async def test_the_hour_is_exact_also_where_ids_begin_alike(database):
    # The first eight characters of an id change every 65.5 seconds.
    boundary = (START_MS // HOUR_MS + 7) * HOUR_MS
    await insert(
        database,
        *(a_request(n, boundary + (n - 5) * 1000) for n in range(10)),
    )

    found = rows(database, "SELECT requests FROM usage_hours ORDER BY hour")
    assert [row["requests"] for row in found] == [5, 5]
