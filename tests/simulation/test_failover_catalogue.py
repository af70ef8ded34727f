"""The sixteen scenarios of the public failoverbench catalogue (methodology v0.1).

Written anew after its descriptions: a primary target that misbehaves, a fallback that is
well, the default configuration (and ``fallback_on: [context_length]``, which declares
that the fallback has the larger context), a streamed request whose answer has sixty
words. The verdicts are the catalogue's: ``pass`` is the whole answer with good conduct,
``partial`` the whole answer with a remark, ``safe`` a clean error within bounds.
Nothing may fail: no hang, no part of an answer presented as a whole one.
"""

import json

import pytest
import trio

from gandalf.actors.breakers import Breakers
from gandalf.actors.connector import Connector
from gandalf.actors.retry_budget import RetryBudget
from gandalf.actors.routes import RouteTable, Snapshot, build_routes
from gandalf.actors.watches import Watches
from gandalf.config import Config, Provider, Route, RouteTarget
from gandalf.domain.errors import GatewayError
from gandalf.domain.usage import EndReason
from gandalf.pipeline.dispatch import Dispatch
from gandalf.pipeline.stage import Pipeline
from gandalf.providers import catalogue
from gandalf.providers.registry import make_provider
from gandalf.providers.watch import UpstreamBroken
from tests.pipeline.builders import FakeResponder, a_chat_body, an_exchange

WORDS = [f"word{n}" for n in range(60)]
TEXT = " ".join(WORDS)
BETWEEN = 0.015
DONE = b"data: [DONE]\n\n"
RESET = UpstreamBroken("the connection broke during the answer", sent=True)
SILENCE = 120.0


def an_event(**fields):
    return b"data: " + json.dumps({"model": "primary", **fields}).encode() + b"\n\n"


def a_chunk(finish_reason=None, **delta):
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return an_event(choices=[choice])


def words(first=0, last=60):
    """The content chunks of some of the words, with the time between them."""
    for n in range(first, last):
        yield BETWEEN
        yield a_chunk(content=WORDS[n] if n == 0 else f" {WORDS[n]}")


ROLE = a_chunk(role="assistant")
USAGE = an_event(choices=[], usage={"prompt_tokens": 20, "completion_tokens": 60})
END = [a_chunk("stop"), USAGE, DONE]
GOOD = [ROLE, *words(), *END]


class Script:
    """One answer: pieces, seconds to wait before the next piece, and exceptions."""

    complete = False

    def __init__(self, *pieces, status=200, headers=None):
        kind = b"text/event-stream" if status == 200 else b"application/json"
        self.status = status
        self.headers = {b"content-type": kind, **(headers or {})}
        self._pieces = list(pieces)
        self.watch = None

    async def receive(self):
        while self._pieces:
            piece = self._pieces.pop(0)
            if isinstance(piece, float):
                with self.watch.guard():
                    await trio.sleep(piece)
            elif isinstance(piece, Exception):
                raise piece
            else:
                return piece
        return b""

    def rest(self):
        return None

    def close(self):
        pass


def an_error(status, code=None, **headers):
    body = json.dumps({"error": {"message": f"status {status}", "code": code}})
    fields = {k.replace("_", "-").encode(): v for k, v in headers.items()}
    return Script(body.encode(), status=status, headers=fields)


class ScriptedUpstream:
    """Answers with what ``script(n)`` returns for its nth request, from 1."""

    def __init__(self, script):
        self._script = script
        self.asked_at = []

    async def send(self, request, timeouts, watch):
        self.asked_at.append(trio.current_time())
        watch.phase("response_headers", timeouts.response_headers)
        answer = self._script(len(self.asked_at))
        with watch.guard():
            await trio.sleep(SILENCE if answer is SILENCE else 0.01)
        if isinstance(answer, Exception):
            raise answer
        if answer is SILENCE:
            raise RESET
        answer.watch = watch
        return answer

    def close(self):
        pass


class Result:
    """The view of the caller, and what the upstreams saw."""

    def __init__(self, exchange, responder, error, seconds, bench):
        self.end_reason = exchange.end_reason
        self.usage = exchange.usage
        self.served_by = exchange.served_by
        self.error = error
        self.seconds = seconds
        self.primary = list(bench.primary.asked_at)
        self.fallback = list(bench.fallback.asked_at)
        lines = responder.received.split(b"\n")
        events = [line[6:] for line in lines if line.startswith(b"data: {")]
        self.text = ""
        for event in events:
            try:
                choices = json.loads(event).get("choices") or []
            except ValueError:
                continue
            for choice in choices:
                self.text += choice["delta"].get("content") or ""
        self.claims_success = DONE in responder.received and responder.complete

    @property
    def rescued(self):
        return self.claims_success and self.text == TEXT

    @property
    def verdict(self):
        if self.claims_success and self.text != TEXT:
            return "fail"
        return "pass" if self.rescued else "safe"


class Bench:
    """A gateway with a primary and a fallback target."""

    def __init__(self, nursery, primary, fallback=None):
        self.primary = ScriptedUpstream(primary)
        self.fallback = ScriptedUpstream(fallback or (lambda n: Script(*GOOD)))
        names = ("openai", "fallback")
        sections = [Provider(name=name, type="openai") for name in names]
        targets = tuple(
            RouteTarget(provider=name, model="gpt-4o", priority=n)
            for n, name in enumerate(names)
        )
        config = Config(
            providers=tuple(sections),
            routes=(
                Route(
                    model_alias="fast",
                    targets=targets,
                    fallback_on=("context_length",),
                ),
            ),
        )
        providers = {s.name: make_provider(s) for s in sections}
        catalogue.equip(providers, config)
        snapshot = Snapshot(
            config=config,
            routes=build_routes(config),
            providers=providers,
            upstreams=dict(zip(names, (self.primary, self.fallback), strict=True)),
            version=1,
        )
        routes = RouteTable(snapshot)
        self.route = routes.find("fast")
        self.breakers = Breakers(config.circuit_breaker)
        connector = Connector(self.breakers, routes)
        watches = Watches()
        nursery.start_soon(watches.run)
        nursery.start_soon(connector.run)
        self.dispatch = Dispatch(
            routes,
            self.breakers,
            RetryBudget(config.retries),
            lambda: config,
            watches,
            connector,
        )

    async def ask(self):
        exchange = an_exchange(a_chat_body(stream=True))
        exchange.received_at = begin = trio.current_time()
        exchange.route, exchange.targets = self.route, self.route.targets
        responder, error = FakeResponder(), None
        try:
            with exchange.scope:
                await Pipeline([self.dispatch]).run(exchange, responder)
        except GatewayError as caught:
            error = caught
        seconds = trio.current_time() - begin
        return Result(exchange, responder, error, seconds, self)


@pytest.fixture
async def bench(nursery):
    def make(primary, fallback=None):
        return Bench(nursery, primary, fallback)

    return make


def first(answer, then=None):
    """A script whose first request gets ``answer`` and all others a good stream."""
    return lambda n: answer if n == 1 else (then or Script)(*GOOD)


async def test_s01_a_429_with_retry_after(autojump_clock, bench):
    got = await bench(first(an_error(429, retry_after=b"2"))).ask()

    assert got.verdict == "pass"
    assert got.primary[1] - got.primary[0] >= 1.8
    assert len(got.primary) == 2


async def test_s02_a_429_without_end_and_without_retry_after(autojump_clock, bench):
    got = await bench(lambda n: an_error(429)).ask()

    assert got.verdict == "pass"
    assert len(got.primary) <= 4


async def test_s03_a_500_once(autojump_clock, bench):
    got = await bench(first(an_error(500))).ask()

    assert got.verdict == "pass"
    assert len(got.primary) == 2
    assert got.fallback == []


async def test_s04_a_503_without_end(autojump_clock, bench):
    got = await bench(lambda n: an_error(503)).ask()

    assert got.verdict == "pass"
    assert len(got.primary) <= 6


async def test_s05_a_reset_before_the_headers(autojump_clock, bench):
    got = await bench(first(RESET)).ask()

    assert got.verdict == "pass"


async def test_s06_no_response_at_all(autojump_clock, bench):
    got = await bench(lambda n: SILENCE).ask()

    assert got.verdict == "pass"
    assert got.seconds <= 100
    assert len(got.primary) == 1


async def test_s07_a_slow_first_token(autojump_clock, bench):
    slow = Script(ROLE, 20.0, *words(), *END)
    got = await bench(first(slow)).ask()

    assert got.verdict == "pass"
    assert got.seconds <= 15


async def test_s08_a_stream_cut_in_the_middle_is_a_clean_error(autojump_clock, bench):
    got = await bench(lambda n: Script(ROLE, *words(0, 40), RESET)).ask()

    assert got.verdict == "safe"
    assert got.error is not None
    assert got.end_reason is EndReason.INCOMPLETE


async def test_s09_a_stream_that_stalls_is_a_clean_error_in_time(autojump_clock, bench):
    stalls = Script(ROLE, *words(0, 20), 30.0, RESET)
    b = bench(first(stalls))
    got = await b.ask()

    assert got.verdict == "safe"
    assert got.seconds <= 45
    assert got.end_reason is EndReason.INCOMPLETE
    assert (await b.ask()).verdict == "pass"


async def test_s10_a_malformed_chunk_is_never_a_whole_answer(autojump_clock, bench):
    garbled = Script(ROLE, *words(0, 10), b'data: {"choi\n\n', *words(11), *END)
    b = bench(first(garbled))
    got = await b.ask()

    assert got.verdict == "safe"
    assert got.end_reason is EndReason.INCOMPLETE
    assert (await b.ask()).verdict == "pass"


async def test_s11_a_stream_without_done(autojump_clock, bench):
    got = await bench(lambda n: Script(ROLE, *words(), *END[:-1])).ask()

    assert got.verdict == "pass"
    assert got.seconds <= 8
    assert got.usage.output == 60


async def test_s12_a_prompt_that_is_too_long_for_the_primary(autojump_clock, bench):
    got = await bench(lambda n: an_error(400, "context_length_exceeded")).ask()

    assert got.verdict == "pass"
    assert len(got.primary) == 1


async def test_s13_a_content_filter_is_told_and_not_routed_around(
    autojump_clock, bench
):
    got = await bench(lambda n: an_error(400, "content_policy_violation")).ask()

    assert got.error.status == 400
    assert "status 400" in got.error.message
    assert (len(got.primary), got.fallback) == (1, [])


async def test_s14_a_cut_stream_is_not_hidden_by_what_the_fallback_refuses(
    autojump_clock, bench
):
    b = bench(
        lambda n: Script(ROLE, *words(0, 40), RESET),
        lambda n: an_error(400, "prefill_not_supported"),
    )
    got = await b.ask()

    assert got.verdict == "safe"
    assert got.fallback == []
    assert got.end_reason is EndReason.INCOMPLETE


async def test_s15_a_primary_that_is_down_for_a_minute(autojump_clock, bench):
    begin = trio.current_time()

    def flapping(n):
        down = trio.current_time() < begin + 60
        return an_error(503) if down else Script(*GOOD)

    b = bench(flapping)
    results = []
    for n in range(20):
        await trio.sleep(max(0.0, begin + 4 * n - trio.current_time()))
        results.append(await b.ask())

    assert [r.verdict for r in results] == ["pass"] * 20
    assert all(r.seconds <= 30 for r in results)
    back = [r.served_by.provider for r in results[16:]]
    assert back == ["openai"] * 4  # From four seconds after its return.
    assert len(b.primary.asked_at) <= 15 * 1.5 + 5


async def test_s16_the_answer_is_accounted_to_the_target_that_gave_it(
    autojump_clock, bench
):
    got = await bench(lambda n: an_error(503)).ask()

    assert got.verdict == "pass"
    assert got.served_by.provider == "fallback"
    assert got.usage.output == 60
    assert len(got.primary) <= 6
