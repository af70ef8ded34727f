"""From YAML nodes to structs, collecting every mistake on the way.

A value that is wrong is reported and replaced (by its default, or by something empty),
so that the rest of the file is looked at all the same. What was not given, or is
empty, has its default; only ``null`` asks for none where a setting can have none.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from msgspec import inspect

from gandalf.config import scalars
from gandalf.config.document import (
    BadReference,
    Text,
    expand,
    has_odd_tag,
    kind_of,
    place_of,
)
from gandalf.config.problems import Place, Problems
from gandalf.domain.secret import Secret

FILE_TAG = "!file"
"""Marks the path of a file that holds a secret.

A tag rather than a prefix of the text: it exists in the syntax of the configuration
file only, so that no text that the admin API is sent can have a file read.
"""

MAX_SECRET_FILE = 65_536
"""Characters of a secret in a file. A device file would go on for ever."""

_MERGE = "tag:yaml.org,2002:merge"


class _No(enum.Enum):
    """Why there is no value."""

    BLANK = "not given"
    WRONG = "reported"


class _Entry(NamedTuple):
    name: yaml.ScalarNode
    value: yaml.Node


class Converter:
    """Converts the nodes of one file."""

    def __init__(self, problems: Problems, environ: Mapping[str, str]) -> None:
        self._problems = problems
        self._environ = environ
        self._places: dict[str, Place] = {}
        self._shown: dict[str, str] = {}

    def struct(self, node: yaml.Node, kind: inspect.Type, key: str = "") -> Any:  # noqa: ANN401
        """Return ``node`` as the struct ``kind``; what is wrong goes to the problems.

        Never None: of a struct that is not even a mapping, all is default or empty.
        """
        value = self._value(node, kind, key)
        return _placeholder(kind) if isinstance(value, _No) else value

    def place(self, key: str) -> Place | None:
        """Return where ``key`` is set, or else what it would have been set in."""
        set_keys = (k for k in lineage(key) if k in self._places)
        return self._places.get(next(set_keys, ""))

    def shown(self, key: str) -> str:
        """Return how an error may speak of the value of the scalar ``key``."""
        return self._shown.get(key, "nothing")

    def _value(self, node: yaml.Node, kind: inspect.Type, key: str) -> Any:  # noqa: ANN401
        self._places[key] = place_of(node)
        kind, may_be_none = scalars.optional(kind)
        if node.tag == FILE_TAG and scalars.is_secret(kind):
            return self._secret_file(node, key)
        if has_odd_tag(node):
            return self._wrong(node, key, f"the YAML tag {node.tag!r} has no use here")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, kind, key, may_be_none=may_be_none)
        if isinstance(kind, inspect.StructType) and isinstance(node, yaml.MappingNode):
            return self._mapping(node, kind, key)
        if isinstance(kind, inspect.VarTupleType) and isinstance(
            node, yaml.SequenceNode
        ):
            return self._list(node, kind.item_type, key)
        return self._unlike(node, kind, key, kind_of(node))

    def _scalar(
        self, node: yaml.ScalarNode, kind: inspect.Type, key: str, *, may_be_none: bool
    ) -> Any:  # noqa: ANN401
        try:
            text: Text = expand(node, self._environ)
        except BadReference as error:
            return self._wrong(node, key, str(error))
        self._shown[key] = text.shown
        if text.is_null:
            return None if may_be_none else _No.BLANK
        if not text.value:
            return _No.BLANK
        if isinstance(kind, inspect.StructType | inspect.VarTupleType):
            return self._unlike(node, kind, key, text.shown)
        try:
            return scalars.parse(text.value, kind)
        except ValueError:
            near = _nearest(text.shown.strip("'"), scalars.choices(kind))
            return self._unlike(node, kind, key, text.shown + near)

    def _secret_file(self, node: yaml.Node, key: str) -> Any:  # noqa: ANN401
        """Return the content of the file that ``node`` names, as a secret."""
        if not isinstance(node, yaml.ScalarNode):
            return self._wrong(
                node, key, f"expected the path of a file: {FILE_TAG} PATH"
            )
        try:
            path = Path(expand(node, self._environ).value)
            with path.open(encoding="utf-8") as file:
                text = file.read(MAX_SECRET_FILE + 1).rstrip("\r\n")
        except BadReference as error:
            return self._wrong(node, key, str(error))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            return self._wrong(node, key, f"the file cannot be read: {reason}")
        if not text or len(text) > MAX_SECRET_FILE:
            found = "is empty" if not text else f"has over {MAX_SECRET_FILE} characters"
            return self._wrong(node, key, f"the file {found}")
        self._shown[key] = "the content of a file"
        return Secret(text)

    def _list(self, node: yaml.SequenceNode, kind: inspect.Type, key: str) -> Any:  # noqa: ANN401
        values = []
        for i, item in enumerate(node.value):
            value = self._value(item, kind, f"{key}[{i}]")
            if value is _No.BLANK:
                # Not skipped: a list of models that became empty would allow all.
                self._unlike(item, kind, f"{key}[{i}]", "nothing")
            values.append(_placeholder(kind) if isinstance(value, _No) else value)
        return tuple(values)

    def _mapping(
        self, node: yaml.MappingNode, kind: inspect.StructType, key: str
    ) -> Any:  # noqa: ANN401
        entries = self._entries(node, key)
        self._report_unknown(entries.values(), kind, key)
        values = {}
        for field in kind.fields:
            entry = entries.get(field.name)
            path = f"{key}.{field.name}" if key else field.name
            value: Any = _No.BLANK
            if entry is not None:
                value = self._value(entry.value, field.type, path)
            if value is _No.BLANK and field.required:
                missing = f"is required: {scalars.describe(field.type)}"
                self._problems.add(self.place(path), path, missing)
            if not isinstance(value, _No):
                values[field.name] = value
            elif field.required:
                values[field.name] = _placeholder(field.type)
        return kind.cls(**values)

    def _entries(self, node: yaml.MappingNode, key: str) -> dict[str, _Entry]:
        own: dict[str, _Entry] = {}
        merged: dict[str, _Entry] = {}
        for name, value in node.value:
            if name.tag == _MERGE:
                # What is merged first wins over what is merged later.
                merged = self._merged(value, key) | merged
            elif not isinstance(name, yaml.ScalarNode):
                self._wrong(name, key, f"a key must be text, found {kind_of(name)}")
            elif name.value in own:
                first = place_of(own[name.value].name)
                message = f"is given twice, first on line {first.line}"
                self._wrong(name, f"{key}.{name.value}".lstrip("."), message)
            else:
                own[name.value] = _Entry(name, value)
        return merged | own

    def _merged(self, node: yaml.Node, key: str) -> dict[str, _Entry]:
        if isinstance(node, yaml.MappingNode):
            return self._entries(node, key)
        if isinstance(node, yaml.SequenceNode):
            merged: dict[str, _Entry] = {}
            for item in node.value:
                merged = self._merged(item, key) | merged
            return merged
        self._wrong(node, key, "<< takes a mapping, or a list of mappings")
        return {}

    def _report_unknown(
        self, entries: Iterable[_Entry], kind: inspect.StructType, key: str
    ) -> None:
        known = [field.name for field in kind.fields]
        for name, _ in entries:
            if name.value not in known:
                near = _nearest(name.value, known) or f"; known: {', '.join(known)}"
                path = f"{key}.{name.value}".lstrip(".")
                self._wrong(name, path, f"unknown key{near}")

    def _unlike(self, node: yaml.Node, kind: inspect.Type, key: str, found: str) -> _No:
        expected = scalars.describe(kind)
        return self._wrong(node, key, f"expected {expected}, found {found}")

    def _wrong(self, node: yaml.Node, key: str, message: str) -> _No:
        self._problems.add(place_of(node), key, message)
        return _No.WRONG


def lineage(key: str) -> Iterator[str]:
    """Yield ``a.b[0].c`` and what it is in: ``a.b[0]``, ``a.b``, ``a``."""
    while key:
        yield key
        key = key[: max(key.rfind("."), key.rfind("["), 0)]


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _placeholder(kind: inspect.Type) -> Any:  # noqa: ANN401
    """Return something empty in the place of a required value that was reported."""
    match scalars.bare(kind)[0]:
        case inspect.StructType(cls=cls, fields=fields):
            return cls(**{f.name: _placeholder(f.type) for f in fields if f.required})
        case inspect.VarTupleType():
            return ()
        case inspect.CustomType():
            return Secret("")
        case _:
            return ""
