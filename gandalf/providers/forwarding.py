"""Which of a client's header fields an upstream of the same dialect gets.

All but those that are about the connection, about who the client is to the gateway, or
about the gateway itself: a list of what may pass would be out of date with the next
beta header of a provider, and silently break it.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple

from gandalf.providers.base import Headers
from gandalf.providers.fields import checked

_KEPT_BACK = frozenset(
    {
        # About the connection: RFC 9110, section 7.6.1, and what the transport adds.
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"host",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"accept-encoding",
        b"expect",
        b"date",
        b"http2-settings",
        # 304 is no answer to a request of the gateway's: it would count as a failure.
        b"if-modified-since",
        b"if-none-match",
        # What some servers take for the method, the path or the host that is meant: the
        # gateway has looked at the real ones.
        b"x-http-method-override",
        b"x-http-method",
        b"x-method-override",
        b"x-original-host",
        b"x-original-url",
        b"x-rewrite-url",
        # About who asks: the gateway's own credentials take their place.
        b"authorization",
        b"x-api-key",
        b"x-goog-api-key",
        b"api-key",
        b"cookie",
        b"origin",
        b"referer",
        # A key that is shared by all organisations would share its answers, too.
        b"idempotency-key",
        b"x-idempotency-key",
        b"openai-organization",
        b"openai-project",
        b"x-goog-user-project",
        b"x-goog-iam-authorization-token",
        b"x-ms-authorization-auxiliary",
        b"ocp-apim-subscription-key",
        b"forwarded",
        b"via",
        b"x-real-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"true-client-ip",
        # About the gateway, which has acted on it.
        b"x-request-id",
        b"cache-control",
        b"pragma",
        b"traceparent",
        b"tracestate",
        b"baggage",
    }
)
_KEPT_BACK_PREFIXES = (b"x-gandalf-", b"x-forwarded-", b"x-amz", b"cf-", b"sec-")

# Lists of names remembered: clients send the same few, whoever sends others pays.
# Longer ones than libraries send are not, for they would be there for ever.
MAX_KNOWN = 500
MAX_NAMES = 40
MAX_LENGTH = 1000


class _Passing(NamedTuple):
    """What of the fields with certain names passes."""

    lines: int
    template: bytes
    """The fields, with a place for each value."""
    values: Callable[[Headers], tuple[bytes, ...]]


_known: dict[tuple[bytes, ...], _Passing] = {}


def forwarded(headers: Headers) -> bytes:
    """Return those of a client's ``headers`` that are the upstream's business.

    They are as ``fields`` has them.

    Raises:
        UpstreamBroken: One of them is more than a line.
    """
    connection = headers.get(b"connection")
    if connection is None or connection in (b"keep-alive", b"close"):
        names = tuple(headers)
    else:
        listed = {name.strip() for name in connection.lower().split(b",")}
        names = tuple(name for name in headers if name not in listed)
    lines, template, values = _known.get(names) or _passing(names)
    return checked(template % values(headers), lines)


def _passing(names: tuple[bytes, ...]) -> _Passing:
    """Return what passes of fields with these ``names``, and remember it."""
    kept = [
        name
        for name in names
        if name not in _KEPT_BACK and not name.startswith(_KEPT_BACK_PREFIXES)
    ]
    lines = [b"%b: %%b\r\n" % name.replace(b"%", b"%%") for name in kept]
    passing = _Passing(len(kept), b"".join(lines), _getter(kept))
    short = len(names) <= MAX_NAMES and sum(map(len, names)) <= MAX_LENGTH
    if short and len(_known) < MAX_KNOWN:
        _known[names] = passing
    return passing


def _getter(names: list[bytes]) -> Callable[[Headers], tuple[bytes, ...]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda headers: tuple([headers[name] for name in names])
