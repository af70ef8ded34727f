"""``python -m bench.usage``: usage at ten million rows.

Generates rows and roll-ups straight into a database, a month of them by default, and
measures what pages and commands ask of it, how fast further rows are taken in, and what
a million rows takes on the disk.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import trio

from gandalf.domain.buckets import Period
from gandalf.domain.usage import (
    Attempt,
    EndReason,
    TokenUsage,
    UsageRecord,
    UsageSource,
)
from gandalf.storage import journal, rollups, usage, usage_series
from gandalf.storage.database import Database
from gandalf.storage.usage_queries import Filters, Range, UsageQueries

HOUR_MS = usage_series.HOUR_MS
BATCH = 2400
VARIANTS = 16
"""Different records of each series."""

NOW_MS = int(time.time() * 1000) // HOUR_MS * HOUR_MS


def main() -> int:
    """Run; return the exit status."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        path = Path(folder) / "usage.db"
        trio.run(_run, path, arguments)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--dir", help="where the database is made")
    return parser.parse_args()


async def _run(path: Path, arguments: argparse.Namespace) -> None:
    kinds = make_kinds(arguments.keys)
    await _make(path, kinds, arguments)
    database = Database(path)
    await database.open()
    try:
        counts = await database.read(_counts)
        size = path.stat().st_size
        print(f"{arguments.rows:,} rows, {counts}")
        print(f"{size / 1e9:.2f} GB, {size / arguments.rows:,.0f} MB a million rows\n")
        await _ask(database, arguments.days)
        await _ingest(database, kinds)
    finally:
        database.close()


async def _make(
    path: Path, kinds: list[list[UsageRecord]], arguments: argparse.Namespace
) -> None:
    database = Database(path)
    await database.open()
    database.close()
    started = time.perf_counter()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # Nothing has to survive, and the index is written all over.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -1000000")
        generate(connection, kinds, arguments.rows, arguments.days)
    print(f"generated in {time.perf_counter() - started:.0f} s", flush=True)


# Rows.


def make_kinds(keys: int) -> list[list[UsageRecord]]:
    """Return some records of each series: keys x models, and now and then an error."""
    chance = random.Random(1)  # noqa: S311
    kinds = []
    for key in range(keys):
        for model in range(3):
            kinds.append([_record(chance, key, model) for _ in range(VARIANTS)])
        kinds.append([_record(chance, key, 0, failed=True) for _ in range(VARIANTS)])
    return kinds


def _record(
    chance: random.Random, key: int, model: int, *, failed: bool = False
) -> UsageRecord:
    latency = chance.lognormvariate(0.5, 0.8)
    target = f"provider-{model % 2}/model-{model}"
    attempt = Attempt(
        target=target,
        started=0.0002,
        duration=latency,
        ttfb=latency / 4,
        status=200,
        outcome="served",
        decision="answer",
    )
    return UsageRecord(
        request_id="",
        client_request_id="",
        received_at=0.0,
        operation="chat",
        dialect="openai",
        key_id=f"01a20cbe-11f6-7433-b9f3-{key:012d}",
        org_id=f"org-{key % 10}",
        team_id=f"team-{key % 30}",
        user_id=f"user-{key}",
        alias=f"alias-{model}",
        provider=target.partition("/")[0],
        model=target.partition("/")[2],
        stream=True,
        status=502 if failed else 200,
        end_reason=EndReason.FAILED if failed else EndReason.COMPLETE,
        error_code="upstream_error" if failed else "",
        cache="bypass",
        tokens=TokenUsage(
            input=chance.randrange(20_000),
            cache_read=chance.randrange(5_000),
            output=chance.randrange(2_000),
        ),
        usage_source=UsageSource.PROVIDER,
        estimated_tokens=500,
        latency=latency,
        ttft=latency / 4,
        overhead=0.0003,
        attempts=(attempt,),
        cost_nanousd=chance.randrange(50_000_000),
    )


def _id(at_ms: int, number: int) -> str:
    return f"{at_ms >> 16:08x}-{at_ms & 0xFFFF:04x}-7000-8000-{number:012x}"


def generate(
    connection: sqlite3.Connection, kinds: list[list[UsageRecord]], rows: int, days: int
) -> None:
    hours = days * 24
    first = NOW_MS // HOUR_MS - hours
    chance = random.Random(2)  # noqa: S311
    # A failure is one request in 100.
    weights = [1 if kind[0].error_code else 33 for kind in kinds]
    documents = [_split(kind) for kind in kinds]
    done = 0
    for hour in range(hours):
        if done == rows * (hour + 1) // hours:
            continue
        upto = rows * (hour + 1) // hours
        at = (first + hour) * HOUR_MS
        connection.execute("BEGIN")
        first_ones = [
            msgspec.structs.replace(k[0], request_id=_id(at, 0)) for k in kinds
        ]
        _, groups = usage_series.grouped(first_ones)
        series = usage_series.ids_of(connection, groups)
        chosen = chance.choices(range(len(kinds)), weights, k=upto - done)
        connection.executemany(
            "INSERT INTO requests (id, series, record, charged) VALUES (?, ?, ?, 0)",
            _rows(chosen, series, documents, at),
        )
        rollups.store(connection, _tallies(chosen, series, kinds, first + hour))
        connection.execute("COMMIT")
        done = upto


def _split(kind: list[UsageRecord]) -> list[tuple[str, str]]:
    """Return what stands before and after the id in each record."""
    encode = msgspec.json.Encoder().encode
    texts = [encode(record).decode() for record in kind]
    return [(text[:2], text[2:]) for text in texts]


def _rows(
    chosen: list[int],
    series: list[int],
    documents: list[list[tuple[str, str]]],
    at: int,
) -> Iterator[tuple[str, int, str]]:
    step = HOUR_MS / len(chosen)
    for number, kind in enumerate(chosen):
        request_id = _id(at + int(number * step), number)
        before, after = documents[kind][number % VARIANTS]
        yield request_id, series[kind], f"{before}{request_id}{after}"


def _tallies(
    chosen: list[int], series: list[int], kinds: list[list[UsageRecord]], hour: int
) -> rollups.Tallies:
    found: dict[tuple[int, int], list[UsageRecord]] = {}
    for number, kind in enumerate(chosen):
        key = series[kind], hour
        found.setdefault(key, []).append(kinds[kind][number % VARIANTS])
    return {key: rollups.Tally.of(records) for key, records in found.items()}


def _counts(connection: sqlite3.Connection) -> str:
    names = ("usage_series", "usage_hours", "usage_days")
    return ", ".join(
        f"{connection.execute(f'SELECT count(*) FROM {name}').fetchone()[0]:,} {name}"
        for name in names
    )


# Questions.


async def _ask(database: Database, days: int) -> None:
    queries = UsageQueries(database)
    month = Range(NOW_MS - days * 24 * HOUR_MS, NOW_MS)
    week = Range(NOW_MS - 7 * 24 * HOUR_MS, NOW_MS)
    key = Filters(key_id=("01a20cbe-11f6-7433-b9f3-000000000007",))
    failed = Filters(key_id=key.key_id, error_code=("upstream_error",))
    new_york = ZoneInfo("America/New_York")
    middle = _id(NOW_MS - days * 12 * HOUR_MS, 0)
    questions: dict[str, Callable[[], Any]] = {
        "newest 50 requests": lambda: queries.records(),
        "newest 50 of one key": lambda: queries.records(key),
        "newest 50 failures of one key": lambda: queries.records(failed),
        "50 of one key, from the middle": lambda: queries.records(key, before=middle),
        "50 of one error, from the middle": lambda: queries.records(
            Filters(error_code=("upstream_error",)), before=middle
        ),
        "500 of one team": lambda: queries.records(
            Filters(team_id=("team-3",)), limit=500
        ),
        "count of one organisation": lambda: queries.count(Filters(org_id=("org-1",))),
        "total of everything": lambda: queries.sums(),
        f"{days} days by day": lambda: queries.sums(within=month, period=Period.DAILY),
        f"{days} days by day and model": lambda: queries.sums(
            within=month, period=Period.DAILY, group_by=("model",)
        ),
        f"{days} days by day and model, percentiles": lambda: queries.sums(
            within=month, period=Period.DAILY, group_by=("model",), histograms=True
        ),
        f"{days} days by day, organisation, key, model": lambda: queries.sums(
            within=month, period=Period.DAILY, group_by=("org_id", "key_id", "model")
        ),
        f"{days} days in total by key": lambda: queries.sums(
            within=month, group_by=("key_id",)
        ),
        "7 days by hour": lambda: queries.sums(within=week, period=Period.HOURLY),
        "1 day by hour and model, percentiles": lambda: queries.sums(
            within=Range(NOW_MS - 24 * HOUR_MS, NOW_MS),
            period=Period.HOURLY,
            group_by=("model",),
            histograms=True,
        ),
        "7 days by day in New York": lambda: queries.sums(
            within=week, period=Period.DAILY, zone=new_york
        ),
        f"{days} days by day in New York": lambda: queries.sums(
            within=month, period=Period.DAILY, zone=new_york
        ),
        f"{days} days by day in New York, one key": lambda: queries.sums(
            key, month, period=Period.DAILY, zone=new_york, histograms=True
        ),
        f"{days} days by month, one organisation": lambda: queries.sums(
            Filters(org_id=("org-1",)), month, period=Period.MONTHLY, zone=UTC
        ),
    }
    print(f"{'question':48} {'ms':>8} {'CPU ms':>8} {'rows':>6}")
    for name, ask in questions.items():
        times, used = [], []
        for _ in range(5):
            started, cpu = time.perf_counter(), time.process_time()
            found = await ask()
            times.append((time.perf_counter() - started) * 1000)
            used.append((time.process_time() - cpu) * 1000)
        rows = len(found) if isinstance(found, list) else 1
        print(f"{name:48} {median(times):8.1f} {median(used):8.1f} {rows:6}")


# Further rows.


async def _ingest(database: Database, kinds: list[list[UsageRecord]]) -> None:
    print()
    for shown, some in (("1 series", kinds[:1]), (f"{len(kinds)} series", kinds)):
        entries = list(_entries(some, 60_000))
        started, cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(entries), BATCH):
            batch = entries[start : start + BATCH]
            await database.write(lambda c, batch=batch: usage.insert(c, batch))
        seconds = time.perf_counter() - started
        each = (time.process_time() - cpu) / len(entries) * 1e6
        print(
            f"taken in, {shown}: {len(entries) / seconds:,.0f} rows/s,"
            f" {each:.1f} us of CPU a row"
        )


def _entries(kinds: list[list[UsageRecord]], count: int) -> Iterator[journal.Entry]:
    encode = msgspec.json.Encoder().encode
    for number in range(count):
        record = msgspec.structs.replace(
            kinds[number % len(kinds)][number % VARIANTS],
            request_id=_id(
                NOW_MS + number // 17, 1 << 40 | number << 8 | len(kinds) % 251
            ),
            received_at=NOW_MS / 1000,
        )
        yield journal.Entry(encode(record).decode(), record)


if __name__ == "__main__":
    raise SystemExit(main())
