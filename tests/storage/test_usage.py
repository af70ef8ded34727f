import sqlite3
from contextlib import closing

import pytest

from gandalf.domain.prices import Rating, UnitPrices
from gandalf.domain.usage import Billed, EndReason, OtherUsage, TokenUsage, UsageSource
from gandalf.storage import usage
from gandalf.storage.database import Database
from gandalf.storage.errors import StorageError
from gandalf.storage.journal import Span
from gandalf.storage.requests import RequestRecords
from gandalf.storage.usage import UsageTable
from tests.storage.builders import (
    a_record,
    a_segment,
    an_attempt,
    entries_of,
    some_records,
)


@pytest.fixture
async def database(tmp_path):
    database = Database(tmp_path / "gandalf.db")
    await database.open()
    yield database
    database.close()


def insert(records):
    return lambda connection: usage.insert(connection, entries_of(records))


def rows(path, query):
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


async def test_every_field_has_its_column(database):
    record = a_record(
        "r1",
        client_request_id="c1",
        received_at=1_700_000_000.123456,
        operation="embeddings",
        dialect="anthropic",
        key_id="k9",
        org_id="acme",
        team_id="t1",
        user_id="u1",
        alias="fast",
        provider="openai-eu",
        model="gpt-4o",
        stream=True,
        status=502,
        end_reason=EndReason.INCOMPLETE,
        error_code="upstream_error",
        cache="miss",
        tokens=TokenUsage(
            input=1,
            cache_read=2,
            cache_write=3,
            cache_write_1h=4,
            output=5,
            reasoning=6,
            audio_input=7,
            audio_output=8,
            other=OtherUsage(web_searches=2),
        ),
        usage_source=UsageSource.ESTIMATED,
        estimated_tokens=99,
        latency=1.25,
        ttft=0.5,
        overhead=0.000321,
        error_message="provider 'openai-eu': broken",
        unread=(("not_json", 1), ("unknown_shape", 2)),
        cost_nanousd=44,
        rating=Rating("config", "flex", UnitPrices(input=2_000)),
        tags=("a", "b"),
        charged_at=1_700_000_000,
        charged_nanousd=45,
        dropped=("logit_bias",),
        approximated=("seed",),
    )

    await database.write(insert([record]))

    assert rows(database.path, "SELECT * FROM usage_records") == [
        {
            "request_id": "r1",
            "client_request_id": "c1",
            "received_at": 1_700_000_000.123456,
            "operation": "embeddings",
            "dialect": "anthropic",
            "key_id": "k9",
            "org_id": "acme",
            "team_id": "t1",
            "user_id": "u1",
            "alias": "fast",
            "provider": "openai-eu",
            "model": "gpt-4o",
            "stream": 1,
            "status": 502,
            "end_reason": "incomplete",
            "error_code": "upstream_error",
            "cache": "miss",
            "input_tokens": 1,
            "cache_read_tokens": 2,
            "cache_write_tokens": 3,
            "cache_write_1h_tokens": 4,
            "output_tokens": 5,
            "reasoning_tokens": 6,
            "audio_input_tokens": 7,
            "audio_output_tokens": 8,
            "other_usage": '{"web_searches":2}',
            "usage_source": "estimated",
            "estimated_tokens": 99,
            "latency_us": 1_250_000,
            "ttft_us": 500_000,
            "overhead_us": 321,
            "error_message": "provider 'openai-eu': broken",
            "unread": '[["not_json",1],["unknown_shape",2]]',
            "cost_nanousd": 44,
            "rating": '["config","flex",{"input":2000}]',
            "tags": '["a","b"]',
            "charged_at": 1_700_000_000,
            "charged_nanousd": 45,
            "dropped": '["logit_bias"]',
            "approximated": '["seed"]',
        }
    ]


async def test_what_was_not_reported_is_null_and_what_was_zero_is_zero(database):
    record = a_record(tokens=TokenUsage(input=0), ttft=None)

    await database.write(insert([record]))

    [row] = rows(
        database.path, "SELECT input_tokens, output_tokens, ttft_us FROM usage_records"
    )
    assert row == {"input_tokens": 0, "output_tokens": None, "ttft_us": None}


async def test_every_attempt_has_its_row(database):
    failed = an_attempt(
        target="a/b",
        ttfb=None,
        status=None,
        outcome="upstream_timeout",
        decision="failover",
        reason="upstream connect timeout after 5s",
        billed=Billed(TokenUsage(input=9), 90, Rating("config")),
    )
    served = an_attempt(target="c/d", started=5.0, duration=0.25, ttfb=0.125)

    await database.write(insert([a_record("r1", attempts=(failed, served))]))

    assert rows(database.path, "SELECT * FROM attempts ORDER BY n") == [
        {
            "request_id": "r1",
            "n": 0,
            "target": "a/b",
            "started_us": 200,
            "duration_us": 1_500_000,
            "ttfb_us": None,
            "status": None,
            "outcome": "upstream_timeout",
            "decision": "failover",
            "reason": "upstream connect timeout after 5s",
            "cost_nanousd": 90,
            "billed": '[[9,null,null,null,null,null,null,null,null],90,["config","",{}]]',
        },
        {
            "request_id": "r1",
            "n": 1,
            "target": "c/d",
            "started_us": 5_000_000,
            "duration_us": 250_000,
            "ttfb_us": 125_000,
            "status": 200,
            "outcome": "served",
            "decision": "answer",
            "reason": "",
            "cost_nanousd": None,
            "billed": None,
        },
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 511, 512, 513, 1535])
async def test_any_number_of_records_goes_in_at_once(database, count):
    records = [
        a_record(f"r{n:04}", attempts=(an_attempt(),) * (n % 4)) for n in range(count)
    ]

    await database.write(insert(records))

    found = rows(database.path, "SELECT id FROM requests ORDER BY id")
    assert [row["id"] for row in found] == [f"r{n:04}" for n in range(count)]
    [attempts] = rows(database.path, "SELECT count(*) AS n FROM attempts")
    assert attempts["n"] == sum(n % 4 for n in range(count))


async def test_a_record_that_is_there_already_is_not_changed(database):
    await database.write(insert([a_record("r1", status=200)]))
    before = rows(database.path, "SELECT * FROM usage_records, attempts")

    await database.write(
        insert([a_record("r1", status=500, attempts=()), a_record("r1")])
    )

    assert rows(database.path, "SELECT * FROM usage_records, attempts") == before


@pytest.mark.parametrize("monster", [2**63, 10**30])
async def test_a_number_that_sqlite_cannot_hold_holds_nothing_up(
    database, tmp_path, monster
):
    records = [a_record(f"r{n:02}") for n in range(20)]
    records[13] = a_record("r13", tokens=TokenUsage(input=monster, output=7))

    await UsageTable(database).ingest(a_segment(tmp_path, records).span())

    found = rows(
        database.path,
        "SELECT request_id, input_tokens, output_tokens, n FROM usage_records"
        " LEFT JOIN attempts USING (request_id) ORDER BY request_id",
    )
    assert [row["request_id"] for row in found] == [f"r{n:02}" for n in range(20)]
    assert float(found[13]["input_tokens"]) == float(monster)
    assert found[13]["output_tokens"] == 7
    assert all(row["n"] == 0 for row in found)


async def test_a_journal_loaded_twice_is_there_once(database, tmp_path):
    segment = a_segment(tmp_path, some_records(100))
    table = UsageTable(database)

    first = await table.ingest(segment.span())
    before = rows(database.path, "SELECT * FROM usage_records, attempts")
    second = await table.ingest(segment.span())

    assert (first.records, first.corrupt, first.end) == (100, 0, segment.written)
    assert second == first
    assert rows(database.path, "SELECT * FROM usage_records, attempts") == before


async def test_a_load_that_fails_leaves_nothing_behind(database, tmp_path):
    records = [a_record(f"r{n:04}") for n in range(2 * usage.STATEMENT_ROWS)]
    segment = a_segment(tmp_path, records, segment_bytes=1 << 20)
    await database.write(
        lambda c: c.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON requests WHEN NEW.id = 'r0100'"
            " BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
    )
    whole = Span(segment.path, 0, segment.written, final=True)

    with pytest.raises(StorageError, match="broken"):
        await UsageTable(database).ingest(whole)
    assert rows(database.path, "SELECT * FROM requests") == []

    await database.write(lambda c: c.execute("DROP TRIGGER broken"))
    await UsageTable(database).ingest(whole)
    assert len(rows(database.path, "SELECT * FROM requests")) == len(records)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM usage_records WHERE request_id = 'r1'",
        "SELECT * FROM usage_records WHERE request_id > '01a20cbe'",
        "SELECT * FROM attempts WHERE request_id = 'r1'",
        "SELECT * FROM requests WHERE id = 'r1' OR client_id = 'r1' ORDER BY id DESC",
    ],
)
async def test_requests_are_searched_by_index(database, query):
    plan = rows(database.path, f"EXPLAIN QUERY PLAN {query}")

    assert "SCAN requests" not in {row["detail"] for row in plan}


async def test_the_newest_requests_are_found_without_sorting_all(database):
    query = "SELECT * FROM usage_records ORDER BY request_id DESC LIMIT 20"

    plan = rows(database.path, f"EXPLAIN QUERY PLAN {query}")

    assert [row["detail"] for row in plan] == ["SCAN requests"]


async def test_of_requests_with_the_same_id_of_the_client_the_latest_is_found(database):
    records = [a_record(f"r{n}", client_request_id="theirs") for n in range(3)]
    await database.write(insert([*records, a_record("theirs-too")]))

    found = await RequestRecords(database).find("theirs")

    assert found is not None
    assert (found["request_id"], found["client_request_id"]) == ("r2", "theirs")
    assert [attempt["n"] for attempt in found["attempts"]] == [0]


async def test_a_request_whose_client_sent_no_id_has_ours(database):
    await database.write(insert([a_record("r1", client_request_id="")]))

    [row] = rows(database.path, "SELECT client_request_id FROM usage_records")
    assert row == {"client_request_id": "r1"}


async def test_what_a_later_version_adds_to_a_record_is_kept(database):
    [entry] = entries_of([a_record("r1")])
    longer = f'{entry.document[:-1]},"new"]'
    entry = entry._replace(document=longer)

    await database.write(lambda connection: usage.insert(connection, [entry]))

    query = "SELECT record, status FROM usage_records JOIN requests ON id = request_id"
    [row] = rows(database.path, query)
    assert (row["record"], row["status"]) == (longer, 200)


async def test_a_request_takes_little_room(database):
    ids = [f"01a20cbe-11f6-7701-b516-{n:012d}" for n in range(1000)]
    key = "01a20cbe-11f6-7433-b9f3-3f601ba84110"
    records = [a_record(i, client_request_id="", key_id=key) for i in ids]
    pages = (
        "SELECT page_count * page_size AS size FROM pragma_page_count, pragma_page_size"
    )
    [before] = rows(database.path, pages)

    await database.write(insert(records))

    # The id, and the record with its attempt.
    [after] = rows(database.path, pages)
    assert after["size"] - before["size"] < 1000 * 600
