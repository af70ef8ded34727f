"""One line for each request that ran the pipeline: who, what, how it ended."""

from __future__ import annotations

import logging
from functools import lru_cache

from gandalf.domain.usage import UsageRecord, UsageSource
from gandalf.telemetry.log_lines import Fields, Ready, safe
from gandalf.telemetry.observed import Observed

log = logging.getLogger("gandalf.access")

# Names up to this length are remembered once they were looked through.
_MAX_REMEMBERED = 100


def log_request(exchange: Observed, record: UsageRecord) -> None:
    """Log a request that is over. Holds no content, and of the key only its prefix."""
    if not log.isEnabledFor(logging.INFO):
        return
    # Made by hand: ``log.info`` would first walk the stack to find out who calls.
    log.handle(_Line(exchange, record))


class _Line(Ready):
    """The event. What it tells is put together once somebody wants to write it."""

    def __init__(self, exchange: Observed, record: UsageRecord) -> None:
        super().__init__(log.name, "request")
        self._record = record
        self._identity = exchange.identity

    @property
    def fields(self) -> Fields:
        record, identity = self._record, self._identity
        fields: Fields = {
            "request_id": _id(record),
            "key_id": record.key_id,
            "key_prefix": "" if identity is None else identity.key_prefix,
            "operation": record.operation,
            "alias": _name(record.alias),
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
        return fields

    def pairs(self) -> str:
        """Do as ``Ready`` does, a few times faster where nothing is out of the way."""
        record, identity = self._record, self._identity
        if record.error_code or len(record.attempts) != 1 or record.ttft is None:
            return super().pairs()
        prefix = "" if identity is None else identity.key_prefix
        target = f"{record.provider}/{record.model}" if record.provider else ""
        text = (
            f" request_id={_id(record)} key_id={record.key_id} key_prefix={prefix}"
            f" operation={record.operation} alias={_name(record.alias)}"
            f" target={target} status={record.status} end={record.end_reason.value}"
            f" stream={record.stream} cache={record.cache} attempts=1"
            f" latency_ms={record.latency * 1000:.1f}"
            f" overhead_ms={round(record.overhead * 1000, 3)}"
            f" ttft_ms={record.ttft * 1000:.1f}"
        )
        count = 14
        if record.usage_source is UsageSource.PROVIDER:
            tokens = record.tokens
            text += f" prompt_tokens={tokens.prompt_tokens}"
            text += f" completion_tokens={tokens.completion_tokens}"
            count = 16
        if text.count(" ") == text.count("=") == count and '"' not in text:
            return text
        return super().pairs()


def _id(record: UsageRecord) -> str:
    given = record.client_request_id
    # The client chose it, and may have put anything there, even its key.
    return safe(given) if given and given != record.request_id else record.request_id


def _name(alias: str) -> str:
    # Ditto.
    return _known_name(alias) if len(alias) <= _MAX_REMEMBERED else safe(alias)


@lru_cache(maxsize=1000)
def _known_name(alias: str) -> str:
    return safe(alias)
