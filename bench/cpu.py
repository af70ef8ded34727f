"""``python -m bench.cpu``: the CPU time that the gateway uses for one request.

What ``make bench`` measures is a rate, and it needs two quiet cores. CPU time says
whether a change has made the gateway cheaper also on a machine that does other things:
compare the figures of two runs, and the loop of plain Python that is timed beside them,
which tells how fast the machine was meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench import processes, traffic
from bench.__main__ import gateway, upstream

LOOP = 200_000
"""Turns of the loop that is timed."""


class Scenario(NamedTuple):
    """Something whose requests are to be counted."""

    name: str
    connections: int
    stream: bool = False


SCENARIOS = (
    Scenario("chat c=1", 1),
    Scenario("chat c=16", 16),
    Scenario("chat c=64", 64),
    Scenario("streams c=64", 64, stream=True),
)


def main() -> int:
    """Run; return the exit status."""
    arguments = _arguments()
    processes.raise_open_files()
    measured, rest = processes.cores()
    wrong = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream_port, _ = upstream(stack, folder, rest)
        port, pid = gateway(stack, folder, upstream_port, measured)
        print(f"{'':14} {'CPU us':>8} {'requests/s':>11} {'p50 ms':>8} {'loop ms':>8}")
        for scenario in SCENARIOS:
            rounds = []
            for _ in range(arguments.rounds):
                rounds.append(_closed(scenario, port, pid, rest, arguments.seconds))
                wrong += rounds[-1]["wrong"]
            print(_row(scenario.name, rounds))
        for count in arguments.slow:
            wrong += _slow(count, port, pid, rest)
    return 1 if wrong else 0


def _closed(
    scenario: Scenario, port: int, pid: int, core: int, seconds: float
) -> dict[str, Any]:
    job = {
        "port": port,
        "key": traffic.CLIENT_KEY,
        "model": traffic.ALIAS,
        "watch": {"gandalf": pid},
        "stream": scenario.stream,
        "connections": scenario.connections,
        "warm_up": 0.3,
        "seconds": seconds,
    }
    return processes.load(job, core) | {"loop": loop_seconds()}


def _row(name: str, rounds: list[dict[str, Any]]) -> str:
    cost = median(r["cpu"]["gandalf"] * r["seconds"] / r["answers"] for r in rounds)
    rate = median(r["answers"] / r["seconds"] for r in rounds)
    p50 = median(r["latency"]["p50"] for r in rounds)
    loop = median(r["loop"] for r in rounds)
    return (
        f"{name:14} {cost * 1e6:8.1f} {rate:11,.0f} {p50 * 1e3:8.2f} {loop * 1e3:8.2f}"
    )


def _slow(count: int, port: int, pid: int, core: int) -> int:
    before = processes.rss_megabytes(pid)
    job = {
        "port": port,
        "key": traffic.CLIENT_KEY,
        "model": traffic.SLOW_ALIAS,
        "watch": {"gandalf": pid},
        "connections": count,
        "ramp": 1.0,
        "patience": 20.0,
    }
    with processes.Peak(pid) as peak:
        result = processes.load(job, core)
    events = max(1, result["answers"]) * traffic.EVENTS
    used = result["cpu"]["gandalf"] * result["seconds"]
    first = result["first_event"].get("p99", float("inf"))
    print(
        f"{count} slow streams: {result['answers']} complete, first event p99"
        f" {first * 1e3:.0f} ms, {used / events * 1e6:.1f} us an event,"
        f" RSS {before:.1f} to {peak.megabytes:.1f} MB,"
        f" {(peak.megabytes - before) / count * 1024:.1f} kB a stream"
    )
    return int(result["wrong"])


def loop_seconds() -> float:
    """Return the CPU time of a loop that does what Python programs do."""
    began = time.process_time()
    table: dict[int, str] = {}
    for number in range(LOOP):
        table[number & 1023] = f"{number}"
    return time.process_time() - began


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.cpu", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round")
    parser.add_argument(
        "--slow", type=int, nargs="*", default=[2000], help="how many slow streams"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
