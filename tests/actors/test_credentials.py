"""One owner for each credential: fetched ahead of time, once for all who wait."""

import logging
import math
from random import Random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gandalf.actors.credentials import (
    FETCH_TIMEOUT,
    MARGIN,
    MAX_AGE,
    MAX_PAUSE,
    PATIENCE,
    Credentials,
)
from gandalf.domain.errors import UpstreamUnavailable
from gandalf.providers.credentials import FetchFailed, Token

LIFE = 1000.0
EPOCH = 1_700_000_000.0


def now():
    """Unix time that goes with the test's clock."""
    return EPOCH + trio.current_time()


class Source:
    """A server of tokens: each is good for ``life``; a fetch takes ``delay``."""

    def __init__(self, life=LIFE, delay=0.0):
        self.life = life
        self.delay = delay
        self.error = None
        self.fetched_at = []

    def __call__(self):
        self.fetched_at.append(trio.current_time())
        if self.error is not None:
            raise self.error
        return Token(f"token-{len(self.fetched_at)}", now() + self.life)


class Inline:
    """Runs fetches without a thread, in the time that their source takes."""

    async def run(self, function):
        await trio.sleep(function.delay)
        return function()


class Halfway(Random):
    """Always the middle of the range."""

    def uniform(self, a, b):
        return (a + b) / 2


@pytest.fixture
async def credentials(nursery):
    credentials = Credentials(now=now, random=Halfway(), runner=Inline)
    nursery.start_soon(credentials.run)
    await wait_all_tasks_blocked()
    yield credentials
    credentials.close()


async def test_a_credential_is_fetched_before_anybody_asks(autojump_clock, credentials):
    owner = credentials.keep("a", "a", Source())
    assert owner.current() is None

    await trio.sleep(0.1)

    assert owner.current().value == "token-1"


async def test_what_was_added_before_the_start_is_fetched_at_the_start(
    autojump_clock, nursery
):
    credentials = Credentials(now=now, runner=Inline)
    owner = credentials.keep("a", "a", Source())
    nursery.start_soon(credentials.run)

    assert (await owner.get()).value == "token-1"
    credentials.close()


async def test_it_is_fetched_again_long_before_it_expires(autojump_clock, credentials):
    source = Source()
    owner = credentials.keep("a", "a", source)

    await trio.sleep(4 * LIFE)

    between = [
        b - a for a, b in zip(source.fetched_at, source.fetched_at[1:], strict=False)
    ]
    assert between
    assert all(0.5 * LIFE <= pause <= 0.75 * LIFE for pause in between)
    assert owner.current().value == f"token-{len(source.fetched_at)}"


@pytest.mark.parametrize("life", [math.inf, 1e6])
async def test_however_long_it_lives_it_is_fetched_again(
    autojump_clock, credentials, life
):
    source = Source(life=life)
    credentials.keep("a", "a", source)

    await trio.sleep(MAX_AGE)

    assert len(source.fetched_at) == 2


async def test_a_server_that_repeats_its_token_is_not_asked_all_the_time(
    autojump_clock, credentials
):
    ends = now() + LIFE
    asked = []

    class Repeating(Source):
        def __call__(self):
            asked.append(trio.current_time())
            # As Google's metadata server, which keeps a token to its last minutes.
            return (
                Token("old", ends) if now() < ends - 240 else Token("new", ends + LIFE)
            )

    owner = credentials.keep("a", "a", Repeating())

    await trio.sleep(LIFE - 100)

    assert owner.current().value == "new"
    assert len(asked) < 6


async def test_all_who_wait_share_one_fetch(autojump_clock, credentials, nursery):
    source = Source(delay=2.0)
    owner = credentials.keep("a", "a", source)
    got = []

    async def ask():
        got.append((await owner.get()).value)

    for _ in range(50):
        nursery.start_soon(ask)
    await trio.sleep(3)

    assert got == ["token-1"] * 50
    assert len(source.fetched_at) == 1


async def test_a_refresh_that_hangs_delays_nobody_whose_token_is_good(
    autojump_clock, credentials
):
    source = Source()
    owner = credentials.keep("a", "a", source)
    await owner.get()
    source.delay = 1e9

    await trio.sleep(0.9 * LIFE)
    asked_at = trio.current_time()
    token = await owner.get()

    assert token.value == "token-1"
    assert trio.current_time() == asked_at


async def test_a_hanging_fetch_delays_no_other_credential(autojump_clock, credentials):
    credentials.keep("hangs", "hangs", Source(delay=1e9))
    other = credentials.keep("other", "other", Source())

    with trio.fail_after(0.1):
        assert (await other.get()).value == "token-1"


async def test_a_fetch_that_hangs_is_given_up_and_tried_again(
    autojump_clock, credentials
):
    source = Source(delay=1e9)
    owner = credentials.keep("a", "a", source)

    await trio.sleep(FETCH_TIMEOUT)
    source.delay = 0.0
    await trio.sleep(2)

    assert owner.current() is not None


async def test_nobody_waits_for_ever(autojump_clock, credentials):
    owner = credentials.keep("a", "a", Source(delay=1e9))
    began = trio.current_time()

    with pytest.raises(UpstreamUnavailable):
        await owner.get()

    assert trio.current_time() - began == PATIENCE


async def test_after_a_failure_it_is_tried_again_with_growing_pauses(
    autojump_clock, credentials
):
    source = Source()
    source.error = FetchFailed("Entra ID answered 503")
    credentials.keep("a", "a", source)

    await trio.sleep(10 * MAX_PAUSE)

    pauses = [
        b - a for a, b in zip(source.fetched_at, source.fetched_at[1:], strict=False)
    ]
    assert pauses[:3] == [0.75, 1.5, 3.0]
    assert max(pauses) == 0.75 * MAX_PAUSE


async def test_between_tries_who_asks_is_told_at_once_when_to_ask_again(
    autojump_clock, credentials
):
    source = Source()
    source.error = FetchFailed("Entra ID answered 503")
    owner = credentials.keep("a", "a", source)
    await trio.sleep(20)
    asked_at = trio.current_time()

    with pytest.raises(UpstreamUnavailable) as caught:
        await owner.get()

    assert trio.current_time() == asked_at
    assert 1.0 <= caught.value.retry_after <= MAX_PAUSE
    assert caught.value.provider == "a"
    # Which credentials the gateway has is not the client's business.
    assert "Entra" not in caught.value.message


async def test_a_failed_refresh_leaves_what_is_held_in_use(autojump_clock, credentials):
    source = Source()
    owner = credentials.keep("a", "a", source)
    await owner.get()
    source.error = FetchFailed("away")

    await trio.sleep(LIFE - MARGIN - 1)
    assert owner.current().value == "token-1"

    await trio.sleep(2)
    assert owner.current() is None
    with pytest.raises(UpstreamUnavailable):
        await owner.get()


async def test_what_has_expired_on_arrival_is_a_failure(autojump_clock, credentials):
    source = Source(life=MARGIN / 2)
    owner = credentials.keep("a", "a", source)

    await trio.sleep(1.0)

    assert owner.current() is None
    assert credentials.health()[0].last_error == "what was fetched has expired"


async def test_an_outage_is_logged_once_and_so_is_its_end(
    autojump_clock, credentials, caplog
):
    caplog.set_level(logging.INFO)
    source = Source()
    source.error = FetchFailed("Entra ID answered 401: invalid_client")
    credentials.keep("azure-eu", "a", source)

    await trio.sleep(300)
    source.error = None
    await trio.sleep(MAX_PAUSE)

    assert [record.getMessage() for record in caplog.records] == [
        "credential azure-eu cannot be fetched: Entra ID answered 401: invalid_client",
        "credential azure-eu: fetched again",
    ]


async def test_the_text_of_a_librarys_error_is_not_shown(
    autojump_clock, credentials, caplog
):
    source = Source()
    source.error = RuntimeError("secret=hunter2")
    owner = credentials.keep("a", "a", source)
    await trio.sleep(1.0)

    with pytest.raises(UpstreamUnavailable):
        await owner.get()

    assert credentials.health()[0].last_error == "RuntimeError"
    assert "hunter2" not in caplog.text


async def test_the_same_identity_is_one_credential(autojump_clock, credentials):
    source = Source()

    first = credentials.keep("a", ("entra", 1), source)
    second = credentials.keep("b", ("entra", 1), Source())
    other = credentials.keep("c", ("entra", 2), Source())
    await trio.sleep(1)

    assert first is second
    assert other is not first
    assert len(source.fetched_at) == 1


async def test_one_that_nobody_uses_any_more_is_fetched_no_more(
    autojump_clock, credentials
):
    kept, dropped = Source(), Source()
    owner = credentials.keep("kept", "kept", kept)
    gone = credentials.keep("dropped", "dropped", dropped)
    await trio.sleep(1)

    credentials.keep_only([owner, None])
    await trio.sleep(LIFE)

    assert len(kept.fetched_at) == 2
    assert len(dropped.fetched_at) == 1
    assert [health.name for health in credentials.health()] == ["kept"]
    # Requests that are under way may still use it while it is good.
    assert gone._value is not None


async def test_who_waits_for_a_dropped_one_still_gets_it(
    autojump_clock, credentials, nursery
):
    owner = credentials.keep("a", "a", Source(delay=3.0))
    got = []

    async def ask():
        got.append((await owner.get()).value)

    nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    credentials.keep_only([])
    await trio.sleep(4)

    assert got == ["token-1"]


async def test_a_dropped_one_without_a_value_refuses_at_once(
    autojump_clock, credentials
):
    source = Source()
    source.error = FetchFailed("away")
    owner = credentials.keep("a", "a", source)
    await trio.sleep(0.1)
    credentials.keep_only([])
    await trio.sleep(MAX_PAUSE)
    asked_at = trio.current_time()

    with pytest.raises(UpstreamUnavailable):
        await owner.get()

    assert trio.current_time() == asked_at


async def test_one_that_comes_back_is_fetched_anew(autojump_clock, credentials):
    first = credentials.keep("a", "a", Source())
    await first.get()
    credentials.keep_only([])

    second = credentials.keep("a", "a", Source())

    assert second is not first
    assert (await second.get()).value == "token-1"


async def test_health_tells_age_end_and_error(autojump_clock, credentials):
    source = Source()
    credentials.keep("a", "a", source)
    (fresh,) = credentials.health()
    assert (fresh.age, fresh.expires_in) == (math.inf, -math.inf)

    await trio.sleep(100)
    (good,) = credentials.health()
    assert good == ("a", 100.0, LIFE - 100.0, 0, "")

    source.error = FetchFailed("away")
    await trio.sleep(LIFE)
    (bad,) = credentials.health()
    assert bad.last_error == "away"
    assert bad.failures > 1
    assert bad.expires_in < 0


async def test_closing_ends_it_in_the_middle_of_a_fetch(autojump_clock):
    credentials = Credentials(now=now, runner=Inline)
    credentials.keep("a", "a", Source(delay=1e9))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(credentials.run)
        await trio.sleep(1)
        credentials.close()
        credentials.close()

    assert trio.current_time() < 2
