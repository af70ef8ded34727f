"""The consequences of a failed attempt: for client, failover and circuit breaker.

| failure                                | next target | same again | fault       |
|----------------------------------------|-------------|------------|-------------|
| no connection, or it broke             | yes         | yes        | target      |
| a time limit passed                    | yes         | no         | target      |
| 5xx, a redirect, an invalid answer     | yes         | yes        | target      |
| 408, 425                               | yes         | yes        | target      |
| 429                                    | yes         | yes        | rate limit  |
| 401, 402; the account or key refused   | yes         | no         | credentials |
| 403 for no reason that is known        | yes         | no         | request     |
| 404 for the model, or its use refused  | yes         | no         | request     |
| any other 4xx: the request's fault     | no          | no         | request     |
| a limit of the gateway itself          | yes         | no         | gateway     |

The body wins over the status: ``dialects.refusal_rules`` has the signs. A status that
can mean several things is judged as what harms other clients least: a 403 is
answered to prompts as well as to keys, so it ejects nothing. A target that did not
answer in time is not asked again by the same request: that would double the wait.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gandalf.dialects.conversation import Failed
from gandalf.dialects.error_details import ErrorDetails
from gandalf.dialects.refusal_rules import refusal_of
from gandalf.domain.errors import (
    CredentialsRefused,
    Fault,
    Refusal,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gandalf.pipeline.retry_after import read_retry_after
from gandalf.providers.base import Headers, Provider
from gandalf.telemetry.redaction import redact

# Status of a refusal that came inside an answer, or with a 5xx.
_REFUSED = 400
# The reason that a status stands for where the body tells none.
_USUAL = {401: Refusal.CREDENTIALS, 402: Refusal.ACCOUNT, 429: Refusal.RATE_LIMIT}
_REFUSALS_OF_REQUESTS = frozenset(
    {Refusal.REQUEST, Refusal.CONTENT_POLICY, Refusal.CONTEXT_LENGTH, Refusal.MODEL}
)
# OpenAI's name of the operator's account, in its texts about limits.
_ACCOUNT = re.compile(r"\borg-\w+")


class FailurePolicy(NamedTuple):
    """The consequences of a failure."""

    failover: bool
    retry: bool
    """True if the same target may be asked again by the same request."""
    fault: Fault
    """The party at fault: the breakers count ``TARGET``, wait for ``RATE_LIMIT`` and
    take out the provider for ``CREDENTIALS``; the others say nothing of the target."""


def classify(error: UpstreamError) -> FailurePolicy:
    """Return the consequences of ``error``; the module's table is the contract."""
    fault = error.fault
    if fault is Fault.TARGET:
        again = not isinstance(error, UpstreamTimeout)
        return FailurePolicy(failover=True, retry=again, fault=fault)
    if fault is Fault.RATE_LIMIT:
        return FailurePolicy(failover=True, retry=True, fault=fault)
    if isinstance(error, UpstreamRefused):
        return FailurePolicy(error.failover, retry=False, fault=fault)
    return FailurePolicy(True, retry=False, fault=fault)


def error_of(
    provider: Provider, status: int, headers: Headers, body: bytes
) -> UpstreamError:
    """Return the error that an upstream's response with ``status`` stands for."""
    details = provider.dialect.read_error(body)
    if named := headers.get(b"x-amzn-errortype"):
        # AWS: the type, and behind a colon the place of its definition.
        kind = named.decode("latin-1").partition(":")[0]
        details = details._replace(
            code=details.code or kind, kinds=details.kinds | {kind.lower()}
        )
    error = _error(
        provider,
        status,
        details,
        read_retry_after(headers, details, limited=status == 429),
    )
    if isinstance(error, UpstreamRefused) and provider.relays_errors:
        error.body = _relayed(body)
    return error


def in_band_error(provider: Provider, failed: Failed) -> UpstreamError:
    """Return the error that an upstream put into a response with status 200."""
    status = failed.status if failed.status and failed.status >= _REFUSED else None
    kinds = frozenset({failed.code.lower()}) if failed.code else frozenset()
    details = ErrorDetails(
        failed.message or "it reported an error", failed.code, kinds=kinds
    )
    limited = status == 429
    return _error(
        provider, status, details, read_retry_after({}, details, limited=limited)
    )


def _error(
    provider: Provider,
    status: int | None,
    details: ErrorDetails,
    retry_after: float | None,
) -> UpstreamError:
    name, message = provider.name, _scrubbed(details.message)
    words = message or f"it answered {status}"
    refusal = refusal_of(
        provider.dialect.REFUSALS, status, details.kinds, details.message
    ) or _usual_refusal(status)
    if refusal is Refusal.CREDENTIALS:
        # Its text is about a secret, in a form that may not be known to redaction.
        return CredentialsRefused(
            name, upstream_status=status, detail=_detail(name, words)
        )
    if refusal is Refusal.ACCOUNT:
        return CredentialsRefused(
            name,
            f"{words} (about the gateway's account, not about this request)",
            refusal=refusal,
            upstream_status=status,
            retry_after=retry_after,
            detail=_detail(name, words),
        )
    if refusal is Refusal.RATE_LIMIT:
        return UpstreamRateLimited(
            name,
            message or "its rate limit is reached",
            upstream_status=status,
            retry_after=retry_after,
        )
    if refusal in _REFUSALS_OF_REQUESTS or _is_refusal(status):
        told = status if status is not None and status < 500 else _REFUSED
        return UpstreamRefused(
            name,
            words,
            status=told,
            upstream_status=status,
            # The status repeated (vLLM, OpenRouter) says nothing new.
            code=None if (details.code or "").isdigit() else details.code,
            param=details.param,
            refusal=refusal or Refusal.REQUEST,
            # Another target may know the model; and a 403 whose reason is not known
            # may be about the gateway after all.
            failover=refusal is Refusal.MODEL or (status == 403 and refusal is None),
        )
    kind = UpstreamUnavailable if status in (503, 529) else UpstreamError
    return kind(name, words, upstream_status=status, retry_after=retry_after)


def _usual_refusal(status: int | None) -> Refusal | None:
    return _USUAL.get(status) if status is not None else None


def _is_refusal(status: int | None) -> bool:
    return status is not None and 400 <= status < 500 and status not in (408, 425)


def _detail(provider: str, words: str) -> str:
    return f"provider '{provider}': {words}"


def _scrubbed(text: str) -> str:
    return _ACCOUNT.sub("org-***", redact(text))


def _relayed(body: bytes) -> bytes:
    """Return ``body`` for a client of the same dialect; empty if it is no JSON object.

    Untouched but for what looks like a secret.
    """
    if body.lstrip()[:1] not in (b"{", b"["):
        return b""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return b""
    scrubbed = _scrubbed(text)
    return body if scrubbed == text else scrubbed.encode()
