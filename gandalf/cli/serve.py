"""``gandalf serve``, ``check`` and ``init``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gandalf.cli.output import FAILED, MISUSED, OK, fail, plural, print_json, say

if TYPE_CHECKING:
    from gandalf.config import Config, ConfigError


def serve(args: argparse.Namespace) -> int:
    """Run the gateway."""
    from gandalf import app

    return app.main(_path(args))


def _path(args: argparse.Namespace) -> Path:
    """Return the configuration file, or what stands for the environment."""
    from gandalf.cli.parser import DEFAULT_CONFIG
    from gandalf.config.starter import ENVIRONMENT, providers

    path: Path = args.config
    if path != DEFAULT_CONFIG or path.exists():
        return path
    found = ", ".join(providers(os.environ)) or "none; the simulated one answers"
    say(f"there is no {path}; providers from the environment: {found}")
    say("`gandalf init` writes this configuration to a file")
    return ENVIRONMENT


def check(args: argparse.Namespace) -> int:
    """Tell whether a configuration file is valid."""
    from gandalf.config import ConfigError, load

    if args.format == "schema":
        from gandalf.config.schema import json_schema

        print_json(json_schema())
        return OK
    path: Path = args.file or args.config
    try:
        config = load(path, os.environ)
        _check_prices(config)
    except ConfigError as error:
        return _invalid(error, as_json=args.format == "json")
    if args.format == "json":
        return OK
    counts = (
        plural(len(things), noun)
        for things, noun in (
            (config.providers, "provider"),
            (config.routes, "route"),
            (config.keys, "key"),
        )
    )
    print(f"{path}: valid ({', '.join(counts)})")
    if not path.stat().st_size or not config.providers:
        say("it declares no provider, so no model can be called; see gandalf init")
    return OK


def _check_prices(config: Config) -> None:
    from gandalf.actors.routes import build_routes, targets_of
    from gandalf.pricing.resolve import price_targets

    price_targets(config, targets_of(build_routes(config)))


def _invalid(error: ConfigError, *, as_json: bool) -> int:
    if not as_json:
        return fail(str(error), MISUSED)
    for problem in error.problems:
        line, column = problem.place or (None, None)
        print_json(
            {
                "file": problem.file,
                "line": line,
                "column": column,
                "key": problem.key,
                "message": problem.message,
            }
        )
    return MISUSED


def init(args: argparse.Namespace) -> int:
    """Write a configuration file from the provider keys in the environment."""
    from gandalf.config.starter import providers, starter

    text = starter(os.environ)
    if args.stdout:
        print(text, end="")
        return OK
    path: Path = args.config
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if args.force else "x") as file:
            file.write(text)
    except FileExistsError:
        return fail(f"{path} is there already; --force replaces it")
    except OSError as error:
        return fail(f"{path}: cannot be written: {error.strerror}", FAILED)
    found = ", ".join(providers(os.environ)) or "none, so a simulated one"
    say(f"{path}: written, with the providers {found}")
    say(f"next: gandalf serve --config {path}")
    return OK
