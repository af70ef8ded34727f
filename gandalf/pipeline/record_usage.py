"""One record per request, whatever became of it, kept before its answer is complete."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import trio

from gandalf.actors.usage_journal import UsageJournal
from gandalf.domain.errors import GatewayError, ShuttingDown
from gandalf.domain.identity import Identity
from gandalf.domain.usage import EndReason, TokenUsage, UsageRecord, UsageSource
from gandalf.pipeline.exchange import Exchange, Reply

log = logging.getLogger("gandalf.usage")

Observer = Callable[[Exchange, UsageRecord], None]
"""Told of each request once it is over. Synchronous; metrics, access log."""

# The status of an exchange that ended before one was decided. 499 is what nginx made
# the custom for a client that left.
_STATUS = {
    EndReason.COMPLETE: 200,
    EndReason.INCOMPLETE: 200,
    EndReason.CLIENT_DISCONNECT: 499,
    EndReason.SHUTDOWN: ShuttingDown.status,
}
_CODES = {
    EndReason.SHUTDOWN: ShuttingDown.code,
    EndReason.INTERNAL_ERROR: GatewayError.code,
}
_NO_TOKENS = TokenUsage()
_NOBODY = Identity(key_id="", org_id="")


class RecordUsage:
    """Admits what can be recorded, and records it when everything else is settled.

    The first stage, so that it settles last. A request that it refuses is the only
    kind that leaves no record: the journal counts them.
    """

    def __init__(
        self,
        journal: UsageJournal,
        observers: Sequence[Observer] = (),
        *,
        clock: Callable[[], float] = trio.current_time,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._observers = tuple(observers)
        self._clock = clock
        self._unix_time = unix_time

    def enter(self, exchange: Exchange) -> Reply | None:
        self._journal.reserve()
        return None

    def settle(self, exchange: Exchange) -> None:
        try:
            record = self._record(exchange)
        except BaseException:
            self._journal.release()
            raise
        self._journal.write(record)
        for observe in self._observers:
            try:
                observe(exchange, record)
            except Exception:
                # What watches must not stop what else watches.
                log.exception("an observer of %s failed", exchange.request_id)

    def _record(self, exchange: Exchange) -> UsageRecord:
        identity = exchange.identity or _NOBODY
        call = exchange.call
        served_by = exchange.served_by
        latency = self._clock() - exchange.received_at
        waited = exchange.upstream_time + exchange.client_time
        return UsageRecord(
            request_id=exchange.id,
            client_request_id=exchange.request_id,
            received_at=self._unix_time() - latency,
            operation=exchange.operation,
            dialect=exchange.dialect.NAME,
            key_id=identity.key_id,
            org_id=identity.org_id,
            team_id=identity.team_id,
            user_id=identity.user_id,
            alias=call.model if call else "",
            provider=served_by.provider if served_by else "",
            model=served_by.model if served_by else "",
            stream=call.stream if call else False,
            status=_status(exchange),
            end_reason=_end_reason(exchange),
            error_code=_error_code(exchange),
            cache=exchange.cache,
            tokens=exchange.usage or _NO_TOKENS,
            usage_source=_usage_source(exchange),
            estimated_tokens=(
                exchange.estimated_tokens or (call.estimated_tokens if call else 0)
            ),
            latency=latency,
            ttft=exchange.ttft,
            overhead=max(0.0, latency - waited),
            attempts=tuple(exchange.attempts),
        )


def _end_reason(exchange: Exchange) -> EndReason:
    return exchange.end_reason or EndReason.INTERNAL_ERROR


def _status(exchange: Exchange) -> int:
    reason = exchange.end_reason
    if reason is EndReason.COMPLETE and exchange.status:
        return exchange.status
    reason = reason or EndReason.INTERNAL_ERROR
    if reason in {EndReason.REFUSED, EndReason.FAILED} and exchange.error is not None:
        return exchange.error.status
    # Once an answer has begun its status stands, however it ends.
    return exchange.status or _STATUS.get(reason, GatewayError.status)


def _error_code(exchange: Exchange) -> str:
    if exchange.error is not None:
        return exchange.error.code
    return _CODES.get(_end_reason(exchange), "")


def _usage_source(exchange: Exchange) -> UsageSource:
    if exchange.usage is not None:
        return UsageSource.PROVIDER
    return UsageSource.ESTIMATED if exchange.upstream_worked else UsageSource.NONE
