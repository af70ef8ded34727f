"""What is wrong with a configuration file, and where."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Place(NamedTuple):
    """Where something stands in the file. Both count from 1."""

    line: int
    column: int


class Problem(NamedTuple):
    """One mistake. Holds no value that may be a secret."""

    file: str
    place: Place | None
    """None if the file could not even be read."""
    key: str
    """Dotted path of the setting: ``providers[0].base_url``. Empty: the whole file."""
    message: str

    def __str__(self) -> str:
        where = self.file
        if self.place is not None:
            where += f":{self.place.line}:{self.place.column}"
        return ": ".join(part for part in (where, self.key, self.message) if part)


class ConfigError(Exception):
    """The configuration cannot be used; ``problems`` says all that is known of why."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class Problems:
    """Collects the problems of one file."""

    def __init__(self, file: Path) -> None:
        self._file = str(file)
        self._found: list[Problem] = []

    def add(self, place: Place | None, key: str, message: str) -> None:
        """Note a problem. Only the first one of a key counts: others follow from it."""
        if not self.has(key):
            self._found.append(Problem(self._file, place, key, message))

    def has(self, key: str) -> bool:
        """Whether ``key`` has a problem."""
        return any(problem.key == key for problem in self._found)

    def any_like(self, pattern: str) -> bool:
        """Whether a key that the regular expression matches whole has a problem."""
        return any(re.fullmatch(pattern, problem.key) for problem in self._found)

    def raise_if_any(self) -> None:
        """Raise ConfigError, in the order of the file, if there is a problem."""
        if self._found:
            raise ConfigError(sorted(self._found, key=lambda p: p.place or Place(0, 0)))
