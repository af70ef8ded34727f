"""Secrets of managed objects, sealed with the gateway's master key.

A secret that the admin API is sent is encrypted (AES-256-GCM) before it is stored, as
``v1.<key id>.<nonce>.<ciphertext>`` in base64url without padding. The place of the
secret is authenticated with it: a sealed text that is moved to another object or field
cannot be opened there, so one who can write to the database cannot have one provider's
key sent to another provider.

``GANDALF_MASTER_KEY`` holds the keys, newest first, each 32 bytes in base64 and with an
id of the operator's choice before a colon if wanted: ``2026:...,2025:...``. New secrets
are sealed with the first one. ``GANDALF_MASTER_KEY_FILE`` names a file with the same.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gandalf.config.problems import ConfigError, Problem
from gandalf.domain.managed import Kind

VARIABLE = "GANDALF_MASTER_KEY"
FILE_VARIABLE = "GANDALF_MASTER_KEY_FILE"

KEY_BYTES = 32
NONCE_BYTES = 12

_VERSION = "v1"
_SEALED = re.compile(r"v1\.([A-Za-z0-9_-]{1,32})\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_ENTRY = re.compile(r"(?:([A-Za-z0-9_-]{1,32}):)?([A-Za-z0-9+/_-]{43}=?)")


class Place(NamedTuple):
    """Where a secret stands."""

    kind: Kind
    name: str
    """Name of the managed object."""
    field: str
    """Dotted path inside the object."""

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}: {self.field}"


class CannotOpen(Exception):
    """A sealed secret cannot be opened; the text says why and holds nothing of it."""


class MasterKeys:
    """The master keys, newest first.

    Args:
        keys: By id. Empty: nothing can be sealed or opened.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)
        self.newest = next(iter(self._keys), "")
        """Id of the key that seals. Empty if there is none."""

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"<MasterKeys {' '.join(self._keys)}>"

    def seal(self, secret: str, place: Place) -> str:
        """Return ``secret`` sealed with the newest key, for ``place`` only."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = _cipher(self._keys[self.newest]).encrypt(
            nonce, secret.encode(), _associated(place)
        )
        return f"{_VERSION}.{self.newest}.{_text(nonce)}.{_text(sealed)}"

    def open(self, sealed: str, place: Place) -> str:
        """Return the secret that was sealed for ``place``.

        Raises:
            CannotOpen: The key is missing or another one, or the text was changed or
                stood elsewhere.
        """
        from cryptography.exceptions import InvalidTag

        found = _SEALED.fullmatch(sealed)
        if found is None:
            raise CannotOpen("is not a sealed secret")
        key_id, nonce, ciphertext = found.groups()
        if key_id not in self._keys:
            raise CannotOpen(
                f"is sealed with the master key {key_id!r}, which {VARIABLE} does not"
                " have"
            )
        try:
            opened: bytes = _cipher(self._keys[key_id]).decrypt(
                _bytes(nonce), _bytes(ciphertext), _associated(place)
            )
        except (InvalidTag, ValueError) as error:
            raise CannotOpen(
                f"cannot be opened with the master key {key_id!r}: it is another key of"
                " this id, or the sealed secret was changed"
            ) from error
        return opened.decode()


def master_keys(environ: Mapping[str, str]) -> MasterKeys:
    """Return the master keys that the environment names.

    Raises:
        ConfigError: They cannot be read, or are no keys.
    """
    text, name = environ.get(VARIABLE, ""), VARIABLE
    if path := environ.get(FILE_VARIABLE):
        if text:
            raise _problem(f"is set beside {FILE_VARIABLE}; set one of them")
        name = FILE_VARIABLE
        try:
            text = Path(path).read_text("ascii")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise _problem(f"cannot be read: {reason}", name) from None
    keys: dict[str, bytes] = {}
    for entry in re.split(r"[\s,]+", text.strip(" \t\r\n,")):
        if not entry:
            continue
        key_id, key = _entry(entry, name)
        if key_id in keys:
            raise _problem(f"has two keys with the id {key_id!r}", name)
        keys[key_id] = key
    return MasterKeys(keys)


def is_sealed(text: str) -> bool:
    """Whether ``text`` has the form of a sealed secret."""
    return _SEALED.fullmatch(text) is not None


def key_id_of(sealed: str) -> str:
    """Return the id of the master key that a secret is sealed with."""
    return sealed.split(".")[1]


class SecretField(NamedTuple):
    """A field of a specification that holds a secret, to read and to replace."""

    holder: dict[str, Any]
    name: str
    path: str
    """Dotted path inside the object."""

    @property
    def value(self) -> str:
        text: str = self.holder[self.name]
        return text

    def put(self, text: str) -> None:
        """Replace the value."""
        self.holder[self.name] = text


def secret_fields(
    spec: Any,  # noqa: ANN401 - any JSON
    names: frozenset[str],
    path: str = "",
) -> Iterator[SecretField]:
    """Yield each field of ``spec``, at any depth, whose name is one of ``names``."""
    if isinstance(spec, list):
        for i, item in enumerate(spec):
            yield from secret_fields(item, names, f"{path}[{i}]")
    elif isinstance(spec, dict):
        for name, value in spec.items():
            inner = f"{path}.{name}" if path else name
            if name in names and isinstance(value, str) and value:
                yield SecretField(spec, name, inner)
            else:
                yield from secret_fields(value, names, inner)


def _entry(entry: str, name: str) -> tuple[str, bytes]:
    found = _ENTRY.fullmatch(entry)
    key = _bytes(found[2]) if found else b""
    if found is None or len(key) != KEY_BYTES:
        raise _problem(
            f"expected {KEY_BYTES} bytes in base64, with an id and a colon before them"
            " if wanted; make one with: openssl rand -base64 32",
            name,
        )
    # An id of its own for each key, so that another one in its place is noticed.
    return found[1] or hashlib.sha256(key).hexdigest()[:8], key


def _cipher(key: bytes) -> Any:  # noqa: ANN401 - an AESGCM, but to name it loads it
    # 20 ms and 4 MB, which a gateway without sealed secrets has no use for.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _associated(place: Place) -> bytes:
    # Lengths first: no two places have the same bytes.
    parts = ("managed_objects", *place)
    return b"".join(
        len(part.encode()).to_bytes(4) + part.encode() for part in map(str, parts)
    )


def _problem(message: str, name: str = VARIABLE) -> ConfigError:
    return ConfigError([Problem("environment", None, name, message)])


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    standard = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
