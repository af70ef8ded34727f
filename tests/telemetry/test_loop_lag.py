import logging

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gandalf.telemetry.loop_lag import INTERVAL, WARN_EVERY, LoopLag
from gandalf.telemetry.metrics import Metrics


@pytest.fixture
def probe(nursery):
    metrics = Metrics()
    probe = LoopLag(metrics)
    probe.metrics = metrics
    nursery.start_soon(probe.run)
    yield probe
    probe.close()


async def blocked_for(clock: MockClock, seconds: float) -> None:
    """As if a task had kept the loop busy past the time the probe was due."""
    await wait_all_tasks_blocked()
    clock.jump(INTERVAL + seconds)
    await wait_all_tasks_blocked()


async def test_an_idle_loop_has_no_lag(probe, mock_clock):
    for _ in range(3):
        await blocked_for(mock_clock, 0.0)

    assert probe.metrics.loop_lag.count() == 3
    assert probe.metrics.loop_lag_max.value() == pytest.approx(0.0)


async def test_a_blocked_loop_shows_as_lag(probe, mock_clock, caplog):
    await blocked_for(mock_clock, 0.25)

    assert probe.metrics.loop_lag_max.value() == pytest.approx(0.25)
    assert [r.lag_ms for r in caplog.records] == [250]


async def test_a_small_lag_is_measured_and_not_warned_about(probe, mock_clock, caplog):
    await blocked_for(mock_clock, 0.04)

    assert probe.metrics.loop_lag_max.value() == pytest.approx(0.04)
    assert caplog.records == []


async def test_the_warning_comes_at_most_once_a_minute(probe, mock_clock, caplog):
    caplog.set_level(logging.WARNING)

    for _ in range(10):
        await blocked_for(mock_clock, 1.0)
    assert len(caplog.records) == 1
    await blocked_for(mock_clock, WARN_EVERY)
    assert len(caplog.records) == 2


async def test_close_ends_the_probe_at_once(autojump_clock):
    probe = LoopLag(Metrics())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(probe.run)
        await trio.sleep(INTERVAL / 2)
        probe.close()
        probe.close()

    assert trio.current_time() == INTERVAL / 2
