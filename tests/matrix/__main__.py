"""Shows where the gateway and the page disagree: ``python -m tests.matrix [NAME...]``.

A name stands for all behaviours that begin with it.
"""

from __future__ import annotations

import logging
import sys
from collections import defaultdict

import trio
import trio.testing

from . import page
from .behaviours import load
from .gateway import a_world
from .run import run


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")


async def main(names: list[str]) -> None:
    rows = page.read()
    for name, behaviour in load().items():
        if names and not name.startswith(tuple(names)):
            continue
        async with a_world() as world:
            result = await run(world, behaviour, rows.get(name, []))
        unused = {row.line for row in rows.get(name, [])} - result.used
        if result.wrong or unused:
            tell(f"{name} (unused rows: {sorted(unused)})" if unused else name)
        alike: dict[str, list[str]] = defaultdict(list)
        for place, said in result.wrong.items():
            alike[said[0]].append(place)
        for said, places in alike.items():
            tell(f"    {said[:300]}\n        {len(places)}: {'; '.join(places[:6])}")


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    trio.run(main, sys.argv[1:], clock=trio.testing.MockClock(autojump_threshold=0))
