"""What a dialect must offer.

Part of it is for bytes that pass through untouched, when client and upstream speak the
same dialect: reading what the gateway needs to know of them. Part is for those that do
not: parsing into the neutral model of ``conversation`` and rendering from it. A dialect
that only upstreams speak needs less. It is a module or package with these functions;
the registry lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from gandalf.dialects.conversation import (
    Completion,
    Conversation,
    Embeddings,
    EmbeddingsRequest,
    Event,
    Failed,
    Feature,
    Treatment,
)
from gandalf.dialects.error_details import ErrorDetails
from gandalf.dialects.mending import Rules
from gandalf.dialects.refusal_rules import Rule
from gandalf.domain.errors import GatewayError
from gandalf.domain.model import Model
from gandalf.domain.usage import TokenUsage

# What a decoder can raise on bytes that are not the JSON we expect: invalid UTF-8 in
# a decoded field and nesting beyond the stack are not MsgspecErrors.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class EventTooLarge(Exception):
    """An event grew past the limit of its framing without ending.

    Not compiled, as is nothing here: what is derived from it is not either.
    """


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
    lost: tuple[str, ...] = ()
    """What of it, in the client's words, is not in what ``body_for`` returned last: no
    provider of the dialect would take it."""

    def body_for(self, model: str) -> bytes:
        """Return the body for an upstream of the same dialect, asking for ``model``."""
        raise NotImplementedError

    @property
    def replayable(self) -> bool:
        """Whether it can be sent to another target after one has failed."""
        return True


class Answer(msgspec.Struct, frozen=True):
    """What the gateway needs to know of a whole answer."""

    usage: TokenUsage | None
    finish_reason: str | None = None
    """In the dialect's own words."""
    failed: Failed | None = None
    """Why it is no answer, though the upstream said 200: it is an error, lacks what its
    operation must have, or did not come to a good end."""
    unread: bool = False
    """Whether it is JSON of a shape that was not read in full; see ``unread``."""


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
    unread: dict[str, int]
    """Events that were not read, counted by reason; see ``unread``."""

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


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """A request in an upstream's dialect."""

    body: bytes
    json_tool: str = ""
    """Name of a tool that is no tool of the client's: the answer's JSON comes as a call
    of it, where a provider has no other way to hold an answer to a schema."""
    approximated: frozenset[Feature] = frozenset()
    """What is only nearly what was asked for, beyond what ``TREATMENTS`` says."""
    dropped: frozenset[Feature] = frozenset()
    """What this very request or model made impossible, ditto."""


class StreamParser(Protocol):
    """Turns one upstream's stream into neutral events."""

    def feed(self, data: bytes) -> Sequence[Event]:
        """Return the events that ``data`` completes. Raises sse.EventTooLarge."""

    def flush(self) -> Sequence[Event]:
        """Return the events of what is left when the upstream has ended.

        ``Ended`` is among the events only if the protocol's own end marker has come.
        """


class StreamRenderer(Protocol):
    """Turns neutral events into one client's stream."""

    def render(self, events: Sequence[Event]) -> bytes: ...

    @property
    def ending(self) -> bytes:
        """What completes the stream, with all that had to wait for its end.

        Asked for once, and only if the answer is complete.
        """


class UpstreamDialect(Protocol):
    """One way to speak with a model, on the upstream's side of the gateway."""

    NAME: str
    STREAM_CONTENT_TYPE: bytes
    TREATMENTS: Mapping[Feature, Treatment]
    """What becomes of each feature when a request is rendered in this dialect."""
    MENDING: Rules
    """What its upstreams require of tools and histories."""
    REFUSALS: tuple[Rule, ...]
    """Signs of the reasons of refusals that are particular to this dialect."""

    # What passes through.

    def read_answer(self, operation: str, body: bytes) -> Answer | None:
        """Return what a whole answer says of itself; None if it is no answer."""

    def as_stream(self, body: bytes) -> bytes:
        """Return the stream that a whole answer stands for.

        For upstreams that answer a request for a stream with one body. b"" if it is no
        answer that a stream could be made of.
        """

    def as_whole(self, body: bytes) -> bytes:
        """Return the whole answer that a stream makes, to a request for no stream.

        b"" if ``body`` is no complete stream, or was not read in full.
        """

    def read_error(self, body: bytes) -> ErrorDetails:
        """Return the details of an error body, in whatever form it is."""

    # What is translated.

    def render_request(
        self, conversation: Conversation, model: Model, operation: str = "chat"
    ) -> Rendered:
        """Return the request for ``model``; what this dialect drops is left out.

        ``operation`` is ``chat``, or ``count_tokens`` where the dialect has it.

        Raises:
            BadRequest: It cannot be said in this dialect at all.
        """

    def parse_answer(self, body: bytes) -> Completion:
        """Return a whole answer. Raises one of ``UNREADABLE`` if it is none."""

    def stream_parser(self) -> StreamParser:
        """Return what parses a stream of this dialect."""

    @property
    def parse_count(self) -> Callable[[bytes], int] | None:
        """What returns the tokens that an answer to ``count_tokens`` tells.

        It raises one of ``UNREADABLE`` if there are none. None: there is no such
        operation.
        """

    def render_embeddings_request(
        self, request: EmbeddingsRequest, model: Model
    ) -> Rendered:
        """Return the request body. Raises BadRequest if there is no such thing."""

    def parse_embeddings(self, body: bytes) -> Embeddings:
        """Return the vectors. Raises one of ``UNREADABLE`` if there are none."""


class Dialect(UpstreamDialect, Protocol):
    """One way to speak with a model, on either side of the gateway."""

    KEEP_ALIVE: bytes
    """What may be sent on a silent stream; empty if the dialect has nothing."""
    KEY_HEADER: bytes
    """Where its clients put their key, beside ``authorization``; may be empty."""
    ID_HEADER: bytes
    """Where they look for a request's id, beside ``x-request-id``; may be empty."""

    # What passes through.

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

    def error_body(self, error: GatewayError) -> bytes:
        """Return the body of the HTTP response that tells of ``error``."""

    def stream_error(self, error: GatewayError) -> bytes:
        """Return what tells of ``error`` in a stream that has begun."""

    # What is translated.

    def parse_request(self, call: Call) -> Conversation:
        """Return the conversation that ``call`` wants to go on.

        ``call`` is a chat or what can be said as one (``completions``, ``generate``,
        ``count_tokens``).

        Raises:
            BadRequest: The body is not a valid request of this dialect.
        """

    def render_answer(self, completion: Completion, call: Call) -> bytes:
        """Return the body that answers ``call``, which is of this dialect."""

    def stream_renderer(self, call: Call) -> StreamRenderer:
        """Return what renders the stream that answers ``call``."""

    @property
    def render_count(self) -> Callable[[int], bytes] | None:
        """What returns the body that answers a ``count_tokens``. None: ditto."""

    def parse_embeddings_request(self, call: Call) -> EmbeddingsRequest:
        """Return what ``call`` wants embedded. Raises BadRequest."""

    def render_embeddings(self, embeddings: Embeddings, call: Call) -> bytes:
        """Return the body that answers ``call``, which is of this dialect."""
