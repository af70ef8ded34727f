"""Reads what the client asks for, once we know who it is."""

from __future__ import annotations

import codecs

from gandalf.domain.errors import BadRequest
from gandalf.pipeline.exchange import Exchange
from gandalf.pipeline.passthrough import read_passthrough
from gandalf.pipeline.stage import Entered

_PIECE_BYTES = 256 * 1024


class ReadCall:
    """Decodes the body as far as the gateway needs it, or refuses it with 400."""

    def enter(self, exchange: Exchange) -> Entered:
        endpoint, body = exchange.endpoint, exchange.body
        if not body.isascii():
            _check_encoding(body)
        if endpoint.path:
            return _read_passthrough(exchange)
        exchange.call = endpoint.dialect.read_call(
            endpoint.operation, body, endpoint.model, stream=endpoint.stream
        )
        return None


async def _read_passthrough(exchange: Exchange) -> None:
    exchange.call = await read_passthrough(exchange)


def _check_encoding(body: bytes) -> None:
    """Refuse a body that is no UTF-8, which every upstream would read differently.

    In pieces, so that no copy of a large body is made.
    """
    decode = codecs.getincrementaldecoder("utf-8")().decode
    last = len(body) - 1
    try:
        for start in range(0, len(body), _PIECE_BYTES):
            decode(body[start : start + _PIECE_BYTES], start + _PIECE_BYTES > last)
    except UnicodeDecodeError as error:
        raise BadRequest(
            f"the body is not UTF-8: {error.reason}", code="invalid_json"
        ) from None
