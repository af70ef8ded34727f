"""An upstream that costs next to nothing: answers made beforehand, one epoll loop.

``python -m bench.upstream PORT``. Checks what it is sent: the credentials of every
request, and every field of each new body (the same bytes again are the same request).
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import time
from collections import deque
from typing import Any

from bench import traffic

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_AUTHORIZATION = (
    f"Bearer {traffic.UPSTREAM_KEY}\r\n".encode(),
    f"x-api-key: {traffic.UPSTREAM_KEY}\r\n".encode(),
)


def _response(status: bytes, body: bytes) -> bytes:
    return (
        b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (status, len(body), body)
    )


_ANSWER = _response(b"200 OK", traffic.answer())
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _frames(events: list[bytes]) -> list[bytes]:
    frames = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    frames[-1] += b"0\r\n\r\n"
    frames[0] = _STREAM_HEAD + frames[0]
    return frames


_FRAMES = {asked: _frames(traffic.events(with_usage=asked)) for asked in (False, True)}
_ANTHROPIC = b"".join(_frames(traffic.anthropic_events()))
_AT_ONCE = {asked: b"".join(frames) for asked, frames in _FRAMES.items()}

Plan = bytes | list[bytes]
"""What to send: at once, or piece by piece."""


_NOT_AS_SENT = _response(b"400 Bad Request", b'{"error":{"message":"not as sent"}}')


def _is_for_anthropic(asked: dict[str, Any]) -> bool:
    """Whether it is the benchmark's request in Anthropic's words, to be streamed."""
    system, user = (message["content"] for message in traffic.PROMPT)
    said = asked["messages"][0]["content"]
    return (
        asked["system"] in (system, [{"type": "text", "text": system}])
        and said in (user, [{"type": "text", "text": user}])
        and asked["temperature"] == 0.7
        and asked["max_tokens"] == 512
        and asked["stream"] is True
    )


def plan(body: bytes) -> Plan:
    """Return what a request body is answered with."""
    asked = json.loads(body)
    if asked["model"] == traffic.CLAUDE:
        return _ANTHROPIC if _is_for_anthropic(asked) else _NOT_AS_SENT
    good = asked["messages"] == traffic.PROMPT and asked["temperature"] == 0.7
    if not good or asked["model"] not in (traffic.MODEL, traffic.SLOW_MODEL):
        return _NOT_AS_SENT
    if not asked.get("stream"):
        return _ANSWER
    with_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
    if asked["model"] == traffic.SLOW_MODEL:
        return _FRAMES[with_usage]
    return _AT_ONCE[with_usage]


class Connection:
    """One connection from whoever is being measured."""

    __slots__ = ("closed", "frames", "next_frame", "pending", "sock", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.pending = b""
        self.unsent = b""
        self.frames: list[bytes] = []
        self.next_frame = 0
        self.closed = False


class Upstream:
    """The loop."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._plans: dict[bytes, Plan] = {}
        # All slow streams have the same gap, so this stays in the order of time.
        self._due: deque[tuple[float, Connection]] = deque()

    def run(self) -> None:
        """Serve for ever."""
        listener = self._listener.fileno()
        connections = self._connections
        while True:
            for fd, what in self._epoll.poll(self._patience()):
                if fd == listener:
                    self._accept()
                elif what & select.EPOLLOUT:
                    self._send(connections[fd], b"")
                else:
                    self._receive(connections[fd])
            if self._due:
                self._send_due()

    def _patience(self) -> float:
        if not self._due:
            return -1
        return max(0.0, self._due[0][0] - time.monotonic())

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[sock.fileno()] = Connection(sock)
            self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        if connection.pending:
            data = connection.pending + data
        split = data.find(b"\r\n\r\n")
        length = _LENGTH.search(data, 0, split) if split > 0 else None
        if length is None or len(data) < split + 4 + int(length[1]):
            connection.pending = data
            return
        connection.pending = b""
        self._answer(connection, data, split)

    def _answer(self, connection: Connection, data: bytes, split: int) -> None:
        if all(data.find(each, 0, split + 2) < 0 for each in _AUTHORIZATION):
            self._send(connection, _response(b"401 Unauthorized", b"{}"))
            return
        body = data[split + 4 :]
        todo = self._plans.get(body)
        if todo is None:
            todo = self._plans[body] = plan(body)
        if isinstance(todo, bytes):
            self._send(connection, todo)
            return
        self._send(connection, todo[0])
        connection.frames, connection.next_frame = todo, 1
        self._due.append((time.monotonic() + traffic.SLOW_GAP, connection))

    def _send_due(self) -> None:
        now = time.monotonic()
        due = self._due
        while due and due[0][0] <= now:
            at, connection = due.popleft()
            if connection.closed:
                continue
            index = connection.next_frame
            last = len(connection.frames) - 1
            if index == traffic.EVENTS:
                # Usage and [DONE] belong to the last event's moment.
                self._send(connection, b"".join(connection.frames[index:]))
            else:
                self._send(connection, connection.frames[index])
                connection.next_frame = index + 1
                if index < last:
                    gap = 0.0 if index == traffic.EVENTS - 1 else traffic.SLOW_GAP
                    if gap:
                        due.append((at + gap, connection))
                    else:
                        due.appendleft((at, connection))

    def _send(self, connection: Connection, data: bytes) -> None:
        if connection.unsent:
            data = connection.unsent + data
        try:
            sent = connection.sock.send(data) if data else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return
        was_full = bool(connection.unsent)
        connection.unsent = data[sent:]
        if bool(connection.unsent) != was_full:
            wanted = select.EPOLLOUT if connection.unsent else select.EPOLLIN
            self._epoll.modify(connection.sock.fileno(), wanted)

    def _close(self, connection: Connection) -> None:
        if not connection.closed:
            connection.closed = True
            del self._connections[connection.sock.fileno()]
            connection.sock.close()


if __name__ == "__main__":
    Upstream(int(sys.argv[1])).run()
