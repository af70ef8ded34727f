"""Fetches key sets and discovery documents of token issuers, with httpx."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gandalf.actors.token_issuers import FetchFailed

if TYPE_CHECKING:
    import httpx

MAX_BYTES = 256 * 1024
"""A key set has a few kilobytes; one of a hundred keys with certificates fits."""


TIMEOUT = 5.0


class IssuerDocuments:
    """Fetches documents. httpx is imported when the first is asked for.

    Args:
        transport: In place of the network, for tests.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._transport = transport

    async def fetch(self, url: str) -> bytes:
        """Return the body at ``url``. Each wait is limited to ``TIMEOUT``.

        Redirects are not followed: they could lead to plain HTTP.

        Raises:
            FetchFailed: There is none, or it is too large.
        """
        # 4 MB and a tenth of a second, which most gateways have no use for.
        import httpx

        try:
            async with (
                httpx.AsyncClient(
                    transport=self._transport, follow_redirects=False, timeout=TIMEOUT
                ) as client,
                client.stream(
                    "GET", url, headers={"accept": "application/json"}
                ) as answer,
            ):
                return await _body(answer)
        except httpx.HTTPError as error:
            # Without its text, which may hold the URL.
            raise FetchFailed(type(error).__name__) from error


async def _body(answer: httpx.Response) -> bytes:
    if answer.status_code != 200:
        raise FetchFailed(f"the answer has the status {answer.status_code}")
    body = bytearray()
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > MAX_BYTES:
            raise FetchFailed(f"the answer is larger than {MAX_BYTES} bytes")
    return bytes(body)
