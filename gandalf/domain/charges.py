"""What a usage record charges to which sums: the one definition of ``spent``.

The ledger in memory, the balances in the database and the audit all follow it, so they
can be compared to the nano-USD.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gandalf.domain.budgets import Rule, Subjects, Unit
from gandalf.domain.usage import UsageRecord


class Charge(NamedTuple):
    """An amount that is added to one sum."""

    rule: str
    """The rule's name."""
    subject: str
    window: int
    """Start of the window, Unix time in seconds."""
    amount: int
    """In the rule's unit."""


def charges(rules: Iterable[Rule], record: UsageRecord) -> list[Charge]:
    """Return what ``record`` adds to the sums of ``rules``."""
    at = record.charged_at
    if not at:
        return []
    subjects = Subjects(
        key_id=record.key_id,
        org_id=record.org_id,
        team_id=record.team_id,
        user_id=record.user_id,
        alias=record.alias,
        providers=(record.provider,) if record.provider else (),
        tags=record.tags,
    )
    found = []
    for rule in rules:
        amount = _amount(rule.unit, record)
        for subject in rule.subjects(subjects):
            window = rule.period.window(at).start
            found.append(Charge(rule.name, subject, window, amount))
    return found


def _amount(unit: Unit, record: UsageRecord) -> int:
    if unit is Unit.USD:
        return record.charged_nanousd
    return record.tokens.total_tokens if unit is Unit.TOKENS else 1
