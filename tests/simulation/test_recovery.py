"""After an outage, traffic is served again within seconds."""

import pytest
import trio

from .world import HANG, Answer, SimulatedUpstream, Simulation, down_until, failing

OUTAGE = 60.0


@pytest.mark.parametrize("targets", [1, 2, 3])
@pytest.mark.parametrize("rate", [1, 50])
async def test_after_a_total_outage_all_is_served_within_five_seconds(
    autojump_clock, targets, rate
):
    begin = trio.current_time()
    simulation = Simulation(*[down_until(begin + OUTAGE) for _ in range(targets)])

    await simulation.traffic(int((OUTAGE + 60) * rate), rate)

    late = [o for o in simulation.outcomes if o.at >= begin + OUTAGE + 5]
    assert len(late) >= 50 * rate
    assert all(o.status == 200 for o in late)


async def test_the_first_target_is_used_again_within_seconds(autojump_clock):
    begin = trio.current_time()
    first = down_until(begin + OUTAGE)
    simulation = Simulation(first, failing(0.0, 1))

    await simulation.traffic(int((OUTAGE + 60) * 20), 20)

    assert simulation.success() == 1.0
    back = [o for o in simulation.outcomes if o.at >= begin + OUTAGE + 5]
    assert all(o.attempts[-1].target == "a/m" for o in back)


async def test_an_outage_costs_the_first_target_few_requests(autojump_clock):
    begin = trio.current_time()
    first = down_until(begin + OUTAGE)
    simulation = Simulation(first, failing(0.0, 1))

    await simulation.traffic(int(OUTAGE * 50), 50)

    asked = [at for _, at in first.asked if at > begin + 5]
    assert len(asked) <= OUTAGE  # A probe a second, of fifty requests.


async def test_what_probes_a_silent_target_waits_and_nothing_else_does(
    autojump_clock, nursery
):
    silent = SimulatedUpstream(lambda key, now: Answer(after=HANG))
    simulation = Simulation(silent, failing(0.0, 1))
    nursery.start_soon(simulation.watches.run)

    await simulation.traffic(3000, 10)
    simulation.watches.close()

    # Those under way before the first time limit had passed, and the probes.
    early = [o for o in simulation.outcomes if o.at < simulation.outcomes[0].at + 61]
    slow = [o for o in simulation.outcomes if o.seconds > 1 and o not in early]
    assert simulation.success() == 1.0
    assert len(slow) <= 10
