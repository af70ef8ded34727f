"""One record per request, whatever became of it, kept before its answer is complete."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from gandalf.actors.ledger import Ledger
from gandalf.domain.errors import (
    GatewayError,
    PermissionDenied,
    ShuttingDown,
    Unauthenticated,
)
from gandalf.domain.identity import Identity
from gandalf.domain.usage import EndReason, TokenUsage, UsageRecord, UsageSource
from gandalf.pipeline.cost import cost_of
from gandalf.pipeline.exchange import Exchange, Reply
from gandalf.pricing.amounts import usd
from gandalf.telemetry.redaction import redact

log = logging.getLogger("gandalf.usage")

Observer = Callable[[Exchange, UsageRecord], None]
"""Told of each request once it is over. Synchronous; metrics, access log."""

# Characters of an error's text that a record keeps: beyond, it repeats the request.
MAX_ERROR_MESSAGE = 500
# The status of an exchange that ended before one was decided. 499 is what nginx made
# the custom for a client that left.
_STATUS = {
    EndReason.COMPLETE: 200,
    EndReason.INCOMPLETE: 200,
    EndReason.CLIENT_DISCONNECT: 499,
    EndReason.SHUTDOWN: ShuttingDown.status,
    EndReason.REVOKED: PermissionDenied.status,
}
_CODES = {
    EndReason.SHUTDOWN: ShuttingDown.code,
    EndReason.REVOKED: "api_key_revoked",
    EndReason.INTERNAL_ERROR: GatewayError.code,
}
# Members of an enum are looked up by a function; these are asked for at each request.
_COMPLETE = EndReason.COMPLETE
_PROVIDER = UsageSource.PROVIDER
_NO_TOKENS = TokenUsage()
_COST = b"x-gandalf-cost-usd: %b\r\n"
_NOBODY = Identity(key_id="", org_id="")


class Journal(Protocol):
    """Where the records go; ``actors.usage_journal`` has it."""

    def reserve(self) -> None:
        """Keep room for one record. Raises JournalFull."""

    def release(self) -> None:
        """Give back the room of a record that will not be written."""

    def write(self, record: UsageRecord) -> None:
        """Take ``record``, into the room that was kept for it."""

    def flush(self) -> None:
        """Have all that was taken in its file."""


class RecordUsage:
    """Admits what can be recorded, and records it when everything else is settled.

    The first stage, so that it settles last. A request that it refuses is the only
    kind that leaves no record: the journal counts them.
    """

    def __init__(
        self,
        journal: Journal,
        observers: Sequence[Observer] = (),
        *,
        ledger: Ledger | None = None,
        clock: Callable[[], float] = trio.current_time,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._observers = tuple(observers)
        self._ledger = ledger
        self._clock = clock
        self._unix_time = unix_time
        self._settled: list[tuple[Exchange, UsageRecord]] = []

    def enter(self, exchange: Exchange) -> Reply | None:
        self._journal.reserve()
        return None

    def settle(self, exchange: Exchange) -> None:
        try:
            record = self._record(exchange)
        except BaseException:
            self._journal.release()
            raise
        if exchange.identity is None and isinstance(exchange.error, Unauthenticated):
            # Anybody can send these, at any rate: a row each would fill the disk. They
            # are counted, and a sample of them is logged.
            self._journal.release()
        else:
            self._journal.write(record)
        if exchange.charged_at and self._ledger is not None:
            _charge(self._ledger, exchange, record)
        if record.cost_nanousd is not None and exchange.end_reason is _COMPLETE:
            # Of a stream the header section has left: only whole answers tell it.
            exchange.reply_lines += _COST % usd(record.cost_nanousd).encode()
        self._settled.append((exchange, record))

    def flush(self) -> None:
        """Have the records of what was settled in their file, and tell who watches.

        Called before the last bytes of the answers leave. Many at a time are cheaper:
        each finds in the processor's caches what the one before has brought there.
        """
        # Also of requests that are about to be sent: their lines come before them.
        self._journal.flush()
        if not self._settled:
            return
        settled, self._settled = self._settled, []
        for observe in self._observers:
            for exchange, record in settled:
                try:
                    observe(exchange, record)
                except Exception:
                    # What watches must not stop what else watches.
                    log.exception("an observer of %s failed", exchange.request_id)

    def _record(self, exchange: Exchange) -> UsageRecord:
        identity = exchange.identity or _NOBODY
        call = exchange.call
        served_by = exchange.served_by
        spent = exchange.spent
        end_reason, status, error_code = _ending(exchange)
        latency = self._clock() - exchange.received_at
        overhead = latency - exchange.upstream_time - exchange.client_time
        received_at = self._unix_time() - latency
        cost, rating = cost_of(exchange, spent, received_at)
        # By position, in the order of the fields: by name it takes three times as long.
        return UsageRecord(
            exchange.id,
            "" if exchange.request_id == exchange.id else exchange.request_id,
            received_at,
            exchange.operation,
            exchange.dialect.NAME,
            identity.key_id,
            identity.org_id,
            identity.team_id,
            identity.user_id,
            "" if call is None else call.model,
            "" if served_by is None else served_by.provider,
            "" if served_by is None else served_by.model,
            False if call is None else call.stream,
            status,
            end_reason,
            error_code,
            exchange.cache,
            _NO_TOKENS if spent is None else spent,
            _usage_source(exchange, spent),
            exchange.estimated_tokens or (0 if call is None else call.estimated_tokens),
            latency,
            exchange.ttft,
            max(0.0, overhead),
            tuple(exchange.attempts),
            "" if exchange.error is None else _words_of(exchange.error),
            exchange.unread,
            cost,
            rating,
            exchange.tags,
            exchange.charged_at if spent is not None or cost else 0,
            _charged(exchange, cost),
            exchange.dropped,
            exchange.approximated,
        )


def _charged(exchange: Exchange, cost: int | None) -> int:
    """Return what budgets are charged: the cost, or if unknown what was reserved."""
    if cost is not None:
        return cost
    return 0 if exchange.reserved is None else exchange.reserved.cost_nanousd


def _charge(ledger: Ledger, exchange: Exchange, record: UsageRecord) -> None:
    """Settle the reservation of a request to exactly what its record says."""
    cost = record.charged_nanousd
    if not record.charged_at:
        ledger.void(record.request_id)
    elif exchange.reserved is None:
        ledger.charge_key(record.key_id, cost)
    else:
        tokens = record.tokens.total_tokens
        ledger.settle(record.request_id, cost, tokens, provider=record.provider)
    if record.charged_at and exchange.budgets_version != ledger.version:
        ledger.charge_later_rules(record, exchange.budgets_version)


def _ending(exchange: Exchange) -> tuple[EndReason, int, str]:
    """Return how the exchange ended, with which status, and the code of its error."""
    reason, status, error = exchange.end_reason, exchange.status, exchange.error
    if reason is _COMPLETE and status and error is None:
        return reason, status, ""
    if reason is None:
        reason = EndReason.INTERNAL_ERROR
    code = _CODES.get(reason, "") if error is None else error.code
    if reason in {EndReason.REFUSED, EndReason.FAILED} and error is not None:
        return reason, error.status, code
    # Once an answer has begun its status stands, however it ends.
    return reason, status or _STATUS.get(reason, GatewayError.status), code


def _words_of(error: GatewayError) -> str:
    return redact(error.detail)[:MAX_ERROR_MESSAGE]


def _usage_source(exchange: Exchange, spent: TokenUsage | None) -> UsageSource:
    if spent is None:
        return UsageSource.NONE
    return _PROVIDER if spent is exchange.usage else UsageSource.ESTIMATED
