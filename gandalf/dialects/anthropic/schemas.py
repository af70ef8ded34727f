"""JSON Schema as far as structured output understands it.

Source: https://platform.claude.com/docs/en/build-with-claude/structured-outputs, "JSON
Schema limitations": objects list their properties and nothing else
(``additionalProperties: false``), there is ``anyOf`` but no ``oneOf``, and limits to
numbers, lengths and counts are not enforced. As in Anthropic's own SDKs, what is not
understood goes into the description, where the model reads it.
"""

from __future__ import annotations

from typing import Any

import msgspec

_KEPT = frozenset(
    (
        "type",
        "enum",
        "const",
        "title",
        "description",
        "default",
        "$ref",
        "$defs",
        "definitions",
        "$schema",
        "$id",
        "properties",
        "required",
        "items",
        "anyOf",
        "allOf",
    )
)
_FORMATS = frozenset(
    (
        "date-time",
        "time",
        "date",
        "duration",
        "email",
        "hostname",
        "uri",
        "ipv4",
        "ipv6",
        "uuid",
    )
)
_NAMED = ("properties", "$defs", "definitions")
_LISTED = ("anyOf", "allOf")


def fitted(schema: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return ``schema`` as it is understood, and whether that means just the same."""
    fitting = _Fitting()
    return fitting.fit(schema), fitting.same


class _Fitting:
    def __init__(self) -> None:
        self.same = True

    def fit(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return ``schema``, or what says nearly the same."""
        made: dict[str, Any] = {}
        told: dict[str, Any] = {}
        for name, value in schema.items():
            if name == "oneOf":
                made["anyOf"] = value
                self.same = False
            elif name in _KEPT or _understood(name, value):
                made[name] = value
            elif name != "additionalProperties":
                told[name] = value
        self._go_on(made)
        if _is_object(made):
            self._close(made, schema.get("additionalProperties"))
        if told:
            self._tell(made, told)
        return made

    def _inner(self, schema: object) -> object:
        # ``true`` and ``false`` are schemas too; the upstream is the judge.
        return self.fit(schema) if isinstance(schema, dict) else schema

    def _go_on(self, made: dict[str, Any]) -> None:
        for name in _NAMED:
            if isinstance(made.get(name), dict):
                made[name] = {
                    key: self._inner(inner) for key, inner in made[name].items()
                }
        for name in _LISTED:
            if isinstance(made.get(name), list):
                made[name] = [self._inner(inner) for inner in made[name]]
        if "items" in made:
            made["items"] = self._inner(made["items"])

    def _close(self, made: dict[str, Any], others: object) -> None:
        made["additionalProperties"] = False
        if others not in (None, False):
            self.same = False

    def _tell(self, made: dict[str, Any], told: dict[str, Any]) -> None:
        self.same = False
        said = ", ".join(
            f"{name}: {msgspec.json.encode(value).decode()}"
            for name, value in told.items()
        )
        before = made.get("description")
        made["description"] = f"{before}\n\n({said})" if before else f"({said})"


def _is_object(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    return (
        kind == "object"
        or "properties" in schema
        or (isinstance(kind, list) and "object" in kind)
    )


def _understood(name: str, value: object) -> bool:
    if name == "minItems":
        return value in (0, 1)
    return name == "format" and value in _FORMATS
