"""Requests to an upstream, as dispatch would make them."""

from typing import NamedTuple

import trio

from gandalf.config import Timeouts
from gandalf.providers.base import Headers, Upstream, UpstreamRequest, UpstreamResponse
from gandalf.providers.watch import ScopedWatch

# Long enough for a machine that is busy with other work: no test waits for it.
PATIENT = Timeouts(connect=60.0, response_headers=60.0)


class Answer(NamedTuple):
    status: int
    headers: Headers
    body: bytes


class TooLate(Exception):
    """A phase took too long; the text is its name."""


def a_request(body: bytes = b"{}", method: bytes = b"POST") -> UpstreamRequest:
    headers = b"content-type: application/json\r\nauthorization: Bearer sk\r\n"
    return UpstreamRequest(method, b"/v1/chat/completions", headers, body)


async def opened(
    upstream: Upstream,
    request: UpstreamRequest | None = None,
    timeouts: Timeouts = PATIENT,
) -> UpstreamResponse:
    """Send a request, and return the response with its body unread."""
    response: UpstreamResponse | None = None
    with trio.CancelScope() as scope:
        watch = ScopedWatch(scope)
        response = await upstream.send(request or a_request(), timeouts, watch)
    if response is None:
        raise TooLate(watch.name)
    return response


async def read(response: UpstreamResponse) -> bytes:
    """Read a body to its end and close the response."""
    parts = []
    try:
        with trio.fail_after(60):
            while data := await response.receive():
                parts.append(data)
    finally:
        response.close()
    return b"".join(parts)


async def call(
    upstream: Upstream,
    request: UpstreamRequest | None = None,
    timeouts: Timeouts = PATIENT,
) -> Answer:
    """Send a request and read its whole answer."""
    response = await opened(upstream, request, timeouts)
    return Answer(response.status, response.headers, await read(response))
