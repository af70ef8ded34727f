"""A sum over the last seconds."""

from gandalf.actors.window import Window


def test_what_is_older_than_its_seconds_does_not_count():
    window = Window(10)
    for second in range(30):
        window.add(1, second + 0.5)

    assert window.total(29.9) == 10
    assert window.total(34.0) == 5
    assert window.total(60.0) == 0


def test_a_window_that_nobody_looks_at_does_not_grow():
    window = Window(10)
    for second in range(1000):
        window.add(1, float(second))

    assert len(window._buckets) <= 11
