"""From a request to its exchange, through the pipeline, to its response.

The edge and the quart-trio application both come here, so that an endpoint behaves
the same whichever way its request arrived.
"""

from __future__ import annotations

import logging
import re

import trio

from gandalf.domain.errors import GatewayError, PermissionDenied, ShuttingDown
from gandalf.domain.ids import new_id
from gandalf.domain.usage import EndReason
from gandalf.http.endpoints import stream_format, take_key
from gandalf.http.responder import ExchangeResponder
from gandalf.pipeline.endpoint import Endpoint
from gandalf.pipeline.exchange import Exchange
from gandalf.pipeline.stage import Pipeline
from gandalf.providers.base import Headers, Upload
from gandalf.telemetry.redaction import redact

log = logging.getLogger("gandalf.http")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class Gateway:
    """Answers the requests that reach an upstream, and knows those in flight."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.in_flight: set[Exchange] = set()
        self.draining = False

    def open(
        self,
        endpoint: Endpoint,
        headers: Headers,
        body: bytes,
        received_at: float,
        scope: trio.CancelScope,
        *,
        query: bytes = b"",
        upload: Upload | None = None,
    ) -> Exchange:
        """Return the exchange of a request that has arrived whole.

        Args:
            endpoint: What was asked for.
            headers: The request's.
            body: Ditto; empty if it comes as ``upload``.
            received_at: ``trio.current_time()`` when its last byte had arrived.
            scope: In which ``answer`` will be called. One may serve the requests of a
                connection in turn: once it is cancelled, so is the connection.
            query: The URL's.
            upload: The body, for an endpoint that takes it while it arrives.
        """
        own = new_id()
        url_key = b""
        if query:
            query, url_key = take_key(query)
        exchange = Exchange(
            endpoint=endpoint,
            headers=headers,
            body=body,
            request_id=request_id(headers, own),
            received_at=received_at,
            id=own,
            query=query,
            url_key=url_key,
            upload=upload,
            scope=scope,
        )
        if endpoint.stream:
            exchange.stream_format = stream_format(endpoint, query)
        return exchange

    async def answer(self, exchange: Exchange, responder: ExchangeResponder) -> None:
        """Run the exchange; whatever goes wrong reaches the client as an error.

        Call it inside the exchange's scope; if that was cancelled, call ``apologize``.
        """
        error: GatewayError | None = None
        self.in_flight.add(exchange)
        try:
            await self._pipeline.run(exchange, responder)
        except GatewayError as refusal:
            error = refusal
        except Exception:
            log.exception("request %s failed", exchange.request_id)
            error = GatewayError()
        finally:
            self.in_flight.discard(exchange)
            # It holds a stream that holds the exchange; the collector comes seldom.
            exchange.served = None
            if exchange.draining is not None:
                exchange.draining.give_back()
        if error is not None and not exchange.client_left:
            await responder.fail(error)

    async def apologize(self, exchange: Exchange, responder: ExchangeResponder) -> None:
        """Tell the client of an exchange that was cut short why, if it is there."""
        if exchange.client_left:
            return
        if exchange.cut is EndReason.SHUTDOWN:
            await responder.fail(ShuttingDown())
        elif exchange.cut is EndReason.REVOKED:
            await responder.fail(
                PermissionDenied("api key revoked", code="api_key_revoked")
            )

    def cut(self, key_id: str) -> int:
        """Cut the exchanges in flight of a key short; return how many."""
        theirs = [
            exchange
            for exchange in self.in_flight
            if exchange.identity is not None and exchange.identity.key_id == key_id
        ]
        for exchange in theirs:
            exchange.stop(EndReason.REVOKED)
        return len(theirs)

    def stop_all(self) -> None:
        """Cut every exchange in flight short; their clients are told."""
        for exchange in list(self.in_flight):
            exchange.stop(EndReason.SHUTDOWN)


def request_id(headers: Headers, own: str = "") -> str:
    """Return the client's ``x-request-id`` if it is a sane one, else ours."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        text = given.decode()
        # A key in the wrong header would be stored, logged and sent back.
        if redact(text) == text:
            return text
    return own or new_id()
