"""The load: sends, times and checks every answer, on one epoll loop.

``python -m bench.load`` with a job as JSON on stdin; the result is JSON on stdout.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import httptools

from bench import traffic
from bench.processes import cpu_seconds

Check = Callable[[int, bytes], None]


class Tally:
    """What became of the requests of one job."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._known = b""
        self.latencies: list[float] = []
        self.first_events: list[float] = []
        self.wrong = 0
        self.first_wrong = ""

    def take(self, status: int, body: bytes, seconds: float) -> None:
        """Count an answer. Bytes that were checked before need no second check."""
        if body != self._known or status != 200:
            try:
                self._check(status, body)
            except Exception as error:
                self.refuse(f"{type(error).__name__}: {error}")
                return
            self._known = body
        self.latencies.append(seconds)

    def refuse(self, reason: str) -> None:
        """Count an answer that was wrong, or did not come."""
        self.wrong += 1
        self.first_wrong = self.first_wrong or reason


class Client:
    """One connection: a request, its answer, and the next one."""

    def __init__(self, sock: socket.socket, request: bytes) -> None:
        self.sock = sock
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self.complete = False
        self.started = 0.0
        self.first_event: float | None = None

    def send(self) -> None:
        """Send the request. It fits into any socket's buffer."""
        self._parts = []
        self.complete = False
        self.sock.send(self._request)

    def on_body(self, data: bytes) -> None:
        if self.first_event is None and b"data:" in data:
            self.first_event = time.perf_counter()
        self._parts.append(data)

    def on_message_complete(self) -> None:
        self.complete = True

    def receive(self) -> bool:
        """Take what has come. True when the answer is whole.

        Raises:
            OSError: The connection ended.
        """
        data = self.sock.recv(262144)
        if not data:
            raise ConnectionError("closed in mid-answer")
        self._parser.feed_data(data)
        return self.complete

    @property
    def status(self) -> int:
        return int(self._parser.get_status_code())

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)


def closed_loop(job: dict[str, Any]) -> dict[str, Any]:
    """Keep so many connections busy for so many seconds; time each answer."""
    check = traffic.check_stream if job["stream"] else traffic.check_answer
    request = traffic.request(job["model"], job["key"], stream=job["stream"])
    warm, tally = Tally(check), Tally(check)
    epoll = select.epoll()
    clients: dict[int, Client] = {}

    def open_one() -> None:
        sock = socket.create_connection(("127.0.0.1", job["port"]))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = clients[sock.fileno()] = Client(sock, request)
        epoll.register(sock.fileno(), select.EPOLLIN)
        client.started = time.perf_counter()
        client.send()

    for _ in range(job["connections"]):
        open_one()

    def run(until: float, tally: Tally) -> None:
        while True:
            for fd, _ in epoll.poll(0.2):
                client = clients[fd]
                try:
                    if not client.receive():
                        continue
                except (OSError, httptools.HttpParserError) as error:
                    tally.refuse(repr(error))
                    del clients[fd]
                    client.sock.close()
                    open_one()
                    continue
                now = time.perf_counter()
                tally.take(client.status, client.body, now - client.started)
                client.started = now
                client.send()
            if time.perf_counter() >= until:
                return

    run(time.perf_counter() + job["warm_up"], warm)
    window = Window(job["watch"])
    run(window.began + job["seconds"], tally)
    return window.close() | _summary(tally) | {"wrong": warm.wrong + tally.wrong}


def slow_streams(job: dict[str, Any]) -> dict[str, Any]:
    """Open so many streams within ``ramp`` seconds and follow each to its end."""
    request = traffic.request(job["model"], job["key"], stream=True)
    tally = Tally(traffic.check_stream)
    epoll = select.epoll()
    clients: dict[int, Client] = {}
    window = Window(job["watch"])
    count, ramp = job["connections"], job["ramp"]
    opened = 0
    give_up = window.began + ramp + job["patience"]
    while opened < count or clients:
        now = time.perf_counter()
        if now > give_up:
            for client in clients.values():
                tally.refuse("not over in time")
            break
        wanted = count if ramp == 0 else int((now - window.began) / ramp * count) + 1
        while opened < min(count, wanted):
            sock = socket.socket()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = clients[sock.fileno()] = Client(sock, request)
            client.started = time.perf_counter()
            sock.connect_ex(("127.0.0.1", job["port"]))
            epoll.register(sock.fileno(), select.EPOLLOUT)
            opened += 1
        for fd, what in epoll.poll(0.001 if opened < count else 0.2):
            client = clients[fd]
            try:
                if what & select.EPOLLOUT:
                    client.send()
                    epoll.modify(fd, select.EPOLLIN)
                    continue
                if not client.receive():
                    continue
                taken = time.perf_counter() - client.started
                tally.take(client.status, client.body, taken)
                if client.first_event is not None:
                    tally.first_events.append(client.first_event - client.started)
            except (OSError, httptools.HttpParserError) as error:
                tally.refuse(repr(error))
            del clients[fd]
            client.sock.close()
    return window.close() | _summary(tally)


class Window:
    """A stretch of time, and the CPU time that processes use in it."""

    def __init__(self, watch: dict[str, int]) -> None:
        self._watch = watch
        self._before = self._cpu()
        self._own = time.process_time()
        self.began = time.perf_counter()

    def close(self) -> dict[str, Any]:
        """Return its length, and each process's share of one core."""
        seconds = time.perf_counter() - self.began
        cpu = {
            name: (after - self._before[name]) / seconds
            for name, after in self._cpu().items()
        }
        cpu["load"] = (time.process_time() - self._own) / seconds
        return {"seconds": seconds, "cpu": cpu}

    def _cpu(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in self._watch.items()}


def _summary(tally: Tally) -> dict[str, Any]:
    return {
        "answers": len(tally.latencies),
        "wrong": tally.wrong,
        "first_wrong": tally.first_wrong,
        "latency": _quantiles(tally.latencies),
        "first_event": _quantiles(tally.first_events),
    }


def _quantiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        "p50": ordered[last // 2],
        "p99": ordered[int(last * 0.99)],
        "max": ordered[-1],
    }


if __name__ == "__main__":
    job = json.load(sys.stdin)
    run = slow_streams if "ramp" in job else closed_loop
    json.dump(run(job), sys.stdout)
