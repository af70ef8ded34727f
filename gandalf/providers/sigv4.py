"""Amazon's request signatures, version 4.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/
reference_sigv-create-signed-request.html. A request is written down in a canonical
form; a key derived from the secret, the day, the region and the service signs its
hash. The path is percent-encoded once more than in the request line (every service but
S3 has it so): ``:`` in a model's name is ``%3A`` there and ``%253A`` here.

botocore's signer is not used on the way of a request: it wants its own request objects
and takes five times as long. The tests hold this one to botocore's results.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import quote

_ALGORITHM = "AWS4-HMAC-SHA256"
_END = "aws4_request"


class Credentials(Protocol):
    """Whose signature it is."""

    @property
    def access_key(self) -> str: ...

    @property
    def secret_key(self) -> str: ...

    @property
    def token(self) -> str | None:
        """Of temporary credentials."""


class Signer:
    """Signs requests to one service at one host.

    Args:
        host: What the ``host`` field of the requests says.
        region: Where the service is.
        service: What it is called in signatures.
    """

    def __init__(self, host: str, region: str, service: str) -> None:
        self._host = host
        self._region = region
        self._service = service
        self._key_of: tuple[str, str] = ("", "")
        """Secret and day that ``_key`` was derived from."""
        self._key = b""

    def sign(
        self,
        credentials: Credentials,
        now: float,
        method: bytes,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
    ) -> list[tuple[bytes, bytes]]:
        """Return the header fields that authenticate a request.

        Args:
            credentials: Whose request it is.
            now: Unix time in seconds.
            method: Of the request.
            target: Path and query as in the request line.
            headers: Fields to sign beside ``host``, with names in lower case.
            body: All of it.
        """
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        added = [(b"x-amz-date", at.encode())]
        if credentials.token:
            added.append((b"x-amz-security-token", credentials.token.encode()))
        signed, request = self._canonical(method, target, [*headers, *added], body)
        scope = f"{at[:8]}/{self._region}/{self._service}/{_END}"
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f"{_ALGORITHM}\n{at}\n{scope}\n{digest}"
        key = self._signing_key(credentials.secret_key, at[:8])
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        value = (
            f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={signed}, Signature={signature}"
        )
        return [*added, (b"authorization", value.encode())]

    def _canonical(
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
    ) -> tuple[str, str]:
        """Return the names of the signed fields, and the canonical request."""
        path, _, query = target.decode("ascii").partition("?")
        fields = sorted(
            [
                ("host", self._host),
                *((n.decode(), " ".join(v.decode().split())) for n, v in headers),
            ]
        )
        signed = ";".join(name for name, _ in fields)
        lines = [
            method.decode(),
            quote(path, safe="/~"),
            _canonical_query(query),
            *(f"{name}:{value}" for name, value in fields),
            "",
            signed,
            hashlib.sha256(body).hexdigest(),
        ]
        return signed, "\n".join(lines)

    def _signing_key(self, secret: str, day: str) -> bytes:
        # The same for a day, and half of what a short request's signature costs.
        if self._key_of != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, _END):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key_of, self._key = (secret, day), key
        return self._key


def _canonical_query(query: str) -> str:
    """Return ``query``, which is encoded already, in the order of its names."""
    if not query:
        return ""
    parameters = (parameter.partition("=") for parameter in query.split("&"))
    pairs = sorted((name, value) for name, _, value in parameters)
    return "&".join(f"{name}={value}" for name, value in pairs)
