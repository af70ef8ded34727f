"""Every way a request can end without its answer, and the HTTP status each one means.

    GatewayError                500  a bug of ours if it is nothing more precise
    |-- BadRequest              400  malformed, ambiguous or impossible to serve
    |-- Unauthenticated         401  no key, unknown key, expired key
    |-- PermissionDenied        403  the key may not do this, or not use this model
    |-- NotFound                404  no such route, model or page
    |-- MethodNotAllowed        405  carries what is allowed
    |-- RequestTimeout          408  the client did not finish sending in time
    |-- PayloadTooLarge         413
    |-- HeadersTooLarge         431
    |-- RateLimited             429  carries retry_after
    |-- Overloaded              503  shed for load, for a full journal, for a lost store
    |   `-- ShuttingDown        503
    `-- UpstreamError           502  carries the upstream's own status, if it had one
        |-- UpstreamRefused     4xx  the upstream says that the request is at fault
        |-- UpstreamRateLimited 429  every target is out of quota; carries retry_after
        |-- UpstreamUnavailable 503  no target may be tried now (breakers open)
        `-- UpstreamTimeout     504  carries the phase that took too long

``type`` and ``code`` are OpenAI's words where OpenAI has one. The pipeline raises
these; ``gandalf.http`` alone turns them into bytes, with the dialect's own shape.
An error's message may be shown to the client: it holds no secret.
"""

from __future__ import annotations

import enum
from typing import ClassVar


class Fault(enum.StrEnum):
    """The party that a failed attempt is attributed to.

    The failure policy and the circuit breakers go by it: only ``TARGET`` and
    ``RATE_LIMIT`` say something about the health of a target.
    """

    TARGET = "target"
    """The upstream failed: a 5xx, a broken or an invalid answer, a refused connection.
    """
    RATE_LIMIT = "rate_limit"
    """The upstream limits the rate of the gateway's account (429)."""
    CREDENTIALS = "credentials"
    """The upstream refused the gateway's own credentials or account."""
    REQUEST = "request"
    """The upstream refused this request (4xx), or it is slow because of its size."""
    GATEWAY = "gateway"
    """A limit of the gateway itself: pool queue, file descriptors, memory, its DNS."""


class GatewayError(Exception):
    """A request ended without its answer, for a reason the client may know."""

    status: int = 500
    type: ClassVar[str] = "api_error"
    code: str = "internal_error"
    param: str | None = None
    retry_after: float | None = None
    """Seconds after which trying again can help. None where it cannot be known."""

    def __init__(self, message: str = "internal error") -> None:
        super().__init__(message)
        self.message = message


class BadRequest(GatewayError):
    """The request cannot be served as it was sent; sending it again will not help."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"

    def __init__(
        self, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.param = param


class Unauthenticated(GatewayError):
    """Nobody we know: no key, not a key, an unknown one or one that ran out."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class PermissionDenied(GatewayError):
    """We know who it is, and they may not do this."""

    status = 403
    type = "permission_error"
    code = "insufficient_permissions"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class NotFound(GatewayError):
    """There is nothing of that name here."""

    status = 404
    type = "not_found_error"
    code = "not_found"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class TargetTooLong(BadRequest):
    """The request line holds a target that is longer than we read."""

    status = 414
    code = "uri_too_long"


class ExpectationFailed(BadRequest):
    """The client expects what HTTP does not define."""

    status = 417
    code = "expectation_failed"


class VersionNotSupported(BadRequest):
    """Neither HTTP/1.1 nor HTTP/1.0."""

    status = 505
    code = "http_version_not_supported"


class MethodNotAllowed(GatewayError):
    """The page exists, for other methods: ``allow`` lists them."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"

    def __init__(self, allow: str) -> None:
        super().__init__(f"method not allowed; allowed: {allow}")
        self.allow = allow


class RequestTimeout(GatewayError):
    """The client took too long to send its request."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class PayloadTooLarge(GatewayError):
    """The request body is larger than ``server.max_body_bytes``."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class HeadersTooLarge(GatewayError):
    """The request's header section is larger than ``server.max_header_bytes``."""

    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


class RateLimited(GatewayError):
    """The key used up its requests or tokens for this minute."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"

    def __init__(self, limit: str, retry_after: float) -> None:
        super().__init__(f"{limit} limit reached; retry in {retry_after:.1f}s")
        self.limit = limit
        self.retry_after = retry_after


class Overloaded(GatewayError):
    """The gateway cannot take more now; nothing was done."""

    status = 503
    type = "api_error"
    code = "overloaded"

    def __init__(self, message: str, *, retry_after: float | None = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class JournalFull(Overloaded):
    """There is no room to account for another request, so it is not begun."""

    code = "journal_full"

    def __init__(self) -> None:
        super().__init__("the gateway cannot record requests now", retry_after=5.0)


class ShuttingDown(Overloaded):
    """The gateway is stopping; another instance, or this one later, can serve."""

    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("the gateway is shutting down")


class UpstreamError(GatewayError):
    """An upstream answered with an error, with nonsense, or not at all.

    Args:
        provider: Instance name of the provider.
        message: What happened, fit for the client.
        upstream_status: The HTTP status it answered with; None if there was none.
        retry_after: Seconds the upstream asked us to wait, if it did.
    """

    status = 502
    code = "upstream_error"
    fault: Fault = Fault.TARGET

    def __init__(
        self,
        provider: str,
        message: str,
        *,
        upstream_status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.upstream_status = upstream_status
        self.retry_after = retry_after


class UpstreamRefused(UpstreamError):
    """The upstream says that the request itself is at fault, so no other will do.

    Status, code and message are the upstream's, and so is the ``body``, which a
    client of the same dialect gets byte for byte.
    """

    type = "invalid_request_error"
    fault = Fault.REQUEST

    def __init__(
        self,
        provider: str,
        message: str,
        *,
        upstream_status: int,
        code: str | None = None,
        param: str | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(provider, message, upstream_status=upstream_status)
        self.status = upstream_status
        self.code = code or "upstream_refused"
        self.param = param
        self.body = body


class UpstreamRateLimited(UpstreamError):
    """Every target that could serve this is out of its provider's quota."""

    status = 429
    type = "rate_limit_error"
    code = "upstream_rate_limited"
    fault = Fault.RATE_LIMIT


class UpstreamUnavailable(UpstreamError):
    """No target may be tried now: their breakers are open or their keys dead."""

    status = 503
    code = "upstream_unavailable"


class UpstreamTimeout(UpstreamError):
    """An upstream took longer than the limit of one phase.

    ``phase`` is ``connect``, ``response_headers``, ``first_token``, ``idle`` or
    ``total``.
    """

    status = 504
    code = "upstream_timeout"

    def __init__(self, provider: str, phase: str, limit: float) -> None:
        super().__init__(provider, f"upstream {phase} timeout after {limit:g}s")
        self.phase = phase
