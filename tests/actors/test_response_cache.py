import tracemalloc
from random import Random

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from gandalf.actors.response_cache import (
    CachedAnswer,
    Capture,
    ResponseCache,
    entry_size_bytes,
)
from gandalf.config import Cache

from .clock import Clock

KEY = b"k" * 32
OTHER = b"o" * 32


def an_answer(body=b"{}", **changes):
    return CachedAnswer(
        status=200, content_type=b"application/json", body=body, **changes
    )


def a_cache(**settings):
    clock = Clock()
    return ResponseCache(Cache(**settings), clock), clock


def store(cache, key, body=b"{}", ttl=60.0):
    found = cache.get(key)
    capture = found if isinstance(found, Capture) else cache.refresh(key)
    answer = an_answer(body)
    cache.keep(capture, answer, ttl)
    return answer


def holds(cache, key):
    found = cache.get(key)
    if isinstance(found, Capture):
        cache.give_up(found)
        return False
    return True


# Keeping.


def test_what_was_kept_is_found_until_its_time_is_over():
    cache, clock = a_cache()
    answer = store(cache, KEY, ttl=60)
    clock.advance(59.9)
    assert cache.get(KEY) is answer

    clock.advance(0.1)

    assert not holds(cache, KEY)
    assert cache.stats().size_bytes == 0


def test_each_entry_has_its_own_time():
    cache, clock = a_cache(default_ttl=1.0)
    store(cache, KEY, ttl=3600)
    store(cache, OTHER, ttl=10)
    clock.advance(1800)
    assert holds(cache, KEY)
    assert not holds(cache, OTHER)


def test_a_new_answer_replaces_the_old_one():
    cache, _ = a_cache()
    store(cache, KEY, b"old")

    answer = an_answer(b"new")
    cache.keep(cache.refresh(KEY), answer, 60)

    assert cache.get(KEY) is answer
    assert cache.stats().entries == 1
    assert cache.stats().size_bytes == entry_size_bytes(KEY, answer)


def test_the_least_recently_used_makes_room_for_one_too_many():
    cache, _ = a_cache(max_size=2)
    store(cache, b"a")
    store(cache, b"b")
    cache.get(b"a")

    store(cache, b"c")

    assert [holds(cache, key) for key in (b"a", b"b", b"c")] == [True, False, True]
    assert cache.stats().evictions == 1


def test_bytes_are_bounded_as_well():
    cache, _ = a_cache(max_bytes=10_000, max_entry_bytes=9_000)
    for n in range(20):
        store(cache, b"%d" % n, bytes(2000))
        assert cache.stats().size_bytes <= 10_000
    assert holds(cache, b"19")
    assert not holds(cache, b"0")


def test_an_answer_larger_than_everything_is_not_kept_and_evicts_nothing():
    cache, _ = a_cache(max_bytes=10_000, max_entry_bytes=100_000)
    store(cache, KEY)

    store(cache, OTHER, bytes(10_000))

    assert holds(cache, KEY)
    assert not holds(cache, OTHER)


def test_smaller_bounds_hold_as_soon_as_they_are_set():
    cache, _ = a_cache()
    for n in range(10):
        store(cache, b"%d" % n)

    cache.configure(Cache(max_size=3))

    assert cache.stats().entries == 3
    assert holds(cache, b"9")


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 3000), st.floats(0, 20)),
        max_size=60,
    )
)
def test_the_bounds_hold_and_the_size_is_the_sum_of_the_entries(steps):
    cache, clock = a_cache(max_size=4, max_bytes=8000)
    for key, size, pause in steps:
        store(cache, b"%d" % key, bytes(size), ttl=15)
        clock.advance(pause)
        stats = cache.stats()
        assert stats.entries <= 4
        assert stats.size_bytes <= 8000
        assert stats.size_bytes == sum(
            entry_size_bytes(key, entry.answer) for key, entry in cache._entries.items()
        )
        assert cache.captured_bytes == 0


@pytest.mark.parametrize("body_size", [100, 2000])
def test_the_size_is_what_the_process_grows_by(body_size):
    cache, _ = a_cache(max_bytes=100_000_000)
    store(cache, b"warm-up")
    before = cache.stats().size_bytes
    tracemalloc.start()
    try:
        for n in range(3000):
            key = n.to_bytes(32, "big")
            capture = cache.get(key)
            capture.add(bytes(body_size))
            answer = an_answer(
                capture.body,
                ending=b"%d" % n,
                target=f"provider/gpt-4o-mini-{n}",
            )
            cache.keep(capture, answer, 60.0 + n)
        del capture, answer, key
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    counted = cache.stats().size_bytes - before
    assert counted == pytest.approx(grown, rel=0.08)


def test_purge_forgets_everything():
    cache, _ = a_cache()
    store(cache, KEY)
    store(cache, OTHER)

    assert cache.purge() == 2

    assert not holds(cache, KEY)
    assert (cache.stats().entries, cache.stats().size_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("selected", "left"),
    [
        ({"alias": "fast"}, {b"3"}),
        ({"org_id": "acme"}, {b"2"}),
        ({"alias": "fast", "org_id": "acme"}, {b"2", b"3"}),
        ({"alias": "other"}, {b"1", b"2", b"3"}),
    ],
)
def test_a_purge_may_be_of_one_alias_or_organisation(selected, left):
    cache, _ = a_cache()
    for key, alias, org_id in (
        (b"1", "fast", "acme"),
        (b"2", "fast", "default"),
        (b"3", "slow", "acme"),
    ):
        capture = cache.get(key)
        cache.keep(capture, an_answer(), 60, alias=alias, org_id=org_id)

    assert cache.purge(**selected) == 3 - len(left)

    assert {key for key in (b"1", b"2", b"3") if holds(cache, key)} == left


def test_an_answer_from_before_a_purge_of_one_alias_is_not_kept_after_it():
    cache, _ = a_cache()
    capture = cache.get(KEY)
    cache.purge(alias="fast")

    cache.keep(capture, an_answer(), 60, alias="fast")

    assert not holds(cache, KEY)


def test_an_answer_from_before_a_purge_is_not_kept_after_it():
    cache, _ = a_cache()
    capture = cache.get(KEY)
    cache.purge()

    cache.keep(capture, an_answer(), 60)

    assert not holds(cache, KEY)


def test_what_happened_is_counted():
    cache, _ = a_cache(max_size=1)
    store(cache, KEY)
    cache.get(KEY)
    cache.get(KEY)
    store(cache, OTHER)
    cache.bypass()
    cache.give_up(cache.refresh(OTHER))

    stats = cache.stats()

    assert (stats.hits, stats.misses, stats.bypasses) == (2, 2, 2)
    assert (stats.evictions, stats.entries) == (1, 1)


# Capturing.


def test_a_capture_is_the_sum_of_its_pieces():
    cache, _ = a_cache()
    capture = cache.get(KEY)
    for piece in (b"a", b"bc", b"d"):
        capture.add(piece)
    assert capture.body == b"abcd"
    assert cache.captured_bytes == 4


def test_a_capture_that_grows_too_large_is_dead_and_empty():
    cache, _ = a_cache(max_entry_bytes=10)
    capture = cache.get(KEY)
    capture.add(bytes(10))
    assert not capture.dead

    capture.add(b"x")
    capture.add(b"y")

    assert capture.dead
    assert capture.body == b""
    assert cache.captured_bytes == 0


def test_all_captures_together_are_bounded():
    cache, _ = a_cache(max_bytes=1000, max_entry_bytes=600)
    captures = [cache.get(b"%d" % n) for n in range(100)]
    for capture in captures:
        capture.add(bytes(400))
    assert cache.captured_bytes == 800
    assert [capture.dead for capture in captures] == [False] * 2 + [True] * 98

    for capture in captures:
        cache.give_up(capture)

    assert cache.captured_bytes == 0
    another = cache.get(b"another")
    another.add(bytes(400))
    assert not another.dead


def test_what_comes_after_the_end_is_not_captured():
    cache, _ = a_cache()
    capture = cache.get(KEY)
    cache.give_up(capture)

    capture.add(b"late")

    assert cache.captured_bytes == 0
    assert capture.body == b""


# Flying once.


class Callers:
    """Tasks that each ask for ``KEY``, and what they were given."""

    def __init__(self, cache, nursery):
        self.cache = cache
        self.nursery = nursery
        self.given = {}
        self.scopes = {}

    async def ask(self, *names):
        for name in names:
            self.nursery.start_soon(self._ask, name)
            await wait_all_tasks_blocked()

    async def _ask(self, name):
        with trio.CancelScope() as self.scopes[name]:
            self.given[name] = await self.cache.join(KEY)

    async def leave(self, name):
        self.scopes[name].cancel()
        await wait_all_tasks_blocked()

    def makers(self):
        return [n for n, given in self.given.items() if isinstance(given, Capture)]


async def test_the_first_makes_the_answer_and_the_others_get_it(nursery):
    cache = ResponseCache(Cache())
    callers = Callers(cache, nursery)
    await callers.ask("a", "b", "c")
    assert callers.makers() == ["a"]
    assert len(callers.given) == 1

    answer = an_answer()
    cache.keep(callers.given["a"], answer, 60)
    await wait_all_tasks_blocked()

    assert callers.given["b"] is callers.given["c"] is answer
    assert (cache.stats().hits, cache.stats().misses) == (2, 1)


async def test_those_who_wait_get_an_answer_too_large_to_be_kept(nursery):
    cache = ResponseCache(Cache(max_bytes=100))
    callers = Callers(cache, nursery)
    await callers.ask("a", "b")

    answer = an_answer(bytes(1000))
    cache.keep(callers.given["a"], answer, 60)
    await wait_all_tasks_blocked()

    assert callers.given["b"] is answer
    assert cache.stats().entries == 0


async def test_when_the_maker_leaves_one_of_those_who_wait_takes_over(nursery):
    cache = ResponseCache(Cache())
    callers = Callers(cache, nursery)
    await callers.ask("a", "b", "c", "d")

    cache.pass_on(callers.given["a"])
    await wait_all_tasks_blocked()

    assert len(callers.makers()) == 2
    (heir,) = set(callers.makers()) - {"a"}
    cache.keep(callers.given[heir], an_answer(), 60)
    await wait_all_tasks_blocked()
    assert len(callers.given) == 4
    assert len(callers.makers()) == 2


async def test_without_an_answer_to_share_each_makes_its_own_at_once(nursery):
    cache = ResponseCache(Cache())
    callers = Callers(cache, nursery)
    await callers.ask("a", "b", "c", "d")

    cache.give_up(callers.given["a"])
    await wait_all_tasks_blocked()

    assert sorted(callers.makers()) == ["a", "b", "c", "d"]
    answer = an_answer()
    cache.keep(callers.given["c"], answer, 60)
    assert cache.get(KEY) is answer


async def test_one_who_leaves_while_waiting_leaves_no_trace(nursery):
    cache = ResponseCache(Cache())
    callers = Callers(cache, nursery)
    await callers.ask("a", "b", "c")

    await callers.leave("b")
    cache.pass_on(callers.given["a"])
    await wait_all_tasks_blocked()

    assert callers.makers() == ["a", "c"]
    cache.give_up(callers.given["c"])
    assert cache._flights == {}


async def test_an_heir_that_leaves_as_it_inherits_passes_it_on(nursery):
    cache = ResponseCache(Cache())
    callers = Callers(cache, nursery)
    await callers.ask("a", "b", "c")

    # Woken and cancelled in the same instant: each of the two either has the duty,
    # and hands it back as its exchange settles, or has nothing to hand back.
    cache.pass_on(callers.given["a"])
    callers.scopes["b"].cancel()
    callers.scopes["c"].cancel()
    await wait_all_tasks_blocked()
    for name in set(callers.makers()) - {"a"}:
        cache.pass_on(callers.given[name])
    await wait_all_tasks_blocked()

    await callers.ask("d")
    assert isinstance(callers.given["d"], Capture)


async def test_a_purge_lets_newcomers_make_a_new_answer_and_the_old_one_land(nursery):
    cache = ResponseCache(Cache())
    callers = Callers(cache, nursery)
    await callers.ask("a", "b")
    cache.purge()
    await callers.ask("c")
    assert callers.makers() == ["a", "c"]

    old, new = an_answer(b"old"), an_answer(b"new")
    cache.keep(callers.given["a"], old, 60)
    await callers.ask("d")
    assert callers.given["b"] is old
    assert "d" not in callers.given
    cache.keep(callers.given["c"], new, 60)
    await wait_all_tasks_blocked()

    assert callers.given["d"] is new
    assert cache.get(KEY) is new


async def test_handing_back_twice_changes_nothing(nursery):
    cache = ResponseCache(Cache())
    callers = Callers(cache, nursery)
    await callers.ask("a")
    cache.pass_on(callers.given["a"])
    await callers.ask("b", "c")

    cache.give_up(callers.given["a"])
    await wait_all_tasks_blocked()

    assert callers.makers() == ["a", "b"]
    cache.pass_on(callers.given["b"])


async def test_random_cancels_leave_nobody_waiting_and_nothing_flying(autojump_clock):

    random = Random(7)
    cache = ResponseCache(Cache(max_size=2))
    ended = 0

    async def caller():
        nonlocal ended
        capture = None
        with trio.move_on_after(random.uniform(0, 3)) as scope:
            try:
                found = await cache.join(random.choice([KEY, OTHER]))
                if isinstance(found, Capture):
                    capture = found
                    await trio.sleep(random.uniform(0, 2))
            finally:
                if capture is not None:
                    if scope.cancel_called:
                        cache.pass_on(capture)
                    elif random.random() < 0.5:
                        cache.keep(capture, an_answer(), 0.5)
                    else:
                        cache.give_up(capture)
        ended += 1

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(caller)
            await trio.sleep(random.uniform(0, 0.05))

    assert ended == 1000
    assert cache._flights == {}
    assert cache.captured_bytes == 0
