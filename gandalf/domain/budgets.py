"""Budgets: how much a scope may spend in a window, in which unit.

Amounts are integers of the budget's unit: nano-USD, tokens or requests. An account is
one budget of one subject: the budget ``each team, 100 USD a month`` has an account for
every team.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import msgspec

from gandalf.domain.windows import Period, period

NANO = 1_000_000_000
"""Nano-USD in one USD."""

KEY_BUDGET = "max_budget"
"""Name of the budget that ``max_budget`` of a key stands for."""


TAG = re.compile(r"[A-Za-z0-9._:/=@+-]{1,64}")
"""A tag of a request."""

MAX_TAGS = 10
"""Tags of one request, those of its key included."""


class Scope(enum.StrEnum):
    """What a budget limits the spending of."""

    KEY = "key"
    USER = "user"
    TEAM = "team"
    ORGANIZATION = "organization"
    ALIAS = "alias"
    PROVIDER = "provider"
    TAG = "tag"
    GLOBAL = "global"


class Unit(enum.StrEnum):
    """What a budget counts."""

    USD = "usd"
    TOKENS = "tokens"
    REQUESTS = "requests"


class Subjects(msgspec.Struct, frozen=True, gc=False):
    """Who and what a request is charged to."""

    key_id: str
    org_id: str
    team_id: str | None = None
    user_id: str | None = None
    alias: str = ""
    providers: tuple[str, ...] = ()
    """Before the request: each that may be asked. Afterwards: the one that served."""
    tags: tuple[str, ...] = ()

    def in_scope(self, scope: Scope) -> tuple[str, ...]:
        """Return the subjects in ``scope``."""
        match scope:
            case Scope.PROVIDER:
                return self.providers
            case Scope.TAG:
                return self.tags
            case Scope.GLOBAL:
                return ("",)
            case Scope.KEY:
                one: str | None = self.key_id
            case Scope.USER:
                one = self.user_id
            case Scope.TEAM:
                one = self.team_id
            case Scope.ORGANIZATION:
                one = self.org_id
            case _:
                one = self.alias
        return (one,) if one else ()


class Rule(msgspec.Struct, frozen=True):
    """What is summed up: the spending of each subject of a scope, by window.

    Several budgets may look at the same sums. Sums survive changes of a budget's name,
    limit and thresholds, but not of its rule.
    """

    scope: Scope
    subject: str
    """The only subject. Empty: each subject of the scope, separately."""
    window: str
    """``lifetime``, ``hour``, ``day``, ``week``, ``month`` or rolling days (``7d``)."""
    time_zone: str
    unit: Unit

    @property
    def period(self) -> Period:
        return period(self.window, self.time_zone)

    @property
    def name(self) -> str:
        """Identifies the rule in the database: ``team=blue/month@UTC/usd``."""
        subject = f"={self.subject}" if self.subject else ""
        return f"{self.scope}{subject}/{self.period.name}/{self.unit}"

    def subjects(self, subjects: Subjects) -> Iterator[str]:
        """Yield the subjects among ``subjects`` that the rule is about."""
        for subject in subjects.in_scope(self.scope):
            if not self.subject or subject == self.subject:
                yield subject


KEY_RULE = Rule(Scope.KEY, "", "lifetime", "UTC", Unit.USD)
"""What ``max_budget`` of keys looks at. Always summed up, for a key may get one."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A limit on the sums of a rule."""

    name: str
    rule: Rule
    limit: int
    hard: bool = True
    """Whether requests that do not fit are refused. Otherwise it only notifies."""
    thresholds: tuple[int, ...] = (50, 80, 100)
    """Percent of the limit at which to notify, once in a window; ascending."""


class Tracked(NamedTuple):
    """Rules that balances are kept of from now on, and their sums until then."""

    rules: tuple[Rule, ...]
    sums: dict[tuple[str, str], dict[int, int]]
    """By rule and subject, then by start of window."""


class Raise(NamedTuple):
    """A temporary addition to the limit of a budget."""

    id: str
    budget: str
    subject: str
    """Empty: every subject of the budget."""
    amount: int
    """In the budget's unit."""
    until: int
    """Unix time in seconds from which it is over."""


class Told(NamedTuple):
    """A threshold of a subject's budget that was told of in a window."""

    budget: str
    subject: str
    threshold: int
    """Percent of the limit."""
    window_start: int


class Drift(NamedTuple):
    """A balance that is not the sum of its usage records."""

    rule: str
    subject: str
    window_start: int
    spent: int
    """The balance."""
    total: int
    """The sum over the records."""
    first_row: str
    """Id of the first record that was not charged as it says; "" if there is none."""


def tag_values(tags: Iterable[str]) -> dict[str, str]:
    """Return tags as names with values: what follows a ``=`` is the value."""
    return {name: value for name, _, value in (tag.partition("=") for tag in tags)}


def tag_names(values: dict[str, str]) -> tuple[str, ...]:
    """Return names with values as tags of requests: ``project=x``.

    What cannot be one, a value with blanks for instance, is left out.
    """
    joined = (f"{name}={value}" if value else name for name, value in values.items())
    return tuple(filter(TAG.fullmatch, joined))[:MAX_TAGS]


def parse_amount(text: str, unit: Unit) -> int:
    """Return the amount written as ``text``: USD may have up to 9 decimals.

    Raises:
        ValueError: It is no number, negative, or has too many decimals.
    """
    try:
        value = Decimal(text.replace("_", "")) * (NANO if unit is Unit.USD else 1)
    except InvalidOperation:
        raise ValueError(f"not a number: {text!r}") from None
    if not value.is_finite() or value < 0 or value != int(value) or value > 2**62:
        raise ValueError(f"not an amount of {unit}: {text!r}")
    return int(value)


def format_amount(amount: int, unit: Unit) -> str:
    """Return ``amount`` for people: ``1.25 USD``, ``1200 tokens``."""
    if unit is not Unit.USD:
        return f"{amount} {unit}"
    return f"{usd(amount)} USD"


def usd(nanousd: int) -> str:
    """Return ``nanousd`` as USD, exactly, with at least two decimals."""
    sign = "-" if nanousd < 0 else ""
    whole, rest = divmod(abs(nanousd), NANO)
    decimals = f"{rest:09d}".rstrip("0")
    return f"{sign}{whole}.{decimals:0<2}"
