"""The shape of a stage, and the loop that runs stages in order."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import trio

from gandalf.domain.errors import GatewayError
from gandalf.domain.usage import EndReason
from gandalf.pipeline.exchange import Exchange, Reply

log = logging.getLogger("gandalf.pipeline")


class Stage(Protocol):
    """One step of the pipeline."""

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Do the step. A Reply ends the way in; raise GatewayError to refuse."""

    def settle(self, exchange: Exchange) -> None:
        """Complete or undo the step once the exchange is over.

        Called exactly once if ``enter`` returned, last entered first: after
        success, error, client disconnect and shutdown alike. Synchronous, so that
        no cancellation can skip it.
        """


class Responder(Protocol):
    """Carries one answer to the client. Implemented by the HTTP layer."""

    @property
    def started(self) -> bool:
        """Whether the client may have got any of the answer."""

    async def begin(self, reply: Reply) -> None:
        """Send all of ``reply`` but what completes it.

        Nothing at all for a body that is bytes; for a stream, the header section and
        everything that ``receive`` returns.
        """

    async def finish(self, reply: Reply) -> None:
        """Send what completes ``reply``: the bytes, or the stream's ending."""


class Pipeline:
    """Runs an exchange through its stages."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = tuple(stages)

    async def run(self, exchange: Exchange, responder: Responder) -> None:
        """Answer ``exchange`` through ``responder``.

        Everything is settled, the usage record included, before the last byte of the
        answer leaves: what a client has whole is accounted for, whatever happens next.

        Raises:
            GatewayError: The request was refused, failed, or its answer broke off.
                ``responder.started`` tells which of these it is for the client.
        """
        entered: list[Stage] = []
        reply: Reply | None = None
        try:
            for stage in self._stages:
                reply = await stage.enter(exchange)
                entered.append(stage)
                if reply is not None:
                    exchange.status = reply.status
                    await responder.begin(reply)
                    exchange.end_reason = (
                        EndReason.CLIENT_DISCONNECT
                        if exchange.client_left
                        else EndReason.COMPLETE
                    )
                    break
        except GatewayError as error:
            exchange.error = error
            exchange.end_reason = _ending_of(error, exchange, responder)
            raise
        except trio.Cancelled:
            exchange.end_reason = exchange.cut or EndReason.CLIENT_DISCONNECT
            raise
        finally:
            if exchange.end_reason is None:
                exchange.end_reason = EndReason.INTERNAL_ERROR
            _settle(entered, exchange)
        assert reply is not None, "no stage replied: dispatch must come last"  # noqa: S101
        await responder.finish(reply)


def _ending_of(
    error: GatewayError, exchange: Exchange, responder: Responder
) -> EndReason:
    if exchange.cut is not None:
        return exchange.cut
    if responder.started:
        return EndReason.INCOMPLETE
    return EndReason.FAILED if exchange.attempts else EndReason.REFUSED


def _settle(entered: list[Stage], exchange: Exchange) -> None:
    for stage in reversed(entered):
        try:
            stage.settle(exchange)
        except Exception:
            # The stages before it must settle all the same: their part is money.
            log.exception("stage %s failed to settle", type(stage).__name__)
