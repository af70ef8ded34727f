"""One line for each request that ran the pipeline: who, what, how it ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar

from gandalf.domain.usage import EndReason, UsageRecord, UsageSource
from gandalf.telemetry.log_lines import Fields, Ready, pairs, quoted, safe
from gandalf.telemetry.observed import Observed, Refused

log = logging.getLogger("gandalf.access")

_COMPLETE = EndReason.COMPLETE
_PROVIDER = UsageSource.PROVIDER
# Names up to this length are remembered once they were looked through: a client may
# ask for a model of any.
_MAX_REMEMBERED = 100


UNKNOWN_PER_SECOND = 10
"""Lines a second about requests without a valid key, which anybody may send."""


class AccessLog:
    """Logs requests that are over.

    Args:
        write: Writes an event to the log.
        clock: The time in seconds.
    """

    def __init__(
        self,
        write: Callable[[Ready], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._clock = clock
        self._second = 0
        self._unknown = 0

    def observe(self, exchange: Observed, record: UsageRecord) -> None:
        """Log a request. Holds no content, and of its key only the prefix."""
        # Past ``logging``, whose records take longer to make than all the rest.
        if log.isEnabledFor(logging.INFO):
            identity = exchange.identity
            if identity is None and not self._shows_unknown():
                return
            prefix = "" if identity is None else identity.key_prefix
            self._write(RequestLine(record, prefix))

    def refused(self, refused: Refused) -> None:
        """Log a request that has no usage record."""
        if log.isEnabledFor(logging.INFO):
            if not refused.key_id and not self._shows_unknown():
                return
            self._write(RefusedLine(refused, time.time()))

    def _shows_unknown(self) -> bool:
        """Count a request without a valid key; return whether it is logged."""
        second = int(self._clock())
        if second != self._second:
            hidden = self._unknown - UNKNOWN_PER_SECOND
            self._second, self._unknown = second, 0
            if hidden > 0:
                log.info("%d requests without a valid key were not logged", hidden)
        self._unknown += 1
        return self._unknown <= UNKNOWN_PER_SECOND


class RefusedLine:
    """The event of a request that was refused before it was an exchange.

    Unknown paths, wrong methods, admin pages, and what is no valid HTTP.
    """

    __slots__ = ("_refused", "created")

    logger: ClassVar[str] = log.name
    event: ClassVar[str] = "refused"

    def __init__(self, refused: Refused, created: float) -> None:
        self._refused = refused
        self.created = created

    @property
    def fields(self) -> Fields:
        """The content of the line."""
        refused = self._refused
        return {
            "request_id": safe(refused.request_id),
            "key_id": safe(refused.key_id),
            "key_prefix": safe(refused.key_prefix),
            "method": safe(refused.method[:_MAX_REMEMBERED]),
            "path": safe(refused.path),
            "status": refused.status,
            "error": safe(refused.error),
            "error_message": safe(refused.message),
        }

    def pairs(self) -> str:
        """Return the fields for a line."""
        return pairs(self.fields)


class RequestLine:
    """The event of a request."""

    __slots__ = ("key_prefix", "record")

    logger: ClassVar[str] = log.name
    event: ClassVar[str] = "request"

    def __init__(self, record: UsageRecord, key_prefix: str) -> None:
        self.record = record
        self.key_prefix = key_prefix

    @property
    def created(self) -> float:
        """When the request was over."""
        return self.record.received_at + self.record.latency

    @property
    def fields(self) -> Fields:
        """What there is to tell of the request."""
        record = self.record
        fields: Fields = {
            "request_id": _id(record),
            "key_id": record.key_id,
            "key_prefix": self.key_prefix,
            "operation": record.operation,
            "alias": _name(record.alias),
            "target": f"{record.provider}/{record.model}" if record.provider else "",
            "status": record.status,
            "end": record.end_reason.value,
            "stream": record.stream,
            "cache": record.cache,
            "attempts": len(record.attempts),
            "latency_ms": float(f"{record.latency * 1000:.1f}"),
            "overhead_ms": float(f"{record.overhead * 1000:.3f}"),
        }
        if record.ttft is not None:
            fields["ttft_ms"] = float(f"{record.ttft * 1000:.1f}")
        if record.usage_source is _PROVIDER:
            fields["prompt_tokens"] = record.tokens.prompt_tokens
            fields["completion_tokens"] = record.tokens.completion_tokens
        if record.error_code:
            fields["error"] = safe(record.error_code)
            fields["error_message"] = safe(record.error_message)
        if len(record.attempts) > 1:
            tried = [f"{a.target}:{a.outcome}" for a in record.attempts]
            fields["tried"] = safe(" ".join(tried))
        return fields

    def pairs(self) -> str:
        """Return the fields for a line; quicker where nothing is out of the way."""
        record = self.record
        if (
            record.end_reason is not _COMPLETE
            or record.error_code
            or record.ttft is None
            or record.usage_source is not _PROVIDER
            or len(record.attempts) != 1
            or len(record.alias) > _MAX_REMEMBERED
        ):
            overhead_ms = f"{record.overhead * 1000:.3f}"
            return pairs({**self.fields, "overhead_ms": overhead_ms})
        kind = _of_its_kind(
            record.key_id,
            self.key_prefix,
            record.operation,
            record.alias,
            record.provider,
            record.model,
            record.status,
            record.stream,
            record.cache,
        )
        given = record.client_request_id
        tokens = record.tokens
        # Not an f-string, which takes half as long again.
        return (
            " request_id=%s%s latency_ms=%.1f overhead_ms=%.3f ttft_ms=%.1f"  # noqa: UP031
            " prompt_tokens=%d completion_tokens=%d"
            % (
                quoted(safe(given)) if given else record.request_id,
                kind,
                record.latency * 1000,
                record.overhead * 1000,
                record.ttft * 1000,
                tokens.prompt_tokens,
                tokens.completion_tokens,
            )
        )


@lru_cache(maxsize=1000)
def _of_its_kind(
    key_id: str,
    key_prefix: str,
    operation: str,
    alias: str,
    provider: str,
    model: str,
    status: int,
    stream: bool,
    cache: str,
) -> str:
    """Return what the lines of requests have in common that were answered at once."""
    return pairs(
        {
            "key_id": key_id,
            "key_prefix": key_prefix,
            "operation": operation,
            "alias": _name(alias),
            "target": f"{provider}/{model}" if provider else "",
            "status": status,
            "end": _COMPLETE.value,
            "stream": stream,
            "cache": cache,
            "attempts": 1,
        }
    )


def _id(record: UsageRecord) -> str:
    given = record.client_request_id
    # The client chose it, and may have put anything there, even its key.
    return safe(given) if given else record.request_id


def _name(alias: str) -> str:
    # Ditto.
    return _known_name(alias) if len(alias) <= _MAX_REMEMBERED else safe(alias)


@lru_cache(maxsize=1000)
def _known_name(alias: str) -> str:
    return safe(alias)
