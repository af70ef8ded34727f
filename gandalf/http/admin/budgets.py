"""Budgets: managed like providers, with what is spent, and raised for a time.

An operator sees every budget. Others see those of their own organisation, team, users
and keys; a budget with a subject outside the scope does not exist for them, and of one
that is for each team (or key, ...) they see their own accounts.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from gandalf.actors.ledger import BudgetState, Ledger, Reservation
from gandalf.config import Config
from gandalf.domain.audit import AuditEntry
from gandalf.domain.budgets import Raise, Scope, Unit, parse_amount, usd
from gandalf.domain.identity import Identity, Permission
from gandalf.domain.ids import new_id
from gandalf.domain.managed import Kind
from gandalf.domain.tenants import Tenant, TenantKind
from gandalf.http.admin.audit import entry_of
from gandalf.http.admin.configuration import ConfigObjects, Configuration
from gandalf.http.admin.problems import FieldError, InvalidRequest
from gandalf.http.admin.scope import is_operator, not_found, require_operator, sees
from gandalf.http.admin.secrets import Secrets
from gandalf.http.admin.table import (
    AdminEndpoint,
    AdminReply,
    AdminRequest,
    Listed,
    Paging,
    listed,
)
from gandalf.http.admin.values import rfc3339, unix
from gandalf.http.key_page import budget_view

_READ = (Permission.VIEW_ALL_USAGE,)
_MANAGE = (Permission.MANAGE_ORGS,)
MAX_RAISE_SECONDS = 366 * 86400
MAX_STATES = 1000
"""Subjects of one budget that are shown; those that have spent most come first."""

_EXAMPLE = {
    "name": "research",
    "scope": "team",
    "id": "research",
    "limit": "500",
    "window": "month",
}


class Keys(Protocol):
    """The keys and tenants; ``actors.key_table`` has them."""

    def find(self, key_id: str) -> Identity | None: ...

    def tenant(self, kind: TenantKind, tenant_id: str) -> Tenant | None: ...


class Raises(Protocol):
    """The temporary raises; ``storage.budgets`` has them."""

    async def add_raise(
        self, one: Raise, now: float, entry: AuditEntry | None = None
    ) -> None: ...

    async def raises(self, now: int) -> tuple[Raise, ...]: ...


class NewRaise(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A temporary addition to a budget's limit."""

    amount: Annotated[str, Meta(min_length=1, max_length=40)]
    """In the budget's unit; USD may have up to 9 decimals."""
    subject: Annotated[str, Meta(max_length=256)] = ""
    """The one subject that it is for; empty: every subject of the budget."""
    until: datetime
    """Its end, RFC 3339; at most 366 days ahead."""


class RaiseView(msgspec.Struct, frozen=True, kw_only=True):
    """A temporary addition to a budget's limit."""

    id: str
    budget: str
    subject: str
    amount: str | int
    until: str | None


class ReservationView(msgspec.Struct, frozen=True, kw_only=True):
    """What a request that is under way may spend at the most."""

    request_id: str
    created_at: str | None
    expires_at: str | None
    expired: bool
    """Whether what it held is free again, though the request has not been settled."""
    claims: list[dict[str, Any]]
    """The part of each account: rule, subject, unit and amount."""


class BudgetEndpoints:
    """Handlers for budgets and reservations.

    Args:
        config: Owner of the configuration in force.
        current: Returns the configuration in force.
        path: The file that declares provisioned objects, for messages.
        secrets: Seals secrets and hides them.
        ledger: Owner of the accounts.
        keys: Tells whose a subject is.
        raises: The temporary raises.
        load_raises: Puts the raises of the database in force.
    """

    def __init__(
        self,
        config: Configuration,
        current: Callable[[], Config],
        path: str,
        secrets: Secrets,
        ledger: Ledger,
        keys: Keys,
        raises: Raises,
        load_raises: Callable[[], Awaitable[None]],
    ) -> None:
        self._objects = ConfigObjects(
            Kind.BUDGET, "budget", _MANAGE[0], config, current, path, secrets
        )
        self._current = current
        self._ledger = ledger
        self._keys = keys
        self._raises = raises
        self._load_raises = load_raises

    def endpoints(self) -> Iterator[AdminEndpoint]:
        """Yield the rows of the table."""
        reading = {"GET /budgets": self.list_all, "GET /budgets/{name}": self.get}
        for row in self._objects.endpoints(_EXAMPLE):
            handler = reading.get(f"{row.method} {row.path}")
            if handler is None:
                yield row
                continue
            yield replace(
                row,
                handler=handler,
                permissions=_READ,
                description=(
                    "`states` has what each subject has spent, reserved and left, and"
                    " when its window ends. An organisation sees its own budgets."
                ),
            )
        yield AdminEndpoint(
            method="POST",
            path="/budgets/{name}/raise",
            summary="Raise the limit of a budget for a time.",
            handler=self.raise_limit,
            permissions=_MANAGE,
            body=NewRaise,
            reply=RaiseView,
            status=201,
            example={"amount": "50", "until": "2027-01-01T00:00:00Z"},
        )
        yield AdminEndpoint(
            method="GET",
            path="/reservations",
            summary="List what requests under way may spend at the most, oldest first.",
            handler=self.reservations,
            permissions=_MANAGE,
            query=Paging,
            reply=Listed,
        )

    async def list_all(self, asked: AdminRequest) -> AdminReply:
        shown = [
            self._shown(asked.identity, budget.name)
            for budget in self._current().budgets
            if self._is_visible(asked.identity, budget.scope, budget.id)
        ]
        return listed(shown, 0, len(shown), len(shown))

    async def get(self, asked: AdminRequest) -> AdminReply:
        name = asked.path["name"]
        for budget in self._current().budgets:
            if budget.name == name and self._is_visible(
                asked.identity, budget.scope, budget.id
            ):
                reply = await self._objects.get(asked)
                shown = self._shown(asked.identity, name)
                if is_operator(asked.identity):
                    shown["raises"] = await self._raises_of(name, Unit(budget.unit))
                return replace(reply, body=shown)
        raise not_found("budget", name)

    async def raise_limit(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        name, wanted = asked.path["name"], asked.body
        units = {budget.name: Unit(budget.unit) for budget in self._current().budgets}
        if name not in units:
            raise not_found("budget", name)
        one = _raise(name, wanted, units[name])
        view = _raise_view(one, units[name])
        after: dict[str, Any] = msgspec.to_builtins(view)
        entry = entry_of(asked, "budgets.raise", f"budgets/{name}", after=after)
        await self._raises.add_raise(one, time.time(), entry)
        await self._load_raises()
        return AdminReply(body=view)

    async def reservations(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        offset, limit = asked.query.bounded()
        found = self._ledger.reservations()
        page = [_reservation(each) for each in found[offset : offset + limit]]
        return listed(page, offset, limit, len(found))

    def _shown(self, identity: Identity, name: str) -> dict[str, Any]:
        shown = self._objects.shown(name)
        shown["states"] = [
            budget_view(state)
            for state in sorted(
                self._ledger.states_of(name), key=_spending, reverse=True
            )
            if self._is_visible(identity, shown["scope"], state.subject)
        ][:MAX_STATES]
        return shown

    def _is_visible(self, identity: Identity, scope: str, subject: str) -> bool:
        """Whether a subject, or budgets of each subject, are the caller's to see."""
        if is_operator(identity):
            return True
        found: Tenant | Identity | None
        match Scope(scope):
            case Scope.ORGANIZATION:
                return identity.team_id is None and subject in ("", identity.org_id)
            case Scope.TEAM:
                found = self._keys.tenant(TenantKind.TEAM, subject)
                if subject and found is not None:
                    return sees(identity, found.org_id, subject)
            case Scope.USER:
                found = self._keys.tenant(TenantKind.USER, subject)
                if subject and found is not None:
                    return sees(identity, found.org_id, found.team_id)
            case Scope.KEY:
                found = self._keys.find(subject) if subject else None
                if found is not None:
                    return sees(identity, found.org_id, found.team_id)
            case _:
                return False
        return not subject

    async def _raises_of(self, name: str, unit: Unit) -> list[RaiseView]:
        found = await self._raises.raises(int(time.time()))
        return [_raise_view(one, unit) for one in found if one.budget == name]


def _spending(state: BudgetState) -> int:
    return state.spent + state.reserved


def _raise(name: str, wanted: NewRaise, unit: Unit) -> Raise:
    try:
        amount = parse_amount(wanted.amount, unit)
    except ValueError as error:
        raise InvalidRequest(
            f"amount: {error}", FieldError("amount", str(error))
        ) from error
    until = unix("until", wanted.until) or 0.0
    if not time.time() < until <= time.time() + MAX_RAISE_SECONDS:
        message = "expected a time within the next 366 days"
        raise InvalidRequest(f"until: {message}", FieldError("until", message))
    return Raise(new_id(), name, wanted.subject, amount, int(until))


def _raise_view(one: Raise, unit: Unit) -> RaiseView:
    return RaiseView(
        id=one.id,
        budget=one.budget,
        subject=one.subject,
        amount=usd(one.amount) if unit is Unit.USD else one.amount,
        until=rfc3339(one.until),
    )


def _reservation(reservation: Reservation) -> ReservationView:
    return ReservationView(
        request_id=reservation.id,
        created_at=rfc3339(reservation.at),
        expires_at=rfc3339(reservation.expires_at),
        expired=reservation.expired,
        claims=[
            {
                "rule": claim.account.rule.name,
                "subject": claim.account.subject,
                "unit": claim.account.rule.unit,
                "amount": usd(claim.amount)
                if claim.account.rule.unit is Unit.USD
                else claim.amount,
            }
            for claim in reservation.claims
        ],
    )
