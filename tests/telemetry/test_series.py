import pytest
from prometheus_client import generate_latest

from gandalf.telemetry.series import Counter, Gauge, Histogram


def lines(series):
    page = generate_latest(series).decode().splitlines()
    return [line for line in page if not line.startswith("#")]


def test_a_counter_without_labels_shows_zero_before_it_counts():
    assert lines(Counter("c_total", "help")) == ["c_total 0.0"]


def test_a_counter_keeps_label_values_apart():
    counter = Counter("c_total", "help", ("a", "b"))

    counter.add(("x", 200))
    counter.add(("x", 200), 2)
    counter.add(("y", 404))

    assert lines(counter) == [
        'c_total{a="x",b="200"} 3.0',
        'c_total{a="y",b="404"} 1.0',
    ]


def test_beyond_its_limit_a_counter_counts_under_other_and_loses_nothing():
    counter = Counter("c_total", "help", ("a",), limit=2)

    for name in ("x", "y", "z1", "z2", "x"):
        counter.add((name,))

    assert lines(counter) == [
        'c_total{a="x"} 2.0',
        'c_total{a="y"} 1.0',
        'c_total{a="other"} 2.0',
    ]


def test_a_watched_gauge_is_read_at_each_scrape():
    mail = [1, 2]
    gauge = Gauge("g", "help", ("queue",))

    gauge.watch(lambda: len(mail), ("mail",))
    assert lines(gauge) == ['g{queue="mail"} 2.0']
    mail.append(3)
    assert lines(gauge) == ['g{queue="mail"} 3.0']


def test_watching_replaces_the_value_that_was_set():
    gauge = Gauge("g", "help")
    gauge.set(7)

    gauge.watch(lambda: 8)

    assert lines(gauge) == ["g 8.0"]
    assert gauge.value() == 8


def test_beyond_its_limit_a_gauge_shows_no_further_values():
    gauge = Gauge("g", "help", ("a",), limit=1)

    gauge.set(1, ("x",))
    gauge.set(2, ("y",))
    gauge.set(3, ("x",))

    assert lines(gauge) == ['g{a="x"} 3.0']


@pytest.mark.parametrize(
    ("value", "bucket"), [(0.1, "0.1"), (0.100001, "1.0"), (1.0, "1.0"), (9, "+Inf")]
)
def test_a_value_falls_into_the_first_bucket_that_is_not_below_it(value, bucket):
    histogram = Histogram("h", "help", buckets=(0.1, 1.0))

    histogram.observe(value)

    first = next(line for line in lines(histogram) if line.endswith(" 1.0"))
    assert first == f'h_bucket{{le="{bucket}"}} 1.0'


def test_buckets_are_cumulative_and_the_sum_is_exact():
    histogram = Histogram("h", "help", ("a",), buckets=(1.0, 2.0))

    for value in (0.5, 1.5, 1.5, 5.0):
        histogram.observe(value, ("x",))

    assert lines(histogram) == [
        'h_bucket{a="x",le="1.0"} 1.0',
        'h_bucket{a="x",le="2.0"} 3.0',
        'h_bucket{a="x",le="+Inf"} 4.0',
        'h_count{a="x"} 4.0',
        'h_sum{a="x"} 8.5',
    ]


def test_beyond_its_limit_a_histogram_counts_under_other():
    histogram = Histogram("h", "help", ("a",), buckets=(1.0,), limit=1)

    for name in ("x", "y", "z"):
        histogram.observe(0.5, (name,))

    assert histogram.count(("x",)) == 1
    assert histogram.count(("other",)) == 2
    assert histogram.count(("y",)) == 0
