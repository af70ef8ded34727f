"""One request on its way through the gateway, and what is known about it so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec
import trio

from gandalf.actors.response_cache import Capture
from gandalf.dialects.base import Call, Follower
from gandalf.domain.errors import GatewayError
from gandalf.domain.identity import Identity, Limits
from gandalf.domain.routing import Route, Target
from gandalf.domain.usage import Attempt, EndReason, TokenUsage
from gandalf.pipeline.bounds import Bound
from gandalf.pipeline.drains import Drains
from gandalf.pipeline.endpoint import Endpoint
from gandalf.pipeline.meter import StreamMeter
from gandalf.pricing.price import Price
from gandalf.providers.base import Headers, Upload
from gandalf.telemetry.spans import Trace

# Members of an enum are looked up by a function; this one is asked for at each request.
_COMPLETE = EndReason.COMPLETE


class Served(Protocol):
    """The attempt whose answer the client gets."""

    def settle(self, exchange: Exchange) -> None:
        """Let go of the upstream and note how it ended."""


class Body(Protocol):
    """A streamed answer. Read once, by the HTTP layer."""

    async def receive(self) -> bytes:
        """Return the next bytes for the client; b"" when only ``ending`` is left.

        Raises:
            GatewayError: The answer broke off; the client has part of it.
        """

    @property
    def ending(self) -> bytes:
        """What completes the answer (``data: [DONE]``). Sent after settlement.

        Before it may stand what came together with the end.
        """


class Reply:
    """What goes back to the client."""

    __slots__ = ("body", "content_type", "status")

    def __init__(self, status: int, content_type: bytes, body: bytes | Body) -> None:
        self.status = status
        self.content_type = content_type
        self.body = body


class StreamFormat(NamedTuple):
    """How a streamed answer reaches the client, where not as its dialect has it."""

    content_type: bytes
    error: Callable[[GatewayError], bytes]
    """Makes what tells of an error in a stream that has begun."""
    keep_alive: bytes = b""
    """What may be sent while it is silent; empty if there is nothing."""
    wrap: Callable[[Follower], Follower] | None = None
    """Makes what frames a stream of the dialect so."""


def is_strict(headers: Headers, route: Route | None) -> bool:
    """Whether a request with ``headers`` is strict: it may say so, or its route."""
    wish = headers.get(b"x-gandalf-strict")
    if wish is not None:
        return wish.lower() in (b"1", b"true")
    return route is not None and route.strict


def _unlimited(size: int) -> None:
    """Count nothing: where the server bounds request bodies itself."""


class Exchange:
    """Each stage reads what earlier stages wrote and fills in its own part.

    With slots, because a dictionary of so many attributes takes four times the memory
    for as long as a stream is open.

    Args:
        endpoint: What was asked for.
        headers: The request's.
        body: Ditto.
        request_id: As echoed to the client in ``x-request-id``.
        received_at: ``trio.current_time()`` when the request's last byte had arrived.
        id: Ours: unique even if the client's is not. Empty: as ``request_id``.
        query: The URL's query, without a key.
        url_key: The key that was in the query.
        upload: The body, of operations that take it while it arrives; ``body`` is
            empty.
        scope: Everything the exchange does runs inside; cancelled when it must stop.
    """

    __slots__ = (
        "approximated",
        "attempts",
        "body",
        "budgets_version",
        "cache",
        "call",
        "capture",
        "charged_at",
        "client_left",
        "client_time",
        "cut",
        "dialect",
        "dispatched_at",
        "dispatching",
        "draining",
        "drains",
        "dropped",
        "end_reason",
        "endpoint",
        "error",
        "estimated_tokens",
        "finish_reason",
        "headers",
        "id",
        "identity",
        "limits",
        "meter",
        "on_let_go",
        "operation",
        "price",
        "query",
        "received_at",
        "reply_headers",
        "reply_lines",
        "request_id",
        "reserved",
        "route",
        "scope",
        "served",
        "served_by",
        "status",
        "stream_format",
        "tags",
        "take_room",
        "targets",
        "trace",
        "ttft",
        "unread",
        "upload",
        "upstream_time",
        "upstream_worked",
        "url_key",
        "usage",
    )

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        headers: Headers,
        body: bytes,
        request_id: str,
        received_at: float,
        id: str = "",  # noqa: A002
        query: bytes = b"",
        url_key: bytes = b"",
        upload: Upload | None = None,
        scope: trio.CancelScope | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.headers = headers
        self.body = body
        self.request_id = request_id
        self.received_at = received_at
        self.id = id or request_id
        self.query = query
        self.url_key = url_key
        self.upload = upload
        self.scope = trio.CancelScope() if scope is None else scope
        self.on_let_go: Callable[[], object] | None = None
        """Called if the body is held no longer although the exchange goes on."""
        self.take_room: Callable[[int], object] = _unlimited
        """Counts bytes of a decoded body in with those of all requests in memory, or
        raises Overloaded."""

        # Of the endpoint: asked for so often that they have places of their own.
        self.operation = endpoint.operation
        self.dialect = endpoint.dialect
        """What the client speaks."""

        # trace
        self.trace: Trace | None = None
        """None if tracing is off."""
        # read_call
        self.call: Call | None = None
        # authenticate
        self.identity: Identity | None = None
        self.tags: tuple[str, ...] = ()
        """Of the request and of its key."""
        # rate_limit
        self.limits: Limits | None = None
        self.estimated_tokens = 0
        # cache_lookup
        self.cache = "bypass"
        self.capture: Capture | None = None
        """Takes what the client gets, if it may be kept for the response cache."""
        # select_targets
        self.route: Route | None = None
        self.targets: tuple[Target, ...] = ()
        """In the order to try them."""
        # reserve
        self.charged_at = 0
        """Unix time in whole seconds by which budgets are charged; 0: not reserved."""
        self.budgets_version = 0
        """The ledger's version when it was asked."""
        self.reserved: Bound | None = None
        """What budgets hold for the request; None if none applies."""
        self.meter: StreamMeter | None = None
        """Counts what the client gets of a stream."""
        # dispatch, or whoever made the exchange
        self.stream_format: StreamFormat | None = None
        """None: as the client's dialect has it."""

        # dispatch
        self.dispatching = False
        self.dispatched_at = 0.0
        self.served: Served | None = None
        self.served_by: Target | None = None
        """The target whose answer the client gets."""
        self.price: Price | None = None
        """What that target costs. None: no snapshot knows the target."""
        self.dropped: tuple[str, ...] = ()
        """Fields of the request that the served dialect has no place for."""
        self.approximated: tuple[str, ...] = ()
        """Fields for which it has only something near."""
        self.usage: TokenUsage | None = None
        """None until an upstream has reported it."""
        self.finish_reason: str | None = None
        """What the model said of the end of its answer; None until it does."""
        self.unread: tuple[tuple[str, int], ...] = ()
        """Parts of the upstream's answer that were not read: reason, count."""
        self.upstream_worked = False
        """Whether an upstream may have spent tokens on this, reported or not."""
        self.ttft: float | None = None
        """Seconds from dispatch to the first content of the answer."""
        self.upstream_time = 0.0
        """Seconds spent waiting for upstreams."""
        self.client_time = 0.0
        """Seconds spent waiting for the client: to take the answer, to send a form."""

        # Filled by whoever learns of it.
        self.status = 0
        """What the client gets; 0 until it is decided."""
        self.client_left = False
        self.cut: EndReason | None = None
        """Why ``scope`` was cancelled, set by whoever cancelled it."""
        self.error: GatewayError | None = None
        self.end_reason: EndReason | None = None
        """Set by the pipeline before the first ``settle``."""
        self.drains: Drains | None = None
        """Who allows the exchange to run on, with nobody to hear it, once its client
        has left. None: it is cancelled."""
        self.draining: Drains | None = None
        """Who allowed it, once it does."""

        # All stages.
        self.attempts: list[Attempt] = []
        self.reply_lines = b""
        """What stages tell the client of each answer (limits, cache): lines of the
        header section, with nothing in them that anybody else has chosen."""
        self.reply_headers: list[tuple[bytes, bytes]] = []
        """What else they tell, fields of an upstream's for one."""

    def let_go_of_request(self) -> None:
        """Hold no longer what is needed only until there is an answer.

        Thousands of streams may be open, each for minutes.
        """
        self.headers = {}
        self.body = b""
        if self.call is not None:
            self.call.body = b""
        let_go, self.on_let_go = self.on_let_go, None
        if let_go is not None:
            let_go()

    def hang_up(self) -> None:
        """Tell the exchange that its client has left. Synchronous, idempotent."""
        if self.client_left:
            return
        self.client_left = True
        seconds = self.drains.take() if self.drains is not None else 0.0
        if seconds > 0:
            self.draining = self.drains
            self.scope.deadline = trio.current_time() + seconds
        else:
            self.stop(EndReason.CLIENT_DISCONNECT)

    def stop(self, reason: EndReason) -> None:
        """Cut the exchange short for ``reason``. Synchronous, idempotent."""
        if self.cut is None:
            self.cut = reason
        self.scope.cancel()

    @property
    def method(self) -> str:
        """The request's method."""
        return self.endpoint.method.decode()

    @property
    def rule(self) -> str:
        """The pattern that the request's URL matched."""
        return self.endpoint.rule

    @property
    def streaming(self) -> bool:
        """Whether the client asked for a stream and dispatch has begun to make one."""
        return self.dispatching and self.call is not None and self.call.stream

    @property
    def strict(self) -> bool:
        """Whether to refuse the request rather than lose any of it in translation."""
        return is_strict(self.headers, self.route)

    @property
    def spent(self) -> TokenUsage | None:
        """Usage to charge: as reported, else estimated if an upstream worked on it.

        None: nothing was spent. The estimate is the prompt and what has been delivered
        of the answer. It also corrects a report that came before the answer broke off.
        """
        usage, meter = self.usage, self.meter
        if usage is None:
            if not self.upstream_worked:
                return None
            usage = TokenUsage(input=self._prompt_estimate)
        elif self.end_reason is _COMPLETE:
            return usage
        if meter is None or meter.tokens <= usage.completion_tokens:
            return usage
        missing = meter.tokens - usage.completion_tokens
        return msgspec.structs.replace(usage, output=(usage.output or 0) + missing)

    @property
    def tokens_spent(self) -> int:
        """Tokens of ``spent``."""
        spent = self.spent
        return 0 if spent is None else spent.total_tokens

    @property
    def _prompt_estimate(self) -> int:
        if self.estimated_tokens or self.call is None:
            return self.estimated_tokens
        return self.call.estimated_tokens
