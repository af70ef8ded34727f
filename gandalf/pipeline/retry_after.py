"""Reads how long an upstream asks to wait, from its headers and from its error body.

In the order of trust:

- ``retry-after-ms`` (OpenAI, Azure) and ``x-ms-retry-after-ms`` (Azure);
- ``retry-after``: seconds, also fractions, or a date (RFC 9110, section 10.2.3);
- the body: Gemini's ``google.rpc.RetryInfo``, or a sentence such as "Please try again
  in 6m0s" (OpenAI), "Please retry after 37 seconds" (Azure);
- for a 429 the reset of the limit that is used up: ``x-ratelimit-reset-requests`` and
  ``-tokens`` (OpenAI: "6m0s"; Azure: seconds), ``anthropic-ratelimit-*-reset`` (RFC
  3339 or Unix time), ``x-ratelimit-reset`` (OpenRouter: Unix time in milliseconds).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from gandalf.dialects.error_details import ErrorDetails
from gandalf.providers.base import Headers

# A wait beyond this is taken for this: some upstreams say a day.
MAX_RETRY_AFTER = 3600.0

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNIT = r"(?:milliseconds?|ms|(?:hour|minute|min|second|sec|day)s?|[hmsd])(?![a-z])"
_PART = rf"\d+(?:\.\d+)?\s*{_UNIT}"
_PARTS = re.compile(rf"(\d+(?:\.\d+)?)\s*({_UNIT})", re.IGNORECASE)
_DURATION = re.compile(rf"(?:{_PART}\s*)+", re.IGNORECASE)
_SENTENCE = re.compile(
    r"(?:try(?:ing)? again|retry(?:ing)?|wait(?: for)?|resets?)\s+(?:in |after |for )?"
    rf"(?:about )?((?:{_PART}[\s,]*(?:and )?)+)",
    re.IGNORECASE,
)
_RESET = re.compile(
    r"(x-ratelimit-reset|x-ratelimit-reset-\w+|anthropic-ratelimit-[\w-]+-reset)"
)
# Larger numbers are Unix times: in seconds, and in milliseconds.
_UNIX_SECONDS = 1e8
_UNIX_MILLISECONDS = 1e11


def read_retry_after(
    headers: Headers,
    details: ErrorDetails | None = None,
    *,
    limited: bool = False,
    now: Callable[[], float] = time.time,
) -> float | None:
    """Return the seconds that an upstream asks to wait; None if it does not say.

    Args:
        headers: The response's.
        details: The content of its error body.
        limited: True for a 429, where the reset of a used-up limit counts.
        now: Tells the Unix time.
    """
    seconds = _asked_in_headers(headers, now)
    if seconds is None and details is not None:
        seconds = _asked_in_body(details)
    if seconds is None and limited:
        fields = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in headers.items()
        }
        seconds = _until_reset({**(details.headers if details else {}), **fields}, now)
    return None if seconds is None else min(max(0.0, seconds), MAX_RETRY_AFTER)


def _asked_in_headers(headers: Headers, now: Callable[[], float]) -> float | None:
    for name in (b"retry-after-ms", b"x-ms-retry-after-ms"):
        if (value := headers.get(name)) is not None:
            milliseconds = _number(value.decode("latin-1"))
            if milliseconds is not None:
                return milliseconds / 1000
    value = headers.get(b"retry-after")
    return None if value is None else _wait(value.decode("latin-1").strip(), now)


def _wait(text: str, now: Callable[[], float]) -> float | None:
    """Return the seconds in a field value: a number, a duration or a date."""
    if (seconds := _number(text)) is not None:
        return seconds
    if (seconds := _duration(text)) is not None:
        return seconds
    if (until := _date(text)) is not None:
        return until - now()
    first, comma, _ = text.partition(",")  # The field was sent twice.
    return _number(first) if comma else None


def _asked_in_body(details: ErrorDetails) -> float | None:
    delay = details.retry_delay
    if isinstance(delay, int | float):
        return float(delay)
    if delay is not None and (seconds := _duration(str(delay))) is not None:
        return seconds
    found = _SENTENCE.search(details.message)
    return None if found is None else _sum(found[1])


def _until_reset(fields: Mapping[str, str], now: Callable[[], float]) -> float | None:
    """Return the longest time until a used-up limit is restored."""
    return max(_resets(fields, now), default=None)


def _resets(fields: Mapping[str, str], now: Callable[[], float]) -> Iterator[float]:
    for name, value in fields.items():
        if _RESET.fullmatch(name) is None:
            continue
        left = fields.get(name.replace("reset", "remaining"))
        if left is not None and _number(left) != 0.0:
            continue  # It is not this limit that is used up.
        if (seconds := _reset(value.strip(), now)) is not None and seconds > 0:
            yield seconds


def _reset(text: str, now: Callable[[], float]) -> float | None:
    number = _number(text)
    if number is None:
        return _wait(text, now)
    if number >= _UNIX_MILLISECONDS:
        return number / 1000 - now()
    return number - now() if number >= _UNIX_SECONDS else number


def _duration(text: str) -> float | None:
    return _sum(text) if _DURATION.fullmatch(text.strip()) else None


def _sum(text: str) -> float:
    seconds = 0.0
    for number, unit in _PARTS.findall(text):
        word = unit.lower()
        short = "ms" if word.startswith(("ms", "milli")) else word[0]
        seconds += float(number) * _UNITS[short]
    return seconds


def _date(text: str) -> float | None:
    """Return the Unix time of an HTTP date or an RFC 3339 one; None if it is none.

    A date without a zone, or with ``-0000``, is read as UTC.
    """
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            date = parse(text)
            return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError, TypeError, IndexError):
            continue
    return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
