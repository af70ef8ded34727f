"""The edge on a real loopback socket, a scripted pipeline behind it, bare clients.

    async with edge_server(replying(b"{}")) as edge:
        client = edge.connect()
        await client.send(CHAT)
        assert (await client.response()).status == 200

A client waits in rounds of "everybody else is blocked", a bounded number of them: so a
test that would wait for ever fails, also under a clock that stands still.
"""

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import trio
import trio.testing

from gandalf.config import Server
from gandalf.dialects.base import Call
from gandalf.http import edge
from gandalf.http.connection import Counters
from gandalf.http.gateway import Gateway
from gandalf.http.page import OnRefused, not_reported
from gandalf.pipeline.exchange import Exchange, Reply
from gandalf.pipeline.stage import Pipeline

ROUND = 0.002
ROUNDS = 1500

Script = Callable[[Exchange], Awaitable[Reply | None]]


def post(path: str, body: bytes = b"{}", fields: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: gandalf\r\n%bcontent-length: %d\r\n\r\n%b" % (
        path.encode(),
        fields,
        len(body),
        body,
    )


def get(path: str, fields: bytes = b"") -> bytes:
    return b"GET %b HTTP/1.1\r\nhost: gandalf\r\n%b\r\n" % (path.encode(), fields)


CHAT = post("/v1/chat/completions")


class ScriptedStage:
    """Runs a test's function as the only stage, and remembers what became of it."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.entered: list[Exchange] = []
        self.settled: list[Exchange] = []
        self.cancelled = 0

    async def enter(self, exchange: Exchange) -> Reply | None:
        self.entered.append(exchange)
        try:
            return await self.script(exchange)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.settled.append(exchange)

    def settle(self, exchange: Exchange) -> None:
        pass


def replying(body: bytes) -> Script:
    async def script(exchange: Exchange) -> Reply:
        return Reply(200, b"application/json", body)

    return script


async def echoing(exchange: Exchange) -> Reply:
    return Reply(200, b"application/octet-stream", exchange.body)


async def hanging(exchange: Exchange) -> Reply:
    await trio.sleep_forever()


class ScriptedBody:
    """A stream whose pieces the test sends, when it likes."""

    ending = b"data: [DONE]\n\n"

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[bytes | Exception](0)
        self.given = 0

    async def give(self, piece: bytes | Exception) -> None:
        """Have ``receive`` return ``piece``, or raise it, as soon as it is called."""
        await eventually(lambda: self._try_give(piece))

    def _try_give(self, piece: bytes | Exception) -> bool:
        try:
            self._send.send_nowait(piece)
        except trio.WouldBlock:
            return False
        return True

    def end(self) -> None:
        """Have ``receive`` say that only the ending is left."""
        self._send.close()

    async def receive(self) -> bytes:
        try:
            piece = await self._receive.receive()
        except trio.EndOfChannel:
            return b""
        if isinstance(piece, Exception):
            raise piece
        self.given += len(piece)
        return piece


def streaming(body: object, opened: trio.Event | None = None) -> Script:
    """Answer with ``body``; wait for ``opened`` first, as dispatch does for content."""

    async def script(exchange: Exchange) -> Reply:
        exchange.call = Call(operation="chat", model="m", body=b"", stream=True)
        exchange.dispatching = True
        if opened is not None:
            await opened.wait()
        return Reply(200, b"text/event-stream", body)

    return script


@dataclass
class Response:
    status: int
    headers: dict[bytes, bytes]
    body: bytes = b""
    complete: bool = True

    @property
    def error(self) -> dict[str, str]:
        """The error's type, code and message, if the body has the shape of one."""
        return msgspec.json.decode(self.body)["error"]


class Client:
    """A bare socket, so that every byte and every close is the test's own."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.data = bytearray()
        self.ended = False
        self.was_reset = False

    async def send(self, data: bytes) -> None:
        while data:
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                await trio.testing.wait_all_tasks_blocked(ROUND)

    def pull(self) -> None:
        """Take what has arrived."""
        try:
            while not self.ended:
                data = self.sock.recv(65536)
                self.data += data
                self.ended = not data
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except ConnectionResetError:
            self.ended = self.was_reset = True

    async def until(self, condition: Callable[[], object]) -> None:
        await eventually(lambda: self.pull() or condition())

    async def head(self) -> tuple[int, dict[bytes, bytes]]:
        await self.until(lambda: b"\r\n\r\n" in self.data or self.ended)
        head, found, rest = bytes(self.data).partition(b"\r\n\r\n")
        assert found, f"no response, but {head!r}"
        self.data[:] = rest
        status_line, *lines = head.split(b"\r\n")
        assert status_line.startswith(b"HTTP/1.1 ")
        headers = dict(line.split(b": ", 1) for line in lines)
        assert len(headers) == len(lines), "a field is repeated"
        return int(status_line.split()[1]), headers

    async def response(self, *, head_only: bool = False) -> Response:
        status, headers = await self.head()
        response = Response(status, headers)
        if head_only or status in (204, 304):
            return response
        if b"content-length" in headers:
            size = int(headers[b"content-length"])
            await self.until(lambda: len(self.data) >= size or self.ended)
            response.body = bytes(self.data[:size])
            response.complete = len(response.body) == size
            del self.data[:size]
        elif headers.get(b"transfer-encoding") == b"chunked":
            await self._chunks(response)
        else:
            await self.eof()
            response.body = bytes(self.data)
        return response

    async def _chunks(self, response: Response) -> None:
        while True:
            await self.until(lambda: b"\r\n" in self.data or self.ended)
            line, found, _ = bytes(self.data).partition(b"\r\n")
            size = int(line, 16) if found else 0
            end = len(line) + 2 + size + 2
            await self.until(lambda end=end: len(self.data) >= end or self.ended)
            if len(self.data) < end:
                response.complete = False
                return
            assert self.data[end - 2 : end] == b"\r\n"
            response.body += bytes(self.data[len(line) + 2 : end - 2])
            del self.data[:end]
            if size == 0:
                return

    async def piece(self) -> bytes:
        """Return the next chunk of a chunked body."""
        await self.until(lambda: b"\r\n" in self.data)
        line, _, _ = bytes(self.data).partition(b"\r\n")
        size = int(line, 16)
        start = len(line) + 2
        await self.until(lambda: len(self.data) >= start + size + 2)
        piece = bytes(self.data[start : start + size])
        del self.data[: start + size + 2]
        return piece

    async def eof(self) -> None:
        await self.until(lambda: self.ended)

    def is_open(self) -> bool:
        self.pull()
        return not self.ended

    def close(self) -> None:
        self.sock.close()


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until ``condition`` holds; fail if it does not for about three seconds."""
    for _ in range(ROUNDS):
        if condition():
            return
        await trio.testing.wait_all_tasks_blocked(ROUND)
    raise AssertionError("waited in vain")


async def settle_down() -> None:
    """Let whatever has arrived be dealt with."""
    for _ in range(5):
        await trio.testing.wait_all_tasks_blocked(ROUND)


@dataclass
class EdgeServer:
    url: str
    gateway: Gateway
    stage: ScriptedStage
    counters: Counters
    stop: trio.Event = field(default_factory=trio.Event)
    stopped: trio.Event = field(default_factory=trio.Event)
    clients: list[Client] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.rpartition("//")[2].rpartition(":")
        return host, int(port)

    def connect(self, *, receive_buffer: int = 0) -> Client:
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client = Client(sock)
        self.clients.append(client)
        sock.connect(self.address)
        sock.setblocking(False)
        return client

    async def ask(self, data: bytes) -> Response:
        """Send ``data`` on a connection of its own; return the answer to it."""
        client = self.connect()
        await client.send(data)
        response = await client.response()
        client.close()
        return response

    async def is_idle(self) -> None:
        """Wait until no connection is left."""
        await eventually(lambda: self.counters.open_connections == 0)


def pages(page: object) -> object:
    """Return an ASGI application whose every page is ``page``."""

    async def app(scope, receive, send):
        if scope["type"] != "lifespan":
            await page(scope, receive, send)
            return
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return

    return app


async def reply_page(send, status=200, body=b"", headers=()):
    start = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def telling_page(scope, receive, send):
    """Tell what was asked."""
    body = (await receive())["body"]
    method, path = scope["method"].encode(), scope["path"].encode()
    await reply_page(
        send, 200, b"%b %b?%b %b" % (method, path, scope["query_string"], body)
    )


@asynccontextmanager
async def edge_server(
    script: Script = echoing,
    app: object = None,
    on_refused: OnRefused = not_reported,
    **settings: object,
) -> AsyncIterator[EdgeServer]:
    stage = ScriptedStage(script)
    server = EdgeServer("", Gateway(Pipeline([stage])), stage, Counters())
    options = {"addr": "127.0.0.1:0", "max_connections": 100, **settings}

    async def run(
        task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        await edge.serve(
            app or pages(telling_page),
            server.gateway,
            Server(**options),
            shutdown_trigger=server.stop.wait,
            counters=server.counters,
            on_refused=on_refused,
            task_status=task_status,
        )
        server.stopped.set()

    try:
        async with trio.open_nursery() as nursery:
            (server.url,) = await nursery.start(run)
            yield server
            nursery.cancel_scope.cancel()
    finally:
        for client in server.clients:
            client.close()
