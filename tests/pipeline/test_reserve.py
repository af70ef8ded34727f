"""Reserving and settling through the pipeline, with attempts that go every way."""

import random
from contextlib import suppress

import pytest
import trio

from gandalf.actors.ledger import Ledger
from gandalf.actors.routes import RouteTable, Snapshot, build_routes, targets_of
from gandalf.config import ModelPrice, Prices
from gandalf.domain.budgets import Budget, Rule, Scope, Unit
from gandalf.domain.errors import (
    BudgetExceeded,
    GatewayError,
    JournalFull,
    UpstreamError,
)
from gandalf.domain.usage import EndReason, TokenUsage
from gandalf.pipeline.exchange import Reply
from gandalf.pipeline.meter import STEP_TOKENS, StreamMeter
from gandalf.pipeline.record_usage import RecordUsage
from gandalf.pipeline.reserve import Reserve, cost_after_crash
from gandalf.pipeline.stage import Pipeline
from gandalf.pricing.resolve import price_targets

from .builders import (
    FakeResponder,
    a_chat_body,
    a_config,
    a_target,
    an_exchange,
    an_identity,
)

NOW = 1_780_315_200
MODELS = ("m", "n", "free")


def a_budget(limit, scope="key", *, unit="usd", name="", hard=True, window="day"):
    rule = Rule(Scope(scope), "", window, "UTC", Unit(unit))
    return Budget(name=name or scope, rule=rule, limit=limit, hard=hard)


def a_price(model, input_price, output_price):
    return ModelPrice(model=model, input=input_price * 1000, output=output_price * 1000)


def pour(meter, data):
    """Count ``data`` as StreamBody does."""
    meter.size += len(data)
    meter.last = data
    if meter.size > meter.check_at:
        meter.check()


class Journal:
    """Takes lines; knows which requests are opened and which have a record."""

    def __init__(self):
        self.opened = []
        self.records = []
        self.full = False

    def reserve(self):
        pass

    def release(self):
        pass

    def open(self, opened):
        if self.full:
            raise JournalFull
        self.opened.append(opened)

    def write(self, record):
        self.records.append(record)

    def flush(self):
        pass


class Step:
    """In the place of Dispatch: does what the test says."""

    def __init__(self, act):
        self._act = act

    async def enter(self, exchange):
        return await self._act(exchange)


class House:
    """The stages around a reservation, and what they leave."""

    def __init__(self, *budgets, targets=("p/m",), **sections):
        config = a_config(
            ("fast", *targets),
            # 1 and 10 nano-USD a token; the second model twice that.
            prices=Prices(overrides=(a_price("m", 1, 10), a_price("n", 2, 20))),
            **sections,
        )
        routes = build_routes(config)
        prices = price_targets(config, targets_of(routes))
        self.routes = RouteTable(
            Snapshot(
                config=config,
                routes=routes,
                providers={},
                upstreams={},
                prices=prices,
                version=1,
            )
        )
        self.time = float(NOW)
        self.ledger = Ledger(budgets, unix_time=lambda: self.time)
        self.journal = Journal()
        self.prices = prices

    def exchange(self, name="r1", identity=None, **fields):
        exchange = an_exchange(
            a_chat_body(**{"max_tokens": 10, **fields}), identity=identity
        )
        exchange.id = exchange.request_id = name
        exchange.route = self.routes.find("fast")
        exchange.targets = exchange.route.targets
        exchange.estimated_tokens = exchange.call.estimated_tokens
        return exchange

    async def run(self, exchange, act):
        recording = RecordUsage(
            self.journal, ledger=self.ledger, unix_time=lambda: self.time
        )
        pipeline = Pipeline(
            [
                recording,
                Reserve(self.ledger, self.journal.open, self.routes),
                Step(act),
            ]
        )
        with exchange.scope:
            await pipeline.run(exchange, FakeResponder())

    def state(self):
        return [(s.budget.name, s.spent, s.reserved) for s in self.ledger.all_states()]

    def serve(self, exchange, target="p/m", usage=None):
        """Note in ``exchange`` that ``target`` has served it."""
        exchange.served_by = a_target(target)
        exchange.price = self.prices.get(target)
        exchange.upstream_worked = True
        exchange.usage = usage


async def test_the_bound_is_held_while_an_upstream_is_asked():
    house = House(a_budget(10_000))
    exchange = house.exchange()
    seen = []

    async def act(exchange):
        seen.extend(house.state())
        house.serve(exchange, usage=TokenUsage(input=5, output=3))
        return Reply(200, b"application/json", b"{}")

    await house.run(exchange, act)

    prompt = exchange.call.estimated_tokens
    assert seen == [("key", 0, prompt + 100)]
    assert house.state() == [("key", 35, 0)]
    [opened], [record] = house.journal.opened, house.journal.records
    assert (opened.cost_nanousd, opened.output_tokens) == (prompt + 100, 10)
    assert (record.charged_nanousd, record.charged_at) == (35, NOW)


@pytest.mark.parametrize(
    ("fields", "route", "tokens"),
    [
        ({"max_tokens": 7}, {}, 7),
        ({"max_tokens": 7, "n": 3}, {}, 21),
        ({"max_tokens": None}, {}, 4096),
    ],
)
async def test_the_answer_is_bounded_by_what_limits_it(fields, route, tokens):
    house = House(a_budget(10**6, unit="tokens"))
    exchange = house.exchange(**fields)
    seen = []

    async def act(exchange):
        seen.extend(house.state())
        return Reply(200, b"application/json", b"{}")

    await house.run(exchange, act)

    assert seen == [("key", 0, exchange.call.estimated_tokens + tokens)]


async def test_the_dearest_of_the_targets_bounds_the_cost():
    house = House(a_budget(10_000), targets=("p/m", "q/n"))
    exchange = house.exchange()

    async def act(exchange):
        assert house.state() == [("key", 0, 2 * exchange.call.estimated_tokens + 200)]
        return Reply(200, b"application/json", b"{}")

    await house.run(exchange, act)


async def test_what_no_upstream_has_worked_on_costs_nothing():
    house = House(a_budget(10_000), a_budget(5, "global", unit="requests"))

    async def act(exchange):
        raise UpstreamError("p", "refused the connection")

    with pytest.raises(UpstreamError):
        await house.run(house.exchange(), act)

    assert {(spent, held) for _, spent, held in house.state()} == {(0, 0)}
    assert house.journal.records[0].charged_at == 0


async def test_a_journal_that_is_full_leaves_nothing_reserved():
    house = House(a_budget(10_000))
    house.journal.full = True

    with pytest.raises(JournalFull):
        await house.run(house.exchange(), None)

    assert house.state() == [("key", 0, 0)]
    assert house.ledger.statistics().reservations == 0


async def test_a_provider_without_budget_is_left_out_while_there_is_another():
    house = House(a_budget(150, "provider"), targets=("p/m", "q/m"))

    async def act(exchange):
        house.serve(exchange, exchange.targets[0].name, TokenUsage(input=9, output=10))
        return Reply(200, b"application/json", b"{}")

    served = []
    for number in range(2):
        exchange = house.exchange(f"r{number}")
        await house.run(exchange, act)
        served.append(exchange.served_by.name)

    assert served == ["p/m", "q/m"]
    [skipped] = exchange.attempts
    assert (skipped.target, skipped.outcome, skipped.decision) == (
        "p/m",
        "budget_exhausted",
        "skipped",
    )
    with pytest.raises(BudgetExceeded):
        await house.run(house.exchange("r3"), act)


async def test_a_cost_that_is_not_known_in_the_end_is_charged_at_its_reservation():
    house = House(a_budget(10_000))
    exchange = house.exchange()

    async def act(exchange):
        house.serve(exchange, usage=TokenUsage(input=5, output=3))
        exchange.price = None
        return Reply(200, b"application/json", b"{}")

    await house.run(exchange, act)

    [record] = house.journal.records
    assert record.cost_nanousd is None
    bound = exchange.call.estimated_tokens + 100
    assert (record.charged_nanousd, house.state()) == (bound, [("key", bound, 0)])


async def test_a_stream_reserves_in_steps_and_each_is_in_the_journal():
    house = House(a_budget(10**6))
    exchange = house.exchange(stream=True, max_tokens=100_000)
    held = []

    async def act(exchange):
        for _ in range(3):
            held.append(exchange.reserved.output_tokens)
            for _ in range(STEP_TOKENS + 1):
                pour(exchange.meter, b"data: x\n\n")
        house.serve(exchange)
        raise UpstreamError("p", "broke off")

    with pytest.raises(UpstreamError):
        await house.run(exchange, act)

    # Each step reserves what has come and one step more, a few events late at most.
    steps = [o.output_tokens for o in house.journal.opened]
    assert steps[0] == held[0] == 1024
    assert len(steps) >= 3
    for n, step in enumerate(steps[1:], 2):
        assert n * 1025 - 1 <= step <= n * 1025 + 20
    # What was delivered is charged: an event is a token.
    delivered = 3 * (STEP_TOKENS + 1)
    prompt = exchange.call.estimated_tokens
    assert house.state() == [("key", prompt + 10 * delivered, 0)]


async def test_a_short_stream_reserves_no_more_than_it_may_use():
    house = House(a_budget(1000))
    exchange = house.exchange(stream=True, max_tokens=10)

    async def act(exchange):
        assert exchange.reserved.output_tokens == 10
        return Reply(200, b"application/json", b"{}")

    await house.run(exchange, act)


FRAMES = {
    "openai": b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n',
    "anthropic": b'event: content_block_delta\ndata: {"type":"content_block_delta",'
    b'"index":0,"delta":{"type":"text_delta","text":"%b"}}\n\n',
    "gemini": b'data: {"candidates":[{"content":{"parts":[{"text":"%b"}]}}]}\n\n',
    "ollama": b'{"model":"m","message":{"role":"assistant","content":"%b"}}\n',
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize(
    ("text", "tokens"), [(b" a", 1), (b" four \\n words" * 10, 35)]
)
@pytest.mark.parametrize("together", [1, 7])
def test_the_meter_tells_tokens_from_framing(frame, text, tokens, together):
    meter = StreamMeter()

    for _ in range(140 // together):
        pour(meter, (frame % text) * together)

    assert 0.9 * 140 * tokens <= meter.tokens <= 1.1 * 140 * tokens


def test_a_meter_that_saw_little_knows_a_little():
    meter = StreamMeter()
    assert meter.tokens == 0

    pour(meter, FRAMES["openai"] % b"a")

    assert meter.tokens == 1


def test_without_a_budget_a_crash_costs_the_bound_at_todays_price():
    house = House()
    exchange = house.exchange()
    reserve = Reserve(house.ledger, house.journal.open, house.routes)
    reserve.enter(exchange)
    [opened] = house.journal.opened
    assert opened.cost_nanousd is None

    cost = cost_after_crash(house.prices, opened)

    assert cost == exchange.call.estimated_tokens + 100
    assert cost_after_crash({}, opened) is None


async def test_10_000_requests_that_end_in_every_way_leave_nothing_open(
    autojump_clock,
):
    """Cancelled, failed, retried, failed over, cut mid-stream, refused and served."""
    dice = random.Random(7)
    house = House(
        a_budget(40_000, window="hour"),
        a_budget(400_000, "team", window="day"),
        a_budget(10_000_000, "global", window="lifetime"),
        a_budget(300_000, "provider", window="hour"),
        a_budget(3_000, "organization", unit="requests", window="hour"),
        targets=("p/m", "q/n"),
    )

    async def act(exchange):
        for target in exchange.targets:
            await trio.sleep(dice.random())
            end = dice.choice(
                ("fail", "work and fail", "serve", "serve", "cut", "slow")
            )
            usage = TokenUsage(input=dice.randrange(40), output=dice.randrange(30))
            if end == "serve":
                house.serve(exchange, target.name, usage)
                return Reply(200, b"application/json", b"{}")
            if end == "work and fail":
                house.serve(exchange, target.name)
            if end == "cut" and exchange.meter is not None:
                house.serve(exchange, target.name)
                for _ in range(dice.randrange(3000)):
                    pour(exchange.meter, b"data: x\n\n")
                break
            if end == "slow":
                house.serve(exchange, target.name)
                await trio.sleep(dice.random() * 20)
        raise UpstreamError("p", "all have failed")

    async def one(number):
        identity = an_identity(
            f"k{dice.randrange(20)}", team_id=dice.choice(("a", "b", None))
        )
        exchange = house.exchange(
            f"r{number}",
            identity,
            stream=dice.random() < 0.5,
            max_tokens=dice.choice((5, 30, 5000)),
        )
        exchange.scope.deadline = trio.current_time() + dice.random() * 10
        with suppress(GatewayError):
            await house.run(exchange, act)

    async with trio.open_nursery() as nursery:
        for number in range(10_000):
            house.time += dice.random() * 5
            nursery.start_soon(one, number)
            await trio.sleep(0.01)

    statistics = house.ledger.statistics()
    assert (statistics.reservations, statistics.expired) == (0, 0)
    records = house.journal.records
    assert len(records) == 10_000
    assert {r.end_reason for r in records} > {
        EndReason.COMPLETE,
        EndReason.CLIENT_DISCONNECT,
        EndReason.FAILED,
    }
    assert statistics.refusals > 100
    total = sum(r.charged_nanousd for r in records if r.charged_at)
    [(_, spent, held)] = [s for s in house.state() if s[0] == "global"]
    assert (spent, held) == (total, 0)
    assert all(reserved == 0 for _, _, reserved in house.state())
