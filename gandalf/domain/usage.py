"""What a request used and what became of it."""

from __future__ import annotations

import enum

import msgspec

from gandalf.domain.prices import Rating


class OtherUsage(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False
):
    """Rare token classes, units other than tokens, and facts that decide the price.

    Apart from ``TokenUsage``, and None there if all of it is empty: most requests have
    nothing of it. The token classes are disjoint from those of ``TokenUsage``.
    """

    image_input: int = 0
    """Tokens of images sent in."""
    image_output: int = 0
    """Tokens of generated images."""
    audio_cache_read: int = 0
    """Audio tokens read from a prompt cache."""
    image_cache_read: int = 0
    video_input: int = 0
    video_output: int = 0
    citation: int = 0
    """Tokens of cited sources (Perplexity)."""
    images: int = 0
    """Generated images, where they are charged by the piece."""
    audio_seconds: int = 0
    """Seconds of audio sent in, rounded up."""
    characters: int = 0
    """Characters sent in (text to speech)."""
    web_searches: int = 0
    """Searches that the provider made for the answer."""
    file_searches: int = 0
    rerank_searches: int = 0
    service_tier: str = ""
    """The service tier that the provider says it used: ``flex``, ``priority``,
    ``batch``. Empty: the standard one."""
    cost_nanousd: int | None = None
    """What the provider says it charges; None if it does not say."""
    model: str = ""
    """The model that an answer names, where the request names none: one that tells of a
    batch or of a response made in the background."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens that were sent in."""
        return (
            self.image_input
            + self.audio_cache_read
            + self.image_cache_read
            + self.video_input
            + self.citation
        )

    @property
    def completion_tokens(self) -> int:
        """Tokens that were generated."""
        return self.image_output + self.video_output


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
    other: OtherUsage | None = None
    """Rare classes and units. None: there are none."""

    @property
    def prompt_tokens(self) -> int:
        """All that was sent in, of whatever class."""
        return (
            (self.input or 0)
            + (self.cache_read or 0)
            + (self.cache_write or 0)
            + (self.cache_write_1h or 0)
            + (self.audio_input or 0)
            + (0 if self.other is None else self.other.prompt_tokens)
        )

    @property
    def completion_tokens(self) -> int:
        """All that was generated, of whatever class."""
        return (
            (self.output or 0)
            + (self.reasoning or 0)
            + (self.audio_output or 0)
            + (0 if self.other is None else self.other.completion_tokens)
        )

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def add(one: TokenUsage | None, more: TokenUsage | None) -> TokenUsage | None:
    """Return the sum of two usages by class; a class that neither reports stays None.

    Service tier and model are those of the first that has them. Reported costs add up.
    """
    if one is None or more is None:
        return one or more
    counts: dict[str, int | None] = {
        name: _sum(getattr(one, name), getattr(more, name)) for name in _CLASSES
    }
    other = _add_other(one.other, more.other)
    return msgspec.structs.replace(one, other=other, **counts)


_CLASSES = tuple(name for name in TokenUsage.__struct_fields__ if name != "other")
_OTHER_COUNTS = tuple(
    name
    for name in OtherUsage.__struct_fields__
    if name not in {"service_tier", "cost_nanousd", "model"}
)


def _add_other(one: OtherUsage | None, more: OtherUsage | None) -> OtherUsage | None:
    if one is None or more is None:
        return one or more
    counts = {name: getattr(one, name) + getattr(more, name) for name in _OTHER_COUNTS}
    return OtherUsage(
        service_tier=one.service_tier or more.service_tier,
        model=one.model or more.model,
        cost_nanousd=_sum(one.cost_nanousd, more.cost_nanousd),
        **counts,
    )


def _sum(one: int | None, more: int | None) -> int | None:
    return None if one is None and more is None else (one or 0) + (more or 0)


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
    CRASHED = "crashed"
    """The gateway's process died while the request was in flight."""


class UsageSource(enum.StrEnum):
    """Where a record's token counts come from."""

    PROVIDER = "provider"
    ESTIMATED = "estimated"
    """An upstream worked on the request but never said how much it used."""
    NONE = "none"
    """No upstream was used: refused, failed, or answered from the cache."""


class Billed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an attempt used although its answer did not reach the client."""

    tokens: TokenUsage
    cost_nanousd: int | None = None
    """None: unknown."""
    rating: Rating | None = None
    """The unit prices behind the cost."""


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
    billed: Billed | None = None
    """Of an attempt that reported usage and failed all the same."""


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
    cost_nanousd: int | None = None
    """What all attempts together cost, nano-USD. 0: nothing was spent (refused, or
    answered from the cache). None: unknown, because a target that was used has no
    price."""
    rating: Rating | None = None
    """Unit prices of the serving target, by which its part of the cost was computed.
    None if it has none, or if nothing was spent."""
    tags: tuple[str, ...] = ()
    """Of the request (``x-gandalf-tags``) and of its key."""
    charged_at: int = 0
    """Unix time in whole seconds of the reservation: budgets are charged in the windows
    of this instant. 0: nothing is charged, for no upstream has worked on it."""
    charged_nanousd: int = 0
    """What budgets are charged, nano-USD: the cost, or where that is not known, what
    was reserved."""
    dropped: tuple[str, ...] = ()
    """Fields of the request that the provider's dialect has no place for."""
    approximated: tuple[str, ...] = ()
    """Fields that were replaced by something near."""


class OpenedRequest(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A request that is about to be sent to an upstream.

    It is in the journal before the request leaves. If the process dies before the
    usage record is written, the record is made from this.
    """

    request_id: str
    client_request_id: str
    charged_at: int
    """Unix time in whole seconds of the reservation."""
    operation: str
    dialect: str
    key_id: str
    org_id: str
    team_id: str | None
    user_id: str | None
    alias: str
    provider: str
    """Of the first target."""
    model: str
    """Of the first target, as its provider calls it."""
    stream: bool
    tags: tuple[str, ...]
    input_tokens: int
    """Estimate of the prompt."""
    output_tokens: int
    """Upper bound of the answer, or as much as a stream has reserved."""
    cost_nanousd: int | None
    """What is reserved. None: no budget applies, so it was not computed."""

    def crashed(self, cost_nanousd: int | None) -> UsageRecord:
        """Return the record of the request after a crash: settled at its reservation.

        Args:
            cost_nanousd: What is charged; None if it is not known.
        """
        return UsageRecord(
            request_id=self.request_id,
            client_request_id=self.client_request_id,
            received_at=float(self.charged_at),
            operation=self.operation,
            dialect=self.dialect,
            key_id=self.key_id,
            org_id=self.org_id,
            team_id=self.team_id,
            user_id=self.user_id,
            alias=self.alias,
            provider=self.provider,
            model=self.model,
            stream=self.stream,
            status=500,
            end_reason=EndReason.CRASHED,
            error_code=EndReason.CRASHED.value,
            cache="bypass",
            tokens=TokenUsage(input=self.input_tokens, output=self.output_tokens),
            usage_source=UsageSource.ESTIMATED,
            estimated_tokens=self.input_tokens,
            latency=0.0,
            ttft=None,
            overhead=0.0,
            attempts=(),
            cost_nanousd=cost_nanousd,
            tags=self.tags,
            charged_at=self.charged_at,
            charged_nanousd=cost_nanousd or 0,
        )
