import pytest
from trio.testing import MockClock

from gandalf.config import Config, Provider
from gandalf.domain.errors import RateLimited, UpstreamError
from gandalf.domain.routing import Route
from gandalf.domain.usage import Attempt, EndReason, TokenUsage
from gandalf.pipeline.trace import Trace
from tests.pricing.builders import a_price

from .builders import a_chat_body, a_target, an_exchange

PROVIDERS = (
    Provider(name="openai-eu", type="openai", base_url="https://eu.openai.test/v1"),
    Provider(name="local", type="openai", base_url="http://127.0.0.1:11434/v1"),
    Provider(name="az", type="openai", hosting="azure", base_url="https://az.test"),
    Provider(name="simulated"),
)


class FakeTrace:
    recording = True

    def __init__(self):
        self.attempts = []
        self.ended = None

    def sending(self, attempt, name):
        return ()

    def end_attempt(self, attempt, attributes, error=""):
        self.attempts.append((attributes, error))

    def end(self, attributes, error=""):
        self.ended = (attributes, error)


class FakeTracer:
    def __init__(self):
        self.began = []
        self.trace = FakeTrace()

    def begin(self, name, headers, age):
        self.began.append((name, headers, age))
        return self.trace


def a_stage(tracer, config=None):
    config = config or Config(providers=PROVIDERS)
    return Trace(tracer, lambda: config)


def an_attempt(**changes):
    fields = {
        "target": "openai-eu/gpt-4o",
        "duration": 1.0,
        "status": 200,
        "outcome": "served",
        "decision": "answer",
        **changes,
    }
    return Attempt(**fields)


async def settled(exchange, *, config=None):
    """What the trace of ``exchange`` was told: of its attempts, and of itself."""
    tracer = FakeTracer()
    stage = a_stage(tracer, config)
    stage.enter(exchange)
    stage.settle(exchange)
    return tracer.trace.attempts, tracer.trace.ended


async def test_a_trace_begins_when_the_request_had_arrived(mock_clock: MockClock):
    tracer = FakeTracer()
    exchange = an_exchange(headers={b"traceparent": b"00-..."})
    exchange.received_at = 0.0
    mock_clock.jump(2.5)

    assert a_stage(tracer).enter(exchange) is None

    assert tracer.began == [
        ("POST /v1/chat/completions", {b"traceparent": b"00-..."}, 2.5)
    ]
    assert exchange.trace is tracer.trace


async def test_a_served_exchange_tells_what_the_conventions_ask_for():
    body = a_chat_body(temperature=0.5, seed=7, max_tokens=100, n=2, stream=True)
    exchange = an_exchange(body)
    exchange.attempts = [an_attempt()]
    exchange.served_by = a_target("openai-eu/gpt-4o")
    exchange.route = Route(alias="fast", targets=())
    exchange.status = 200
    exchange.end_reason = EndReason.COMPLETE
    exchange.ttft = 0.4
    exchange.finish_reason = "stop"
    exchange.usage = TokenUsage(input=100, cache_read=50, output=20, reasoning=5)
    exchange.price = a_price(input=1_000_000, output=2_000_000)

    ((attributes, error),), (server, failure) = await settled(exchange)

    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.seed": 7,
        "gen_ai.request.choice.count": 2,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.4,
        "gen_ai.usage.input_tokens": 150,
        "gen_ai.usage.output_tokens": 25,
        "gen_ai.usage.cache_read.input_tokens": 50,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "http.response.status_code": 200,
        "server.address": "eu.openai.test",
        "server.port": 443,
        "gandalf.provider": "openai-eu",
        "gandalf.attempt.number": 1,
        "gandalf.attempt.outcome": "served",
        "gandalf.attempt.decision": "answer",
    }
    assert server == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "gandalf.request_id": "r",
        "gandalf.key_id": "k",
        "gandalf.org_id": "default",
        "gandalf.alias": "fast",
        "gandalf.target": "openai-eu/gpt-4o",
        "gandalf.cache": "bypass",
        "gandalf.end_reason": "complete",
        "gandalf.attempts": 1,
        "gandalf.cost_usd": 0.0002,
    }
    assert (error, failure) == ("", "")


async def test_no_content_is_ever_told():
    exchange = an_exchange(
        a_chat_body(messages=[{"role": "user", "content": "CANARY"}])
    )
    exchange.error = UpstreamError("openai-eu", "cannot say CANARY")
    exchange.end_reason = EndReason.FAILED
    exchange.attempts = [an_attempt(outcome="upstream_500", reason="CANARY")]

    assert "CANARY" not in repr(await settled(exchange))


async def test_after_a_failover_each_attempt_tells_its_own_story():
    exchange = an_exchange()
    exchange.end_reason = EndReason.COMPLETE
    exchange.usage = TokenUsage(input=1, output=2)
    exchange.attempts = [
        an_attempt(
            target="local/llama",
            status=503,
            outcome="upstream_503",
            decision="failover",
        ),
        an_attempt(target="az/gpt", outcome="served"),
    ]

    (first, second), (_, failure) = await settled(exchange)

    assert first[1] == "upstream_503"
    assert first[0]["http.response.status_code"] == 503
    assert first[0]["server.address"] == "127.0.0.1"
    assert first[0]["server.port"] == 11434
    assert "gen_ai.usage.input_tokens" not in first[0]
    assert second[1] == failure == ""
    assert second[0]["gandalf.attempt.number"] == 2
    assert second[0]["gen_ai.provider.name"] == "azure.ai.openai"
    assert second[0]["gen_ai.usage.output_tokens"] == 2


async def test_usage_that_was_not_reported_is_absent_and_not_zero():
    exchange = an_exchange()
    exchange.attempts = [an_attempt(status=None)]

    ((attributes, _),), _ = await settled(exchange)

    assert not [name for name in attributes if name.startswith("gen_ai.usage")]
    assert "http.response.status_code" not in attributes


async def test_a_model_name_may_contain_slashes():
    exchange = an_exchange()
    exchange.attempts = [an_attempt(target="simulated/org/model")]

    ((attributes, _),), _ = await settled(exchange)

    assert attributes["gen_ai.request.model"] == "org/model"
    assert attributes["gen_ai.provider.name"] == "simulated"
    assert "server.address" not in attributes


async def test_a_provider_that_a_reload_took_away_is_called_by_its_name():
    exchange = an_exchange()
    exchange.attempts = [an_attempt(target="gone/m")]

    ((attributes, _),), _ = await settled(exchange)

    assert attributes["gen_ai.provider.name"] == "gone"


async def test_providers_are_those_of_the_configuration_in_force():
    current = Config(providers=(Provider(name="p", base_url="https://old.test"),))
    tracer = FakeTracer()
    stage = Trace(tracer, lambda: current)
    exchange = an_exchange()
    exchange.attempts = [an_attempt(target="p/m")]

    for host in ("old.test", "new.test"):
        current = Config(providers=(Provider(name="p", base_url=f"https://{host}"),))
        stage.enter(exchange)
        stage.settle(exchange)

    addresses = [a["server.address"] for a, _ in tracer.trace.attempts]
    assert addresses == ["old.test", "new.test"]


@pytest.mark.parametrize(
    ("reason", "error", "failure", "status"),
    [
        (EndReason.REFUSED, RateLimited("rpm", 1.0), "", 429),
        (EndReason.FAILED, UpstreamError("p", "m"), "upstream_error", 502),
        (EndReason.INCOMPLETE, UpstreamError("p", "m"), "upstream_error", 200),
        (EndReason.INTERNAL_ERROR, None, "internal_error", 200),
        (EndReason.CLIENT_DISCONNECT, None, "", 200),
    ],
)
async def test_only_what_the_gateway_failed_of_is_an_error(
    reason, error, failure, status
):
    exchange = an_exchange()
    exchange.end_reason, exchange.error, exchange.status = reason, error, 200

    _, (server, told) = await settled(exchange)

    assert told == failure
    assert server["http.response.status_code"] == status
    assert server["gandalf.end_reason"] == reason


async def test_an_attempt_whose_client_left_has_not_failed():
    exchange = an_exchange()
    exchange.attempts = [an_attempt(outcome="client_disconnect")]

    ((_, error),), _ = await settled(exchange)

    assert error == ""


async def test_an_exchange_that_is_not_sampled_is_told_nothing():
    tracer = FakeTracer()
    tracer.trace.recording = False
    stage = a_stage(tracer)
    exchange = an_exchange()
    exchange.attempts = [an_attempt()]

    stage.enter(exchange)
    stage.settle(exchange)

    assert tracer.trace.attempts == []
    assert tracer.trace.ended is None
