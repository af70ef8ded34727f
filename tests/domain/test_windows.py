"""Budget windows against calendars, across every kind of clock change."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gandalf.domain.windows import FOREVER, HOUR, period

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",  # the clock is set forward at midnight
    "America/Havana",  # set back to midnight
    "Asia/Beirut",
    "Asia/Kolkata",
    "Australia/Lord_Howe",  # by half an hour
    "Pacific/Apia",  # a day that never was
    "Pacific/Auckland",
)
NAMES = ("hour", "day", "week", "month", "7d")
# 2005 to 2035.
INSTANTS = st.integers(1_104_537_600, 2_051_222_400)


def at(text, zone="Europe/Berlin", fold=0):
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(local.timestamp())


def window(name, text, zone="Europe/Berlin", fold=0):
    """The window of a local time, as local times."""
    found = period(name, zone).window(at(text, zone, fold))
    return tuple(
        datetime.fromtimestamp(edge, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")
        for edge in found
    )


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("name", NAMES)
@given(instant=INSTANTS)
@settings(max_examples=40, deadline=None)
def test_windows_follow_each_other_without_gap_or_overlap(name, zone, instant):
    kind = period(name, zone)

    start, end = kind.window(instant)

    assert start <= instant < end
    assert kind.window(start) == kind.window(end - 1) == (start, end)
    assert kind.window(end).start == end
    assert kind.window(start - 1).end == start


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
@given(instant=INSTANTS)
@settings(max_examples=100, deadline=None)
def test_a_day_is_a_local_date(zone, instant):
    start, end = period("day", zone).window(instant)

    def local(moment):
        return datetime.fromtimestamp(moment, ZoneInfo(zone))

    assert local(start).date() == local(instant).date() == local(end - 1).date()
    assert local(start).time() == local(end).time() == datetime.min.time()
    assert (end - start) // HOUR in (23, 24, 25)


def test_a_day_on_which_the_clock_changes_is_counted_once():
    spring = period("day", "Europe/Berlin").window(at("2026-03-29 12:00"))
    autumn = period("day", "Europe/Berlin").window(at("2026-10-25 12:00"))

    assert (spring.end - spring.start, autumn.end - autumn.start) == (
        23 * HOUR,
        25 * HOUR,
    )
    # Both times at which it is half past two.
    first, second = (at("2026-10-25 02:30", fold=fold) for fold in (0, 1))
    assert second - first == HOUR
    day = period("day", "Europe/Berlin")
    assert day.window(first) == day.window(second) == autumn
    # But each hour is one of its own.
    hour = period("hour", "Europe/Berlin")
    assert hour.window(first).end == hour.window(second).start


def test_a_month_begins_at_local_midnight_not_at_utc_midnight():
    # Reported of others: the reset came late by the offset of the time zone.
    assert window("month", "2026-07-01 00:00") == (
        "2026-07-01 00:00",
        "2026-08-01 00:00",
    )
    assert window("month", "2026-06-30 23:59") == (
        "2026-06-01 00:00",
        "2026-07-01 00:00",
    )


@pytest.mark.parametrize("month", range(1, 13))
def test_months_of_every_length_are_whole(month):
    assert (
        window("month", f"2028-{month:02}-28 10:00")[0] == f"2028-{month:02}-01 00:00"
    )
    last = (date(2028, month, 28) + timedelta(4)).replace(day=1) - timedelta(1)
    assert window("month", last.strftime("%Y-%m-%d 23:59")) == window(
        "month", f"2028-{month:02}-01 00:00"
    )


def test_a_week_begins_on_monday():
    assert window("week", "2026-06-07 23:59") == (
        "2026-06-01 00:00",
        "2026-06-08 00:00",
    )
    assert window("week", "2026-06-08 00:00") == (
        "2026-06-08 00:00",
        "2026-06-15 00:00",
    )


def test_a_day_without_a_midnight_begins_when_the_clock_is_set_forward():
    day = period("day", "America/Santiago").window(
        at("2026-09-06 12:00", "America/Santiago")
    )

    assert window("day", "2026-09-06 12:00", "America/Santiago") == (
        "2026-09-06 01:00",
        "2026-09-07 00:00",
    )
    assert day.end - day.start == 23 * HOUR


def test_hours_are_those_of_the_local_clock():
    assert window("hour", "2026-06-01 10:45", "Asia/Kolkata") == (
        "2026-06-01 10:00",
        "2026-06-01 11:00",
    )


def test_a_rolling_period_counts_today_and_the_days_before():
    week = period("7d", "Europe/Berlin")
    today = week.window(at("2026-04-01 15:00"))

    assert today.start == at("2026-04-01 00:00")
    # Across the change of the clock on 29 March.
    assert week.first_counted(today) == at("2026-03-26 00:00")
    assert week.leaves_at(at("2026-03-26 00:00")) == at("2026-04-02 00:00")


def test_a_lifetime_has_one_window():
    assert period("lifetime", "UTC").window(at("2026-06-01 00:00")) == (0, FOREVER)


@pytest.mark.parametrize(
    ("name", "zone"),
    [("year", "UTC"), ("0d", "UTC"), ("400d", "UTC"), ("day", "Mars/Olympus"),
     ("day", "../etc/passwd"), ("day", "")],
)  # fmt: skip
def test_what_is_no_period_is_refused(name, zone):
    with pytest.raises(ValueError, match=r".+"):
        period(name, zone)
