"""Sockets that are waited for through the poller: nothing that comes is missed."""

import socket
from contextlib import closing

import pytest
import trio
import trio.testing

from gandalf.http.client_wire import ClientWire
from gandalf.http.poller import READ_SIZE, Readable


@pytest.fixture
async def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with closing(ours), closing(theirs):
        yield Readable(ours), theirs


async def test_what_was_there_before_anybody_waited_is_found(pair):
    readable, theirs = pair
    theirs.send(b"early")
    await trio.testing.wait_all_tasks_blocked(0.01)

    assert bytes(await readable.receive()) == b"early"


async def test_bytes_and_the_end_that_come_together_are_both_found(pair):
    readable, theirs = pair
    theirs.send(b"last words")
    theirs.close()

    with trio.fail_after(5):
        assert bytes(await readable.receive()) == b"last words"
        assert bytes(await readable.receive()) == b""
        assert bytes(await readable.receive()) == b""


async def test_more_than_one_read_takes_is_found_to_its_last_byte(pair):
    readable, theirs = pair
    total = 2 * READ_SIZE + 1
    theirs.setblocking(False)
    sent = seen = 0

    with trio.fail_after(5):
        while seen < total:
            while sent < total:
                try:
                    sent += theirs.send(b"x" * (total - sent))
                except BlockingIOError:
                    break
            seen += len(await readable.receive())
    assert seen == total


async def test_who_always_finds_something_lets_others_run(pair):
    readable, theirs = pair
    theirs.send(b"x")
    theirs.close()
    await readable.receive()
    turns = []

    async def other():
        for _ in range(10):
            turns.append(1)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(20):
            await readable.receive()
    assert len(turns) == 10


async def test_an_interrupted_reader_fails_and_may_read_on(pair):
    readable, theirs = pair

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.testing.wait_all_tasks_blocked)
        nursery.start_soon(_interrupt_when_all_wait, readable)
        with pytest.raises(trio.ClosedResourceError):
            await readable.receive()

    theirs.send(b"later")
    assert bytes(await readable.receive()) == b"later"


async def test_a_cancelled_reader_misses_nothing(pair):
    readable, theirs = pair
    with trio.move_on_after(0):
        await readable.receive()

    theirs.send(b"x")
    assert bytes(await readable.receive()) == b"x"


async def test_two_cannot_read_the_same(pair):
    readable, _ = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(readable.receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await readable.receive()
        nursery.cancel_scope.cancel()


async def test_who_waits_for_what_is_closed_is_told():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    readable = Readable(ours)

    async def close():
        await trio.testing.wait_all_tasks_blocked()
        readable.forget()
        ours.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close)
        with pytest.raises(trio.ClosedResourceError):
            await readable.receive()
    with pytest.raises(trio.ClosedResourceError):
        await readable.receive()
    theirs.close()


async def test_a_bug_in_what_is_told_of_an_end_does_not_stop_the_others(pair, caplog):
    def bug():
        raise KeyError(1)

    ours, gone = socket.socketpair()
    ours.setblocking(False)
    broken = ClientWire(ours)
    broken.on_end = bug
    gone.close()
    readable, theirs = pair
    assert bytes(await broken.receive()) == b""

    theirs.send(b"x")
    assert bytes(await readable.receive()) == b"x"
    assert "a hang-up was not dealt with" in caplog.text
    ours.close()


async def _interrupt_when_all_wait(readable):
    await trio.testing.wait_all_tasks_blocked(0.01)
    readable.interrupt()
