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

from gandalf.actors.breakers import (
    LAST_RESORT_RATE,
    LAST_RESORT_SECONDS,
    Breakers,
    BreakerState,
    Cause,
    TargetHealth,
)
from gandalf.actors.rate_limit_waits import MAX_IN_A_ROW
from gandalf.config import CircuitBreaker
from gandalf.domain.errors import Fault

from .clock import Clock

T = "openai-eu/gpt-4o"
OTHER = "azure/gpt-4o"
BY_SHARE = CircuitBreaker(consecutive_failures=0, min_samples=10, error_threshold=0.3)

BY_ROW = CircuitBreaker()


class Changes(list):
    """The changes that ``on_change`` was told of."""

    def __call__(self, target, old, new):
        self.append((target, str(old), str(new)))


def breakers_with(settings=BY_SHARE):
    clock = Clock()
    changes = Changes()
    return Breakers(settings, on_change=changes, clock=clock), clock, changes


def state_of(breakers, target=T):
    return {health.target: str(health.state) for health in breakers.statistics()}[
        target
    ]


def succeed(breakers, times=1, key="k", target=T):
    for _ in range(times):
        permit = breakers.admit(target, key)
        permit.begun()
        permit.success()


def fail(breakers, times=1, key="k", **how):
    for _ in range(times):
        breakers.admit(T, key).failure(Fault.TARGET, "upstream_500", **how)


def limit(breakers, times=1, key="k", wait=5.0):
    for _ in range(times):
        permit = breakers.admit(T, key) or breakers.admit_last(T, key)
        permit.failure(Fault.RATE_LIMIT, "slow down", wait=wait)


def opened(settings=BY_ROW):
    breakers, clock, changes = breakers_with(settings)
    fail(breakers, 5)
    assert state_of(breakers) == "open"
    changes.clear()
    return breakers, clock, changes


def half_opened():
    breakers, clock, changes = opened()
    clock.advance(1)
    probe = breakers.admit(T, "k")
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


def test_a_busy_target_needs_more_failures_in_a_row():
    breakers, _, _ = breakers_with(CircuitBreaker())
    succeed(breakers, 1000)

    fail(breakers, 19)
    assert state_of(breakers) == "closed"
    fail(breakers)

    assert state_of(breakers) == "open"


def test_a_success_breaks_the_row():
    breakers, _, _ = breakers_with(CircuitBreaker(error_threshold=1.0))
    for _ in range(5):
        fail(breakers, 4)
        succeed(breakers)
    assert state_of(breakers) == "closed"


def test_a_requests_own_retry_is_no_further_failure():
    breakers, _, _ = breakers_with(CircuitBreaker())
    fail(breakers, 4)

    for _ in range(10):
        breakers.admit(T, "k", retry=True).failure(Fault.TARGET, "again")

    assert state_of(breakers) == "closed"


# Several client keys.


def test_a_row_of_one_caller_does_not_open_for_another_one():
    breakers, _, _ = breakers_with(CircuitBreaker())
    succeed(breakers, 1, key="other")

    fail(breakers, 15)
    assert state_of(breakers) == "closed"
    fail(breakers, 1, key="other")

    assert state_of(breakers) == "open"


def test_the_share_must_be_reached_without_the_caller_that_fails_most():
    breakers, _, _ = breakers_with()
    for _ in range(500):
        succeed(breakers, 1, key="well")
        fail(breakers, 1, key="slow")
    assert state_of(breakers) == "closed"

    fail(breakers, 214, key="well")
    assert state_of(breakers) == "closed"
    fail(breakers, 1, key="well")

    assert state_of(breakers) == "open"


def test_failures_to_connect_count_whoever_asked():
    breakers, _, _ = breakers_with(CircuitBreaker())
    succeed(breakers, 1, key="other")

    fail(breakers, 5, sent=False)

    assert state_of(breakers) == "open"
    assert breakers.unreachable() == [T]


def test_what_is_older_than_the_window_does_not_count():
    breakers, clock, _ = breakers_with()
    fail(breakers, 9)
    clock.advance(60)

    fail(breakers, 9)

    assert state_of(breakers) == "closed"


@pytest.mark.parametrize("fault", [None, Fault.REQUEST, Fault.GATEWAY])
def test_what_the_target_is_not_to_blame_for_leaves_no_trace(fault):
    breakers, _, _ = breakers_with()
    for _ in range(100):
        permit = breakers.admit(T)
        if fault is None:
            permit.release()
        else:
            permit.failure(fault, "not the target's")
    fail(breakers, 9)
    assert state_of(breakers) == "closed"

    fail(breakers)

    assert state_of(breakers) == "open"


def test_targets_do_not_share_a_breaker():
    breakers, _, _ = opened()
    assert breakers.admit(T) is None
    assert breakers.admit(OTHER) is not None


@pytest.mark.parametrize("fault", list(Fault))
def test_disabled_breakers_remember_nothing(fault):
    breakers, _, _ = breakers_with(CircuitBreaker(enabled=False))
    for _ in range(100):
        breakers.admit(T).failure(fault, "whatever", wait=60.0)
    assert breakers.statistics()[0].cause is None
    assert breakers.admit("openai-eu/another") is not None


# Permits.


def test_only_the_first_report_of_a_permit_counts():
    breakers, _, _ = breakers_with()
    permits = [breakers.admit(T) for _ in range(10)]
    for permit in permits:
        permit.release()
        permit.failure(Fault.TARGET)
        permit.failure(Fault.CREDENTIALS)
        permit.success()
    assert state_of(breakers) == "closed"
    fail(breakers, 9)
    assert state_of(breakers) == "closed"


def test_reports_from_before_the_opening_change_nothing():
    breakers, clock, _ = breakers_with()
    late = [breakers.admit(T) for _ in range(3)]
    fail(breakers, 10)
    until = breakers.statistics()[0].until
    clock.advance(0.5)

    late[0].failure(Fault.TARGET)
    late[1].begun()
    late[1].success()
    late[2].release()

    assert breakers.statistics()[0].until == until
    assert state_of(breakers) == "open"


# Half open.


def test_one_probe_is_admitted_a_second_after_opening():
    breakers, clock, changes = opened()
    clock.advance(0.9)
    assert breakers.admit(T) is None
    clock.advance(0.1)

    assert breakers.admit(T) is not None
    assert [breakers.admit(T) for _ in range(5)] == [None] * 5
    assert changes == [(T, "open", "half_open")]


def test_a_requests_own_retry_is_no_probe():
    breakers, clock, _ = opened()
    clock.advance(1)

    assert breakers.admit(T, "k", retry=True) is None
    assert breakers.admit(T, "k") is not None


def test_one_success_closes_what_a_row_has_opened_with_a_clean_slate():
    breakers, _, changes, probe = half_opened()

    probe.success()

    assert changes[-1] == (T, "half_open", "closed")
    fail(breakers, 4)
    assert state_of(breakers) == "closed"


def test_three_successes_in_a_row_close_what_a_share_has_opened():
    breakers, clock, _ = breakers_with()
    succeed(breakers, 6)
    fail(breakers, 4)
    assert state_of(breakers) == "open"
    clock.advance(1)
    succeed(breakers, 2)
    fail(breakers)
    clock.advance(1)

    succeed(breakers, 2)
    assert state_of(breakers) == "half_open"
    succeed(breakers)

    assert state_of(breakers) == "closed"


@pytest.mark.parametrize(("cost", "wait"), [(0.01, 1.0), (0.5, 5.0), (60.0, 30.0)])
def test_the_next_probe_comes_after_ten_times_the_cost_of_the_failed_one(cost, wait):
    breakers, clock, changes, probe = half_opened()
    clock.advance(cost)

    probe.failure(Fault.TARGET, "upstream_500")

    assert changes[-1] == (T, "half_open", "open")
    clock.advance(wait - 0.01)
    assert breakers.admit(T) is None
    clock.advance(0.01)
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


def test_a_probe_without_an_outcome_does_not_keep_the_next_one_away():
    breakers, clock, _, _probe = half_opened()
    clock.advance(29.9)
    assert breakers.admit(T) is None
    clock.advance(0.1)

    assert breakers.admit(T) is not None


def test_an_old_permit_cannot_speak_for_the_probe():
    breakers, clock, _ = breakers_with()
    old = [breakers.admit(T) for _ in range(3)]
    fail(breakers, 10)
    clock.advance(30)
    breakers.admit(T)

    old[0].begun()
    old[0].success()
    old[1].failure(Fault.TARGET)
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
    fail(breakers, 4)

    if end == "cut":
        probe.failure(Fault.TARGET)
    else:
        probe.success()

    # The fifth failure in a row, or the end of the row.
    assert state_of(breakers) == ("open" if end == "cut" else "closed")
    if end == "complete":
        fail(breakers, 4)
        assert state_of(breakers) == "closed"


def test_begun_means_nothing_for_a_permit_that_is_no_probe():
    breakers, _, _ = breakers_with()
    permit = breakers.admit(T)
    permit.begun()
    fail(breakers, 9)
    permit.failure(Fault.TARGET)
    assert state_of(breakers) == "open"

    permit.begun()

    assert state_of(breakers) == "open"


# The last resort.


def test_an_open_target_is_sent_what_no_other_can_serve_at_a_bounded_rate():
    breakers, clock, _ = opened()
    permits = [breakers.admit_last(T, "k") for _ in range(1000)]
    assert sum(p is not None for p in permits) == LAST_RESORT_RATE * LAST_RESORT_SECONDS

    clock.advance(LAST_RESORT_SECONDS)

    assert breakers.admit_last(T, "k") is not None


def test_successes_of_the_last_resort_lift_its_bound_and_make_a_probe_due():
    breakers, _, _ = opened()
    served = breakers.admit_last(T, "k")
    while breakers.admit_last(T, "k") is not None:
        pass

    served.success()

    assert breakers.admit_last(T, "k") is not None
    assert state_of(breakers) == "open"
    assert breakers.admit(T, "k") is not None


def test_open_targets_are_ordered_by_their_share_of_failures():
    breakers, _, _ = opened()
    for target, successes in ((OTHER, 10), ("third/m", 2)):
        succeed(breakers, successes, target=target)
        for _ in range(20 if successes == 10 else 5):
            permit = breakers.admit(target, "k")
            if permit is not None:
                permit.failure(Fault.TARGET)

    assert breakers.least_bad([T, "third/m", OTHER]) == [OTHER, "third/m", T]
    assert breakers.is_dead(T)
    assert not breakers.is_dead(OTHER)


def test_a_target_that_can_be_connected_to_again_is_probed_at_once():
    breakers, clock, _ = breakers_with(CircuitBreaker())
    fail(breakers, 5, sent=False)
    clock.advance(5)
    assert breakers.admit(T, "k") is None

    breakers.reachable(T)

    assert breakers.unreachable() == []
    assert breakers.admit(T, "k") is not None


def test_an_unreachable_target_that_nothing_tells_of_is_probed_in_the_end():
    breakers, clock, _ = breakers_with(CircuitBreaker())
    fail(breakers, 5, sent=False)
    clock.advance(30)
    assert breakers.admit(T, "k") is not None


# Rate limits.


def test_a_429_binds_its_own_key_for_as_long_as_it_says():
    breakers, clock, changes = breakers_with()

    limit(breakers, wait=0.9)

    assert breakers.admit(T, "k") is None
    assert breakers.admit(T, "other") is not None
    clock.advance(0.9)
    assert breakers.admit(T, "k") is not None
    assert changes == []


def test_two_keys_that_are_limited_bind_everyone():
    breakers, _, _ = breakers_with()
    limit(breakers, key="one")
    limit(breakers, key="two")

    assert breakers.admit(T, "three") is None
    assert breakers.avoidance(T, "three").cause is Cause.RATE_LIMIT


def test_a_success_ends_the_wait():
    breakers, clock, _ = breakers_with()
    limit(breakers, key="one", wait=30.0)
    limit(breakers, key="two", wait=30.0)
    clock.advance(1)

    succeed(breakers, 1, key="one")

    assert breakers.admit(T, "one") is not None
    assert breakers.admit(T, "three") is not None
    assert breakers.admit(T, "two") is None


def test_a_wait_is_bounded_and_does_not_grow():
    breakers, clock, _ = breakers_with()
    for _ in range(10):
        limit(breakers, wait=3600.0)
        assert breakers.statistics()[0].until == clock() + 30
        clock.advance(30)
    assert breakers.admit(T, "k") is not None


def test_one_request_a_second_is_sent_in_spite_of_a_wait():
    breakers, clock, _ = breakers_with()
    limit(breakers, 2, wait=30.0)
    sent = 0
    for _ in range(100):
        clock.advance(0.1)
        permit = breakers.admit(T, "k") or breakers.admit_last(T, "k")
        if permit is not None:
            sent += 1
            permit.failure(Fault.RATE_LIMIT, "slow down", wait=30.0)
    assert sent == pytest.approx(10, abs=1)


def test_a_busy_target_must_limit_many_in_a_row_before_it_is_left_alone():
    breakers, _, _ = breakers_with()
    succeed(breakers, 1000)

    limit(breakers, MAX_IN_A_ROW - 1)
    assert breakers.admit_last(T, "k") is not None
    limit(breakers, 1)

    assert breakers.admit_last(T, "k") is None


def test_a_rate_limit_neither_opens_nor_closes_a_breaker():
    breakers, clock, _ = opened()
    clock.advance(1)

    limit(breakers)

    assert state_of(breakers) == "half_open"


# Credentials.


def test_refused_credentials_take_out_the_provider_and_no_other():
    breakers, clock, _ = breakers_with()
    for target in ("openai/a", "openai/b", "openai-eu/a"):
        succeed(breakers, 1, target=target)

    breakers.admit("openai/a").failure(Fault.CREDENTIALS, "key revoked")

    assert breakers.admit("openai/a") is None
    assert breakers.admit("openai/b") is None
    assert breakers.admit("openai/never-used") is None
    assert breakers.admit("openai-eu/a") is not None
    assert breakers.avoidance("openai/b").reason == "key revoked"
    clock.advance(30)
    assert breakers.admit("openai/b") is not None


def test_the_trickle_finds_the_credentials_accepted_again():
    breakers, clock, _ = breakers_with()
    for _ in range(3):
        (breakers.admit(T) or breakers.admit_last(T)).failure(Fault.CREDENTIALS, "no")
        if breakers.admit_last(T) is None:
            break
    clock.advance(1)

    succeed(breakers)

    assert breakers.admit(T) is not None
    assert breakers.statistics()[0].cause is None


def test_a_key_that_another_model_accepts_takes_out_the_refused_model_only():
    breakers, clock, _ = breakers_with()
    breakers.admit("openai/closed").failure(Fault.CREDENTIALS, "not for this model")
    clock.advance(1)

    succeed(breakers, 1, target="openai/open")

    assert breakers.admit("openai/another") is not None
    assert breakers.admit("openai/closed") is None


def test_refused_credentials_are_one_log_line(caplog):
    caplog.set_level(logging.INFO, "gandalf.breakers")
    breakers, _, _ = breakers_with()
    permits = [breakers.admit("openai/a") for _ in range(5)]
    for permit in permits:
        permit.failure(Fault.CREDENTIALS, "key revoked")

    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert told[0].startswith("provider openai: avoided for up to 30s, openai/a")
    assert told[0].endswith("refused the credentials: key revoked")


def test_retry_after_is_the_wait_for_the_first_of_the_targets():
    breakers, clock, _ = breakers_with()
    limit(breakers, wait=20.0)
    breakers.admit(OTHER, "k").failure(Fault.RATE_LIMIT, "slow down", wait=7.0)
    assert breakers.retry_after([T, OTHER], "k") == 7
    assert breakers.retry_after([T, OTHER, "never/used"], "k") == 0
    clock.advance(7)

    assert breakers.retry_after([T, OTHER], "k") == 0


# Around it.


def test_the_statistics_tell_state_cause_reason_and_until():
    breakers, clock, _ = opened()
    succeed(breakers, 1, target=OTHER)

    assert breakers.statistics() == (
        TargetHealth(
            target=OTHER,
            state=BreakerState.CLOSED,
            cause=None,
            reason="",
            until=None,
            samples=1,
            failures=0,
        ),
        TargetHealth(
            target=T,
            state=BreakerState.OPEN,
            cause=Cause.FAILURES,
            reason="5 failures in a row, the last: upstream_500",
            until=clock() + 1,
            samples=5,
            failures=5,
        ),
    )
    assert T in repr(breakers)


def test_opening_and_closing_are_one_log_line_each(caplog):
    caplog.set_level(logging.INFO, "gandalf.breakers")
    breakers, clock, _ = breakers_with(CircuitBreaker())
    for _ in range(50):
        permit = breakers.admit(T)
        if permit is not None:
            permit.failure(Fault.TARGET, "upstream_500")
    for _ in range(5):
        clock.advance(1)
        breakers.admit(T).failure(Fault.TARGET, "upstream_500")
    clock.advance(1)
    breakers.admit(T).success()

    assert [record.getMessage() for record in caplog.records] == [
        (
            f"target {T}: open, next probe in 1.0s: 5 failures in a row, the last:"
            " upstream_500"
        ),
        f"target {T}: closed",
    ]


def test_new_settings_hold_for_known_targets():
    breakers, clock, _ = breakers_with()
    fail(breakers, 5)
    clock.advance(5)

    breakers.configure(
        CircuitBreaker(min_samples=6, window_seconds=20, consecutive_failures=0)
    )
    fail(breakers)
    assert state_of(breakers) == "open"

    breakers, clock, _ = breakers_with()
    fail(breakers, 5)
    clock.advance(5)
    breakers.configure(
        CircuitBreaker(min_samples=6, window_seconds=4, consecutive_failures=0)
    )
    fail(breakers)
    assert state_of(breakers) == "closed"


def test_targets_that_are_gone_are_forgotten():
    breakers, _, _ = opened()
    permit = breakers.admit(OTHER)

    breakers.keep_only([T])
    permit.failure(Fault.TARGET)

    assert [health.target for health in breakers.statistics()] == [T]
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
        self.probe_began = 0.0
        self.state = BreakerState.CLOSED

    def changed(self, target, old, new):
        assert old is self.state
        assert new is not old
        self.state = new
        self.probe = None

    @rule(target=permits, key=st.sampled_from("xyz"), retry=st.booleans())
    def admit(self, key, retry):
        before = self.state
        permit = self.breakers.admit(T, key, retry=retry)
        if permit is not None:
            if before is not BreakerState.CLOSED and self.enabled:
                assert not retry, "a retry as a probe"
                assert self.state is BreakerState.HALF_OPEN
                late = self.clock() >= self.probe_began + 3
                assert self.probe is None or late, "a second probe"
                self.probe, self.probe_began = permit, self.clock()
            self.outstanding.append(permit)
        return permit

    @rule(target=permits, key=st.sampled_from("xyz"), retry=st.booleans())
    def admit_last(self, key, retry):
        permit = self.breakers.admit_last(T, key, retry=retry)
        if permit is not None:
            self.outstanding.append(permit)
        return permit

    @property
    def enabled(self):
        return self.breakers.settings.enabled

    @rule(
        permit=consumes(permits),
        fault=st.sampled_from(list(Fault)),
        sent=st.booleans(),
        wait=st.sampled_from([None, 0.5, 6.0, 4000.0]),
    )
    def fail(self, permit, fault, sent, wait):
        self.report(permit, lambda: permit.failure(fault, "", sent=sent, wait=wait))

    @rule(permit=consumes(permits))
    def succeed(self, permit):
        self.report(permit, lambda: permit.success())

    @rule(permit=consumes(permits))
    def release(self, permit):
        self.report(permit, lambda: permit.release())

    @rule(permit=permits)
    def begin(self, permit):
        if permit is not None:
            if permit is self.probe:
                self.probe = None
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

    @rule()
    def connect(self):
        self.breakers.reachable(T)

    @rule(enabled=st.booleans(), window=st.integers(1, 10))
    def reload(self, enabled, window):
        self.breakers.configure(
            CircuitBreaker(
                enabled=enabled, min_samples=4, window_seconds=window, open_timeout=3
            )
        )

    @invariant()
    def what_avoids_says_why_and_for_how_long(self):
        for key in "xyz":
            avoidance = self.breakers.avoidance(T, key)
            if avoidance is not None:
                assert 0 < avoidance.wait <= 30

    def teardown(self):
        for permit in self.outstanding:
            permit.release()
        self.clock.advance(31)
        assert self.breakers.admit(T) is not None, "stuck"


TestAnyOrderOfEvents = AnyOrderOfEvents.TestCase
TestAnyOrderOfEvents.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)


# By hand.


def test_a_tripped_target_is_avoided_until_its_time_is_over():
    breakers, clock, changes = breakers_with()
    breakers.trip(T, 300, "maintenance")
    assert changes == [(T, "closed", "open")]
    assert breakers.admit(T) is None
    clock.advance(299.9)
    assert breakers.admit(T) is None

    clock.advance(0.1)
    succeed(breakers)

    assert state_of(breakers) == "closed"


def test_a_tripped_target_still_serves_what_no_other_target_can():
    breakers, clock, _ = breakers_with()
    breakers.trip(T, 300, "maintenance")

    breakers.admit_last(T).success()
    clock.advance(10)

    assert breakers.admit(T) is None
    assert state_of(breakers) == "open"


def test_a_connection_does_not_end_a_trip():
    breakers, _, _ = breakers_with(BY_ROW)
    for _ in range(BY_ROW.consecutive_failures):
        breakers.admit(T, "k").failure(Fault.TARGET, sent=False)
    breakers.trip(T, 300, "maintenance")

    breakers.reachable(T)

    assert breakers.unreachable() == []
    assert breakers.admit(T) is None


def test_the_end_of_an_attempt_from_before_a_trip_does_not_end_it():
    breakers, _, _ = breakers_with()
    permit = breakers.admit(T)
    breakers.trip(T, 300, "maintenance")

    permit.begun()
    permit.success()

    assert state_of(breakers) == "open"


def test_a_reset_closes_and_ends_waits_and_ejections():
    breakers, _, changes = breakers_with()
    breakers.admit(T, "k").failure(Fault.RATE_LIMIT, wait=60)
    breakers.admit(OTHER, "k").failure(Fault.CREDENTIALS, "bad key")
    breakers.trip(T, 300, "maintenance")

    health = breakers.reset(T)
    breakers.reset(OTHER)

    assert (str(health.state), health.cause, health.failures) == ("closed", None, 0)
    assert changes[-1] == (T, "open", "closed")
    assert breakers.admit(T, "k") is not None
    assert breakers.avoidance(T, "k") is breakers.avoidance(OTHER, "k") is None


def test_a_reset_of_a_closed_breaker_forgets_its_failures_and_changes_nothing_else():
    breakers, _, changes = breakers_with()
    breakers.admit(T).failure(Fault.TARGET)

    assert breakers.reset(T).failures == 0

    assert changes == []
