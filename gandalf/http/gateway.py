"""From a request to its exchange, through the pipeline, to its response.

The edge and the quart-trio application both come here, so that an endpoint behaves
the same whichever way its request arrived.
"""

from __future__ import annotations

import logging
import re

from gandalf.domain.errors import GatewayError, ShuttingDown
from gandalf.domain.ids import new_id
from gandalf.domain.usage import EndReason
from gandalf.http.endpoints import Endpoint
from gandalf.http.responder import ExchangeResponder
from gandalf.pipeline.exchange import Exchange
from gandalf.pipeline.stage import Pipeline
from gandalf.providers.base import Headers

log = logging.getLogger("gandalf.http")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class Gateway:
    """Answers the requests that reach an upstream, and knows those in flight."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.in_flight: set[Exchange] = set()
        self.draining = False

    def open(
        self, endpoint: Endpoint, headers: Headers, body: bytes, received_at: float
    ) -> Exchange:
        """Return the exchange of a request that has arrived whole."""
        return Exchange(
            operation=endpoint.operation,
            dialect=endpoint.dialect,
            url_model=endpoint.model,
            url_stream=endpoint.stream,
            headers=headers,
            body=body,
            request_id=request_id(headers),
            received_at=received_at,
        )

    async def answer(self, exchange: Exchange, responder: ExchangeResponder) -> None:
        """Run the exchange; whatever goes wrong reaches the client as an error."""
        error: GatewayError | None = None
        self.in_flight.add(exchange)
        try:
            with exchange.scope:
                await self._pipeline.run(exchange, responder)
            if exchange.cut is EndReason.SHUTDOWN:
                error = ShuttingDown()
        except GatewayError as refusal:
            error = refusal
        except Exception:
            log.exception("request %s failed", exchange.request_id)
            error = GatewayError()
        finally:
            self.in_flight.discard(exchange)
            if exchange.draining is not None:
                exchange.draining.give_back()
        if error is not None and not exchange.client_left:
            await responder.fail(error)

    def stop_all(self) -> None:
        """Cut every exchange in flight short; their clients are told."""
        for exchange in list(self.in_flight):
            exchange.stop(EndReason.SHUTDOWN)


def request_id(headers: Headers) -> str:
    """Return the client's ``x-request-id`` if it is a sane one, else a new id."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return new_id()
