"""The benchmark of usage, scaled down: what it generates is what it says."""

import sqlite3
from contextlib import closing
from datetime import UTC

from bench import usage as bench
from gandalf.domain.buckets import Period
from gandalf.storage import usage_queries, usage_series
from gandalf.storage.database import Database
from gandalf.storage.usage_upkeep import UsageUpkeep

ROWS = 20_000


async def test_what_the_benchmark_generates_adds_up(tmp_path):
    database = Database(tmp_path / "gandalf.db")
    await database.open()
    with closing(sqlite3.connect(database.path, isolation_level=None)) as connection:
        bench.generate(connection, bench.make_kinds(5), ROWS, 10)
    queries = usage_queries.UsageQueries(database)

    by_day = await queries.sums(period=Period.DAILY, zone=UTC, histograms=True)

    assert await UsageUpkeep(database).audit() == []
    assert sum(sums["requests"] for sums in by_day) == ROWS
    assert len(await queries.records(limit=1000)) == 1000
    database.close()


async def test_a_page_reads_no_more_of_a_large_table_than_of_a_small_one(tmp_path):
    database = Database(tmp_path / "gandalf.db")
    await database.open()
    kinds = bench.make_kinds(5)
    with closing(sqlite3.connect(database.path, isolation_level=None)) as connection:
        bench.generate(connection, kinds, 2000, 5)
        small = steps(connection)
        connection.execute("DELETE FROM requests")
        for table in ("usage_hours", "usage_days", "usage_series", "usage_state"):
            connection.execute(f"DELETE FROM {table}")
        bench.generate(connection, kinds, 10 * 2000, 5)
        large = steps(connection)
    database.close()

    assert large < 1.5 * small


def steps(connection):
    """Count the steps that SQLite takes for sums by day and for a page of a list."""
    count = 0

    def step():
        nonlocal count
        count += 1

    one = usage_queries.Filters(key_id=(bench.make_kinds(5)[0][0].key_id,))
    connection.set_progress_handler(step, 100)
    usage_queries._sums(
        connection, usage_queries.EVERYTHING, None, Period.DAILY, UTC, ("model",), True
    )
    usage_queries._records(connection, one, None, "", 50)
    connection.set_progress_handler(None, 100)
    return count


def test_the_series_of_the_benchmark_are_as_many_as_it_says():
    kinds = bench.make_kinds(5)

    _, groups = usage_series.grouped(kind[0] for kind in kinds)
    assert len(groups) == len(kinds) == 20
