"""An OpenAI-compatible upstream on a real socket, that does as a test tells it.

It uses nothing of gandalf and another parser (h11), so that a fault of ours cannot
hide behind the same fault here.

    async with fake_upstream(nursery) as up:
        up.script(status(503), stream(*chat_events("Hi"), gap=0.01))
        ...  # two requests to up.url
        assert up.requests[1].json()["stream"] is True

Each request takes the next answer of the script; when there is none left it takes
``up.otherwise``, which by default answers as OpenAI would. An ``Answer`` is a value:
``replace`` makes variants, ``cut``, ``chopped`` and ``stalled`` the usual ones.

Run as a process: ``python -m tests.fakes.upstream [PORT]`` prints its URL and serves.
"""

from __future__ import annotations

import json
import math
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import h11
import trio

from tests.fakes import openai_format as fmt

Step = bytes | float | trio.Event
"""What to send; or seconds to wait; or what to wait for."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What to do with one request."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    body: tuple[Step, ...] = ()
    framing: Literal["length", "chunked", "close"] = "length"
    before: tuple[Step, ...] = ()
    """What comes before the header section: waits, or bytes such as a 1xx."""
    raw: bool = False
    """The body is all there is: no status line, no header section, no framing."""
    early: bool = False
    """Answer as soon as the request's header section is there."""
    end: Literal["keep", "close", "reset", "stall"] = "keep"
    """What becomes of the connection; ``stall`` leaves it open and answers no more."""
    limit: float = math.inf
    """Bytes of body to send, framing not counted, before the connection ends."""

    def cut(self, at: int, end: Literal["close", "reset"] = "close") -> Answer:
        """Break off after ``at`` bytes of the body."""
        return replace(self, limit=at, end=end)

    def stalled(self, at: int) -> Answer:
        """Fall silent after ``at`` bytes of the body, with the connection open."""
        return replace(self, limit=at, end="stall")

    def chopped(self, size: int, gap: float = 0.0) -> Answer:
        """Send the body ``size`` bytes at a time, in the middle of characters too.

        Pieces without a gap are separate HTTP chunks and separate writes, but may
        reach the other side together.
        """
        steps: list[Step] = []
        for step in self.body:
            if not isinstance(step, bytes):
                steps.append(step)
                continue
            for at in range(0, len(step), size):
                steps.append(step[at : at + size])
                if gap:
                    steps.append(gap)
        return replace(self, body=tuple(steps), framing="chunked")


# --- the usual answers ---


def respond(
    body: bytes | str,
    status: int = 200,
    content_type: str = "application/json",
    **how: Any,
) -> Answer:
    """A whole answer of known length."""
    raw = body.encode() if isinstance(body, str) else body
    return Answer(status=status, content_type=content_type, body=(raw,), **how)


def chat(content: str | None = "Hello there", **fields: Any) -> Answer:
    """A chat completion."""
    return respond(fmt.completion(content, **fields))


def status(
    code: int,
    message: str = "upstream says no",
    *,
    retry_after: str | None = None,
    **how: Any,
) -> Answer:
    """An error in OpenAI's shape."""
    headers = () if retry_after is None else (("retry-after", retry_after),)
    return respond(fmt.error(message, **how), code, headers=headers)


def html_error(code: int = 502) -> Answer:
    """What a proxy in front of the upstream says when the upstream is gone."""
    page = f"<html><body><h1>{code} Bad Gateway</h1></body></html>"
    return respond(page, code, content_type="text/html")


def stream(
    *steps: Step, gap: float = 0.0, content_type: str = "text/event-stream", **how: Any
) -> Answer:
    """A stream of events (the usual ones if there are no steps), ``gap`` s apart."""
    body: list[Step] = []
    for step in steps or fmt.chat_events():
        if body and gap:
            body.append(gap)
        body.append(step)
    how.setdefault("framing", "chunked")
    return Answer(content_type=content_type, body=tuple(body), **how)


def silence(seconds: float = math.inf) -> Answer:
    """No byte for ``seconds``, then a chat completion."""
    return replace(chat(), before=(seconds,))


def garbage(data: bytes = b"\x00\xffSSH-2.0-OpenSSH_9.6\r\n") -> Answer:
    """Something that is not HTTP."""
    return Answer(raw=True, body=(data,), end="close")


def hang_up(end: Literal["close", "reset"] = "close") -> Answer:
    """End the connection without a byte of an answer."""
    return Answer(raw=True, end=end)


# --- the upstream ---


@dataclass(eq=False)
class Request:
    """One request as it arrived."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    received_at: float
    connection: int
    """Which connection it came over, counted from 0."""
    body: bytes = b""
    raw: bytes = b""
    """Every byte of it, as it was on the wire (unless requests were pipelined)."""
    client_left: trio.Event = field(default_factory=trio.Event)
    """Set when the client closed the connection, during the answer or after it."""
    client_left_at: float | None = None
    answered_at: float | None = None
    """When the answer was sent to its end. None if it never was."""

    def header(self, name: str) -> str | None:
        """The value of a header field, None if it is absent."""
        wanted = name.lower().encode()
        return next((v.decode() for n, v in self.headers if n.lower() == wanted), None)

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


Answering = Answer | Callable[[Request], Answer]


def as_openai_would(request: Request) -> Answer:
    """A chat completion, a stream or embeddings, as the request asks."""
    if request.method != "POST":
        return status(404)
    asked = request.json()
    if request.target.endswith("/embeddings"):
        return respond(fmt.embeddings(model=asked["model"]))
    if not request.target.endswith("/chat/completions"):
        return status(404)
    if not asked.get("stream"):
        return chat(model=asked["model"])
    wanted = (asked.get("stream_options") or {}).get("include_usage")
    return stream(*fmt.chat_events(usage=fmt.usage() if wanted else None))


class FakeUpstream:
    """Where a test says what the upstream does, and reads what it was sent."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[Request] = []
        self.otherwise: Answering = as_openai_would
        self.connections = 0
        """Connections accepted so far."""
        self.open_connections = 0
        self._script: deque[Answering] = deque()
        self._changed = trio.Event()

    @property
    def url(self) -> str:
        """What a provider's ``base_url`` is set to."""
        return f"http://127.0.0.1:{self.port}/v1"

    def script(self, *answers: Answering) -> None:
        """Add to what the next requests get."""
        self._script.extend(answers)

    def forget(self) -> None:
        """Drop what is left of the script."""
        self._script.clear()

    async def wait_for(
        self, condition: Callable[[], bool], seconds: float = 5.0
    ) -> None:
        """Wait until ``condition`` holds; it may hold after a request or a hang-up."""
        with trio.fail_after(seconds):
            while not condition():
                await self._changed.wait()

    async def wait_for_requests(self, count: int, seconds: float = 5.0) -> None:
        """Wait until ``count`` requests have arrived in all."""
        await self.wait_for(lambda: len(self.requests) >= count, seconds)

    def note(self) -> None:
        """Something happened that a test may wait for."""
        self._changed.set()
        self._changed = trio.Event()

    def answer_to(self, request: Request) -> Answer:
        """Take the next answer of the script."""
        answering = self._script.popleft() if self._script else self.otherwise
        return answering(request) if callable(answering) else answering

    def next_is_early(self) -> bool:
        """Whether the next request is answered before its body is read."""
        following = self._script[0] if self._script else self.otherwise
        return isinstance(following, Answer) and following.early

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection until it ends."""
        number, self.connections = self.connections, self.connections + 1
        self.open_connections += 1
        try:
            await _Connection(self, stream, number).run()
        finally:
            self.open_connections -= 1
            self.note()
            await trio.aclose_forcefully(stream)


class _ClientLeft(Exception):
    pass


class _Connection:
    """Reads all the time, so that a client that leaves is noticed in any phase."""

    def __init__(
        self, upstream: FakeUpstream, stream: trio.SocketStream, number: int
    ) -> None:
        self._upstream = upstream
        self._stream = stream
        self._number = number
        self._received, self._incoming = trio.open_memory_channel[bytes](math.inf)
        self._pending = b""
        self._gone = trio.Event()
        self._current: Request | None = None

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            try:
                while await self._exchange():
                    pass
            except (_ClientLeft, trio.BrokenResourceError, trio.ClosedResourceError):
                # A broken write may be noticed before the reader has seen the end.
                self._note_client_left()
            except h11.RemoteProtocolError as error:
                await self._complain(error)
            nursery.cancel_scope.cancel()

    async def _read(self) -> None:
        try:
            while data := await self._stream.receive_some(65536):
                self._received.send_nowait(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self._note_client_left()
        self._received.close()

    def _note_client_left(self) -> None:
        self._gone.set()
        if self._current is not None and not self._current.client_left.is_set():
            self._current.client_left_at = trio.current_time()
            self._current.client_left.set()
        self._upstream.note()

    async def _complain(self, error: Exception) -> None:
        text = f"the fake upstream was sent nonsense: {error}".encode()
        head = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n"
        with trio.move_on_after(1):
            await self._stream.send_all(
                head + b"content-length: %d\r\n\r\n" % len(text) + text
            )

    async def _exchange(self) -> bool:
        """One request and its answer. False when the connection is to be closed."""
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 21)
        raw = bytearray()
        head = await self._next_event(parser, raw)
        if not isinstance(head, h11.Request):
            return False
        request = Request(
            method=head.method.decode(),
            target=head.target.decode(),
            headers=[(bytes(n), bytes(v)) for n, v in head.headers.raw_items()],
            received_at=trio.current_time(),
            connection=self._number,
        )
        self._current = request
        early = self._upstream.next_is_early()
        if not early:
            await self._read_body(parser, raw, request)
        self._upstream.requests.append(request)
        self._upstream.note()
        answer = self._upstream.answer_to(request)
        keep = await self._play(answer, request)
        request.answered_at = trio.current_time()
        self._upstream.note()
        return keep and not early

    async def _read_body(
        self, parser: h11.Connection, raw: bytearray, request: Request
    ) -> None:
        if parser.they_are_waiting_for_100_continue:
            await self._stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = bytearray()
        while isinstance(part := await self._next_event(parser, raw), h11.Data):
            body += part.data
        self._pending = parser.trailing_data[0]
        request.body = bytes(body)
        request.raw = bytes(raw[: len(raw) - len(self._pending)])

    async def _next_event(
        self, parser: h11.Connection, raw: bytearray
    ) -> h11.Event | None:
        while (event := parser.next_event()) is h11.NEED_DATA:
            if self._pending:
                data, self._pending = self._pending, b""
            else:
                try:
                    data = await self._incoming.receive()
                except trio.EndOfChannel:
                    if self._current is None or parser.their_state is h11.IDLE:
                        return None  # between requests: nothing was lost
                    raise _ClientLeft from None
            raw += data
            parser.receive_data(data)
        return event if isinstance(event, h11.Event) else None

    async def _play(self, answer: Answer, request: Request) -> bool:
        for step in answer.before:
            await self._step(step)
        if not answer.raw:
            await self._stream.send_all(_head(answer))
        left = answer.limit
        for step in answer.body:
            if left <= 0:
                break
            if isinstance(step, bytes):
                step = step if left == math.inf else step[: int(left)]
                left -= len(step)
                if answer.framing == "chunked" and not answer.raw:
                    step = b"%x\r\n%b\r\n" % (len(step), step)
            await self._step(step)
        whole = left > 0 or answer.limit == math.inf
        if whole and answer.framing == "chunked" and not answer.raw:
            await self._stream.send_all(b"0\r\n\r\n")
        return await self._finish(answer)

    async def _finish(self, answer: Answer) -> bool:
        if answer.end == "stall":
            await self._gone.wait()
            return False
        if answer.end == "reset":
            # Lingering for no time turns the close into a reset.
            self._stream.setsockopt(
                trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            )
            return False
        return answer.end == "keep" and answer.framing != "close" and not answer.raw

    async def _step(self, step: Step) -> None:
        if isinstance(step, bytes):
            if step:
                await self._stream.send_all(step)
            return
        if isinstance(step, trio.Event):
            await self._wait_unless_gone(step)
        else:
            with trio.move_on_after(step):
                await self._gone.wait()
        if self._gone.is_set():
            raise _ClientLeft

    async def _wait_unless_gone(self, event: trio.Event) -> None:
        async with trio.open_nursery() as nursery:

            async def first(other: trio.Event) -> None:
                await other.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(first, event)
            nursery.start_soon(first, self._gone)


def _head(answer: Answer) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} Scripted"]
    headers = [("content-type", answer.content_type), *answer.headers]
    if answer.framing == "length":
        size = sum(len(step) for step in answer.body if isinstance(step, bytes))
        headers.append(("content-length", str(size)))
    elif answer.framing == "chunked":
        headers.append(("transfer-encoding", "chunked"))
    else:
        headers.append(("connection", "close"))
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@asynccontextmanager
async def fake_upstream(
    nursery: trio.Nursery, port: int = 0
) -> AsyncIterator[FakeUpstream]:
    """Serve on a free port of the loopback, in ``nursery``, until the block ends."""
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    upstream = FakeUpstream(listeners[0].socket.getsockname()[1])
    ended = trio.Event()

    async def run() -> None:
        async with trio.open_nursery() as connections:
            scope = connections.cancel_scope

            async def stop() -> None:
                await ended.wait()
                scope.cancel()

            connections.start_soon(stop)
            await trio.serve_listeners(
                upstream.serve, listeners, handler_nursery=connections
            )

    nursery.start_soon(run)
    try:
        yield upstream
    finally:
        ended.set()
        for listener in listeners:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(listener)


async def _main(arguments: Sequence[str]) -> None:
    port = int(arguments[0]) if arguments else 0
    async with trio.open_nursery() as nursery:
        async with fake_upstream(nursery, port) as upstream:
            print(upstream.url, flush=True)  # noqa: T201
            await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(_main, sys.argv[1:])
