"""One line for each request that ran the pipeline: who, what, how it ended."""

from __future__ import annotations

import logging

from gandalf.domain.usage import UsageRecord, UsageSource
from gandalf.telemetry.log_lines import Fields, Ready, safe
from gandalf.telemetry.observed import Observed

log = logging.getLogger("gandalf.access")


def log_request(exchange: Observed, record: UsageRecord) -> None:
    """Log a request that is over. Holds no content, and of the key only its prefix."""
    if not log.isEnabledFor(logging.INFO):
        return
    # Made by hand: ``log.info`` would first walk the stack to find out who calls.
    log.handle(Ready(log.name, "request", _fields(exchange, record)))


def _fields(exchange: Observed, record: UsageRecord) -> Fields:
    identity = exchange.identity
    fields: Fields = {
        "request_id": record.client_request_id or record.request_id,
        "key_id": record.key_id,
        "key_prefix": "" if identity is None else identity.key_prefix,
        "operation": record.operation,
        "alias": record.alias,
        "target": f"{record.provider}/{record.model}" if record.provider else "",
        "status": record.status,
        "end": record.end_reason,
        "stream": record.stream,
        "cache": record.cache,
        "attempts": len(record.attempts),
        "latency_ms": round(record.latency * 1000, 1),
        "overhead_ms": round(record.overhead * 1000, 3),
    }
    if record.ttft is not None:
        fields["ttft_ms"] = round(record.ttft * 1000, 1)
    if record.usage_source is UsageSource.PROVIDER:
        fields["prompt_tokens"] = record.tokens.prompt_tokens
        fields["completion_tokens"] = record.tokens.completion_tokens
    if record.error_code:
        fields["error"] = safe(record.error_code)
    if len(record.attempts) > 1:
        tried = [f"{a.target}:{a.outcome}" for a in record.attempts]
        fields["tried"] = safe(" ".join(tried))
    # The client chose these two, and may have put anything there, even its key.
    for name in ("request_id", "alias"):
        fields[name] = safe(str(fields[name]))
    return fields
