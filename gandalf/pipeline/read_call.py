"""Reads what the client asks for, once we know who it is."""

from __future__ import annotations

from gandalf.dialects.openai_chat import read_call
from gandalf.pipeline.exchange import Exchange, Reply


class ReadCall:
    """Decodes the body as far as the gateway needs it, or refuses it with 400."""

    async def enter(self, exchange: Exchange) -> Reply | None:
        exchange.call = read_call(exchange.operation, exchange.body)
        return None

    def settle(self, exchange: Exchange) -> None:
        """Nothing to undo."""
