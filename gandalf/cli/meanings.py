"""The docstrings of fields, for the help of the options that are made from them."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from typing import Any

import msgspec


def meanings(type_: Any) -> dict[str, str]:  # noqa: ANN401 - any type
    """Return the meaning of each field of a struct that has a docstring."""
    if not (isinstance(type_, type) and issubclass(type_, msgspec.Struct)):
        return {}
    found: dict[str, str] = {}
    for owner in reversed(type_.__mro__):
        found |= _of_module(owner.__module__).get(owner.__name__, {})
    return found


@cache
def _of_module(name: str) -> dict[str, dict[str, str]]:
    """Return the docstrings of fields by class and field."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[name]))
    except (OSError, TypeError, KeyError):
        return {}  # a module without source: the help goes without
    return {
        owner.name: dict(_of_class(owner))
        for owner in tree.body
        if isinstance(owner, ast.ClassDef)
    }


def _of_class(owner: ast.ClassDef) -> list[tuple[str, str]]:
    return [
        (node.target.id, " ".join(after.value.value.split()).replace("``", ""))
        for node, after in zip(owner.body, owner.body[1:], strict=False)
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    ]
