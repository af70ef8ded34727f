"""The ledger against a model that keeps every settlement and adds them up anew."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from gandalf.actors.ledger import EXPIRES_AFTER, Ledger
from gandalf.domain.budgets import Budget, Rule, Scope, Unit
from gandalf.domain.errors import BudgetExceeded
from gandalf.domain.identity import Identity

from .clock import Clock

BERLIN = "Europe/Berlin"
WINDOWS = (
    ("lifetime", "UTC"),
    ("hour", "Asia/Kolkata"),
    ("day", BERLIN),
    ("week", "America/New_York"),
    ("month", BERLIN),
    ("3d", BERLIN),
)
LIMIT = 1000
# Just before the clock is set forward and back in Berlin, and at a month's end.
STARTS = tuple(
    int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(BERLIN)).timestamp())
    for text in ("2026-03-28 20:00", "2026-10-24 22:00", "2026-12-31 20:00")
)
IDENTITIES = (
    Identity(key_id="k1", team_id="t1"),
    Identity(key_id="k2", team_id="t1"),
    Identity(key_id="k3", team_id="t2"),
)
BUDGETS = tuple(
    Budget(
        name=f"{scope}-{window}-{unit}",
        rule=Rule(Scope(scope), "", window, zone, Unit(unit)),
        limit=LIMIT if unit != "requests" else 8,
        hard=scope != "global",
    )
    for window, zone in WINDOWS
    for scope in ("key", "team", "global")
    for unit in ("usd", "requests")
)


def counts(window, zone, at, now):
    """Whether what was reserved at ``at`` is in the window of ``now``."""
    then, today = (datetime.fromtimestamp(each, ZoneInfo(zone)) for each in (at, now))
    match window:
        case "lifetime":
            return True
        case "hour":
            form = "%Y-%m-%d %H %z"
            return then.strftime(form) == today.strftime(form)
        case "day":
            return then.date() == today.date()
        case "week":
            return then.isocalendar()[:2] == today.isocalendar()[:2]
        case "month":
            return (then.year, then.month) == (today.year, today.month)
        case _:
            oldest = today.date() - timedelta(int(window[:-1]) - 1)
            return oldest <= then.date() <= today.date()


class Entry:
    """One reservation of the model."""

    def __init__(self, identity, at, cost):
        self.identity = identity
        self.at = at
        self.touched = at
        self.cost = cost
        self.requests = 1
        self.state = "open"

    def amount(self, budget):
        return self.cost if budget.rule.unit is Unit.USD else self.requests

    def is_in(self, budget, subject, now):
        own = {
            Scope.KEY: self.identity.key_id,
            Scope.TEAM: self.identity.team_id,
            Scope.GLOBAL: "",
        }
        return own[budget.rule.scope] == subject and counts(
            budget.rule.window, budget.rule.time_zone, self.at, now
        )


class LedgerMachine(RuleBasedStateMachine):
    names = Bundle("names")

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.ledger = Ledger(BUDGETS, unix_time=self.clock)
        self.entries = {}
        self.clock.now = float(STARTS[0])

    def total(self, budget, subject, states):
        return sum(
            entry.amount(budget)
            for entry in self.entries.values()
            if entry.state in states
            and entry.is_in(budget, subject, int(self.clock.now))
        )

    def fits(self, identity, cost, requests):
        subjects = {
            Scope.KEY: identity.key_id,
            Scope.TEAM: identity.team_id,
        }
        return all(
            self.total(budget, subjects[budget.rule.scope], ("open", "settled"))
            + (cost if budget.rule.unit is Unit.USD else requests)
            <= budget.limit
            for budget in BUDGETS
            if budget.hard
        )

    def total_beside(self, budget, entry, now):
        """What counts beside an entry, also if its window is over."""
        window, zone = budget.rule.window, budget.rule.time_zone
        if not counts(window, zone, entry.at, now):
            now = entry.at
            window = "day" if window.endswith("d") else window
        subject = (
            entry.identity.key_id
            if budget.rule.scope is Scope.KEY
            else entry.identity.team_id
        )
        return sum(
            other.amount(budget)
            for other in self.entries.values()
            if other.state in ("open", "settled")
            and subject in (other.identity.key_id, other.identity.team_id)
            and counts(window, zone, other.at, now)
        )

    def accounts(self, identity):
        return self.ledger.accounts(identity, "fast", (), ())

    @rule(start=st.sampled_from(STARTS))
    def jump(self, start):
        self.clock.now = max(self.clock.now, float(start))

    @rule(seconds=st.sampled_from((1, 1800, 3599, 3600, 6 * 3600, 86_400, 40 * 86_400)))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule(
        target=names,
        identity=st.sampled_from(IDENTITIES),
        cost=st.sampled_from((0, 1, 100, 400, LIMIT, LIMIT + 1)),
    )
    def reserve(self, identity, cost):
        name = f"r{len(self.entries)}"
        fits = self.fits(identity, cost, 1)
        try:
            self.ledger.reserve(name, self.accounts(identity), cost, 0)
        except BudgetExceeded:
            assert not fits
            entry = Entry(identity, int(self.clock.now), 0)
            entry.state = "refused"
        else:
            assert fits
            entry = Entry(identity, int(self.clock.now), cost)
        self.entries[name] = entry
        return name

    @rule(name=names)
    def reserve_again(self, name):
        entry = self.entries[name]
        if entry.state == "open":
            self.ledger.reserve(name, self.accounts(entry.identity), 10**9, 0)

    @rule(name=names, cost=st.sampled_from((1, 200)))
    def extend(self, name, cost):
        entry = self.entries[name]
        if entry.state != "open":
            return
        held = [r for r in self.ledger.reservations() if r.id == name]
        now = int(self.clock.now)
        fits = all(
            self.total_beside(b, entry, now) + extra <= b.limit
            for b in BUDGETS
            if b.hard
            for extra in [cost if b.rule.unit is Unit.USD else 0]
        )
        try:
            self.ledger.extend(held[0], cost, 0)
        except BudgetExceeded:
            assert not fits
        else:
            assert fits
            entry.cost += cost
            entry.touched = now

    @rule(name=names, cost=st.sampled_from((0, 1, 99, 500, 3 * LIMIT)))
    def settle(self, name, cost):
        entry = self.entries[name]
        open_ = entry.state in ("open", "expired")
        assert self.ledger.settle(name, cost, 0) is open_
        if open_:
            entry.state, entry.cost = "settled", cost

    @rule(name=names)
    def void(self, name):
        entry = self.entries[name]
        open_ = entry.state in ("open", "expired")
        assert self.ledger.void(name) is open_
        if open_:
            entry.state = "void"

    @rule()
    def expire(self):
        now = int(self.clock.now)
        due = [
            entry
            for entry in self.entries.values()
            if entry.state == "open" and entry.touched + EXPIRES_AFTER <= now
        ]
        assert self.ledger.expire() == len(due)
        for entry in due:
            entry.state = "expired"

    @rule()
    def restart(self):
        """What is open at a restart is settled at its reservation."""
        for name, entry in self.entries.items():
            if entry.state in ("open", "expired"):
                self.settle(name, entry.cost)
        sums = {}
        for (rule_name, subject), spent in self.ledger.sums().items():
            sums[rule_name, subject] = spent
        self.ledger = Ledger(BUDGETS, unix_time=self.clock)
        self.ledger.load(sums)

    @invariant()
    def sums_are_those_of_the_model(self):
        for identity in IDENTITIES:
            for state in self.ledger.states(self.accounts(identity)):
                budget, subject = state.budget, state.subject
                assert state.spent == self.total(budget, subject, ("settled",)), budget
                assert state.reserved == self.total(budget, subject, ("open",)), budget

    @invariant()
    def what_is_open_is_visible(self):
        known = {each.id for each in self.ledger.reservations()}
        assert known == {
            name
            for name, entry in self.entries.items()
            if entry.state in ("open", "expired")
        }


LedgerMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
TestLedger = LedgerMachine.TestCase
