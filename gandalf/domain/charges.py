"""What a usage record charges to which sums: the one definition of ``spent``.

The ledger in memory and the balances in the database follow it, so that they can be
compared to the nano-USD.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from gandalf.domain.budgets import Rule, Scope, Unit
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


class Charger:
    """Adds up what records charge. Made once for many records.

    Args:
        rules: What is summed up.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = [
            (
                rule.name,
                rule.subject,
                rule.period.window,
                _SUBJECTS[rule.scope],
                _AMOUNTS[rule.unit],
            )
            for rule in rules
        ]
        self.totals: dict[tuple[str, str, int], int] = {}
        """Amounts by rule, subject and start of window."""

    def add(self, record: UsageRecord, sign: int = 1) -> None:
        """Add ``record``, or take it away again."""
        at = record.charged_at
        if not at:
            return
        totals = self.totals
        for name, only, window, subjects_of, amount_of in self._rules:
            for subject in subjects_of(record):
                if subject is not None and (not only or subject == only):
                    key = (name, subject, window(at)[0])
                    totals[key] = totals.get(key, 0) + sign * amount_of(record)

    def charges(self) -> Iterator[Charge]:
        """Yield the totals."""
        for (rule, subject, window), amount in self.totals.items():
            yield Charge(rule, subject, window, amount)


def charges(rules: Iterable[Rule], record: UsageRecord) -> Iterator[Charge]:
    """Yield what ``record`` adds to the sums of ``rules``."""
    charger = Charger(rules)
    charger.add(record)
    return charger.charges()


def _named(text: str) -> tuple[str, ...]:
    # A request without an alias or a provider is in no account of these scopes.
    return (text,) if text else ()


_SUBJECTS: dict[Scope, Callable[[UsageRecord], tuple[str | None, ...]]] = {
    Scope.KEY: lambda record: _named(record.key_id),
    Scope.USER: lambda record: (record.user_id,),
    Scope.TEAM: lambda record: (record.team_id,),
    Scope.ORGANIZATION: lambda record: _named(record.org_id),
    Scope.ALIAS: lambda record: _named(record.alias),
    Scope.PROVIDER: lambda record: _named(record.provider),
    Scope.TAG: lambda record: record.tags,
    Scope.GLOBAL: lambda record: ("",),
}
_AMOUNTS: dict[Unit, Callable[[UsageRecord], int]] = {
    Unit.USD: lambda record: record.charged_nanousd,
    Unit.TOKENS: lambda record: record.tokens.total_tokens,
    Unit.REQUESTS: lambda record: 1,
}
