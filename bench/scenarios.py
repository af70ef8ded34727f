"""What is measured: short rounds, the candidates by turns, medians of the rounds.

By turns, because what else the machine does then falls on all candidates alike.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from bench import processes, traffic


@dataclass(frozen=True)
class Candidate:
    """Something that answers chat requests."""

    name: str
    port: int
    key: str
    model: str
    slow_model: str
    pid: int


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: float
    warm_up: float
    concurrencies: Sequence[int] = (1, 16, 64, 256)
    stream_connections: int = 64
    slow_streams: int = 2000
    slow_ramp: float = 1.0
    slow_streams_baseline: int = 0


@dataclass
class Series:
    """The rounds of one candidate at one concurrency."""

    rounds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return float(median(each["answers"] / each["seconds"] for each in self.rounds))

    @property
    def p50(self) -> float:
        return self._latency("p50")

    @property
    def p99(self) -> float:
        return self._latency("p99")

    def cpu(self, *names: str) -> float:
        """The share of one core that these processes used together."""
        used = (
            sum(each["cpu"].get(name, 0.0) for name in names) for each in self.rounds
        )
        return float(median(used))

    def _latency(self, quantile: str) -> float:
        # A round without a single answer took for ever.
        times = (each["latency"].get(quantile, math.inf) for each in self.rounds)
        return float(median(times))

    @property
    def wrong(self) -> int:
        return sum(each["wrong"] for each in self.rounds)

    @property
    def first_wrong(self) -> str:
        return next((r["first_wrong"] for r in self.rounds if r["first_wrong"]), "")


@dataclass
class Slow:
    """Many slow streams through one candidate."""

    asked: int
    result: dict[str, Any]
    peak_megabytes: float


Table = dict[tuple[str, int], Series]
"""By the name of the candidate and the number of connections."""


class Bench:
    """Runs the scenarios against the candidates."""

    def __init__(self, plan: Plan, upstream_pid: int, core: int) -> None:
        self._plan = plan
        self._upstream_pid = upstream_pid
        self._core = core

    def chat(self, candidates: Sequence[Candidate]) -> Table:
        """Requests that are not streamed, at every concurrency."""
        table: Table = {}
        for connections in self._plan.concurrencies:
            self._rounds(table, candidates, connections, stream=False)
        return table

    def streams(self, candidates: Sequence[Candidate]) -> Table:
        """Streams whose events the upstream sends all at once."""
        table: Table = {}
        self._rounds(table, candidates, self._plan.stream_connections, stream=True)
        return table

    def translated(self, gateway: Candidate) -> Table:
        """The same streams, from an upstream that speaks another dialect."""
        table: Table = {}
        asking = replace(gateway, model=traffic.CLAUDE_ALIAS)
        count = self._plan.stream_connections
        self._rounds(table, (asking,), count, stream=True, what="translated streams")
        return table

    def slow(self, candidate: Candidate, count: int) -> Slow:
        """Many streams side by side whose events are far apart."""
        _say(f"slow streams: {count} through {candidate.name}")
        over = self._plan.slow_ramp + traffic.EVENTS * traffic.SLOW_GAP
        job = {
            **self._job(candidate),
            "model": candidate.slow_model,
            "connections": count,
            "ramp": self._plan.slow_ramp,
            "patience": 3 * over,
        }
        with processes.Peak(candidate.pid) as peak:
            result = processes.load(job, self._core)
        return Slow(count, result, peak.megabytes)

    def _rounds(
        self,
        table: Table,
        candidates: Sequence[Candidate],
        connections: int,
        *,
        stream: bool,
        what: str = "",
    ) -> None:
        what = what or ("streams" if stream else "chat")
        _say(f"{what}: {connections} connections")
        for _ in range(self._plan.rounds):
            for candidate in candidates:
                job = {
                    **self._job(candidate),
                    "stream": stream,
                    "connections": connections,
                    "warm_up": self._plan.warm_up,
                    "seconds": self._plan.seconds,
                }
                series = table.setdefault((candidate.name, connections), Series())
                series.rounds.append(processes.load(job, self._core))

    def _job(self, candidate: Candidate) -> dict[str, Any]:
        return {
            "port": candidate.port,
            "key": candidate.key,
            "model": candidate.model,
            "watch": {"upstream": self._upstream_pid, candidate.name: candidate.pid},
        }


def _say(what: str) -> None:
    print(f"  {what}", file=sys.stderr, flush=True)
