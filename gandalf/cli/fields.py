"""From the type of a body or query to options, and from options to the body."""

from __future__ import annotations

import argparse
import enum
import shlex
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from gandalf.cli import arguments

_SHORT = {
    "org_id": "--org",
    "team_id": "--team",
    "user_id": "--user",
    "allowed_models": "--models",
    "allowed_providers": "--providers",
    "rpm_limit": "--rpm",
    "tpm_limit": "--tpm",
}
"""Shorter names of options that many bodies have."""

_SAID_BY_METAVAR = ("text", "number", "whole number", "one of these")

NONE = "none"
"""The text that means null."""


class Field(NamedTuple):
    """One field of a body or a query."""

    name: str
    type: inspect.Type
    """Without None and UNSET."""
    nullable: bool

    @property
    def flag(self) -> str:
        """The option's long name."""
        return f"--{self.name.replace('_', '-')}"


def fields_of(type_: Any) -> list[Field]:  # noqa: ANN401 - a struct type
    """Return the fields of a struct; none of another type."""
    if not (isinstance(type_, type) and issubclass(type_, msgspec.Struct)):
        return []
    info = inspect.type_info(type_)
    assert isinstance(info, inspect.StructType)  # noqa: S101 - it is a struct
    return [Field(field.encode_name, *_bare(field.type)) for field in info.fields]


def _bare(kind: inspect.Type) -> tuple[inspect.Type, bool]:
    if isinstance(kind, inspect.Metadata):
        return _bare(kind.type)
    if not isinstance(kind, inspect.UnionType):
        return kind, False
    nullable = any(isinstance(each, inspect.NoneType) for each in kind.types)
    rest = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
    return (_bare(rest[0])[0] if len(rest) == 1 else inspect.AnyType()), nullable


def add_options(
    parser: argparse.ArgumentParser, fields: list[Field], texts: dict[str, str]
) -> None:
    """Add an option for each field; ``texts`` has the meanings of some."""
    for field in fields:
        flags = [field.flag]
        if (short := _SHORT.get(field.name)) is not None:
            flags.append(short)
        how = _how(field)
        if text := texts.get(field.name):
            how["help"] = _help(text, how["help"])
        parser.add_argument(*flags, dest=f"field_{field.name}", **how)
        if field.name == "expires_at":
            parser.add_argument(
                "--expires-in",
                dest="expires_in",
                type=arguments.seconds,
                metavar="TIME",
                help="the same from now on: 12h, 90d",
            )


def _help(meaning: str, form: str) -> str:
    """Return the help of an option: what the field means, and how to write it."""
    if "null" in meaning:
        meaning, form = meaning.replace("null", NONE), form.partition(";")[0]
    for said in _SAID_BY_METAVAR:
        form = form.removeprefix(said).removeprefix("; ")
    return (f"{meaning} ({form})" if form else meaning).replace("%", "%%")


def _how(field: Field) -> dict[str, Any]:
    """Return the arguments of ``add_argument`` for ``field``."""
    also = f"; {NONE!r}: no value" if field.nullable else ""
    how: Callable[[str], Any]
    match field.type:
        case inspect.BoolType():
            return {
                "action": argparse.BooleanOptionalAction,
                "default": None,
                "help": "yes or no",
            }
        case inspect.IntType():
            how, text = arguments.count, "whole number"
        case inspect.FloatType():
            how, text = arguments.number, "number"
        case inspect.DateTimeType():
            how, text = arguments.rfc3339, "time such as 2026-12-01T08:00Z"
        case inspect.EnumType(cls=cls):
            choices = [each.value for each in cls if isinstance(each, enum.Enum)]
            return {"choices": choices, "help": "one of these"}
        case inspect.LiteralType(values=values):
            return {"choices": [str(value) for value in values], "help": "one of these"}
        case inspect.ListType(item_type=item) if isinstance(
            _bare(item)[0], inspect.StrType
        ):
            how, text = arguments.texts, "list: a,b,c"
        case inspect.DictType(value_type=item) if isinstance(
            _bare(item)[0], inspect.StrType
        ):
            return {
                "type": arguments.pairs,
                "action": "append",
                "metavar": "NAME=VALUE",
                "help": "list: a,b=c",
            }
        case inspect.StrType():
            how, text = str, "text"
        case _:
            how, text = yaml_value, "YAML or JSON"
    convert = _nullable(how) if field.nullable else how
    return {"type": convert, "metavar": _metavar(text), "help": text + also}


def _metavar(text: str) -> str:
    return {"whole number": "N", "number": "N"}.get(
        text, text.split()[0].strip(":;").upper()
    )


class _Null(enum.Enum):
    """Tells an option that asks for null from one that was not given."""

    NULL = enum.auto()


def _nullable(how: Any) -> Any:  # noqa: ANN401 - a type of an argument
    def convert(text: str) -> Any:  # noqa: ANN401
        return _Null.NULL if text == NONE else how(text)

    return convert


def yaml_value(text: str) -> Any:  # noqa: ANN401 - any JSON
    """Return the value that YAML, of which JSON is a part, has for ``text``."""
    from gandalf.config.plain import PlainError, value_of

    try:
        return value_of(text)
    except PlainError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def values_of(args: argparse.Namespace, fields: list[Field]) -> dict[str, Any]:
    """Return the fields that were given as options."""
    given: dict[str, Any] = {}
    for field in fields:
        value = getattr(args, f"field_{field.name}", None)
        if field.name == "expires_at" and getattr(args, "expires_in", None):
            value = arguments.rfc3339(_later(args.expires_in))
        if value is None:
            continue
        if isinstance(field.type, inspect.DictType) and isinstance(value, list):
            value = {name: each for part in value for name, each in part.items()}
        given[field.name] = None if value is _Null.NULL else value
    return given


def _later(seconds: float) -> str:
    from datetime import UTC, datetime, timedelta

    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def put(body: dict[str, Any], path: str, value: Any) -> None:  # noqa: ANN401
    """Set the value at a dotted path: ``timeouts.connect``, ``targets[0].model``."""
    from gandalf.config.plain import put as put_plain

    put_plain(body, path, value)


def example_options(example: Any, fields: list[Field]) -> str:  # noqa: ANN401 - JSON
    """Return the options that make the body ``example``."""
    if not isinstance(example, dict):
        return ""
    known = {field.name: field for field in fields}
    return " ".join(
        part for name, value in example.items() for part in _example(name, value, known)
    )


def _example(name: str, value: Any, known: dict[str, Field]) -> Iterator[str]:  # noqa: ANN401
    if name not in known:
        for path, each in _flat(name, value):
            yield f"--set {shlex.quote(f'{path}={each}')}"
        return
    flag = _SHORT.get(name, known[name].flag)
    if isinstance(value, bool):
        yield flag if value else known[name].flag.replace("--", "--no-", 1)
    elif isinstance(value, list) and all(isinstance(each, str) for each in value):
        yield f"{flag} {shlex.quote(','.join(value))}"
    elif isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
        for key, each in value.items():
            yield f"{flag} {shlex.quote(f'{key}={each}')}"
    elif isinstance(value, list | dict):
        yield f"{flag} {shlex.quote(msgspec.json.encode(value).decode())}"
    else:
        yield f"{flag} {NONE if value is None else shlex.quote(str(value))}"


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _flat(f"{path}.{name}", each)
    elif isinstance(value, list):
        for i, each in enumerate(value):
            yield from _flat(f"{path}[{i}]", each)
    else:
        yield path, str(value).lower() if isinstance(value, bool) else str(value)
