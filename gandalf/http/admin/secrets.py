"""Secrets in the objects that the admin API is sent: sealed, kept, never shown.

A secret is a reference to an environment variable, which is stored as it is, or the
secret itself, which is stored sealed if the gateway has a master key and refused if
not. What an answer, the audit log and an export have in its place is a fingerprint; a
fingerprint that is sent back keeps the secret.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from gandalf.config.merge import SECRET_FIELDS
from gandalf.config.sealing import (
    CannotOpen,
    MasterKeys,
    Place,
    SecretField,
    is_sealed,
    secret_fields,
)
from gandalf.domain.managed import Kind
from gandalf.http.admin.problems import FieldError, InvalidRequest

# One variable and no default, which would be a literal secret. The gateway's own
# variables hold its administrator's key: no provider is ever sent that.
_REFERENCE = re.compile(r"\$\{(?!GANDALF_)([A-Za-z_][A-Za-z0-9_]*)\}")

EXPECTED = (
    "expected a reference such as ${OPENAI_API_KEY}: a secret itself is stored only if"
    " GANDALF_MASTER_KEY is set, to seal it"
)


def fingerprint(secret: str) -> str:
    """Return what stands for a secret wherever it could be seen."""
    return f"sha256:{hashlib.sha256(secret.encode()).hexdigest()[:12]}"


class Secrets:
    """Seals and hides the secrets of specifications.

    Args:
        keys: The master keys.
        environ: Values of references, to recognise their fingerprints.
    """

    def __init__(self, keys: MasterKeys, environ: Mapping[str, str]) -> None:
        self._keys = keys
        self._environ = environ

    def hidden(self, spec: dict[str, Any], kind: Kind, name: str) -> dict[str, Any]:
        """Return a copy of ``spec`` with fingerprints in the place of secrets.

        Args:
            spec: As it is stored.
            kind: The kind of object.
            name: Its name.
        """
        copy: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(spec))
        for field in list(secret_fields(copy, SECRET_FIELDS[kind])):
            if not _REFERENCE.fullmatch(field.value):
                field.put(fingerprint(self._reveal(field, kind, name)))
        return copy

    def store(
        self, spec: dict[str, Any], former: dict[str, Any] | None, kind: Kind, name: str
    ) -> None:
        """Turn the secrets of ``spec`` into the form in which they are stored.

        Args:
            spec: As a client has sent it; changed in place.
            former: The object as it is stored, whose secrets may be kept.
            kind: The kind of object.
            name: Its name.

        Raises:
            InvalidRequest: A secret cannot be stored.
        """
        known = {
            fingerprint(self._reveal(field, kind, name)): field
            for field in secret_fields(former or {}, SECRET_FIELDS[kind])
        }
        for field in list(secret_fields(spec, SECRET_FIELDS[kind])):
            kept = known.get(field.value)
            if kept is not None and (
                kept.path == field.path or _REFERENCE.fullmatch(kept.value)
            ):
                field.put(kept.value)
            elif kept is not None:
                field.put(
                    self._sealed(self._reveal(kept, kind, name), field, kind, name)
                )
            elif not _REFERENCE.fullmatch(field.value):
                field.put(self._sealed(field.value, field, kind, name))

    def _sealed(self, secret: str, field: SecretField, kind: Kind, name: str) -> str:
        # A reference that is not allowed, or a fingerprint of another secret, is a
        # mistake and no secret.
        if not self._keys or "${" in secret or secret.startswith("sha256:"):
            raise InvalidRequest(
                f"{field.path}: {EXPECTED}",
                FieldError(field.path, EXPECTED),
            )
        return self._keys.seal(secret, Place(kind, name, field.path))

    def _reveal(self, field: SecretField, kind: Kind, name: str) -> str:
        """Return the secret itself, or what is stored where that is not at hand."""
        if reference := _REFERENCE.fullmatch(field.value):
            return self._environ.get(reference[1], field.value)
        if not is_sealed(field.value):
            return field.value
        try:
            return self._keys.open(field.value, Place(kind, name, field.path))
        except CannotOpen:
            return field.value
