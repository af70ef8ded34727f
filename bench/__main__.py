"""``python -m bench``: measure, print, and fail if a floor is missed."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench import processes, report, traffic
from bench.scenarios import Bench, Candidate, Plan

FULL = Plan(rounds=5, seconds=2.0, warm_up=0.5, slow_streams_baseline=500)
QUICK = Plan(rounds=2, seconds=0.6, warm_up=0.2)
CONFIG = Path(__file__).with_name("gandalf.yaml")


def main() -> int:
    """Run; return the exit status."""
    arguments = _arguments()
    plan = QUICK if arguments.quick else FULL
    began = time.monotonic()
    files = processes.raise_open_files()
    measured, rest = processes.cores()
    print(_machine(measured, rest, files))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream_pid, direct, gandalf, baseline = _start(stack, folder, measured, rest)
        bench = Bench(plan, upstream_pid, rest)
        candidates = (gandalf, baseline, direct)
        chat = bench.chat(candidates)
        streams = bench.streams(candidates)
        translated = bench.translated(gandalf)
        slow = {
            "direct": bench.slow(direct, plan.slow_streams),
            "gandalf": bench.slow(gandalf, plan.slow_streams),
        }
        if plan.slow_streams_baseline:
            slow["baseline"] = bench.slow(baseline, plan.slow_streams_baseline)
    connections = plan.stream_connections
    found = report.floors(chat, streams, translated, slow["gandalf"], connections)
    for part in (
        report.chat_table(chat, tuple(plan.concurrencies)),
        report.stream_table(streams, translated, connections),
        report.slow_table(slow),
        report.floor_table(found),
    ):
        print(f"\n{part}")
    print(f"\n{time.monotonic() - began:.0f} s in all")
    return 0 if arguments.no_gate or all(floor.met for floor in found) else 1


def _start(
    stack: ExitStack, folder: Path, measured: int, rest: int
) -> tuple[int, Candidate, Candidate, Candidate]:
    port, upstream_pid = upstream(stack, folder, rest)
    own, gateway_pid = gateway(stack, folder, port, measured)
    other = processes.free_port()
    baseline = stack.enter_context(
        processes.server(
            "baseline",
            ["-m", "bench.baseline", str(other), _url(port)],
            other,
            measured,
            folder / "baseline.log",
        )
    )
    key, model, slow = traffic.CLIENT_KEY, traffic.MODEL, traffic.SLOW_MODEL
    return (
        upstream_pid,
        Candidate("direct", port, traffic.UPSTREAM_KEY, model, slow, upstream_pid),
        Candidate("gandalf", own, key, traffic.ALIAS, traffic.SLOW_ALIAS, gateway_pid),
        Candidate("baseline", other, key, model, slow, baseline),
    )


def upstream(stack: ExitStack, folder: Path, core: int) -> tuple[int, int]:
    """Start the upstream; return its port and process id."""
    port = processes.free_port()
    command = ["-m", "bench.upstream", str(port)]
    log = folder / "upstream.log"
    server = processes.server("upstream", command, port, core, log)
    return port, stack.enter_context(server)


def gateway(
    stack: ExitStack, folder: Path, upstream_port: int, core: int
) -> tuple[int, int]:
    """Start the gateway before that upstream; return its port and process id.

    ``BENCH_PACKAGE`` is where it is imported from, if not from beside the benchmark.
    """
    port = processes.free_port()
    command = ["-m", "gandalf", "serve", "--config", str(CONFIG)]
    log = folder / "gandalf.log"
    environment = {
        "BENCH_GATEWAY_PORT": str(port),
        "BENCH_FOLDER": str(folder),
        "BENCH_UPSTREAM": _url(upstream_port),
        "BENCH_UPSTREAM_KEY": traffic.UPSTREAM_KEY,
        "BENCH_CLIENT_KEY": traffic.CLIENT_KEY,
    }
    if package := os.environ.get("BENCH_PACKAGE"):
        environment |= {"PYTHONPATH": package, "PYTHONSAFEPATH": "1"}
    server = processes.server("gandalf", command, port, core, log, environment)
    return port, stack.enter_context(server)


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about 40 s, less exact")
    parser.add_argument(
        "--no-gate", action="store_true", help="exit 0 even when a floor is missed"
    )
    return parser.parse_args()


def _machine(measured: int, rest: int, files: int) -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    text = (
        f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"Linux {platform.release()}; the measured process on core {measured}, "
        f"load and upstream on core {rest}; {files} open files"
    )
    package = Path(os.environ.get("BENCH_PACKAGE") or ".")
    compiled = any(package.glob("gandalf/pipeline/*.so"))
    text += f"\nThe gateway runs {'compiled' if compiled else 'interpreted'}."
    if measured == rest:
        text += "\nOnly one core: load, upstream and gateway share it. Not comparable."
    if files < 9000:
        text += "\nToo few open files for 2000 slow streams: ulimit -n 20000"
    load = os.getloadavg()[0]
    if load > 1:
        text += f"\nThe machine is busy with other things (load {load:.1f})."
    return text


if __name__ == "__main__":
    sys.exit(main())
