"""YAML as plain values: documents of managed objects, and values of options.

Unlike the configuration file, nothing is replaced here: ``${NAME}`` stays as it is, for
the gateway to read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

_STEP = re.compile(r"(?P<name>[^.\[\]]+)(?P<indexes>(\[\d+\])*)")
_SUFFIXES = frozenset({".yaml", ".yml", ".json"})


class PlainError(Exception):
    """Text is not the YAML that is wanted."""


class _Loader(yaml.SafeLoader):
    """Leaves times as text, as JSON has them."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if "timestamp" not in tag]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def value_of(text: str, name: str = "") -> Any:  # noqa: ANN401 - any JSON
    """Return the value of YAML text.

    Raises:
        PlainError: It is not YAML; names the file ``name``, line and column.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise PlainError(
            f"{name}{where}: is not valid YAML: {error.problem or error.context}"
        ) from error
    except yaml.YAMLError as error:
        raise PlainError(f"{name}: is not valid YAML") from error


def read_documents(paths: Iterable[Path]) -> dict[str, list[Any]]:
    """Return the sections of all files together. A folder means the files in it.

    Raises:
        PlainError: A file cannot be read, or is not a mapping of lists.
    """
    whole: dict[str, list[Any]] = {}
    for path in _files(paths):
        content = read_value(path)
        if not isinstance(content, dict):
            raise PlainError(f"{path}: expected sections such as 'routes:'")
        for section, items in content.items():
            if not isinstance(items, list | None):
                raise PlainError(f"{path}: {section}: expected a list")
            whole.setdefault(str(section), []).extend(items or [])
    return whole


def read_value(path: Path) -> Any:  # noqa: ANN401 - any JSON
    """Return the value that the file at ``path`` holds; ``-`` is standard input.

    Raises:
        PlainError: It cannot be read or is not YAML.
    """
    return value_of(_text(path), str(path))


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES)
        if not found:
            raise PlainError(f"{path}: holds no .yaml, .yml or .json file")
        yield from found


def _text(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text("utf-8-sig")
    except OSError as error:
        raise PlainError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PlainError(f"{path}: is not UTF-8") from error


def dump(value: Any) -> str:  # noqa: ANN401 - any JSON
    """Return ``value`` as YAML, its names in their order."""
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=88)
    return text


def put(body: dict[str, Any], path: str, value: Any) -> None:  # noqa: ANN401 - any JSON
    """Set the value at a dotted path: ``timeouts.connect``, ``targets[0].model``.

    Raises:
        PlainError: The path is malformed, or leads through something else.
    """
    steps: list[str | int] = []
    for part in path.split("."):
        found = _STEP.fullmatch(part)
        if found is None:
            raise PlainError(f"{path!r} is not a path such as targets[0].model")
        steps.append(found["name"])
        steps += [int(index) for index in re.findall(r"\d+", found["indexes"])]
    place: Any = body
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(step, int) != isinstance(place, list):
            raise PlainError(f"{path!r} leads through something else than it says")
        if isinstance(step, int) and step > len(place):
            raise PlainError(f"{path!r}: the list has {len(place)} items")
        missing = step == len(place) if isinstance(step, int) else step not in place
        wanted: Any = value
        if following is not None:
            wanted = [] if isinstance(following, int) else {}
        if missing and isinstance(step, int):
            place.append(wanted)
        elif missing or following is None or place[step] is None:
            place[step] = wanted
        place = place[step]
