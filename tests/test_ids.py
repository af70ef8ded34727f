"""Ids of requests."""

import time
import uuid

from gandalf.domain.ids import new_id


def test_an_id_is_a_uuid_of_version_7_that_tells_the_time():
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_id())
    after = time.time_ns() // 1_000_000

    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= after


def test_ids_are_in_canonical_form():
    assert all(str(uuid.UUID(made)) == made for made in (new_id() for _ in range(1000)))


def test_ids_differ_and_tell_nothing_of_each_other():
    made = [uuid.UUID(new_id()) for _ in range(10_000)]
    random_bits = [one.int & (2**62 - 1) for one in made]

    assert len(set(random_bits)) == len(made)
    # Of each bit about half are set: none counts.
    for bit in set(range(62)) - {60, 61}:
        assert 4500 < sum(bits >> bit & 1 for bits in random_bits) < 5500


def test_ids_sort_by_the_time_they_were_made(monkeypatch):
    made = []
    for milliseconds in range(100):
        monkeypatch.setattr(time, "time_ns", lambda now=milliseconds: now * 1_000_000)
        made.append(new_id())

    assert made == sorted(set(made))
