"""Tables, JSON, messages and exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

OK = 0
FAILED = 1
"""Something went wrong that is none of the following."""
MISUSED = 2
"""The command line or the configuration file is wrong."""
REFUSED = 3
"""The gateway refused: invalid, not found, not permitted, or a conflict."""
UNREACHABLE = 4
"""No gateway answers, and the command needs one."""
INTERRUPTED = 130

EXIT_CODES = {
    OK: "done",
    FAILED: "failed: the database or the gateway has a problem",
    MISUSED: "the command line or the configuration file is wrong",
    REFUSED: "refused: invalid, not found, not permitted, or in conflict",
    UNREACHABLE: "no gateway can be reached, and the command needs one",
    INTERRUPTED: "interrupted",
}

MAX_CELL = 60
"""Characters of a generated table's cell; longer text is cut."""
_NOT_SHOWN = frozenset({"metadata", "created_at", "updated_at"})


def say(text: str) -> None:
    """Print ``text`` for people, on stderr."""
    print(text, file=sys.stderr)


def fail(text: str, status: int = FAILED) -> int:
    """Print why a command failed; return its exit code."""
    say(text)
    return status


def print_json(value: Any) -> None:  # noqa: ANN401 - any JSON
    """Print a list as one JSON object a line, anything else as one line."""
    for each in value if isinstance(value, list) else [value]:
        print(json.dumps(each, ensure_ascii=False))


def print_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print ``rows`` in columns below ``names``."""
    # A name must not move the cursor of a terminal.
    lines = [list(names), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def print_fields(record: dict[str, Any]) -> None:
    """Print one object, a field a line."""
    width = max(map(len, record), default=0)
    for name, value in record.items():
        print(f"{name.ljust(width)}  {printable(shown(value))}")


def print_objects(objects: Sequence[dict[str, Any]]) -> None:
    """Print objects as a table; columns that say nothing are left out."""
    if not objects:
        say("none")
        return
    names = dict.fromkeys(name for each in objects for name in each)
    columns: dict[str, tuple[str, ...]] = {}
    for name in names:
        cells = tuple(_cut(shown(each.get(name))) for each in objects)
        says_something = any(cell not in ("-", "no") for cell in cells)
        plain = not any(isinstance(each.get(name), dict) for each in objects)
        if (
            plain
            and says_something
            and name not in _NOT_SHOWN
            and cells not in columns.values()
        ):
            columns[name] = cells
    heads = [name.upper() for name in columns]
    print_table(heads, list(zip(*columns.values(), strict=True)))


def shown(value: Any) -> str:  # noqa: ANN401 - any JSON
    """Return any JSON value as text for people."""
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(shown(each) for each in value)
    if isinstance(value, dict):
        if {"provider", "model"} <= value.keys():
            return f"{value['provider']}/{value['model']}"
        return " ".join(f"{k}={shown(v)}" for k, v in value.items())
    return str(value)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 3]}..."


def printable(text: str) -> str:
    """Return ``text`` with everything replaced that could move a cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)


def time_text(at: float | None) -> str:
    """Return the Unix time ``at`` as RFC 3339, in UTC."""
    if at is None:
        return "never"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now() -> float:
    """Return the Unix time."""
    return datetime.now(UTC).timestamp()


def plural(count: int, noun: str) -> str:
    """Return ``count`` with its noun: ``1 key``, ``2 keys``."""
    return f"{count} {noun}{'s' * (count != 1)}"
