"""Slots and connections: who gets one, what becomes of it, and that none is lost."""

import random
import resource
import socket
import ssl
import time
from collections import deque
from contextlib import closing

import pytest
import trio
import trustme
from trio.testing import wait_all_tasks_blocked

from gandalf.config import Timeouts
from gandalf.http.dial import tls_context
from gandalf.http.upstream import Pool
from gandalf.http.upstream_connection import (
    SENT_AT_ONCE,
    SENT_AT_ONCE_TLS,
    Connection,
)
from gandalf.http.wire import Wire
from gandalf.providers.base import UpstreamRequest
from gandalf.providers.watch import ScopedWatch, UpstreamBroken, Watch
from tests.fakes.calls import TooLate, a_request, call, opened, read
from tests.fakes.servers import OK, answering, echo_lengths, serving

CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"


class SetClock:
    """A clock that shows what it was set to; at first, the time of the loop."""

    def __init__(self):
        self.now = trio.current_time()

    def __call__(self):
        return self.now


def send_now(peer, data):
    """Send without giving anybody a turn; it has arrived when this returns."""
    assert peer.sock._sock.send(data) == len(data)


async def silent(peer):
    await peer.read_request()
    await peer.wait_left()


# --- one connection ---


async def test_a_connection_is_used_again():
    async with serving(echo_lengths) as server:
        with closing(Pool(server.url)) as pool:
            bodies = [(await call(pool, a_request(b"x" * n))).body for n in (1, 22)]
            assert (pool.open, pool.idle) == (1, 1)

    assert bodies == [b"1", b"22"]
    assert len(server.peers) == 1


async def test_the_request_is_on_the_wire_as_it_was_given():
    seen = []

    async def script(peer):
        seen.append(await peer.read_request())
        await peer.send(OK)

    async with serving(script) as server:
        with closing(Pool(server.url + "/ignored/path")) as pool:
            await call(pool, a_request(b'{"a":1}'))

    assert seen == [
        b"POST /v1/chat/completions HTTP/1.1\r\n"
        b"host: 127.0.0.1:%d\r\n"
        b"content-type: application/json\r\n"
        b"authorization: Bearer sk\r\n"
        b'content-length: 7\r\n\r\n{"a":1}' % server.port
    ]


@pytest.mark.parametrize("poison", [b"/x\n", b"/x HTTP/1.1\r\nx-admin: 1", b"/\r"])
async def test_a_line_break_in_a_target_is_not_sent(poison):
    async with serving(echo_lengths) as server:
        with closing(Pool(server.url)) as pool:
            with pytest.raises(UpstreamBroken, match="line break") as broken:
                await call(pool, UpstreamRequest(b"POST", poison, b"", b""))

    assert not broken.value.sent
    assert server.peers == []


async def test_a_connection_that_the_upstream_wants_closed_is_not_used_again():
    async with serving(answering(CLOSING, OK)) as server:
        with closing(Pool(server.url)) as pool:
            await call(pool)
            assert pool.open == 0
            await call(pool)

    assert len(server.peers) == 2


async def test_an_unread_answer_closes_its_connection_at_once():
    async def script(peer):
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart")
        await peer.wait_left()

    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            response = await opened(pool)
            response.close()
            response.close()
            assert pool.open == 0
            with trio.fail_after(1):
                await server.peers[0].left.wait()
            with pytest.raises(trio.ClosedResourceError):
                await response.receive()


async def test_an_answer_that_is_there_to_its_end_counts_as_read():
    async with serving(echo_lengths) as server:
        with closing(Pool(server.url)) as pool:
            response = await opened(pool)
            while not response._connection.parser.complete:
                await response.receive()
            response.close()
            assert pool.idle == 1


async def test_what_is_left_of_a_body_is_told_only_if_all_of_it_has_come():
    async def script(peer):
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwh")
        await more.wait()
        await peer.send(b"ol")
        await peer.wait_left()

    more = trio.Event()
    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            response = await opened(pool)
            assert response.rest() is None
            assert await response.receive() == b"wh"
            more.set()
            assert await response.receive() == b"ol"
            assert response.rest() == b""
            response.close()
            assert response.rest() is None
            assert pool.idle == 1


async def test_closing_an_answer_late_does_not_touch_the_next_one():
    async with serving(echo_lengths) as server:
        with closing(Pool(server.url)) as pool:
            first = await opened(pool)
            await read(first)
            second = await opened(pool, a_request(b"12345"))
            first.close()
            assert await read(second) == b"5"
            assert (pool.open, pool.idle) == (1, 1)


# --- connections that died while idle ---


async def test_a_connection_closed_while_idle_is_thrown_away():
    async with serving(answering(OK)) as server:
        with closing(Pool(server.url)) as pool:
            for _ in range(3):
                await call(pool)
                await wait_all_tasks_blocked(0.005)
            assert pool.open == 1

    assert len(server.peers) == 3


async def test_an_answer_that_nobody_asked_for_is_thrown_away_with_its_connection():
    async def script(peer):
        await peer.read_request()
        await peer.send(OK)
        await poisoned.wait()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        await peer.wait_left()

    poisoned = trio.Event()
    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            await call(pool)
            poisoned.set()
            await wait_all_tasks_blocked(0.005)
            got = await call(pool)

    assert got.body == b"ok"
    assert len(server.peers) == 2


EVIL = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"


async def once(peer):
    """Answer a request, and after that only what the test itself sends."""
    await peer.read_request()
    await peer.send(OK)
    await peer.wait_left()


@pytest.mark.parametrize("size", [2, SENT_AT_ONCE + 1])
async def test_what_comes_in_the_turn_in_which_an_answer_ended_is_no_answer(size):
    async with serving(once) as server:
        with closing(Pool(server.url)) as pool:
            response = await opened(pool)
            while await response.receive():
                pass
            response.close()
            # Nobody else has had a turn since, so nobody can have told of this.
            send_now(server.peers[0], EVIL)
            got = await call(pool, a_request(b"x" * size))

    assert got.body == b"ok"
    assert len(server.peers) == 2


async def asked_and_told_at_once(pool, server, size, speak):
    """Return the answers to requests that get one from ``speak`` in the same turn."""

    async def ask():
        bodies.append((await call(pool, a_request(b"x" * size))).body)

    async def speak_first():
        speak(server.peers[0])

    bodies = []
    await call(pool)
    await wait_all_tasks_blocked(0.005)
    # Of the orders that both may run in, one is it.
    for _ in range(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(speak_first)
        server.peers[:] = server.peers[-1:]
        await wait_all_tasks_blocked(0.005)
    return bodies


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("size", [2, SENT_AT_ONCE + 1])
async def test_what_comes_before_the_request_has_left_is_no_answer(size, end):
    """Whoever sends it cannot have seen the request."""

    def speak(peer):
        send_now(peer, EVIL)
        if end:
            peer.sock.shutdown(socket.SHUT_WR)

    async with serving(once) as server:
        with closing(Pool(server.url)) as pool:
            bodies = await asked_and_told_at_once(pool, server, size, speak)

    assert bodies == [b"ok"] * 20


@pytest.mark.parametrize("part", [3, None])
@pytest.mark.parametrize("size", [2, SENT_AT_ONCE_TLS + 1])
async def test_nor_is_what_comes_through_tls_before_it_has_left(size, part):
    def speak(peer):
        tls = peer.stream
        tls._ssl_object.write(EVIL)
        send_now(peer, tls._outgoing.read()[:part])

    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    trusting = tls_context()
    authority.configure_trust(trusting)
    async with serving(once, tls=tls, name="localhost") as server:
        with closing(Pool(server.url, tls=trusting)) as pool:
            with trio.fail_after(5):
                bodies = await asked_and_told_at_once(pool, server, size, speak)

    assert bodies == [b"ok"] * 20


async def test_an_upstream_that_refuses_a_connection_at_once_has_answered():
    busy = b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy"

    async def script(peer):
        await peer.send(busy)
        await peer.wait_left()

    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            got = await call(pool)

    assert (got.status, got.body) == (503, b"busy")


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_request_lost_on_a_stale_connection_is_sent_again_on_a_new_one(end):
    requests = []

    async def script(peer):
        requests.append(await peer.read_request())
        await peer.send(OK)
        requests.append(await peer.read_request())
        if end == "reset":
            peer.reset()

    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            await call(pool)
            with trio.CancelScope() as scope:
                watch = ScopedWatch(scope)
                response = await pool.send(a_request(b"again"), Timeouts(), watch)
            body = await read(response)
            assert (pool.open, pool.idle) == (1, 1)

    assert body == b"ok"
    assert 0 < watch.resent_at <= trio.current_time()
    assert [request[-5:] == b"again" for request in requests] == [False, True, True]


async def test_a_request_lost_on_a_new_connection_is_not_sent_again():
    async with serving(answering()) as server:
        with closing(Pool(server.url)) as pool:
            with pytest.raises(UpstreamBroken) as broken:
                await call(pool)
            assert pool.open == 0

    assert broken.value.sent
    assert len(server.peers) == 1


async def test_a_request_is_sent_again_only_once():
    connections = iter([[OK], []])

    async def script(peer):
        for answer in next(connections):
            await peer.read_request()
            await peer.send(answer)
        await peer.read_request()

    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            await call(pool)
            with pytest.raises(UpstreamBroken):
                await call(pool)

    assert len(server.peers) == 2


async def test_a_stale_connection_that_began_to_answer_is_not_retried():
    async def script(peer):
        await peer.read_request()
        await peer.send(OK)
        await peer.read_request()
        await peer.send(b"HTTP/1.1 2")

    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            await call(pool)
            with pytest.raises(UpstreamBroken):
                await call(pool)

    assert len(server.peers) == 1


async def test_a_connection_idle_for_too_long_is_closed():
    clock = SetClock()
    async with serving(echo_lengths) as server:
        with closing(Pool(server.url, keepalive_expiry=30.0, clock=clock)) as pool:
            await call(pool)
            clock.now += 29.9
            await call(pool)
            assert len(server.peers) == 1
            clock.now += 30.1
            await call(pool)
            assert len(server.peers) == 2
            assert pool.open == 1


async def test_connections_that_are_no_longer_needed_expire_under_light_traffic():
    clock = SetClock()
    async with serving(echo_lengths) as server:
        with closing(Pool(server.url, keepalive_expiry=30.0, clock=clock)) as pool:
            busy = [await opened(pool) for _ in range(5)]
            for response in busy:
                await read(response)
            assert pool.idle == 5
            for _ in range(4):
                clock.now += 10
                await call(pool)
            assert pool.idle == 1
            clock.now += 30
            pool.close_expired()
            assert pool.idle == 0


# --- slots ---


async def test_who_waits_longest_gets_the_next_slot(nursery):
    gate = trio.Semaphore(0)
    served = []

    async def script(peer):
        while True:
            request = await peer.read_request()
            await gate.acquire()
            served.append(request[-1:])
            await peer.send(OK)

    async with serving(script) as server:
        with closing(Pool(server.url, max_connections=1)) as pool:
            for name in (b"a", b"b", b"c", b"d"):
                nursery.start_soon(call, pool, a_request(name))
                await wait_all_tasks_blocked(0.005)
            assert (pool.open, pool.waiting) == (1, 3)
            for _ in range(4):
                gate.release()
                await wait_all_tasks_blocked(0.005)
            assert (pool.open, pool.idle, pool.waiting) == (1, 1, 0)

    assert served == [b"a", b"b", b"c", b"d"]
    assert len(server.peers) == 1


async def test_a_newcomer_does_not_overtake_who_waits(nursery):
    order = []

    async def named(pool, name):
        await call(pool, a_request(name))
        order.append(name)

    async with serving(echo_lengths) as server:
        with closing(Pool(server.url, max_connections=1)) as pool:
            holder = await opened(pool)
            nursery.start_soon(named, pool, b"waiting")
            await wait_all_tasks_blocked(0.005)
            while await holder.receive():
                pass
            holder.close()  # An idle connection is there; it is spoken for.
            nursery.start_soon(named, pool, b"newcomer")
            await wait_all_tasks_blocked(0.02)

    assert order == [b"waiting", b"newcomer"]


async def test_waiting_for_a_slot_is_a_phase_with_a_limit_of_its_own():
    async with serving(silent) as server:
        with closing(Pool(server.url, max_connections=1)) as pool:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, pool)
                await wait_all_tasks_blocked(0.005)
                with pytest.raises(TooLate, match="pool"):
                    await call(pool, None, Timeouts(pool=0.02))
                assert (pool.open, pool.waiting) == (1, 0)
                nursery.cancel_scope.cancel()
            assert pool.open == 0


async def test_a_connection_opened_ahead_is_used_by_the_next_request():
    async with serving(echo_lengths) as server:
        with closing(Pool(server.url, max_connections=1)) as pool:
            await pool.connect(5.0)
            await pool.connect(5.0)  # There is no room for a second one.
            assert (pool.open, pool.idle) == (1, 1)

            assert (await call(pool, a_request(b"x" * 7))).body == b"7"

    assert len(server.peers) == 1


async def test_a_silent_upstream_runs_into_the_response_headers_phase():
    async with serving(silent) as server:
        with closing(Pool(server.url)) as pool:
            with pytest.raises(TooLate, match="response_headers"):
                await call(pool, None, Timeouts(connect=5.0, response_headers=0.02))
            assert pool.open == 0
            with trio.fail_after(1):
                await server.peers[0].left.wait()


async def test_an_answer_stopped_while_nobody_read_it_leaves_other_connections_alone():
    async def script(peer):
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok")
        await finishing.wait()
        await peer.send(b"ok")
        await peer.wait_left()

    finishing = trio.Event()
    watch = Watch()
    async with serving(script) as server:
        with closing(Pool(server.url)) as pool:
            stopped = await pool.send(a_request(), Timeouts(), watch)
            assert await stopped.receive() == b"ok"
            watch.phase("idle", -1.0)
            watch.sweep(
                trio.current_time()
            )  # As while its reader waits for a slow client.
            # The system gives the number of the closed socket to the next one.
            other = await opened(pool)
            bodies = []

            async def reading():
                bodies.append(await read(other))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(reading)
                await wait_all_tasks_blocked(0.005)
                with trio.fail_after(1), pytest.raises(UpstreamBroken):
                    await stopped.receive()
                finishing.set()
            stopped.close()
            assert pool.open == pool.idle

    assert bodies == [b"okok"]


async def test_a_limit_that_passes_as_a_slot_is_granted_still_counts():
    requests = []

    async def script(peer):
        requests.append(await peer.read_request())
        await peer.send(OK)
        requests.append(await peer.read_request())
        await peer.wait_left()

    async def waiting(pool):
        with pytest.raises(UpstreamBroken) as broken:
            await pool.send(a_request(), Timeouts(), watch)
        assert (broken.value.sent, watch.name) == (False, "connect")

    watch = Watch()
    async with serving(script) as server:
        with closing(Pool(server.url, max_connections=1)) as pool:
            holder = await opened(pool)
            while await holder.receive():
                pass
            with trio.fail_after(5):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(waiting, pool)
                    await wait_all_tasks_blocked(0.005)
                    watch.phase("connect", -1.0)
                    holder.close()  # Grants the slot, in the turn in which time is up.
                    watch.sweep(trio.current_time())
            assert pool.open == pool.idle

    assert len(requests) == 1


async def test_one_slow_reader_does_not_hold_back_the_others():
    async def script(peer):
        request = await peer.read_request()
        if request.endswith(b"endless"):
            await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                await peer.send(b"x" * 65536)
        await peer.send(CLOSING)

    async with serving(script) as server:
        with closing(Pool(server.url, max_connections=2)) as pool:
            slow = await opened(pool, a_request(b"endless"))
            await slow.receive()
            with trio.fail_after(5):
                for _ in range(50):
                    assert (await call(pool)).body == b"ok"
            slow.close()


async def test_a_closed_pool_keeps_nothing_but_finishes_what_is_under_way(nursery):
    async with serving(echo_lengths) as server:
        pool = Pool(server.url, max_connections=2)
        kept, busy = await opened(pool), await opened(pool)
        await read(kept)
        assert (pool.open, pool.idle) == (2, 1)

        pool.close()
        pool.close()
        assert (pool.open, pool.idle) == (1, 0)
        assert await read(busy) == b"2"
        assert pool.open == 0
        assert (await call(pool)).body == b"2"
        assert pool.open == 0


async def test_ten_thousand_cancelled_calls_leave_a_pool_that_works(nursery):
    dice = random.Random(2)

    async def script(peer):
        for _ in range(dice.randrange(1, 8)):
            await peer.read_request()
            await pause()
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok")
            await pause()
            await peer.send(b"ok")

    async def pause():
        for _ in range(dice.randrange(6)):
            await trio.lowlevel.checkpoint()

    async def one(pool):
        # Counted in turns of the loop, so that the cancellation hits every phase.
        turns = dice.randrange(30)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as pair:
                pair.start_soon(cancel_after, turns, scope)
                try:
                    assert (await call(pool)).body == b"okok"
                except UpstreamBroken:
                    outcomes["broken"] += 1
                else:
                    outcomes["whole"] += 1
                pair.cancel_scope.cancel()
        outcomes["cancelled"] += scope.cancelled_caught

    async def cancel_after(turns, scope):
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    async def worker(pool, todo):
        while todo:
            todo.pop()
            await one(pool)

    outcomes = dict.fromkeys(("whole", "cancelled", "broken"), 0)
    async with serving(script) as server:
        with closing(Pool(server.url, max_connections=10)) as pool:
            todo = deque(range(10_000))
            async with trio.open_nursery() as workers:
                for _ in range(20):
                    workers.start_soon(worker, pool, todo)

            assert outcomes["cancelled"] > 3_000
            assert outcomes["whole"] > 1_000
            assert pool.open == pool.idle <= 10
            assert pool.waiting == 0
            # All ten slots are there.
            responses = [await opened(pool) for _ in range(10)]
            assert pool.open == 10
            for response in responses:
                assert await read(response) == b"okok"


async def test_a_thousand_idle_connections_cost_no_more_than_ten():
    def still():
        """Return a connection that has just been used, and is good for more."""
        sock = socket.socket()
        sock.setblocking(False)
        connection = Connection(Wire(sock), None)
        connection.parser.feed(OK)
        assert connection.reusable
        return connection

    def cost(idle):
        pool = Pool("http://127.0.0.1:1", clock=SetClock())
        for _ in range(idle):
            pool._busy += 1
            pool._release(still())
        best = float("inf")
        for _ in range(20):
            started = time.perf_counter()
            for _ in range(200):
                pool._busy += 1
                pool._release(pool._take_idle(pool._clock()))
            best = min(best, time.perf_counter() - started)
        assert pool.idle == idle
        pool.close()
        return best

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        assert cost(1000) < 5 * cost(10)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
