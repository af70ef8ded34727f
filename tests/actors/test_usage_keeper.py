import trio

from gandalf.actors.usage_keeper import MAX_ROWS, STEP, SWEEP_EVERY, UsageKeeper
from gandalf.config import Usage
from gandalf.storage.errors import StorageError

DAY = 86400.0
NOW = 20_000 * DAY


class FakeUpkeep:
    """Deletes of a supply of old rows; each takes ``per_row`` seconds."""

    def __init__(self, rows=0, rollups=0, per_row=0.00001):
        self.rows = rows
        self.rollups = rollups
        self.per_row = per_row
        self.steps = []
        self.befores = set()
        self.failure = None
        self.busy = 0.0

    async def delete_rows(self, before, limit):
        if self.failure is not None:
            raise self.failure
        self.befores.add(("rows", before))
        count = min(limit, self.rows)
        self.rows -= count
        self.steps.append(count)
        await trio.sleep(count * self.per_row)
        self.busy += count * self.per_row
        return count

    async def delete_rollups(self, before, limit):
        self.befores.add(("rollups", before))
        count = min(limit, self.rollups)
        self.rollups -= count
        return count


def a_keeper(upkeep, **settings):
    return UsageKeeper(
        upkeep, lambda: Usage(**settings), lambda: NOW, trio.current_time
    )


async def test_nothing_is_deleted_unless_it_is_told_to(nursery, autojump_clock):
    upkeep = FakeUpkeep(rows=10, rollups=10)
    nursery.start_soon(a_keeper(upkeep).run)

    await trio.sleep(10 * SWEEP_EVERY)

    assert (upkeep.rows, upkeep.rollups, upkeep.befores) == (10, 10, set())
    nursery.cancel_scope.cancel()


async def test_rows_and_roll_ups_have_ages_of_their_own(nursery, autojump_clock):
    upkeep = FakeUpkeep(rows=10, rollups=10)
    keeper = a_keeper(upkeep, keep_rows=30 * DAY, keep_rollups=400 * DAY)
    nursery.start_soon(keeper.run)

    await trio.sleep(1)

    assert upkeep.befores == {
        ("rows", NOW - 30 * DAY),
        ("rollups", NOW - 400 * DAY),
    }
    assert (keeper.deleted_rows, keeper.deleted_rollups) == (10, 10)
    nursery.cancel_scope.cancel()


async def test_a_step_takes_a_few_milliseconds_and_the_writer_is_free_for_longer(
    nursery, autojump_clock
):
    upkeep = FakeUpkeep(rows=20_000)
    nursery.start_soon(a_keeper(upkeep, keep_rows=DAY).run)

    await trio.sleep(0.3)

    assert 0 < upkeep.rows < 20_000
    assert max(upkeep.steps) * upkeep.per_row <= STEP * 1.01
    assert upkeep.busy < 0.4 * 0.3
    nursery.cancel_scope.cancel()


async def test_no_step_is_longer_than_its_bound(nursery, autojump_clock):
    upkeep = FakeUpkeep(rows=100_000, per_row=0.0)
    nursery.start_soon(a_keeper(upkeep, keep_rows=DAY).run)

    await trio.sleep(1)

    assert upkeep.rows == 0
    assert max(upkeep.steps) == MAX_ROWS
    nursery.cancel_scope.cancel()


async def test_a_database_that_is_away_is_asked_again_later(nursery, autojump_clock):
    upkeep = FakeUpkeep(rows=10)
    upkeep.failure = StorageError("locked")
    nursery.start_soon(a_keeper(upkeep, keep_rows=DAY).run)
    await trio.sleep(1)
    assert upkeep.rows == 10

    upkeep.failure = None
    await trio.sleep(SWEEP_EVERY)

    assert upkeep.rows == 0
    nursery.cancel_scope.cancel()


async def test_closing_ends_it_between_two_steps(autojump_clock):
    upkeep = FakeUpkeep(rows=1_000_000, per_row=0.001)
    keeper = a_keeper(upkeep, keep_rows=DAY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await trio.sleep(1)
        keeper.close()

    assert 0 < upkeep.rows < 1_000_000
    assert trio.current_time() < 2
