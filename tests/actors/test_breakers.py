import logging

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
)

from gandalf.actors.breakers import MAX_BENCH, Breakers, BreakerState, TargetHealth
from gandalf.config import CircuitBreaker

from .clock import Clock

T = "openai-eu/gpt-4o"
OTHER = "azure/gpt-4o"
BY_SHARE = CircuitBreaker(consecutive_failures=0)


class Changes(list):
    """The changes that ``on_change`` was told of."""

    def __call__(self, target, old, new):
        self.append((target, str(old), str(new)))


def breakers_with(settings=BY_SHARE):
    clock = Clock()
    changes = Changes()
    return Breakers(settings, on_change=changes, clock=clock), clock, changes


def state_of(breakers, target=T):
    return {health.target: str(health.state) for health in breakers.snapshot()}[target]


def succeed(breakers, times=1):
    for _ in range(times):
        breakers.admit(T).success()


def fail(breakers, times=1, weight=1.0):
    for _ in range(times):
        breakers.admit(T).failure(weight, "upstream_500")


def opened(settings=BY_SHARE):
    breakers, clock, changes = breakers_with(settings)
    fail(breakers, 10)
    assert state_of(breakers) == "open"
    changes.clear()
    return breakers, clock, changes


def half_opened():
    breakers, clock, changes = opened()
    clock.advance(30)
    probe = breakers.admit(T)
    assert probe is not None
    return breakers, clock, changes, probe


# Opening.


def test_opens_when_the_share_of_failures_is_reached():
    breakers, _, changes = breakers_with()
    succeed(breakers, 7)
    fail(breakers, 2)
    assert state_of(breakers) == "closed"

    fail(breakers)

    assert breakers.admit(T) is None
    assert changes == [(T, "closed", "open")]


def test_few_samples_do_not_open():
    breakers, _, _ = breakers_with()
    fail(breakers, 9)
    assert state_of(breakers) == "closed"


def test_failures_in_a_row_open_below_min_samples():
    breakers, _, _ = breakers_with(CircuitBreaker())
    fail(breakers, 4)
    assert state_of(breakers) == "closed"

    fail(breakers)

    assert breakers.admit(T) is None


def test_a_success_breaks_the_row():
    breakers, _, _ = breakers_with(CircuitBreaker(error_threshold=1.0))
    for _ in range(5):
        fail(breakers, 4)
        succeed(breakers)
    assert state_of(breakers) == "closed"


def test_light_failures_are_not_a_row_but_have_their_share():
    breakers, _, _ = breakers_with(CircuitBreaker())
    fail(breakers, 9, weight=0.5)
    assert state_of(breakers) == "closed"

    fail(breakers, 1, weight=0.5)

    assert state_of(breakers) == "open"


def test_a_timeout_weighs_more_than_an_error():
    for weight, state in ((1.0, "closed"), (1.5, "open")):
        breakers, _, _ = breakers_with()
        succeed(breakers, 8)
        fail(breakers, 2, weight=weight)
        assert state_of(breakers) == state


def test_what_is_older_than_the_window_does_not_count():
    breakers, clock, _ = breakers_with()
    fail(breakers, 9)
    clock.advance(60)

    fail(breakers, 9)

    assert state_of(breakers) == "closed"


@pytest.mark.parametrize("report", ["release", "failure without weight"])
def test_what_the_target_is_not_to_blame_for_leaves_no_trace(report):
    breakers, _, _ = breakers_with()
    for _ in range(100):
        permit = breakers.admit(T)
        if report == "release":
            permit.release()
        else:
            permit.failure(0.0)
    fail(breakers, 9)
    assert state_of(breakers) == "closed"

    fail(breakers)

    assert state_of(breakers) == "open"


def test_targets_do_not_share_a_breaker():
    breakers, _, _ = opened()
    assert breakers.admit(T) is None
    assert breakers.admit(OTHER) is not None


def test_a_disabled_breaker_never_opens():
    breakers, _, _ = breakers_with(CircuitBreaker(enabled=False))
    fail(breakers, 100)
    assert state_of(breakers) == "closed"


# Permits.


def test_only_the_first_report_of_a_permit_counts():
    breakers, _, _ = breakers_with()
    permits = [breakers.admit(T) for _ in range(10)]
    for permit in permits:
        permit.release()
        permit.failure(1.0)
        permit.failure(1.0)
        permit.success()
    assert state_of(breakers) == "closed"
    fail(breakers, 9)
    assert state_of(breakers) == "closed"


def test_reports_from_before_the_opening_change_nothing():
    breakers, clock, _ = breakers_with()
    late = [breakers.admit(T) for _ in range(3)]
    fail(breakers, 10)
    until = breakers.snapshot()[0].until
    clock.advance(10)

    late[0].failure(1.0)
    late[1].success()
    late[2].release()

    assert breakers.snapshot()[0].until == until
    assert state_of(breakers) == "open"


# Half open.


def test_one_probe_is_admitted_when_the_time_is_over():
    breakers, clock, changes = opened()
    clock.advance(29.9)
    assert breakers.admit(T) is None
    clock.advance(0.1)

    assert breakers.admit(T) is not None
    assert [breakers.admit(T) for _ in range(5)] == [None] * 5
    assert changes == [(T, "open", "half_open")]


def test_the_probes_success_closes_with_a_clean_slate():
    breakers, _, changes, probe = half_opened()

    probe.success()

    assert changes[-1] == (T, "half_open", "closed")
    fail(breakers, 9)
    assert state_of(breakers) == "closed"


def test_the_probes_success_ends_a_row_of_failures():
    breakers, clock, _ = breakers_with(CircuitBreaker())
    fail(breakers, 5)
    clock.advance(30)
    succeed(breakers)

    fail(breakers, 4)

    assert state_of(breakers) == "closed"


def test_the_probes_failure_opens_again_for_as_long():
    breakers, clock, changes, probe = half_opened()

    probe.failure(0.5, "upstream_429")

    assert changes[-1] == (T, "half_open", "open")
    clock.advance(29.9)
    assert breakers.admit(T) is None
    clock.advance(0.1)
    assert breakers.admit(T) is not None


def test_a_probe_that_tells_nothing_leaves_its_place_to_the_next():
    breakers, _, _, probe = half_opened()
    for _ in range(3):
        probe.release()
        probe = breakers.admit(T)
        assert probe is not None
        assert breakers.admit(T) is None

    probe.success()

    assert state_of(breakers) == "closed"


def test_an_old_permit_cannot_speak_for_the_probe():
    breakers, clock, _ = breakers_with()
    old = [breakers.admit(T) for _ in range(3)]
    fail(breakers, 10)
    clock.advance(30)
    breakers.admit(T)

    old[0].success()
    old[1].failure(1.0)
    old[2].release()

    assert state_of(breakers) == "half_open"
    assert breakers.admit(T) is None


def test_a_released_probes_late_word_is_not_the_next_probes():
    breakers, _, _, probe = half_opened()
    probe.release()
    breakers.admit(T)
    probe.success()
    assert state_of(breakers) == "half_open"


def test_a_probe_that_has_begun_to_stream_lets_the_others_in():
    breakers, _, _, probe = half_opened()

    probe.begun()

    assert state_of(breakers) == "closed"
    assert breakers.admit(T) is not None


@pytest.mark.parametrize("end", ["cut", "complete"])
def test_the_end_of_a_stream_counts_although_its_beginning_closed_the_breaker(end):
    breakers, _, _, probe = half_opened()
    probe.begun()
    fail(breakers, 9)

    if end == "cut":
        probe.failure(1.0)
    else:
        probe.success()

    # The tenth sample, and 9 or 10 failures among them: open either way. Without
    # the stream's end there would be nine, too few to judge by.
    state = state_of(breakers)
    assert state == ("open" if end == "cut" else "closed")
    if end == "complete":
        fail(breakers)
        assert state_of(breakers) == "open"


def test_begun_means_nothing_for_a_permit_that_is_no_probe():
    breakers, _, _ = breakers_with()
    permit = breakers.admit(T)
    permit.begun()
    fail(breakers, 9)
    permit.failure(1.0)
    assert state_of(breakers) == "open"

    permit.begun()

    assert state_of(breakers) == "open"


# Benches.


def test_a_benched_target_is_left_alone_until_then():
    breakers, clock, changes = breakers_with()

    breakers.bench(T, 5, "retry-after")

    assert changes == [(T, "closed", "open")]
    clock.advance(4.9)
    assert breakers.admit(T) is None
    clock.advance(0.1)
    assert breakers.admit(T) is not None


@pytest.mark.parametrize("order", [(5, 50), (50, 5)])
def test_the_later_of_two_deadlines_wins(order):
    breakers, clock, changes = breakers_with()

    for duration in order:
        breakers.bench(T, duration, f"for {duration}")

    assert breakers.snapshot()[0].until == clock() + 50
    assert breakers.snapshot()[0].reason == "for 50"
    assert len(changes) == 1


def test_a_bench_does_not_shorten_what_failures_have_opened():
    breakers, clock, _ = opened()
    breakers.bench(T, 1, "retry-after")
    clock.advance(29)
    assert breakers.admit(T) is None


def test_a_bench_holds_although_breakers_are_disabled():
    breakers, clock, _ = breakers_with(CircuitBreaker(enabled=False))
    breakers.bench(T, 5, "retry-after")
    assert breakers.admit(T) is None
    clock.advance(5)

    breakers.admit(T).failure(1.0)

    # No failure opens a disabled breaker, not even the probe's.
    assert breakers.admit(T) is not None


@pytest.mark.parametrize("duration", [0.0, -1.0])
def test_a_bench_of_no_length_is_none(duration):
    breakers, _, _ = breakers_with()
    breakers.bench(T, duration, "retry-after")
    assert breakers.admit(T) is not None


def test_a_bench_is_probed_after_an_hour_however_long_it_was_meant():
    breakers, clock, _ = breakers_with()
    breakers.bench(T, float("inf"), "retry-after")
    clock.advance(MAX_BENCH)
    assert breakers.admit(T) is not None


def test_benching_a_provider_benches_its_targets_and_no_others():
    breakers, _, _ = breakers_with()
    for target in ("openai/a", "openai/b", "openai-eu/a"):
        breakers.admit(target).success()

    breakers.bench_provider("openai", 30, "its key is refused")

    assert breakers.admit("openai/a") is None
    assert breakers.admit("openai/b") is None
    assert breakers.admit("openai-eu/a") is not None


def test_retry_after_is_the_wait_for_the_first_of_the_targets():
    breakers, clock, _ = breakers_with()
    breakers.bench(T, 20, "x")
    breakers.bench(OTHER, 7, "x")
    assert breakers.retry_after([T, OTHER]) == 7
    assert breakers.retry_after([T, OTHER, "never/used"]) == 0
    clock.advance(7)

    assert breakers.retry_after([T, OTHER]) == 0
    breakers.admit(OTHER)
    assert breakers.retry_after([OTHER]) > 0


# Around it.


def test_the_snapshot_tells_state_reason_and_until():
    breakers, clock, _ = opened()
    breakers.admit(OTHER).success()

    assert breakers.snapshot() == (
        TargetHealth(target=OTHER, state=BreakerState.CLOSED, reason="", until=None),
        TargetHealth(
            target=T,
            state=BreakerState.OPEN,
            reason="failures weighing 10 in 10 requests, the last: upstream_500",
            until=clock() + 30,
        ),
    )


def test_each_change_is_one_log_line(caplog):
    caplog.set_level(logging.INFO, "gandalf.breakers")
    breakers, clock, _ = breakers_with()
    for _ in range(50):
        permit = breakers.admit(T)
        if permit is not None:
            permit.failure(1.0, "upstream_500")
    clock.advance(30)
    breakers.admit(T).success()

    assert [record.getMessage() for record in caplog.records] == [
        (
            f"target {T}: closed -> open for 30.0s: failures weighing 10 in 10"
            " requests, the last: upstream_500"
        ),
        f"target {T}: open -> half_open",
        f"target {T}: half_open -> closed",
    ]


def test_new_settings_hold_for_known_targets():
    breakers, clock, _ = breakers_with()
    fail(breakers, 5)
    clock.advance(5)

    breakers.configure(
        CircuitBreaker(min_samples=6, window_seconds=10, consecutive_failures=0)
    )
    fail(breakers)
    assert state_of(breakers) == "open"

    breakers, clock, _ = breakers_with()
    fail(breakers, 5)
    clock.advance(5)
    breakers.configure(
        CircuitBreaker(min_samples=6, window_seconds=5, consecutive_failures=0)
    )
    fail(breakers)
    assert state_of(breakers) == "closed"


def test_targets_that_are_gone_are_forgotten():
    breakers, _, _ = opened()
    permit = breakers.admit(OTHER)

    breakers.keep_only([T])
    permit.failure(1.0)

    assert [health.target for health in breakers.snapshot()] == [T]
    assert breakers.admit(T) is None


class AnyOrderOfEvents(RuleBasedStateMachine):
    """Whatever happens in whatever order: one probe at most, and never stuck."""

    permits = Bundle("permits")

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.breakers = Breakers(
            CircuitBreaker(min_samples=4, window_seconds=5, open_timeout=3),
            clock=self.clock,
            on_change=self.changed,
        )
        self.outstanding = []
        self.probe = None
        self.state = BreakerState.CLOSED

    def changed(self, target, old, new):
        assert old is self.state
        assert new is not old
        self.state = new
        self.probe = None

    @rule(target=permits)
    def admit(self):
        permit = self.breakers.admit(T)
        if permit is not None:
            assert self.state is not BreakerState.OPEN
            if self.state is BreakerState.HALF_OPEN:
                assert self.probe is None, "a second probe"
                self.probe = permit
            self.outstanding.append(permit)
        return permit

    @rule(permit=consumes(permits), weight=st.sampled_from([0.5, 1.0, 1.5]))
    def fail(self, permit, weight):
        self.report(permit, lambda: permit.failure(weight))

    @rule(permit=consumes(permits))
    def succeed(self, permit):
        self.report(permit, lambda: permit.success())

    @rule(permit=consumes(permits))
    def release(self, permit):
        self.report(permit, lambda: permit.release())

    @rule(permit=permits)
    def begin(self, permit):
        if permit is not None:
            permit.begun()

    def report(self, permit, how):
        if permit is None:
            return
        if permit is self.probe:
            self.probe = None
        if permit in self.outstanding:
            self.outstanding.remove(permit)
        how()

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule(duration=st.sampled_from([0.0, 1.0, 6.0]))
    def bench(self, duration):
        self.breakers.bench(T, duration, "retry-after")

    @rule(enabled=st.booleans(), window=st.integers(1, 10))
    def reload(self, enabled, window):
        self.breakers.configure(
            CircuitBreaker(
                enabled=enabled, min_samples=4, window_seconds=window, open_timeout=3
            )
        )

    @invariant()
    def what_refuses_says_for_how_long(self):
        if self.state is BreakerState.CLOSED:
            assert self.breakers.retry_after([T]) == 0

    def teardown(self):
        for permit in self.outstanding:
            permit.release()
        self.clock.advance(10)
        assert self.breakers.admit(T) is not None, "stuck"


TestAnyOrderOfEvents = AnyOrderOfEvents.TestCase
TestAnyOrderOfEvents.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
