"""A small valid instance of a JSON schema, the same one every time.

Covers what tools and structured outputs are described with: types, required
properties, enumerations, references, alternatives, bounds, common formats. A
``pattern`` is not honoured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Schema = Mapping[str, object]

# Beyond this depth what may be left out is, so that recursive schemas end.
DEEP = 5
# A schema that needs more has no small instance; it may well have no finite one.
MAX_DEPTH = 50
MAX_NODES = 5_000

_FORMATS = {
    "date-time": "2025-01-01T00:00:00Z",
    "date": "2025-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "grey@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class Unsatisfiable(ValueError):
    """The schema has no instance that we can find within our bounds."""


def instance(schema: object, words: Sequence[str] = ()) -> object:
    """Return an instance of ``schema``; its free strings are taken from ``words``.

    Raises:
        Unsatisfiable: There is none, or none small enough.
    """
    return _Builder(schema, words).build(schema, 0)


class _Builder:
    def __init__(self, root: object, words: Sequence[str]) -> None:
        self._root = root
        self._words = words or ("example",)
        self._used = 0
        self._nodes = 0

    def build(self, schema: object, depth: int) -> object:
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise Unsatisfiable("the schema has no small instance")
        if schema is True:
            return self._word()
        if not isinstance(schema, dict):
            raise Unsatisfiable("a schema must be an object")
        if "$ref" in schema:
            return self.build(self._resolve(schema["$ref"]), depth + 1)
        if "const" in schema:
            return schema["const"]
        if isinstance(choices := schema.get("enum"), list) and choices:
            return choices[0]
        if (narrowed := self._narrow(schema, depth)) is not schema:
            return self.build(narrowed, depth + 1)
        return self._of_type(schema, depth)

    def _narrow(self, schema: Schema, depth: int) -> Schema:
        # One alternative of anyOf or oneOf, or all parts of allOf, laid over the rest.
        for keyword in ("anyOf", "oneOf", "allOf"):
            parts = schema.get(keyword)
            if isinstance(parts, list) and parts:
                rest: Schema = {k: v for k, v in schema.items() if k != keyword}
                chosen = parts if keyword == "allOf" else [_simplest(parts, depth)]
                for part in chosen:
                    rest = _overlay(rest, self._dereference(part))
                return rest
        return schema

    def _of_type(self, schema: Schema, depth: int) -> object:
        match _type_of(schema, depth):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._string(schema)
            case "integer":
                return _integer(schema)
            case "number":
                return _number(schema)
            case "boolean":
                return True
            case "null":
                return None
            case other:
                raise Unsatisfiable(f"{other!r} is not a type")

    def _object(self, schema: Schema, depth: int) -> dict[str, object]:
        properties = schema.get("properties")
        if not isinstance(properties, dict):
            properties = {}
        wanted = schema.get("required")
        if not isinstance(wanted, list) or not wanted:
            # Nothing is required: all of it makes the better example, near the top.
            wanted = list(properties) if depth < DEEP else []
        return {
            name: self.build(properties.get(name, True), depth + 1) for name in wanted
        }

    def _array(self, schema: Schema, depth: int) -> list[object]:
        count = max(_bound(schema, "minItems") or 0, 1 if depth < DEEP else 0)
        most = _bound(schema, "maxItems")
        if most is not None:
            count = min(count, most)
        prefix = schema.get("prefixItems")
        kinds = prefix if isinstance(prefix, list) else []
        items = schema.get("items", True)
        return [
            self.build(kinds[i] if i < len(kinds) else items, depth + 1)
            for i in range(int(min(count, MAX_NODES)))
        ]

    def _string(self, schema: Schema) -> str:
        text = _FORMATS.get(str(schema.get("format"))) or self._word()
        shortest = int(min(_bound(schema, "minLength") or 0, MAX_NODES))
        longest = _bound(schema, "maxLength")
        text = text.ljust(shortest, "x")
        return text if longest is None else text[: int(longest)]

    def _word(self) -> str:
        word = self._words[self._used % len(self._words)]
        self._used += 1
        return word

    def _dereference(self, schema: object) -> Schema:
        for _ in range(MAX_DEPTH):
            if not isinstance(schema, dict):
                break
            if "$ref" not in schema:
                return schema
            schema = self._resolve(schema["$ref"])
        raise Unsatisfiable("a schema must be an object")

    def _resolve(self, reference: object) -> object:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise Unsatisfiable(f"cannot resolve {reference!r}")
        found = self._root
        for step in reference[1:].strip("/").split("/"):
            if not step:
                continue
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or name not in found:
                raise Unsatisfiable(f"cannot resolve {reference!r}")
            found = found[name]
        return found


def _simplest(options: Sequence[object], depth: int) -> object:
    if depth >= DEEP:
        for option in options:
            if isinstance(option, dict) and option.get("type") == "null":
                return option
    return options[0]


def _overlay(base: Schema, part: Schema) -> Schema:
    merged = {**base, **part}
    for keyword in ("properties", "$defs"):
        below, above = base.get(keyword), part.get(keyword)
        if isinstance(below, dict) and isinstance(above, dict):
            merged[keyword] = {**below, **above}
    below, above = base.get("required"), part.get("required")
    if isinstance(below, list) and isinstance(above, list):
        merged["required"] = list(dict.fromkeys([*below, *above]))
    return merged


def _type_of(schema: Schema, depth: int) -> object:
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        if depth >= DEEP and "null" in kind:
            return "null"
        return next((k for k in kind if k != "null"), "null")
    if kind is not None:
        return kind
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _bound(schema: Schema, keyword: str) -> int | float | None:
    value = schema.get(keyword)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value


def _integer(schema: Schema) -> int:
    lows = [math.ceil(low) for low in [_bound(schema, "minimum")] if low is not None]
    highs = [math.floor(top) for top in [_bound(schema, "maximum")] if top is not None]
    if (low := _bound(schema, "exclusiveMinimum")) is not None:
        lows.append(math.floor(low) + 1)
    if (top := _bound(schema, "exclusiveMaximum")) is not None:
        highs.append(math.ceil(top) - 1)
    value = min([max([1, *lows]), *highs])
    step = _bound(schema, "multipleOf")
    if step is not None and step >= 1:
        value = int(math.ceil(value / step) * step)
        if highs and value > min(highs):
            value = int(math.floor(min(highs) / step) * step)
    return value


def _number(schema: Schema) -> float:
    low, over = _bound(schema, "minimum"), _bound(schema, "exclusiveMinimum")
    high, under = _bound(schema, "maximum"), _bound(schema, "exclusiveMaximum")
    if step := _bound(schema, "multipleOf"):
        if over is not None:
            return (math.floor(over / step) + 1) * step
        return math.ceil((low or 0) / step) * step
    bottom = low if low is not None else over
    top = high if high is not None else under
    if bottom is None:
        return 1.5 if top is None else top - 0.5
    return bottom + 0.5 if top is None else (bottom + top) / 2
