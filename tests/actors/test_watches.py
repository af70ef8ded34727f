"""The one task that keeps the time limits of all attempts."""

import pytest
import trio

from gandalf.actors.watches import INTERVAL, Watches
from gandalf.providers.watch import UpstreamBroken, Watch


@pytest.fixture
async def watches(nursery):
    watches = Watches()
    nursery.start_soon(watches.run)
    return watches


async def test_who_waits_too_long_is_stopped_in_time(autojump_clock, watches):
    watch = Watch()
    watches.add(watch)
    watch.phase("idle", 2.0)
    began = trio.current_time()

    with pytest.raises(UpstreamBroken, match="idle took too long"), watch.guard():
        await trio.sleep_forever()

    assert 2.0 <= trio.current_time() - began <= 2.0 + 2 * INTERVAL
    assert watch.expired


async def test_a_new_phase_moves_the_limit(autojump_clock, watches):
    watch = Watch()
    watches.add(watch)

    with watch.guard():
        for _ in range(5):
            watch.phase("idle", 1.0)
            await trio.sleep(0.8)

    assert not watch.expired


async def test_the_total_wins_over_a_later_phase(autojump_clock, watches):
    watch = Watch(trio.current_time() + 1.0)
    watches.add(watch)
    watch.phase("idle", 5.0)

    with pytest.raises(UpstreamBroken), watch.guard():
        await trio.sleep_forever()

    assert watch.name == "total"


async def test_a_discarded_watch_stops_nobody(autojump_clock, watches):
    watch = Watch()
    watches.add(watch)
    watch.phase("idle", 1.0)
    watches.discard(watch)
    watches.discard(watch)

    with watch.guard():
        await trio.sleep(3)

    assert len(watches) == 0
    assert not watch.expired


async def test_it_ends_when_closed(autojump_clock):
    watches = Watches()
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watches.run)
            watches.close()
            watches.close()
