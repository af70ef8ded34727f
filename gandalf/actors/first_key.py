"""A gateway without any key serves nobody, and one that needs none serves anybody."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from gandalf.config import Config
from gandalf.domain.identity import Role
from gandalf.domain.ids import new_id
from gandalf.domain.keys import StoredKey, hash_key, new_key, shown_prefix
from gandalf.domain.secret import Secret
from gandalf.storage.keys import KeyCount

NO_KEY = """\
there is no API key that could be used, so nobody could call. Make one, by either
  gandalf keys create --role admin --config FILE      (kept in the database), or
  export GANDALF_ADMIN_KEY="gnd_$(openssl rand -hex 32)"      (kept nowhere), or
  the section 'keys' of the configuration file."""


class NoKey(Exception):
    """There is no key that anybody could call with."""

    def __init__(self) -> None:
        super().__init__(NO_KEY)


class Store(Protocol):
    """Where keys are kept. Implemented by ``gandalf.storage.keys``."""

    async def count(self, now: float) -> KeyCount: ...

    async def insert_first(self, key: StoredKey) -> bool: ...


async def ensure_key(
    config: Config, store: Store, *, now: Callable[[], float] = time.time
) -> Secret | None:
    """See to it that there is a key to call with, before anything is served.

    Returns:
        The admin key made because there was none and ``auth.generate_admin_key`` is
        set; show it (``announcement``), for it cannot be known again. Else None.

    Raises:
        NoKey: There is none, and none may be made. Keys that were revoked or have
            expired are not replaced: whoever did that did not ask for a new one.
        StorageError: The store could not be read or written to.
    """
    if config.auth.admin_key is not None or config.keys:
        return None
    if (await store.count(now())).usable:
        return None
    if config.auth.generate_admin_key:
        key = new_key()
        made = StoredKey(
            key_id=new_id(),
            key_hash=hash_key(key.reveal().encode()),
            key_prefix=shown_prefix(key),
            name="generated at the first start",
            role=Role.ADMIN,
            created_at=now(),
        )
        if await store.insert_first(made):
            return key
        if (await store.count(now())).usable:
            return None  # another gateway on this database was faster
    raise NoKey


def announcement(key: Secret, config: Config) -> str:
    """Return what to print about a new key: the key itself, and a first call."""
    host, _, port = config.server.addr.rpartition(":")
    if host in ("", "0.0.0.0", "[::]"):  # noqa: S104 - recognised, not bound
        host = "127.0.0.1"
    scheme = "https" if config.server.tls is not None else "http"
    models = [route.model_alias for route in config.routes]
    models += [model for provider in config.providers for model in provider.models]
    model = models[0] if models else "MODEL"
    return f"""
Admin key, shown this once (only its hash is kept):

    {key.reveal()}

Try it:

    curl {scheme}://{host}:{port}/v1/chat/completions \\
      -H 'Authorization: Bearer {key.reveal()}' \\
      -H 'Content-Type: application/json' \\
      -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'

"""
