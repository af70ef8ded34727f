"""The tables of a run, and the floors that it must reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench import traffic
from bench.scenarios import Slow, Table

# From issue 2; what the prototypes reached is in docs/performance.md.
CHAT_RATIO = 20.0
STREAM_RATIO = 30.0
ADDED_P50 = 0.35e-3
SLOW_TTFT_P99 = 0.5
SLOW_MEGABYTES = 80.0
# From issue 3: what a stream between dialects may cost.
TRANSLATED_SHARE = 1 / 3
# Below this the load or the upstream may be what is measured.
HEADROOM = 1.3
BUSY = 0.9


@dataclass(frozen=True)
class Floor:
    """Something a run must reach, and what it reached."""

    what: str
    reached: str
    wanted: str
    met: bool


def chat_table(table: Table, concurrencies: tuple[int, ...]) -> str:
    """Return requests per second of the candidates, side by side."""
    lines = [_row("requests/s", [f"c={c}" for c in concurrencies])]
    for name in ("gandalf", "baseline", "direct"):
        lines.append(
            _row(name, [f"{table[name, c].per_second:,.0f}" for c in concurrencies])
        )
    lines.append(
        _row("gandalf / baseline", [f"{_ratio(table, c):.1f}x" for c in concurrencies])
    )
    for name in ("gandalf", "baseline", "direct"):
        for quantile in ("p50", "p99"):
            cells = [
                f"{getattr(table[name, c], quantile) * 1e3:.2f} ms"
                for c in concurrencies
            ]
            lines.append(_row(f"{name} {quantile}", cells))
    lines.append(
        _row("added p50", [f"{_added(table, c) * 1e3:.2f} ms" for c in concurrencies])
    )
    lines += _shares(table, concurrencies)
    return "\n".join(lines)


def stream_table(table: Table, translated: Table, connections: int) -> str:
    """Return streamed events per second of the candidates."""
    lines = [_row("streamed events/s", [f"c={connections}"])]
    for name in ("gandalf", "baseline", "direct"):
        events = table[name, connections].per_second * traffic.EVENTS
        lines.append(_row(name, [f"{events:,.0f}"]))
    lines.append(_row("gandalf / baseline", [f"{_ratio(table, connections):.1f}x"]))
    lines += _shares(table, (connections,))
    events = translated["gandalf", connections].per_second * traffic.EVENTS
    lines.append(_row("from Anthropic", [f"{events:,.0f}"]))
    share = _share(translated, table, connections)
    lines.append(_row("from Anthropic / gandalf", [f"{share:.2f}"]))
    return "\n".join(lines)


def slow_table(runs: dict[str, Slow]) -> str:
    """Return what became of many slow streams."""
    lines = [_row("slow streams", list(runs))]
    rows: dict[str, Callable[[Slow], str]] = {
        "asked for": lambda run: f"{run.asked}",
        "complete": lambda run: f"{run.result['answers']}",
        "first event p50": lambda run: _ms(run.result["first_event"].get("p50")),
        "first event p99": lambda run: _ms(run.result["first_event"].get("p99")),
        "whole stream p50": lambda run: _ms(run.result["latency"].get("p50")),
        "peak RSS": lambda run: f"{run.peak_megabytes:.0f} MB",
    }
    for what, cell in rows.items():
        lines.append(_row(what, [cell(run) for run in runs.values()]))
    lines.append(
        _row(
            "its CPU", [f"{run.result['cpu'].get(n, 0):.0%}" for n, run in runs.items()]
        )
    )
    lines.append(
        _row(
            "load + upstream CPU",
            [f"{_others(run.result['cpu']):.0%}" for run in runs.values()],
        )
    )
    return "\n".join(lines)


def floors(
    chat: Table, streams: Table, translated: Table, slow: Slow, connections: int
) -> list[Floor]:
    """Return every floor, reached or not."""
    ratio, streamed = _ratio(chat, 64), _ratio(streams, connections)
    added = _added(chat, 1)
    complete = slow.result["answers"]
    ttft = slow.result["first_event"].get("p99", float("inf"))
    answered_well = [
        *[(f"chat {n} c={c}", series) for (n, c), series in chat.items()],
        *[(f"streams {n} c={c}", series) for (n, c), series in streams.items()],
        *[(f"translated {n}", series) for (n, _), series in translated.items()],
    ]
    faults = [
        f"{what}: {series.wrong} ({series.first_wrong})"
        for what, series in answered_well
        if series.wrong and "baseline" not in what
    ]
    if slow.result["wrong"]:
        faults.append(f"slow: {slow.result['wrong']} ({slow.result['first_wrong']})")
    return [
        _floor("requests/s at c=64", ratio, CHAT_RATIO, "x the baseline"),
        _floor("streamed events/s", streamed, STREAM_RATIO, "x the baseline"),
        Floor(
            "translated streams",
            f"{_share(translated, streams, connections):.2f} of the others' events/s",
            f">= {TRANSLATED_SHARE:.2f}",
            _share(translated, streams, connections) >= TRANSLATED_SHARE,
        ),
        Floor(
            "added p50 at c=1",
            f"{added * 1e3:.3f} ms",
            f"< {ADDED_P50 * 1e3:.2f} ms",
            added < ADDED_P50,
        ),
        Floor(
            "slow streams complete",
            f"{complete}",
            f"{slow.asked}",
            complete == slow.asked,
        ),
        Floor(
            "first event p99, slow streams", _ms(ttft), "< 500 ms", ttft < SLOW_TTFT_P99
        ),
        Floor(
            "peak RSS, slow streams",
            f"{slow.peak_megabytes:.0f} MB",
            f"< {SLOW_MEGABYTES:.0f} MB",
            0 < slow.peak_megabytes < SLOW_MEGABYTES,
        ),
        Floor("wrong answers", "; ".join(faults) or "none", "none", not faults),
        *_bottleneck("chat", chat, 64),
        *_bottleneck("streams", streams, connections),
    ]


def floor_table(found: list[Floor]) -> str:
    """Return the floors as lines, those that were missed marked."""
    return "\n".join(
        f"{'ok    ' if floor.met else 'MISSED'}  {floor.what}: {floor.reached}"
        f"  (wanted: {floor.wanted})"
        for floor in found
    )


def _bottleneck(what: str, table: Table, connections: int) -> list[Floor]:
    # If the gateway were not the slowest part, its ratio would be another's.
    headroom = (
        table["direct", connections].per_second
        / table["gandalf", connections].per_second
    )
    busy = table["gandalf", connections].cpu("gandalf")
    return [
        Floor(
            f"without the gateway, {what}",
            f"{headroom:.1f}x its rate",
            f"> {HEADROOM}x",
            headroom > HEADROOM,
        ),
        Floor(
            f"the gateway is the bottleneck, {what}",
            f"{busy:.0%} of its core",
            f"> {BUSY:.0%}",
            busy > BUSY,
        ),
    ]


def _floor(what: str, reached: float, wanted: float, unit: str) -> Floor:
    return Floor(
        what, f"{reached:.1f}{unit}", f">= {wanted:.0f}{unit}", reached >= wanted
    )


def _ratio(table: Table, connections: int) -> float:
    below = table["baseline", connections].per_second
    return table["gandalf", connections].per_second / below if below else float("inf")


def _added(table: Table, connections: int) -> float:
    return table["gandalf", connections].p50 - table["direct", connections].p50


def _shares(table: Table, concurrencies: tuple[int, ...]) -> list[str]:
    gateway = [table["gandalf", c].cpu("gandalf") for c in concurrencies]
    others = [table["gandalf", c].cpu("load", "upstream") for c in concurrencies]
    per_request = [
        table["gandalf", c].cpu("gandalf") / table["gandalf", c].per_second * 1e3
        for c in concurrencies
    ]
    return [
        _row("gandalf: its CPU", [f"{share:.0%}" for share in gateway]),
        _row("load + upstream CPU", [f"{share:.0%}" for share in others]),
        _row("CPU a request", [f"{each:.3f} ms" for each in per_request]),
    ]


def _others(cpu: dict[str, float]) -> float:
    return cpu.get("load", 0.0) + cpu.get("upstream", 0.0)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:,.0f} ms"


def _row(head: str, cells: list[str]) -> str:
    return f"{head:<22}" + "".join(f"{cell:>12}" for cell in cells)


def _share(translated: Table, streams: Table, connections: int) -> float:
    untranslated = streams["gandalf", connections].per_second
    return translated["gandalf", connections].per_second / untranslated
