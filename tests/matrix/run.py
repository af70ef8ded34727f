"""Runs one behaviour through the whole matrix."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import trio
import trio.testing

from .behaviours import Behaviour, Case, second
from .checks import problems
from .clients import CLIENTS
from .formats import FORMATS
from .gateway import World
from .page import Place, Row, row_for
from .replies import Reply


class Result(NamedTuple):
    """The findings about one behaviour."""

    requests: int
    wrong: dict[str, list[str]]
    """The disagreements with the page, by place."""
    used: set[int]
    """Lines of the rows that hold somewhere."""


# Real seconds without any event before the virtual clock moves on, where the kernel may
# let a connection wait.
_PATIENCE = 0.02


async def run(world: World, behaviour: Behaviour, rows: list[Row]) -> Result:
    """Try ``behaviour`` at every place where it can occur."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    clock.autojump_threshold = _PATIENCE if behaviour.large else 0.0
    wrong: dict[str, list[str]] = {}
    used: set[int] = set()
    count = 0
    for form in FORMATS.values():
        for streamed in (False, True):
            case = Case(form, streamed)
            reply = behaviour.reply(case)
            if reply is None:
                continue
            for client in CLIENTS.values():
                if behaviour.clients and client.name not in behaviour.clients:
                    continue
                place = Place(client.name, form.name, streamed)
                row = row_for(rows, place)
                if row is None:
                    wrong[str(place)] = ["the page has no row for it"]
                    continue
                used.add(row.line)
                for two in (False, True):
                    attempt = partial(
                        _ask, world, behaviour, case, reply, place, row, two=two
                    )
                    count += 1
                    found = await attempt()
                    if found and not behaviour.large:
                        # Under load the kernel may deliver later than it is asked.
                        clock.autojump_threshold = _PATIENCE
                        found = await attempt()
                        clock.autojump_threshold = 0.0
                    targets = "two" if two else "one"
                    for each in found:
                        wrong.setdefault(str(place), []).append(f"{targets}: {each}")
    return Result(count, wrong, used)


async def _ask(
    world: World,
    behaviour: Behaviour,
    case: Case,
    reply: Reply,
    place: Place,
    row: Row,
    *,
    two: bool,
) -> list[str]:
    """Return the disagreements of one request with ``row``."""
    client = CLIENTS[place.client]
    other = second(case) if two else None
    outcome = await world.ask(client, case.form, reply, other, stream=case.streamed)
    return list(problems(behaviour, place, row, client, outcome, reply, two=two))
