"""``gandalf top``: live traffic, from two looks at the metrics."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gandalf.cli.gateway import api_for
from gandalf.cli.output import OK, printable

_SAMPLE = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_CLEAR = "\x1b[H\x1b[2J"
_BREAKER = {0.0: "closed", 1.0: "open", 2.0: "half-open"}
MAX_ROWS = 15


class Sample(NamedTuple):
    """One value of the metrics page."""

    labels: dict[str, str]
    value: float


Metrics = dict[str, list[Sample]]


def run(args: argparse.Namespace) -> int:
    """Show live traffic until interrupted, or ``--count`` times."""
    api = api_for(args, "breakers")

    def look() -> Metrics:
        return parse(str(api.call("GET", "//metrics").data or ""))

    looks = _looks(look, args.interval)
    for number, (before, after, seconds) in enumerate(looks, 1):
        screen = render(api.where, before, after, seconds)
        print((_CLEAR if sys.stdout.isatty() else "") + screen, flush=True)
        if number == args.count:
            break
    return OK


def _looks(
    look: Callable[[], Metrics], interval: float
) -> Iterator[tuple[Metrics, Metrics, float]]:
    before, at = look(), time.monotonic()
    while True:
        time.sleep(interval)
        after, now = look(), time.monotonic()
        yield before, after, now - at
        before, at = after, now


def parse(page: str) -> Metrics:
    """Return the samples of a metrics page by name."""
    found: Metrics = defaultdict(list)
    for line in page.splitlines():
        sample = None if line.startswith("#") else _SAMPLE.match(line)
        if sample is not None:
            labels = dict(_LABEL.findall(sample["labels"] or ""))
            found[sample["name"]].append(Sample(labels, float(sample["value"])))
    return found


def render(where: str, before: Metrics, after: Metrics, seconds: float) -> str:
    """Return the screen for what has happened between two looks."""

    def rates(name: str, label: str, **only: str) -> dict[str, float]:
        then, now = _by(before, name, label, only), _by(after, name, label, only)
        return {
            each: max(0.0, value - then.get(each, 0.0)) / seconds
            for each, value in now.items()
        }

    def total(name: str) -> float:
        return sum(rates(name, "").values())

    def gauge(name: str) -> float:
        return sum(sample.value for sample in after.get(name, ()))

    classes: dict[str, float] = defaultdict(float)
    for status, rate in rates("gandalf_requests_total", "status").items():
        classes[f"{status[:1]}xx"] += rate
    statuses = "  ".join(f"{name} {rate:.1f}" for name, rate in sorted(classes.items()))
    lines = [
        f"gandalf top   {where}   every {seconds:.1f} s",
        f"requests/s {sum(classes.values()):.1f}   {statuses}",
        (
            f"in flight {gauge('gandalf_active_requests'):.0f}"
            f"   connections {gauge('gandalf_open_connections'):.0f}"
            f"   tokens/s {total('gandalf_tokens_processed_total'):.0f}"
            f"   USD/h {total('gandalf_cost_usd_total') * 3600:.2f}"
            f"   cache hits/s {total('gandalf_cache_hits_total'):.1f}"
            f"   limited/s {total('gandalf_ratelimit_rejects_total'):.1f}"
        ),
        "",
        *_models(rates),
        "",
        *_targets(rates, _by(after, "gandalf_circuit_breaker_state", "provider", {})),
    ]
    return "\n".join(lines)


def _models(rates: Callable[..., dict[str, float]]) -> Iterator[str]:
    tokens = rates("gandalf_tokens_processed_total", "model")
    cost = rates("gandalf_cost_usd_total", "model")
    yield f"{'MODEL':40} {'TOKENS/S':>10} {'USD/H':>10}"
    busiest = sorted(tokens, key=lambda name: -tokens[name])[:MAX_ROWS]
    for name in busiest:
        usd = cost.get(name, 0.0) * 3600
        yield f"{printable(name)[:40]:40} {tokens[name]:10.0f} {usd:10.2f}"


def _targets(
    rates: Callable[..., dict[str, float]], breakers: dict[str, float]
) -> Iterator[str]:
    attempts = rates("gandalf_attempts_total", "target")
    served = rates("gandalf_attempts_total", "target", outcome="served")
    yield f"{'TARGET':40} {'ATTEMPTS/S':>10} {'FAILED/S':>10} BREAKER"
    busiest = sorted(attempts, key=lambda name: -attempts[name])[:MAX_ROWS]
    for name in busiest:
        failed = max(0.0, attempts[name] - served.get(name, 0.0))
        state = _BREAKER.get(breakers.get(name, 0.0), "?")
        yield f"{printable(name)[:40]:40} {attempts[name]:10.1f} {failed:10.1f} {state}"


def _by(
    metrics: Metrics, name: str, label: str, only: dict[str, str]
) -> dict[str, float]:
    """Return the sums of a metric by the value of one label."""
    sums: dict[str, float] = defaultdict(float)
    for labels, value in metrics.get(name, ()):
        if only.items() <= labels.items():
            sums[labels.get(label, "")] += value
    return sums
