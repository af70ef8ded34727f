"""The loop that runs stages: what is settled, when, and in which order."""

import logging

import pytest
import trio

from gandalf.domain.errors import BadRequest, UpstreamError
from gandalf.domain.usage import EndReason
from gandalf.pipeline.exchange import Reply
from gandalf.pipeline.stage import Pipeline

from .builders import FakeResponder, an_exchange

REPLY = Reply(200, b"application/json", b"{}")


class Step:
    """A stage that notes what is done with it."""

    def __init__(self, name, notes, reply=None, settling=None):
        self.name = name
        self.notes = notes
        self.reply = reply
        self.settling = settling

    async def enter(self, exchange):
        await trio.lowlevel.checkpoint()
        self.notes.append(f"enter {self.name}")
        if isinstance(self.reply, Exception):
            raise self.reply
        if callable(self.reply):
            await self.reply()
        return self.reply

    def settle(self, exchange):
        self.notes.append(f"settle {self.name}")
        if self.settling is not None:
            raise self.settling


class AtOnce:
    """A stage that never waits, and leaves nothing to be done at the end."""

    def __init__(self, name, notes, reply=None):
        self.name = name
        self.notes = notes
        self.reply = reply

    def enter(self, exchange):
        self.notes.append(f"enter {self.name}")
        return self.reply


class NotingResponder(FakeResponder):
    def __init__(self, notes):
        super().__init__()
        self.notes = notes

    async def finish(self, reply):
        self.notes.append("finish")
        await super().finish(reply)


class BreakingBody:
    ending = b""

    def __init__(self):
        self._pieces = [b"part"]

    async def receive(self):
        await trio.lowlevel.checkpoint()
        if self._pieces:
            return self._pieces.pop()
        raise UpstreamError("p", "it broke")


@pytest.fixture
def notes():
    return []


async def run(steps, notes, exchange=None):
    exchange = exchange or an_exchange()
    with exchange.scope:
        await Pipeline(steps).run(exchange, NotingResponder(notes))
    return exchange


async def test_all_is_settled_last_first_before_the_answer_is_completed(notes):
    steps = [Step("a", notes), Step("b", notes), Step("c", notes, REPLY)]

    exchange = await run(steps, notes)

    assert notes == [
        *("enter a", "enter b", "enter c"),
        *("settle c", "settle b", "settle a"),
        "finish",
    ]
    assert (exchange.end_reason, exchange.status) == (EndReason.COMPLETE, 200)


async def test_stages_that_never_wait_take_their_turn_among_those_that_do(notes):
    steps = [AtOnce("a", notes), Step("b", notes), AtOnce("c", notes, REPLY)]

    exchange = await run(steps, notes)

    assert notes == ["enter a", "enter b", "enter c", "settle b", "finish"]
    assert (exchange.end_reason, exchange.status) == (EndReason.COMPLETE, 200)


async def test_a_reply_ends_the_way_in(notes):
    await run([Step("a", notes, REPLY), Step("b", notes)], notes)

    assert notes == ["enter a", "settle a", "finish"]


async def test_what_refused_is_not_settled_but_what_came_before_it_is(notes):
    refusing = BadRequest("no")
    exchange = an_exchange()

    with pytest.raises(BadRequest):
        await run([Step("a", notes), Step("b", notes, refusing)], notes, exchange)

    assert notes == ["enter a", "enter b", "settle a"]
    assert exchange.end_reason is EndReason.REFUSED
    assert exchange.error is refusing


async def test_while_a_stream_is_open_nothing_is_held_of_its_request(notes):
    exchange = an_exchange()
    body = exchange.call.body
    held = []

    class Body:
        ending = b""

        async def receive(self):
            await trio.lowlevel.checkpoint()
            held.append((exchange.headers, exchange.body, exchange.call.body))
            return b""

    assert body
    await run(
        [Step("a", notes, Reply(200, b"text/event-stream", Body()))], notes, exchange
    )

    assert held == [({}, b"", b"")]


async def test_an_answer_that_breaks_off_is_settled_as_incomplete(notes):
    broken = Reply(200, b"text/event-stream", BreakingBody())
    exchange = an_exchange()

    with pytest.raises(UpstreamError):
        await run([Step("a", notes), Step("b", notes, broken)], notes, exchange)

    assert notes == ["enter a", "enter b", "settle b", "settle a"]
    assert exchange.end_reason is EndReason.INCOMPLETE


@pytest.mark.parametrize("reason", [EndReason.SHUTDOWN, EndReason.CLIENT_DISCONNECT])
async def test_an_exchange_that_is_cut_short_is_settled(notes, reason):
    exchange = an_exchange()

    async def cut():
        exchange.stop(reason)
        await trio.sleep_forever()

    await run([Step("a", notes), Step("b", notes, cut)], notes, exchange)

    assert notes == ["enter a", "enter b", "settle a"]
    assert exchange.end_reason is reason


async def test_a_bug_in_a_stage_is_settled_as_ours(notes):
    exchange = an_exchange()

    with pytest.raises(ZeroDivisionError):
        await run(
            [Step("a", notes), Step("b", notes, ZeroDivisionError())], notes, exchange
        )

    assert notes[-1] == "settle a"
    assert exchange.end_reason is EndReason.INTERNAL_ERROR


async def test_a_stage_that_fails_to_settle_does_not_keep_the_others_from_it(
    notes, caplog
):
    failing = Step("b", notes, settling=ZeroDivisionError())
    with caplog.at_level(logging.ERROR, "gandalf.pipeline"):
        await run([Step("a", notes), failing, Step("c", notes, REPLY)], notes)

    assert notes[3:] == ["settle c", "settle b", "settle a", "finish"]
    assert "stage Step failed to settle" in caplog.text
