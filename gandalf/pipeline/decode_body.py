"""Decodes a request body that has a content coding, once it is known who sends it."""

from __future__ import annotations

from collections.abc import Callable

import trio

from gandalf.config import Config
from gandalf.dialects.content_coding import (
    ACCEPTED,
    CodingError,
    Decoder,
    ExpandsTooMuch,
    UnsupportedCoding,
    codings_of,
)
from gandalf.domain.errors import (
    BadRequest,
    GatewayError,
    PayloadTooLarge,
    UnsupportedEncoding,
)
from gandalf.pipeline.exchange import Exchange
from gandalf.pipeline.stage import Entered
from gandalf.providers.base import Upload

# Steps of decoding between two checkpoints: about half a megabyte, some milliseconds.
STEPS_AT_ONCE = 8


class DecodeBody:
    """Replaces an encoded body by the decoded one, within ``max_body_bytes``.

    A body that is taken while it arrives is decoded in the same way, within
    ``max_upload_bytes``. Requests without a ``content-encoding`` pass.
    """

    def __init__(self, current: Callable[[], Config]) -> None:
        self._current = current

    def enter(self, exchange: Exchange) -> Entered:
        coding = exchange.headers.get(b"content-encoding")
        if coding is None:
            return None
        return self._decode(exchange, coding)

    async def _decode(self, exchange: Exchange, coding: bytes) -> None:
        try:
            codings = codings_of(coding)
        except CodingError as error:
            raise _refusal(error) from None
        server = self._current().server
        if not codings:
            return
        if exchange.upload is not None:
            exchange.upload = DecodedUpload(
                exchange.upload, codings, server.max_upload_bytes
            )
        elif exchange.body:
            exchange.body = await decode(
                exchange.body, codings, server.max_body_bytes, exchange.take_room
            )


class DecodedUpload:
    """The ``Upload`` of a body with a content coding: its length is not known."""

    def __init__(self, upload: Upload, codings: tuple[str, ...], limit: int) -> None:
        self.length: int | None = None
        self._upload = upload
        self._decoder = Decoder(codings)
        self._limit = limit
        self._size = 0

    async def receive(self) -> bytes:
        """Return the next decoded bytes, waiting for some; b"" at the end.

        Raises:
            BadRequest: The body is not valid in its coding.
            PayloadTooLarge: It is too large, encoded or decoded.
            GatewayError: The client sent it too slowly, or has left.
        """
        decoder = self._decoder
        try:
            while True:
                if decoder.hungry:
                    data = await self._upload.receive()
                    if not data:
                        decoder.close()
                        return b""
                    decoder.feed(data)
                else:
                    await trio.lowlevel.checkpoint()
                if piece := decoder.step():
                    self._size += len(piece)
                    _check_size(self._size, self._limit)
                    return piece
        except CodingError as error:
            raise _refusal(error) from None


async def decode(
    body: bytes,
    codings: tuple[str, ...],
    limit: int,
    take_room: Callable[[int], object],
) -> bytes:
    """Return ``body`` decoded.

    Args:
        body: The encoded body.
        codings: Its codings, in the order in which they were applied.
        limit: Decoded bytes above which the body is refused.
        take_room: Called with the number of decoded bytes that are about to be held.

    Raises:
        BadRequest: The body is not valid in its coding.
        PayloadTooLarge: It is larger than ``limit``, or expands suspiciously.
        Overloaded: There is no room in memory beside the bodies of other requests.
    """
    decoder = Decoder(codings)
    pieces: list[bytes] = []
    size = steps = 0
    try:
        decoder.feed(body)
        while not decoder.hungry:
            if piece := decoder.step():
                size += len(piece)
                _check_size(size, limit)
                take_room(len(piece))
                pieces.append(piece)
            steps += 1
            if not steps % STEPS_AT_ONCE:
                await trio.lowlevel.checkpoint()
        decoder.close()
    except CodingError as error:
        raise _refusal(error) from None
    return b"".join(pieces)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise PayloadTooLarge(f"the decoded request body is larger than {limit} bytes")


def _refusal(error: CodingError) -> GatewayError:
    if isinstance(error, UnsupportedCoding):
        return UnsupportedEncoding(f"{error}; accepted are {ACCEPTED}", ACCEPTED)
    if isinstance(error, ExpandsTooMuch):
        return PayloadTooLarge(str(error))
    return BadRequest(str(error), code="invalid_content_encoding")
