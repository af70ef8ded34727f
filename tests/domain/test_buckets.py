from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.domain.buckets import (
    Period,
    bucket_start,
    day_number,
    first_day,
    offset_at,
    spans,
    start_of,
)

NEW_YORK = ZoneInfo("America/New_York")
ZONES = [UTC, NEW_YORK, ZoneInfo("Asia/Tokyo"), ZoneInfo("Australia/Lord_Howe")]


def hour(*when, zone=UTC):
    return int(datetime(*when, tzinfo=zone).timestamp()) // 3600


def test_a_zone_without_changes_has_one_span():
    assert list(spans(100, 90_000, UTC)) == [(100, 90_000, 0)]
    assert list(spans(100, 100, UTC)) == []


def test_a_year_in_new_york_has_three_spans():
    found = list(spans(hour(2026, 1, 1), hour(2027, 1, 1), NEW_YORK))

    changes = hour(2026, 3, 8, 7), hour(2026, 11, 1, 6)
    assert [(span.first, span.offset) for span in found] == [
        (hour(2026, 1, 1), -5 * 3600),
        (changes[0], -4 * 3600),
        (changes[1], -5 * 3600),
    ]
    assert found[-1].before == hour(2027, 1, 1)


@given(
    st.integers(hour(2020, 1, 1), hour(2030, 1, 1)),
    st.integers(1, 20_000),
    st.sampled_from(ZONES),
)
def test_spans_cover_the_range_and_no_offset_changes_within_one(first, length, zone):
    found = list(spans(first, first + length, zone))

    assert [span.first for span in found[1:]] == [span.before for span in found[:-1]]
    assert (found[0].first, found[-1].before) == (first, first + length)
    for span in found:
        for at in {span.first, (span.first + span.before) // 2, span.before - 1}:
            assert offset_at(at, zone) == span.offset


@pytest.mark.parametrize(
    ("period", "start"),
    [
        (Period.DAILY, "2026-11-01T00:00:00-04:00"),
        (Period.WEEKLY, "2026-10-26T00:00:00-04:00"),
        (Period.MONTHLY, "2026-11-01T00:00:00-04:00"),
    ],
)
def test_a_bucket_begins_at_local_midnight(period, start):
    number = day_number(date(2026, 11, 1))

    assert bucket_start(period, number, NEW_YORK) == start
    at = datetime(2026, 11, 1, 23, 30, tzinfo=NEW_YORK).timestamp()
    assert start_of(period, at, NEW_YORK) == datetime.fromisoformat(start).timestamp()


def test_the_hour_that_comes_twice_is_two_buckets():
    first = hour(2026, 11, 1, 5)

    assert bucket_start(Period.HOURLY, first, NEW_YORK) == "2026-11-01T01:00:00-04:00"
    assert bucket_start(Period.HOURLY, first + 1, NEW_YORK) == (
        "2026-11-01T01:00:00-05:00"
    )


@given(st.integers(0, 30_000))
def test_weeks_begin_on_monday_and_months_on_the_first(number):
    day = date(1970, 1, 1) + timedelta(days=number)

    assert first_day(Period.WEEKLY, number).weekday() == 0
    assert timedelta() <= day - first_day(Period.WEEKLY, number) < timedelta(days=7)
    assert first_day(Period.MONTHLY, number) == day.replace(day=1)
