"""Independent failures must cost nothing that they do not cost without breakers."""

import pytest

from gandalf.config import CircuitBreaker

from .world import Simulation, failing

OFF = CircuitBreaker(enabled=False)
COUNT = 2000


async def success(share, targets, rate, breaker, status=500):
    upstreams = [failing(share, seed, status=status) for seed in range(targets)]
    simulation = Simulation(*upstreams, breaker=breaker)
    await simulation.traffic(COUNT, rate)
    return simulation.success()


@pytest.mark.parametrize("targets", [1, 2, 3])
@pytest.mark.parametrize("share", [0.05, 0.15, 0.35, 0.6, 0.9])
async def test_breakers_cost_at_most_two_points_of_success(
    autojump_clock, share, targets
):
    off = await success(share, targets, 100, OFF)
    on = await success(share, targets, 100, CircuitBreaker())

    assert on >= off - 0.02


@pytest.mark.parametrize("targets", [1, 2])
async def test_nor_do_they_at_a_low_rate(autojump_clock, targets):
    off = await success(0.35, targets, 1, OFF)
    on = await success(0.35, targets, 1, CircuitBreaker())

    assert on >= off - 0.02


@pytest.mark.parametrize("status", [401, 429])
@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("share", [0.05, 0.35])
async def test_nor_for_random_rate_limits_and_refused_credentials(
    autojump_clock, share, targets, status
):
    off = await success(share, targets, 100, OFF, status)
    on = await success(share, targets, 100, CircuitBreaker(), status)

    assert on >= off - 0.02
