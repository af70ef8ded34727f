import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.domain.histogram import (
    RELATIVE_ERROR,
    bucket_of,
    count_of,
    from_counts,
    pack,
    quantiles,
    unpack,
)

DURATIONS = st.lists(st.floats(min_value=1, max_value=1e10), min_size=1, max_size=200)


def histogram_of(durations):
    counts = {}
    for duration in durations:
        counts[bucket_of(duration)] = counts.get(bucket_of(duration), 0) + 1
    return from_counts(counts)


@given(DURATIONS, st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_within_the_stated_error(durations, rank):
    exact = sorted(durations)[max(0, math.ceil(rank * len(durations)) - 1)]

    [found] = quantiles(histogram_of(durations), [rank])

    assert found == pytest.approx(exact, rel=RELATIVE_ERROR * 1.0001)


@given(DURATIONS, DURATIONS)
def test_the_sum_of_two_histograms_is_that_of_all_durations(one, two):
    assert histogram_of(one) + histogram_of(two) == histogram_of(one + two)
    assert count_of(histogram_of(one + two)) == len(one) + len(two)


@given(
    st.dictionaries(st.integers(0, 299), st.integers(1, 2**40), min_size=0, max_size=50)
)
def test_what_is_packed_is_unpacked(counts):
    histogram = from_counts(counts)

    assert unpack(pack(histogram)) == histogram
    assert count_of(histogram) == sum(counts.values())


def test_a_histogram_of_one_hour_takes_few_bytes():
    histogram = histogram_of(
        50_000 * 1.01**n for n in range(232)
    )  # from 50 ms to 500 ms

    assert len(pack(histogram)) < 40


def test_nothing_observed_has_no_quantiles():
    assert quantiles(0, [0.5, 0.99]) == [None, None]
    assert pack(0) == b""
    assert unpack(b"") == 0


@pytest.mark.parametrize("duration", [0, 0.5, 1, 1e15])
def test_durations_beyond_the_buckets_count_in_the_nearest_one(duration):
    [found] = quantiles(histogram_of([duration]), [0.5])

    assert found == (1.0 if duration <= 1 else pytest.approx(2.5e10, rel=0.1))
