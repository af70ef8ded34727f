"""What a provider must offer, and what it needs from whoever sends for it.

A provider says where a request goes and with which credentials; the bytes' meaning
is its dialect's business and the sending is the transport's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec
import trio

from gandalf.config import Disconnect, Timeouts
from gandalf.dialects.base import Dialect

Headers = dict[bytes, bytes]
"""Names in lower case. Repeated fields are joined with ``, ``."""


class UpstreamRequest(msgspec.Struct, frozen=True):
    """One HTTP request to an upstream, credentials included.

    ``headers`` holds neither ``host`` nor ``content-length``: the transport adds them.
    """

    method: bytes
    target: bytes
    """Path and query, as in the request line."""
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class UpstreamBroken(Exception):
    """The connection failed, or what came over it was not HTTP.

    Attributes:
        sent: Whether the upstream may have seen any of the request.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Watch:
    """The clock of one attempt: one cancel scope whose deadline moves by phase.

    Whoever is responsible for a phase calls ``phase`` when it begins; when the scope
    was cancelled, ``name`` and ``limit`` say which phase took too long.
    """

    __slots__ = ("limit", "name", "scope", "total_deadline")

    def __init__(self, scope: trio.CancelScope, total_deadline: float) -> None:
        self.scope = scope
        self.total_deadline = total_deadline
        self.name = "connect"
        self.limit = 0.0

    def phase(self, name: str, limit: float | None) -> None:
        """Begin a phase that may last ``limit`` seconds. None: no limit."""
        self.name = name
        if limit is None:
            self.scope.deadline = self.total_deadline
        else:
            self.limit = limit
            self.scope.deadline = min(trio.current_time() + limit, self.total_deadline)


class UpstreamResponse(Protocol):
    """An answer whose header section has arrived."""

    status: int
    headers: Headers

    async def receive(self) -> bytes:
        """Return the body bytes that are there, waiting for some; b"" at the end.

        Raises:
            UpstreamBroken: The body broke off, or is not validly framed.
        """

    def close(self) -> None:
        """Let go of the response, whatever its state. Synchronous, idempotent.

        A connection whose response was read to its end is kept for the next request;
        any other is closed at once, which tells the upstream to stop working.
        """


@runtime_checkable
class Upstream(Protocol):
    """The connections to one provider."""

    async def send(
        self, request: UpstreamRequest, timeouts: Timeouts, watch: Watch
    ) -> UpstreamResponse:
        """Send ``request`` and wait for the response's header section.

        Sets the phases ``connect`` and ``response_headers`` on ``watch``.

        Raises:
            UpstreamBroken: No connection, or it broke before the header section.
        """

    def close(self) -> None:
        """Close what is idle now and the rest when it becomes so. Idempotent."""


class Deframer(Protocol):
    """Takes a stream out of the framing in which a cloud carries it."""

    def feed(self, data: bytes) -> bytes:
        """Return the stream's own bytes that ``data`` completes.

        Raises:
            UpstreamBroken: The framing is not valid.
        """


class Provider(Protocol):
    """One configured upstream."""

    name: str
    """Instance name, e.g. ``openai-eu``: the label in routes, records and metrics."""
    dialect: Dialect
    """What it speaks."""
    deframer: Callable[[], Deframer] | None
    """Makes what takes a stream out of the cloud's own framing; None: there is none."""
    timeouts: Timeouts
    on_client_disconnect: Disconnect

    async def request(
        self, operation: str, model: str, body: bytes, *, stream: bool
    ) -> UpstreamRequest:
        """Return the HTTP request that carries ``body``, which is in its dialect.

        Waits only if a credential must be fetched first.

        Args:
            operation: ``chat``, ``embeddings``, ...
            model: The upstream's model name, for dialects that put it into the URL.
            body: The request body, ready to send.
            stream: Whether the answer is to be a stream, ditto.

        Raises:
            UpstreamError: There is no credential to be had.
        """
