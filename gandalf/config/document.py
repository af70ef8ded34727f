"""YAML as nodes that know their line; environment variables put in after parsing.

Substitution happens in one scalar at a time, when its value is wanted: whatever a
variable holds stays inside that scalar, comments are never looked at, and a name in
YAML's syntax cannot be formed by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from gandalf.config.problems import ConfigError, Place, Problem
from gandalf.config.starter import ENVIRONMENT, starter

# Longer text is not shown in an error: it may be a key in the wrong place, and no
# real key is this short.
LONGEST_SHOWN = 24

_PLAIN_TAG = re.compile(
    "tag:yaml.org,2002:(str|int|float|bool|null|timestamp|value|merge|seq|map)"
)
_REFERENCE = re.compile(r"\$\$|\$\{(?P<body>[^}]*)\}|\$\{")
_BODY = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)
_UNBRACED = re.compile(r"\$[A-Z][A-Z0-9_]*")
_NULLS = ("~", "null", "Null", "NULL")


class Text(NamedTuple):
    """A scalar with its references replaced."""

    value: str
    is_null: bool
    """``null`` or ``~`` was written, in so many words and without quotes."""
    shown: str
    """How an error may speak of it."""


class BadReference(Exception):
    """A ``${...}`` that cannot be replaced."""


def read(path: Path, environ: Mapping[str, str]) -> yaml.Node | None:
    """Return the root node of the YAML file at ``path``. None if it says nothing.

    ``ENVIRONMENT`` stands for a configuration made from ``environ``.

    Raises:
        ConfigError: It cannot be read, is not UTF-8 or is not YAML.
    """
    try:
        if path == ENVIRONMENT:
            return yaml.compose(starter(environ), yaml.SafeLoader)
        text = path.read_bytes().decode("utf-8-sig")
        return yaml.compose(text, yaml.SafeLoader)
    except OSError as error:
        place, message = None, f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        place, message = None, f"is not UTF-8 (byte {error.start})"
    except yaml.MarkedYAMLError as error:
        # Without PyYAML's own excerpt of the file: that line may hold a secret.
        mark = error.problem_mark or error.context_mark
        place = None if mark is None else Place(mark.line + 1, mark.column + 1)
        message = f"is not valid YAML: {_in_words(error)}"
    except yaml.YAMLError:
        place, message = None, "is not valid YAML: it holds control characters"
    except RecursionError:
        place, message = None, "is nested too deeply"
    raise ConfigError([Problem(str(path), place, "", message)])


def _in_words(error: yaml.MarkedYAMLError) -> str:
    """Return PyYAML's message, in other words where those are its parser's."""
    problem = error.problem or error.context or ""
    if problem.endswith(("but got '{'", "but got '}'", "but found '}'")):
        return "in {flow: style} a value with ${...} needs quotes"
    if "<block end>" in problem:
        return (
            "this does not belong to the lines above; check the indentation, and that"
            " a list begins each item with '-'"
        )
    if "mapping values are not allowed" in problem:
        return "a value that holds ': ' needs quotes, or the indentation is wrong"
    if "cannot start any token" in problem and "\\t" in problem:
        return "a tab cannot indent; use spaces"
    return problem


def place_of(node: yaml.Node) -> Place:
    """Return where ``node`` begins."""
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def has_odd_tag(node: yaml.Node) -> bool:
    """Whether ``node`` carries a tag (``!something``) that asks for more than text."""
    return _PLAIN_TAG.fullmatch(node.tag) is None


def expand(node: yaml.ScalarNode, environ: Mapping[str, str]) -> Text:
    """Return the text of ``node`` with every ``${NAME}`` replaced from ``environ``.

    ``${NAME:-default}`` gives the default where NAME is unset or empty; ``$$`` is one
    dollar sign, and a dollar sign before anything else is itself.

    Raises:
        BadReference: A variable is not set, or the reference is malformed.
    """
    if _UNBRACED.fullmatch(node.value) and node.value[1:] in environ:
        name = node.value[1:]
        raise BadReference(f"write ${{{name}}} (or $${name} for this text itself)")
    names: list[str] = []

    def replace(match: re.Match[str]) -> str:
        if match.group() == "$$":
            return "$"
        body = _BODY.fullmatch(match["body"] or "")
        if body is None:
            raise BadReference(
                "expected ${NAME} or ${NAME:-default} (a dollar sign itself is $$)"
            )
        name, default = body["name"], body["default"]
        names.append(name)
        if default is not None:
            return environ.get(name) or default
        if name not in environ:
            raise BadReference(f"environment variable {name} is not set")
        return environ[name]

    value = _REFERENCE.sub(replace, node.value)
    if names:
        shown = f"the value of ${{{'} and ${'.join(names)}}}"
        return Text(value, is_null=False, shown=shown)
    is_null = node.style is None and value in _NULLS
    return Text(value, is_null, show(value))


def show(text: str) -> str:
    """Return ``text`` quoted, or what it is if it might be a secret."""
    if len(text) > LONGEST_SHOWN or text.startswith(("gnd_", "sk-")):
        return f"a text of {len(text)} characters"
    return repr(text)


def kind_of(node: yaml.Node) -> str:
    """Return what a reader of the file would call ``node``."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "text"
