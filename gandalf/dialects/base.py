"""What a dialect must offer.

It reads what the gateway needs to know of bytes that pass through untouched. A dialect
is a module or package with these functions; the registry lists them.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from gandalf.domain.errors import GatewayError
from gandalf.domain.usage import TokenUsage

# What a decoder can raise on bytes that are not the JSON we expect: invalid UTF-8 in
# a decoded field and nesting beyond the stack are not MsgspecErrors.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Call(msgspec.Struct, kw_only=True):
    """What a client asks for, as far as the gateway needs to know."""

    operation: str
    """``chat``, ``embeddings``, ``completions``, ``count_tokens``, ..."""
    model: str
    body: bytes
    """As the client sent it."""
    stream: bool = False
    n: int = 1
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    estimated_tokens: int = 0
    """Of the prompt, by its size; the truth comes from the provider."""

    def body_for(self, model: str) -> bytes:
        """Return the body for an upstream of the same dialect, asking for ``model``."""
        raise NotImplementedError


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream's error in an answer whose status said that all was well."""

    message: str
    code: str | None = None
    status: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """What the gateway needs to know of a whole answer."""

    usage: TokenUsage | None
    finish_reason: str | None = None
    """In the dialect's own words."""
    failed: Failed | None = None
    """The error, if the upstream said 200 and meant something else."""


class Follower(Protocol):
    """Follows one upstream's stream: what of it the client gets, and what it says."""

    usage: TokenUsage | None
    """None until reported; the last report counts."""
    finish_reason: str | None
    done: bool
    """The stream's own end marker was seen."""
    failed: Failed | None
    """The error that the upstream put into the stream."""
    content_seen: bool
    """Something of the answer itself, not just its frame, has come."""

    def feed(self, data: bytes) -> bytes:
        """Return the client's share of what ``data`` completes.

        Raises:
            sse.EventTooLarge: An event does not end.
        """

    def flush(self) -> bytes:
        """Return the client's share of what is left when the upstream has ended."""

    def finished(self, choices: int) -> bool:
        """Whether each of the ``choices`` answers has come to its end."""

    @property
    def ending(self) -> bytes:
        """What completes the client's stream; asked for once it is complete."""


class Dialect(Protocol):
    """One way to speak with a model, on either side of the gateway."""

    NAME: str
    STREAM_CONTENT_TYPE: bytes
    KEEP_ALIVE: bytes
    """What may be sent on a silent stream; empty if the dialect has nothing."""

    def read_call(
        self, operation: str, body: bytes, model: str = "", *, stream: bool = False
    ) -> Call:
        """Return what ``body`` asks for.

        Args:
            operation: What the endpoint is for.
            body: The request body as it arrived.
            model: From the URL, for dialects that have it there.
            stream: Whether the URL asks for a stream, ditto.

        Raises:
            BadRequest: The body cannot be read, or governs itself twice.
        """

    def follow(self, call: Call) -> Follower:
        """Return what follows the stream that answers ``call`` natively."""

    def read_answer(self, operation: str, body: bytes) -> Answer | None:
        """Return what a whole answer says of itself; None if it is no answer."""

    def read_error(self, body: bytes) -> tuple[str, str | None, str | None]:
        """Return message, code and param of an error body; "" if unreadable."""

    def error_body(self, error: GatewayError) -> bytes:
        """Return the body of the HTTP response that tells of ``error``."""

    def stream_error(self, error: GatewayError) -> bytes:
        """Return what tells of ``error`` in a stream that has begun."""
