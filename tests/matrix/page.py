"""The tables of ``docs/reliability.md``: for each behaviour, what becomes of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"

WHOLE = "the whole answer"
PART = "a part, then an error"
NOTHING = "nothing"
CAUSES = ("failure", "rate limit", "credentials", NOTHING)

_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Place:
    """Where in the matrix a request is."""

    client: str
    upstream: str
    streamed: bool

    @property
    def native(self) -> bool:
        return self.client == self.upstream

    def __str__(self) -> str:
        mode = "streamed" if self.streamed else "whole"
        return f"{self.client}>{self.upstream} {mode}"


@dataclass(frozen=True)
class Row:
    """What the page says of a behaviour, at the places that ``where`` names."""

    behaviour: str
    where: tuple[str, ...]
    sees: str
    next_target: bool
    end_reason: str
    outcome: str
    breaker: str
    """What the breaker of the first target learns."""
    line: int

    def holds(self, place: Place) -> bool:
        return all(_holds(each, place) for each in self.where)


def _holds(condition: str, place: Place) -> bool:
    kind, _, names = condition.partition(" ")
    if kind == "from":
        return place.upstream in names.split("/")
    if kind == "to":
        return place.client in names.split("/")
    return {
        "whole": not place.streamed,
        "streamed": place.streamed,
        "same dialect": place.native,
        "translated": not place.native,
    }[condition]


def read(path: Path = PAGE) -> dict[str, list[Row]]:
    """Return the rows by behaviour. Of several that hold, the first one counts."""
    rows: dict[str, list[Row]] = {}
    name = ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) != 6 or cells[0] == "behaviour" or set(line) <= set("|-"):
            continue
        if named := _CODE.search(cells[0]):
            name = named[1]
        where, sees, next_target, recorded, breaker = cells[1:]
        end_reason, outcome = _CODE.findall(recorded)
        assert next_target in ("yes", "no"), (number, next_target)
        assert breaker in CAUSES, (number, breaker)
        row = Row(
            behaviour=name,
            where=tuple(each.strip() for each in where.split(",") if each.strip()),
            sees=sees,
            next_target=next_target == "yes",
            end_reason=end_reason,
            outcome=outcome,
            breaker=breaker,
            line=number,
        )
        rows.setdefault(name, []).append(row)
    return rows


def row_for(rows: list[Row], place: Place) -> Row | None:
    """Return the row that says what happens at ``place``."""
    return next((row for row in rows if row.holds(place)), None)
