"""The balances of budgets: what each subject has spent under each rule, by window.

They change in the transaction that inserts the usage records, so that at any moment the
balance of a window is the sum of its records. ``gandalf.domain.charges`` defines what a
record adds. Balances of a rule begin with the records that are there when the rule is
first tracked, and are deleted once no budget looks at it.

All functions run in the database's threads, inside a transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from gandalf.domain.budgets import Rule, Tracked
from gandalf.domain.charges import Charger
from gandalf.domain.usage import UsageRecord

Sums = dict[tuple[str, str], dict[int, int]]
"""What is spent, by rule and subject, then by start of window."""

# Records that are read at a time where many are added up.
BATCH_ROWS = 1000

_record_of = msgspec.json.Decoder(UsageRecord).decode
_rule_of = msgspec.json.Decoder(Rule).decode
_strings_of = msgspec.json.Decoder(list[str]).decode


def track(connection: sqlite3.Connection, rules: Sequence[Rule]) -> Tracked:
    """Track ``rules`` and no others; return those that are new."""
    wanted = {rule.name: rule for rule in rules}
    known = set(_names(connection))
    if known == wanted.keys():
        return Tracked((), {})
    for name in known - wanted.keys():
        connection.execute("DELETE FROM balances WHERE rule = ?", (name,))
        connection.execute("DELETE FROM balance_rules WHERE rule = ?", (name,))
    new = [rule for name, rule in wanted.items() if name not in known]
    charger = _charged(connection, new)
    for rule in new:
        definition = msgspec.json.encode(rule).decode()
        connection.execute(
            "INSERT INTO balance_rules VALUES (?, ?)", (rule.name, definition)
        )
    _add(connection, charger)
    found: Sums = {}
    for name, subject, window, amount in charger.charges():
        found.setdefault((name, subject), {})[window] = amount
    return Tracked(tuple(new), found)


def charge(
    connection: sqlite3.Connection,
    rules: Sequence[Rule],
    records: Iterable[UsageRecord],
) -> None:
    """Add what ``records`` charge; they must have been inserted just now."""
    charger = Charger(rules)
    for record in records:
        charger.add(record)
    _add(connection, charger)


def correct(
    connection: sqlite3.Connection,
    rules: Sequence[Rule],
    changed: Iterable[tuple[UsageRecord, UsageRecord]],
) -> None:
    """Correct the balances after records were changed, given each before and after."""
    charger = Charger(rules)
    for before, after in changed:
        charger.add(before, -1)
        charger.add(after)
    _add(connection, charger)


def archive(
    connection: sqlite3.Connection,
    rules: Sequence[Rule],
    records: Iterable[UsageRecord],
) -> None:
    """Note that ``records`` are about to be deleted; balances keep what they spent."""
    charger = Charger(rules)
    for record in records:
        charger.add(record)
    _add(connection, charger, column="archived")


def tracked(connection: sqlite3.Connection) -> list[Rule]:
    """Return the rules that balances are kept of."""
    rows = connection.execute("SELECT definition FROM balance_rules ORDER BY rule")
    return [_rule_of(definition) for (definition,) in rows.fetchall()]


def load(connection: sqlite3.Connection) -> Sums:
    """Return all balances."""
    found: Sums = {}
    for rule, subject, window, spent in connection.execute(
        "SELECT rule, subject, window_start, spent FROM balances"
    ).fetchall():
        found.setdefault((rule, subject), {})[window] = spent
    return found


def _charged(connection: sqlite3.Connection, rules: Sequence[Rule]) -> Charger:
    """Return the sums of ``rules`` over all usage records."""
    charger = Charger(rules)
    if rules:
        for record in _records(connection):
            charger.add(record)
    return charger


def _names(connection: sqlite3.Connection) -> list[str]:
    # As one value: each row more is another wait for the interpreter's lock.
    row = connection.execute("SELECT json_group_array(rule) FROM balance_rules")
    return _strings_of(row.fetchone()[0])


def _add(
    connection: sqlite3.Connection, charger: Charger, column: str = "spent"
) -> None:
    totals = charger.totals
    if not totals:
        return
    rows = [(*key, amount) for key, amount in totals.items()]
    # One statement, so that the interpreter's lock is not taken once a row.
    connection.execute(
        f"INSERT INTO balances (rule, subject, window_start, spent, archived)"  # noqa: S608 - constant
        " SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, 0"
        " FROM json_each(?) WHERE true ON CONFLICT DO UPDATE"
        f" SET {column} = {column} + excluded.spent",
        (msgspec.json.encode(rows).decode(),),
    )


def _records(connection: sqlite3.Connection) -> Iterator[UsageRecord]:
    last = ""
    while True:
        rows = connection.execute(
            "SELECT id, record FROM requests WHERE id > ? ORDER BY id LIMIT ?",
            (last, BATCH_ROWS),
        ).fetchall()
        for _, document in rows:
            yield _record_of(document)
        if len(rows) < BATCH_ROWS:
            return
        last = rows[-1][0]
