"""The table of endpoints as an OpenAPI 3.1 document.

Source: https://spec.openapis.org/oas/v3.1.1. Schemas come from msgspec, whose output is
JSON Schema 2020-12, the dialect of OpenAPI 3.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from gandalf import __version__
from gandalf.http.admin.problems import Problem
from gandalf.http.admin.table import AdminEndpoint

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_REF = "#/components/schemas/{name}"

# Statuses that any endpoint may answer with.
_COMMON = {
    "400": "The request is not valid; `errors` names the fields.",
    "401": "No key, or not one of this gateway.",
    "403": "The role lacks the permission.",
    "503": "The database cannot be used now.",
}
_CHANGING = {
    "409": "The change contradicts the present state.",
    "412": "The object has changed since it was read (`If-Match`).",
    "413": "The body is larger than 1 MiB.",
    "422": "The `Idempotency-Key` was used for another request.",
}


def document(endpoints: Iterable[AdminEndpoint], prefix: str) -> dict[str, Any]:
    """Return the OpenAPI document of ``endpoints`` below ``prefix``."""
    rows = list(endpoints)
    types = [t for row in rows for t in (row.body, row.reply) if t is not None]
    schemas, components = msgspec.json.schema_components(
        [*types, Problem], ref_template=_REF
    )
    by_type = dict(zip(map(repr, [*types, Problem]), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        operation = _operation(row, by_type)
        paths.setdefault(prefix + row.path, {})[row.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gandalf admin API",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": [{"name": name} for name in dict.fromkeys(r.section for r in rows)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(row: AdminEndpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": row.operation_id,
        "tags": [row.section],
        "summary": row.summary,
        "parameters": [*_path_parameters(row), *_query_parameters(row)],
        "responses": _responses(row, schemas),
    }
    if row.description:
        operation["description"] = row.description
    if row.body is not None:
        content: dict[str, Any] = {"schema": schemas[repr(row.body)]}
        if row.example is not None:
            content["example"] = row.example
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": content},
        }
    return operation


def _path_parameters(row: AdminEndpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PLACEHOLDER.findall(row.path)
    ]


def _query_parameters(row: AdminEndpoint) -> list[dict[str, Any]]:
    if row.query is None:
        return []
    _, components = msgspec.json.schema_components([row.query], ref_template=_REF)
    properties = components[row.query.__name__]["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in properties.items()
    ]


def _responses(row: AdminEndpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": schemas[repr(Problem)]}}
    status = str(204 if row.reply is None and row.status == 200 else row.status)
    answer: dict[str, Any] = {"description": row.summary}
    if row.reply is not None:
        answer["content"] = {"application/json": {"schema": schemas[repr(row.reply)]}}
    failures = dict(_COMMON)
    if _PLACEHOLDER.search(row.path):
        failures["404"] = "There is no such object, or it is not the caller's to see."
    if row.method != "GET":
        failures |= _CHANGING
    return {
        status: answer,
        **{
            code: {"description": text, "content": problem}
            for code, text in sorted(failures.items())
        },
    }
