"""An upstream's response whose body has a content coding, decoded as it is read.

Providers ask for ``identity``; some upstreams and the proxies before them compress all
the same. Only responses with a ``content-encoding`` come here.
"""

from __future__ import annotations

import trio

from gandalf.dialects.content_coding import CodingError, Decoder, codings_of
from gandalf.providers.base import UpstreamResponse
from gandalf.providers.watch import UpstreamBroken


def decoded(response: UpstreamResponse, coding: bytes) -> UpstreamResponse:
    """Return ``response`` without its content coding, given as in its header section.

    A coding that is not supported makes ``receive`` fail, not this function: an error
    response has a status that says more than the missing text would.
    """
    if coding.strip().lower() in (b"", b"identity"):
        return response
    return DecodedResponse(response, coding)


class DecodedResponse:
    """Decodes the body of ``response`` in bounded pieces."""

    __slots__ = ("_coding", "_decoder", "_ended", "_response", "headers", "status")

    def __init__(self, response: UpstreamResponse, coding: bytes) -> None:
        self._response = response
        self._coding = coding
        self._decoder: Decoder | None = None
        self._ended = False
        self.status = response.status
        headers = self.headers = response.headers.copy()
        del headers[b"content-encoding"]
        if headers.pop(b"content-length", None) is None:
            return
        # The coding tells where the body ends, as chunks do.
        headers[b"transfer-encoding"] = b"chunked"

    @property
    def complete(self) -> bool:
        """Whether all of it has been received and decoded."""
        return self._ended

    async def receive(self) -> bytes:
        """Return the next decoded bytes, waiting for some; b"" at the end.

        Raises:
            UpstreamBroken: The body broke off, is not validly framed, or cannot be
                decoded.
            trio.ClosedResourceError: The response is closed.
        """
        try:
            return await self._receive()
        except CodingError as error:
            raise UpstreamBroken(f"the upstream's answer: {error}", sent=True) from None

    def rest(self) -> bytes | None:
        """Return None: decoding takes ``receive``, which lets others run meanwhile."""
        return None

    def close(self) -> None:
        """Let go of the response. Synchronous, idempotent."""
        self._response.close()

    async def _receive(self) -> bytes:
        decoder = self._decoder
        if decoder is None:
            decoder = self._decoder = Decoder(codings_of(self._coding))
        while not self._ended:
            if decoder.hungry:
                data = await self._response.receive()
                if not data:
                    decoder.close()
                    self._ended = True
                    break
                decoder.feed(data)
            else:
                await trio.lowlevel.checkpoint()
            if piece := decoder.step():
                return piece
        return b""
