"""Who is slow, idle or too many costs no more than agreed. The clock is the test's."""

import errno
import json
import math
import resource

import pytest
import trio

from gandalf.config import Disconnect
from gandalf.domain.usage import EndReason
from gandalf.http import edge as edge_module
from gandalf.http.client_wire import ClientWire
from gandalf.http.connection import Service
from gandalf.pipeline.drains import Drains
from tests.wire.edge_server import (
    CHAT,
    ScriptedBody,
    edge_server,
    eventually,
    get,
    hanging,
    pages,
    post,
    replying,
    settle_down,
    streaming,
)

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n"


async def test_a_header_section_that_takes_too_long_is_refused_with_408(mock_clock):
    async with edge_server(header_timeout=5.0) as edge:
        client = edge.connect()
        await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n")
        await settle_down()
        # A field now and then does not buy time.
        for _ in range(9):
            mock_clock.jump(0.5)
            await client.send(b"x: y\r\n")
            await settle_down()
        assert client.is_open()
        assert not client.data

        mock_clock.jump(1.0)
        response = await client.response()
        assert (response.status, response.error["code"]) == (408, "request_timeout")
        await client.eof()
        client.close()
        await edge.is_idle()


async def test_a_body_that_takes_too_long_is_refused_with_408(mock_clock):
    async with edge_server(header_timeout=5.0, read_timeout=30.0) as edge:
        client = edge.connect()
        await client.send(HEAD)
        await settle_down()
        for _ in range(9):
            mock_clock.jump(3.2)
            await client.send(b"x")
            await settle_down()
        assert client.is_open()
        assert not client.data

        mock_clock.jump(1.8)
        assert (await client.response()).status == 408
        assert edge.stage.entered == []


async def test_a_body_has_its_own_time_after_the_header_section(mock_clock):
    async with edge_server(header_timeout=5.0, read_timeout=30.0) as edge:
        client = edge.connect()
        await client.send(HEAD[:-2])
        await settle_down()
        mock_clock.jump(4.5)
        await client.send(HEAD[-2:])
        await settle_down()
        mock_clock.jump(29.4)
        await settle_down()
        await client.send(b"0123456789")
        assert (await client.response()).body == b"0123456789"


async def test_a_connection_that_is_not_used_is_closed_without_a_word(mock_clock):
    async with edge_server(idle_timeout=120.0) as edge:
        fresh, used = edge.connect(), edge.connect()
        await used.send(CHAT)
        await used.response()
        mock_clock.jump(119)
        await settle_down()
        assert fresh.is_open()
        assert used.is_open()

        mock_clock.jump(1.5)
        await fresh.eof()
        await used.eof()
        assert not fresh.data
        assert not used.data
        await edge.is_idle()


async def test_a_request_begins_a_new_idle_time(mock_clock):
    async with edge_server(idle_timeout=120.0) as edge:
        client = edge.connect()
        for _ in range(3):
            mock_clock.jump(100)
            await settle_down()
            await client.send(CHAT)
            assert (await client.response()).status == 200


async def test_no_time_limit_of_the_edge_cuts_a_long_exchange(mock_clock):
    """H9, Q1: streams of minutes and hours arrive whole."""
    body = ScriptedBody()
    async with edge_server(streaming(body)) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await body.give(b"data: 1\n\n")
        await client.head()
        for _ in range(20):
            mock_clock.jump(360)
            await settle_down()
        body.end()

        await client.until(lambda: client.data.endswith(b"0\r\n\r\n"))
        assert b"[DONE]" in client.data


async def test_a_pipelined_request_may_wait_as_long_as_the_one_before_takes(mock_clock):
    release = trio.Event()

    async def script(exchange):
        await release.wait()
        return await replying(exchange.body)(exchange)

    async with edge_server(script) as edge:
        client = edge.connect()
        await client.send(CHAT + post("/v1/chat/completions", b"second") + CHAT[:-1])
        await eventually(lambda: edge.stage.entered)
        mock_clock.jump(500)
        await settle_down()
        release.set()

        assert (await client.response()).body == b"{}"
        assert (await client.response()).body == b"second"
        # The third could not go on meanwhile, so its time has only begun.
        mock_clock.jump(1)
        await settle_down()
        await client.send(CHAT[-1:])
        assert (await client.response()).status == 200


async def test_a_client_that_takes_nothing_is_let_go(mock_clock):
    """H3: nothing is shielded; who does not read holds nothing for ever."""
    body = ScriptedBody()
    async with edge_server(streaming(body), write_timeout=120.0) as edge:
        client = edge.connect(receive_buffer=4096)
        await client.send(CHAT)
        await body.give(b"x" * 20_000_000)
        await settle_down()
        mock_clock.jump(119)
        await settle_down()
        assert edge.counters.open_connections == 1

        mock_clock.jump(1.5)
        await edge.is_idle()
        assert edge.counters.stalled == 1
        assert edge.stage.entered[0].cut is EndReason.CLIENT_DISCONNECT
        # What was not taken is thrown away, and not kept in the system's buffers.
        await client.eof()
        assert client.was_reset


async def test_an_exchange_to_be_drained_goes_on_when_its_client_takes_nothing(
    mock_clock,
):
    body = ScriptedBody()

    async def script(exchange):
        exchange.drains = Drains(Disconnect(policy="drain"))
        return await streaming(body)(exchange)

    async with edge_server(script, write_timeout=10.0) as edge:
        client = edge.connect(receive_buffer=4096)
        await client.send(CHAT)
        await body.give(b"x" * 20_000_000)
        await settle_down()
        mock_clock.jump(11)
        await settle_down()
        assert edge.counters.stalled == 1

        await body.give(b"more")
        body.end()
        await edge.is_idle()
        assert edge.stage.entered[0].cut is None


async def test_a_client_that_takes_some_now_and_then_is_kept(monkeypatch, mock_clock):
    wires = []

    def make(sock):
        wires.append(ClientWire(sock))
        return wires[-1]

    monkeypatch.setattr(edge_module, "ClientWire", make)
    body = ScriptedBody()
    async with edge_server(streaming(body), write_timeout=10.0) as edge:
        # Not smaller: the system fills a tiny buffer by a timer, and real seconds.
        client = edge.connect(receive_buffer=65536)
        await client.send(CHAT)
        await body.give(b"x" * 40_000_000)
        await settle_down()
        for _ in range(3):
            mock_clock.jump(8)
            await settle_down()
            left = len(wires[0].unsent)
            assert left

            # However much the system's buffers hold: until some more has fitted in.
            await client.until(lambda left=left: len(wires[0].unsent) < left)
            client.data.clear()
        assert edge.counters.stalled == 0
        assert edge.counters.open_connections == 1


class StingySocket:
    """A client's socket whose buffer has only so much room left."""

    def __init__(self, sock):
        self._sock = sock
        self.room = math.inf
        self.wire = None

    def make_room(self):
        """Have room again, and tell of it as the system would."""
        self.room = math.inf
        self.wire.writable()

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def send(self, data):
        if not self.room:
            raise BlockingIOError
        sent = self._sock.send(data[: min(len(data), self.room)])
        self.room -= sent
        return sent


async def test_a_sign_of_life_that_does_not_fit_waits_for_room_and_nobody_for_it(
    monkeypatch, mock_clock
):
    stingy = []

    def make(sock):
        stingy.append(StingySocket(sock))
        stingy[-1].wire = ClientWire(stingy[-1])
        return stingy[-1].wire

    monkeypatch.setattr(edge_module, "ClientWire", make)
    body = ScriptedBody()
    async with edge_server(
        streaming(body), keep_alive_interval=5.0, idle_timeout=8.0
    ) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await body.give(b"data: 1\n\n")
        await client.head()
        assert await client.piece() == b"data: 1\n\n"
        stingy[0].room = 4
        other = edge.connect()
        await settle_down()
        mock_clock.jump(5.1)
        await client.until(lambda: client.data == b"e\r\n:")

        # The sweeper does not wait: others are swept in time.
        mock_clock.jump(3.1)
        await other.eof()
        # Nor does the rest wait for the next event.
        stingy[0].make_room()
        assert await client.piece() == b": keep-alive\n\n"
        await body.give(b"data: 2\n\n")
        assert await client.piece() == b"data: 2\n\n"


async def test_an_event_behind_half_a_sign_of_life_follows_it(monkeypatch, mock_clock):
    stingy = []

    def make(sock):
        stingy.append(StingySocket(sock))
        stingy[-1].wire = ClientWire(stingy[-1])
        return stingy[-1].wire

    monkeypatch.setattr(edge_module, "ClientWire", make)
    body = ScriptedBody()
    async with edge_server(streaming(body), keep_alive_interval=5.0) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await body.give(b"data: 1\n\n")
        await client.head()
        await client.piece()
        stingy[0].room = 4
        mock_clock.jump(5.1)
        await client.until(lambda: client.data == b"e\r\n:")

        await body.give(b"data: 2\n\n")
        await settle_down()
        stingy[0].make_room()
        assert await client.piece() == b": keep-alive\n\n"
        assert await client.piece() == b"data: 2\n\n"


async def test_a_client_that_does_not_close_after_the_last_answer_is_closed(mock_clock):
    async with edge_server() as edge:
        client = edge.connect()
        await client.send(b"nonsense\r\n\r\n")
        assert (await client.response()).status == 400
        await settle_down()
        assert edge.counters.open_connections == 1

        mock_clock.jump(3)
        await edge.is_idle()


async def test_a_client_that_takes_its_answer_is_not_idle(monkeypatch, mock_clock):
    stingy = []

    def make(sock):
        stingy.append(StingySocket(sock))
        stingy[-1].wire = ClientWire(stingy[-1])
        stingy[-1].room = 40
        return stingy[-1].wire

    monkeypatch.setattr(edge_module, "ClientWire", make)
    async with edge_server(idle_timeout=8.0) as edge:
        client = edge.connect()
        await client.send(CHAT)
        await settle_down()
        for _ in range(20):
            mock_clock.jump(0.6)
            await settle_down()
        stingy[0].make_room()
        assert (await client.response()).body == b"{}"
        mock_clock.jump(7)
        await settle_down()
        await client.send(CHAT)
        assert (await client.response()).body == b"{}"

        mock_clock.jump(9)
        await client.eof()


async def test_a_client_has_as_long_for_its_last_answer_as_for_any_other(
    monkeypatch, mock_clock
):
    """Also for one of which the system nearly always takes all, and did not."""
    stingy = []

    def make(sock):
        stingy.append(StingySocket(sock))
        stingy[-1].wire = ClientWire(stingy[-1])
        stingy[-1].room = 40
        return stingy[-1].wire

    monkeypatch.setattr(edge_module, "ClientWire", make)
    last = post("/v1/chat/completions", b"{}", b"connection: close\r\n")
    async with edge_server(write_timeout=30.0) as edge:
        client, stalled = edge.connect(), edge.connect()
        await client.send(last)
        await stalled.send(last)
        await settle_down()
        for _ in range(28):
            mock_clock.jump(1)
            await settle_down()
        stingy[0].make_room()
        assert (await client.response()).body == b"{}"
        await client.eof()

        mock_clock.jump(3)
        await edge.is_idle()
        assert edge.counters.stalled == 1


async def test_a_client_that_goes_on_sending_after_its_refusal_is_closed(mock_clock):
    async with edge_server(max_body_bytes=10) as edge:
        client = edge.connect()
        await client.send(post("/", b"x" * 11))
        assert (await client.response()).status == 413
        for _ in range(4):
            await client.send(b"x" * 100_000)
            mock_clock.jump(0.6)
            await settle_down()
        await edge.is_idle()


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/chat/completions", {"error": dict}),
        ("/v1/messages", {"type": str, "error": dict}),
        ("/v1beta/models/m:generateContent", {"error": dict}),
        ("/api/chat", {"error": str}),
    ],
)
async def test_who_is_refused_half_read_is_told_in_its_own_dialect(path, shape):
    async with edge_server(max_body_bytes=10) as edge:
        client = edge.connect()
        await client.send(post(path, b"x" * 11))
        response = await client.response()

    told = json.loads(response.body)
    assert response.status == 413
    assert {name: type(told[name]) for name in shape} == shape


# H11: how many.


async def test_connections_above_the_limit_are_refused_with_503_and_others_served():
    async with edge_server(max_connections=3) as edge:
        clients = [edge.connect() for _ in range(3)]
        for client in clients:
            await client.send(CHAT)
            await client.response()

        excess = edge.connect()
        response = await excess.response()
        assert (response.status, response.error["code"]) == (503, "overloaded")
        assert response.headers[b"retry-after"] == b"1"
        await excess.eof()
        excess.close()
        assert edge.counters.refused_connections == 1

        await clients[0].send(CHAT)
        assert (await clients[0].response()).status == 200
        clients[0].close()
        await eventually(lambda: edge.counters.open_connections == 2)
        assert (await edge.ask(CHAT)).status == 200


async def test_even_those_who_are_told_are_bounded():
    async with edge_server(max_connections=1) as edge:
        crowd = [edge.connect() for _ in range(200)]
        await eventually(lambda: edge.counters.accepted == 200)
        await settle_down()
        assert edge.counters.open_connections <= 1 + edge_module.TOLD_OVERLOADED
        for client in crowd:
            client.close()
        await edge.is_idle()


class ExhaustedListener:
    """A listener of a process that has no more files."""

    def __init__(self, listener):
        self._listener = listener
        self.exhausted = True

    def __getattr__(self, name):
        return getattr(self._listener, name)

    def accept(self):
        if self.exhausted:
            raise OSError(errno.EMFILE, "Too many open files")
        return self._listener.accept()


async def test_running_out_of_files_is_survived_counted_and_logged_once(
    monkeypatch, caplog, mock_clock
):
    listeners = []
    listen = edge_module._Edge._listen

    def exhausted(self):
        listeners.append(ExhaustedListener(listen(self)))
        return listeners[0]

    monkeypatch.setattr(edge_module._Edge, "_listen", exhausted)
    async with edge_server() as edge:
        client = edge.connect()
        await client.send(CHAT)
        for _ in range(5):
            mock_clock.jump(0.3)
            await settle_down()
        assert edge.counters.accept_failures >= 5
        assert caplog.text.count("cannot accept") == 1

        listeners[0].exhausted = False
        mock_clock.jump(0.3)
        assert (await client.response()).status == 200


async def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be(caplog):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))
    try:
        async with edge_server(max_connections=100):
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 456
        assert not caplog.text
        async with edge_server(max_connections=10**9):
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
        assert "open files" in caplog.text
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_many_connections_at_once_are_all_answered():
    async with edge_server(max_connections=1000) as edge:
        clients = [edge.connect() for _ in range(300)]
        for client in clients:
            await client.send(CHAT)
        for client in clients:
            assert (await client.response()).status == 200
            client.close()
        await edge.is_idle()


# H1: what goes wrong on one connection stays there.


class FragileClock:
    """A clock that fails on demand: where a connection asks it, there is the bug."""

    def __init__(self, clock):
        self._clock = clock
        self.error = None

    def __call__(self):
        if self.error is not None:
            raise self.error
        return self._clock()


@pytest.fixture
def service_of(monkeypatch):
    """Return what returns what the connections of an edge server share."""
    made = []

    def make(**parts):
        service = Service(**parts)
        service.clock = FragileClock(service.clock)
        made.append(service)
        return service

    monkeypatch.setattr(edge_module, "Service", make)
    return lambda edge: next(s for s in made if s.counters is edge.counters)


@pytest.mark.parametrize(
    "error", [ValueError("bug"), ExceptionGroup("g", [KeyError(1)])]
)
async def test_a_bug_in_the_handling_of_one_connection_stays_there(
    error, service_of, caplog
):
    async with edge_server() as edge:
        service = service_of(edge)
        client = edge.connect()
        await settle_down()
        service.clock.error = error
        await client.send(CHAT)
        await client.eof()
        service.clock.error = None
        assert edge.counters.crashes == 1
        assert "a connection broke" in caplog.text
        await edge.is_idle()

        assert (await edge.ask(CHAT)).status == 200


async def test_a_bug_in_the_parser_stays_on_its_connection(service_of, caplog):
    async with edge_server(hanging) as edge:
        clock = service_of(edge).clock
        client = edge.connect()
        await settle_down()
        clock.error = KeyError(1)
        await client.send(CHAT)
        await client.eof()
        clock.error = None
        assert edge.counters.crashes == 1

        assert (await edge.ask(get("/"))).status == 200


async def test_a_bug_in_sweeping_one_connection_does_not_end_sweeping(
    service_of, caplog, mock_clock
):
    async with edge_server(idle_timeout=10.0) as edge:
        service = service_of(edge)
        client = edge.connect()
        await settle_down()
        settings, service.settings = service.settings, None
        mock_clock.jump(1)
        await settle_down()
        service.settings = settings
        assert edge.counters.crashes == 1

        mock_clock.jump(10)
        await client.eof()


async def test_an_application_that_fails_late_leaves_the_server_alive(caplog):
    async def page(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise RuntimeError("boom")

    async with edge_server(app=pages(page)) as edge:
        client = edge.connect()
        await client.send(get("/"))
        response = await client.response()
        assert response.body == b"part"
        assert not response.complete
        await client.eof()

        assert (await edge.ask(CHAT)).status == 200
