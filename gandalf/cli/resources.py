"""Commands made from the admin API's table: ``gandalf SECTION ACTION``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gandalf.cli import fields as options
from gandalf.cli.gateway import api_for
from gandalf.cli.meanings import meanings
from gandalf.cli.output import OK, print_fields, print_json, print_objects, say
from gandalf.http.admin.client import Answer, fill, placeholders
from gandalf.http.admin.table import AdminEndpoint, Listed

if TYPE_CHECKING:
    from gandalf.http.admin.client import Api

NAMES = {"organizations": "orgs"}
"""Commands whose name is not that of their section."""

_OWN_COMMANDS = frozenset({"apply", "export", "docs", "openapi.json"})
"""Sections that have commands of their own, or are pages for people."""
_PAGE = 100
_SAMPLES = {
    "providers": "openai",
    "routes": "fast",
    "organizations": "acme",
    "teams": "research",
    "users": "ada@acme.example",
}
_SAMPLE = "01991f3e-7c3a-7e00-8000-2b1c6f0a9d11"


class Resource(NamedTuple):
    """One section of the API and its actions."""

    command: str
    actions: dict[str, AdminEndpoint]

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names of the command: that of the section."""
        section = next(iter(self.actions.values())).section
        return () if section == self.command else (section,)

    @property
    def default(self) -> str:
        """The action if none is named; empty if there is no such."""
        return next((name for name in ("list", "show") if name in self.actions), "")


def resources(table: Iterable[AdminEndpoint]) -> dict[str, Resource]:
    """Return the resources of the table by the name of their command."""
    found: dict[str, Resource] = {}
    for row in table:
        if row.section in _OWN_COMMANDS:
            continue
        command = NAMES.get(row.section, row.section)
        actions = found.setdefault(command, Resource(command, {})).actions
        name = _action(row)
        actions[name if name not in actions else f"{name}-{row.method.lower()}"] = row
    return found


def _action(row: AdminEndpoint) -> str:
    words = [part for part in row.path.split("/")[2:] if not part.startswith("{")]
    if words:
        prefix = {"DELETE": "delete-", "PUT": "set-"}.get(row.method, "")
        return prefix + "-".join(words)
    if row.method == "GET":
        one = "{" in row.path
        return "get" if one else "list" if row.reply is Listed else "show"
    return {
        "POST": "create" if row.status == 201 else "run",
        "PUT": "set",
        "PATCH": "set",
        "DELETE": "delete",
    }[row.method]


def configure(
    parser: argparse.ArgumentParser, row: AdminEndpoint, *, texts: bool
) -> None:
    """Add the arguments of one endpoint to the parser of its command.

    Args:
        parser: Of the command.
        row: The endpoint.
        texts: Whether the help is wanted, which takes reading source files.
    """
    meaning = meanings if texts else _no_meanings
    for name in placeholders(row.path):
        parser.add_argument(name, metavar=name.upper())
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    if row.query is not None:
        options.add_options(parser, options.fields_of(row.query), meaning(row.query))
    if row.body is None:
        parser.set_defaults(run=partial(_run, row))
        return
    parser.add_argument(
        "-f",
        "--file",
        type=Path,
        metavar="FILE",
        help="body as YAML or JSON; - is stdin",
    )
    parser.add_argument(
        "--set",
        dest="assigned",
        type=options_pair,
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="one field, such as targets[0].model=gpt-5-mini",
    )
    options.add_options(parser, _body_fields(row), meaning(row.body))
    parser.set_defaults(run=partial(_run, row))


def _no_meanings(_: Any) -> dict[str, str]:  # noqa: ANN401 - any type
    return {}


def options_pair(text: str) -> tuple[str, str]:
    """Return path and value of ``path=value``; the value may be anything."""
    path, equals, value = text.partition("=")
    if not path or not equals:
        raise argparse.ArgumentTypeError(f"expected path=value, found {text!r}")
    return path, value


def _body_fields(row: AdminEndpoint) -> list[options.Field]:
    taken = {f.name for f in options.fields_of(row.query)}
    return [f for f in options.fields_of(row.body) if f.name not in taken]


def example(command: str, action: str, row: AdminEndpoint) -> str:
    """Return a command line that shows how to use the command."""
    words = ["gandalf", command, *([action] if action else [])]
    words += [_SAMPLES.get(row.section, _SAMPLE) for _ in placeholders(row.path)]
    made = options.example_options(row.example, _body_fields(row))
    names = {f.name for f in options.fields_of(row.query)}
    if row.query is not None and row.body is None and "limit" in names:
        words.append("--limit 10")
    return " ".join([*words, *([made] if made else [])])


def _run(row: AdminEndpoint, args: argparse.Namespace) -> int:
    api = api_for(args, row.section)
    path = fill(row.path, vars(args))
    query = options.values_of(args, options.fields_of(row.query))
    if row.reply is Listed:
        return _list(api, path, query, row, as_json=args.json)
    body, etag = None, ""
    if row.body is not None:
        body, etag = _body(api, path, row, args)
    answer = api.call(row.method, path, query=query, body=body, if_match=etag)
    _show(answer, row, as_json=args.json)
    return OK


def _body(
    api: Api, path: str, row: AdminEndpoint, args: argparse.Namespace
) -> tuple[dict[str, Any], str]:
    """Return the body and the entity tag that the object must have."""
    etag, present = "", None
    if args.file is None and row.method == "PUT" and not options.fields_of(row.body):
        # The whole object is replaced: what is not named here stays as it is.
        answer = api.call("GET", path)
        present, etag = dict(answer.data), answer.etag
    return body_of(args, row.body, present), etag


def body_of(
    args: argparse.Namespace,
    type_: type[Any] | None,
    present: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the body that ``--file``, ``--set`` and the options of fields make.

    Args:
        args: The arguments.
        type_: Type of the body.
        present: What to begin with where no file is given.
    """
    body = present or {}
    if args.file is not None:
        body = _read(args.file)
    for name, text in args.assigned:
        options.put(body, name, options.yaml_value(text))
    return body | options.values_of(args, options.fields_of(type_))


def _read(path: Path) -> dict[str, Any]:
    from gandalf.config.plain import PlainError, read_value

    content = read_value(path)
    if not isinstance(content, dict):
        raise PlainError(f"{path}: expected an object")
    return content


def _list(
    api: Api, path: str, query: dict[str, Any], row: AdminEndpoint, *, as_json: bool
) -> int:
    names = {field.name for field in options.fields_of(row.query)}
    paged = (
        "offset" in names
        and "after" not in names
        and not {"limit", "offset"} & query.keys()
    )
    answer = api.call("GET", path, query=query | ({"limit": _PAGE} if paged else {}))
    if not isinstance(answer.data, dict):
        # Asked for in another format, which is for programs.
        text = answer.data if isinstance(answer.data, str) else ""
        print(text, end="")
        return OK
    objects, info = list(answer.data["data"]), answer.data["pagination"]
    while paged and len(objects) < (info.get("total") or 0):
        more = api.call(
            "GET", path, query=query | {"limit": _PAGE, "offset": len(objects)}
        ).data["data"]
        if not more:
            break
        objects += more
    if as_json:
        print_json(objects)
    else:
        print_rows(row.section, objects)
    if info.get("next"):
        say(f"there are more: --after {info['next']}")
    return OK


def print_rows(section: str, objects: list[dict[str, Any]]) -> None:
    """Print a list of one section's objects."""
    if section == "keys":
        from gandalf.cli.keys import print_keys

        print_keys(objects)
    else:
        print_objects(objects)


def _show(answer: Answer, row: AdminEndpoint, *, as_json: bool) -> None:
    data = answer.data
    if as_json:
        if data is not None:
            print_json(data)
    elif isinstance(data, dict) and "config" in data:
        from gandalf.config.plain import dump

        print(dump(data), end="")
    elif isinstance(data, dict):
        print_fields(data)
    elif isinstance(data, list) and all(isinstance(each, dict) for each in data):
        print_objects(data)
    elif data is None:
        say(f"done: {re.sub(r'[.;].*', '', row.summary).lower()}")
    else:
        print(data)
