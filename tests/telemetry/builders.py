"""Requests as telemetry sees them once they are over."""

from __future__ import annotations

from dataclasses import dataclass

from gandalf.domain.errors import GatewayError
from gandalf.domain.identity import Identity
from gandalf.domain.routing import Route
from gandalf.domain.usage import (
    Attempt,
    EndReason,
    TokenUsage,
    UsageRecord,
    UsageSource,
)


@dataclass
class SettledExchange:
    method: str = "POST"
    rule: str = "/v1/chat/completions"
    identity: Identity | None = None
    route: Route | None = None
    error: GatewayError | None = None


def an_exchange(**changes) -> SettledExchange:
    fields = {
        "identity": Identity(key_id="k1", key_prefix="gnd_abcd"),
        "route": Route(alias="fast", targets=()),
    }
    return SettledExchange(**{**fields, **changes})


def an_attempt(**changes) -> Attempt:
    fields = {
        "target": "openai/gpt-4o",
        "duration": 1.0,
        "status": 200,
        "outcome": "served",
        "decision": "answer",
    }
    return Attempt(**{**fields, **changes})


def a_record(**changes) -> UsageRecord:
    fields = {
        "request_id": "r1",
        "client_request_id": "c1",
        "received_at": 1_700_000_000.0,
        "operation": "chat",
        "dialect": "openai",
        "key_id": "k1",
        "org_id": "default",
        "team_id": None,
        "user_id": None,
        "alias": "fast",
        "provider": "openai",
        "model": "gpt-4o",
        "stream": False,
        "status": 200,
        "end_reason": EndReason.COMPLETE,
        "error_code": "",
        "cache": "bypass",
        "tokens": TokenUsage(input=100, cache_read=50, output=20, reasoning=5),
        "usage_source": UsageSource.PROVIDER,
        "estimated_tokens": 130,
        "latency": 1.25,
        "ttft": 0.4,
        "overhead": 0.0004,
        "attempts": (an_attempt(),),
        "cost_nanousd": 0,
    }
    return UsageRecord(**{**fields, **changes})
