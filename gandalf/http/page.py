"""A page that needs no Quart: a function from what was asked to what is answered.

Both ways of serving it call that function: the Quart application, which declares every
page, and ``gandalf.http.front``, which answers without loading it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from gandalf.domain.errors import GatewayError
from gandalf.http.channel import HeaderList
from gandalf.http.responder import error_headers
from gandalf.http.spoken import spoken_at
from gandalf.providers.base import Headers
from gandalf.telemetry.observed import Refused

OnRefused = Callable[[Refused], None]
"""Called for every request that is refused without a usage record."""


def not_reported(_: Refused) -> None:
    """Report nothing: where requests are not logged."""


class Page(NamedTuple):
    """What a page answers."""

    status: int
    content_type: bytes
    body: bytes
    headers: HeaderList = ()
    """Those that are the page's own."""


class Asked(NamedTuple):
    """What of a request a page looks at."""

    path: str
    query: bytes
    headers: Headers


View = Callable[[Asked], Awaitable[Page]]


def error_page(error: GatewayError, path: str, headers: Headers) -> Page:
    """Return the page for ``error`` at ``path``, in the client's dialect."""
    dialect = spoken_at(path, headers).dialect
    body = dialect.error_body(error)
    return Page(error.status, b"application/json", body, error_headers(error))


def refused(error: GatewayError, request_id: str, method: str, path: str) -> Refused:
    """Return the entry of the access log for a page that was refused."""
    identity = getattr(error, "identity", None)
    return Refused(
        request_id,
        method,
        path,
        error.status,
        error.code,
        error.detail,
        "" if identity is None else identity.key_id,
        "" if identity is None else identity.key_prefix,
    )


def merged(fields: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return header fields by their lower-case names, each with all of its values."""
    headers: Headers = {}
    for name, value in fields:
        key = name.lower()
        headers[key] = headers[key] + b", " + value if key in headers else value
    return headers
