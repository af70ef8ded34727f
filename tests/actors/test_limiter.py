import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gandalf.actors import limiter as limiter_module
from gandalf.actors.limiter import MAX_DEBT_MINUTES, RateLimiter
from gandalf.domain.errors import BadRequest, RateLimited
from gandalf.domain.identity import Limits

from .clock import Clock

KEY = "k"


def a_limiter():
    clock = Clock()
    return RateLimiter(clock), clock


def left(limiter, limits):
    """What a key has left: (requests, tokens)."""
    state = limiter.state(KEY, limits)
    return (
        state.requests and state.requests.remaining,
        state.tokens and state.tokens.remaining,
    )


# Taking.


def test_rpm_refills_one_request_a_second_at_60_rpm():
    limiter, clock = a_limiter()
    limits = Limits(rpm=60)
    for _ in range(60):
        limiter.take(KEY, limits, 0)
    with pytest.raises(RateLimited) as refused:
        limiter.take(KEY, limits, 0)
    assert refused.value.limit == "rpm"
    assert refused.value.retry_after == pytest.approx(1.0, abs=1e-5)

    clock.advance(refused.value.retry_after)
    limiter.take(KEY, limits, 0)


def test_take_tells_what_is_left_and_when_all_is_there_again():
    limiter, _ = a_limiter()

    state = limiter.take(KEY, Limits(rpm=60, tpm=600), 100)

    assert (state.requests.limit, state.requests.remaining) == (60, 59)
    assert (state.tokens.limit, state.tokens.remaining) == (600, 500)
    assert state.requests.reset == pytest.approx(1.0)
    assert state.tokens.reset == pytest.approx(10.0)


@pytest.mark.parametrize("unlimited", [None, 0])
def test_no_limit_is_never_reached(unlimited):
    limiter, _ = a_limiter()
    limits = Limits(rpm=unlimited, tpm=unlimited)

    for _ in range(1000):
        state = limiter.take(KEY, limits, 10**9)

    assert (state.requests, state.tokens) == (None, None)
    assert limiter.key_count() == 0


@pytest.mark.parametrize(
    "limits", [Limits(rpm=2, tpm=10), Limits(rpm=1, tpm=100)], ids=["tpm", "rpm"]
)
def test_a_refusal_takes_nothing_from_either(limits):
    limiter, _ = a_limiter()
    limiter.take(KEY, limits, 8)
    before = left(limiter, limits)

    with pytest.raises(RateLimited):
        limiter.take(KEY, limits, 8)

    assert left(limiter, limits) == before


def test_retry_after_is_when_both_limits_suffice():
    limiter, clock = a_limiter()
    limits = Limits(rpm=1, tpm=6000)
    limiter.take(KEY, limits, 3100)

    with pytest.raises(RateLimited) as refused:
        limiter.take(KEY, limits, 3000)

    # The tokens are there after one second, the request only after a minute.
    assert refused.value.limit == "rpm"
    assert refused.value.retry_after == pytest.approx(60, abs=1e-5)
    clock.advance(refused.value.retry_after)
    limiter.take(KEY, limits, 3000)


@given(
    rpm=st.integers(1, 10_000),
    tpm=st.integers(1, 10_000_000),
    start=st.floats(0, 1e7),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=30),
)
def test_retry_after_is_enough_and_little_less_is_not(rpm, tpm, start, shares):
    clock = Clock(start)
    limiter = RateLimiter(clock)
    limits = Limits(rpm=rpm, tpm=tpm)
    for share in shares:
        amount = int(tpm * share)
        try:
            limiter.take(KEY, limits, amount)
        except RateLimited as refused:
            clock.advance(refused.retry_after * 0.99 - 2e-6)
            with pytest.raises(RateLimited):
                limiter.take(KEY, limits, amount)
            clock.now += refused.retry_after * 0.01 + 2e-6
            limiter.take(KEY, limits, amount)


def test_a_request_larger_than_a_minutes_tokens_is_refused_for_good():
    limiter, _ = a_limiter()
    limits = Limits(rpm=5, tpm=10)

    limiter.take(KEY, limits, 10)
    with pytest.raises(BadRequest) as refused:
        limiter.take(KEY, limits, 11)

    assert refused.value.code == "request_exceeds_tpm_limit"
    assert refused.value.retry_after is None
    assert left(limiter, limits) == (4, 0)


def test_keys_do_not_share_buckets():
    limiter, _ = a_limiter()
    limiter.take("a", Limits(rpm=1), 0)

    limiter.take("b", Limits(rpm=1), 0)

    with pytest.raises(RateLimited):
        limiter.take("a", Limits(rpm=1), 0)


# Settling.


@pytest.mark.parametrize(("actual", "remaining"), [(0, 10), (4, 6), (10, 0)])
def test_settle_corrects_the_estimate(actual, remaining):
    limiter, _ = a_limiter()
    limits = Limits(tpm=10)
    limiter.take(KEY, limits, 10)

    limiter.settle(KEY, limits, 10, actual)

    assert left(limiter, limits) == (None, remaining)


def test_what_was_used_beyond_the_estimate_is_a_debt_to_wait_for():
    limiter, clock = a_limiter()
    limits = Limits(tpm=60)
    limiter.take(KEY, limits, 10)
    limiter.settle(KEY, limits, 10, 90)

    with pytest.raises(RateLimited) as refused:
        limiter.take(KEY, limits, 1)

    assert refused.value.retry_after == pytest.approx(31, abs=1e-5)
    assert left(limiter, limits) == (None, 0)
    clock.advance(refused.value.retry_after)
    limiter.take(KEY, limits, 1)


def test_a_debt_refuses_even_a_request_without_tokens():
    limiter, _ = a_limiter()
    limits = Limits(tpm=60)
    limiter.settle(KEY, limits, 0, 61)

    with pytest.raises(RateLimited):
        limiter.take(KEY, limits, 0)


def test_settle_never_fills_beyond_the_limit():
    limiter, clock = a_limiter()
    limits = Limits(tpm=60)
    limiter.take(KEY, limits, 60)
    clock.advance(30)

    limiter.settle(KEY, limits, 60, 0)

    assert left(limiter, limits) == (None, 60)
    limiter.take(KEY, limits, 60)
    with pytest.raises(RateLimited):
        limiter.take(KEY, limits, 1)


def test_an_absurd_usage_report_locks_a_key_for_an_hour_not_for_years():
    limiter, clock = a_limiter()
    limits = Limits(tpm=60)
    limiter.settle(KEY, limits, 0, 10**15)
    with pytest.raises(RateLimited):
        limiter.take(KEY, limits, 1)

    clock.advance(MAX_DEBT_MINUTES * 60 + 2)

    limiter.take(KEY, limits, 1)


def test_undo_gives_back_the_request_and_the_tokens():
    limiter, _ = a_limiter()
    limits = Limits(rpm=1, tpm=10)
    limiter.take(KEY, limits, 10)

    limiter.undo(KEY, limits, 10)

    assert left(limiter, limits) == (1, 10)


def test_what_was_taken_while_unlimited_is_not_given_back_to_a_limit():
    limiter, _ = a_limiter()
    limiter.take(KEY, Limits(rpm=1, tpm=10), 10)
    limiter.take(KEY, Limits(), 10)

    limiter.settle(KEY, Limits(), 10, 0)
    limiter.undo(KEY, Limits(), 10)

    assert left(limiter, Limits(rpm=1, tpm=10)) == (0, 0)


# Changed limits.


def test_a_changed_limit_keeps_the_proportion_that_is_left():
    limiter, _ = a_limiter()
    limiter.take(KEY, Limits(tpm=100), 75)

    assert left(limiter, Limits(tpm=1000)) == (None, 250)
    assert left(limiter, Limits(tpm=20)) == (None, 5)


def test_a_changed_limit_does_not_forgive_a_debt():
    limiter, _ = a_limiter()
    limiter.settle(KEY, Limits(tpm=60), 0, 120)

    with pytest.raises(RateLimited) as refused:
        limiter.take(KEY, Limits(tpm=600), 0)

    assert refused.value.retry_after == pytest.approx(6, abs=1e-5)


def test_settling_under_former_limits_does_not_bring_them_back():
    limiter, _ = a_limiter()
    limiter.take(KEY, Limits(tpm=100), 100)
    limiter.take(KEY, Limits(tpm=1000), 0)

    limiter.settle(KEY, Limits(tpm=100), 100, 50)

    assert limiter._tokens[KEY].per_minute == 1000
    assert left(limiter, Limits(tpm=1000)) == (None, 50)


# Forgetting.


def test_only_full_buckets_are_forgotten(monkeypatch):
    monkeypatch.setattr(limiter_module, "SWEEP_AT", 4)
    limiter, clock = a_limiter()
    limiter._sweep_at = 4
    limits = Limits(rpm=60)
    for n in range(3):
        limiter.take(f"idle-{n}", limits, 0)
    for _ in range(60):
        limiter.take("busy", limits, 0)
    clock.advance(2)

    limiter.take("new", limits, 0)

    assert set(limiter._requests) == {"busy", "new"}
    limiter.take("busy", limits, 0)
    limiter.take("busy", limits, 0)
    with pytest.raises(RateLimited):
        limiter.take("busy", limits, 0)


def test_what_is_taken_counts_also_when_buckets_are_forgotten_meanwhile(monkeypatch):
    monkeypatch.setattr(limiter_module, "SWEEP_AT", 4)
    limiter, clock = a_limiter()
    limiter._sweep_at = 4
    limiter.take(KEY, Limits(rpm=1), 0)
    clock.advance(60)
    for n in range(4):
        limiter.take(f"other-{n}", Limits(tpm=1), 1)

    limiter.take(KEY, Limits(rpm=1, tpm=10), 1)

    with pytest.raises(RateLimited):
        limiter.take(KEY, Limits(rpm=1, tpm=10), 1)


def test_keys_that_come_and_go_do_not_pile_up():
    limiter, clock = a_limiter()
    for n in range(20_000):
        limiter.take(f"key-{n}", Limits(rpm=600, tpm=600), 1)
        clock.advance(0.001)
    assert limiter.key_count() < 2 * limiter_module.SWEEP_AT


def test_settling_a_forgotten_bucket_still_makes_a_debt():
    limiter, _ = a_limiter()

    limiter.settle(KEY, Limits(tpm=10), 5, 20)

    with pytest.raises(RateLimited):
        limiter.take(KEY, Limits(tpm=10), 0)


# Properties.

pauses = st.one_of(st.just(0.0), st.floats(0, 3), st.floats(0, 90))


@given(
    limit=st.integers(1, 200),
    sends=st.lists(st.tuples(pauses, st.integers(1, 40)), max_size=150),
)
def test_no_60_seconds_see_more_than_limit_plus_burst(limit, sends):
    clock = Clock(0.0)
    limiter = RateLimiter(clock)
    admitted = []
    for pause, tokens in sends:
        clock.advance(pause)
        try:
            limiter.take(KEY, Limits(rpm=limit, tpm=limit), min(tokens, limit))
        except RateLimited:
            continue
        admitted.append((clock.now, min(tokens, limit)))
    for start, _ in admitted:
        window = [t for at, t in admitted if start <= at < start + 60]
        assert len(window) <= 2 * limit
        assert sum(window) <= 2 * limit


# From 3 on: two that meet at the edge of their slots are within the burst.
@given(
    rpm=st.integers(3, 600),
    tokens=st.integers(1, 50),
    jitter=st.lists(st.floats(0, 1), min_size=100, max_size=100),
)
def test_a_sender_within_its_limits_is_never_refused(rpm, tokens, jitter):
    clock = Clock(0.0)
    limiter = RateLimiter(clock)
    limits = Limits(rpm=rpm, tpm=rpm * tokens)
    for n, offset in enumerate(jitter):
        # One request in each of its time slots, anywhere within the slot.
        clock.now = (n + offset) * 60 / rpm
        limiter.take(KEY, limits, tokens)
        limiter.settle(KEY, limits, tokens, tokens)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(1, 500), st.floats(0, 0.01), st.booleans()),
        min_size=1,
        max_size=200,
    ),
    st.randoms(use_true_random=False),
)
def test_whatever_is_given_back_in_whatever_order_leaves_exactly_full(takes, random):
    limiter, clock = a_limiter()
    limits = Limits(rpm=10**6, tpm=10**6)
    open_takes = []
    for amount, pause, settle_one in takes:
        limiter.take(KEY, limits, amount)
        open_takes.append(amount)
        clock.advance(pause)
        if settle_one:
            limiter.undo(KEY, limits, open_takes.pop(random.randrange(len(open_takes))))
    random.shuffle(open_takes)
    for amount in open_takes:
        limiter.undo(KEY, limits, amount)

    for bucket in (limiter._requests[KEY], limiter._tokens[KEY]):
        assert bucket.level == bucket.capacity
