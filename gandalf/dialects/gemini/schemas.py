"""Schemas: JSON Schema, and the API's own that is a subset of OpenAPI's.

Sources: ``google/genai/types.py`` (``Schema``), and
https://ai.google.dev/api/generate-content#generationconfig, ``responseJsonSchema``, for
the keywords of JSON Schema that are read: all others are ignored, and beside a ``$ref``
no other keyword may stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gandalf.dialects.gemini.fields import camel
from gandalf.domain.errors import BadRequest

_READ = frozenset(
    {
        "$id",
        "$defs",
        "$ref",
        "$anchor",
        "type",
        "format",
        "title",
        "description",
        "enum",
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "anyOf",
        "oneOf",
        "properties",
        "additionalProperties",
        "required",
        "propertyOrdering",
        # Of no meaning to what is valid.
        "$schema",
        "$comment",
        "default",
        "examples",
    }
)
# As JSON Schema calls them since its draft of 2019.
_AS_NOW = {"definitions": "$defs"}
_REFS_AS_NOW = ("#/definitions/", "#/$defs/")
_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not")
# No schema that a person writes goes deeper, and each level is a call of ours.
_MAX_DEPTH = 100


class Fitted(NamedTuple):
    """A schema as Gemini takes it, and whether it means as much as it did."""

    schema: dict[str, Any]
    inexact: bool


def fit(schema: Mapping[str, Any]) -> Fitted:
    """Return the JSON Schema ``schema`` as Gemini takes it.

    Raises:
        BadRequest: It is nested too deeply.
    """
    fitted = dict(schema)
    fitted.pop("$schema", None)
    losses: list[str] = []
    return Fitted(_fit(fitted, losses, 0), bool(losses))


def _fit(schema: Any, losses: list[str], depth: int) -> Any:  # noqa: ANN401
    if depth > _MAX_DEPTH:
        raise BadRequest("a schema is nested too deeply")
    if not isinstance(schema, dict):
        return schema
    if "definitions" in schema and "$defs" not in schema:
        schema = {_AS_NOW.get(name, name): each for name, each in schema.items()}
    if "$ref" in schema:
        kept = {name: each for name, each in schema.items() if name.startswith("$")}
        losses += [name for name in schema if name not in kept]
        schema = {**kept, "$ref": str(kept["$ref"]).replace(*_REFS_AS_NOW)}
    if "const" in schema:
        fixed = {name: each for name, each in schema.items() if name != "const"}
        schema = {**fixed, "enum": [schema["const"]]}
    losses += [name for name in schema if name not in _READ]
    return {
        name: _fit_member(name, value, losses, depth) for name, value in schema.items()
    }


def _fit_member(name: str, value: Any, losses: list[str], depth: int) -> Any:  # noqa: ANN401
    if name in _MAPS and isinstance(value, dict):
        return {key: _fit(each, losses, depth + 1) for key, each in value.items()}
    if name in _LISTS and isinstance(value, list):
        return [_fit(each, losses, depth + 1) for each in value]
    return _fit(value, losses, depth + 1) if name in _SINGLE else value


def with_lower_types(schema: Any, depth: int = 0) -> Any:  # noqa: ANN401
    """Return a JSON Schema whose types may be written as the API's own, in capitals.

    Raises:
        BadRequest: It is nested too deeply.
    """
    if depth > _MAX_DEPTH:
        raise BadRequest("a schema is nested too deeply")
    if isinstance(schema, list):
        return [with_lower_types(each, depth + 1) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _lower(value)
        if name == "type"
        else value
        if name in _VALUES
        else with_lower_types(value, depth + 1)
        for name, value in schema.items()
    }


def _lower(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, str):
        return value.lower() if value in _TYPES else value
    if isinstance(value, list):
        return [_lower(each) for each in value]
    # Not the keyword but a property of that name.
    return with_lower_types(value, 1)


_TYPES = frozenset(
    {"OBJECT", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "NULL"}
)
_VALUES = frozenset({"enum", "const", "default", "example", "examples"})


def to_json_schema(schema: Any, depth: int = 0) -> Any:  # noqa: ANN401
    """Return the JSON Schema that ``schema``, one of the API's own, means.

    Raises:
        BadRequest: It is nested too deeply.
    """
    if depth > _MAX_DEPTH:
        raise BadRequest("a schema is nested too deeply")
    if not isinstance(schema, dict):
        return schema
    own = {camel(name): value for name, value in schema.items()}
    order = own.pop("propertyOrdering", None)
    nullable = own.pop("nullable", None) is True
    if own.get("format") == "enum":
        del own["format"]
    if own.get("type") == "TYPE_UNSPECIFIED":
        del own["type"]
    converted = {
        _RENAMED.get(name, name): _to_json_member(name, value, depth + 1)
        for name, value in own.items()
    }
    if isinstance(order, list) and isinstance(own.get("properties"), dict):
        converted["properties"] = _ordered(converted["properties"], order)
    return _nullable(converted) if nullable else converted


_RENAMED = {"defs": "$defs", "ref": "$ref", "example": "examples"}
# Numbers of 64 bits are strings in the JSON of protocol buffers.
_COUNTS = frozenset(
    {
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "minProperties",
        "maxProperties",
    }
)


def _to_json_member(name: str, value: Any, depth: int) -> Any:  # noqa: ANN401
    if name == "type" and isinstance(value, str):
        return value.lower()
    if name in ("properties", "defs") and isinstance(value, dict):
        return {key: to_json_schema(each, depth) for key, each in value.items()}
    if name == "anyOf" and isinstance(value, list):
        return [to_json_schema(each, depth) for each in value]
    if name in ("items", "additionalProperties"):
        return to_json_schema(value, depth)
    if name == "ref":
        return str(value).replace("#/defs/", "#/$defs/")
    if name == "example":
        return [value]
    if name in _COUNTS and isinstance(value, str) and value.isdecimal():
        return int(value)
    return value


def _ordered(properties: dict[str, Any], order: list[Any]) -> dict[str, Any]:
    first = {name: properties[name] for name in order if name in properties}
    return {**first, **properties}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if "type" in schema:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    elif "anyOf" in schema:
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    return schema
