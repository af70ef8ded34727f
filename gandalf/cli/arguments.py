"""Types of arguments. Their error messages say what was expected."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime


def count(text: str) -> int:
    """Return a whole number of at least 0."""
    try:
        value = int(text)
    except ValueError:
        raise _expected("a whole number", text) from None
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def number(text: str) -> float:
    """Return a number."""
    try:
        return float(text)
    except ValueError:
        raise _expected("a number", text) from None


def seconds(text: str) -> float:
    """Return a duration above 0 in seconds."""
    from gandalf.config.scalars import duration

    try:
        value = duration(text)
    except ValueError:
        raise _expected("a duration such as 30s, 12h or 90d", text) from None
    if value <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def moment(text: str) -> float:
    """Return a moment as Unix time; without a time zone it is in UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _expected("a time such as 2026-12-01T08:00", text) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def rfc3339(text: str) -> str:
    """Return a moment as RFC 3339; without a time zone it is in UTC."""
    return datetime.fromtimestamp(moment(text), UTC).isoformat().replace("+00:00", "Z")


def texts(text: str) -> list[str]:
    """Return the items of ``a,b,c``."""
    found = [item for part in text.split(",") if (item := part.strip())]
    if text and not found:
        # Not the same as naming none, which often allows all.
        raise argparse.ArgumentTypeError("names nothing")
    return found


def pairs(text: str) -> dict[str, str]:
    """Return names and values of ``a,b=c``; a name alone has an empty value."""
    found = [item.partition("=") for item in texts(text)]
    if not all(name for name, _, _ in found):
        raise _expected("name=value, or name", text)
    return {name: value for name, _, value in found}


def _expected(what: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"expected {what}, found {text!r}")
