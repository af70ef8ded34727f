"""Managed objects: providers, routes and the like that were made through the API.

The configuration file declares *provisioned* objects; the API makes *managed* ones,
which are kept in the database in the form that the file has. The configuration in
force is the union of both.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec


class Kind(enum.StrEnum):
    """The kinds of objects that may be managed, by their section of the file."""

    PROVIDER = "providers"
    ROUTE = "routes"
    BUDGET = "budgets"


ID_FIELD: dict[Kind, str] = {
    Kind.PROVIDER: "name",
    Kind.ROUTE: "model_alias",
    Kind.BUDGET: "name",
}
"""The field of an object that identifies it among those of its kind."""


class Origin(enum.StrEnum):
    """Where an object is declared."""

    PROVISIONED = "provisioned"
    """In the configuration file; read-only through the API."""
    MANAGED = "managed"
    """In the database, through the API."""


class ManagedObject(msgspec.Struct, frozen=True, kw_only=True):
    """One managed object."""

    kind: Kind
    name: str
    """Value of the object's ``ID_FIELD``."""
    spec: dict[str, Any]
    """The object as the configuration file would have it."""
    version: int
    """Changes with each update; the object's entity tag."""
    created_at: float
    """Unix time in seconds."""
    updated_at: float
