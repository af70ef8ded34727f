"""The time limits of a stream: whose silence counts, and whose does not."""

import pytest
import trio

from gandalf.actors.response_cache import ResponseCache
from gandalf.actors.watches import Watches
from gandalf.config import Cache, Provider, Timeouts
from gandalf.dialects.openai import ChatStream
from gandalf.domain.errors import UpstreamTimeout
from gandalf.pipeline.stream_body import StreamBody
from gandalf.providers.openai import OpenAI
from gandalf.providers.watch import UpstreamBroken, Watch

from .builders import a_chat_body, an_exchange

EVENT = (
    b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n'
)
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


class Response:
    """Pieces that come after so many seconds each; then silence until closed."""

    status = 200
    headers = ()
    complete = False

    def __init__(self, *pieces):
        self._pieces = list(pieces)
        self._closed = trio.Event()

    async def receive(self):
        if self._pieces:
            wait, piece = self._pieces.pop(0)
            await trio.sleep(wait)
            return piece
        await self._closed.wait()
        raise UpstreamBroken("closed", sent=True)

    def close(self):
        self._closed.set()


@pytest.fixture
async def watches(nursery):
    watches = Watches()
    nursery.start_soon(watches.run)
    yield watches
    watches.close()


def a_body(watches, response, **limits):
    provider = OpenAI(Provider(name="openai", timeouts=Timeouts(**limits)))
    watch = Watch()
    watch.stop = response.close
    watches.add(watch)
    exchange = an_exchange(a_chat_body(stream=True))
    return StreamBody(exchange, provider, response, ChatStream(strip_usage=True), watch)


async def test_an_upstream_that_falls_silent_is_given_up_after_the_idle_limit(
    watches, autojump_clock
):
    body = a_body(watches, Response((0, EVENT)), idle=60.0)
    assert await body.receive() == EVENT

    began = trio.current_time()
    with pytest.raises(UpstreamTimeout) as late:
        await body.receive()

    assert late.value.phase == "idle"
    assert 60 <= trio.current_time() - began < 61


async def test_a_client_that_takes_its_time_is_no_fault_of_the_upstream(
    watches, autojump_clock
):
    body = a_body(watches, Response((0, EVENT), (0, EVENT)), idle=60.0)
    assert await body.receive() == EVENT

    await trio.sleep(600)

    assert await body.receive() == EVENT


async def test_a_finished_answer_waits_only_so_long_for_its_end_marker(
    watches, autojump_clock
):
    body = a_body(watches, Response((0, EVENT + STOP)), idle=60.0)
    assert await body.receive() == EVENT + STOP

    began = trio.current_time()
    assert await body.receive() == b""

    assert 5 <= trio.current_time() - began < 6


@pytest.mark.parametrize("sign", [b": still here\n\n", b"data: ping\n\n", b"\n"])
async def test_signs_of_life_do_not_keep_a_finished_answer_open(
    watches, autojump_clock, sign
):
    pieces = [(1, sign)] * 100
    body = a_body(watches, Response((0, EVENT + STOP), *pieces), idle=60.0)

    began = trio.current_time()
    while await body.receive():
        pass

    assert body.ending == DONE
    assert 5 <= trio.current_time() - began < 7


async def test_what_is_said_after_the_end_marker_is_not_waited_for(
    watches, autojump_clock
):
    talk = [(0.01, EVENT)] * 1000
    body = a_body(watches, Response((0, EVENT + STOP + DONE), *talk))

    began = trio.current_time()
    assert await body.receive() == EVENT + STOP
    assert await body.receive() == b""
    assert trio.current_time() - began < 1


class Whole(Response):
    """Pieces after which nothing more comes, as can be seen from their framing."""

    @property
    def complete(self):
        return not self._pieces


DONE = b"data: [DONE]\n\n"


async def test_what_came_with_the_end_of_the_response_leaves_with_it(watches):
    body = a_body(watches, Whole((0, EVENT + EVENT), (0, EVENT + STOP + DONE)))

    assert await body.receive() == EVENT + EVENT
    assert await body.receive() == b""
    assert body.ending == EVENT + STOP + DONE


async def test_what_has_come_does_not_wait_for_the_end_of_the_response(
    watches, autojump_clock
):
    body = a_body(watches, Response((0, EVENT + STOP + DONE)))
    began = trio.current_time()

    await body.wait_content()
    assert await body.receive() == EVENT + STOP
    assert trio.current_time() == began
    # Its connection can be used again only if the end comes, mostly at once.
    assert await body.receive() == b""
    assert body.ending == DONE
    assert trio.current_time() - began < 0.5


async def test_what_is_kept_for_the_cache_is_the_same_however_it_came(watches):
    cache = ResponseCache(Cache())
    kept = []
    for response in (
        Whole((0, EVENT + STOP + DONE)),
        Whole((0, EVENT), (0, STOP + DONE)),
        Whole((0, EVENT + STOP), (0, DONE)),
    ):
        body = a_body(watches, response)
        capture = body._exchange.capture = cache.refresh(b"key")
        while await body.receive():
            pass
        kept.append((capture.body, capture.ending))

    assert kept == [(EVENT + STOP, DONE)] * 3
