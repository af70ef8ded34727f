"""One send to one target, up to the first content of its answer, and to its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import msgspec
import trio

from gandalf.actors.breakers import Permit
from gandalf.actors.watches import Watches
from gandalf.dialects.base import UNREADABLE, Answer, Call, Follower
from gandalf.dialects.ends import AnswerFailed
from gandalf.dialects.openai import passthrough_answers
from gandalf.dialects.openai.passthrough import PassthroughCall
from gandalf.dialects.openai.passthrough_answers import Shape
from gandalf.dialects.translation import (
    Translated,
    TranslatedStream,
    translate_answer,
    translate_request,
)
from gandalf.dialects.unread import (
    UNKNOWN_SHAPE,
    Kind,
    kind_of,
    without_mark,
)
from gandalf.domain.errors import (
    BadRequest,
    Fault,
    GatewayError,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
)
from gandalf.domain.routing import Target
from gandalf.domain.usage import Attempt, Billed, EndReason, TokenUsage
from gandalf.pipeline.drains import Drains
from gandalf.pipeline.exchange import Exchange, Reply, StreamFormat
from gandalf.pipeline.failure_policy import error_of, in_band_error
from gandalf.pipeline.passthrough import ask_for
from gandalf.pipeline.stream_body import StreamBody
from gandalf.pricing.price import Price
from gandalf.pricing.table import PriceTable
from gandalf.providers.base import (
    Ask,
    Connectable,
    Provider,
    Upstream,
    UpstreamRequest,
    UpstreamResponse,
)
from gandalf.providers.fields import render
from gandalf.providers.forwarding import forwarded
from gandalf.providers.watch import UpstreamBroken, Watch
from gandalf.telemetry.semconv import operation_name
from gandalf.telemetry.spans import Trace

# The bytes by which a stream is known; one of no type of these is lines of JSON.
STREAM_KINDS = {
    b"text/event-stream": Kind.EVENTS,
    b"application/vnd.amazon.eventstream": Kind.MESSAGES,
}
# A whole answer larger than this does not come from a model.
MAX_ANSWER_BYTES = 128 * 1024 * 1024
# Below this, reading the prompt is no reason for a late first token.
SMALL_BODY = 64 * 1024
# White space before the first event: a sign of life every second takes far less. It is
# looked through again with each piece that comes.
MAX_UNDECIDED = 64 * 1024
# As much of an error body as is worth relaying.
MAX_ERROR_BYTES = 64 * 1024


class Lane:
    """A target, and all that is the same for every request to it."""

    __slots__ = (
        "_prices",
        "connectable",
        "drains",
        "name",
        "price",
        "provider",
        "target",
        "upstream",
    )

    def __init__(
        self,
        target: Target,
        provider: Provider,
        upstream: Upstream,
        drains: Drains,
        prices: PriceTable | None = None,
    ) -> None:
        self.target = target
        self.name = target.name
        self._prices = PriceTable() if prices is None else prices
        self.price = self._prices.get(target.name)
        """None: the target names no model, or is in no route."""
        self.provider = provider
        self.upstream = upstream
        self.connectable = upstream if isinstance(upstream, Connectable) else None
        self.drains = drains

    def price_of(self, model: str) -> Price | None:
        """Return the price of another model at the same provider."""
        return self._prices.of_model(self.target.provider, model)


class Sending:
    """Sends to one target, and keeps the answer until the exchange is over.

    Args:
        exchange: What is to be answered.
        call: Its call.
        lane: Where to.
        permit: The leave to do so; settled when the attempt is over, but for an
            attempt that ends with an ``error``, which is for others to judge.
        watches: Who keeps the time.
    """

    __slots__ = (
        "_call",
        "_exchange",
        "_provider",
        "_response",
        "_started_at",
        "_translated",
        "_watch",
        "_watches",
        "attempt",
        "error",
        "has_next",
        "lane",
        "permit",
        "reply",
    )

    def __init__(
        self,
        exchange: Exchange,
        call: Call,
        lane: Lane,
        permit: Permit,
        watches: Watches,
    ) -> None:
        self._exchange = exchange
        self._call = call
        self.lane = lane
        self._provider = provider = lane.provider
        self.permit = permit
        self._watches = watches
        self._response: UpstreamResponse | None = None
        self._translated: Translated | None = None
        attempts = exchange.attempts
        self._started_at = started_at = (
            trio.current_time() if attempts else exchange.dispatched_at
        )
        total = provider.timeouts.total
        self._watch = Watch(math.inf if total is None else started_at + total)
        self.reply: Reply | None = None
        """What is served; None until it is known."""
        self.has_next = False
        """Whether another target is left to try."""
        self.error: UpstreamError | None = None
        """Why there is nothing to serve; nothing of it reached the client."""
        self.attempt = Attempt(
            target=lane.name, started=started_at - exchange.received_at
        )
        attempts.append(self.attempt)

    async def run(self) -> Reply | None:
        """Send the request and wait for the answer, or for a stream's first content.

        Whoever gets the reply calls ``settle`` once it is over. If there is none, or
        nobody waits for it any more, all is over but what ``error`` says.

        Raises:
            BadRequest: This provider has no way to say what the client asks for.
        """
        exchange, provider, watch = self._exchange, self._provider, self._watch
        self._watches.add(watch)
        try:
            ask = self._ask()
            request = await provider.request(ask)
            if exchange.trace is not None:
                request = self._traced(exchange.trace, request)
            self._response = response = await self.lane.upstream.send(
                request, provider.timeouts, watch
            )
            now = trio.current_time()
            watch.hedge = None
            if watch.resent_at:
                self._note_resent()
            self.attempt.status = response.status
            self.attempt.ttfb = now - self._started_at
            if isinstance(self._call, PassthroughCall):
                return await self._passed_on(self._call, response)
            if not 200 <= response.status < 300:
                raise await self._refusal(response)
            if ask.stream:
                return await self._stream(response)
            body = response.rest()
            if body is None:
                body = await self._read(response, now)
                now = trio.current_time()
            return self._whole(body, now)
        except UpstreamBroken as broken:
            if watch.resent_at:
                self._note_resent()
            self.error = self._failed(broken)
            return None
        except UpstreamError as error:
            status = error.upstream_status
            self._note(f"upstream_{status}" if status else error.code, error.detail)
            self.error = error
            return None
        except BadRequest as error:
            # It cannot be said to this provider.
            self._note(error.code, error.message)
            self.attempt.decision = "skipped"
            raise
        except GatewayError as error:
            # The client's upload broke off.
            self._note(error.code, error.message)
            raise
        except trio.Cancelled:
            # The client has left, or we are stopping. What was sent may be billed.
            self._exchange.upstream_worked = self._watch.worked
            self._note(str(self._exchange.cut or EndReason.CLIENT_DISCONNECT), "")
            raise
        finally:
            if self.reply is None:
                self._let_go()
                if self.error is None:
                    self.permit.release()

    def _ask(self) -> Ask:
        """Return the client's call as this target's provider understands it."""
        exchange, provider = self._exchange, self._provider
        call, model = self._call, self.lane.target.model
        if isinstance(call, PassthroughCall):
            return ask_for(exchange, call, model)
        if provider.dialect is exchange.dialect:
            body = call.body_for(model)
            lost = call.lost
            if provider.refused_fields is not None and call.operation == "chat":
                body, refused = provider.refused_fields.leave_out(body)
                lost += refused
            if lost and exchange.strict:
                raise BadRequest(
                    f"the model's provider does not take {', '.join(lost)}, and this"
                    " request is strict",
                    code="unsupported_parameter",
                    param=lost[0],
                )
            exchange.dropped, exchange.approximated = lost, ()
            return Ask(
                operation=call.operation,
                model=model,
                body=body,
                stream=call.stream,
                headers=forwarded(exchange.headers),
                query=exchange.query,
            )
        translated = translate_request(
            call,
            provider.dialect,
            provider.model(model),
            source=exchange.dialect,
            strict=exchange.strict,
        )
        # A stream would hold the body for as long as it is open.
        self._translated = msgspec.structs.replace(translated, body=b"")
        exchange.dropped = translated.dropped
        exchange.approximated = translated.approximated
        return Ask(
            operation=translated.operation,
            model=model,
            body=translated.body,
            stream=call.stream,
        )

    def _traced(self, trace: Trace, request: UpstreamRequest) -> UpstreamRequest:
        """Return ``request`` with the fields that make the upstream part of a trace."""
        operation = operation_name(self._exchange.operation)
        name = f"{operation} {self.lane.target.model}"
        fields = render(trace.sending(self.attempt, name))
        return msgspec.structs.replace(request, headers=request.headers + fields)

    def _failed(self, broken: UpstreamBroken) -> UpstreamError:
        error = (
            self._too_late()
            if self._watch.expired
            else UpstreamError(self._provider.name, str(broken), fault=broken.fault)
        )
        error.__cause__ = broken
        self._note(error.code, error.detail)
        return error

    def _too_late(self) -> UpstreamTimeout:
        timeouts, watch = self._provider.timeouts, self._watch
        limit = timeouts.total if watch.name == "total" else watch.limit
        fault = Fault.GATEWAY if watch.name == "pool" else None
        return UpstreamTimeout(
            self._provider.name, watch.name, limit or 0.0, fault=fault
        )

    async def _refusal(self, response: UpstreamResponse) -> UpstreamError:
        body = b""
        self._watch.phase("idle", self._provider.timeouts.idle)
        try:
            while len(body) < MAX_ERROR_BYTES and (piece := await response.receive()):
                body += piece
        except UpstreamBroken:
            pass  # The status is known, and says more than the missing text would.
        error = error_of(self._provider, response.status, response.headers, body)
        if self._translated is not None and isinstance(error, UpstreamRefused):
            # Its body is in words that the client does not speak.
            error.body = b""
        return error

    def _whole(self, body: bytes, now: float) -> Reply:
        exchange, translated = self._exchange, self._translated
        call = self._call if translated is None else translated
        dialect = self._provider.dialect
        answer = dialect.read_answer(call.operation, body)
        if answer is None:
            body = without_mark(body)
            answer = dialect.read_answer(call.operation, body)
        if answer is None and (made := dialect.as_whole(body)):
            # A stream that was not asked for.
            body = made
            answer = dialect.read_answer(call.operation, body)
        self._note_answer(answer)
        if translated is not None:
            body = self._in_clients_words(body, translated)
        if exchange.capture is not None:
            exchange.capture.add(body)
        return self._serve(Reply(200, b"application/json", body), now)

    async def _read(self, response: UpstreamResponse, now: float) -> bytes:
        watch, idle = self._watch, self._provider.timeouts.idle
        watch.phase("idle", idle, now)
        pieces: list[bytes] = []
        size = 0
        while piece := await response.receive():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                raise UpstreamError(self._provider.name, "the answer is too large")
            watch.phase("idle", idle)
        return b"".join(pieces)

    def _note_answer(self, answer: Answer | None) -> None:
        if answer is None:
            raise UpstreamError(self._provider.name, "the answer is not JSON")
        if answer.failed is not None:
            self._bill(answer.usage)
            raise in_band_error(self._provider, answer.failed)
        if answer.unread:
            self._exchange.unread = ((UNKNOWN_SHAPE, 1),)
        self._exchange.usage = answer.usage
        self._exchange.finish_reason = answer.finish_reason

    async def _passed_on(
        self, call: PassthroughCall, response: UpstreamResponse
    ) -> Reply:
        exchange, status = self._exchange, response.status
        if not 200 <= status < 300:
            raise await self._refusal(response)
        content_type = response.headers.get(b"content-type", b"")
        label = passthrough_answers.shape_of(call, status, content_type)
        shape, first = label, b""
        self._watch.phase("first_token", self._first_token_limit())
        if label is not Shape.OPAQUE:
            first = await self._decisive(response)
            shape = passthrough_answers.shape_by(label, first)
        elif not _has_end(response):
            raise UpstreamError(self._provider.name, "the answer does not say its end")
        if shape is not label:
            content_type = passthrough_answers.LABELS[shape]
        passed = passthrough_answers.passed_headers(response.headers)
        if shape is Shape.WHOLE or passthrough_answers.wants_whole(call, shape):
            whole = first + await self._read(response, trio.current_time())
            if shape is Shape.EVENTS:
                whole = passthrough_answers.as_whole(call, whole)
                content_type = passthrough_answers.LABELS[Shape.WHOLE]
            whole = without_mark(whole)
            self._note_answer(passthrough_answers.read_answer(call, whole))
            if call.stream:
                raise UpstreamError(self._provider.name, "the answer is not a stream")
            exchange.reply_headers += passed
            reply = Reply(status, content_type, whole)
            return self._serve(reply, trio.current_time())
        exchange.stream_format = StreamFormat(
            content_type,
            partial(passthrough_answers.broken_off, call, shape),
            keep_alive=exchange.dialect.KEEP_ALIVE if shape is Shape.EVENTS else b"",
        )
        follower = passthrough_answers.follow(call, shape)
        reply = await self._followed(response, follower, status, content_type, first)
        # Not before it is served: another target's fields would stay with this one's.
        exchange.reply_headers += passed
        return reply

    def _in_clients_words(self, body: bytes, translated: Translated) -> bytes:
        exchange, provider = self._exchange, self._provider
        try:
            body, finish = translate_answer(
                self._call,
                body,
                spoken=provider.dialect,
                source=exchange.dialect,
                json_tool=translated.json_tool,
                names=translated.names,
            )
        except AnswerFailed as error:
            raise in_band_error(provider, error.failed) from error
        except UNREADABLE as error:
            self._bill(exchange.usage)
            raise UpstreamError(
                provider.name, "the answer is not what the provider's API says"
            ) from error
        exchange.finish_reason = finish
        return body

    async def _stream(self, response: UpstreamResponse) -> Reply:
        exchange = self._exchange
        self._watch.phase("first_token", self._first_token_limit())
        first = await self._beginning(response)
        follower, form = self._follower(), exchange.stream_format
        if form is None:
            shown = exchange.dialect.STREAM_CONTENT_TYPE
        else:
            shown = form.content_type
            follower = follower if form.wrap is None else form.wrap(follower)
        return await self._followed(response, follower, 200, shown, first)

    async def _beginning(self, response: UpstreamResponse) -> bytes:
        """Return the first bytes of a stream, by which it is known to be one.

        By its own bytes rather than by its content type: proxies drop or change that.
        """
        provider = self._provider
        kind = response.headers.get(b"content-type", b"").lower()
        first = await self._decisive(response)
        wanted = STREAM_KINDS.get(provider.stream_content_type, Kind.JSON)
        found = kind_of(first)
        if found is wanted or not first:
            return without_mark(first)
        if found is Kind.JSON and wanted is not Kind.MESSAGES:
            rest = await self._read(response, trio.current_time())
            return self._as_stream(first + rest)
        if found is Kind.OTHER and kind.startswith(provider.stream_content_type):
            return first
        raise UpstreamError(provider.name, "the answer is not a stream")

    async def _decisive(self, response: UpstreamResponse) -> bytes:
        """Return as much of a body as tells what it is; b"" if there is none."""
        first = await response.receive()
        while kind_of(first) is Kind.UNDECIDED and len(first) <= MAX_UNDECIDED:
            piece = await response.receive()
            if not piece:
                break
            first += piece
        return first

    def _as_stream(self, body: bytes) -> bytes:
        """Return a whole answer to a request for a stream as the stream it stands for.

        Its follower treats it as any other.
        """
        call = self._call if self._translated is None else self._translated
        dialect = self._provider.dialect
        body = without_mark(body)
        stream = dialect.as_stream(body)
        if not stream:
            self._note_answer(dialect.read_answer(call.operation, body))
            raise UpstreamError(self._provider.name, "the answer is not a stream")
        return stream

    async def _followed(
        self,
        response: UpstreamResponse,
        follower: Follower,
        status: int,
        content_type: bytes,
        first: bytes = b"",
    ) -> Reply:
        provider, watch = self._provider, self._watch
        body = StreamBody(self._exchange, provider, response, follower, watch, first)
        try:
            await body.wait_content()
        except UpstreamError:
            self._bill(follower.usage)
            raise
        watch.phase("client", None)
        return self._serve(Reply(status, content_type, body), trio.current_time())

    def _first_token_limit(self) -> float | None:
        timeouts = self._provider.timeouts
        if self.has_next and len(self._call.body) < SMALL_BODY:
            limit = timeouts.first_token_failover
            known = self._provider.model(self.lane.target.model)
            if limit is not None and known.thinking is False:
                return min(limit, timeouts.first_token or limit)
        return timeouts.first_token

    def _follower(self) -> Follower:
        spoken, source = self._provider.dialect, self._exchange.dialect
        if self._translated is None:
            return source.follow(self._call)
        return TranslatedStream(
            spoken.stream_parser(),
            source.stream_renderer(self._call),
            self._translated.json_tool,
            self._translated.names,
        )

    def _serve(self, reply: Reply, now: float) -> Reply:
        exchange, attempt = self._exchange, self.attempt
        attempt.duration = duration = now - self._started_at
        attempt.decision = "answer"
        exchange.upstream_time += duration
        exchange.ttft = now - exchange.dispatched_at
        exchange.served_by = self.lane.target
        exchange.price = self.lane.price
        exchange.upstream_worked = True
        exchange.served = self
        self.permit.begun()
        self.reply = reply
        return reply

    def _bill(self, usage: TokenUsage | None) -> None:
        """Note the usage of an attempt that failed; the provider charges for it."""
        self._exchange.usage = None
        if usage is None or not usage.total_tokens:
            return
        price = self.lane.price
        cost, rating = (None, None) if price is None else price.rate(usage, time.time())
        self.attempt.billed = Billed(usage, cost, rating)

    def _note(self, outcome: str, reason: str) -> None:
        self.attempt.outcome = outcome
        self.attempt.reason = reason[:200]
        self.attempt.duration = trio.current_time() - self._started_at
        # It was waited for, in vain or not: that time is none of the gateway's own.
        self._exchange.upstream_time += self.attempt.duration

    def _note_resent(self) -> None:
        """Put on the record that the request was sent twice.

        The first time went to a kept connection that the upstream had closed.
        """
        watch, attempt, exchange = self._watch, self.attempt, self._exchange
        lost = watch.resent_at - self._started_at
        first = Attempt(
            target=self.lane.name,
            started=attempt.started,
            duration=lost,
            outcome="stale_connection",
            decision="retry",
            reason="the upstream had closed the kept connection",
        )
        exchange.attempts.insert(len(exchange.attempts) - 1, first)
        exchange.upstream_time += lost
        attempt.started += lost
        self._started_at = watch.resent_at
        watch.resent_at = 0.0

    # Connecting, beside another target.

    def hedge_after(self, delay: float, hedge: Callable[[], object]) -> None:
        """Have ``hedge`` called if this is still connecting after ``delay`` seconds."""
        self._watch.hedge = hedge
        self._watch.hedge_at = self._started_at + delay

    def overtake(self) -> None:
        """Stop connecting: another target has connected first."""
        self._watch.overtake(trio.current_time() - self._started_at)

    @property
    def overtaken(self) -> bool:
        """Whether another target had connected first."""
        return self._watch.overtaken

    def settle(self, exchange: Exchange) -> None:
        """Let go of the upstream; note how it ended, and tell the breaker."""
        self._let_go()
        attempt, error = self.attempt, exchange.error
        assert self.reply is not None  # noqa: S101 - what is served has one
        body = self.reply.body
        if isinstance(body, StreamBody):
            body.note(exchange)
        if self.lane.price is None:
            self._price_of_object(exchange)
            attempt.duration = trio.current_time() - self._started_at
        if exchange.end_reason is EndReason.COMPLETE and error is None:
            attempt.outcome = "served"
            self.permit.success(self._started_at + attempt.duration)
        elif isinstance(error, UpstreamError):
            attempt.outcome = error.code
            attempt.reason = error.detail[:200]
            self.permit.failure(error.fault, error.message, wait=error.retry_after)
        else:
            # Its client left or we are stopping: that says nothing of the upstream.
            attempt.outcome = str(exchange.end_reason)
            self.permit.release()

    def _price_of_object(self, exchange: Exchange) -> None:
        """Find the price of a batch or response: its request names no model."""
        usage = exchange.usage
        if usage is not None and usage.other is not None and usage.other.model:
            exchange.price = self.lane.price_of(usage.other.model)

    def _let_go(self) -> None:
        self._watches.discard(self._watch)
        self._watch.hedge = None  # It holds this.
        if self._response is not None:
            self._response.close()


def _has_end(response: UpstreamResponse) -> bool:
    """Whether a body that is cut off can be told from a whole one.

    One that ends with its connection cannot, and bytes have no end marker.
    """
    headers = response.headers
    framed = b"content-length" in headers or b"transfer-encoding" in headers
    return framed or response.status == 204
