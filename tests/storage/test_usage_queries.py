"""Questions about usage, compared with what the records themselves say."""

import random
from collections import Counter
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gandalf.domain import histogram
from gandalf.domain.buckets import Period, bucket_start
from gandalf.domain.ids import milliseconds_of
from gandalf.domain.usage import EndReason, TokenUsage
from gandalf.storage import usage, usage_queries
from gandalf.storage.database import Database
from gandalf.storage.usage_queries import Filters, Range, UsageQueries
from gandalf.storage.usage_series import HOUR_MS
from tests.storage.builders import a_record, entries_of, ids
from tests.storage.test_rollups import an_id

NEW_YORK = ZoneInfo("America/New_York")
# From before to after the clocks are put back in New York.
START = datetime(2026, 10, 28, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
HOURS = 9 * 24


def some_requests(count=3000):
    chance = random.Random(1)
    found = []
    for number in range(count):
        at = START_MS + chance.randrange(HOURS * HOUR_MS)
        failed = chance.random() < 0.05
        found.append(
            a_record(
                an_id(at, number),
                client_request_id="",
                org_id=chance.choice(["acme", "other"]),
                team_id=chance.choice([None, "red", "blue"]),
                key_id=f"k{chance.randrange(8)}",
                user_id=chance.choice([None, "ann"]),
                alias=chance.choice(["fast", "slow"]),
                model=chance.choice(["m-1", "m-2", "m-3"]),
                tags=chance.choice([(), ("a",), ("a", "b"), ("ab",)]),
                status=502 if failed else 200,
                end_reason=EndReason.FAILED if failed else EndReason.COMPLETE,
                error_code="upstream_error" if failed else "",
                tokens=TokenUsage(input=number, output=1),
                cost_nanousd=chance.randrange(10**9),
                latency=chance.lognormvariate(0, 1),
                ttft=chance.random(),
            )
        )
    return sorted(found, key=lambda record: record.request_id)


RECORDS = some_requests()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("usage") / "gandalf.db"


@pytest.fixture
async def queries(path):
    is_new = not path.exists()
    database = Database(path)
    await database.open()
    if is_new:
        shuffled = RECORDS[:]
        random.Random(2).shuffle(shuffled)
        for start in range(0, len(shuffled), 500):
            entries = entries_of(shuffled[start : start + 500])
            await database.write(lambda c, e=entries: usage.insert(c, e))
    yield UsageQueries(database)
    database.close()


def local(record, zone=UTC):
    return datetime.fromtimestamp(milliseconds_of(record.request_id) / 1000, zone)


FILTERS = {
    "org": (Filters(org_id=("acme",)), lambda r: r.org_id == "acme"),
    "team": (Filters(team_id=("red", "")), lambda r: r.team_id in ("red", None)),
    "keys": (Filters(key_id=("k1", "k2")), lambda r: r.key_id in ("k1", "k2")),
    "user": (Filters(user_id=("ann",)), lambda r: r.user_id == "ann"),
    "alias": (Filters(alias=("fast",)), lambda r: r.alias == "fast"),
    "provider": (Filters(provider=("nobody",)), lambda r: False),
    "model": (Filters(model=("m-1",)), lambda r: r.model == "m-1"),
    "tag": (Filters(tag=("a",)), lambda r: "a" in r.tags),
    "status": (Filters(status=(502,)), lambda r: r.status == 502),
    "end": (Filters(end_reason=("failed",)), lambda r: r.end_reason == "failed"),
    "rare": (
        Filters(error_code=("upstream_error",), key_id=("k3",), model=("m-2",)),
        lambda r: r.error_code and r.key_id == "k3" and r.model == "m-2",
    ),
    "all": (Filters(), lambda r: True),
}
every_filter = pytest.mark.parametrize("name", FILTERS)


# Sums.


@pytest.mark.parametrize("zone", [UTC, NEW_YORK, ZoneInfo("Asia/Tokyo")], ids=str)
@pytest.mark.parametrize("period", list(Period))
@every_filter
async def test_sums_are_those_of_the_records(queries, name, period, zone):
    filters, meant = FILTERS[name]
    expected, costs = Counter(), Counter()
    for record in filter(meant, RECORDS):
        bucket = {
            Period.HOURLY: lambda at: at.strftime("%Y-%m-%dT%H:00:00%z"),
            Period.DAILY: lambda at: at.strftime("%Y-%m-%d"),
            Period.WEEKLY: lambda at: at.strftime("%G-%V"),
            Period.MONTHLY: lambda at: at.strftime("%Y-%m"),
            Period.TOTAL: lambda at: "",
        }[period](local(record, zone))
        expected[bucket, record.model] += 1
        costs[bucket, record.model] += record.cost_nanousd

    found = await queries.sums(filters, period=period, zone=zone, group_by=("model",))

    assert sorted(sums["requests"] for sums in found) == sorted(expected.values())
    assert sorted(sums["cost_nanousd"] for sums in found) == sorted(costs.values())
    assert [sums.bucket for sums in found] == sorted(
        (sums.bucket for sums in found), reverse=True
    )
    if period is Period.DAILY:
        by_day = {
            (bucket_start(period, sums.bucket, zone)[:10], *sums.group): sums[
                "requests"
            ]
            for sums in found
        }
        assert by_day == expected


@pytest.mark.parametrize("zone", [UTC, NEW_YORK], ids=str)
async def test_a_day_on_which_the_clocks_are_put_back_has_25_hours(queries, zone):
    found = await queries.sums(period=Period.DAILY, zone=zone)

    first = datetime(2026, 11, 1, tzinfo=zone).timestamp()
    second = datetime(2026, 11, 2, tzinfo=zone).timestamp()
    assert (second - first) / 3600 == (25 if zone is NEW_YORK else 24)
    [day] = [
        sums
        for sums in found
        if bucket_start(Period.DAILY, sums.bucket, zone).startswith("2026-11-01")
    ]
    assert day["requests"] == sum(
        first <= milliseconds_of(r.request_id) / 1000 < second for r in RECORDS
    )


@pytest.mark.parametrize("zone", [UTC, NEW_YORK, ZoneInfo("Pacific/Auckland")], ids=str)
async def test_days_in_every_zone_add_up_to_the_same(queries, zone):
    found = await queries.sums(period=Period.DAILY, zone=zone, histograms=True)

    assert sum(sums["requests"] for sums in found) == len(RECORDS)
    assert sum(sums["input_tokens"] for sums in found) == sum(range(len(RECORDS)))
    for sums in found:
        assert histogram.count_of(sums.latency) == sums["requests"]


@every_filter
async def test_a_range_is_widened_to_whole_hours(queries, name):
    filters, meant = FILTERS[name]
    first, before = 30, 100
    within = Range(START_MS + first * HOUR_MS + 1, START_MS + before * HOUR_MS - 1)

    found = await queries.sums(filters, within)

    expected = sum(
        1
        for record in filter(meant, RECORDS)
        if first <= (milliseconds_of(record.request_id) - START_MS) // HOUR_MS < before
    )
    assert sum(sums["requests"] for sums in found) == expected


@every_filter
async def test_percentiles_are_right_within_the_stated_error(queries, name):
    filters, meant = FILTERS[name]
    latencies = sorted(record.latency for record in filter(meant, RECORDS))

    found = await queries.sums(filters, histograms=True)

    if not latencies:
        assert found == []
        return
    ranks = [0.5, 0.95, 0.99]
    exact = [latencies[int(-(-rank * len(latencies) // 1)) - 1] for rank in ranks]
    [sums] = found
    seconds = [us / 1e6 for us in histogram.quantiles(sums.latency, ranks)]
    assert seconds == pytest.approx(exact, rel=histogram.RELATIVE_ERROR * 1.01)


async def test_sums_may_be_grouped_by_several_dimensions(queries):
    found = await queries.sums(group_by=("org_id", "key_id", "status"))

    assert {sums.group: sums["requests"] for sums in found} == Counter(
        (record.org_id, record.key_id, record.status) for record in RECORDS
    )


async def test_what_is_no_dimension_cannot_be_grouped_by(queries):
    with pytest.raises(ValueError, match="id; DROP TABLE"):
        await queries.sums(group_by=("id; DROP TABLE requests",))


async def test_of_an_empty_database_nothing_is_told(tmp_path):
    database = Database(tmp_path / "new.db")
    await database.open()
    queries = UsageQueries(database)

    assert await queries.sums(period=Period.DAILY, zone=NEW_YORK) == []
    assert await queries.records(Filters(key_id=("k",))) == []
    assert await queries.count() == 0
    database.close()


# Lists.


@pytest.mark.parametrize("scanned", [0, 40, usage_queries.SCANNED_FIRST])
@every_filter
async def test_pages_hold_every_record_once_the_newest_first(
    queries, name, scanned, monkeypatch
):
    monkeypatch.setattr(usage_queries, "SCANNED_FIRST", scanned)
    filters, meant = FILTERS[name]
    wanted = [r.request_id for r in reversed(RECORDS) if meant(r)][:500]

    found, before = [], ""
    while len(found) < len(wanted):
        page = await queries.records(filters, before=before, limit=47)
        assert page
        found += ids(page)
        before = found[-1]

    assert found[: len(wanted)] == wanted


@every_filter
async def test_a_list_may_be_of_a_range(queries, name):
    filters, meant = FILTERS[name]
    within = Range(START_MS + 1_000_000, START_MS + 20_000_000)

    found = await queries.records(filters, within, limit=1000)

    assert ids(found) == [
        record.request_id
        for record in reversed(RECORDS)
        if meant(record)
        and within.since <= milliseconds_of(record.request_id) < within.until
    ]


@every_filter
async def test_records_are_counted_by_their_roll_ups(queries, name):
    filters, meant = FILTERS[name]
    within = Range(START_MS + 5 * HOUR_MS, START_MS + 50 * HOUR_MS)

    assert await queries.count(filters) == len(list(filter(meant, RECORDS)))
    assert await queries.count(filters, within) == len(
        await queries.records(filters, within, limit=5000)
    )
    assert await queries.count(filters, Range(START_MS + 1)) is None


async def test_a_record_is_whole(queries):
    [found] = await queries.records(limit=1)

    assert found == RECORDS[-1]
