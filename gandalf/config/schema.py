"""The configuration file's format as JSON Schema 2020-12, for editors.

``gandalf check --format schema > gandalf.schema.json``, and as the file's first line
``# yaml-language-server: $schema=gandalf.schema.json``. Every value may also be text,
because it may hold a reference to the environment.
"""

from __future__ import annotations

from typing import Any

from msgspec import inspect

from gandalf.config import scalars
from gandalf.config.reference import meanings
from gandalf.config.settings import Config


def json_schema() -> dict[str, Any]:
    """Return the schema of the whole file."""
    schema = _schema(inspect.type_info(Config), meanings())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Gandalf's configuration",
        **schema,
    }


def _schema(kind: inspect.Type, texts: dict[tuple[str, str], str]) -> dict[str, Any]:
    kind, _ = scalars.optional(kind)
    kind, unit = scalars.bare(kind)
    match kind:
        case inspect.StructType(cls=cls, fields=fields):
            return {
                "type": ["object", "null"],
                "additionalProperties": False,
                "required": [field.name for field in fields if field.required],
                "properties": {
                    field.name: _schema(field.type, texts)
                    | {"description": texts.get((cls.__name__, field.name), "")}
                    for field in fields
                },
            }
        case inspect.VarTupleType(item_type=item):
            return {"type": ["array", "null"], "items": _schema(item, texts)}
    if words := scalars.choices(kind):
        return {"anyOf": [{"enum": list(words)}, _REFERENCE, {"type": "null"}]}
    match kind:
        case inspect.BoolType():
            return {"type": ["boolean", "string", "null"]}
        case inspect.IntType() | inspect.FloatType():
            also = {"examples": ["30s"]} if unit == "duration" else {}
            return {"type": ["number", "string", "null"], **also}
    return {"type": ["string", "number", "boolean", "null"]}


_REFERENCE = {"type": "string", "pattern": "\\$\\{"}
