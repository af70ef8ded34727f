"""What one client's requests meet changes nothing for another client."""

from statistics import median

import pytest
import trio

from .world import HANG, Answer, SimulatedUpstream, Simulation

NOISY, QUIET = "noisy", "quiet"


async def mixed(answer_to_noisy):
    """Return a simulation of 1,000 noisy and 1,000 quiet requests to one target."""

    def behave(key, now):
        return answer_to_noisy if key == NOISY else Answer(after=0.3)

    simulation = Simulation(SimulatedUpstream(behave))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(simulation.watches.run)
        async with trio.open_nursery() as traffic:
            if answer_to_noisy is not None:
                traffic.start_soon(simulation.traffic, 1000, 50, NOISY)
            traffic.start_soon(simulation.traffic, 1000, 50, QUIET)
        simulation.watches.close()
    return simulation


@pytest.mark.parametrize(
    "answer",
    [
        *[
            Answer(status, 0.05)
            for status in (400, 403, 404, 409, 413, 415, 422, 424, 451, 429)
        ],
        Answer(429, 0.05, {b"retry-after": b"3600"}),
        Answer(after=HANG),
        Answer(after=50.0),
    ],
    ids=repr,
)
async def test_what_one_key_meets_changes_nothing_for_another(autojump_clock, answer):
    simulation = await mixed(answer)

    quiet = [o for o in simulation.outcomes if o.key == QUIET]
    assert len(quiet) == 1000
    assert all(o.status == 200 for o in quiet)
    assert median(o.seconds for o in quiet) == pytest.approx(0.3, abs=0.01)
    assert max(o.seconds for o in quiet) == pytest.approx(0.3, abs=0.01)
    assert all(len(o.attempts) == 1 for o in quiet)


async def test_five_slow_requests_of_one_caller_open_nothing(autojump_clock, nursery):
    def behave(key, now):
        return Answer(after=HANG if key == NOISY else 0.3)

    simulation = Simulation(SimulatedUpstream(behave))
    nursery.start_soon(simulation.watches.run)
    await simulation.ask(QUIET)
    async with trio.open_nursery() as traffic:
        for _ in range(5):
            traffic.start_soon(simulation.ask, NOISY)
        traffic.start_soon(simulation.traffic, 10, 0.1, QUIET)
    simulation.watches.close()

    assert simulation.success(NOISY) == 0.0
    assert simulation.success(QUIET) == 1.0
    assert simulation.breakers.statistics()[0].state == "closed"
