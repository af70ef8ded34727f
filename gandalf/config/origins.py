"""Origin of each value of a configuration: file, environment, managed, default."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import yaml

_REFERENCE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)")


def origins(root: yaml.Node | None, managed: Iterable[str] = ()) -> dict[str, str]:
    """Return the origin of each value that is set, by its dotted path.

    ``file:12`` is line 12 of the file, ``environment:NAME`` a value that refers to that
    variable, ``managed`` an object that was made through the API. What is not in the
    result has its default.

    Args:
        root: A valid configuration as nodes.
        managed: Paths of the objects that were made through the API.
    """
    whole = frozenset(managed)
    found: dict[str, str] = {}
    for path, origin in _walk(root, "", whole):
        found.setdefault(path, origin)
    return found


def _walk(
    node: yaml.Node | None, path: str, managed: frozenset[str]
) -> Iterator[tuple[str, str]]:
    if path in managed:
        yield path, "managed"
    elif isinstance(node, yaml.ScalarNode):
        yield path, _origin(node)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            yield from _walk(item, f"{path}[{i}]", managed)
    elif isinstance(node, yaml.MappingNode):
        merged: list[yaml.Node] = []
        for name, value in node.value:
            if name.tag == "tag:yaml.org,2002:merge":
                several = isinstance(value, yaml.SequenceNode)
                merged += value.value if several else [value]
            else:
                below = f"{path}.{name.value}" if path else str(name.value)
                yield from _walk(value, below, managed)
        # What the mapping itself says wins over what it merges in.
        for other in merged:
            yield from _walk(other, path, managed)


def _origin(node: yaml.ScalarNode) -> str:
    names = [found for found in _REFERENCE.findall(node.value) if found]
    if names:
        return f"environment:{','.join(dict.fromkeys(names))}"
    return f"file:{node.start_mark.line + 1}"
