"""The shape of a stage, and the loop that runs stages in order."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from typing import Protocol, cast

import trio

from gandalf.domain.errors import GatewayError
from gandalf.domain.usage import EndReason
from gandalf.pipeline.exchange import Exchange, Reply

log = logging.getLogger("gandalf.pipeline")

Entered = Reply | Awaitable[Reply | None] | None
"""What becomes of a step: a reply, none, or either of them once it was awaited."""


class Stage(Protocol):
    """One step of the pipeline."""

    def enter(self, exchange: Exchange) -> Entered:
        """Do the step. A Reply ends the way in; raise GatewayError to refuse.

        Most steps are done when this returns. One that has to wait is a coroutine
        function: what comes back is then awaited.
        """


class Settling(Protocol):
    """A stage that leaves something to be done at the end."""

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

    def finish(self, reply: Reply) -> Awaitable[None]:
        """Send what completes ``reply``: the bytes, or the stream's ending."""


class Pipeline:
    """Runs an exchange through its stages."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._enter = tuple(stage.enter for stage in stages)
        # By the number of stages entered: those that are to be settled, in that order.
        self._settling = tuple(
            tuple(_settling(stages[:entered])) for entered in range(len(stages) + 1)
        )

    async def run(self, exchange: Exchange, responder: Responder) -> None:
        """Answer ``exchange`` through ``responder``.

        Everything is settled, the usage record included, before the last byte of the
        answer leaves: what a client has whole is accounted for, whatever happens next.

        Raises:
            GatewayError: The request was refused, failed, or its answer broke off.
                ``responder.started`` tells which of these it is for the client.
        """
        entered = 0
        reply: Reply | None = None
        try:
            for enter in self._enter:
                done = enter(exchange)
                if done is not None and not isinstance(done, Reply):
                    done = await done
                entered += 1
                if done is not None:
                    reply = done
                    break
            assert reply is not None, "no stage replied: dispatch must come last"  # noqa: S101
            exchange.status = reply.status
            if not isinstance(reply.body, bytes):
                exchange.let_go_of_request()
                await responder.begin(reply)
            exchange.end_reason = (
                EndReason.CLIENT_DISCONNECT
                if exchange.client_left
                else EndReason.COMPLETE
            )
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
            for stage in self._settling[entered]:
                try:
                    stage.settle(exchange)
                except Exception:
                    # Those before it must settle all the same: their part is money.
                    log.exception("stage %s failed to settle", type(stage).__name__)
        await responder.finish(reply)


def _settling(entered: Sequence[Stage]) -> list[Settling]:
    return [cast(Settling, s) for s in reversed(entered) if hasattr(s, "settle")]


def _ending_of(
    error: GatewayError, exchange: Exchange, responder: Responder
) -> EndReason:
    if exchange.cut is not None:
        return exchange.cut
    if responder.started:
        return EndReason.INCOMPLETE
    return EndReason.FAILED if exchange.attempts else EndReason.REFUSED
