"""Reservations and settlements, by hand."""

import pytest

from gandalf.actors.ledger import EXPIRES_AFTER, Ledger
from gandalf.domain.budgets import (
    KEY_RULE,
    NANO,
    Budget,
    Raise,
    Rule,
    Scope,
    Told,
    Unit,
)
from gandalf.domain.errors import BudgetExceeded
from gandalf.domain.identity import Identity
from gandalf.domain.windows import HOUR, period

from .clock import Clock

# Monday, 1 June 2026, 12:00 UTC.
NOON = 1_780_315_200


def a_rule(scope="key", window="day", unit="usd", subject="", zone="UTC"):
    return Rule(Scope(scope), subject, window, zone, Unit(unit))


def a_budget(limit=100, name="b", *, hard=True, thresholds=(50, 80, 100), **rule):
    return Budget(
        name=name, rule=a_rule(**rule), limit=limit, hard=hard, thresholds=thresholds
    )


def an_identity(key_id="k", **fields):
    return Identity(key_id=key_id, **fields)


class Books:
    """A ledger with a clock, and what it notified of."""

    def __init__(self, *budgets):
        self.clock = Clock(float(NOON))
        self.told = []
        self.ledger = Ledger(budgets, notify=self._note, unix_time=self.clock)

    def _note(self, crossing):
        self.told.append((crossing.budget.name, crossing.threshold))

    def accounts(self, identity=None, alias="fast", providers=("openai",), tags=()):
        return self.ledger.accounts(identity or an_identity(), alias, providers, tags)

    def reserve(self, name, cost=0, tokens=0, **who):
        return self.ledger.reserve(name, self.accounts(**who), cost, tokens)

    def spend(self, name, cost=0, tokens=0, **who):
        self.reserve(name, cost, tokens, **who)
        self.ledger.settle(name, cost, tokens, provider="openai")

    def sums(self, **who):
        return [(s.spent, s.reserved) for s in self.ledger.states(self.accounts(**who))]


def test_what_is_reserved_counts_until_it_is_settled_to_less():
    books = Books(a_budget(100))

    books.reserve("r1", 60)
    with pytest.raises(BudgetExceeded):
        books.reserve("r2", 41)
    assert books.sums() == [(0, 60)]
    assert books.ledger.settle("r1", 10, 0)

    assert books.sums() == [(10, 0)]
    books.reserve("r2", 90)


def test_a_void_reservation_costs_nothing():
    books = Books(a_budget(1, unit="requests"))
    books.reserve("r1")

    assert books.ledger.void("r1")

    assert books.sums() == [(0, 0)]


def test_nothing_is_reserved_anywhere_if_one_budget_has_no_room():
    books = Books(
        a_budget(100, "key"),
        a_budget(50, "team", scope="team"),
        a_budget(5, "tokens", scope="organization", unit="tokens"),
    )
    who = {"identity": an_identity(team_id="t")}

    with pytest.raises(BudgetExceeded) as refused:
        books.reserve("r1", 20, 6, **who)

    assert refused.value.budget.name == "tokens"
    assert books.sums(**who) == [(0, 0)] * 3
    assert books.ledger.statistics().reservations == 0


def test_closing_twice_changes_nothing_the_second_time():
    books = Books(a_budget(100))
    books.reserve("r1", 60)
    books.ledger.settle("r1", 10, 0)

    assert not books.ledger.settle("r1", 10, 0)
    assert not books.ledger.void("r1")
    assert not books.ledger.settle("never", 10, 0)

    assert books.sums() == [(10, 0)]


def test_reserving_twice_reserves_once():
    books = Books(a_budget(100))

    assert books.reserve("r1", 60) is books.reserve("r1", 60)

    assert books.sums() == [(0, 60)]


def test_more_than_was_reserved_is_charged_and_becomes_debt():
    books = Books(a_budget(100))
    books.reserve("r1", 60)

    books.ledger.settle("r1", 130, 0)

    assert books.sums() == [(130, 0)]
    with pytest.raises(BudgetExceeded) as refused:
        books.reserve("r2", 1)
    assert "0.00 USD of 0.0000001 USD left" in str(refused.value)


def test_a_soft_budget_refuses_nothing_and_notifies():
    books = Books(a_budget(100, hard=False))

    books.spend("r1", 1000)

    assert books.sums() == [(1000, 0)]
    assert books.told == [("b", 50), ("b", 80), ("b", 100)]


def test_each_threshold_notifies_once_in_a_window():
    books = Books(a_budget(100))

    books.spend("r1", 49)
    assert books.told == []
    books.spend("r2", 1)
    books.spend("r3", 1)
    assert books.told == [("b", 50)]
    books.clock.advance(24 * HOUR)
    books.spend("r4", 85)

    assert books.told == [("b", 50), ("b", 50), ("b", 80)]


def test_a_refusal_notifies_that_the_budget_is_exhausted_once():
    books = Books(a_budget(100))
    books.spend("r1", 70)

    for name in ("r2", "r3"):
        with pytest.raises(BudgetExceeded):
            books.reserve(name, 40)

    assert books.told == [("b", 50), ("b", 100)]


def test_a_new_window_begins_with_nothing_spent():
    books = Books(a_budget(100))
    books.spend("r1", 100)
    books.clock.advance(12 * HOUR - 1)
    with pytest.raises(BudgetExceeded) as refused:
        books.reserve("r2", 1)
    assert refused.value.retry_after == 1.0
    assert "renews at 2026-06-02T00:00:00+00:00" in str(refused.value)

    books.clock.advance(1)

    books.reserve("r2", 100)


def test_what_is_settled_after_the_end_of_its_window_is_charged_to_that_window():
    books = Books(a_budget(100))
    books.reserve("late", 60)
    books.clock.advance(12 * HOUR)
    assert books.sums() == [(0, 0)]

    books.ledger.settle("late", 60, 0)

    assert books.sums() == [(0, 0)]
    books.reserve("r2", 100)


def test_a_rolling_budget_gets_back_what_leaves_it_at_midnight():
    books = Books(a_budget(100, window="3d"))
    books.spend("r1", 60)
    books.clock.advance(24 * HOUR)
    books.spend("r2", 40)
    with pytest.raises(BudgetExceeded) as refused:
        books.reserve("r3", 50)
    assert "renews at 2026-06-04T00:00:00+00:00" in str(refused.value)
    with pytest.raises(BudgetExceeded) as refused:
        books.reserve("r3", 70)
    assert "renews at 2026-06-05T00:00:00+00:00" in str(refused.value)
    assert refused.value.retry_after == 2.5 * 24 * HOUR

    books.clock.advance(1.5 * 24 * HOUR)

    assert books.sums() == [(40, 0)]
    books.reserve("r3", 60)


def test_waiting_a_moment_helps_if_only_reservations_are_in_the_way():
    books = Books(a_budget(100, window="lifetime"))
    books.reserve("r1", 60)

    with pytest.raises(BudgetExceeded) as refused:
        books.reserve("r2", 60)

    assert refused.value.retry_after == 1.0


def test_waiting_is_not_advised_where_it_cannot_help():
    books = Books(a_budget(100), a_budget(1000, "forever", window="lifetime"))

    with pytest.raises(BudgetExceeded, match="it can never be served") as refused:
        books.reserve("r1", 101)
    assert refused.value.retry_after is None

    for day in range(10):
        books.spend(f"s{day}", 100)
        books.clock.advance(24 * HOUR)
    with pytest.raises(BudgetExceeded, match="does not renew") as refused:
        books.reserve("r2", 1)
    assert refused.value.retry_after is None


def test_every_scope_is_charged():
    scopes = ("key", "user", "team", "organization", "alias", "tag", "global")
    books = Books(
        *(a_budget(100, scope, scope=scope) for scope in scopes),
        a_budget(100, "provider", scope="provider"),
        a_budget(100, "other", scope="team", subject="other"),
    )
    who = {"identity": an_identity(team_id="t", user_id="u"), "tags": ("a", "b")}

    books.spend("r1", 10, **who)

    states = books.ledger.states(books.accounts(**who))
    assert [(s.budget.name, s.subject, s.spent) for s in states] == [
        ("key", "k", 10),
        ("user", "u", 10),
        ("team", "t", 10),
        ("organization", "default", 10),
        ("alias", "fast", 10),
        ("tag", "a", 10),
        ("tag", "b", 10),
        ("global", "", 10),
        ("provider", "openai", 10),
    ]


def test_of_several_providers_only_the_one_that_served_is_charged():
    books = Books(a_budget(100, scope="provider"))
    who = {"providers": ("a", "b")}
    books.reserve("r1", 50, **who)
    assert books.sums(**who) == [(0, 50), (0, 50)]

    books.ledger.settle("r1", 20, 0, provider="b")

    assert books.sums(**who) == [(0, 0), (20, 0)]


def test_units_are_counted_apart():
    books = Books(
        a_budget(100, "cost"),
        a_budget(50, "tokens", unit="tokens"),
        a_budget(2, "requests", unit="requests"),
    )

    books.spend("r1", 30, 20)

    assert books.sums() == [(30, 0), (20, 0), (1, 0)]
    books.spend("r2", 30, 20)
    with pytest.raises(BudgetExceeded) as refused:
        books.reserve("r3", 1, 1)
    assert refused.value.budget.name == "requests"


def test_a_key_has_a_lifetime_budget_of_its_own():
    books = Books()
    rich, poor = an_identity("a", max_budget_nanousd=100), an_identity("b")
    books.spend("r1", 70, identity=rich)

    with pytest.raises(BudgetExceeded, match="'max_budget'"):
        books.reserve("r2", 31, identity=rich)

    assert books.accounts(poor) == ()
    # A key that gets a budget later has spent what it has spent.
    books.ledger.charge_key("b", 95)
    with pytest.raises(BudgetExceeded):
        books.reserve("r3", 6, identity=an_identity("b", max_budget_nanousd=100))
    books.reserve("r4", 5, identity=an_identity("b", max_budget_nanousd=100))


def test_a_stream_reserves_in_steps_until_there_is_no_room():
    books = Books(a_budget(100))
    reservation = books.reserve("r1", 40)

    books.ledger.extend(reservation, 40, 0)
    with pytest.raises(BudgetExceeded):
        books.ledger.extend(reservation, 40, 0)

    assert books.sums() == [(0, 80)]
    books.ledger.settle("r1", 77, 0)
    assert books.sums() == [(77, 0)]


def test_a_stream_is_one_request_however_many_steps_it_takes():
    books = Books(a_budget(1, unit="requests"))
    reservation = books.reserve("r1")

    books.ledger.extend(reservation, 0, 0)

    assert books.sums() == [(0, 1)]


def test_a_reservation_that_nobody_settles_expires_and_is_visible():
    books = Books(a_budget(100, window="lifetime"))
    books.reserve("lost", 60)
    books.clock.advance(EXPIRES_AFTER - 1)
    assert books.ledger.expire() == 0

    books.clock.advance(1)
    assert books.ledger.expire() == 1

    assert books.sums() == [(0, 0)]
    assert [(r.id, r.expired) for r in books.ledger.reservations()] == [("lost", True)]
    assert books.ledger.statistics().expired == 1
    # It was spent after all.
    assert books.ledger.settle("lost", 50, 0)
    assert books.sums() == [(50, 0)]
    assert books.ledger.reservations() == []


def test_a_temporary_raise_ends_by_itself():
    books = Books(a_budget(100, window="month"))
    books.spend("r1", 100)
    books.ledger.set_raises([Raise("x", "b", "", 50, NOON + 2 * HOUR)])

    books.reserve("r2", 50)
    books.ledger.void("r2")
    books.clock.advance(2 * HOUR)

    with pytest.raises(BudgetExceeded):
        books.reserve("r3", 1)


def test_a_raise_may_be_for_one_subject():
    books = Books(a_budget(100))
    books.ledger.set_raises([Raise("x", "b", "a", 50, NOON + HOUR)])

    books.reserve("r1", 150, identity=an_identity("a"))
    with pytest.raises(BudgetExceeded):
        books.reserve("r2", 101, identity=an_identity("b"))


def test_other_limits_hold_from_the_next_request_on():
    books = Books(a_budget(100))
    books.spend("r1", 90)

    books.ledger.configure([a_budget(200, "renamed")])

    books.reserve("r2", 110)
    assert books.sums() == [(90, 110)]


def test_sums_are_loaded():
    books = Books(a_budget(100, window="3d"), a_budget(100, "team", scope="team"))
    today = period("day", "UTC").window(NOON).start
    day = 24 * HOUR

    books.ledger.load(
        {
            (a_rule(window="3d").name, "k"): {
                today: 20,
                today - 2 * day: 30,
                today - 3 * day: 500,
            },
            (KEY_RULE.name, "k"): {0: 7 * NANO},
            ("gone/day@UTC/usd", "k"): {today: 1},
        }
    )

    assert books.sums() == [(50, 0)]
    rich = an_identity(max_budget_nanousd=8 * NANO)
    assert books.sums(identity=rich) == [(50, 0), (7 * NANO, 0)]


def test_a_threshold_that_was_told_of_is_not_told_of_again_after_a_restart():
    books = Books(a_budget(100))
    today = period("day", "UTC").window(NOON).start

    books.ledger.load(
        {(a_rule().name, "k"): {today: 85}, (a_rule().name, "l"): {today: 85}},
        [Told("b", "k", 50, today), Told("b", "k", 80, today - 24 * HOUR)],
    )

    # What was not told of before the end is told of now.
    assert sorted(books.told) == [("b", 50), ("b", 80), ("b", 80)]


def test_the_clock_may_be_set_back():
    books = Books(a_budget(100))
    books.clock.advance(12 * HOUR)
    books.spend("r1", 60)

    books.clock.advance(-13 * HOUR)

    books.spend("r2", 40)
    assert books.sums() == [(100, 0)]
