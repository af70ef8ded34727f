"""``GET /v1/key``: what a key may do, what its budgets have left, what it has used."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from gandalf.actors.ledger import BudgetState, Ledger
from gandalf.actors.limiter import Allowance, RateLimiter
from gandalf.config import Config
from gandalf.domain.buckets import Period, start_of
from gandalf.domain.budgets import Unit, tag_names, usd
from gandalf.domain.errors import Overloaded
from gandalf.domain.identity import Identity, Permission
from gandalf.domain.windows import FOREVER
from gandalf.http.page import Asked, Page, View
from gandalf.http.page_access import Keys, identify
from gandalf.pipeline.rate_limit import effective_limits
from gandalf.storage.errors import StorageError
from gandalf.storage.rollups import MEASURES
from gandalf.storage.usage_queries import Filters, Range, Sums

_ANYBODY = tuple(Permission)
_PERIODS = {
    "today": Period.DAILY,
    "this_week": Period.WEEKLY,
    "this_month": Period.MONTHLY,
}
"""In UTC; weeks begin on Monday."""


class Used(Protocol):
    """Sums of usage; ``storage.usage_queries`` has them."""

    async def sums(
        self, filters: Filters = ..., within: Range | None = None
    ) -> list[Sums]: ...


class KeyPage:
    """Tells the holder of a key what it is good for.

    Args:
        keys: Knows who asks.
        limiter: Knows what is left of the key's limits.
        ledger: Knows what is left of its budgets.
        current: Returns the present configuration.
        used: Knows what the key has used.
        now: Unix time.
    """

    def __init__(
        self,
        keys: Keys,
        limiter: RateLimiter,
        ledger: Ledger,
        current: Callable[[], Config],
        used: Used,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._limiter = limiter
        self._ledger = ledger
        self._current = current
        self._used = used
        self._now = now
        self.views: dict[str, View] = {"/v1/key": self._show}
        """By path. They answer GET, and raise GatewayError."""

    async def _show(self, asked: Asked) -> Page:
        identity = identify(self._keys, *asked, _ANYBODY)
        try:
            usage = await self._usage(identity.key_id)
        except StorageError:
            raise Overloaded("the database cannot be read now") from None
        body = {**self._key(identity), "usage": usage}
        return Page(200, b"application/json", msgspec.json.encode(body))

    async def _usage(self, key_id: str) -> dict[str, Any]:
        filters, now = Filters(key_id=(key_id,)), self._now()
        found = {}
        for name, period in _PERIODS.items():
            since = Range(int(start_of(period, now, UTC) * 1000))
            found[name] = _sums(await self._used.sums(filters, since))
        found["total"] = _sums(await self._used.sums(filters))
        return found

    def _key(self, identity: Identity) -> dict[str, Any]:
        limits = effective_limits(identity, self._current().rate_limits)
        state = self._limiter.state(identity.key_id, limits)
        states = self._ledger.states(self._ledger.accounts_of(identity))
        return {
            "object": "key",
            "id": identity.key_id,
            "key_prefix": identity.key_prefix,
            "org_id": identity.org_id,
            "team_id": identity.team_id,
            "user_id": identity.user_id,
            "role": identity.role,
            "allowed_models": identity.allowed_models,
            "tags": tag_names(identity.tags),
            "expires_at": _time(identity.expires_at),
            "limits": {
                "requests_per_minute": _allowance(state.requests),
                "tokens_per_minute": _allowance(state.tokens),
            },
            "budgets": list(map(budget_view, states)),
        }


def budget_view(state: BudgetState) -> dict[str, Any]:
    """Return what a budget has spent, reserved and left for one subject, for JSON."""
    budget = state.budget
    rule = budget.rule
    left = max(0, state.limit - state.spent - state.reserved)
    period = rule.period
    return {
        "name": budget.name,
        "scope": rule.scope,
        "subject": state.subject,
        "unit": rule.unit,
        "window": rule.window,
        "time_zone": rule.time_zone,
        "hard": budget.hard,
        "limit": _amount(state.limit, rule.unit),
        "spent": _amount(state.spent, rule.unit),
        "reserved": _amount(state.reserved, rule.unit),
        "remaining": _amount(left, rule.unit),
        "renews_at": None
        if state.window_end == FOREVER
        else period.local_time(state.window_end),
    }


def _sums(found: list[Sums]) -> dict[str, Any]:
    sums = {name: found[0][name] if found else 0 for name in MEASURES}
    return {
        "requests": sums["requests"],
        "errors": sums["errors"],
        "tokens": sum(sums[name] for name in MEASURES if name.endswith("_tokens")),
        "cost_usd": usd(sums["cost_nanousd"]),
    }


def _amount(amount: int, unit: Unit) -> str | int:
    """Return USD as exact text, other units as a number."""
    return usd(amount) if unit is Unit.USD else amount


def _allowance(allowance: Allowance | None) -> dict[str, int] | None:
    if allowance is None:
        return None
    return {"limit": allowance.limit, "remaining": allowance.remaining}


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
