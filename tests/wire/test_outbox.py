"""What is sent in a turn of the loop leaves at its end, behind what comes first."""

import contextlib
import errno
import os
import socket

import pytest
import trio
import trio.testing

from gandalf.http.client_wire import TAKEN_AT_ONCE, ClientWire
from gandalf.http.outbox import AT_ONCE, outbox
from gandalf.http.wire import Wire


class Told:
    """A sender that notes when it is told to send."""

    def __init__(self, log):
        self._log = log

    def send_held(self):
        self._log.append("sent")


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def fill(sock):
    """Leave no room in ``sock``; return how many bytes that took."""
    size = 0
    while True:
        try:
            size += sock.send(bytes(65536))
        except BlockingIOError:
            return size


def read_all(sock):
    data = b""
    with contextlib.suppress(BlockingIOError):
        while piece := sock.recv(1 << 20):
            data += piece
    return data


async def test_nothing_leaves_before_the_end_of_the_turn_and_everything_then():
    log = []
    outbox().do_first(lambda: log.append("first"))
    for _ in range(3):
        outbox().add(Told(log))
    assert log == []

    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    assert log[:4] == ["first", "sent", "sent", "sent"]
    assert log.count("sent") == 3


async def test_many_do_not_wait_for_the_end_of_the_turn():
    log = []
    outbox().do_first(lambda: log.append("first"))
    for _ in range(AT_ONCE):
        outbox().add(Told(log))

    assert log == ["first", *["sent"] * AT_ONCE]


async def test_a_bug_in_what_comes_first_holds_nothing_back(caplog):
    def broken():
        raise KeyError(1)

    log = []
    outbox().do_first(broken)
    outbox().add(Told(log))
    outbox().flush()

    assert log == ["sent"]
    assert "what comes before sending has failed" in caplog.text


async def test_a_sender_that_fails_holds_no_other_back(caplog):
    class Broken:
        def send_held(self):
            raise MemoryError

    log = []
    for _ in range(2):
        outbox().add(Broken())
        outbox().add(Told(log))
        await trio.sleep(0.001)

    assert log == ["sent", "sent"]
    assert "what was to be sent is not" in caplog.text


async def test_more_than_the_kernel_takes_at_once_is_to_be_waited_for(pair):
    """However small the pieces are that it was made of, in one turn."""
    ours, _ = pair
    wire = ClientWire(ours)
    piece = bytes(TAKEN_AT_ONCE // 2)

    assert wire.push(piece)
    assert wire.push(piece)
    assert not wire.push(b"1")


async def test_what_one_client_is_sent_in_a_turn_arrives_in_order(pair):
    ours, theirs = pair
    wire = ClientWire(ours)

    assert wire.push(b"one ")
    assert wire.push(b"two")
    assert not wire.all_sent
    outbox().flush()
    assert wire.all_sent
    assert read_all(theirs) == b"one two"


async def test_what_the_kernel_does_not_take_follows_without_anybody_waiting(pair):
    ours, theirs = pair
    wire = ClientWire(ours)
    filled = fill(ours)

    assert wire.push(b"late")
    outbox().flush()
    assert bytes(wire.unsent) == b"late"
    assert not wire.push(b"r")
    assert len(read_all(theirs)) == filled
    with trio.fail_after(5):
        await wire.drain()
    assert read_all(theirs) == b"later"
    assert wire.all_sent


class FailingSocket:
    """A socket that the system has no memory to send from."""

    def __init__(self, sock):
        self._sock = sock

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def send(self, data):
        raise OSError(errno.ENOBUFS, "No buffer space available")


async def test_nothing_is_sent_behind_what_could_not_be_sent(pair):
    ours, theirs = pair
    wire = ClientWire(FailingSocket(ours))

    wire.push(b"one ")
    outbox().flush()
    wire.writable()
    wire.push(b"two")
    outbox().flush()
    assert bytes(wire.unsent) == b"one two"
    assert read_all(theirs) == b""


async def test_what_may_not_fit_is_to_be_waited_for(pair):
    ours, theirs = pair
    wire = ClientWire(ours)
    data = os.urandom(TAKEN_AT_ONCE + 1) * 100
    assert not wire.push(data)

    got = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.drain)
        with trio.fail_after(5):
            while len(got) < len(data):
                got += read_all(theirs)
                await trio.lowlevel.checkpoint()
    assert got == data


async def test_who_waits_for_room_fails_if_the_client_is_given_up(pair):
    ours, _ = pair
    wire = ClientWire(ours)
    fill(ours)
    wire.push(b"never")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_interrupt_when_all_wait, wire)
        with trio.fail_after(5), pytest.raises(trio.ClosedResourceError):
            await wire.drain()


async def test_a_wait_for_room_can_be_cancelled(pair):
    ours, theirs = pair
    wire = ClientWire(ours)
    fill(ours)
    wire.push(b"late")
    with trio.move_on_after(0.01):
        await wire.drain()

    read_all(theirs)
    with trio.fail_after(5):
        await wire.drain()
    assert read_all(theirs) == b"late"


async def test_a_request_that_does_not_fit_follows_and_is_known_to_be_on_its_way(pair):
    ours, theirs = pair
    wire = Wire(ours)
    filled = fill(ours)

    wire.send_soon(b"request")
    outbox().flush()
    assert not wire.sent
    assert len(read_all(theirs)) == filled
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert wire.sent
    assert read_all(theirs) == b"request"


async def test_what_was_to_be_sent_is_dropped_with_its_connection(pair):
    ours, theirs = pair
    wire = Wire(ours)
    wire.send_soon(b"too late")
    wire.close()
    outbox().flush()

    assert read_all(theirs) == b""


async def _interrupt_when_all_wait(wire):
    await trio.testing.wait_all_tasks_blocked(0.01)
    wire.interrupt()
