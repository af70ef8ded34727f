import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from gandalf.actors.response_cache import ResponseCache
from gandalf.config import Cache, Config
from gandalf.dialects import anthropic, openai
from gandalf.domain.errors import GatewayError, UpstreamError
from gandalf.domain.routing import Route
from gandalf.domain.usage import EndReason, TokenUsage
from gandalf.pipeline.cache_lookup import CacheLookup, cache_key, canonical, repeatable
from gandalf.pipeline.exchange import Reply
from gandalf.pipeline.stage import Pipeline

from .builders import (
    FakeResponder,
    a_chat_body,
    a_config,
    a_route_table,
    a_snapshot,
    a_target,
    an_exchange,
    an_identity,
    enter,
    header,
)

ANSWER = b'{"choices":[{"finish_reason":"stop"}]}'
PIECES = (b'data: {"a":1}\n\n', b'data: {"b":2}\n\n')
ENDING = b"data: [DONE]\n\n"
EMBEDDINGS = b'{"model":"fast","input":"hi"}'


class Dispatch:
    """Answers as the real one does, when and how the test says."""

    def __init__(self, routes):
        self.routes = routes
        self.calls = 0
        self.takes = 0.0
        self.finish_reason = "stop"
        self.error = None
        self.cut_after = None
        self.answer = ANSWER

    async def enter(self, exchange):
        self.calls += 1
        exchange.route = self.routes.find(exchange.call.model)
        await trio.sleep(self.takes)
        if self.error is not None:
            raise self.error
        exchange.served_by = a_target("openai/gpt-4o")
        exchange.usage = TokenUsage(input=3, output=2)
        exchange.finish_reason = self.finish_reason
        if exchange.call.stream:
            return Reply(200, b"text/event-stream", self.Stream(self, exchange))
        if exchange.capture is not None:
            exchange.capture.add(self.answer)
        return Reply(200, b"application/json", self.answer)

    def settle(self, exchange):
        pass

    class Stream:
        ending = ENDING

        def __init__(self, dispatch, exchange):
            self.left = list(PIECES)
            self.dispatch = dispatch
            self.exchange = exchange

        async def receive(self):
            await trio.sleep(self.dispatch.takes)
            capture = self.exchange.capture
            if self.dispatch.cut_after == len(PIECES) - len(self.left):
                raise UpstreamError("openai", "it broke off")
            if not self.left:
                if capture is not None:
                    capture.ending = ENDING
                return b""
            if capture is not None:
                capture.add(self.left[0])
            return self.left.pop(0)


class Gateway:
    """The stage between a route table and a dispatch."""

    def __init__(self, **cache):
        self.routes = a_route_table(a_config(("fast", "openai/gpt-4o")))
        self.routes.swap(a_snapshot(self.config_with(**cache)))
        self.cache = ResponseCache(self.routes.config().cache)
        self.dispatch = Dispatch(self.routes)
        self.pipeline = Pipeline([CacheLookup(self.cache, self.routes), self.dispatch])

    def config_with(self, *routes, **cache) -> Config:
        return a_config(*(routes or [("fast", "openai/gpt-4o")]), cache=Cache(**cache))

    async def ask(self, body=None, **about):
        """Send one request; return its exchange and what the client got."""
        exchange = an_exchange(body, **about)
        return exchange, await self.answer(exchange)

    async def answer(self, exchange):
        responder = FakeResponder()
        with exchange.scope:
            await self.pipeline.run(exchange, responder)
        return responder


def cached(exchange):
    return header(exchange, b"x-gandalf-cache")


SAME = {"temperature": 0}


# What is answered from the cache.


async def test_the_second_identical_request_is_a_hit_byte_for_byte():
    gateway = Gateway()
    first, made = await gateway.ask(a_chat_body(**SAME))
    second, replayed = await gateway.ask(a_chat_body(**SAME))

    assert gateway.dispatch.calls == 1
    assert made.received == replayed.received == ANSWER
    assert (cached(first), cached(second)) == ("miss", "hit")
    assert (first.cache, second.cache) == ("miss", "hit")


async def test_a_hit_spends_nothing_and_says_who_made_it():
    gateway = Gateway()
    await gateway.ask(a_chat_body(**SAME))

    hit, _ = await gateway.ask(a_chat_body(**SAME))

    assert (hit.usage, hit.tokens_spent, hit.attempts) == (None, 0, [])
    assert header(hit, b"x-gandalf-target") == "openai/gpt-4o"


async def test_a_stream_is_replayed_whole_with_its_ending():
    gateway = Gateway()
    body = a_chat_body(stream=True, **SAME)
    _, made = await gateway.ask(body)

    hit, replayed = await gateway.ask(body)

    assert hit.cache == "hit"
    assert replayed.received == made.received == b"".join(PIECES) + ENDING
    assert replayed.complete


async def test_a_stream_and_a_whole_answer_are_not_taken_for_each_other():
    gateway = Gateway()
    await gateway.ask(a_chat_body(stream=True, **SAME))

    whole, got = await gateway.ask(a_chat_body(**SAME))

    assert whole.cache == "miss"
    assert got.received == ANSWER


@pytest.mark.parametrize(
    ("fields", "repeats"),
    [
        ({"temperature": 0}, True),
        ({"temperature": 0.0, "n": 1}, True),
        ({"seed": 7}, True),
        ({"seed": 0, "temperature": 1}, True),
        ({}, False),
        ({"temperature": 0.3}, False),
        ({"temperature": None, "seed": None}, False),
        ({"temperature": 0, "n": 2}, False),
    ],
)
def test_a_chat_repeats_itself_at_temperature_0_or_with_a_seed(fields, repeats):
    assert repeatable(an_exchange(a_chat_body(**fields)).call) is repeats


def test_embeddings_repeat_themselves():
    assert repeatable(an_exchange(EMBEDDINGS, operation="embeddings").call)


async def test_embeddings_are_kept_without_a_finish_reason():
    gateway = Gateway()
    gateway.dispatch.finish_reason = None
    for expected in ("miss", "hit"):
        exchange, _ = await gateway.ask(EMBEDDINGS, operation="embeddings")
        assert exchange.cache == expected


@pytest.mark.parametrize(
    ("body", "cache"),
    [
        (a_chat_body(temperature=1), {}),
        (a_chat_body(temperature=0, web_search_options={}), {}),
        (a_chat_body(temperature=0, model="unknown"), {}),
        (a_chat_body(temperature=0), {"enabled": False}),
    ],
    ids=["not repeatable", "live", "no such model", "disabled"],
)
async def test_other_requests_pass_by(body, cache):
    gateway = Gateway(**cache)

    for _ in range(2):
        exchange, _ = await gateway.ask(body)
        assert cached(exchange) == exchange.cache == "bypass"

    assert gateway.dispatch.calls == 2
    assert gateway.cache.stats().bypasses == 2
    assert gateway.cache.stats().entries == 0


# What the client says about it.


async def test_no_store_is_neither_answered_from_the_cache_nor_kept():
    gateway = Gateway()
    headers = {b"cache-control": b"private, No-Store"}
    exchange, _ = await gateway.ask(a_chat_body(**SAME), headers=headers)
    assert exchange.cache == "bypass"
    assert gateway.cache.stats().entries == 0


@pytest.mark.parametrize("wish", [b"no-cache", b"max-age=0"])
async def test_no_cache_gets_a_new_answer_that_replaces_the_old_one(wish):
    gateway = Gateway()
    body = a_chat_body(**SAME)
    await gateway.ask(body)
    gateway.dispatch.answer = b'{"new":true}'

    fresh, got = await gateway.ask(body, headers={b"cache-control": wish})

    assert fresh.cache == "bypass"
    assert got.received == b'{"new":true}'
    hit, got = await gateway.ask(body)
    assert hit.cache == "hit"
    assert got.received == b'{"new":true}'


# What is kept.


@pytest.mark.parametrize("reason", ["length", "content_filter", None, "error"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_not_brought_to_its_end_is_not_kept(reason, stream):
    gateway = Gateway()
    gateway.dispatch.finish_reason = reason

    await gateway.ask(a_chat_body(stream=stream, **SAME))

    assert gateway.cache.stats().entries == 0
    assert gateway.cache.captured_bytes == 0


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "end_turn"])
async def test_an_answer_that_ended_by_itself_is_kept(reason):
    gateway = Gateway()
    gateway.dispatch.finish_reason = reason
    await gateway.ask(a_chat_body(**SAME))
    assert gateway.cache.stats().entries == 1


@pytest.mark.parametrize(
    "error", [UpstreamError("openai", "down"), GatewayError(), ValueError("a bug")]
)
async def test_an_error_is_not_kept(error):
    gateway = Gateway()
    gateway.dispatch.error = error

    with pytest.raises(type(error)):
        await gateway.ask(a_chat_body(**SAME))

    gateway.dispatch.error = None
    exchange, _ = await gateway.ask(a_chat_body(**SAME))
    assert exchange.cache == "miss"


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_stream_that_broke_off_is_not_kept(after):
    gateway = Gateway()
    gateway.dispatch.cut_after = after

    with pytest.raises(UpstreamError):
        await gateway.ask(a_chat_body(stream=True, **SAME))

    assert gateway.cache.stats().entries == 0
    assert gateway.cache.captured_bytes == 0


async def test_a_stream_whose_client_left_is_not_kept(nursery, autojump_clock):
    gateway = Gateway()
    gateway.dispatch.takes = 1.0
    exchange = an_exchange(a_chat_body(stream=True, **SAME))
    nursery.start_soon(gateway.answer, exchange)
    await trio.sleep(2.5)

    exchange.hang_up()
    await wait_all_tasks_blocked()

    assert exchange.end_reason is EndReason.CLIENT_DISCONNECT
    assert gateway.cache.stats().entries == 0
    assert gateway.cache.captured_bytes == 0


async def test_a_stream_without_its_ending_is_not_kept():
    gateway = Gateway()
    exchange = an_exchange(a_chat_body(stream=True, **SAME))
    stage = CacheLookup(gateway.cache, gateway.routes)
    await enter(stage, exchange)
    exchange.capture.add(b"data: {}\n\n")
    exchange.status = 200
    exchange.finish_reason = "stop"
    exchange.end_reason = EndReason.COMPLETE

    stage.settle(exchange)

    assert gateway.cache.stats().entries == 0


async def test_an_answer_larger_than_an_entry_may_be_is_not_kept():
    gateway = Gateway(max_entry_bytes=20)
    _, got = await gateway.ask(a_chat_body(**SAME))
    assert got.received == ANSWER
    assert gateway.cache.stats().entries == 0


@pytest.mark.parametrize(("cache_ttl", "kept_for"), [(3600, 3600), (0, 300)])
async def test_an_answer_is_kept_for_its_routes_time(
    autojump_clock, cache_ttl, kept_for
):
    gateway = Gateway()
    config = gateway.routes.config()
    route = msgspec.structs.replace(config.routes[0], cache_ttl_s=cache_ttl)
    gateway.routes.swap(a_snapshot(msgspec.structs.replace(config, routes=(route,))))
    await gateway.ask(a_chat_body(**SAME))

    await trio.sleep(kept_for - 1)
    assert (await gateway.ask(a_chat_body(**SAME)))[0].cache == "hit"
    await trio.sleep(2)

    assert (await gateway.ask(a_chat_body(**SAME)))[0].cache == "miss"


# Whose answer it is.


async def test_organisations_do_not_share_answers():
    gateway = Gateway()
    body = a_chat_body(**SAME)
    await gateway.ask(body, identity=an_identity("k1", org_id="one"))

    same, _ = await gateway.ask(body, identity=an_identity("k2", org_id="one"))
    other, _ = await gateway.ask(body, identity=an_identity("k3", org_id="two"))

    assert (same.cache, other.cache) == ("hit", "miss")


async def test_a_changed_route_does_not_replay_the_former_ones_answers():
    gateway = Gateway()
    await gateway.ask(a_chat_body(**SAME))
    gateway.routes.swap(a_snapshot(gateway.config_with(("fast", "openai/gpt-5"))))
    exchange, _ = await gateway.ask(a_chat_body(**SAME))
    assert exchange.cache == "miss"


def key_of(body, operation="chat", headers=None, dialect=openai):
    exchange = an_exchange(body, operation=operation, headers=headers)
    exchange.dialect = dialect
    route = Route(alias="fast", targets=(a_target(),), version="1")
    return cache_key(exchange, exchange.call, an_identity(), route)


@pytest.mark.parametrize("name", [b"anthropic-beta", b"x-gandalf-strict"])
def test_a_header_field_that_shapes_the_answer_makes_another_key(name):
    body = a_chat_body(**SAME)

    assert key_of(body) == key_of(body, headers={b"user-agent": b"true"})
    assert key_of(body) != key_of(body, headers={name: b"true"})


@pytest.mark.parametrize(
    "field",
    [
        {"user": "u"},
        {"safety_identifier": "u"},
        {"metadata": {"trace": "1"}},
        {"prompt_cache_key": "p"},
        {"prompt_cache_retention": "24h"},
    ],
)
def test_who_asks_and_why_makes_no_difference(field):
    assert key_of(a_chat_body(**field)) == key_of(a_chat_body())


@pytest.mark.parametrize(
    "field",
    [
        {"temperature": 0.1},
        {"max_tokens": 5},
        {"stream": True},
        {"stream_options": {"include_usage": True}},
        {"store": True},
        {"service_tier": "flex"},
        {"reasoning_effort": "low"},
        {"messages": [{"role": "user", "content": "hi "}]},
        {"messages": [{"role": "user", "content": "hi", "metadata": "x"}]},
        {"a_field_of_next_year": None},
    ],
)
def test_everything_else_does(field):
    assert key_of(a_chat_body(**field)) != key_of(a_chat_body())


def test_dialects_do_not_share_answers():
    call = a_chat_body(max_tokens=9)

    assert key_of(call, dialect=anthropic) != key_of(call)


def test_order_and_spaces_make_no_difference():
    compact = b'{"model":"m","messages":[{"role":"user","content":"a b"}],"seed":1}'
    spaced = (
        b'{ "seed": 1,\n"messages": [{"content": "a b", "role": "user"}], "model":"m"}'
    )
    assert canonical(compact) == canonical(spaced)


@pytest.mark.parametrize(
    "doubtful",
    [
        b'{"messages":[{"content":"evil","content":"good"}]}',
        b'{"messages":[{"content":"g\\u006fod"}]}',
        b'{"seed":1e2}',
        b'{"x":{"y":1.10}}',
        b'{"x":1,"x":1}',
    ],
)
def test_what_parsers_may_read_differently_is_taken_as_it_was_sent(doubtful):
    assert canonical(doubtful) == doubtful
    plain = msgspec.json.encode(msgspec.json.decode(doubtful))
    assert canonical(plain) != doubtful


@pytest.mark.parametrize("body", [b"[" * 5000 + b"]" * 5000, b'{"a":"\xff"}', b"1E999"])
def test_what_cannot_be_read_is_taken_as_it_was_sent(body):
    assert canonical(body) == body


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(max_size=3), json_values, max_size=4),
    st.dictionaries(st.text(max_size=3), json_values, max_size=4),
)
def test_bodies_that_mean_something_different_differ(one, two):
    same = canonical(msgspec.json.encode(one)) == canonical(msgspec.json.encode(two))
    if same:
        assert one == two


# One call for many.


async def test_identical_requests_in_flight_are_sent_once(nursery, autojump_clock):
    gateway = Gateway()
    gateway.dispatch.takes = 2.0
    exchanges = [an_exchange(a_chat_body(**SAME)) for _ in range(10)]
    got = []

    async def ask(exchange):
        got.append(await gateway.answer(exchange))

    for exchange in exchanges:
        nursery.start_soon(ask, exchange)
        await wait_all_tasks_blocked()
    await trio.sleep(2.5)

    assert gateway.dispatch.calls == 1
    assert [responder.received for responder in got] == [ANSWER] * 10
    assert [e.cache for e in exchanges] == ["miss"] + ["hit"] * 9
    # Their wait was for an upstream, and is no overhead of the gateway.
    assert exchanges[-1].upstream_time == pytest.approx(2.0)


async def test_answers_that_may_not_be_shared_are_not_waited_for_in_turn(
    nursery, autojump_clock
):
    gateway = Gateway()
    gateway.dispatch.takes = 2.0
    gateway.dispatch.finish_reason = "length"
    done_at = []

    async def ask():
        await gateway.ask(a_chat_body(**SAME))
        done_at.append(trio.current_time())

    for _ in range(10):
        nursery.start_soon(ask)
    await trio.sleep(60)

    assert sorted(done_at) == [2.0] + [4.0] * 9


async def test_a_maker_that_hangs_up_leaves_the_answer_to_another(
    nursery, autojump_clock
):
    gateway = Gateway()
    gateway.dispatch.takes = 2.0
    exchanges = [an_exchange(a_chat_body(**SAME)) for _ in range(4)]
    for exchange in exchanges:
        nursery.start_soon(gateway.answer, exchange)
        await wait_all_tasks_blocked()
    await trio.sleep(1)

    exchanges[0].hang_up()
    await trio.sleep(2.5)

    assert gateway.dispatch.calls == 2
    assert sorted(e.cache for e in exchanges[1:]) == ["hit", "hit", "miss"]
    assert all(e.end_reason is EndReason.COMPLETE for e in exchanges[1:])


async def test_one_who_hangs_up_while_waiting_disturbs_nobody(nursery, autojump_clock):
    gateway = Gateway()
    gateway.dispatch.takes = 2.0
    exchanges = [an_exchange(a_chat_body(**SAME)) for _ in range(3)]
    for exchange in exchanges:
        nursery.start_soon(gateway.answer, exchange)
        await wait_all_tasks_blocked()
    await trio.sleep(1)

    exchanges[1].hang_up()
    await trio.sleep(1.5)

    assert gateway.dispatch.calls == 1
    assert exchanges[2].cache == "hit"


async def test_streams_do_not_wait_for_each_other(nursery, autojump_clock):
    gateway = Gateway()
    gateway.dispatch.takes = 1.0
    exchanges = [an_exchange(a_chat_body(stream=True, **SAME)) for _ in range(3)]
    for exchange in exchanges:
        nursery.start_soon(gateway.answer, exchange)

    await trio.sleep(0.5)

    assert gateway.dispatch.calls == 3
    await trio.sleep(60)
    assert gateway.cache.stats().entries == 1


@pytest.mark.parametrize(
    ("tool", "kept"),
    [
        ({"type": "function", "function": {"name": "f"}}, True),
        ({"name": "f", "input_schema": {}}, True),
        ({"type": "custom", "name": "f"}, True),
        ({"functionDeclarations": [{"name": "f"}]}, True),
        ({"type": "web_search_20250305", "name": "web_search"}, False),
        ({"googleSearch": {}}, False),
        ({"functionDeclarations": [], "urlContext": {}}, False),
    ],
)
def test_what_a_providers_own_tool_says_depends_on_the_day(tool, kept):
    body = a_chat_body(**SAME, tools=[tool])

    assert (key_of(body) is not None) is kept


def test_a_body_of_millions_of_values_is_taken_as_it_was_sent():
    body = b'{"b":1, "a":[%b]}' % b",".join([b"[]"] * 300_000)

    assert canonical(body) is body
