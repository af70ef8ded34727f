"""Says to the exchange's trace what became of it: OpenTelemetry's GenAI conventions.

One span for the request, and below it one for each attempt that was sent. Never any
content: neither messages nor answers, nor error texts, which may quote them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import trio

from gandalf import config
from gandalf.domain.prices import NANO_PER_USD
from gandalf.domain.usage import Attempt, EndReason, TokenUsage
from gandalf.pipeline.cost import cost_of
from gandalf.pipeline.exchange import Exchange, Reply
from gandalf.telemetry import semconv, spans

# What the conventions call those who stand behind a provider.
_HOSTINGS = {
    "azure": "azure.ai.openai",
    "vertex": "gcp.vertex_ai",
    "bedrock": "aws.bedrock",
}
_TYPES = {"gemini": "gcp.gemini"}
# An attempt that ended so has not failed: nobody wanted its answer any more.
_NO_FAILURE = {
    "served",
    EndReason.CLIENT_DISCONNECT,
    EndReason.SHUTDOWN,
    EndReason.REVOKED,
}

_Attributes = dict[str, str | bool | int | float | list[str]]


class Tracer(Protocol):
    """Where traces begin. Implemented by ``gandalf.telemetry.tracing``."""

    def begin(
        self, name: str, headers: Mapping[bytes, bytes], age: float
    ) -> spans.Trace:
        """Begin the trace of a request that arrived ``age`` seconds ago."""


class Peer(NamedTuple):
    """A provider, as its spans describe it."""

    name: str
    address: str | None
    port: int | None


class Trace:
    """Begins a trace of every exchange; at the end, tells it what is known.

    Second in the list, so that all that settles before has already happened.
    """

    def __init__(self, tracer: Tracer, current: Callable[[], config.Config]) -> None:
        self._tracer = tracer
        self._current = current
        self._peers: dict[str, Peer] = {}
        self._peers_of: config.Config | None = None

    def enter(self, exchange: Exchange) -> Reply | None:
        age = trio.current_time() - exchange.received_at
        name = f"{exchange.method} {exchange.rule}"
        exchange.trace = self._tracer.begin(name, exchange.headers, age)
        return None

    def settle(self, exchange: Exchange) -> None:
        trace = exchange.trace
        if trace is None or not trace.recording:
            return
        for number, attempt in enumerate(exchange.attempts, 1):
            error = "" if attempt.outcome in _NO_FAILURE else attempt.outcome
            trace.end_attempt(attempt, self._of(attempt, number, exchange), error)
        attributes = _of_exchange(exchange)
        cost, _ = cost_of(exchange, exchange.spent, time.time())
        if cost is not None:
            attributes[semconv.COST_USD] = cost / NANO_PER_USD
        trace.end(attributes, _failure(exchange))

    def _of(self, attempt: Attempt, number: int, exchange: Exchange) -> _Attributes:
        provider, _, model = attempt.target.partition("/")
        peer = self._peer(provider)
        attributes: _Attributes = {
            semconv.OPERATION: semconv.operation_name(exchange.operation),
            semconv.PROVIDER: peer.name,
            semconv.REQUEST_MODEL: model,
            semconv.CONFIGURED_PROVIDER: provider,
            semconv.ATTEMPT_NUMBER: number,
            semconv.ATTEMPT_OUTCOME: attempt.outcome,
            semconv.ATTEMPT_DECISION: attempt.decision,
            **_of_call(exchange),
        }
        _add(attributes, "server.address", peer.address)
        _add(attributes, "server.port", peer.port)
        _add(attributes, "http.response.status_code", attempt.status)
        if attempt.decision == "answer":
            _add(attributes, semconv.TIME_TO_FIRST_CHUNK, exchange.ttft)
            if exchange.finish_reason is not None:
                reasons = [exchange.finish_reason]
                attributes[semconv.FINISH_REASONS] = reasons
            if exchange.usage is not None:
                attributes |= _of_usage(exchange.usage)
        return attributes

    def _peer(self, provider: str) -> Peer:
        current = self._current()
        if self._peers_of is not current:
            self._peers_of = current
            self._peers = {p.name: _peer(p) for p in current.providers}
        return self._peers.get(provider) or Peer(provider, None, None)


def _of_exchange(exchange: Exchange) -> _Attributes:
    attributes: _Attributes = {
        "http.request.method": exchange.method,
        "http.route": exchange.rule,
        semconv.REQUEST_ID: exchange.request_id,
        semconv.CACHE: exchange.cache,
        semconv.END_REASON: str(exchange.end_reason),
        semconv.ATTEMPTS: len(exchange.attempts),
    }
    status = exchange.status
    if exchange.error is not None:
        attributes[semconv.ERROR_CODE] = exchange.error.code
        if exchange.end_reason in {EndReason.REFUSED, EndReason.FAILED}:
            status = exchange.error.status
    if status:
        attributes["http.response.status_code"] = status
    if exchange.identity is not None:
        attributes[semconv.KEY_ID] = exchange.identity.key_id
        attributes[semconv.ORG_ID] = exchange.identity.org_id
    if exchange.route is not None:
        attributes[semconv.ALIAS] = exchange.route.alias
    if exchange.served_by is not None:
        attributes[semconv.TARGET] = exchange.served_by.name
    return attributes


def _failure(exchange: Exchange) -> str:
    """Return what the gateway failed of; a refused request is no failure of ours."""
    error, reason = exchange.error, exchange.end_reason
    if reason is EndReason.INTERNAL_ERROR:
        return "internal_error"
    if error is None:
        return ""
    return error.code if error.status >= 500 or reason is EndReason.INCOMPLETE else ""


def _of_call(exchange: Exchange) -> _Attributes:
    call = exchange.call
    if call is None:
        return {}
    attributes: _Attributes = {semconv.REQUEST_STREAM: call.stream}
    _add(attributes, semconv.REQUEST_MAX_TOKENS, call.max_tokens)
    _add(attributes, semconv.REQUEST_TEMPERATURE, call.temperature)
    _add(attributes, semconv.REQUEST_SEED, call.seed)
    if call.n != 1:
        attributes[semconv.REQUEST_CHOICES] = call.n
    return attributes


def _of_usage(usage: TokenUsage) -> _Attributes:
    attributes: _Attributes = {
        semconv.INPUT_TOKENS: usage.prompt_tokens,
        semconv.OUTPUT_TOKENS: usage.completion_tokens,
    }
    _add(attributes, semconv.CACHE_READ_TOKENS, usage.cache_read)
    if usage.cache_write is not None or usage.cache_write_1h is not None:
        written = (usage.cache_write or 0) + (usage.cache_write_1h or 0)
        attributes[semconv.CACHE_WRITE_TOKENS] = written
    _add(attributes, semconv.REASONING_TOKENS, usage.reasoning)
    return attributes


def _add(attributes: _Attributes, name: str, value: str | float | None) -> None:
    """Set what is known: absent is not zero."""
    if value is not None:
        attributes[name] = value


def _peer(provider: config.Provider) -> Peer:
    kind = provider.type or provider.name
    url = urlsplit(provider.base_url)
    port = url.port or {"https": 443, "http": 80}.get(url.scheme)
    return Peer(
        _HOSTINGS.get(provider.hosting) or _TYPES.get(kind, kind), url.hostname, port
    )
