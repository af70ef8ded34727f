"""What a request used and what became of it."""

from __future__ import annotations

import enum

import msgspec


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """Tokens by class. The classes are disjoint; None means not reported, never zero.

    Providers count differently (OpenAI's ``prompt_tokens`` include cached ones,
    Anthropic's ``input_tokens`` do not); dialects normalise into these classes.
    """

    input: int | None = None
    """Prompt tokens that were neither read from nor written to a prompt cache."""
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    """Written with the longer, dearer lifetime (Anthropic)."""
    output: int | None = None
    """Visible completion tokens, without reasoning."""
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None

    @property
    def prompt_tokens(self) -> int:
        """All that was sent in, of whatever class."""
        return (
            (self.input or 0)
            + (self.cache_read or 0)
            + (self.cache_write or 0)
            + (self.cache_write_1h or 0)
            + (self.audio_input or 0)
        )

    @property
    def completion_tokens(self) -> int:
        """All that was generated, of whatever class."""
        return (self.output or 0) + (self.reasoning or 0) + (self.audio_output or 0)

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class EndReason(enum.StrEnum):
    """How an exchange ended. Only ``complete`` is a whole answer."""

    COMPLETE = "complete"
    REFUSED = "refused"
    """Turned away before any upstream was asked: key, limits, body, no route."""
    FAILED = "failed"
    """No target gave an answer, and the client got an error instead of one."""
    INCOMPLETE = "incomplete"
    """The answer broke off after the client had part of it."""
    CLIENT_DISCONNECT = "client_disconnect"
    SHUTDOWN = "shutdown"
    REVOKED = "revoked"
    """The key was revoked, and its requests in flight were cut short."""
    INTERNAL_ERROR = "internal_error"


class UsageSource(enum.StrEnum):
    """Where a record's token counts come from."""

    PROVIDER = "provider"
    ESTIMATED = "estimated"
    """An upstream worked on the request but never said how much it used."""
    NONE = "none"
    """No upstream was used: refused, failed, or answered from the cache."""


class Attempt(msgspec.Struct, kw_only=True, array_like=True, gc=False):
    """One send to one target: what came of it, and what was decided then."""

    target: str
    """``provider/model``."""
    started: float = 0.0
    """Seconds since the request was received."""
    duration: float = 0.0
    """Seconds from sending to the end of the attempt."""
    ttfb: float | None = None
    """Seconds from sending to the upstream's response headers."""
    status: int | None = None
    """The upstream's HTTP status. None if it never answered."""
    outcome: str = ""
    """``served``, or the error's code: ``upstream_timeout``, ``upstream_429``, ..."""
    decision: str = ""
    """What followed: ``answer``, ``retry``, ``failover``, ``give_up``, ``skipped``."""
    reason: str = ""
    """One sentence for whoever reads the record. Holds no secret and no content."""


class UsageRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One request as it is accounted for. Exactly one exists per request.

    Kept as an array: whatever is added to this, to ``Attempt`` or to ``TokenUsage``
    comes last and has a default, for its place is what tells what it is.
    """

    request_id: str
    """Ours, unique, and sorted by time; the primary key, so that replaying a journal is
    idempotent."""
    client_request_id: str
    """The ``x-request-id`` the client sent. Empty if it was given ours."""
    received_at: float
    """Unix time in seconds."""
    operation: str
    """``chat``, ``embeddings``, ..."""
    dialect: str
    """What the client spoke."""
    key_id: str
    org_id: str
    team_id: str | None
    user_id: str | None
    alias: str
    """The model name that the client asked for."""
    provider: str
    model: str
    """The model that served, as its provider calls it."""
    stream: bool
    status: int
    """The HTTP status the client got (or would have got)."""
    end_reason: EndReason
    error_code: str
    cache: str
    """``hit``, ``miss`` or ``bypass``."""
    tokens: TokenUsage
    usage_source: UsageSource
    estimated_tokens: int
    """What the request was thought to use before it was sent."""
    latency: float
    """Seconds from the request's last byte to settlement."""
    ttft: float | None
    """Seconds from dispatch to the first content of the answer."""
    overhead: float
    """Seconds of the latency not spent waiting for upstreams or for the client."""
    attempts: tuple[Attempt, ...]
    error_message: str = ""
    """The provider's or the gateway's words for the error, for administrators; scrubbed
    of secrets."""
    unread: tuple[tuple[str, int], ...] = ()
    """Events of the upstream's stream that the gateway could not read: reason, count.
    """
