"""Where a command goes: a running gateway, or the database where none runs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gandalf.cli.output import FAILED, MISUSED, OK, REFUSED, UNREACHABLE, fail, say

if TYPE_CHECKING:
    from gandalf.http.admin.client import Api, Refused
    from gandalf.storage.database import Database

URL_VARIABLE = "GANDALF_URL"
KEY_VARIABLE = "GANDALF_ADMIN_KEY"

NO_KEY = f"""\
{KEY_VARIABLE} is not set: it is the key that this command calls the gateway with.
Make one where the gateway's database is, and export it:
  export {KEY_VARIABLE}=$(gandalf keys create --role admin)"""

_RUNNING_ONLY = frozenset({"breakers", "cache", "drain", "reload"})
"""Sections about what only a running process has."""
_NEED_CONFIG = frozenset({"providers", "routes", "config", "prices", "apply", "export"})
"""Sections about objects that the configuration file declares as well."""


class Failure(Exception):
    """A command cannot go on.

    Args:
        message: Why, for people.
        status: The exit code.
    """

    def __init__(self, message: str, status: int = FAILED) -> None:
        self.status = status
        super().__init__(message)


def running(args: argparse.Namespace) -> Api | None:
    """Return the running gateway that is asked for; None if there is none.

    It is the one at ``--url`` or ``GANDALF_URL``; or else the one at the address of the
    configuration file, if one answers there and ``GANDALF_ADMIN_KEY`` is set.

    Raises:
        Failure: A gateway is named, and there is no key to call it with.
    """
    key = os.environ.get(KEY_VARIABLE, "")
    url = args.url or os.environ.get(URL_VARIABLE, "")
    if url and not key:
        raise Failure(NO_KEY, MISUSED)
    if not key:
        return None
    from gandalf.http.admin.client import HttpApi, answers

    if url:
        return HttpApi(url, key)
    url = configured_url(args.config)
    return HttpApi(url, key) if url and answers(url) else None


def configured_url(path: Path) -> str:
    """Return the URL of the gateway that the configuration file describes."""
    from gandalf.config import ConfigError, load_server, split_address

    try:
        server = load_server(path, os.environ)
        host, port = split_address(server.addr)
    except (ConfigError, ValueError):
        return ""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - recognised, not bound
        host = "127.0.0.1"
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if server.tls else 'http'}://{shown}:{port}"


def api_for(args: argparse.Namespace, section: str) -> Api:
    """Return the running gateway, or its admin API on the database in this process.

    Raises:
        Failure: None runs and ``section`` needs one; or the configuration is wrong.
    """
    found = running(args)
    if found is not None:
        return found
    if section in _RUNNING_ONLY:
        raise Failure(
            f"no gateway is named or found at {configured_url(args.config)}, and this"
            f" command needs one: --url, {URL_VARIABLE} and {KEY_VARIABLE}",
            UNREACHABLE,
        )
    return _in_process(args.config, strict=section in _NEED_CONFIG)


def _in_process(path: Path, *, strict: bool) -> Api:
    import trio

    from gandalf.cli.offline import with_application
    from gandalf.config import Config, ConfigError, load, load_database
    from gandalf.http.admin.client import Answer, ApplicationApi

    try:
        database = load_database(path, os.environ)
        try:
            settings = load(path, os.environ)
        except ConfigError:
            if strict:
                raise
            # Secrets of providers, which are not at hand here, have no part in it.
            settings = Config(database=database)
    except ConfigError as error:
        raise Failure(str(error), MISUSED) from error

    declares = settings.providers or settings.routes or strict
    file = path if declares else None

    def run(ask: Callable[[Any, str], Awaitable[Answer]]) -> Answer:
        with _quiet():
            return trio.run(with_application, settings, path, file, os.environ, ask)

    return ApplicationApi(run, settings.database.dsn)


def guarded(run: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Run a command; print why it failed, and return the exit code."""
    try:
        return run(args)
    except Failure as failure:
        return fail(str(failure), failure.status)
    except Exception as error:
        status = _explained(error)
        if status == OK:
            raise
        return status


def _explained(error: Exception) -> int:
    """Print what is known of ``error``; return its exit code, OK for an unknown one."""
    from gandalf.config.plain import PlainError
    from gandalf.http.admin.client import Refused, Unreachable
    from gandalf.storage.errors import StorageError

    match error:
        case Refused():
            return _refused(error)
        case Unreachable():
            return fail(str(error), UNREACHABLE)
        case PlainError():
            return fail(str(error), MISUSED)
        case StorageError():
            return fail(str(error))
    return OK


def _refused(error: Refused) -> int:
    say(str(error))
    for each in error.problem.get("errors", ()):
        told = f"{each['field']}: {each['message']}"
        if told not in str(error):
            say(f"  {told}")
    if error.status == 401:
        say(f"  {KEY_VARIABLE} holds the key that was refused")
    if error.status >= 500:
        say(f"  request {error.problem.get('request_id', '')}")
        return FAILED
    return REFUSED


# The database itself.


def with_database(
    args: argparse.Namespace,
    work: Callable[[Database], Awaitable[int]],
    *,
    new: bool = False,
    reading: bool = False,
) -> int:
    """Run ``work`` on the database, which must exist unless it may be ``new``.

    Args:
        args: Says which configuration file.
        work: Returns the exit code.
        new: Whether the database may be made.
        reading: Whether ``work`` changes nothing.
    """
    import trio

    from gandalf.config import ConfigError
    from gandalf.storage.database import Database
    from gandalf.storage.errors import StorageError

    async def run(path: Path) -> int:
        database = Database(path)
        await database.open()
        try:
            return await work(database)
        finally:
            database.close()

    try:
        path = database_path(args, reading=reading)
        if not new and not path.exists():
            return fail(f"there is no database {path} yet")
        with _quiet() if reading else nullcontext():
            return trio.run(run, path)
    except ConfigError as error:
        return fail(str(error), MISUSED)
    except StorageError as error:
        return fail(str(error))


def database_path(args: argparse.Namespace, *, reading: bool) -> Path:
    """Return the path of the database.

    A command that only reads, and was not told which configuration to use, falls back
    on the demo's database if that is the only one.

    Raises:
        ConfigError: The configuration file is not valid.
    """
    from gandalf.cli.parser import DEFAULT_CONFIG, DEMO_CONFIG

    path = _database_of(args.config)
    guess = reading and args.config == DEFAULT_CONFIG and not path.exists()
    if guess and DEMO_CONFIG.exists() and (demo := _database_of(DEMO_CONFIG)).exists():
        say(f"there is no database {path}; this is the demo's: {demo}")
        return demo
    return path


def _database_of(path: Path) -> Path:
    from gandalf.config import database_path as path_of
    from gandalf.config import load_database

    return path_of(path, load_database(path, os.environ).dsn)


class _quiet:  # noqa: N801 - used like contextlib.suppress
    """Silences warnings of storage.

    Storage warns of two processes that write; a gateway and a reader are not two.
    """

    def __enter__(self) -> None:
        import logging

        self._log = logging.getLogger("gandalf")
        self._level = self._log.level
        self._log.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._log.setLevel(self._level)
