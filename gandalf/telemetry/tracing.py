"""OpenTelemetry spans over OTLP/HTTP. Imported only when tracing is on.

Whether a request is traced is decided before the SDK is asked: as the caller's
``traceparent`` says, else by the sample rate. What is not sampled costs a header.

Spans wait in a bounded queue for a thread of the SDK that sends them in batches; what
does not fit is dropped and counted. At the exit that thread gets a few seconds, then
it is left behind: a collector that hangs delays neither an answer nor the exit.
Credentials for the collector come from the standard ``OTEL_EXPORTER_OTLP_*``.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping, Sequence

import trio
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

# The SDK's shutdown blocks; ``Tracer.run`` is the only place that calls it.
from trio.to_thread import run_sync as run_in_thread  # noqa: TID251

from gandalf import __version__
from gandalf.config import Tracing
from gandalf.domain.usage import Attempt
from gandalf.telemetry.spans import Attributes, Trace, TraceHeaders

# At 10 kB a span, some 20 MB: what a collector that is away may cost us.
MAX_WAITING = 2048
BATCH = 512
EXPORT_EVERY = 5.0
# Seconds that the last spans may take at the exit.
FLUSH_WITHIN = 3.0
# Longer than any honest one; the W3C asks to pass on at least 512 characters.
MAX_TRACESTATE = 1024

_TRACEPARENT = re.compile(
    rb"(?P<version>(?!ff)[0-9a-f]{2})"
    rb"-(?P<trace>(?!0{32})[0-9a-f]{32})"
    rb"-(?P<span>(?!0{16})[0-9a-f]{16})"
    rb"-(?P<flags>[0-9a-f]{2})"
    rb"(?P<more>-.*)?"
)


class Tracer:
    """Begins traces, and owns the spans that are still to be sent. An actor."""

    name = "tracer"

    def __init__(
        self,
        settings: Tracing,
        *,
        exporter: SpanExporter | None = None,
        max_waiting: int = MAX_WAITING,
        flush_within: float = FLUSH_WITHIN,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._sample_rate = settings.sample_rate
        self._flush_within = flush_within
        self._chance = chance
        exporter = exporter or OTLPSpanExporter(endpoint=settings.endpoint)
        self._queue = _Queue(exporter, max_waiting)
        # Without this the SDK would flush at the exit, for as long as it takes.
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=_resource(), shutdown_on_exit=False
        )
        self._provider.add_span_processor(self._queue)
        self._tracer = self._provider.get_tracer("gandalf", __version__)
        self._closing = trio.Event()

    @property
    def waiting(self) -> int:
        """Return how many spans are not sent yet."""
        return self._queue.waiting

    @property
    def dropped(self) -> int:
        """Return how many spans were never delivered."""
        return self._queue.dropped

    def begin(self, name: str, headers: Mapping[bytes, bytes], age: float) -> Trace:
        """Begin the trace of a request that arrived ``age`` seconds ago."""
        caller = _caller(headers)
        if caller is None:
            if self._chance() >= self._sample_rate:
                return Unsampled(_new_traceparent(), b"")
            context, tracestate = Context(), b""
        else:
            tracestate = _tracestate(headers)
            if not int(caller["flags"], 16) & TraceFlags.SAMPLED:
                ids = caller.group("trace", "span")
                return Unsampled(b"00-%b-%b-00" % ids, tracestate)
            context = _context(caller, tracestate)
        received_ns = time.time_ns() - int(age * 1e9)
        start = self._tracer.start_span
        span = start(name, context, SpanKind.SERVER, start_time=received_ns)
        return Sampled(start, span, received_ns, tracestate)

    # What the supervisor calls.

    async def run(self) -> None:
        """Wait to be closed; then send what waits, within a bound."""
        await self._closing.wait()
        with trio.move_on_after(self._flush_within):
            # Blocks for as long as the collector likes. Abandoned, the thread is a
            # daemon: it does not keep the process.
            await run_in_thread(
                self._provider.shutdown,
                abandon_on_cancel=True,
                limiter=trio.CapacityLimiter(1),
            )

    def close(self) -> None:
        """Take no more traces. Synchronous, idempotent."""
        self._closing.set()


class Unsampled:
    """A trace that nobody will see. It still tells upstreams so."""

    __slots__ = ("_headers",)

    recording = False

    def __init__(self, traceparent: bytes, tracestate: bytes) -> None:
        self._headers = _headers(traceparent, tracestate)

    def sending(self, attempt: Attempt, name: str) -> TraceHeaders:
        return self._headers

    def end_attempt(
        self, attempt: Attempt, attributes: Attributes, error: str = ""
    ) -> None:
        """Do nothing."""

    def end(self, attributes: Attributes, error: str = "") -> None:
        """Do nothing."""


class Sampled:
    """A trace of one exchange: its own span, and one for each attempt that was sent."""

    __slots__ = ("_attempts", "_context", "_received_ns", "_span", "_start", "_state")

    recording = True

    def __init__(
        self,
        start: Callable[..., Span],
        span: Span,
        received_ns: int,
        tracestate: bytes,
    ) -> None:
        self._start = start
        self._span = span
        self._context = set_span_in_context(span, Context())
        self._received_ns = received_ns
        self._state = tracestate
        self._attempts: list[tuple[Attempt, Span]] = []

    def sending(self, attempt: Attempt, name: str) -> TraceHeaders:
        span = self._start(
            name, self._context, SpanKind.CLIENT, start_time=self._at(attempt.started)
        )
        self._attempts.append((attempt, span))
        context = span.get_span_context()
        ids = (format_trace_id(context.trace_id), format_span_id(context.span_id))
        return _headers("00-{}-{}-01".format(*ids).encode(), self._state)

    def end_attempt(
        self, attempt: Attempt, attributes: Attributes, error: str = ""
    ) -> None:
        for begun, span in self._attempts:
            if begun is attempt:
                _finish(span, attributes, error)
                span.end(self._at(attempt.started + attempt.duration))
                return
        self._span.add_event(
            "gandalf.attempt.not_sent", dict(attributes), self._at(attempt.started)
        )

    def end(self, attributes: Attributes, error: str = "") -> None:
        _finish(self._span, attributes, error)
        self._span.end()

    def _at(self, seconds: float) -> int:
        return self._received_ns + int(seconds * 1e9)


class _Queue(SpanProcessor):
    """Lets spans into the SDK's queue only while there is room, so as to count them.

    The SDK would drop the oldest silently. ``_ended`` and ``_refused`` are written by
    the event loop, the others by the SDK's thread.
    """

    def __init__(self, exporter: SpanExporter, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._exporter = _Counted(exporter)
        self._inner = BatchSpanProcessor(
            self._exporter,
            max_queue_size=max_waiting,
            max_export_batch_size=min(BATCH, max_waiting),
            schedule_delay_millis=EXPORT_EVERY * 1000,
        )
        self._ended = 0
        self._refused = 0

    @property
    def waiting(self) -> int:
        return self._ended - self._exporter.taken

    @property
    def dropped(self) -> int:
        return self._refused + self._exporter.failed

    def on_end(self, span: ReadableSpan) -> None:
        if self.waiting >= self._max_waiting:
            self._refused += 1
            return
        self._ended += 1
        self._inner.on_end(span)

    def shutdown(self) -> None:
        self._inner.shutdown()  # type: ignore[no-untyped-call] # the SDK's own

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


class _Counted(SpanExporter):
    """Counts what the SDK's thread has taken out of the queue, and what it lost."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.taken = 0
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        delivered = False
        try:
            result = self._exporter.export(spans)
            delivered = result is SpanExportResult.SUCCESS
            return result
        finally:
            if not delivered:
                self.failed += len(spans)

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _resource() -> Resource:
    ours = {"service.name": "gandalf", "service.version": __version__}
    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes before.
    return Resource.create(ours).merge(OTELResourceDetector().detect())


def _finish(span: Span, attributes: Attributes, error: str) -> None:
    span.set_attributes(attributes)
    if error:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))


# The W3C's trace context.


def _caller(headers: Mapping[bytes, bytes]) -> re.Match[bytes] | None:
    """Return the caller's ``traceparent`` in its parts; None if it has no valid one."""
    sent = headers.get(b"traceparent")
    if sent is None:
        return None
    match = _TRACEPARENT.fullmatch(sent)
    # Only a later version may hold more fields than we know.
    if match is None or (match["version"] == b"00" and match["more"]):
        return None
    return match


def _context(caller: re.Match[bytes], tracestate: bytes) -> Context:
    parent = SpanContext(
        int(caller["trace"], 16),
        int(caller["span"], 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState.from_header([tracestate.decode("latin-1")]),
    )
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _tracestate(headers: Mapping[bytes, bytes]) -> bytes:
    sent = headers.get(b"tracestate", b"")
    return sent if len(sent) <= MAX_TRACESTATE else b""


def _new_traceparent() -> bytes:
    return b"00-%032x-%016x-00" % (
        random.getrandbits(128) or 1,
        random.getrandbits(64) or 1,
    )


def _headers(traceparent: bytes, tracestate: bytes) -> TraceHeaders:
    if tracestate:
        return ((b"traceparent", traceparent), (b"tracestate", tracestate))
    return ((b"traceparent", traceparent),)
