"""Every way a request can end without its answer, and the HTTP status each one means.

    GatewayError                500  a bug of ours if it is nothing more precise
    |-- BadRequest              400  malformed, ambiguous or impossible to serve
    |-- Unauthenticated         401  no key, unknown key, expired key
    |-- PermissionDenied        403  the key may not do this, or not use this model
    |-- NotFound                404  no such route, model or page
    |-- MethodNotAllowed        405  carries what is allowed
    |-- UpgradeRequired         426  a WebSocket, where there is only HTTP
    |-- RequestTimeout          408  the client did not finish sending in time
    |-- PayloadTooLarge         413
    |-- UnsupportedEncoding     415  carries the content codings that are accepted
    |-- HeadersTooLarge         431
    |-- RateLimited             429  carries retry_after
    |-- BudgetExceeded          429  names the budget, what is left, when it renews
    |-- PriceUnknown            403  a budget applies, and the cost cannot be bounded
    |-- Overloaded              503  shed for load, for a full journal, for a lost store
    |   `-- ShuttingDown        503
    `-- UpstreamError           502  carries the upstream's own status, if it had one
        |-- UpstreamRefused     4xx  the upstream refuses this request
        |-- CredentialsRefused  502  the upstream refuses the gateway's key or account
        |-- UpstreamRateLimited 429  the upstream limits the rate; carries retry_after
        |-- UpstreamUnavailable 503  overloaded, or no target may be tried now
        `-- UpstreamTimeout     504  carries the phase that took too long

``type`` and ``code`` are OpenAI's words where OpenAI has one. The pipeline raises
these; ``gandalf.http`` alone turns them into bytes, with the dialect's own shape.
An error's message may be shown to the client: it holds no secret. The message of an
``UpstreamError`` begins with ``provider 'name':``, so that its reader knows whose words
they are; the gateway's own words have no prefix.
"""

from __future__ import annotations

import enum
from typing import ClassVar

from gandalf.domain.budgets import Budget, format_amount
from gandalf.domain.identity import Identity


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


class Refusal(enum.StrEnum):
    """The reason of an upstream's refusal, as far as the gateway acts on it."""

    CREDENTIALS = "credentials"
    """The gateway's key is missing, wrong, expired or revoked."""
    ACCOUNT = "account"
    """The gateway's account has no credit, is suspended, or is in the wrong region."""
    MODEL = "model"
    """The model does not exist there, or the gateway's account may not use it."""
    CONTEXT_LENGTH = "context_length"
    """The prompt and the wanted answer are longer than the model's context."""
    CONTENT_POLICY = "content_policy"
    """The content was refused: moderation, guardrail, usage policy."""
    REQUEST = "request"
    """Anything else about the request, or about what it refers to."""
    RATE_LIMIT = "rate_limit"
    """The rate limit, told with another status than 429."""


class GatewayError(Exception):
    """A request ended without its answer, for a reason the client may know."""

    status: int = 500
    type: ClassVar[str] = "api_error"
    code: str = "internal_error"
    param: str | None = None
    retry_after: float | None = None
    """Seconds after which trying again can help. None where it cannot be known."""
    should_retry: bool | None = None
    """False where sending the request again cannot help although the status suggests
    it: told as ``x-should-retry``, which the SDKs of OpenAI and Anthropic honour."""
    request_id: str = ""
    """The id of the request, set before the error is told; "" if it has none."""

    def __init__(self, message: str = "internal error") -> None:
        super().__init__(message)
        self.message = message

    @property
    def detail(self) -> str:
        """The text for administrators, in records and logs; it holds no secret.

        It may say more than the client is told.
        """
        return self.message


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
    """The request has no key, one that is unknown, or one that has expired.

    Args:
        message: Text for the client.
        code: The code, if it is not the usual one.
        identity: The holder of a key that is known but not valid any more, so that
            records and logs can name it.
    """

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"

    def __init__(
        self,
        message: str = "no api key",
        *,
        code: str | None = None,
        identity: Identity | None = None,
    ) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.identity = identity


class PermissionDenied(GatewayError):
    """The key is known, and may not be used for this.

    Args:
        message: Text for the client.
        code: The code, if it is not the usual one.
        identity: The holder of the key, where nothing else has named it yet.
    """

    status = 403
    type = "permission_error"
    code = "insufficient_permissions"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        identity: Identity | None = None,
    ) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.identity = identity


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


class UpgradeRequired(GatewayError):
    """The client wants a WebSocket; the API is spoken over HTTP only."""

    status = 426
    type = "invalid_request_error"
    code = "websocket_not_supported"

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is not served over WebSocket; send a POST request")


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


class UnsupportedEncoding(GatewayError):
    """The request body has a content coding that is not decoded here.

    Args:
        message: The reason.
        accepted: The codings that are, as in ``Accept-Encoding`` (RFC 9110, 15.5.16).
    """

    status = 415
    type = "invalid_request_error"
    code = "unsupported_content_encoding"

    def __init__(self, message: str, accepted: str) -> None:
        super().__init__(message)
        self.accepted = accepted


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


class BudgetExceeded(GatewayError):
    """A hard budget has no room for the request.

    Args:
        budget: The budget.
        subject: Whose account of it; empty for the global scope.
        needed: What the request may use at the most, in the budget's unit.
        limit: The limit, temporary raises included.
        left: What is neither spent nor reserved.
        renews_at: Unix time from which the request fits, if nothing else is spent.
            None if it never does.
        retry_after: Seconds after which trying again can help.
    """

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"

    def __init__(
        self,
        *,
        budget: Budget,
        subject: str,
        needed: int,
        limit: int,
        left: int,
        renews_at: int | None,
        retry_after: float | None,
    ) -> None:
        unit = budget.rule.unit
        scope = str(budget.rule.scope) + (f" {subject!r}" if subject else "")
        message = (
            f"the budget {budget.name!r} ({scope}) is exhausted:"
            f" {format_amount(left, unit)} of {format_amount(limit, unit)} left,"
            f" and the request may use up to {format_amount(needed, unit)}"
        )
        if needed > limit:
            message += ", more than the whole budget; it can never be served"
        elif renews_at is not None:
            message += f"; it renews at {budget.rule.period.local_time(renews_at)}"
        else:
            message += "; it does not renew by itself"
        super().__init__(message)
        self.budget = budget
        self.subject = subject
        self.retry_after = retry_after


class PriceUnknown(GatewayError):
    """A hard budget in USD applies to a request whose cost cannot be bounded."""

    status = 403
    type = "permission_error"
    code = "price_unknown"


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
    """An upstream answered with an error, with an invalid answer, or not at all.

    Args:
        provider: Instance name of the provider; "" if it is about none in particular.
        message: The provider's words, or what it failed to do, fit for the client.
        upstream_status: The HTTP status of its response; None if there was none.
        retry_after: Seconds that the upstream asked to wait, if it did.
        fault: The party at fault, if it is not the usual one of the class.
        detail: The words for administrators, if they differ from ``message``.
        should_retry: False if sending the request again cannot help.
    """

    status = 502
    code = "upstream_error"
    fault: Fault = Fault.TARGET
    refusal: Refusal | None = None
    """The reason of the refusal, if the response was one and told."""

    def __init__(
        self,
        provider: str,
        message: str,
        *,
        upstream_status: int | None = None,
        retry_after: float | None = None,
        fault: Fault | None = None,
        detail: str = "",
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(f"provider '{provider}': {message}" if provider else message)
        self.provider = provider
        self.upstream_status = upstream_status
        self.retry_after = retry_after
        if fault is not None:
            self.fault = fault
        self._detail = detail
        if should_retry is not None:
            self.should_retry = should_retry

    @property
    def detail(self) -> str:
        return self._detail or self.message


class UpstreamRefused(UpstreamError):
    """The upstream refuses this request; its words and its status are for the client.

    Args:
        status: The status for the client, if it is not the upstream's.
        body: The upstream's error body, which a client of the same dialect gets byte
            for byte; empty if it is not to be relayed.
        failover: True if another target may accept the request as it is.
    """

    type = "invalid_request_error"
    fault = Fault.REQUEST

    def __init__(
        self,
        provider: str,
        message: str,
        *,
        upstream_status: int | None,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        body: bytes = b"",
        refusal: Refusal = Refusal.REQUEST,
        failover: bool = False,
    ) -> None:
        super().__init__(provider, message, upstream_status=upstream_status)
        self.status = status or upstream_status or 400
        self.code = code or "upstream_refused"
        self.param = param
        self.body = body
        self.refusal = refusal
        self.failover = failover
        if self.status == 429:
            self.should_retry = False  # SDKs send every other 429 again.


class CredentialsRefused(UpstreamError):
    """The upstream refuses the gateway's key or account; the client cannot help it."""

    code = "upstream_credentials_refused"
    fault = Fault.CREDENTIALS
    should_retry = False

    def __init__(
        self,
        provider: str,
        message: str = "refused the gateway's credentials",
        *,
        refusal: Refusal = Refusal.CREDENTIALS,
        upstream_status: int | None = None,
        retry_after: float | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(
            provider,
            message,
            upstream_status=upstream_status,
            retry_after=retry_after,
            detail=detail,
        )
        self.refusal = refusal
        if refusal is Refusal.ACCOUNT:
            self.code = "upstream_account_refused"
        if upstream_status == 429:
            self.status = 429  # A used-up quota; OpenAI tells it so.


class UpstreamRateLimited(UpstreamError):
    """Every target that could serve this is out of its provider's quota."""

    status = 429
    type = "rate_limit_error"
    code = "upstream_rate_limited"
    fault = Fault.RATE_LIMIT

    @classmethod
    def waiting(cls, provider: str, seconds: float) -> UpstreamRateLimited:
        """Return the error while a target is left alone because its provider asked."""
        message = f"its rate limit is reached; it asks to wait {seconds:.0f} s"
        return cls(provider, message, retry_after=seconds)


class UpstreamUnavailable(UpstreamError):
    """An upstream is overloaded, or no target may be tried now (breakers open)."""

    status = 503
    code = "upstream_unavailable"


_NOT_WITHIN = {
    "pool": "no connection of the gateway's own pool was free within {limit:g} s",
    "connect": "could not be connected to within {limit:g} s",
    "response_headers": "did not begin to answer within {limit:g} s",
    "first_token": "sent no content within {limit:g} s",
    "idle": "sent nothing for {limit:g} s",
    "total": "did not finish within {limit:g} s",
}


class UpstreamTimeout(UpstreamError):
    """An upstream took longer than the limit of one phase.

    ``phase`` is ``pool`` (all connections of the gateway's pool are in use),
    ``connect``, ``response_headers``, ``first_token``, ``idle`` or ``total``.
    """

    status = 504
    code = "upstream_timeout"

    def __init__(
        self, provider: str, phase: str, limit: float, *, fault: Fault | None = None
    ) -> None:
        told = _NOT_WITHIN.get(phase, "{phase} took longer than {limit:g} s")
        super().__init__(provider, told.format(phase=phase, limit=limit), fault=fault)
        self.phase = phase
