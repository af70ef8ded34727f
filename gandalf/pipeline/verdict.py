"""What a failed attempt means: for the client, the next target and the breaker.

| what happened                        | next target | same again | breaker weight |
|--------------------------------------|-------------|------------|----------------|
| no connection, or it broke           | yes         | yes        | 1.0            |
| a time limit passed                  | yes         | no         | 1.5            |
| 408, 409, 424, 425                   | yes         | yes        | 1.0            |
| 429                                  | yes         | yes        | 0.5            |
| 401, 402: our key or account is dead | yes         | no         | 0, benched     |
| 403: our key may not                 | yes         | no         | 0              |
| 5xx, a redirect, an answer that is none | yes      | yes        | 1.0            |
| any other 4xx: the request's fault   | no          | no         | 0              |

A silent target is not asked again by the same request: that would double the wait.
A 403 does not bench, for some providers answer it to a prompt they dislike, and one
caller's prompts must not take a target away from the others.
"""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from gandalf.dialects.conversation import Failed
from gandalf.domain.errors import (
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gandalf.providers.base import Headers, Provider

# Seconds without a single try after a provider said that our key is no good. Long
# enough not to hammer it, short enough that a mended key is back soon.
DEAD_KEY_BENCH = 30.0
# What says so behind another status: Gemini answers 400 to a key that is none.
DEAD_KEY_CODES = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED"})
# A Retry-After beyond this is taken for this: some upstreams say a day.
MAX_RETRY_AFTER = 3600.0


# What OpenAI calls the operator's account when it speaks of a limit.
_ACCOUNT = re.compile(r"\borg-\w+")


class Verdict(NamedTuple):
    """How a failure is dealt with."""

    failover: bool
    retry: bool
    """Whether the same target may be asked again by the same request."""
    weight: float
    """What it counts in the target's breaker. 0: it says nothing of its health."""
    bench: float = 0.0
    """Seconds for which the target is not to be tried at all."""


def judge(error: UpstreamError) -> Verdict:
    """Return what follows from ``error``; the module's table is its contract."""
    if isinstance(error, UpstreamTimeout):
        return Verdict(failover=True, retry=False, weight=1.5)
    if isinstance(error, UpstreamRefused):
        return Verdict(failover=False, retry=False, weight=0.0)
    status = error.upstream_status
    if status in (401, 402):
        return Verdict(failover=True, retry=False, weight=0.0, bench=DEAD_KEY_BENCH)
    if status == 403:
        return Verdict(failover=True, retry=False, weight=0.0)
    weight = 0.5 if status == 429 else 1.0
    return Verdict(True, retry=True, weight=weight, bench=error.retry_after or 0.0)


def error_of(
    provider: Provider, status: int, headers: Headers, body: bytes
) -> UpstreamError:
    """Return the error that an upstream's response with ``status`` stands for."""
    message, code, param = provider.dialect.read_error(body)
    name = provider.name
    retry_after = read_retry_after(headers)
    if code in DEAD_KEY_CODES:
        status = 401
    if status in (401, 402, 403):
        # Its text is about the gateway's credentials, and none of the client's
        # business; the record says which provider it was.
        return UpstreamError(
            name,
            "the provider refused the gateway's credentials",
            upstream_status=status,
        )
    if status == 429:
        return UpstreamRateLimited(
            name,
            _ACCOUNT.sub("org-***", message) or "the provider's rate limit is reached",
            upstream_status=status,
            retry_after=retry_after,
        )
    if status in (503, 529):
        return UpstreamUnavailable(
            name,
            message or "the provider is overloaded",
            upstream_status=status,
            retry_after=retry_after,
        )
    if 400 <= status < 500 and status not in (408, 409, 424, 425):
        return UpstreamRefused(
            name,
            message or f"the provider answered {status}",
            upstream_status=status,
            code=code,
            param=param,
            body=body if message and provider.relays_errors else b"",
        )
    return UpstreamError(
        name,
        message or f"the provider answered {status}",
        upstream_status=status,
        retry_after=retry_after,
    )


def hidden_error(provider: Provider, failed: Failed) -> UpstreamError:
    """Return the error that an upstream put into a response with status 200."""
    message = failed.message or "the upstream reported an error"
    if failed.status is None or failed.status < 400:
        return UpstreamError(provider.name, message)
    error = error_of(provider, failed.status, {}, b"")
    if failed.status not in (401, 402, 403):
        error.message = message
    return error


def read_retry_after(headers: Headers) -> float | None:
    """Return the seconds that ``retry-after`` or ``retry-after-ms`` asks for.

    RFC 9110, section 10.2.3: a number of seconds or a date.
    """
    if (milliseconds := _number(headers.get(b"retry-after-ms"))) is not None:
        return min(milliseconds / 1000, MAX_RETRY_AFTER)
    value = headers.get(b"retry-after")
    if value is None:
        return None
    if (seconds := _number(value)) is not None:
        return min(seconds, MAX_RETRY_AFTER)
    try:
        until = parsedate_to_datetime(value.decode("ascii")).timestamp()
    except ValueError:
        return None
    return min(max(0.0, until - time.time()), MAX_RETRY_AFTER)


def _number(value: bytes | None) -> float | None:
    try:
        number = float(value or b"")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
