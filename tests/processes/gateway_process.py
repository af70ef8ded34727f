"""A gateway as a process of its own, and what it needs around it. No trio here.

    with gateway(tmp_path, settings()) as gw:
        gw.client(KEY).post("/v1/chat/completions", json=chat("demo"))

The upstream's loop runs in a thread, so that a test can script it and read what it got.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import trio
import yaml

from tests.fakes.upstream import FakeUpstream, fake_upstream

ROOT = Path(__file__).parents[2]
ADMIN_KEY = "gnd_admin_of_the_tests"
KEY = "gnd_member_of_the_tests"
# Starting takes about half a second; a machine with other work to do takes longer.
START_LIMIT = 20.0

T = TypeVar("T")


def until(
    what: Callable[[], T | None], seconds: float = 5.0, *, every: float = 0.01
) -> T:
    """Return the first true answer of ``what``; fail after ``seconds``."""
    end = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < end, f"{what} stayed {answer!r} for {seconds} s"
        time.sleep(every)
    return answer


def settings(**sections: Any) -> dict[str, Any]:
    """A configuration with two keys and a simulated provider, changed by section."""
    return {
        "server": {"addr": "127.0.0.1:0"},
        "database": {"dsn": "gandalf.db"},
        "rate_limits": {"default_rpm": 0, "default_tpm": 0},
        "providers": [{"name": "simulated"}],
        "routes": [route("demo", "simulated")],
        "keys": [
            {"name": "admin", "key": ADMIN_KEY, "role": "admin"},
            {"name": "member", "key": KEY},
        ],
    } | sections


def route(alias: str, provider: str, model: str = "m-1") -> dict[str, Any]:
    return {
        "model_alias": alias,
        "targets": [{"provider": provider, "model": model}],
    }


def chat(model: str, content: str = "Hello", **fields: Any) -> dict[str, Any]:
    """The body of a chat request."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        **fields,
    }


class GatewayProcess:
    """One run of ``python -m gandalf serve`` in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "gandalf.yaml"
        self.url = ""
        self._log = directory / f"log-{time.monotonic_ns()}"
        environ = {k: v for k, v in os.environ.items() if not k.startswith("GANDALF_")}
        environ["PYTHONPATH"] = str(ROOT)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gandalf", "serve", "--config", self.config],
                cwd=directory,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        """What it has said so far, on both of its outputs."""
        return self._log.read_text()

    def wait_ready(self) -> None:
        """Wait until ``/readyz`` says that it serves."""
        self.url = until(self._said_url, START_LIMIT)
        answer = httpx.get(f"{self.url}/readyz", trust_env=False)
        assert answer.status_code == 200, answer.text

    def _said_url(self) -> str:
        assert self.process.poll() is None, f"it ended at once:\n{self.log}"
        said = re.search(r"ready on (http://[0-9.:]+)", self.log)
        return said[1] if said else ""

    def client(self, key: str = KEY) -> httpx.Client:
        """A client that calls with ``key``; close it."""
        return httpx.Client(
            base_url=self.url,
            headers={"authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=10,
        )

    def record(self, request_id: str, seconds: float = 5.0) -> dict[str, Any]:
        """What the gateway itself says became of a request, once it is known."""
        with self.client(ADMIN_KEY) as client:

            def known() -> dict[str, Any] | None:
                answer = client.get(f"/admin/v1/requests/{request_id}")
                return answer.json() if answer.status_code == 200 else None

            return until(known, seconds, every=0.03)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Return the exit status; fail if it runs for more than ``seconds``."""
        return self.process.wait(seconds)

    def end(self) -> None:
        """See to it that it has ended, however."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


def write(directory: Path, config: dict[str, Any]) -> None:
    (directory / "gandalf.yaml").write_text(yaml.safe_dump(config))


@contextmanager
def gateway(
    directory: Path, config: dict[str, Any] | None = None
) -> Iterator[GatewayProcess]:
    """Serve with ``config``, or with what ``directory`` holds from the last time."""
    with started(directory, config) as process:
        process.wait_ready()
        yield process


@contextmanager
def started(
    directory: Path, config: dict[str, Any] | None = None
) -> Iterator[GatewayProcess]:
    """Start one and do not wait: it may be meant to fail."""
    if config is not None:
        write(directory, config)
    process = GatewayProcess(directory)
    try:
        yield process
    finally:
        process.end()


def rows(directory: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What the database holds, whether or not a gateway runs."""
    place = f"file:{directory / 'gandalf.db'}?mode=ro"
    with closing(sqlite3.connect(place, uri=True)) as connection:
        return connection.execute(query, values).fetchall()


@contextmanager
def upstream_in_a_thread() -> Iterator[FakeUpstream]:
    """The independent fake upstream, on an event loop and a thread of its own."""
    ready: list[tuple[FakeUpstream, trio.lowlevel.TrioToken, trio.Event]] = []

    async def serve() -> None:
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            async with fake_upstream(nursery) as upstream:
                ready.append((upstream, trio.lowlevel.current_trio_token(), stop))
                await stop.wait()

    thread = threading.Thread(target=trio.run, args=(serve,), name="fake upstream")
    thread.start()
    upstream, token, stop = until(lambda: ready)[0]
    try:
        yield upstream
    finally:
        token.run_sync_soon(stop.set)
        thread.join(10)
        assert not thread.is_alive()
