"""The admin API on the database in this process, where no gateway serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import msgspec

from gandalf.actors.supervisor import supervise
from gandalf.app import _Gateway
from gandalf.config import Config, database_path
from gandalf.config.merge import load_merged
from gandalf.domain.keys import new_key
from gandalf.domain.secret import Secret
from gandalf.reloading import without_faults
from gandalf.storage.database import Database
from gandalf.storage.keys import KeyStore
from gandalf.storage.managed import ManagedStore

T = TypeVar("T")


async def with_application(
    settings: Config,
    path: Path,
    file: Path | None,
    environ: Mapping[str, str],
    work: Callable[[Any, str], Awaitable[T]],
) -> T:
    """Return what ``work`` returns, called with the application and an admin key.

    The key lives as long as the call. Of the actors only those run that changes of keys
    and of the configuration need.

    Args:
        settings: The configuration, or as much of it as is known.
        path: The configuration file, which says where the database is.
        file: The same, to merge managed objects into; None to leave them out.
        environ: Values of references.
        work: Called with an ASGI application and the key.
    """
    secret = new_key()
    database = Database(database_path(path, settings.database.dsn))
    await database.open()
    with closing(database), TemporaryDirectory() as empty:
        managed = await ManagedStore(database).load()
        merged = None
        if file is not None:
            merged, _ = without_faults(
                lambda objects: load_merged(file, environ, objects), managed.objects
            )
            settings = merged.config
        gateway = _Gateway(
            _adapted(settings, secret, empty),
            path,
            environ,
            database,
            KeyStore(database),
            managed=managed,
            merged=merged,
        )
        await gateway.keys.load()
        async with supervise(gateway.keys, gateway.journal, gateway.config):
            return await work(gateway.application(), secret.reveal())


def _adapted(settings: Config, key: Secret, journal_dir: str) -> Config:
    """Return ``settings`` with an admin key, and a usage journal that nobody uses.

    The journal of the database may be that of a running gateway.
    """
    return msgspec.structs.replace(
        settings,
        auth=msgspec.structs.replace(settings.auth, admin_key=key),
        usage=msgspec.structs.replace(settings.usage, journal_dir=journal_dir),
    )
