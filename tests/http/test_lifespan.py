"""Telling an application of the beginning and the end."""

import logging

import pytest
import trio
import trio.testing

from gandalf.http.lifespan import PATIENCE, LifespanFailed, lifespan


async def test_the_application_starts_before_the_block_and_stops_after_it():
    events = []

    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"
        scope["state"]["word"] = "hello"
        for _ in range(2):
            kind = (await receive())["type"]
            events.append(kind)
            await send({"type": f"{kind}.complete"})

    state = {}
    async with lifespan(app, state):
        events.append(state["word"])

    assert events == ["lifespan.startup", "hello", "lifespan.shutdown"]


async def test_an_application_that_does_not_know_it_is_served_all_the_same(caplog):
    async def app(scope, receive, send):
        raise KeyError(scope["type"])

    ran = False
    with caplog.at_level(logging.WARNING):
        async with lifespan(app, {}):
            ran = True

    assert ran
    assert "does not follow the lifespan" in caplog.text


async def test_an_application_that_leaves_before_the_end_is_not_waited_for():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})

    with trio.fail_after(1):
        async with lifespan(app, {}):
            await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize("what", ["startup", "shutdown"])
async def test_an_application_may_fail_to_start_or_to_stop(what):
    async def app(scope, receive, send):
        while True:
            kind = (await receive())["type"]
            failed = kind == f"lifespan.{what}"
            outcome = "failed" if failed else "complete"
            await send({"type": f"{kind}.{outcome}", "message": "no database"})

    ran = False
    with pytest.RaisesGroup(
        pytest.RaisesExc(LifespanFailed, match=f"{what}: no database")
    ):
        async with lifespan(app, {}):
            ran = True

    assert ran is (what == "shutdown")


async def test_an_application_that_never_answers_is_given_up(autojump_clock):
    async def app(scope, receive, send):
        await trio.sleep_forever()

    with pytest.RaisesGroup(pytest.RaisesExc(LifespanFailed, match="no answer")):
        async with lifespan(app, {}):
            pass

    assert trio.current_time() == PATIENCE


async def test_what_is_no_answer_is_a_mistake_of_the_application(caplog):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "http.response.start"})

    async with lifespan(app, {}):
        pass

    assert "unexpected ASGI message 'http.response.start'" in caplog.text
