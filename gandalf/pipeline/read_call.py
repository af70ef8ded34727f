"""Reads what the client asks for, once we know who it is."""

from __future__ import annotations

from gandalf.pipeline.exchange import Exchange
from gandalf.pipeline.passthrough import read_passthrough
from gandalf.pipeline.stage import Entered


class ReadCall:
    """Decodes the body as far as the gateway needs it, or refuses it with 400."""

    def enter(self, exchange: Exchange) -> Entered:
        endpoint = exchange.endpoint
        if endpoint.path:
            return _read_passthrough(exchange)
        exchange.call = endpoint.dialect.read_call(
            endpoint.operation, exchange.body, endpoint.model, stream=endpoint.stream
        )
        return None


async def _read_passthrough(exchange: Exchange) -> None:
    exchange.call = await read_passthrough(exchange)
