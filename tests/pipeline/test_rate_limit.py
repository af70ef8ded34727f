import contextlib

import pytest
import trio

from gandalf.actors.limiter import RateLimiter
from gandalf.config import RateLimits
from gandalf.domain.errors import BadRequest, NotFound, RateLimited, UpstreamError
from gandalf.domain.identity import Limits
from gandalf.domain.usage import Attempt, EndReason, TokenUsage
from gandalf.pipeline.exchange import Reply
from gandalf.pipeline.rate_limit import RateLimit, effective_limits, format_duration
from gandalf.pipeline.stage import Pipeline

from .builders import FakeResponder, a_config, an_exchange, an_identity, header


class Then:
    """A later stage that does what the test says."""

    def __init__(self, do):
        self.do = do

    async def enter(self, exchange):
        return await self.do(exchange)

    def settle(self, exchange):
        pass


def limited(rpm=10, tpm=100, **changes):
    return an_identity(limits=Limits(rpm=rpm, tpm=tpm), **changes)


def left(limiter, exchange):
    state = limiter.state(exchange.identity.key_id, exchange.limits)
    return state.requests.remaining, state.tokens.remaining


async def run(exchange, *, then, limiter):
    """Run an exchange through the stage and what comes ``then``."""
    pipeline = Pipeline([RateLimit(limiter, a_config), Then(then)])
    with exchange.scope:
        await pipeline.run(exchange, FakeResponder())


async def answer(exchange):
    exchange.upstream_worked = True
    exchange.attempts.append(Attempt(target="a/b", decision="answer"))
    return Reply(200, b"application/json", b"{}")


# Whose limits.


@pytest.mark.parametrize(
    ("own", "effective"),
    [
        (None, (60, 100)),
        (Limits(), (60, 100)),
        (Limits(rpm=5), (5, 100)),
        (Limits(tpm=7), (60, 7)),
        (Limits(rpm=0, tpm=0), (0, 0)),
    ],
    ids=["none", "of nothing", "of requests", "of tokens", "unlimited by its own"],
)
def test_a_keys_own_limits_come_before_the_defaults(own, effective):
    limits = effective_limits(
        an_identity(limits=own), RateLimits(default_rpm=60, default_tpm=100)
    )
    assert (limits.rpm, limits.tpm) == effective


async def test_changed_defaults_hold_for_the_next_request(autojump_clock):
    defaults = RateLimits(default_rpm=1, default_tpm=0)
    stage = RateLimit(RateLimiter(), lambda: a_config(rate_limits=defaults))
    stage.enter(an_exchange())
    with pytest.raises(RateLimited):
        stage.enter(an_exchange())

    defaults = RateLimits(default_rpm=0, default_tpm=0)

    stage.enter(an_exchange())


# What the client is told.


async def test_the_headers_say_what_is_left(autojump_clock):
    exchange = an_exchange(identity=limited(rpm=60, tpm=6000))
    estimate = exchange.call.estimated_tokens

    RateLimit(RateLimiter(), a_config).enter(exchange)

    assert exchange.estimated_tokens == estimate > 0
    assert header(exchange, b"x-ratelimit-limit-requests") == "60"
    assert header(exchange, b"x-ratelimit-remaining-requests") == "59"
    assert header(exchange, b"x-ratelimit-reset-requests") == "1s"
    assert header(exchange, b"x-ratelimit-limit-tokens") == "6000"
    assert header(exchange, b"x-ratelimit-remaining-tokens") == str(6000 - estimate)
    assert header(exchange, b"x-ratelimit-reset-tokens") == f"{estimate * 10}ms"


async def test_an_unlimited_key_gets_no_limit_headers(autojump_clock):
    exchange = an_exchange(identity=limited(rpm=0, tpm=0))
    RateLimit(RateLimiter(), a_config).enter(exchange)
    assert exchange.reply_lines == b""


async def test_a_refusal_says_that_nothing_remains_and_when_to_return(autojump_clock):
    stage = RateLimit(RateLimiter(), a_config)
    size = an_exchange().call.estimated_tokens
    identity = limited(rpm=10, tpm=size + 1)
    stage.enter(an_exchange(identity=identity))

    exchange = an_exchange(identity=identity)
    with pytest.raises(RateLimited) as refused:
        stage.enter(exchange)

    assert refused.value.limit == "tpm"
    # One token is left, which is too little for this request: as good as none.
    assert header(exchange, b"x-ratelimit-remaining-tokens") == "0"
    assert header(exchange, b"x-ratelimit-remaining-requests") == "9"
    await trio.sleep(refused.value.retry_after)
    stage.enter(an_exchange(identity=identity))


async def test_a_request_that_never_fits_is_told_so_and_what_does(autojump_clock):
    exchange = an_exchange(identity=limited(tpm=1))

    with pytest.raises(BadRequest) as refused:
        RateLimit(RateLimiter(), a_config).enter(exchange)

    assert refused.value.code == "request_exceeds_tpm_limit"
    assert header(exchange, b"x-ratelimit-limit-tokens") == "1"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, b"0s"),
        (0.0001, b"1ms"),
        (0.12, b"120ms"),
        (1, b"1s"),
        (1.5, b"1.5s"),
        (59.9999, b"1m0s"),
        (86.4, b"1m26.4s"),
        (360, b"6m0s"),
        (3600, b"1h0m0s"),
        (3661.001, b"1h1m1.001s"),
    ],
)
def test_durations_are_written_as_openai_does(seconds, text):
    assert format_duration(seconds) == text


# What it costs in the end.


async def test_the_estimate_is_corrected_by_the_usage(autojump_clock):
    exchange = an_exchange(identity=limited())

    async def used_33(exchange):
        exchange.usage = TokenUsage(input=30, output=3)
        return await answer(exchange)

    limiter = RateLimiter()
    await run(exchange, then=used_33, limiter=limiter)

    assert left(limiter, exchange) == (9, 67)


async def test_without_a_usage_report_the_estimate_stands(autojump_clock):
    exchange = an_exchange(identity=limited())
    limiter = RateLimiter()
    await run(exchange, then=answer, limiter=limiter)
    assert left(limiter, exchange) == (9, 100 - exchange.estimated_tokens)


async def test_a_hit_costs_a_request_and_no_tokens(autojump_clock):
    exchange = an_exchange(identity=limited())

    async def hit(exchange):
        return Reply(200, b"application/json", b"{}")

    limiter = RateLimiter()
    await run(exchange, then=hit, limiter=limiter)

    assert left(limiter, exchange) == (9, 100)


async def refuse(exchange):
    raise NotFound("no such model")


async def find_breakers_open(exchange):
    exchange.attempts.append(Attempt(target="a/b", decision="skipped"))
    raise UpstreamError("", "no target may be tried now")


async def wait_for_the_client_to_leave(exchange):
    exchange.hang_up()
    await trio.sleep_forever()


async def test_a_request_that_is_refused_for_what_it_is_counts(autojump_clock):
    exchange = an_exchange(identity=limited())
    limiter = RateLimiter()

    with pytest.raises(NotFound):
        await run(exchange, then=refuse, limiter=limiter)

    assert left(limiter, exchange) == (9, 100)


@pytest.mark.parametrize("end", [find_breakers_open, wait_for_the_client_to_leave])
async def test_what_no_upstream_was_asked_for_costs_nothing(autojump_clock, end):
    exchange = an_exchange(identity=limited())
    limiter = RateLimiter()

    with contextlib.suppress(UpstreamError):
        await run(exchange, then=end, limiter=limiter)

    assert exchange.end_reason is not EndReason.COMPLETE
    assert left(limiter, exchange) == (10, 100)


async def test_a_failed_upstream_costs_the_request_and_no_tokens(autojump_clock):
    exchange = an_exchange(identity=limited())
    limiter = RateLimiter()

    async def fail(exchange):
        exchange.attempts.append(Attempt(target="a/b", decision="give_up"))
        raise UpstreamError("a", "it is down")

    with pytest.raises(UpstreamError):
        await run(exchange, then=fail, limiter=limiter)

    assert left(limiter, exchange) == (9, 100)


async def test_a_client_that_leaves_pays_for_what_the_upstream_did(autojump_clock):
    exchange = an_exchange(identity=limited())

    async def leave_in_the_middle(exchange):
        await answer(exchange)
        await wait_for_the_client_to_leave(exchange)

    limiter = RateLimiter()
    await run(exchange, then=leave_in_the_middle, limiter=limiter)

    assert left(limiter, exchange) == (9, 100 - exchange.estimated_tokens)


async def test_a_refused_request_takes_nothing(autojump_clock):
    limiter = RateLimiter()
    identity = limited(rpm=1)
    first = an_exchange(identity=identity)
    await run(first, then=answer, limiter=limiter)
    before = left(limiter, first)

    for _ in range(5):
        with pytest.raises(RateLimited):
            await run(an_exchange(identity=identity), then=answer, limiter=limiter)

    assert left(limiter, first) == before


async def test_ten_thousand_random_ends_leave_nothing_taken(autojump_clock):
    limiter = RateLimiter()
    identity = limited(rpm=10**6, tpm=10**6)
    exchange = an_exchange(identity=identity)
    ends = [find_breakers_open, wait_for_the_client_to_leave]
    stage = RateLimit(limiter, a_config)
    for n in range(10_000):
        exchange = an_exchange(identity=identity)
        stage.enter(exchange)
        exchange.end_reason = EndReason.CLIENT_DISCONNECT
        if n % 7 == 0:
            exchange.end_reason = EndReason.REFUSED
        stage.settle(exchange)
    for end in ends:
        with contextlib.suppress(UpstreamError):
            await run(an_exchange(identity=identity), then=end, limiter=limiter)

    assert left(limiter, exchange) == (10**6, 10**6)
