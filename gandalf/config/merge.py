"""Puts managed objects into the configuration that the file declares.

The merge happens before anything is converted: each managed object becomes one more
item of its section, so that one set of checks sees the whole. An object that the file
declares as well is the file's: the managed one is set aside and named.

Text of a managed object is never searched for references to the environment, except in
fields that hold a secret: an administrator may say which variable holds a provider's
key, and nothing else of the environment reaches a URL or a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml
from msgspec import inspect

from gandalf.config.document import read
from gandalf.config.load import load_root
from gandalf.config.origins import origins
from gandalf.config.problems import ConfigError, Problem
from gandalf.config.sealing import (
    CannotOpen,
    MasterKeys,
    Place,
    is_sealed,
    master_keys,
    secret_fields,
)
from gandalf.config.settings import Config
from gandalf.domain.managed import ID_FIELD, Kind, ManagedObject
from gandalf.domain.secret import Secret

_ITEM = re.compile(r"(?P<kind>\w+)\[(?P<index>\d+)\]\.?(?P<field>.*)")


class Fault(NamedTuple):
    """One problem of a managed object."""

    kind: Kind
    name: str
    field: str
    """Dotted path inside the object; empty: the object as a whole."""
    message: str


class ManagedInvalid(Exception):
    """Managed objects make the configuration invalid; it would be valid without them.

    Args:
        faults: Every problem that names a managed object.
        others: Problems that name the file's own settings, which arose only because of
            the managed objects (a provider that a route of the file needs is disabled).
    """

    def __init__(self, faults: Iterable[Fault], others: Iterable[Problem]) -> None:
        self.faults = tuple(faults)
        self.others = tuple(others)
        texts = [f"{f.kind}/{f.name}: {f.field}: {f.message}" for f in self.faults]
        super().__init__("\n".join((*texts, *map(str, self.others))))


class Merged(NamedTuple):
    """A configuration and the origin of its objects."""

    config: Config
    provisioned: frozenset[tuple[Kind, str]]
    """Objects that the file declares."""
    shadowed: tuple[ManagedObject, ...]
    """Managed objects that the file declares as well; not in force."""
    origins: Mapping[str, str] = {}
    """Origin of each value that is not a default, by its path; see ``origins``."""


def load_merged(
    path: Path, environ: Mapping[str, str], managed: Iterable[ManagedObject]
) -> Merged:
    """Return the file at ``path`` with the ``managed`` objects put in, checked.

    Raises:
        ConfigError: The file alone has problems, or a sealed secret cannot be opened.
        ManagedInvalid: The file is valid alone, but not with the managed objects.
    """
    root = read(path, environ)
    keys = master_keys(environ)
    provisioned = frozenset(_declared(root))
    shadowed: list[ManagedObject] = []
    added: dict[tuple[str, int], ManagedObject] = {}
    sealed: list[Problem] = []
    merged = _copy(root)
    for thing in managed:
        if (thing.kind, thing.name) in provisioned:
            shadowed.append(thing)
        else:
            spec = _opened(thing, keys, sealed)
            index = _append(merged, thing.kind, _node(spec, thing.kind))
            added[thing.kind, index] = thing
    if sealed:
        raise ConfigError(sealed)
    try:
        config = load_root(path, merged, environ)
    except ConfigError as error:
        if added:
            load_root(path, root, environ)  # raises if the file is at fault
            raise _invalid(error, added) from error
        raise
    managed_paths = [f"{kind}[{index}]" for kind, index in added]
    return Merged(config, provisioned, tuple(shadowed), origins(merged, managed_paths))


def _invalid(
    error: ConfigError, added: Mapping[tuple[str, int], ManagedObject]
) -> ManagedInvalid:
    faults: list[Fault] = []
    others: list[Problem] = []
    for problem in error.problems:
        found = _ITEM.fullmatch(problem.key)
        thing = found and added.get((found["kind"], int(found["index"])))
        if found and thing:
            faults.append(
                Fault(thing.kind, thing.name, found["field"], problem.message)
            )
        else:
            others.append(problem)
    return ManagedInvalid(faults, others)


def _declared(root: yaml.Node | None) -> Iterator[tuple[Kind, str]]:
    """Yield kind and name of every object that the file declares."""
    for kind in Kind:
        section = _section(root, kind)
        for item in section.value if section is not None else ():
            if not isinstance(item, yaml.MappingNode):
                continue
            for name, value in item.value:
                if name.value == ID_FIELD[kind] and isinstance(value, yaml.ScalarNode):
                    yield kind, value.value


def _section(root: yaml.Node | None, kind: Kind) -> yaml.SequenceNode | None:
    if isinstance(root, yaml.MappingNode):
        for name, value in root.value:
            if name.value == kind and isinstance(value, yaml.SequenceNode):
                return value
    return None


def _copy(root: yaml.Node | None) -> yaml.MappingNode:
    """Return ``root`` with lists that may be appended to; nodes are shared."""
    if not isinstance(root, yaml.MappingNode):
        start = yaml.Mark("", 0, 0, 0, None, 0)
        return yaml.MappingNode("tag:yaml.org,2002:map", [], start, start)
    pairs = [
        (name, _extensible(value) if isinstance(value, yaml.SequenceNode) else value)
        for name, value in root.value
    ]
    return yaml.MappingNode(root.tag, pairs, root.start_mark, root.end_mark)


def _extensible(node: yaml.SequenceNode) -> yaml.SequenceNode:
    return yaml.SequenceNode(node.tag, list(node.value), node.start_mark, node.end_mark)


def _append(root: yaml.MappingNode, kind: Kind, item: yaml.Node) -> int:
    """Append ``item`` to the section of its kind; return its index there."""
    section = _section(root, kind)
    if section is None:
        root.value[:] = [pair for pair in root.value if pair[0].value != kind]
        start, end = item.start_mark, item.end_mark
        section = yaml.SequenceNode("tag:yaml.org,2002:seq", [], start, end)
        name = yaml.ScalarNode("tag:yaml.org,2002:str", str(kind), start, end)
        root.value.append((name, section))
    section.value.append(item)
    return len(section.value) - 1


# A specification as a node.


def _opened(
    thing: ManagedObject, keys: MasterKeys, problems: list[Problem]
) -> dict[str, Any]:
    """Return the specification with its sealed secrets opened, in memory only.

    One that cannot be opened goes to ``problems``: without it the gateway would call
    its provider without credentials, or not at all, and not say why.
    """
    names = SECRET_FIELDS[thing.kind]
    if not any(is_sealed(field.value) for field in secret_fields(thing.spec, names)):
        return thing.spec
    spec: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(thing.spec))
    for field in list(secret_fields(spec, names)):
        if not is_sealed(field.value):
            continue
        place = Place(thing.kind, thing.name, field.path)
        try:
            secret = keys.open(field.value, place)
        except CannotOpen as error:
            problems.append(Problem("database", None, str(place), str(error)))
        else:
            field.put(secret.replace("$", "$$"))  # it refers to nothing
    return spec


def _node(spec: dict[str, Any], kind: Kind) -> yaml.Node:
    return _plain_node(_literal(spec, SECRET_FIELDS[kind]))


_START = yaml.Mark("", 0, 0, 0, None, 0)
_TAG = "tag:yaml.org,2002:"


def _plain_node(value: Any) -> yaml.Node:  # noqa: ANN401 - any JSON
    """Return the node that YAML would have for ``value`` written as JSON.

    Made directly: to write and compose the text took two thirds of a change's time.
    """
    if isinstance(value, dict):
        pairs = [(_text_node(name), _plain_node(item)) for name, item in value.items()]
        return yaml.MappingNode(f"{_TAG}map", pairs, _START, _START)
    if isinstance(value, list):
        items = [_plain_node(item) for item in value]
        return yaml.SequenceNode(f"{_TAG}seq", items, _START, _START)
    if isinstance(value, str):
        return _text_node(value)
    name = {bool: "bool", int: "int", float: "float"}.get(type(value), "null")
    text = msgspec.json.encode(value).decode()
    return yaml.ScalarNode(_TAG + name, text, _START, _START)


def _text_node(text: str) -> yaml.ScalarNode:
    return yaml.ScalarNode(f"{_TAG}str", text, _START, _START, style='"')


def _literal(value: Any, secret: frozenset[str]) -> Any:  # noqa: ANN401 - any JSON
    """Return ``value`` with dollar signs escaped wherever there is no secret."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [_literal(item, secret) for item in value]
    if isinstance(value, dict):
        return {
            name: item if name in secret else _literal(item, secret)
            for name, item in value.items()
        }
    return value


def _secret_fields(kind: inspect.Type) -> Iterator[str]:
    """Yield the names of all fields below ``kind`` that hold a secret."""
    match kind:
        case inspect.StructType(fields=fields):
            for field in fields:
                types = getattr(field.type, "types", (field.type,))
                if any(
                    isinstance(t, inspect.CustomType) and t.cls is Secret for t in types
                ):
                    yield field.name
                for each in types:
                    yield from _secret_fields(each)
        case inspect.VarTupleType(item_type=item):
            yield from _secret_fields(item)


def _item_type(kind: Kind) -> inspect.Type:
    config = inspect.type_info(Config)
    assert isinstance(config, inspect.StructType)  # noqa: S101 - it is one
    (found,) = (field.type for field in config.fields if field.name == kind)
    assert isinstance(found, inspect.VarTupleType)  # noqa: S101 - sections are lists
    return found.item_type


SECRET_FIELDS: dict[Kind, frozenset[str]] = {
    kind: frozenset(_secret_fields(_item_type(kind))) for kind in Kind
}
"""Names of the fields that hold a secret, at any depth, by kind of object."""
