from hypothesis import given
from hypothesis import strategies as st

from gandalf.actors.retry_budget import TTL, RetryBudget
from gandalf.config import Retries

from .clock import Clock


def a_budget(ratio=0.2, minimum=1.0):
    clock = Clock()
    settings = Retries(budget_ratio=ratio, budget_min_per_second=minimum)
    return RetryBudget(settings, clock), clock


def allowed(budget, wanted):
    return sum(budget.allow_retry() for _ in range(wanted))


def test_retries_are_a_share_of_the_requests():
    budget, clock = a_budget(ratio=0.2, minimum=0.0)
    for _ in range(100):
        budget.note_request(clock())

    assert allowed(budget, 100) == 20
    assert budget.refused == 80


def test_a_few_retries_are_allowed_without_any_traffic():
    budget, _ = a_budget(ratio=0.2, minimum=1.0)
    assert allowed(budget, 100) == 10


def test_no_budget_allows_nothing():
    budget, clock = a_budget(ratio=0.0, minimum=0.0)
    budget.note_request(clock())
    assert not budget.allow_retry()


def test_what_is_older_than_the_window_neither_allows_nor_forbids():
    budget, clock = a_budget(ratio=0.5, minimum=0.1)
    for _ in range(10):
        budget.note_request(clock())
    assert allowed(budget, 10) == 6

    clock.advance(TTL)

    assert allowed(budget, 10) == 1


def test_new_settings_hold_at_once_and_forget_nothing():
    budget, _ = a_budget(ratio=0.0, minimum=1.0)
    assert allowed(budget, 7) == 7

    budget.configure(Retries(budget_ratio=0.0, budget_min_per_second=0.9))

    assert allowed(budget, 10) == 2


@given(
    st.lists(
        st.tuples(st.floats(0, 2), st.integers(0, 5), st.integers(0, 5)), max_size=100
    )
)
def test_no_window_sees_more_retries_than_its_share(steps):
    budget, clock = a_budget(ratio=0.2, minimum=0.5)
    requests, retries = [], []
    for pause, sent, wanted in steps:
        clock.advance(pause)
        for _ in range(sent):
            budget.note_request(clock())
            requests.append(int(clock.now))
        retries += [int(clock.now)] * allowed(budget, wanted)
        since = int(clock.now) - TTL
        recent_requests = sum(at > since for at in requests)
        recent_retries = sum(at > since for at in retries)
        if wanted:
            # Requests leave the window before the retries that they paid for.
            paid_by = sum(at > since - TTL for at in requests)
            assert recent_retries <= 0.2 * paid_by + 0.5 * TTL
        assert recent_requests <= len(requests)
