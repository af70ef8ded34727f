"""Compares the balances of budgets with the usage records, summed up by SQLite.

It shares nothing with the way in which balances are made but the calendar, so that a
fault there shows here. Each sum is one statement whose result is one value: SQLite
works without the interpreter's lock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from gandalf.domain.budgets import Drift, Rule, Scope, Unit
from gandalf.domain.usage import OtherUsage, TokenUsage
from gandalf.domain.windows import FOREVER
from gandalf.storage import balances

_SUBJECTS = {
    Scope.KEY: "record ->> 5",
    Scope.ORGANIZATION: "record ->> 6",
    Scope.TEAM: "record ->> 7",
    Scope.USER: "record ->> 8",
    Scope.ALIAS: "record ->> 9",
    Scope.PROVIDER: "record ->> 10",
    Scope.TAG: "tag.value",
    Scope.GLOBAL: "''",
}
_OTHER = (
    "image_input",
    "audio_cache_read",
    "image_cache_read",
    "video_input",
    "citation",
    "image_output",
    "video_output",
)
_TOKENS = " + ".join(
    [
        f"coalesce(record ->> '$[17][{place}]', 0)"
        for place, name in enumerate(TokenUsage.__struct_fields__)
        if name != "other"
    ]
    + [
        f"coalesce(record ->> '$[17][8].{name}', 0)"
        for name in OtherUsage.__struct_fields__
        if name in _OTHER
    ]
)
_AMOUNTS = {
    Unit.USD: "coalesce(record ->> 30, 0)",
    Unit.TOKENS: _TOKENS,
    Unit.REQUESTS: "1",
}
_CHARGED_AT = "record ->> 29"

_sums_of = msgspec.json.Decoder(dict[str, int]).decode


def audit(connection: sqlite3.Connection, since: int = 0) -> list[Drift]:
    """Return the balances that are not the sums of their records.

    Args:
        connection: The database, as of one moment.
        since: Only windows that end after this Unix time are looked at.
    """
    return [
        drift
        for rule in balances.tracked(connection)
        for window in _windows(connection, rule, since)
        for drift in _differing(connection, rule, window)
    ]


def _windows(connection: sqlite3.Connection, rule: Rule, since: int) -> list[int]:
    """Return the starts of the windows to look at."""
    rows = connection.execute(
        "SELECT DISTINCT window_start FROM balances WHERE rule = ?", (rule.name,)
    ).fetchall()
    period = rule.period
    return [start for (start,) in rows if period.window(start).end > since]


def _differing(
    connection: sqlite3.Connection, rule: Rule, start: int
) -> Iterator[Drift]:
    end = rule.period.window(start).end
    totals = _totals(connection, rule, start, end)
    for subject, spent, archived in connection.execute(
        "SELECT subject, spent, archived FROM balances"
        " WHERE rule = ? AND window_start = ?",
        (rule.name, start),
    ).fetchall():
        total = totals.pop(subject, 0) + archived
        if total != spent:
            row = _first_row(connection, rule, subject, start, end)
            yield Drift(rule.name, subject, start, spent, total, row)
    for subject, total in totals.items():
        if total:
            row = _first_row(connection, rule, subject, start, end)
            yield Drift(rule.name, subject, start, 0, total, row)


def _totals(
    connection: sqlite3.Connection, rule: Rule, start: int, end: int
) -> dict[str, int]:
    # The names are constants of this module.
    query = (
        f"SELECT json_group_object(subject, total) FROM ("  # noqa: S608
        f" SELECT {_SUBJECTS[rule.scope]} AS subject,"
        f" sum({_AMOUNTS[rule.unit]}) AS total"
        f" FROM {_rows(rule)} GROUP BY subject)"
        " WHERE subject IS NOT NULL AND (?4 = '' OR subject = ?4)"
        f" {_NAMED.get(rule.scope, '')}"
    )
    found = connection.execute(query, (*_bounds(start, end), rule.subject))
    return _sums_of(found.fetchone()[0])


# A request without an alias or a provider is in no account of these scopes.
_NAMED = {
    Scope.ALIAS: "AND subject <> ''",
    Scope.PROVIDER: "AND subject <> ''",
    Scope.KEY: "AND subject <> ''",
    Scope.ORGANIZATION: "AND subject <> ''",
}


def _rows(rule: Rule) -> str:
    tags = ", json_each(record, '$[28]') AS tag" if rule.scope is Scope.TAG else ""
    return (
        f"requests{tags} WHERE requests.id >= ?3 AND {_CHARGED_AT} > 0"
        f" AND {_CHARGED_AT} >= ?1 AND {_CHARGED_AT} < ?2"
    )


def _bounds(start: int, end: int) -> tuple[int, int, str]:
    """Return the window, and an id that those of its requests come after.

    Ids begin with the milliseconds at which they were made; a request may be charged
    some time after it came in, an upload for one.
    """
    earliest = max(0, start - 86_400) * 1000
    digits = f"{earliest:012x}"
    return start, min(end, FOREVER), f"{digits[:8]}-{digits[8:]}" if start else ""


def _first_row(
    connection: sqlite3.Connection, rule: Rule, subject: str, start: int, end: int
) -> str:
    found = connection.execute(
        f"SELECT min(requests.id) FROM {_rows(rule)}"  # noqa: S608 - constants
        f" AND {_SUBJECTS[rule.scope]} IS ?4"
        f" AND charged IS NOT {_AMOUNTS[Unit.USD]}",
        (*_bounds(start, end), subject),
    ).fetchone()
    return found[0] or ""
