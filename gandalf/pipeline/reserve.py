"""Reserves what a request may cost, before an upstream is asked.

The bound is the estimate of the prompt, and for the answer the request's own limit
(``max_tokens``), or the route's ``reserve_output_tokens``, or the model's output limit,
at the dearest price among the targets. A stream reserves ``STEP_TOKENS`` of the answer
at a time and is cut when there is no room for more.

Every request leaves a line in the journal, with what it has reserved, that is in the
file before the request leaves: after a crash the request is settled at that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import trio

from gandalf.actors.accounts import Account
from gandalf.actors.ledger import Ledger, Reservation
from gandalf.actors.routes import RouteTable
from gandalf.dialects.base import Call
from gandalf.dialects.openai.passthrough import Action, PassthroughCall
from gandalf.domain.budgets import Scope, Unit
from gandalf.domain.errors import BudgetExceeded, PermissionDenied, PriceUnknown
from gandalf.domain.identity import Identity
from gandalf.domain.routing import Route, Target
from gandalf.domain.usage import Attempt, OpenedRequest
from gandalf.pipeline.bounds import Bound, Offer, bound_of
from gandalf.pipeline.exchange import Exchange, Reply
from gandalf.pipeline.meter import STEP_TOKENS, StreamMeter
from gandalf.pricing.price import Price

Open = Callable[[OpenedRequest], object]
"""Takes the line of a request that is about to be sent. Raises JournalFull."""


class Reserve:
    """Admits a request that fits into every budget that applies.

    What is reserved is settled by ``RecordUsage``, to what the record says.

    Args:
        ledger: Has the budgets.
        open_request: Has the line of the request in the journal before it is sent.
        routes: Knows the prices of targets.
    """

    def __init__(self, ledger: Ledger, open_request: Open, routes: RouteTable) -> None:
        self._ledger = ledger
        self._open_request = open_request
        self._routes = routes
        self._snapshot = routes.current
        """What ``_offers`` are of."""
        self._offers: dict[str, Offer] = {}

    def enter(self, exchange: Exchange) -> Reply | None:
        call, identity = exchange.call, exchange.identity
        assert call is not None  # noqa: S101 - read_call comes before
        assert identity is not None  # noqa: S101 - authenticate comes before
        exchange.budgets_version = self._ledger.version
        if call.stream:
            exchange.meter = StreamMeter()
        if self._ledger.applies_to(identity):
            self._reserve(exchange, call, identity)
        else:
            exchange.charged_at = self._ledger.now()
        try:
            self._open_request(_opened(exchange, call, identity))
        except BaseException:
            self._ledger.void(exchange.id)
            raise
        return None

    def _reserve(self, exchange: Exchange, call: Call, identity: Identity) -> None:
        accounts = self._ledger.accounts(
            identity, call.model, _providers(exchange.targets), exchange.tags
        )
        if not accounts:
            exchange.charged_at = self._ledger.now()
            return
        try:
            self._hold(exchange, call, identity, accounts)
        except BudgetExceeded as refusal:
            if not _go_without(exchange, refusal):
                raise
            self._reserve(exchange, call, identity)

    def _hold(
        self,
        exchange: Exchange,
        call: Call,
        identity: Identity,
        accounts: tuple[Account, ...],
    ) -> None:
        bound = self._bound(exchange, call, accounts)
        first = bound.step(STEP_TOKENS) if _in_steps(call, bound) else bound
        reservation = self._ledger.reserve(
            exchange.id, accounts, first.cost_nanousd, first.tokens
        )
        exchange.charged_at = reservation.at
        exchange.reserved = first
        if exchange.meter is not None:
            exchange.meter.limit(
                first.output_tokens,
                partial(self._extend, exchange, reservation, bound, identity),
            )

    def _bound(
        self,
        exchange: Exchange,
        call: Call,
        accounts: tuple[Account, ...],
    ) -> Bound:
        if call.operation == "batches" and isinstance(call, PassthroughCall):
            _check_batch(call, accounts)
        route = exchange.route
        offer = self._offer(route, exchange.targets)
        bound = bound_of(call, route, offer, self._ledger.now())
        if bound.unpriced and any(_needs_price(account) for account in accounts):
            raise PriceUnknown(
                f"a budget in USD applies, and {bound.unpriced} has no known price for"
                " this request: set one under prices.overrides, or use another model"
            )
        return bound

    def _offer(self, route: Route | None, targets: tuple[Target, ...]) -> Offer:
        snapshot = self._routes.current
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._offers.clear()
        if route is None or len(route.targets) != len(targets):
            return Offer(targets, snapshot)
        # In whatever order they are tried.
        offer = self._offers.get(route.alias)
        if offer is None:
            offer = self._offers[route.alias] = Offer(targets, snapshot)
        return offer

    def _extend(
        self,
        exchange: Exchange,
        reservation: Reservation,
        bound: Bound,
        identity: Identity,
        output_tokens: int,
    ) -> int:
        """Reserve for ``output_tokens`` and a step more; return for how many."""
        held = exchange.reserved
        call = exchange.call
        assert held is not None  # noqa: S101 - enter sets it
        assert call is not None  # noqa: S101 - read_call comes before
        wanted = bound.step(output_tokens + STEP_TOKENS)
        self._ledger.extend(
            reservation,
            wanted.cost_nanousd - held.cost_nanousd,
            wanted.tokens - held.tokens,
        )
        exchange.reserved = wanted
        self._open_request(_opened(exchange, call, identity))
        return wanted.output_tokens


def _in_steps(call: Call, bound: Bound) -> bool:
    return call.stream and bound.output_tokens > STEP_TOKENS


def _providers(targets: tuple[Target, ...]) -> tuple[str, ...]:
    if len(targets) == 1:
        return (targets[0].provider,)
    return tuple(dict.fromkeys(target.provider for target in targets))


def _check_batch(call: PassthroughCall, accounts: tuple[Account, ...]) -> None:
    if call.action is Action.CREATE and any(
        account.rule.unit is not Unit.REQUESTS and any(b.hard for b in account.budgets)
        for account in accounts
    ):
        raise PermissionDenied(
            "a budget applies, and the gateway cannot tell what a batch will use",
            code="batches_not_allowed",
        )


def _needs_price(account: Account) -> bool:
    return account.rule.unit is Unit.USD and any(b.hard for b in account.budgets)


def _go_without(exchange: Exchange, refusal: BudgetExceeded) -> bool:
    """Leave out the targets of a provider whose budget refuses, if there are others."""
    if refusal.budget.rule.scope is not Scope.PROVIDER:
        return False
    without = [t for t in exchange.targets if t.provider == refusal.subject]
    return _leave_out(exchange, without, "budget_exhausted")


def _leave_out(exchange: Exchange, targets: list[Target], outcome: str) -> bool:
    """Have ``targets`` passed over, unless there would be none left."""
    left = tuple(target for target in exchange.targets if target not in targets)
    if not left:
        return False
    exchange.attempts += [
        Attempt(
            target=target.name,
            started=trio.current_time() - exchange.received_at,
            outcome=outcome,
            decision="skipped",
        )
        for target in targets
    ]
    exchange.targets = left
    return True


def _opened(exchange: Exchange, call: Call, identity: Identity) -> OpenedRequest:
    target = exchange.targets[0]
    reserved = exchange.reserved
    # By position: by name it takes three times as long.
    return OpenedRequest(
        exchange.id,
        "" if exchange.request_id == exchange.id else exchange.request_id,
        exchange.charged_at,
        exchange.operation,
        exchange.dialect.NAME,
        identity.key_id,
        identity.org_id,
        identity.team_id,
        identity.user_id,
        call.model,
        target.provider,
        target.model,
        call.stream,
        exchange.tags,
        call.estimated_tokens,
        (call.max_tokens or 0) * call.n if reserved is None else reserved.output_tokens,
        None if reserved is None else reserved.cost_nanousd,
    )


def cost_after_crash(prices: Mapping[str, Price], opened: OpenedRequest) -> int | None:
    """Return what a request that was in flight at a crash is charged, in nano-USD.

    For one that no budget applied to: the others are charged what they had reserved.

    Args:
        prices: By the name of the target.
        opened: Its line in the journal.
    """
    if not opened.model:
        return 0
    price = prices.get(f"{opened.provider}/{opened.model}")
    if price is None:
        return None
    return price.upper_bound(
        opened.input_tokens, opened.output_tokens, at=opened.charged_at
    )
