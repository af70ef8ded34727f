import pytest
import trio

from gandalf.actors.supervisor import ActorEnded, supervise


class Probe:
    def __init__(self, name, log, drain=0.0, *, crash_after=None, close_error=None):
        self.name, self.log, self.drain = name, log, drain
        self.crash_after = crash_after
        self.close_error = close_error
        self.closing = trio.Event()

    async def run(self):
        try:
            if self.crash_after is not None:
                await trio.sleep(self.crash_after)
                raise OSError(self.name)
            await self.closing.wait()
            await trio.sleep(self.drain)
            self.log.append(f"{self.name} drained")
        except trio.Cancelled:
            self.log.append(f"{self.name} cancelled")
            raise

    def close(self):
        self.log.append(f"{self.name} closed")
        if self.close_error is not None:
            raise self.close_error
        self.closing.set()


class Quitter(Probe):
    async def run(self):
        await trio.sleep(2)


async def test_stops_in_reverse_order_one_at_a_time(autojump_clock):
    log = []

    async with supervise(
        Probe("store", log), Probe("usage", log, 3), Probe("sync", log, 1)
    ):
        await trio.sleep(10)

    assert log == [
        "sync closed",
        "sync drained",
        "usage closed",
        "usage drained",
        "store closed",
        "store drained",
    ]
    assert trio.current_time() == 14


async def test_same_order_when_cancelled_from_outside(autojump_clock):
    log = []

    with trio.move_on_after(5):
        async with supervise(Probe("store", log), Probe("usage", log, 3)):
            await trio.sleep_forever()

    assert log == ["usage closed", "usage drained", "store closed", "store drained"]
    assert trio.current_time() == 8


async def test_same_order_when_the_body_fails(autojump_clock):
    log = []

    with pytest.RaisesGroup(KeyError):
        async with supervise(Probe("store", log), Probe("usage", log, 3)):
            raise KeyError

    assert log == ["usage closed", "usage drained", "store closed", "store drained"]


async def test_crash_cancels_the_body_but_siblings_still_drain(autojump_clock):
    log = []

    with pytest.RaisesGroup(OSError):
        async with supervise(
            Probe("store", log),
            Probe("usage", log, 3),
            Probe("sync", log, crash_after=2),
        ):
            try:
                await trio.sleep_forever()
            finally:
                log.append("body ended")

    assert log == [
        "body ended",
        "sync closed",
        "usage closed",
        "usage drained",
        "store closed",
        "store drained",
    ]


async def test_an_actor_that_returns_too_early_has_crashed(autojump_clock):
    log = []

    with pytest.RaisesGroup(pytest.RaisesExc(ActorEnded, match="sync returned")):
        async with supervise(Probe("store", log), Quitter("sync", log)):
            await trio.sleep_forever()

    assert log == ["sync closed", "store closed", "store drained"]
    assert trio.current_time() == 2


async def test_stuck_actor_is_cancelled_after_grace_and_named(autojump_clock, caplog):
    log = []

    async with supervise(Probe("store", log), Probe("usage", log, drain=1e9), grace=10):
        pass

    assert log == ["usage closed", "usage cancelled", "store closed", "store drained"]
    assert trio.current_time() == 10
    assert caplog.messages == ["usage did not drain in 10.0s, cancelled"]


async def test_an_actor_that_cannot_be_closed_is_cancelled_and_the_others_closed(
    autojump_clock, caplog
):
    log = []

    async with supervise(
        Probe("store", log), Probe("usage", log, close_error=ValueError("a bug"))
    ):
        pass

    assert log == ["usage closed", "usage cancelled", "store closed", "store drained"]
    assert "usage failed to close" in caplog.text
    assert trio.current_time() == 0
