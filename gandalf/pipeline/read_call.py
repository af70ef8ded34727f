"""Reads what the client asks for, once we know who it is."""

from __future__ import annotations

from gandalf.pipeline.exchange import Exchange, Reply
from gandalf.pipeline.passthrough import read_passthrough


class ReadCall:
    """Decodes the body as far as the gateway needs it, or refuses it with 400."""

    async def enter(self, exchange: Exchange) -> Reply | None:
        if exchange.endpoint.path:
            exchange.call = await read_passthrough(exchange)
            return None
        exchange.call = exchange.dialect.read_call(
            exchange.operation,
            exchange.body,
            exchange.endpoint.model,
            stream=exchange.endpoint.stream,
        )
        return None

    def settle(self, exchange: Exchange) -> None:
        """Nothing to undo."""
