"""Writes docs/configuration.md from the structs and what their source says of them.

python -m gandalf.config.reference > docs/configuration.md
"""

from __future__ import annotations

import ast
import inspect as python_inspect
import sys
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import inspect

from gandalf.config import hostings, presets, scalars, settings

_INTRODUCTION = """\
# Configuration

<!-- Made by `python -m gandalf.config.reference`; a test compares. Edit the docstrings
in gandalf/config/settings.py instead. -->

One YAML file: `gandalf serve --config FILE`, by default `configs/gandalf.yaml`, which
is a commented example. `gandalf check --config FILE` tells everything that is wrong
with a file, with line, column and key, and exits with 0 or 2; `--format json` is for
scripts, `--format schema` for editors. `database.dsn` and `usage.journal_dir` are
relative to the folder of the file, other paths to the working directory. On SIGHUP the
file is read again; if anything is wrong with it, the configuration in force stays.
Changes of `server`, `database`, `usage` and `telemetry`
need a restart.

**Environment.** `${NAME}` in a value is replaced by the environment variable `NAME`;
if that is not set, the file is not valid. `${NAME:-text}` is `text` where `NAME` is
unset or empty. `$$` is one dollar sign. This happens after YAML was parsed, in one
value at a time: comments and keys are left alone, and nothing that a variable holds is
read as YAML. In `{flow: style}`, quote a value that holds `${...}`.

**Values.** The type that a key has decides how its value is read, quoted or not:
`org_id: no` is the text "no", and `"${RPM:-60}"` can be a number. A duration is a sum
of numbers with `ns`, `us`, `ms`, `s`, `m`, `h` or `d` (`1m30s`), or a bare number of
seconds. What is left empty has its default; only `null` means none, where the type
allows it. Keys that do not exist, or that are given twice, are errors.

**Secrets** are never shown, logged or stored; errors name the key and the place only.
`!file PATH` in the place of a secret is the content of a file, without line breaks at
its end (`api_key: !file /run/secrets/openai`); it is read with the configuration.
"""


class _Section(msgspec.Struct):
    path: str
    kind: inspect.StructType


def render() -> str:
    """Return the whole page."""
    texts = meanings()
    root = inspect.type_info(settings.Config)
    assert isinstance(root, inspect.StructType)  # noqa: S101 - for the type checker
    parts = [_INTRODUCTION]
    parts += (_render(section, texts) for section in _sections("", root))
    return "\n".join(parts)


def _sections(path: str, kind: inspect.StructType) -> Iterator[_Section]:
    if path:
        yield _Section(path, kind)
    for field in kind.fields:
        inner, suffix = _inner(field.type)
        if isinstance(inner, inspect.StructType):
            yield from _sections(f"{path}.{field.name}".lstrip(".") + suffix, inner)


def _render(section: _Section, meanings: dict[tuple[str, str], str]) -> str:
    owner = section.kind.cls.__name__
    lines = [
        f"## `{section.path}`",
        "",
        meanings[owner, ""],
        "",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
    ]
    for field in section.kind.fields:
        inner, suffix = _inner(field.type)
        if isinstance(inner, inspect.StructType):
            meaning = f"See `{section.path}.{field.name}{suffix}`."
        else:
            meaning = meanings[owner, field.name]
        row = (f"`{field.name}`", _type(field.type), _default(field), meaning)
        lines.append(f"| {' | '.join(row)} |")
    if section.path == "providers[]":
        lines += ["", _provider_types()]
    return "\n".join(lines) + "\n"


def _inner(kind: inspect.Type) -> tuple[inspect.Type, str]:
    """Return what ``kind`` is an optional or a list of, and ``[]`` if it is a list."""
    kind, _ = scalars.optional(kind)
    if isinstance(kind, inspect.VarTupleType):
        return kind.item_type, "[]"
    return kind, ""


def _type(kind: inspect.Type) -> str:
    kind, may_be_none = scalars.optional(kind)
    if isinstance(kind, inspect.VarTupleType):
        return (
            "list of "
            + _type(kind.item_type).removeprefix("a ")
            + "s" * (isinstance(kind.item_type, inspect.StructType))
        )
    if isinstance(kind, inspect.CustomType):
        name = "secret text"
    else:
        name = scalars.describe(kind).partition(" (")[0].removeprefix("a ")
    return f"{name}, or `null`" if may_be_none else name


def _default(field: inspect.Field) -> str:
    if field.required:
        return "**required**"
    kind, unit = scalars.bare(scalars.optional(field.type)[0])
    value = field.default
    if isinstance(kind, inspect.StructType):
        return "" if value is not None else "`null`"
    if value is None:
        return "`null`"
    if unit == "duration":
        return f"`{_duration(value)}`"
    if unit == "bytes":
        return f"`{value}` ({_size(value)})"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`" if value != "" else "empty"


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s" if seconds >= 1 or not seconds else f"{seconds * 1000:g}ms"


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:g} {unit}"
        size /= 1024
    return f"{size:g} GiB"


_TYPES = """\
Types of providers, and how the gateway can prove itself there. What stands first is
implied where `auth.type` is empty; at Bedrock, an `api_key` implies `bearer`.

| type | hosting | `auth.type` |
|---|---|---|"""

_PRESETS = """\
`openai` is any OpenAI-compatible server, `bedrock` any model that Bedrock's Converse
API knows. Each of these presets is `openai` with a base URL:

| type | base URL |
|---|---|"""


def _provider_types() -> str:
    lines = [_TYPES]
    for (kind, hosting), auths in hostings.AUTHS.items():
        if kind not in presets.PRESETS:
            place = f"`{hosting}`" if hosting else "itself"
            lines.append(f"| `{kind}` | {place} | {_listed(auths)} |")
    lines += ["", _PRESETS]
    lines += (f"| `{name}` | {p.base_url} |" for name, p in presets.PRESETS.items())
    return "\n".join(lines)


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def meanings() -> dict[tuple[str, str], str]:
    """Return what the source says of each struct (field "") and of each field."""
    found: dict[tuple[str, str], str] = {}
    tree = ast.parse(python_inspect.getsource(settings))
    for owner in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        found[owner.name, ""] = _markdown(ast.get_docstring(owner) or "")
        for node, after in zip(owner.body, owner.body[1:], strict=False):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                found[owner.name, node.target.id] = _markdown(after.value.value)
    return found


def _markdown(docstring: str) -> str:
    return " ".join(docstring.split()).replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(render())
