"""Cells of the matrix that still fail, each with its reason.

A line of ``known.txt`` reads ``behaviour: place; place; ...  # reason``; ``*`` stands for
all places. ``python -m tests.matrix --known`` leaves out what does not fail any more, and
never adds to it.
"""

from __future__ import annotations

from pathlib import Path

FILE = Path(__file__).with_suffix(".txt")


def shrink(failing: dict[str, set[str]]) -> None:
    """Keep only the lines of behaviours in ``failing``, with those places."""
    kept = []
    for line in FILE.read_text().splitlines() if FILE.exists() else []:
        name, _, rest = line.partition(": ")
        places, _, reason = rest.partition("  # ")
        still = failing.get(name, set())
        if still and places != "*":
            still &= {place.strip() for place in places.split(";")}
        if still:
            kept.append(f"{name}: {'; '.join(sorted(still))}  # {reason}\n")
    FILE.write_text("".join(kept))


def read() -> dict[str, set[str]]:
    """Return the places that fail, by behaviour."""
    known: dict[str, set[str]] = {}
    lines = FILE.read_text().splitlines() if FILE.exists() else []
    for line in lines:
        name, _, places = line.partition("  # ")[0].partition(": ")
        known[name] = {place.strip() for place in places.split(";")}
    return known
