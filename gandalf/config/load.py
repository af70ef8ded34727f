"""From the path of a configuration file to its ``Config``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml
from msgspec import inspect

from gandalf.config.check import Checker
from gandalf.config.convert import Converter, lineage
from gandalf.config.document import place_of, read
from gandalf.config.problems import ConfigError, Problem, Problems
from gandalf.config.settings import Config, Database, Server
from gandalf.domain.secret import Secret

ADMIN_KEY_VARIABLE = "GANDALF_ADMIN_KEY"

T = TypeVar("T", bound=msgspec.Struct)


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Return the configuration at ``path``, with ``environ`` put in, checked.

    Raises:
        ConfigError: It has problems, all of them listed.
    """
    return load_root(path, read(path, environ), environ)


def load_root(path: Path, root: yaml.Node | None, environ: Mapping[str, str]) -> Config:
    """Return the configuration whose root node is ``root``, checked.

    Args:
        path: The file to name in errors.
        root: The root node; None for an empty file.
        environ: Values of the references in it.

    Raises:
        ConfigError: It has problems, all of them listed.
    """
    problems = Problems(path)
    converter = Converter(problems, environ)
    config = _with_admin_key(_convert(path, root, Config, converter), environ)

    def complain(key: str, message: str) -> None:
        if not any(map(problems.has, lineage(key))):
            problems.add(converter.place(key), key, message)

    Checker(complain, converter.shown, problems.any_like).check(config)
    problems.raise_if_any()
    return config


def load_database(path: Path, environ: Mapping[str, str]) -> Database:
    """Return the section ``database`` of the file at ``path``, and look at no other.

    So that keys can be made where the secrets of the providers are not at hand.

    Raises:
        ConfigError: The file is not YAML, or this section has problems.
    """
    return _section(path, environ, "database", Database)


def load_server(path: Path, environ: Mapping[str, str]) -> Server:
    """Return the section ``server`` of the file at ``path``, and look at no other.

    Raises:
        ConfigError: The file is not YAML, or this section has problems.
    """
    return _section(path, environ, "server", Server)


def database_path(path: Path, dsn: str) -> Path:
    """Return where the database of the configuration file at ``path`` is.

    A relative ``dsn`` starts at the file's folder, so that it means the same database
    to every process, whatever its working directory.

    Raises:
        ConfigError: ``dsn`` is not the path of a file.
    """
    if "://" in dsn or dsn == ":memory:" or dsn.startswith("file:"):
        message = (
            "expected the path of a SQLite file; other databases are not supported"
        )
        raise ConfigError([Problem(str(path), None, "database.dsn", message)])
    return Path(os.path.normpath(path.parent / dsn))


def _section(path: Path, environ: Mapping[str, str], wanted: str, cls: type[T]) -> T:
    problems = Problems(path)
    root = read(path, environ)
    section: yaml.Node | None = None
    if isinstance(root, yaml.MappingNode):
        for name, value in root.value:
            if name.value == wanted:
                section = value
    elif root is not None:
        problems.add(place_of(root), "", "expected a mapping")
    converter = Converter(problems, environ)
    loaded = _convert(path, section, cls, converter, wanted)
    problems.raise_if_any()
    return loaded


def _convert(
    path: Path,
    node: yaml.Node | None,
    cls: type[T],
    converter: Converter,
    key: str = "",
) -> T:
    if node is None:
        return cls()
    try:
        value: T = converter.struct(node, inspect.type_info(cls), key)
    except RecursionError:
        # A mapping that is merged (<<) into itself.
        problem = Problem(str(path), None, key, "is nested too deeply")
        raise ConfigError([problem]) from None
    return value


def _with_admin_key(config: Config, environ: Mapping[str, str]) -> Config:
    key = environ.get(ADMIN_KEY_VARIABLE)
    if config.auth.admin_key is not None or not key:
        return config
    auth = msgspec.structs.replace(config.auth, admin_key=Secret(key))
    return msgspec.structs.replace(config, auth=auth)
