"""The ledger: what budgets have left, decided before an upstream is asked.

Two phases, as in TigerBeetle: a reservation is pending until it is posted (settled to
the actual amounts), voided or expired. It claims every account that applies, or none.
All methods that requests call are synchronous, so each of them is atomic.

- What an upstream has charged is charged, also if it is more than was reserved: the
  account is then in debt, and refuses until its window ends.
- A reservation belongs to the window of the instant at which it was made. Settled after
  the window's end, it is charged to that window, not to the present one.
- A reservation that nobody settles expires: what it held is free again. Settled after
  all, it is charged nevertheless.
- Reserving, settling and voiding are idempotent by the reservation's id.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from gandalf.actors.accounts import Account, Bucket, Crossing
from gandalf.domain.budgets import (
    KEY_BUDGET,
    KEY_RULE,
    Budget,
    Raise,
    Rule,
    Scope,
    Subjects,
    Told,
    Tracked,
    tag_names,
)
from gandalf.domain.charges import charges
from gandalf.domain.errors import BudgetExceeded
from gandalf.domain.identity import Identity
from gandalf.domain.usage import UsageRecord

EXPIRES_AFTER = 3600
"""Seconds after which a reservation that was neither settled nor extended expires."""

MAX_KNOWN = 10_000
"""Callers whose accounts are remembered. More make finding them slower."""

SWEEP_AT = 10_000
"""Accounts above which those without any sum are looked for and forgotten."""

_KEY_RULE_NAME = KEY_RULE.name

Sums = Mapping[tuple[str, str], Mapping[int, int]]
"""What is settled, by rule and subject, then by start of window."""


class Claim:
    """The part of a reservation that one account holds."""

    __slots__ = ("account", "amount", "bucket")

    def __init__(self, account: Account, bucket: Bucket, amount: int) -> None:
        self.account = account
        self.bucket = bucket
        self.amount = amount


class Reservation:
    """What one request may spend at the most. Made by ``Ledger.reserve``."""

    __slots__ = ("at", "claims", "expired", "expires_at", "id")

    def __init__(self, id: str, at: int, claims: list[Claim]) -> None:  # noqa: A002
        self.id = id
        self.at = at
        """Unix time in seconds at which it was made: its windows are those of then."""
        self.claims = claims
        self.expires_at = at + EXPIRES_AFTER
        self.expired = False

    def __repr__(self) -> str:
        return f"<Reservation {self.id} at={self.at} claims={len(self.claims)}>"


class BudgetState(NamedTuple):
    """What is left of a budget, for one subject."""

    budget: Budget
    subject: str
    limit: int
    """Raises included."""
    spent: int
    reserved: int
    window_start: int
    window_end: int
    """Unix time in seconds; ``FOREVER`` if it never ends."""


class Statistics(NamedTuple):
    """The ledger at one moment."""

    accounts: int
    reservations: int
    expired: int
    """Reservations that have expired and were not settled since."""
    refusals: int
    """Requests and streams refused since the start."""


class Ledger:
    """Owns the accounts of all budgets and the open reservations.

    Args:
        budgets: Those of the configuration.
        notify: Called with each threshold that is reached; must not wait.
        on_refusal: Called with each budget that refuses; likewise.
        unix_time: The time, in seconds.
    """

    def __init__(
        self,
        budgets: Iterable[Budget] = (),
        *,
        notify: Callable[[Crossing], object] | None = None,
        on_refusal: Callable[[Budget], object] | None = None,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._notify = notify
        self._on_refusal = on_refusal
        self._unix_time = unix_time
        self._now = 0
        self._budgets: tuple[Budget, ...] = ()
        self._rules: tuple[Rule, ...] = ()
        self._raises: tuple[Raise, ...] = ()
        self._accounts: dict[tuple[str, str], Account] = {}
        self._key_sums: dict[str, int] = {}
        self._known: dict[
            tuple[str, str, tuple[str, ...], tuple[str, ...]],
            tuple[Identity, tuple[Account, ...]],
        ] = {}
        self._open: dict[str, Reservation] = {}
        self._expired: dict[str, Reservation] = {}
        self._since: dict[str, int] = {}
        self.version = 0
        """Counts the changes of the budgets."""
        self.refusals = 0
        """Requests and streams refused since the start."""
        self.configure(budgets)

    # What limits apply.

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What is summed up."""
        return (*self._rules, KEY_RULE)

    def configure(self, budgets: Iterable[Budget]) -> None:
        """Replace the configured budgets. Sums and reservations stay."""
        self._budgets = tuple(budgets)
        self._rules = tuple(
            dict.fromkeys(b.rule for b in self._budgets if b.rule != KEY_RULE)
        )
        self.version += 1
        self._since = {
            rule.name: self._since.get(rule.name, self.version) for rule in self._rules
        }
        names = {*self._since, KEY_RULE.name}
        self._accounts = {k: a for k, a in self._accounts.items() if k[0] in names}
        self._limits_changed()

    def track(self, tracked: Tracked, unloaded: Iterable[UsageRecord]) -> None:
        """Replace the sums of rules that were new, from the records that there are.

        Args:
            tracked: The rules, and the sums of the records in the database.
            unloaded: The records that are not in the database yet.
        """
        sums = {key: dict(spent) for key, spent in tracked.sums.items()}
        for record in unloaded:
            for name, subject, window, amount in charges(tracked.rules, record):
                spent = sums.setdefault((name, subject), {})
                spent[window] = spent.get(window, 0) + amount
        now = self.now()
        for rule in tracked.rules:
            if rule == KEY_RULE:
                continue
            known = {s for name, s in (*sums, *self._accounts) if name == rule.name}
            for subject in known:
                spent = sums.get((rule.name, subject), {})
                self._account(rule, subject).replace_sums(spent, now)

    def set_raises(self, raises: Iterable[Raise]) -> None:
        """Replace the temporary raises."""
        self._raises = tuple(raises)
        self._limits_changed()

    def load(self, sums: Sums, told: Iterable[Told] = ()) -> None:
        """Replace what is settled, in every account.

        Thresholds that are reached and not among those that were ``told`` of are
        notified of now.
        """
        now = self.now()
        names = {rule.name: rule for rule in self.rules}
        for (name, subject), spent in sums.items():
            rule = names.get(name)
            if rule is KEY_RULE:
                self._key_sums[subject] = sum(spent.values())
            elif rule is not None:
                self._account(rule, subject).replace_sums(spent, now)
        self._forget_told(told)

    def _forget_told(self, told: Iterable[Told]) -> None:
        by_name = {budget.name: budget for budget in self._budgets}
        for each in told:
            budget = by_name.get(each.budget)
            if budget is not None:
                account = self._accounts.get((budget.rule.name, each.subject))
                if account is not None:
                    account.note_told(each)
        for account in self._accounts.values():
            for crossing in account.crossings():
                self._tell(crossing)

    def now(self) -> int:
        """Return the Unix time in whole seconds; it never goes back."""
        now = int(self._unix_time())
        if now > self._now:
            self._now = now
        return self._now

    def applies_to(self, identity: Identity) -> bool:
        """Whether any budget may apply to requests of ``identity``."""
        return bool(self._budgets) or identity.max_budget_nanousd is not None

    def accounts(
        self,
        identity: Identity,
        alias: str,
        providers: tuple[str, ...],
        tags: tuple[str, ...],
    ) -> tuple[Account, ...]:
        """Return the accounts that a request is charged to; usually none.

        Args:
            identity: Who asks.
            alias: The model asked for.
            providers: Those that may be asked.
            tags: Of the request and of its key.
        """
        key = (identity.key_id, alias, providers, tags)
        known = self._known.get(key)
        # A key that was changed is another identity.
        if known is not None and known[0] is identity:
            return known[1]
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        subjects = Subjects(
            key_id=identity.key_id,
            org_id=identity.org_id,
            team_id=identity.team_id,
            user_id=identity.user_id,
            alias=alias,
            providers=providers,
            tags=tags,
        )
        found = tuple(self._applying(identity, subjects))
        self._known[key] = (identity, found)
        return found

    def accounts_of(self, identity: Identity) -> list[Account]:
        """Return the accounts that all requests of ``identity`` are charged to."""
        subjects = Subjects(
            key_id=identity.key_id,
            org_id=identity.org_id,
            team_id=identity.team_id,
            user_id=identity.user_id,
            tags=tag_names(identity.tags),
        )
        return self._applying(identity, subjects)

    def _applying(self, identity: Identity, subjects: Subjects) -> list[Account]:
        found = [
            self._account(rule, subject)
            for rule in self._rules
            for subject in rule.subjects(subjects)
        ]
        key_account = self._key_account(identity)
        if found or key_account.budgets:
            found.append(key_account)
        return found

    def _key_account(self, identity: Identity) -> Account:
        account = self._account(KEY_RULE, identity.key_id)
        budgets = [b for b in self._budgets if b.rule == KEY_RULE]
        if identity.max_budget_nanousd is not None:
            own = Budget(
                name=KEY_BUDGET, rule=KEY_RULE, limit=identity.max_budget_nanousd
            )
            budgets.append(own)
        account.set_limits(budgets, self._raises)
        return account

    def _account(self, rule: Rule, subject: str) -> Account:
        account = self._accounts.get((rule.name, subject))
        if account is None:
            if len(self._accounts) >= SWEEP_AT:
                self._sweep()
            account = Account(rule, subject)
            if rule is KEY_RULE:
                spent = self._key_sums.pop(subject, 0)
                account.replace_sums({0: spent}, self.now())
            account.set_limits(self._limiting(rule, subject), self._raises)
            self._accounts[account.key] = account
        return account

    def _limiting(self, rule: Rule, subject: str) -> list[Budget]:
        return [budget for budget in self._budgets if budget.rule == rule]

    def _limits_changed(self) -> None:
        self._known.clear()
        for account in self._accounts.values():
            if account.rule is not KEY_RULE:
                budgets = self._limiting(account.rule, account.subject)
                account.set_limits(budgets, self._raises)

    def _sweep(self) -> None:
        now = self.now()
        self._known.clear()
        for account in self._accounts.values():
            if now >= account.valid_until:
                account.refresh(now)
        self._accounts = {
            key: account
            for key, account in self._accounts.items()
            if account.rule is KEY_RULE or not account.idle
        }

    # Reserving.

    def reserve(
        self,
        id: str,  # noqa: A002
        accounts: Sequence[Account],
        cost: int,
        tokens: int,
    ) -> Reservation:
        """Reserve for one request in all of ``accounts``, or in none.

        Args:
            id: The request's.
            accounts: From ``accounts``.
            cost: The most that it may cost, in nano-USD.
            tokens: The most that it may use.

        Raises:
            BudgetExceeded: A hard budget has no room; nothing was reserved.
        """
        held = self._open.get(id)
        if held is not None:
            return held
        now = self.now()
        amounts = (cost, tokens, 1)
        self._check(accounts, amounts, now)
        claims = []
        for account in accounts:
            amount = amounts[account.place]
            bucket = account.current
            bucket.reserved += amount
            account.reserved += amount
            claims.append(Claim(account, bucket, amount))
        reservation = self._open[id] = Reservation(id, now, claims)
        return reservation

    def extend(self, reservation: Reservation, cost: int, tokens: int) -> None:
        """Reserve more for a request that goes on, in all of its accounts or in none.

        It is taken from the windows of the reservation.

        Raises:
            BudgetExceeded: A hard budget has no room; what is reserved stays so.
        """
        now = self.now()
        amounts = (cost, tokens, 0)
        accounts = [c.account for c in reservation.claims if c.bucket.counted]
        self._check(accounts, amounts, now)
        for claim in reservation.claims:
            bucket, account = claim.bucket, claim.account
            amount = amounts[account.place]
            held = bucket.spent + bucket.reserved
            if not bucket.counted and held + amount > account.hard_limit:
                raise self._refusal(account, amount, now)
        for claim in reservation.claims:
            amount = amounts[claim.account.place]
            claim.amount += amount
            if not reservation.expired:
                self._hold(claim, amount)
        reservation.expires_at = now + EXPIRES_AFTER

    def _check(
        self, accounts: Sequence[Account], amounts: tuple[int, int, int], now: int
    ) -> None:
        for account in accounts:
            if now >= account.valid_until:
                account.refresh(now)
            amount = amounts[account.place]
            if account.spent + account.reserved + amount > account.hard_limit:
                raise self._refusal(account, amount, now)

    def _refusal(self, account: Account, amount: int, now: int) -> BudgetExceeded:
        self.refusals += 1
        budget = account.refuser(amount)
        if self._on_refusal is not None:
            self._on_refusal(budget)
        limit = account.limit(budget)
        if 100 in budget.thresholds and (budget.name, 100) not in account.notified:
            account.notified[budget.name, 100] = account.current.start
            self._tell(Crossing(account, budget, 100))
        return BudgetExceeded(
            budget=budget,
            subject=account.subject,
            needed=amount,
            limit=limit,
            left=account.left(budget),
            renews_at=account.room_at(amount, limit),
            # What is reserved only may be free again any moment.
            retry_after=1.0
            if account.spent + amount <= limit
            else _wait(account.room_at(amount, limit), now),
        )

    # Closing.

    def settle(
        self,
        id: str,  # noqa: A002
        cost: int,
        tokens: int,
        *,
        provider: str = "",
    ) -> bool:
        """Charge what a request has really used, and free what it had reserved.

        Args:
            id: The request's.
            cost: In nano-USD.
            tokens: All of them.
            provider: The one that served: budgets of other providers are not charged.

        Returns:
            Whether it was open; otherwise nothing has happened.
        """
        reservation = self._close(id)
        if reservation is None:
            return False
        amounts = (cost, tokens, 1)
        for claim in reservation.claims:
            account = claim.account
            if account.rule.scope is Scope.PROVIDER and account.subject != provider:
                continue
            self._charge(account, claim.bucket, amounts[account.place])
        return True

    def charge_key(self, key_id: str, cost: int) -> None:
        """Charge a request without a reservation to the lifetime sum of its key."""
        account = self._accounts.get((_KEY_RULE_NAME, key_id))
        if account is None:
            self._key_sums[key_id] = self._key_sums.get(key_id, 0) + cost
        else:
            self._charge(account, account.current, cost)

    def _charge(self, account: Account, bucket: Bucket, amount: int) -> None:
        bucket.spent += amount
        if bucket.counted:
            account.spent += amount
            if account.spent >= account.next_threshold:
                for crossing in account.crossings():
                    self._tell(crossing)

    def charge_later_rules(self, record: UsageRecord, version: int) -> None:
        """Charge a request to rules that came after it was reserved.

        Args:
            record: The request's record.
            version: The ledger's when it was reserved.
        """
        later = [rule for rule in self._rules if self._since[rule.name] > version]
        for charge in charges(later, record):
            rule = next(rule for rule in later if rule.name == charge.rule)
            account = self._account(rule, charge.subject)
            account.refresh(self.now())
            for bucket in (*account.older, account.current):
                if bucket.start == charge.window:
                    self._charge(account, bucket, charge.amount)

    def void(self, id: str) -> bool:  # noqa: A002
        """Free what a request had reserved, and charge nothing.

        Returns:
            Whether it was open; otherwise nothing has happened.
        """
        return self._close(id) is not None

    def expire(self) -> int:
        """Expire the reservations that are due; return how many."""
        now = self.now()
        due = [each for each in self._open.values() if each.expires_at <= now]
        for reservation in due:
            del self._open[reservation.id]
            self._release(reservation)
            reservation.expired = True
            self._expired[reservation.id] = reservation
        return len(due)

    def _close(self, id: str) -> Reservation | None:  # noqa: A002
        reservation = self._open.pop(id, None)
        if reservation is not None:
            self._release(reservation)
            return reservation
        return self._expired.pop(id, None)

    def _release(self, reservation: Reservation) -> None:
        for claim in reservation.claims:
            self._hold(claim, -claim.amount)

    def _hold(self, claim: Claim, amount: int) -> None:
        claim.bucket.reserved += amount
        if claim.bucket.counted:
            claim.account.reserved += amount

    def _tell(self, crossing: Crossing) -> None:
        if self._notify is not None:
            self._notify(crossing)

    # What there is.

    def states(self, accounts: Iterable[Account]) -> list[BudgetState]:
        """Return what is left of the budgets of ``accounts``."""
        now = self.now()
        found = []
        for account in accounts:
            if now >= account.valid_until:
                account.refresh(now)
            found += [
                BudgetState(
                    budget,
                    account.subject,
                    account.limit(budget),
                    account.spent,
                    account.reserved,
                    account.current.start,
                    account.end,
                )
                for budget in account.budgets
            ]
        return found

    def states_of(self, name: str) -> list[BudgetState]:
        """Return what is left of the budget ``name``, for each subject that has spent.

        A budget of one subject has its state even if that has spent nothing.
        """
        for budget in self._budgets:
            rule = budget.rule
            if budget.name == name and (rule.subject or rule.scope is Scope.GLOBAL):
                self._account(rule, rule.subject)
        return [each for each in self.all_states() if each.budget.name == name]

    def all_states(self) -> list[BudgetState]:
        """Return what is left of the budgets of every account there is."""
        return self.states(self._accounts.values())

    def reservations(self) -> list[Reservation]:
        """Return the reservations that are open or expired, oldest first."""
        return sorted(
            (*self._open.values(), *self._expired.values()), key=lambda each: each.at
        )

    def sums(self) -> dict[tuple[str, str], dict[int, int]]:
        """Return what is settled in the windows that count, for an audit."""
        found = {
            account.key: {
                bucket.start: bucket.spent
                for bucket in (*account.older, account.current)
            }
            for account in self._accounts.values()
        }
        for key_id, spent in self._key_sums.items():
            found[KEY_RULE.name, key_id] = {0: spent}
        return found

    def statistics(self) -> Statistics:
        """Return the ledger's numbers at this moment."""
        return Statistics(
            len(self._accounts), len(self._open), len(self._expired), self.refusals
        )

    def __repr__(self) -> str:
        return f"<Ledger {self.statistics()}>"


def _wait(until: int | None, now: int) -> float | None:
    return None if until is None else float(max(1, until - now))
