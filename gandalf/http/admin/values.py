"""Values that several endpoints of the admin API take or show."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

from gandalf.domain.budgets import Unit, parse_amount
from gandalf.http.admin.problems import FieldError, InvalidRequest

MAX_TEXT = 200

MAX_COUNT = 10**12
"""The highest limit; the database counts up to 2**63."""

MIN_UNIX, MAX_UNIX = -62_135_596_800, 253_402_300_799
"""Unix times of the years 1 to 9999, in UTC: others cannot be shown."""

Usd = Annotated[float, Meta(ge=0, le=1_000_000)]
"""An amount of USD, of which a float has every nano-USD."""

Names = Annotated[list[Annotated[str, Meta(max_length=256)]], Meta(max_length=1000)]
"""A list of names."""
Labels = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=64)],
        Annotated[str, Meta(max_length=256)],
    ],
    Meta(max_length=64),
]
"""Tags or metadata: up to 64 names of up to 64 characters, with their values."""


def rfc3339(at: float | None) -> str | None:
    """Return the Unix time ``at`` as RFC 3339 has it, in UTC."""
    if at is None:
        return None
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")


def unix(field: str, at: datetime | None) -> float | None:
    """Return ``at`` as Unix time in seconds.

    Raises:
        InvalidRequest: It has no time zone, or cannot be shown in UTC.
    """
    if at is None:
        return None
    if at.tzinfo is None:
        raise InvalidRequest(
            f"invalid {field} format, use RFC3339",
            FieldError(field, "needs a time zone, such as Z"),
        )
    if not MIN_UNIX <= at.timestamp() <= MAX_UNIX:
        message = "expected a time in the years 1 to 9999, in UTC"
        raise InvalidRequest(f"{field}: {message}", FieldError(field, message))
    return at.timestamp()


def nanousd(field: str, amount: float | None) -> int | None:
    """Return ``amount`` USD in nano-USD, exactly as its decimal digits say.

    Raises:
        InvalidRequest: It has more than 9 decimals.
    """
    if amount is None:
        return None
    try:
        return parse_amount(repr(amount), Unit.USD)
    except ValueError:
        message = "expected an amount of USD with up to 9 decimals"
        raise InvalidRequest(
            f"{field}: {message}", FieldError(field, message)
        ) from None


def text(field: str, value: str) -> str:
    """Return ``value``. Raises InvalidRequest if it is long or not printable."""
    if len(value) > MAX_TEXT or not value.isprintable():
        message = f"expected up to {MAX_TEXT} printable characters"
        raise InvalidRequest(f"{field}: {message}", FieldError(field, message))
    return value


def names(field: str, values: Iterable[str]) -> tuple[str, ...]:
    """Return ``values``. Raises InvalidRequest if one is empty or not printable."""
    listed = tuple(values)
    for i, name in enumerate(listed):
        if not name or not name.isascii() or not name.isprintable():
            message = "expected printable ASCII text"
            where = f"{field}[{i}]"
            raise InvalidRequest(f"{where}: {message}", FieldError(where, message))
    return listed
