"""The budgets of a configuration, as the ledger takes them."""

from __future__ import annotations

from gandalf.config.check_hosting import Complain, fault_of_url
from gandalf.config.settings import Budget as Section
from gandalf.config.settings import Config
from gandalf.domain.budgets import (
    KEY_BUDGET,
    TAG,
    Budget,
    Rule,
    Scope,
    Unit,
    parse_amount,
)
from gandalf.domain.windows import period


def budgets_of(config: Config) -> tuple[Budget, ...]:
    """Return the budgets of a valid configuration."""
    return tuple(map(_budget, config.budgets))


def max_budget_of(text: str | None) -> int | None:
    """Return a key's ``max_budget`` in nano-USD."""
    return None if text is None else parse_amount(text, Unit.USD)


def check_budgets(config: Config, complain: Complain) -> None:
    """Check budgets, tags and webhooks.

    Args:
        config: The configuration.
        complain: Called with the path and the message of every problem.
    """
    providers = {provider.name for provider in config.providers}
    for i, section in enumerate(config.budgets):
        _check(f"budgets[{i}]", section, providers, complain)
    for i, key in enumerate(config.keys):
        if key.max_budget is not None:
            _check_amount(f"keys[{i}].max_budget", key.max_budget, Unit.USD, complain)
        for j, tag in enumerate(key.tags):
            if not TAG.fullmatch(tag):
                complain(
                    f"keys[{i}].tags[{j}]",
                    "expected up to 64 letters, digits and any of . _ : / = @ + -",
                )
    for i, webhook in enumerate(config.notifications.webhooks):
        if webhook.url and (fault := fault_of_url(webhook.url)):
            complain(f"notifications.webhooks[{i}].url", fault)


def _check(
    path: str, section: Section, providers: set[str], complain: Complain
) -> None:
    if section.name == KEY_BUDGET:
        complain(f"{path}.name", "is the name of the budgets that keys have")
    if section.unit:
        _check_amount(f"{path}.limit", section.limit, Unit(section.unit), complain)
    try:
        period(section.window)
    except ValueError:
        complain(
            f"{path}.window",
            "expected lifetime, hour, day, week, month or rolling days (1d to 366d),"
            f" found {section.window!r}",
        )
    try:
        period("day", section.time_zone)
    except ValueError:
        complain(
            f"{path}.time_zone",
            "expected the name of a time zone (UTC, Europe/Berlin), found"
            f" {section.time_zone!r}",
        )
    if list(section.thresholds) != sorted(set(section.thresholds)):
        complain(f"{path}.thresholds", "must ascend")
    if section.scope == "global" and section.id:
        complain(f"{path}.id", "the global scope has no ids")
    if section.scope == "provider" and section.id and section.id not in providers:
        complain(f"{path}.id", f"there is no provider {section.id!r}")


def _check_amount(path: str, text: str, unit: Unit, complain: Complain) -> None:
    try:
        parse_amount(text, unit)
    except ValueError:
        expected = (
            "an amount of USD with up to 9 decimals"
            if unit is Unit.USD
            else f"a whole number of {unit}"
        )
        complain(path, f"expected {expected}, found {text!r}")


def _budget(section: Section) -> Budget:
    unit = Unit(section.unit)
    # A lifetime has one window, whatever the time zone.
    zone = "UTC" if section.window == "lifetime" else section.time_zone
    return Budget(
        name=section.name,
        rule=Rule(Scope(section.scope), section.id, section.window, zone, unit),
        limit=parse_amount(section.limit, unit),
        hard=section.hard,
        thresholds=section.thresholds,
    )
