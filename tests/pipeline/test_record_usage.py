from contextlib import suppress

import pytest
import trio

from gandalf.domain.errors import (
    CredentialsRefused,
    GatewayError,
    JournalFull,
    PermissionDenied,
    RateLimited,
    Unauthenticated,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gandalf.domain.identity import Identity
from gandalf.domain.prices import Rating, UnitPrices
from gandalf.domain.usage import Attempt, EndReason, TokenUsage, UsageSource
from gandalf.pipeline.authenticate import Authenticate
from gandalf.pipeline.exchange import Exchange, Reply
from gandalf.pipeline.record_usage import RecordUsage
from gandalf.pipeline.stage import Pipeline
from gandalf.pricing.price import Price
from tests.pipeline.builders import (
    FakeResponder,
    a_chat_body,
    a_target,
    an_endpoint,
    an_exchange,
    an_identity,
    header,
)
from tests.pricing.builders import a_price

NOW = 100.0
UNIX_NOW = 1_700_000_100.0
WHOLE = Reply(200, b"application/json", b"{}")


class FakeJournal:
    def __init__(self, room=10):
        self.room = room
        self.records = []
        self.flushed = 0

    def reserve(self):
        if self.room == 0:
            raise JournalFull
        self.room -= 1

    def release(self):
        self.room += 1

    def write(self, record):
        self.room += 1
        self.records.append(record)

    def flush(self):
        self.flushed = len(self.records)


class Step:
    """A stage that does what the test says; with what it changes in the exchange."""

    def __init__(self, outcome, **changes):
        self.outcome, self.changes = outcome, changes
        self.settled = False

    async def enter(self, exchange):
        for name, value in self.changes.items():
            setattr(exchange, name, value)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if self.outcome == "hang":
            await trio.sleep_forever()
        return self.outcome

    def settle(self, exchange):
        self.settled = True


class CutStream:
    """A stream that breaks off after its first bytes."""

    def __init__(self, error):
        self.pieces = [b"data: 1\n\n", error]
        self.ending = b"data: [DONE]\n\n"

    async def receive(self):
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece


def a_stage(journal, observers=()):
    return RecordUsage(
        journal, observers, clock=lambda: NOW, unix_time=lambda: UNIX_NOW
    )


async def record_of(exchange, *stages):
    """Run ``exchange`` through ``stages``; return the one record that it leaves."""
    journal = FakeJournal()
    pipeline = Pipeline([a_stage(journal), *stages])
    # What the client is told of it is the HTTP layer's business.
    with exchange.scope, suppress(GatewayError, ZeroDivisionError):
        await pipeline.run(exchange, FakeResponder())
    assert journal.room == 10
    [record] = journal.records
    return record


async def test_a_whole_answer_leaves_a_record_of_everything():
    exchange = an_exchange(
        a_chat_body(model="fast", stream=True),
        identity=an_identity("k1", org_id="acme", team_id="t", user_id="u"),
    )
    exchange.request_id, exchange.id = "theirs", "ours"
    exchange.received_at = NOW - 2.0
    tokens = TokenUsage(input=7, cache_read=0, output=3)
    attempt = Attempt(target="openai/gpt-4o", outcome="served")

    record = await record_of(
        exchange,
        Step(
            WHOLE,
            served_by=a_target("openai/gpt-4o"),
            usage=tokens,
            upstream_worked=True,
            estimated_tokens=12,
            cache="miss",
            ttft=0.5,
            upstream_time=1.5,
            client_time=0.25,
            attempts=[attempt],
        ),
    )

    assert (record.request_id, record.client_request_id) == ("ours", "theirs")
    assert record.received_at == UNIX_NOW - 2.0
    assert (record.operation, record.dialect) == ("chat", "openai")
    assert (record.key_id, record.org_id) == ("k1", "acme")
    assert (record.team_id, record.user_id) == ("t", "u")
    assert (record.alias, record.provider, record.model) == ("fast", "openai", "gpt-4o")
    assert (record.stream, record.cache) == (True, "miss")
    assert (record.status, record.error_code) == (200, "")
    assert record.end_reason is EndReason.COMPLETE
    assert record.tokens == tokens
    assert record.usage_source is UsageSource.PROVIDER
    assert record.estimated_tokens == 12
    assert (record.latency, record.ttft, record.overhead) == (2.0, 0.5, 0.25)
    assert record.attempts == (attempt,)


async def test_it_is_recorded_before_the_answer_is_complete():
    journal = FakeJournal()
    seen = []

    class Responder(FakeResponder):
        async def finish(self, reply):
            seen.append(list(journal.records))

    await Pipeline([a_stage(journal), Step(WHOLE)]).run(an_exchange(), Responder())

    [records] = seen
    assert records == journal.records != []


async def test_it_is_recorded_after_everything_else_is_settled():
    settled = []
    journal = FakeJournal()

    def observe(exchange, record):
        settled.extend(step.settled for step in steps)

    steps = [Step(None), Step(WHOLE)]
    stage = a_stage(journal, [observe])
    await Pipeline([stage, *steps]).run(an_exchange(), FakeResponder())
    stage.flush()

    assert settled == [True, True]


async def test_a_request_without_a_valid_key_leaves_no_record_but_is_observed():
    exchange = Exchange(
        endpoint=an_endpoint(),
        headers={},
        body=b"",
        request_id="r",
        received_at=NOW,
    )
    journal, seen = FakeJournal(), []
    stage = RecordUsage(journal, [lambda _, record: seen.append(record)])

    with pytest.raises(Unauthenticated):
        await Pipeline([stage, Step(Unauthenticated())]).run(exchange, FakeResponder())
    stage.flush()

    assert (journal.records, journal.room) == ([], 10)
    (record,) = seen
    assert (record.status, record.error_code) == (401, "invalid_api_key")
    assert record.end_reason is EndReason.REFUSED


async def test_a_refusal_keeps_what_was_asked_for():
    exchange = an_exchange(a_chat_body(model="fast"))

    record = await record_of(exchange, Step(RateLimited("rpm", 3.0)))

    assert (record.alias, record.key_id) == ("fast", "k")
    assert (record.status, record.error_code) == (429, "rate_limit_exceeded")
    assert record.estimated_tokens == exchange.call.estimated_tokens > 0


async def test_a_failure_of_every_target_is_recorded_with_its_attempts():
    attempts = [Attempt(target="a/b"), Attempt(target="c/d")]

    record = await record_of(
        an_exchange(), Step(UpstreamUnavailable("c", "no more"), attempts=attempts)
    )

    assert record.end_reason is EndReason.FAILED
    assert (record.status, record.error_code) == (503, "upstream_unavailable")
    assert (record.provider, record.model) == ("", "")
    assert record.attempts == tuple(attempts)
    assert record.usage_source is UsageSource.NONE


async def test_work_that_was_never_accounted_for_is_an_estimate_and_not_zero():
    record = await record_of(
        an_exchange(),
        Step(
            UpstreamTimeout("c", "total", 5.0),
            attempts=[Attempt(target="a/b")],
            upstream_worked=True,
            estimated_tokens=40,
        ),
    )

    assert record.usage_source is UsageSource.ESTIMATED
    assert record.tokens == TokenUsage(input=40)
    assert record.estimated_tokens == 40


async def test_an_answer_that_breaks_off_keeps_the_status_the_client_got():
    stream = CutStream(UpstreamTimeout("c", "idle", 60.0))

    record = await record_of(
        an_exchange(), Step(Reply(200, b"text/event-stream", stream))
    )

    assert record.end_reason is EndReason.INCOMPLETE
    assert (record.status, record.error_code) == (200, "upstream_timeout")


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (EndReason.CLIENT_DISCONNECT, 499, ""),
        (EndReason.SHUTDOWN, 503, "shutting_down"),
    ],
)
async def test_an_exchange_that_is_cut_short_is_recorded(
    reason, status, code, autojump_clock
):
    exchange = an_exchange()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def cut():
            await trio.sleep(1)
            exchange.stop(reason)

        record = await record_of(exchange, Step("hang", upstream_worked=True))

    assert record.end_reason is reason
    assert (record.status, record.error_code) == (status, code)
    assert record.usage_source is UsageSource.ESTIMATED


async def test_a_client_that_left_during_the_answer_has_the_answers_status():
    exchange = an_exchange()
    exchange.client_left = True

    record = await record_of(exchange, Step(WHOLE))

    assert record.end_reason is EndReason.CLIENT_DISCONNECT
    assert record.status == 200


async def test_a_bug_is_recorded():
    record = await record_of(an_exchange(), Step(ZeroDivisionError("a bug")))

    assert record.end_reason is EndReason.INTERNAL_ERROR
    assert (record.status, record.error_code) == (500, "internal_error")


async def test_a_cached_answer_used_nothing():
    record = await record_of(an_exchange(), Step(WHOLE, cache="hit"))

    assert record.cache == "hit"
    assert record.usage_source is UsageSource.NONE
    assert record.tokens == TokenUsage()


async def test_waiting_counted_twice_does_not_make_the_overhead_negative():
    exchange = an_exchange()
    exchange.received_at = NOW - 1.0

    record = await record_of(exchange, Step(WHOLE, upstream_time=0.9, client_time=0.2))

    assert record.overhead == 0.0


async def test_what_cannot_be_recorded_is_not_begun():
    began = []

    class Never(Step):
        async def enter(self, exchange):
            began.append(exchange)

    journal = FakeJournal(room=0)
    with pytest.raises(JournalFull):
        await Pipeline([a_stage(journal), Never(None)]).run(
            an_exchange(), FakeResponder()
        )

    assert began == journal.records == []


async def test_observers_are_told_once_whatever_the_others_do(caplog):
    told = []

    def broken(exchange, record):
        raise KeyError("a bug")

    def observe(exchange, record):
        told.append((exchange, record))

    journal = FakeJournal()
    exchange = an_exchange()
    stage = a_stage(journal, [observe, broken, observe])
    await Pipeline([stage, Step(WHOLE)]).run(exchange, FakeResponder())
    stage.flush()
    stage.flush()

    assert told == [(exchange, journal.records[0])] * 2
    assert [r.exc_info[0] for r in caplog.records] == [KeyError]


async def test_the_record_is_in_its_file_before_anybody_is_told():
    journal = FakeJournal()
    seen = []

    def observe(exchange, record):
        seen.append(journal.flushed)

    stage = a_stage(journal, [observe])
    for _ in range(3):
        await Pipeline([stage, Step(WHOLE)]).run(an_exchange(), FakeResponder())
    assert (journal.flushed, seen) == (0, [])
    stage.flush()

    assert seen == [3, 3, 3]


async def test_the_room_is_given_back_even_if_there_is_no_record(caplog):
    journal = FakeJournal()
    exchange = an_exchange()
    stage = a_stage(journal)
    stage.enter(exchange)
    exchange.dialect = None  # a bug

    with pytest.raises(AttributeError):
        stage.settle(exchange)

    assert journal.room == 10


async def test_a_record_has_the_providers_words_and_no_secret():
    refused = CredentialsRefused(
        "up", upstream_status=401, detail="provider 'up': bad key sk-abcdefghijkl"
    )

    record = await record_of(an_exchange(), Step(refused))

    assert refused.message == "provider 'up': refused the gateway's credentials"
    assert record.error_message == "provider 'up': bad key sk-***"


async def test_a_record_names_the_holder_of_a_key_that_is_refused():
    identity = Identity(key_id="k9", org_id="acme", key_prefix="gnd_abcd")

    class Keys:
        def authenticate(self, token):
            raise PermissionDenied("revoked", code="api_key_revoked", identity=identity)

    exchange = an_exchange(headers={b"authorization": b"Bearer gnd_x"})
    exchange.identity = None

    record = await record_of(exchange, Authenticate(Keys()))

    assert (record.key_id, record.org_id) == ("k9", "acme")
    assert (record.status, record.error_code) == (403, "api_key_revoked")


# Cost.


async def test_the_record_says_what_the_answer_cost_and_at_which_prices():
    price = a_price(input=2_000, output=8_000)
    usage = TokenUsage(input=10, output=3)

    record = await record_of(
        an_exchange(), Step(WHOLE, usage=usage, price=price, upstream_worked=True)
    )

    assert record.cost_nanousd == 44
    assert record.rating == Rating("test", "", UnitPrices(input=2_000, output=8_000))


async def test_what_no_upstream_was_asked_for_costs_nothing():
    record = await record_of(an_exchange(), Step(WHOLE, cache="hit"))

    assert (record.cost_nanousd, record.rating) == (0, None)


async def test_a_target_without_a_price_makes_the_cost_unknown():
    usage = TokenUsage(input=10, output=3)
    unpriced = Price("openai/gpt-4o")

    for price in (unpriced, None):
        record = await record_of(
            an_exchange(), Step(WHOLE, usage=usage, price=price, upstream_worked=True)
        )

        assert (record.cost_nanousd, record.rating) == (None, None)


async def test_an_upstream_that_reports_no_usage_still_costs_what_was_sent():
    record = await record_of(
        an_exchange(),
        Step(
            WHOLE,
            price=a_price(input=2_000, output=8_000),
            upstream_worked=True,
            estimated_tokens=50,
        ),
    )

    assert record.cost_nanousd == 100


async def test_a_whole_answer_tells_its_cost_exactly():
    exchange = an_exchange()

    await record_of(
        exchange,
        Step(
            WHOLE,
            usage=TokenUsage(input=10, output=3),
            price=a_price(input=100_000, output=200_000),
            upstream_worked=True,
        ),
    )

    assert header(exchange, b"x-gandalf-cost-usd") == "0.0000016"


async def test_an_answer_from_the_cache_tells_that_it_cost_nothing():
    exchange = an_exchange()

    await record_of(exchange, Step(WHOLE, cache="hit"))

    assert header(exchange, b"x-gandalf-cost-usd") == "0"


async def test_an_unknown_cost_is_not_told_as_zero():
    exchange = an_exchange()

    await record_of(
        exchange, Step(WHOLE, usage=TokenUsage(input=1), upstream_worked=True)
    )

    assert header(exchange, b"x-gandalf-cost-usd") is None
