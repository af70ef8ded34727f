"""Budget accounts: what one subject has spent and reserved under one rule.

An account holds the sums of its windows and the budgets that limit them. It decides
nothing of its own accord: the ledger asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gandalf.domain.budgets import Budget, Raise, Rule, Told, Unit
from gandalf.domain.windows import FOREVER

COST, TOKENS, REQUESTS = 0, 1, 2
"""Places in the amounts of a request."""

_PLACES = {Unit.USD: COST, Unit.TOKENS: TOKENS, Unit.REQUESTS: REQUESTS}


class Bucket:
    """The sums of one window."""

    __slots__ = ("counted", "reserved", "spent", "start")

    def __init__(self, start: int, spent: int = 0) -> None:
        self.start = start
        self.spent = spent
        self.reserved = 0
        self.counted = True
        """Whether it is part of its account's sums still."""


class Account:
    """The spending of one subject under one rule, in the present window.

    Args:
        rule: What is summed up.
        subject: Whose spending.
    """

    __slots__ = (
        "budgets",
        "current",
        "end",
        "hard_limit",
        "key",
        "next_threshold",
        "notified",
        "older",
        "period",
        "place",
        "raises",
        "reserved",
        "rule",
        "spent",
        "subject",
        "valid_until",
    )

    def __init__(self, rule: Rule, subject: str) -> None:
        self.rule = rule
        self.subject = subject
        self.key = (rule.name, subject)
        self.period = rule.period
        self.place = _PLACES[rule.unit]
        """Place of the rule's unit in the amounts of a request."""
        self.budgets: tuple[Budget, ...] = ()
        self.raises: tuple[Raise, ...] = ()
        self.current = Bucket(0)
        self.older: list[Bucket] = []
        """Of rolling periods: earlier days that count still, oldest first."""
        self.end = 0
        """Unix time at which the present window ends."""
        self.spent = 0
        """Settled, in all windows that count."""
        self.reserved = 0
        """Held by open reservations, likewise."""
        self.hard_limit = FOREVER
        """The lowest limit of a hard budget, raises included."""
        self.next_threshold = FOREVER
        """The least spending at which there is something to notify of."""
        self.notified: dict[tuple[str, int], int] = {}
        """Thresholds that were notified of, by budget and percent: start of window."""
        self.valid_until = 0
        """Unix time at which ``refresh`` must be called again."""

    def refresh(self, now: int) -> None:
        """Enter the window of ``now``, and apply the raises that hold then."""
        if now >= self.end:
            self._roll(now)
        self.raises = tuple(each for each in self.raises if each.until > now)
        self.valid_until = min((each.until for each in self.raises), default=self.end)
        self.valid_until = min(self.valid_until, self.end)
        self.hard_limit = min(
            (self.limit(budget) for budget in self.budgets if budget.hard),
            default=FOREVER,
        )
        self._arm()

    def limit(self, budget: Budget) -> int:
        """Return the limit of ``budget`` here, raises included."""
        raised = sum(
            each.amount
            for each in self.raises
            if each.budget == budget.name and each.subject in ("", self.subject)
        )
        return budget.limit + raised

    def set_limits(self, budgets: Iterable[Budget], raises: Iterable[Raise]) -> None:
        """Replace the budgets that limit the account, and all raises."""
        self.budgets = tuple(budgets)
        names = {budget.name for budget in self.budgets}
        self.raises = tuple(each for each in raises if each.budget in names)
        self.valid_until = 0

    def replace_sums(self, spent: Mapping[int, int], now: int) -> None:
        """Set what is settled, by start of window; reservations stay."""
        self.refresh(now)
        first = self.period.first_counted(self.period.window(self.current.start))
        known = {bucket.start: bucket for bucket in (*self.older, self.current)}
        for start in spent:
            if start not in known and first <= start < self.current.start:
                known[start] = Bucket(start)
        for start, bucket in known.items():
            bucket.spent = spent.get(start, 0)
        del known[self.current.start]
        self.older = [known[start] for start in sorted(known)]
        self.spent = sum(bucket.spent for bucket in (*self.older, self.current))
        self._arm()

    def crossings(self) -> list[Crossing]:
        """Return the thresholds reached since the last call, and arm the next one."""
        reached = [
            Crossing(self, budget, threshold)
            for budget in self.budgets
            for threshold in budget.thresholds
            if (budget.name, threshold) not in self.notified
            and self.spent >= self._threshold(budget, threshold)
        ]
        for _, budget, threshold in reached:
            self.notified[budget.name, threshold] = self.current.start
        self._arm()
        return reached

    def note_told(self, told: Told) -> None:
        """Do not tell again of a threshold that was told of in the present window."""
        first = self.period.first_counted(self.period.window(self.current.start))
        if told.window_start >= first:
            self.notified[told.budget, told.threshold] = told.window_start
            self._arm()

    def refuser(self, amount: int) -> Budget:
        """Return the hard budget that has no room for ``amount``; the smallest one."""
        hard = [budget for budget in self.budgets if budget.hard]
        return min(hard, key=self.limit)

    def left(self, budget: Budget) -> int:
        """Return what ``budget`` has room for now; not negative."""
        return max(0, self.limit(budget) - self.spent - self.reserved)

    def room_at(self, amount: int, limit: int) -> int | None:
        """Return from when on ``amount`` fits below ``limit``, if nothing else comes.

        Unix seconds: of the end of the window, or of the day on which enough leaves a
        rolling period. None: it never fits, or the window never ends.
        """
        if amount > limit or self.end == FOREVER:
            return None
        excess = self.spent + amount - limit
        for bucket in (*self.older, self.current):
            excess -= bucket.spent
            if excess <= 0:
                return self.period.leaves_at(bucket.start)
        return self.end

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost with the account."""
        return not (self.spent or self.reserved or self.older or self.current.reserved)

    def _roll(self, now: int) -> None:
        window = self.period.window(now)
        first = self.period.first_counted(window)
        if self.end:
            self.older.append(self.current)
        while self.older and self.older[0].start < first:
            gone = self.older.pop(0)
            gone.counted = False
            self.spent -= gone.spent
            self.reserved -= gone.reserved
        self.current = Bucket(window.start)
        self.end = window.end
        if self.period.days == 1:
            self.notified.clear()
        else:
            # A rolling period has no end: a threshold is armed again once the
            # spending has fallen below it.
            limits = {budget.name: budget for budget in self.budgets}
            self.notified = {
                (name, threshold): start
                for (name, threshold), start in self.notified.items()
                if name in limits
                and self.spent >= self._threshold(limits[name], threshold)
            }

    def _threshold(self, budget: Budget, percent: int) -> int:
        # Rounded up: 80 % of 1 is reached by 1. A limit of 0 is reached by any
        # spending.
        return max(1, -(-self.limit(budget) * percent // 100))

    def _arm(self) -> None:
        self.next_threshold = min(
            (
                self._threshold(budget, threshold)
                for budget in self.budgets
                for threshold in budget.thresholds
                if (budget.name, threshold) not in self.notified
            ),
            default=FOREVER,
        )

    def __repr__(self) -> str:
        return (
            f"<Account {self.rule.name} {self.subject!r} spent={self.spent}"
            f" reserved={self.reserved}>"
        )


class Crossing(NamedTuple):
    """A threshold of a budget that the spending of an account has reached."""

    account: Account
    budget: Budget
    threshold: int
