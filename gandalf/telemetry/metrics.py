"""Every metric of the gateway, and what moves it. The table is docs/operations.md.

One ``Metrics`` is made at the start and handed to whoever needs it. Counting happens
in three ways: requests that run the pipeline are observed once, from their usage
record; pages that Quart serves are observed by the HTTP layer; and what an actor
owns is read from it when somebody scrapes, so that it cannot drift from the truth.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

import trio

# Importing prometheus-client takes one, where somebody scrapes.
from trio.to_thread import run_sync as run_in_thread  # noqa: TID251

from gandalf import __version__
from gandalf.domain.errors import RateLimited
from gandalf.domain.prices import NANO_PER_USD
from gandalf.domain.usage import UsageRecord, UsageSource
from gandalf.telemetry.observed import Observed
from gandalf.telemetry.series import (
    OTHER,
    Cell,
    Counter,
    Gauge,
    Histogram,
    Read,
    Series,
)

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

BREAKER_STATES = {"closed": 0, "open": 1, "half_open": 2}
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# The model label of a request whose alias has no route: clients make such names up.
UNKNOWN_MODEL = "unknown"
_PROVIDER = UsageSource.PROVIDER
# Kinds of requests to remember the series of; past it all are looked up anew.
MAX_KINDS = 1000
TOKEN_CLASSES = (
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "output",
    "reasoning",
    "audio_input",
    "audio_output",
)

# fmt: off
# From a cached answer to a long generation. Whoever changes buckets breaks dashboards.
DURATION_BUCKETS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)
TTFT_BUCKETS = (
    0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75,
    1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0,
)
# The gateway's own share is a fraction of a millisecond, so most of them lie there.
OVERHEAD_BUCKETS = (
    0.0001, 0.0002, 0.0003, 0.0005, 0.00075,
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
# fmt: on


class _Series:
    """The declarations: name, help text, labels, buckets."""

    def __init__(self) -> None:
        self.requests = Counter(
            "gandalf_requests_total",
            "Requests by method, route pattern and the status the client got.",
            ("method", "path", "status"),
        )
        self.request_duration = Histogram(
            "gandalf_request_duration_seconds",
            "From a request's last byte to the end of its answer.",
            ("method", "path"),
            buckets=DURATION_BUCKETS,
        )
        self.active_requests = Gauge(
            "gandalf_active_requests", "Requests in the pipeline now."
        )
        self.open_connections = Gauge(
            "gandalf_open_connections", "Client connections open now."
        )
        self.cache_hits = Counter(
            "gandalf_cache_hits_total", "Answers taken from the cache."
        )
        self.cache_misses = Counter(
            "gandalf_cache_misses_total", "Cacheable requests that were not in it."
        )
        self.ratelimit_rejects = Counter(
            "gandalf_ratelimit_rejects_total",
            "Requests refused because their key was out of rpm or tpm.",
            ("type",),
        )
        self.tokens = Counter(
            "gandalf_tokens_processed_total",
            "Tokens as reported by providers, by the alias asked for.",
            ("model", "type"),
        )
        self.tokens_by_class = Counter(
            "gandalf_tokens_by_class_total",
            "The same tokens, split into disjoint classes.",
            ("model", "class"),
        )
        self.cost = Counter(
            "gandalf_cost_usd_total",
            "Cost of requests in USD, by the alias asked for and the provider.",
            ("model", "provider"),
            divisor=NANO_PER_USD,
        )
        self.org_cost = Counter(
            "gandalf_org_cost_usd_total",
            "Cost of requests in USD, by organisation.",
            ("organization",),
            divisor=NANO_PER_USD,
        )
        self.org_tokens = Counter(
            "gandalf_org_tokens_total",
            "Tokens as reported by providers, by organisation.",
            ("organization", "type"),
        )
        self.unpriced = Counter(
            "gandalf_unpriced_requests_total",
            "Requests whose cost is not known, because their target has no price.",
            ("target",),
        )
        self.usage_missing = Counter(
            "gandalf_usage_missing_total",
            "Requests an upstream worked on without reporting their usage.",
            ("target",),
        )
        self.ttft = Histogram(
            "gandalf_time_to_first_token_seconds",
            "From dispatch to the first content of the answer.",
            ("model", "target"),
            buckets=TTFT_BUCKETS,
        )
        self.overhead = Histogram(
            "gandalf_overhead_seconds",
            "Time of a request spent neither upstream nor on the client.",
            buckets=OVERHEAD_BUCKETS,
        )
        self.upstream_duration = Histogram(
            "gandalf_upstream_duration_seconds",
            "Duration of one attempt at a target, whatever came of it.",
            ("target",),
            buckets=DURATION_BUCKETS,
        )
        self.attempts = Counter(
            "gandalf_attempts_total",
            "Attempts at targets, and targets skipped, by outcome.",
            ("target", "outcome"),
        )
        self.stream_ends = Counter(
            "gandalf_stream_end_total",
            "Requests for a stream, by how they ended.",
            ("reason",),
        )
        self.unread_events = Counter(
            "gandalf_stream_events_unread_total",
            "Parts of answers that were passed on or skipped without being read.",
            ("target", "why"),
        )
        self.credential_expiry = Gauge(
            "gandalf_credential_expires_seconds",
            "Seconds until a cloud's credential expires; below 0 it has.",
            ("provider",),
        )
        self.credential_failures = Gauge(
            "gandalf_credential_failures",
            "Fetches of a cloud's credential that failed since the last good one.",
            ("provider",),
        )
        self.breaker_state = Gauge(
            "gandalf_circuit_breaker_state",
            "State of a target's breaker: 0 closed, 1 open, 2 half-open.",
            ("provider",),
        )
        self.breaker_rejects = Counter(
            "gandalf_circuit_breaker_rejects_total",
            "Times that a target was passed over because of its breaker.",
            ("provider",),
        )
        self.queue_depth = Gauge(
            "gandalf_queue_depth", "What waits in a queue now.", ("queue",)
        )
        self.queue_dropped = Counter(
            "gandalf_queue_dropped_total", "What a full queue let go.", ("queue",)
        )
        self.budget_thresholds = Counter(
            "gandalf_budget_thresholds_total",
            "Thresholds that the spending of a budget has reached.",
            ("budget", "threshold"),
        )
        self.budget_refusals = Counter(
            "gandalf_budget_refusals_total",
            "Requests refused and streams ended because a budget had no room.",
            ("budget",),
        )
        self.reservations = Gauge(
            "gandalf_ledger_reservations", "Reservations that are open now."
        )
        self.expired_reservations = Gauge(
            "gandalf_ledger_expired_reservations",
            "Reservations that expired and were not settled since.",
        )
        self.ledger_drift = Gauge(
            "gandalf_ledger_drift",
            "Balances less the sums of their records, at the last audit.",
        )
        self.loop_lag = Histogram(
            "gandalf_event_loop_lag_seconds",
            "How late the event loop ran a task that was due.",
            buckets=LAG_BUCKETS,
        )
        self.loop_lag_max = Gauge(
            "gandalf_event_loop_lag_max_seconds",
            "The longest such delay since the last scrape.",
        )
        self.config_version = Gauge(
            "gandalf_config_version", "Number of configurations loaded so far."
        )
        self.config_reloads = Counter(
            "gandalf_config_reload_total",
            "Reloads of the configuration, by whether it was accepted.",
            ("result",),
        )
        self.build_info = Gauge(
            "gandalf_build_info", "What runs here; always 1.", ("version", "python")
        )

    def declared(self) -> list[Series]:
        """Return all of them, by name."""
        # Compiled it has no dictionary, so no ``vars``.
        held = [getattr(self, name) for name in dir(self)]
        return [each for each in held if isinstance(each, Series)]


_Kind = tuple[str, str, int, str, str, str, str]
"""Method, path, status, model, target, outcome, organisation."""


class _Ordinary:
    """Counts requests of one kind, which were answered by their only attempt.

    It adds to the same series as everything else, having looked them up but once.
    """

    __slots__ = (
        "_attempts",
        "_completion",
        "_cost",
        "_duration",
        "_model",
        "_org_completion",
        "_org_cost",
        "_org_prompt",
        "_overhead",
        "_prompt",
        "_requests",
        "_target",
        "_token_classes",
        "_tokens",
        "_ttft",
        "_unpriced",
        "_upstream",
    )

    def __init__(
        self,
        series: _Series,
        method: str,
        path: str,
        status: int,
        model: str,
        target: str,
        outcome: str,
        org_id: str,
    ) -> None:
        self._requests = series.requests.cell((method, path, status))
        self._duration = series.request_duration.distribution((method, path))
        self._overhead = series.overhead.distribution()
        self._attempts = series.attempts.cell((target, outcome))
        self._upstream = series.upstream_duration.distribution((target,))
        self._ttft = series.ttft.distribution((model, target))
        self._prompt = series.tokens.cell((model, "prompt"))
        self._completion = series.tokens.cell((model, "completion"))
        self._cost = series.cost.cell((model, target.partition("/")[0]))
        self._org_cost = series.org_cost.cell((org_id,))
        self._org_prompt = series.org_tokens.cell((org_id, "prompt"))
        self._org_completion = series.org_tokens.cell((org_id, "completion"))
        self._unpriced = series.unpriced
        self._target = target
        self._token_classes = series.tokens_by_class
        self._model = model
        # Of each class, once it occurs: none is shown that never does.
        self._tokens: list[Cell | None] = [None] * len(TOKEN_CLASSES)

    def observe(self, record: UsageRecord, upstream: float, ttft: float) -> None:
        self._requests.value += 1
        self._attempts.value += 1
        self._duration.observe(record.latency)
        self._overhead.observe(record.overhead)
        self._upstream.observe(upstream)
        self._ttft.observe(ttft)
        tokens = record.tokens
        # In the order of TOKEN_CLASSES.
        if fresh := tokens.input or 0:
            self._add(0, fresh)
        if read := tokens.cache_read or 0:
            self._add(1, read)
        if written := tokens.cache_write or 0:
            self._add(2, written)
        if written_1h := tokens.cache_write_1h or 0:
            self._add(3, written_1h)
        if output := tokens.output or 0:
            self._add(4, output)
        if reasoning := tokens.reasoning or 0:
            self._add(5, reasoning)
        if heard := tokens.audio_input or 0:
            self._add(6, heard)
        if spoken := tokens.audio_output or 0:
            self._add(7, spoken)
        prompt = fresh + read + written + written_1h + heard
        completion = output + reasoning + spoken
        if (other := tokens.other) is not None:
            prompt += other.prompt_tokens
            completion += other.completion_tokens
        self._prompt.value += prompt
        self._completion.value += completion
        self._org_prompt.value += prompt
        self._org_completion.value += completion
        if (cost := record.cost_nanousd) is not None:
            self._cost.value += cost
            self._org_cost.value += cost
        else:
            self._unpriced.add((self._target,))

    def _add(self, number: int, amount: int) -> None:
        cell = self._tokens[number]
        if cell is None:
            labels = (self._model, TOKEN_CLASSES[number])
            cell = self._tokens[number] = self._token_classes.cell(labels)
        cell.value += amount


class Metrics(_Series):
    """All metrics of this process."""

    def __init__(self) -> None:
        super().__init__()
        # prometheus-client's, when somebody has asked for a page.
        self._of_process: tuple[Collector, ...] | None = None

        self._kinds: dict[_Kind, _Ordinary] = {}
        self._hits = self.cache_hits.cell()
        self._misses = self.cache_misses.cell()
        self._worst_lag = 0.0
        self.loop_lag_max.watch(self._take_worst_lag)
        self.build_info.set(1, (__version__, platform.python_version()))
        # What can be counted shows as 0 before it happens: ``rate()`` needs that.
        for kind in ("rpm", "tpm"):
            self.ratelimit_rejects.add((kind,), 0)
        for result in ("accepted", "rejected"):
            self.config_reloads.add((result,), 0)

    # Requests.

    def observe(self, exchange: Observed, record: UsageRecord) -> None:
        """Count a request that has run the pipeline. Called once, at its settlement."""
        attempts = record.attempts
        if (
            record.usage_source is _PROVIDER
            and record.ttft is not None
            and len(attempts) == 1
            and attempts[0].decision == "answer"
        ):
            attempt = attempts[0]
            route = exchange.route
            key = (
                exchange.method,
                exchange.rule,
                record.status,
                UNKNOWN_MODEL if route is None else route.alias,
                attempt.target,
                attempt.outcome,
                record.org_id,
            )
            kind = self._kinds.get(key)
            if kind is None:
                kind = self._new_kind(key)
            kind.observe(record, attempt.duration, record.ttft)
        else:
            self._observe_unusual(exchange, record)
        if record.stream:
            self.stream_ends.add((record.end_reason.value,))
        if record.unread:
            target = f"{record.provider}/{record.model}"
            for why, times in record.unread:
                self.unread_events.add((target, why), times)
        if record.cache == "miss":
            self._misses.value += 1
        elif record.cache == "hit":
            self._hits.value += 1
        if exchange.error is not None and isinstance(exchange.error, RateLimited):
            self.ratelimit_rejects.add((exchange.error.limit,))

    def _new_kind(self, key: _Kind) -> _Ordinary:
        """Return what counts requests with ``key``."""
        if len(self._kinds) >= MAX_KINDS:
            self._kinds.clear()
        kind = self._kinds[key] = _Ordinary(self, *key)
        return kind

    def _observe_unusual(self, exchange: Observed, record: UsageRecord) -> None:
        method, path = exchange.method, exchange.rule
        self.requests.add((method, path, record.status))
        self.request_duration.observe(record.latency, (method, path))
        self.overhead.observe(record.overhead)
        if record.attempts:
            self._observe_attempts(record)
            self._observe_usage(_model_of(exchange), record)

    def observe_page(
        self, method: str, path: str, status: int, duration: float
    ) -> None:
        """Count a request that was answered outside the pipeline.

        Args:
            method: As sent; what is no method of ours counts as ``other``.
            path: The route's pattern, never the raw path: ``unmatched`` without one.
            status: What the client got.
            duration: Seconds from the request's last byte to the end of its answer.
        """
        if method not in METHODS:
            method = OTHER
        self.requests.add((method, path, status))
        self.request_duration.observe(duration, (method, path))

    def _observe_attempts(self, record: UsageRecord) -> None:
        for attempt in record.attempts:
            self.attempts.add((attempt.target, attempt.outcome))
            if attempt.decision != "skipped":
                self.upstream_duration.observe(attempt.duration, (attempt.target,))
            elif attempt.outcome == "breaker_open":
                self.breaker_rejects.add((attempt.target,))

    def _observe_usage(self, model: str, record: UsageRecord) -> None:
        if record.ttft is not None and record.provider:
            target = f"{record.provider}/{record.model}"
            self.ttft.observe(record.ttft, (model, target))
        if record.usage_source is UsageSource.PROVIDER:
            tokens = record.tokens
            self.tokens.add((model, "prompt"), tokens.prompt_tokens)
            self.tokens.add((model, "completion"), tokens.completion_tokens)
            org = record.org_id
            self.org_tokens.add((org, "prompt"), tokens.prompt_tokens)
            self.org_tokens.add((org, "completion"), tokens.completion_tokens)
            for name in TOKEN_CLASSES:
                if amount := getattr(tokens, name):
                    self.tokens_by_class.add((model, name), amount)
        asked = _last_asked(record)
        if record.cost_nanousd is None:
            self.unpriced.add((asked,))
        elif record.cost_nanousd:
            provider = asked.partition("/")[0]
            self.cost.add((model, provider), record.cost_nanousd)
            self.org_cost.add((record.org_id,), record.cost_nanousd)
        if record.usage_source is UsageSource.ESTIMATED:
            self.usage_missing.add((_last_asked(record),))

    # What owners of state tell, or let be read at each scrape.

    def watch_breakers(self, read: Callable[[], Iterable[tuple[str, str]]]) -> None:
        """Show the breakers that ``read`` lists at each scrape: target and state."""
        self.breaker_state.watch_all(
            lambda: {(target,): BREAKER_STATES[state] for target, state in read()}
        )

    def watch_credentials(
        self, read: Callable[[], Iterable[tuple[str, float, int]]]
    ) -> None:
        """Show the credentials that ``read`` lists at each scrape.

        Of each the provider's name, the seconds until it expires (``inf``: never) and
        the fetches that failed since the last good one.
        """
        self.credential_expiry.watch_all(
            lambda: {(name,): expires_in for name, expires_in, _ in read()}
        )
        self.credential_failures.watch_all(
            lambda: {(name,): failures for name, _, failures in read()}
        )

    def config_reloaded(self, *, accepted: bool) -> None:
        """Count a reload of the configuration."""
        self.config_reloads.add(("accepted" if accepted else "rejected",))

    def loop_lagged(self, lag: float) -> None:
        """Note that the event loop ran a task ``lag`` seconds late."""
        self.loop_lag.observe(lag)
        self._worst_lag = max(self._worst_lag, lag)

    def watch_queue(self, queue: str, depth: Read, dropped: Read | None = None) -> None:
        """Show a queue's depth, and how much it has ever dropped, at each scrape."""
        self.queue_depth.watch(depth, (queue,))
        if dropped is not None:
            self.queue_dropped.watch(dropped, (queue,))

    # The page.

    def collectors(self) -> list[Collector]:
        """Return all metrics, as prometheus-client takes them. Takes a while at first.

        Its own are of the process and of Python.
        """
        if self._of_process is None:
            self._of_process = _collectors_of_process()
        return [*cast("list[Collector]", self.declared()), *self._of_process]

    def render(self) -> bytes:
        """Return the page in Prometheus' text format, in one go."""
        from prometheus_client import generate_latest

        return b"".join(map(generate_latest, self.collectors()))

    async def scrape(self) -> bytes:
        """Return the page; lets other tasks run between any two metrics."""
        if self._of_process is None:
            self._of_process = await run_in_thread(_collectors_of_process)
        from prometheus_client import generate_latest

        parts = []
        for collector in self.collectors():
            parts.append(generate_latest(collector))
            await trio.lowlevel.checkpoint()
        return b"".join(parts)

    def _take_worst_lag(self) -> float:
        worst, self._worst_lag = self._worst_lag, 0.0
        return worst


def _collectors_of_process() -> tuple[Collector, ...]:
    from prometheus_client.platform_collector import PlatformCollector
    from prometheus_client.process_collector import ProcessCollector

    return ProcessCollector(registry=None), PlatformCollector(registry=None)


def _model_of(exchange: Observed) -> str:
    return UNKNOWN_MODEL if exchange.route is None else exchange.route.alias


def _last_asked(record: UsageRecord) -> str:
    asked = [a.target for a in record.attempts if a.decision != "skipped"]
    return asked[-1] if asked else OTHER
