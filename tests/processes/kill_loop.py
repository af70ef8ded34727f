"""Kills a gateway under load again and again, and checks what is left.

    python -m tests.processes.kill_loop DIRECTORY [--kills 1000] [--seed 1]

Each run of the gateway is a process of its own, forked from this one so that nothing
has to be imported again, and is killed with SIGKILL at a random moment. At the end:

- every answer that a client has got whole has exactly one record, and so has every
  request that was in flight at a kill;
- the balances are the sums of the records, and nothing is open;
- no budget is overspent by more than the answers in flight may exceed their estimates.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import yaml

from gandalf import app

KEY = "gnd_member_of_the_tests"
CLIENTS = 4
# One USD for a million tokens in, ten for a million out.
PRICE = {"model": "m-1", "input": 1, "output": 10}
MAX_TOKENS = 40
START_LIMIT = 30.0


def config(limit: str) -> dict[str, object]:
    """The gateway's configuration, with a budget that some day is exhausted."""
    simulation = {"latency": "1ms", "tokens_per_second": 4000, "completion_tokens": 40}
    return {
        "server": {"addr": "127.0.0.1:0"},
        "database": {"dsn": "gandalf.db"},
        "usage": {"flush_every": "30ms"},
        "rate_limits": {"default_rpm": 0, "default_tpm": 0},
        "cache": {"enabled": False},
        "providers": [{"name": "simulated", "simulation": simulation}],
        "routes": [
            {
                "model_alias": "demo",
                "targets": [{"provider": "simulated", "model": "m-1"}],
            }
        ],
        "prices": {"overrides": [PRICE]},
        "keys": [{"name": "k", "key": KEY, "team_id": "t"}],
        "budgets": [
            {"name": "all", "scope": "global", "limit": limit, "window": "lifetime"},
            {"name": "team", "scope": "team", "limit": "1000", "window": "day"},
        ],
    }


class Child:
    """One run of the gateway."""

    def __init__(self, directory: Path, number: int) -> None:
        self.log = directory / f"log-{number % 10}"
        self.log.unlink(missing_ok=True)
        self.pid = os.fork()
        if self.pid == 0:
            self._serve(directory)

    def _serve(self, directory: Path) -> None:
        status = 70
        try:
            os.chdir(directory)
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            status = app.main(directory / "gandalf.yaml")
        finally:
            os._exit(status)

    def port(self) -> int:
        """Wait until it serves."""
        end = time.monotonic() + START_LIMIT
        while time.monotonic() < end:
            said = self.log.read_text() if self.log.exists() else ""
            if found := re.search(r"ready on http://[0-9.]+:(\d+)", said):
                return int(found[1])
            pid, _ = os.waitpid(self.pid, os.WNOHANG)
            assert pid == 0, f"the gateway has ended:\n{said}"
            time.sleep(0.002)
        raise AssertionError(f"the gateway does not serve:\n{self.log.read_text()}")

    def end(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)
        os.waitpid(self.pid, 0)


class Client(threading.Thread):
    """Asks until its connection breaks; knows what it was answered."""

    def __init__(self, port: int, seed: int) -> None:
        super().__init__()
        self._port = port
        self._dice = random.Random(seed)
        self.answered: list[str] = []
        self.refused = 0

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            while True:
                self._ask(connection)
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        stream = self._dice.random() < 0.4
        body = {
            "model": "demo",
            "messages": [{"role": "user", "content": "x" * self._dice.randrange(200)}],
            "stream": stream,
            "max_tokens": MAX_TOKENS,
        }
        headers = {"authorization": f"Bearer {KEY}"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        data = answer.read()
        if answer.status == 429:
            self.refused += 1
            time.sleep(0.005)
        elif not stream or data.endswith(b"data: [DONE]\n\n"):
            assert answer.status == 200, data
            self.answered.append(answer.headers["x-request-id"])


def run(directory: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill ``kills`` times; return what was counted, or raise AssertionError."""
    dice = random.Random(seed)
    # What some half of the kills will have spent.
    limit = f"{kills * 0.002:.9f}"
    (directory / "gandalf.yaml").write_text(yaml.safe_dump(config(limit)))
    answered: list[str] = []
    refused = 0
    for number in range(kills):
        child = Child(directory, number)
        port = child.port()
        clients = [Client(port, dice.randrange(10**9)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(dice.uniform(0.0, 0.12))
        child.end(signal.SIGKILL)
        for client in clients:
            client.join()
            answered += client.answered
            refused += client.refused
    child = Child(directory, kills)
    child.port()
    child.end(signal.SIGTERM)
    return check(directory, answered, float(limit)) | {"refused": refused}


def check(directory: Path, answered: list[str], limit: float) -> dict[str, int]:
    """Check what is left in the database."""
    with closing(sqlite3.connect(directory / "gandalf.db")) as connection:

        def rows(query: str) -> list[tuple[object, ...]]:
            return connection.execute(query).fetchall()

        ids = Counter(str(row[0]) for row in rows("SELECT id FROM requests"))
        missing = [one for one in answered if ids[one] != 1]
        assert not missing, f"answered and not on record: {missing}"
        assert max(Counter(answered).values(), default=1) == 1
        assert rows("SELECT count(*) FROM open_requests") == [(0,)]
        [(spent, total)] = rows(
            "SELECT (SELECT sum(spent) FROM balances WHERE rule LIKE 'global/%'),"
            " (SELECT sum(record ->> 30) FROM requests WHERE record ->> 29 > 0)"
        )
        assert spent == total, f"{spent} spent, and the records sum up to {total}"
        # The simulated prompt may have more tokens than was estimated.
        assert isinstance(spent, int)
        slack = CLIENTS * 100 * 1000
        assert spent <= limit * 1e9 + slack, f"{spent} spent of {limit}"
        [(crashed,)] = rows(
            "SELECT count(*) FROM usage_records WHERE end_reason = 'crashed'"
        )
        assert isinstance(crashed, int)
        return {
            "answered": len(answered),
            "records": sum(ids.values()),
            "crashed": crashed,
            "spent": spent,
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    began = time.monotonic()
    found = run(arguments.directory, arguments.kills, arguments.seed)
    print(  # noqa: T201 - it is a command
        f"{arguments.kills} kills in {time.monotonic() - began:.1f} s: {found}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
