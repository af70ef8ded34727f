"""Dispatch with scripted upstreams: when the next target is asked, and when not."""

import gc
import json
import math
import tracemalloc
from contextlib import suppress
from functools import partial
from itertools import pairwise

import pytest
import trio
import trio.testing

from gandalf.actors.breakers import Breakers
from gandalf.actors.connector import HEAD_START, Connector
from gandalf.actors.retry_budget import RetryBudget
from gandalf.actors.routes import RouteTable, Snapshot, build_routes
from gandalf.actors.watches import Watches
from gandalf.config import CircuitBreaker, Config, Disconnect, Provider, Retries
from gandalf.config import Timeouts as Limits
from gandalf.dialects import anthropic
from gandalf.dialects.openai.passthrough import read_call
from gandalf.domain.errors import (
    Fault,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
)
from gandalf.domain.routing import Route
from gandalf.domain.usage import Attempt, Billed, EndReason, TokenUsage
from gandalf.pipeline.attempt import Sending
from gandalf.pipeline.cost import cost_of
from gandalf.pipeline.dispatch import LARGE_BODY, Dispatch
from gandalf.pipeline.exchange import Exchange
from gandalf.pipeline.stage import Pipeline
from gandalf.pricing.table import PriceTable
from gandalf.providers.registry import make_provider
from gandalf.providers.watch import UpstreamBroken
from tests.fakes.anthropic_format import error_event, message_events
from tests.pricing.builders import a_price

from .builders import (
    FakeResponder,
    a_chat_body,
    a_target,
    an_endpoint,
    an_exchange,
    an_identity,
)

TIMEOUTS = Limits(response_headers=2.0, first_token=3.0, idle=4.0)
TARGETS = ("a/m", "b/m")
END = b""
DONE = b"data: [DONE]\n\n"
BROKEN = UpstreamBroken("reset by peer", sent=True)
SILENT = None


def an_event(**fields):
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def a_chunk(finish_reason=None, **delta):
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return an_event(choices=[choice])


ROLE = a_chunk(role="assistant")
HELLO = a_chunk(content="Hello")
FINISH = a_chunk("stop")
BAD_FINISH = an_event(choices=[{"index": 0, "delta": {}, "finish_reason": "error"}])
NOT_JSON = b'data: {"choices":[{"ind\n\n'
USAGE = an_event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 4})
ERROR = an_event(error={"message": "it broke inside"})
ANSWER = (
    b'{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":4}}'
)


class Response:
    """An upstream's response with a scripted body, which hangs where that ends."""

    complete = False

    def __init__(self, status, headers, pieces):
        self.status = status
        self.headers = headers
        self.closed = False
        self.watch = None
        self._send, self._receive = trio.open_memory_channel(math.inf)
        for piece in pieces:
            self._send.send_nowait(piece)

    async def receive(self):
        with self.watch.guard():
            piece = await self._receive.receive()
        if isinstance(piece, Exception):
            raise piece
        return piece

    def rest(self):
        return None

    def close(self):
        self.closed = True


class FakeUpstream:
    """Answers as scripted: a Response, an exception to raise, or SILENT."""

    def __init__(self, answers):
        self._answers = list(answers)
        self.asked_at = []
        self.waiting = trio.Event()

    async def send(self, request, timeouts, watch):
        await trio.lowlevel.checkpoint()
        self.asked_at.append(trio.current_time())
        watch.phase("response_headers", timeouts.response_headers)
        answer = self._answers.pop(0)
        if answer is SILENT:
            self.waiting.set()
            with watch.guard():
                await trio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        answer.watch = watch
        return answer

    def close(self):
        pass


def whole(body=ANSWER):
    return Response(200, {b"content-type": b"application/json"}, [body, END])


def stream(*pieces):
    return Response(200, {b"content-type": b"text/event-stream"}, pieces)


def good_stream():
    return stream(ROLE, HELLO, FINISH, DONE, END)


def refusal(status, message="no", **headers):
    body = json.dumps({"error": {"message": message}}).encode()
    fields = {k.replace("_", "-").encode(): v for k, v in headers.items()}
    return Response(status, fields, [body, END])


class World:
    """A dispatch stage over the providers ``a`` and ``b``, and what it was given."""

    def __init__(self, watches, a, b, **settings):
        timeouts = settings.get("timeouts", TIMEOUTS)
        disconnect = settings.get("disconnect", Disconnect())
        sections = [
            Provider(
                name=name,
                type=settings.get("type", "openai"),
                timeouts=timeouts,
                on_client_disconnect=disconnect,
            )
            for name in "ab"
        ]
        config = Config(
            providers=tuple(sections),
            retries=settings.get("retries", Retries(max_attempts=1)),
        )
        self.a, self.b = FakeUpstream(a), FakeUpstream(b)
        self.watches = watches
        self.breakers = Breakers(CircuitBreaker())
        self.permits = []
        # Compiled, they cannot be replaced: then only the rest is checked.
        with suppress(AttributeError):
            self.breakers.admit = partial(self._noted, self.breakers.admit)
            self.breakers.admit_last = partial(self._noted, self.breakers.admit_last)
        snapshot = Snapshot(
            config=config,
            routes=build_routes(config),
            providers={s.name: make_provider(s) for s in sections},
            upstreams={"a": self.a, "b": self.b},
            prices=settings.get("prices", PriceTable()),
            version=1,
        )
        routes = RouteTable(snapshot)
        self.connector = Connector(self.breakers, routes)
        self.dispatch = Dispatch(
            routes,
            self.breakers,
            RetryBudget(config.retries),
            lambda: config,
            watches,
            self.connector,
            uniform=lambda low, high: 0.0,
        )
        self.route = None
        self.exchange = None
        self.responder = FakeResponder()

    def _noted(self, admit, *asked, **how):
        permit = admit(*asked, **how)
        if permit is not None:
            self.permits.append(permit)
        return permit

    async def ask(self, *, stream=False, targets=TARGETS, **fields):
        self.responder = FakeResponder()
        self.exchange = exchange = an_exchange(a_chat_body(stream=stream, **fields))
        exchange.received_at = trio.current_time()
        exchange.targets = tuple(map(a_target, targets))
        exchange.route = self.route
        try:
            with exchange.scope:
                await Pipeline([self.dispatch]).run(exchange, self.responder)
        finally:
            # Whatever happened, nothing may be held on to.
            assert len(self.watches) == 0
            held = sum(permit._breaker is not None for permit in self.permits)
            assert held <= self.connector.connecting
        return self.responder.received

    async def fails(self, kind=UpstreamError, **asked):
        with pytest.raises(kind) as caught:
            await self.ask(**asked)
        return caught.value

    @property
    def trail(self):
        return [(a.target, a.outcome, a.decision) for a in self.exchange.attempts]


@pytest.fixture
async def world(nursery):
    """Make a World whose time limits are kept."""

    def make(a=(), b=(), **settings):
        watches = Watches()
        nursery.start_soon(watches.run)
        return World(watches, a, b, **settings)

    return make


# Before the first content: the next target.


@pytest.mark.parametrize(
    ("failing", "outcome"),
    [
        (lambda: BROKEN, "upstream_error"),
        (lambda: UpstreamBroken("refused", sent=False), "upstream_error"),
        (lambda: refusal(401), "upstream_401"),
        (lambda: refusal(403), "upstream_403"),
        (lambda: refusal(408), "upstream_408"),
        (lambda: refusal(429), "upstream_429"),
        (lambda: refusal(500), "upstream_500"),
        (lambda: refusal(529), "upstream_529"),
        (lambda: refusal(302), "upstream_302"),
        (lambda: SILENT, "upstream_timeout"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_target_that_fails_is_followed_by_the_next(
    autojump_clock, world, failing, outcome, streamed
):
    w = world([failing()], [good_stream() if streamed else whole()])

    answer = await w.ask(stream=streamed)

    assert answer == (ROLE + HELLO + FINISH + DONE if streamed else ANSWER)
    assert w.trail == [("a/m", outcome, "failover"), ("b/m", "served", "answer")]
    assert w.exchange.served_by.name == "b/m"


@pytest.mark.parametrize(
    ("failing", "outcome"),
    [
        (lambda: stream(ROLE, BROKEN), "upstream_error"),
        (lambda: stream(ROLE, END), "upstream_error"),
        (lambda: stream(ROLE, ERROR), "upstream_error"),
        (lambda: stream(ERROR), "upstream_error"),
        (lambda: stream(ROLE), "upstream_timeout"),
        (lambda: whole(b'{"choices":[]}'), "upstream_error"),
        (lambda: whole(b"<html>Log in first</html>"), "upstream_error"),
        (lambda: stream(ROLE, DONE, END), "upstream_error"),
        (lambda: stream(ROLE, BAD_FINISH, DONE, END), "upstream_error"),
        (lambda: stream(NOT_JSON, DONE, END), "upstream_error"),
    ],
)
async def test_a_stream_that_fails_before_its_first_content_leaves_no_trace(
    autojump_clock, world, failing, outcome
):
    broken = failing()
    w = world([broken], [stream(HELLO, FINISH, DONE, END)])

    assert await w.ask(stream=True) == HELLO + FINISH + DONE
    assert w.trail == [("a/m", outcome, "failover"), ("b/m", "served", "answer")]
    assert broken.closed


async def test_a_whole_answer_to_a_request_for_a_stream_is_served_as_one(
    autojump_clock, world
):
    w = world([whole()])

    events = (await w.ask(stream=True)).split(b"\n\n")

    assert json.loads(events[0].removeprefix(b"data: "))["choices"] == [
        {"index": 0, "finish_reason": "stop", "delta": {"content": "x"}}
    ]
    assert events[1:] == [b"data: [DONE]", b""]
    assert w.exchange.end_reason == "complete"
    assert w.exchange.usage == TokenUsage(input=3, output=4)


async def test_what_is_no_json_is_passed_on_and_ends_in_an_error(autojump_clock, world):
    w = world([stream(HELLO, NOT_JSON, FINISH, DONE, END)])

    await w.fails(stream=True)

    assert w.responder.received == HELLO + NOT_JSON + FINISH
    assert w.exchange.end_reason == "incomplete"
    assert w.exchange.unread == (("not_json", 1),)


@pytest.mark.parametrize(
    "last", [an_event(choices=[{"index": 0, "finish_reason": "error"}]), DONE]
)
async def test_an_end_that_is_no_good_one_is_no_end(autojump_clock, world, last):
    w = world([stream(HELLO, last, DONE, END)])

    await w.fails(stream=True)

    assert w.responder.received == HELLO
    assert w.exchange.end_reason == "incomplete"


@pytest.mark.parametrize("status", [201, 203])
async def test_another_2xx_with_an_answer_is_one(autojump_clock, world, status):
    w = world([Response(status, {}, [b"\xef\xbb\xbf" + ANSWER, END])])

    assert await w.ask() == ANSWER


@pytest.mark.parametrize(
    "label", [b"Text/Event-Stream", b"text/plain", b"application/json", None]
)
async def test_a_stream_is_one_whatever_its_content_type_says(
    autojump_clock, world, label
):
    headers = {} if label is None else {b"content-type": label}
    w = world([Response(200, headers, [HELLO, FINISH, DONE, END])])

    assert await w.ask(stream=True) == HELLO + FINISH + DONE


async def test_a_stream_of_nothing_but_blank_lines_is_given_up(autojump_clock, world):
    blank = [b"\n" * 16_384] * 10
    w = world([stream(*blank, HELLO, FINISH, DONE, END)], [good_stream()])

    assert await w.ask(stream=True) == ROLE + HELLO + FINISH + DONE
    assert w.trail[0] == ("a/m", "upstream_error", "failover")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b"{}",
        b"[1]",
        b'{"error":{"message":"busy"}}',
        b'{"detail":"busy"}',
        b'{"choices":[',
        b'{"choices":[]}',
        b'{"choices":[{"index":0,"finish_reason":"stop"}]}',
        ANSWER.replace(b'"stop"', b'"error"'),
        ANSWER.replace(b'"stop"', b'""'),
        ANSWER.replace(b'"x"', b'"\xff"'),
    ],
)
async def test_an_answer_that_is_none_is_followed_by_the_next(
    autojump_clock, world, body
):
    w = world([whole(body)], [whole()])

    assert await w.ask() == ANSWER
    assert w.trail[0] == ("a/m", "upstream_error", "failover")


@pytest.mark.parametrize(
    ("answer", "streamed", "timeouts", "phase", "after"),
    [
        (lambda: SILENT, False, TIMEOUTS, "response_headers", 2.0),
        (lambda: stream(ROLE), True, TIMEOUTS, "first_token", 3.0),
        (lambda: SILENT, False, Limits(total=1.0), "total", 1.0),
        (lambda: stream(ROLE), True, Limits(total=1.5), "total", 1.5),
    ],
)
async def test_a_time_limit_ends_an_attempt_when_it_has_passed(
    autojump_clock, world, answer, streamed, timeouts, phase, after
):
    w = world([answer()], timeouts=timeouts)

    error = await w.fails(UpstreamTimeout, stream=streamed, targets=["a/m"])

    assert (error.phase, error.status) == (phase, 504)
    assert after <= w.exchange.attempts[0].duration <= after + 0.2


async def test_a_whole_answer_that_stalls_is_followed_by_the_next(
    autojump_clock, world
):
    stalled = Response(200, {}, [b'{"choices"'])
    w = world([stalled], [whole()])

    assert await w.ask() == ANSWER
    assert "sent nothing" in w.exchange.attempts[0].reason
    assert stalled.closed


async def test_a_failed_attempt_is_not_left_to_the_garbage_collector(
    autojump_clock, world
):
    def attempts():
        return sum(isinstance(each, Sending) for each in gc.get_objects())

    w = world([refusal(500)], [whole()])
    gc.collect()
    gc.disable()
    try:
        before = attempts()
        await w.ask()
        assert attempts() == before
    finally:
        gc.enable()


# After it: never.


@pytest.mark.parametrize(
    ("kind", "events"),
    [
        ("openai", [ROLE, HELLO]),
        ("anthropic", message_events("Hello", stop_reason=None, done=False)),
    ],
)
async def test_an_open_stream_holds_nothing_of_what_was_asked(
    autojump_clock, world, kind, events
):
    w = world([stream(*events)], type=kind)
    messages = [{"role": "user", "content": "x" * 1_000_000}]
    async with trio.open_nursery() as nursery:
        tracemalloc.start()
        try:
            nursery.start_soon(partial(w.ask, stream=True, messages=messages))
            await trio.testing.wait_all_tasks_blocked()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        nursery.cancel_scope.cancel()

    assert w.responder.started
    assert held < 500_000


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ([HELLO, BROKEN], UpstreamError),
        ([HELLO, END], UpstreamError),
        ([HELLO, ERROR], UpstreamError),
        ([HELLO], UpstreamTimeout),
    ],
)
async def test_after_the_first_content_a_failure_ends_the_answer(
    autojump_clock, world, pieces, kind
):
    response = stream(ROLE, *pieces)
    w = world([response], [good_stream()])

    error = await w.fails(kind, stream=True)

    assert w.responder.received == ROLE + HELLO
    assert not w.responder.complete
    assert w.b.asked_at == []
    assert w.trail == [("a/m", error.code, "answer")]
    assert w.exchange.end_reason is EndReason.INCOMPLETE
    assert response.closed


async def test_the_total_limit_cuts_a_stream_too(autojump_clock, world):
    w = world([stream(HELLO)], timeouts=Limits(total=1.0, idle=50.0))

    error = await w.fails(UpstreamTimeout, stream=True)

    assert error.phase == "total"


# The end of a stream.


async def test_all_finish_reasons_and_the_end_complete_a_stream(autojump_clock, world):
    w = world([stream(HELLO, FINISH, END)])

    assert await w.ask(stream=True) == HELLO + FINISH + DONE
    assert w.exchange.end_reason is EndReason.COMPLETE
    assert w.exchange.finish_reason == "stop"


async def test_all_finish_reasons_and_some_silence_complete_a_stream(
    autojump_clock, world
):
    w = world([stream(HELLO, FINISH)], timeouts=Limits(idle=100.0))

    assert await w.ask(stream=True) == HELLO + FINISH + DONE
    assert 5.0 <= w.exchange.attempts[0].duration <= 5.2


async def test_one_finish_reason_of_two_does_not_complete_a_stream(
    autojump_clock, world
):
    w = world([stream(HELLO, FINISH, END)])

    await w.fails(stream=True, n=2)

    assert w.exchange.end_reason is EndReason.INCOMPLETE


# What the request is at fault for.


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_refusal_is_the_clients_and_no_other_target_is_asked(
    autojump_clock, world, status
):
    w = world([refusal(status, "bad field")], [whole()])

    error = await w.fails(UpstreamRefused)

    assert (error.status, error.message) == (
        status,
        "provider 'a': bad field",
    )
    assert error.body == b'{"error": {"message": "bad field"}}'
    assert w.b.asked_at == []
    assert w.trail == [("a/m", f"upstream_{status}", "give_up")]


async def test_refused_credentials_take_out_all_targets_of_the_provider(
    autojump_clock, world
):
    w = world([whole(), refusal(401)], [whole(), whole()])
    await w.ask(targets=["a/other"])

    await w.ask()
    assert await w.ask(targets=["a/other", "b/m"]) == ANSWER

    assert w.trail[0] == ("a/other", "credentials_refused", "skipped")
    assert w.exchange.attempts[0].reason == "provider 'a': no"
    assert len(w.a.asked_at) == 2


async def test_a_single_refusal_of_the_credentials_shuts_nothing(autojump_clock, world):
    w = world([refusal(401), whole()])

    await w.fails(targets=["a/m"])

    assert await w.ask(targets=["a/other"]) == ANSWER


# Asking again.


async def test_a_retry_waits_as_long_as_the_upstream_asks(autojump_clock, world):
    w = world([refusal(429, retry_after=b"3"), whole()], retries=Retries())

    assert await w.ask(targets=["a/m"]) == ANSWER

    first, second = w.a.asked_at
    assert 3.0 <= second - first <= 3.1
    assert [a.decision for a in w.exchange.attempts] == ["retry", "answer"]


async def test_when_everything_waits_on_rate_limits_the_client_gets_429_and_the_wait(
    autojump_clock, world
):
    limited = [refusal(429, retry_after=b"20") for _ in range(2)]
    w = world(limited, retries=Retries())
    for _ in range(2):
        assert (await w.fails(UpstreamRateLimited, targets=["a/m"])).retry_after == 20.0

    error = await w.fails(UpstreamRateLimited, targets=["a/m"])

    assert error.status == 429
    assert error.retry_after == pytest.approx(20.0)
    assert "'a'" in error.message
    assert len(w.a.asked_at) == 2
    assert w.trail == [("a/m", "rate_limited", "skipped")]


async def test_an_upstream_that_asks_for_hours_is_asked_again_by_a_trickle(
    autojump_clock, world
):
    limited = [refusal(429, retry_after=b"3600") for _ in range(2)]
    w = world([*limited, whole(), whole()], retries=Retries())
    for _ in range(2):
        await w.fails(UpstreamRateLimited, targets=["a/m"])
    await trio.sleep(1)

    assert await w.ask(targets=["a/m"]) == ANSWER
    assert await w.ask(targets=["a/m"]) == ANSWER


async def test_a_single_429_makes_others_preferred_and_shuts_nothing(
    autojump_clock, world
):
    w = world([refusal(429, retry_after=b"3600"), whole()], [whole(), whole()])
    await w.ask()

    await w.ask()
    assert w.trail[0] == ("a/m", "rate_limited", "skipped")
    assert await w.ask(targets=["a/m"]) == ANSWER


async def test_retry_after_of_a_500_is_a_hint_for_this_request_only(
    autojump_clock, world
):
    w = world([refusal(500, retry_after=b"3"), whole(), whole()], retries=Retries())
    await w.ask(targets=["a/m"])
    first, second = w.a.asked_at
    assert 3.0 <= second - first <= 3.1

    await w.ask()

    assert w.trail == [("a/m", "served", "answer")]


async def test_two_429s_of_one_request_do_not_keep_the_next_one_away(
    autojump_clock, world
):
    limited = [refusal(429, retry_after=b"1") for _ in range(2)]
    w = world([*limited, whole(), whole()], retries=Retries())

    assert await w.ask(targets=["a/m"]) == ANSWER

    assert [b - a for a, b in pairwise(w.a.asked_at)] == pytest.approx([1, 1], abs=0.05)
    assert await w.ask(targets=["a/m"]) == ANSWER


async def test_a_silent_target_is_not_asked_again(autojump_clock, world):
    w = world([SILENT], retries=Retries(max_attempts=5))

    await w.fails(UpstreamTimeout, targets=["a/m"])

    assert len(w.a.asked_at) == 1


async def test_no_more_is_sent_than_max_attempts(autojump_clock, world):
    w = world([refusal(500)] * 2, [refusal(500)] * 2, retries=Retries(max_attempts=3))

    await w.fails()

    assert len(w.a.asked_at) + len(w.b.asked_at) == 3
    assert w.exchange.attempts[-1].decision == "give_up"


async def test_the_worst_failure_is_what_the_client_is_told(autojump_clock, world):
    w = world([refusal(500)], [refusal(429)])

    assert (await w.fails()).status == 502


# Breakers.


def open_breaker(w, target):
    for _ in range(5):
        w.breakers.admit(target).failure(Fault.TARGET, "it broke")


async def test_a_target_with_an_open_breaker_is_passed_over(autojump_clock, world):
    w = world([], [whole()])
    open_breaker(w, "a/m")

    assert await w.ask() == ANSWER
    assert w.trail == [
        ("a/m", "breaker_open", "skipped"),
        ("b/m", "served", "answer"),
    ]


async def test_a_request_that_no_other_target_can_serve_is_sent_to_the_open_one(
    autojump_clock, world
):
    w = world([refusal(500) for _ in range(5)] + [whole()])
    for _ in range(5):
        await w.fails(targets=["a/m"])

    assert await w.ask(targets=["a/m"]) == ANSWER
    assert w.trail == [("a/m", "breaker_open", "skipped"), ("a/m", "served", "answer")]


async def test_of_open_targets_the_least_bad_is_tried_first(autojump_clock, world):
    w = world([], [whole()])
    for _ in range(10):
        w.breakers.admit("b/m").success()
        w.breakers.admit("b/m").failure(Fault.TARGET, "it broke")
    open_breaker(w, "a/m")

    assert await w.ask() == ANSWER
    assert w.trail[-1] == ("b/m", "served", "answer")
    assert w.a.asked_at == []


async def test_a_dead_target_is_no_last_resort_where_another_may_recover(
    autojump_clock, world
):
    w = world([], [refusal(500), whole()], retries=Retries())
    open_breaker(w, "a/m")

    assert await w.ask() == ANSWER
    assert w.a.asked_at == []


async def test_failures_to_connect_count_whatever_the_key(autojump_clock, world):
    w = world([UpstreamBroken("refused", sent=False) for _ in range(5)])
    w.breakers.admit("a/m", "another key").success()

    for _ in range(5):
        await w.fails(targets=["a/m"])

    assert w.breakers.statistics()[0].state == "open"


async def test_a_large_request_that_is_slow_says_nothing_of_its_target(
    autojump_clock, world
):
    w = world([SILENT] * 6)

    for _ in range(6):
        await w.fails(UpstreamTimeout, targets=["a/m"], user="x" * LARGE_BODY)

    assert w.breakers.statistics()[0].failures == 0


@pytest.mark.parametrize(
    ("fallback_on", "message", "answered"),
    [
        (("context_length",), "This prompt is too long: 300000 tokens", True),
        (("content_policy",), "This prompt is too long: 300000 tokens", False),
        (
            ("content_policy",),
            "Your request was rejected by our safety system",
            True,
        ),
        ((), "This prompt is too long: 300000 tokens", False),
    ],
)
async def test_a_refusal_goes_to_the_next_target_if_the_route_says_so(
    autojump_clock, world, fallback_on, message, answered
):
    w = world([refusal(400, message)], [whole()])
    w.route = Route(alias="fast", targets=(), fallback_on=fallback_on)

    if answered:
        assert await w.ask() == ANSWER
        assert w.trail[0] == ("a/m", "upstream_400", "failover")
    else:
        await w.fails(UpstreamRefused)
    assert w.breakers.statistics()[0].failures == 0


# Connecting.


class ConnectingUpstream(FakeUpstream):
    """Takes ``connecting`` seconds to connect, and keeps what it has connected."""

    def __init__(self, connecting, answers):
        super().__init__(answers)
        self.connecting = connecting
        self.idle = 0

    async def connect(self, limit):
        with trio.move_on_after(limit):
            await trio.sleep(self.connecting)
            self.idle += 1
            return
        raise UpstreamBroken("connect took too long", sent=False)

    async def send(self, request, timeouts, watch):
        if self.idle:
            self.idle -= 1
        else:
            watch.phase("connect", timeouts.connect)
            with watch.guard():
                await trio.sleep(self.connecting)
        return await super().send(request, timeouts, watch)


@pytest.fixture
async def racing(nursery):
    """Make a World whose upstreams take so long to connect, and run its connector."""

    def make(a_connects, b_connects, a=(), b=()):
        watches = Watches()
        w = World(watches, (), ())
        w.a, w.b = ConnectingUpstream(a_connects, a), ConnectingUpstream(b_connects, b)
        w.dispatch._routes.current.upstreams.update(a=w.a, b=w.b)
        nursery.start_soon(watches.run)
        nursery.start_soon(w.connector.run)
        return w

    return make


async def test_a_dead_first_target_costs_its_head_start_and_no_more(
    autojump_clock, racing
):
    w = racing(math.inf, 0.05, b=[whole()])
    begin = trio.current_time()

    assert await w.ask() == ANSWER

    assert trio.current_time() - begin <= HEAD_START + 0.1 + 0.05
    assert w.trail == [
        ("a/m", "upstream_timeout", "failover"),
        ("b/m", "served", "answer"),
    ]
    assert w.exchange.attempts[0].reason == "another target had connected first"


async def test_the_loser_of_the_race_is_judged_by_whether_it_connects_at_all(
    autojump_clock, racing
):
    w = racing(math.inf, 0.05, b=[whole() for _ in range(5)])
    for _ in range(5):
        await w.ask()
        w.b.idle = 0
    await trio.sleep(5)

    (a, b) = w.breakers.statistics()

    assert (a.failures, a.state) == (5, "open")
    assert b.failures == 0


async def test_a_target_that_is_slow_to_connect_is_none_the_worse_for_it(
    autojump_clock, racing
):
    w = racing(0.6, 0.05, a=[whole()], b=[whole()])
    await w.ask()
    await trio.sleep(1)

    assert w.breakers.statistics()[0].failures == 0
    assert await w.ask() == ANSWER  # Over the connection that it has by now.
    assert w.trail == [("a/m", "served", "answer")]


async def test_the_first_target_wins_if_it_connects_first(autojump_clock, racing):
    w = racing(0.5, 1.0, a=[whole()])

    assert await w.ask() == ANSWER
    assert w.trail == [("a/m", "served", "answer")]


async def test_a_target_that_cannot_be_connected_to_is_tried_in_the_background(
    autojump_clock, racing
):
    w = racing(math.inf, 0.0, a=[whole()], b=[whole() for _ in range(20)])
    for _ in range(5):
        w.breakers.admit("a/m").failure(Fault.TARGET, "no connection", sent=False)
    for _ in range(20):
        await w.ask()
        await trio.sleep(1)
        assert w.trail[0] == ("a/m", "breaker_open", "skipped")
    w.a.connecting = 0.0
    await trio.sleep(4)

    assert await w.ask() == ANSWER

    assert w.trail == [("a/m", "served", "answer")]
    assert w.breakers.statistics()[0].state == "closed"


async def test_a_request_sent_again_on_a_new_connection_is_two_attempts(
    autojump_clock, world
):
    w = world()

    async def send(request, timeouts, watch):
        await trio.sleep(0.1)
        watch.resent_at = trio.current_time()
        await trio.sleep(0.2)
        answer = whole()
        answer.watch = watch
        return answer

    w.a.send = send

    await w.ask(targets=["a/m"])

    assert w.trail == [
        ("a/m", "stale_connection", "retry"),
        ("a/m", "served", "answer"),
    ]
    first, second = w.exchange.attempts
    assert (first.duration, second.duration) == pytest.approx((0.1, 0.2), abs=0.01)
    assert second.started == pytest.approx(0.1, abs=0.01)


# A client that leaves.


async def leaving(w, nursery, *, when, stream=True):
    """Ask, and hang up once ``when`` says so."""
    over = trio.Event()

    async def ask():
        await w.ask(stream=stream)
        over.set()

    nursery.start_soon(ask)
    while w.exchange is None or not when():  # noqa: ASYNC110 - any condition
        await trio.sleep(0.01)
    w.exchange.hang_up()
    await over.wait()


async def test_a_client_may_leave_before_the_headers(autojump_clock, world, nursery):
    w = world([SILENT], [whole()])

    await leaving(w, nursery, when=w.a.waiting.is_set)

    assert w.exchange.end_reason is EndReason.CLIENT_DISCONNECT
    assert w.trail == [("a/m", "client_disconnect", "")]
    assert w.b.asked_at == []
    assert w.exchange.upstream_worked


@pytest.mark.parametrize(
    ("pieces", "ready"),
    [
        ([ROLE], lambda w, r: w.exchange.attempts and w.exchange.attempts[0].status),
        ([ROLE, HELLO], lambda w, r: w.responder.received),
    ],
)
async def test_a_client_that_leaves_a_stream_stops_its_upstream(
    autojump_clock, world, nursery, pieces, ready
):
    response = stream(*pieces)
    w = world([response], [good_stream()])

    await leaving(w, nursery, when=lambda: ready(w, response))

    assert response.closed
    assert w.exchange.end_reason is EndReason.CLIENT_DISCONNECT
    assert w.exchange.attempts[0].outcome == "client_disconnect"
    assert w.b.asked_at == []
    assert not w.responder.complete


async def test_a_drained_upstream_is_read_on_to_its_usage(
    autojump_clock, world, nursery
):
    response = stream(HELLO)
    w = world([response], disconnect=Disconnect(policy="drain"))

    def when():
        return w.responder.received

    async def upstream_goes_on():
        while not w.exchange or not w.exchange.client_left:  # noqa: ASYNC110 - ditto
            await trio.sleep(0.01)
        for piece in (FINISH, USAGE, DONE, END):
            await trio.sleep(0.5)
            response._send.send_nowait(piece)

    nursery.start_soon(upstream_goes_on)
    await leaving(w, nursery, when=when)

    assert w.exchange.end_reason is EndReason.CLIENT_DISCONNECT
    assert w.exchange.usage.total_tokens == 7


async def test_a_drain_does_not_last_longer_than_it_may(autojump_clock, world, nursery):
    response = stream(HELLO)
    w = world([response], disconnect=Disconnect(policy="drain", max_seconds=1.0))

    await leaving(w, nursery, when=lambda: w.responder.received)

    assert response.closed
    assert 1.0 <= w.exchange.attempts[0].duration <= 1.2


async def test_waiting_for_a_target_that_failed_is_no_overhead_of_ours(
    world, autojump_clock
):
    asked = world([SILENT], [whole()])

    await asked.ask()

    waited = asked.exchange.attempts[0].duration
    assert waited >= TIMEOUTS.response_headers
    assert asked.exchange.upstream_time >= waited


async def test_the_body_of_a_whole_answer_has_the_idle_limit_from_its_start(
    world, autojump_clock
):
    slow = Response(200, {b"content-type": b"application/json"}, [])
    asked = world([slow], [whole()])

    await asked.ask()

    first = asked.exchange.attempts[0]
    assert "sent nothing" in first.reason
    assert first.duration >= TIMEOUTS.idle


# Money.


def prices():
    return PriceTable(
        {
            "a/m": a_price("a/m", input=1_000, output=2_000),
            "b/m": a_price("b/m", input=10_000, output=20_000),
        }
    )


def cost(exchange):
    return cost_of(exchange, exchange.spent, 0.0)[0]


async def test_the_target_that_served_says_what_the_answer_costs(world):
    made = world([whole()], [], prices=prices())

    await made.ask()

    assert cost(made.exchange) == 3 * 1 + 4 * 2


async def test_a_failover_after_a_billed_failure_costs_both(world):
    failed = b'{"error":{"message":"no"},"usage":{"prompt_tokens":5}}'
    made = world([whole(failed)], [whole()], prices=prices())

    await made.ask()

    first, second = made.exchange.attempts
    assert first.billed.tokens.input == 5
    assert first.billed.cost_nanousd == 5
    assert second.billed is None
    assert made.exchange.usage == TokenUsage(input=3, output=4)
    assert cost(made.exchange) == 5 + 3 * 10 + 4 * 20


async def test_a_stream_that_fails_before_its_content_is_charged_for_its_prompt(
    world,
):
    begun = message_events(usage={"input_tokens": 7, "output_tokens": 1})[0]
    broken = stream(begun, error_event("overloaded"), END)
    made = world([broken], [], type="anthropic", prices=prices())

    await made.fails(stream=True, targets=["a/m"])

    assert made.exchange.attempts[0].billed.tokens.input == 7
    assert (made.exchange.usage, cost(made.exchange)) == (None, 7)


async def test_a_failure_that_reported_no_usage_costs_nothing(world):
    made = world([refusal(500)], [whole()], prices=prices())

    await made.ask()

    assert made.exchange.attempts[0].billed is None
    assert cost(made.exchange) == 3 * 10 + 4 * 20


def test_an_unknown_part_makes_the_whole_cost_unknown():
    exchange = an_exchange()
    exchange.price, exchange.usage = a_price("b/m", input=1), TokenUsage(input=1)
    exchange.attempts = [
        Attempt(target="a/m", billed=Billed(TokenUsage(input=3))),
        Attempt(target="b/m"),
    ]

    assert cost(exchange) is None


async def test_a_streamed_answer_costs_what_the_same_one_costs_whole(world):
    streamed = stream(ROLE, HELLO, FINISH, USAGE, DONE, END)
    made = world([whole(), streamed], [], prices=prices())

    await made.ask()
    whole_cost = cost(made.exchange)
    await made.ask(stream=True)

    assert cost(made.exchange) == whole_cost > 0


async def test_a_batch_is_charged_at_the_price_of_the_model_that_it_names(world):
    batch = {
        "id": "batch_1",
        "object": "batch",
        "status": "completed",
        "model": "gpt-2026-01-01",
        "usage": {"input_tokens": 10, "output_tokens": 1},
    }
    price = a_price("a/gpt", input=3_000, output=5_000)
    table = PriceTable(
        resolve=lambda target: price if target.model == "gpt-2026-01-01" else None
    )
    made = world([whole(json.dumps(batch).encode())], [], prices=table)
    exchange = an_exchange()
    exchange.endpoint = an_endpoint("batches", path=b"/batches/batch_1", method=b"GET")
    exchange.call = read_call("batches", b"", b"/batches/batch_1", b"GET")
    exchange.targets = (a_target("a/"),)

    await Pipeline([made.dispatch]).run(exchange, FakeResponder())

    assert cost(exchange) == 35


# Counts of tokens.


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_an_upstream_without_counts_has_the_tokens_guessed(
    autojump_clock, world, status
):
    made = world([refusal(status)], [], type="anthropic")
    exchange = Exchange(
        endpoint=an_endpoint("count_tokens", dialect=anthropic),
        headers={},
        body=a_chat_body(),
        request_id="r",
        received_at=0.0,
    )
    exchange.identity = an_identity()
    exchange.call = anthropic.read_call("count_tokens", exchange.body)
    exchange.targets = (a_target("a/m"),)

    reply = await made.dispatch.enter(exchange)

    assert json.loads(reply.body)["input_tokens"] > 0
    assert exchange.approximated == ("tokens",)
