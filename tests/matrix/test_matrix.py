"""Every behaviour with every pair of dialects, whole and streamed, one target and two."""

import pytest

from . import page
from .behaviours import load
from .gateway import a_world
from .run import run

BEHAVIOURS = load()
ROWS = page.read()


@pytest.mark.parametrize("name", BEHAVIOURS)
async def test_a_behaviour_ends_as_the_page_says(autojump_clock, name):
    async with a_world() as world:
        result = await run(world, BEHAVIOURS[name], ROWS.get(name, []))

    told = [f"{place}: {each}" for place, s in result.wrong.items() for each in s]
    assert result.requests, "it occurs nowhere"
    assert not told, "\n".join(told)
    assert result.used == {row.line for row in ROWS[name]}, "a row that says nothing"


def test_the_page_tells_of_every_behaviour_and_of_no_other():
    assert list(ROWS) == list(BEHAVIOURS)
    assert len(BEHAVIOURS) >= 180
