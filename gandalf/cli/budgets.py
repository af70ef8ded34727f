"""Budgets: what they have spent, and raises for a time."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

from gandalf.cli.gateway import running, with_database
from gandalf.cli.output import (
    MISUSED,
    OK,
    fail,
    print_fields,
    print_objects,
    print_table,
)

if TYPE_CHECKING:
    from gandalf.http.admin.client import Api
    from gandalf.storage.database import Database

_WEEKDAYS = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)


def more(args: argparse.Namespace) -> int:
    """Raise a budget for a time."""
    if (api := running(args)) is not None:
        return _raise_running(api, args)
    import time

    from gandalf.config import ConfigError, budgets_of, load
    from gandalf.domain.budgets import Raise, format_amount, parse_amount
    from gandalf.domain.ids import new_id
    from gandalf.storage.budgets import BudgetStore

    try:
        budgets = budgets_of(load(args.config, os.environ))
    except ConfigError as error:
        return fail(str(error), MISUSED)
    found = next((budget for budget in budgets if budget.name == args.budget), None)
    if found is None:
        known = ", ".join(budget.name for budget in budgets) or "none"
        return fail(f"there is no budget {args.budget!r}; configured: {known}")
    unit, now = found.rule.unit, time.time()
    try:
        amount = parse_amount(args.amount.removeprefix("+"), unit)
        until = _end_of(args.until, found.rule.period.zone)
    except ValueError as error:
        return fail(str(error), MISUSED)
    if until <= now or amount == 0:
        return fail("a raise needs an amount, and an end that is to come", MISUSED)
    one = Raise(new_id(), found.name, args.id, amount, until)

    async def add(database: Database) -> int:
        await BudgetStore(database).add_raise(one, now)
        end = found.rule.period.local_time(until)
        print(f"{found.name} has {format_amount(amount, unit)} more until {end}")
        return OK

    return with_database(args, add, new=True)


def _raise_running(api: Api, args: argparse.Namespace) -> int:
    from gandalf.http.admin.client import fill

    try:
        until = datetime.fromtimestamp(_end_of(args.until, UTC), UTC)
    except ValueError as error:
        return fail(str(error), MISUSED)
    body = {
        "amount": args.amount.removeprefix("+"),
        "subject": args.id,
        "until": until.isoformat(),
    }
    path = fill("/budgets/{name}/raise", {"name": args.budget})
    print_fields(api.call("POST", path, body=body).data)
    return OK


def _end_of(text: str, zone: tzinfo) -> int:
    """Return the Unix time that a raise until ``text`` ends at.

    A date, or the name of the next such day of the week, means its end.

    Raises:
        ValueError: It is neither of these nor an ISO 8601 time.
    """
    today = datetime.now(zone).date()
    if text.lower() in _WEEKDAYS:
        ahead = (_WEEKDAYS.index(text.lower()) - today.weekday()) % 7
        day = today + timedelta(ahead)
    elif len(text) == len("2026-06-05"):
        day = date.fromisoformat(text)
    else:
        at = datetime.fromisoformat(text)
        return int((at if at.tzinfo else at.replace(tzinfo=zone)).timestamp())
    following = day + timedelta(1)
    midnight = datetime(following.year, following.month, following.day, tzinfo=zone)
    return int(midnight.timestamp())


def list_all(args: argparse.Namespace) -> int:
    """Show what budgets have spent so far."""
    if (api := running(args)) is not None:
        print_objects(api.call("GET", "/budgets", query={"limit": 100}).data["data"])
        return OK
    import time

    from gandalf.config import ConfigError, budgets_of, load
    from gandalf.domain.budgets import format_amount
    from gandalf.storage.budgets import BudgetStore
    from gandalf.storage.usage import UsageTable

    try:
        budgets = budgets_of(load(args.config, os.environ))
    except ConfigError as error:
        return fail(str(error), MISUSED)

    async def show(database: Database) -> int:
        from gandalf.actors.ledger import Ledger

        ledger = Ledger(budgets)
        ledger.set_raises(await BudgetStore(database).raises(int(time.time())))
        ledger.load(await UsageTable(database).balances())
        rows = [
            [
                state.budget.name,
                state.subject or "-",
                format_amount(state.spent, state.budget.rule.unit),
                format_amount(state.limit, state.budget.rule.unit),
                state.budget.rule.period.name,
            ]
            for state in ledger.all_states()
        ]
        print_table(["BUDGET", "SUBJECT", "SPENT", "LIMIT", "WINDOW"], rows)
        return OK

    return with_database(args, show, reading=True)
