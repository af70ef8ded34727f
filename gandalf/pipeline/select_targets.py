"""Finds the route of the model asked for, and the order in which to try its targets.

The allow-list of a key is on aliases, and Authorize has checked it. A target needs no
check of its own: what stands behind an alias is the operator's decision, failover
included, and no client can reach a target but through an alias it may use. Whoever
must never be served by some model gets an alias without it.
"""

from __future__ import annotations

import bisect
import difflib
import math
from random import Random

from gandalf.actors.routes import RouteTable
from gandalf.dialects.openai.passthrough import PassthroughCall
from gandalf.domain.errors import NotFound, PermissionDenied, UpstreamUnavailable
from gandalf.domain.identity import Identity
from gandalf.domain.routing import Target
from gandalf.pipeline.exchange import Exchange, Reply

MAX_NAME = 100
"""Characters of an unknown model's name that are shown, and compared with others."""

MAX_COMPARED = 50
"""Names to compare with an unknown one: about a millisecond of the event loop."""


class SelectTargets:
    """Puts a route's targets into the order of their priorities and weights."""

    def __init__(self, routes: RouteTable, random: Random) -> None:
        self._routes = routes
        self._random = random

    def enter(self, exchange: Exchange) -> Reply | None:
        call, identity = exchange.call, exchange.identity
        assert call is not None  # noqa: S101 - read_call comes before
        assert identity is not None  # noqa: S101 - authenticate comes before
        if not call.model and isinstance(call, PassthroughCall):
            return None  # It is about an object: Locate knows where that is.
        route = self._routes.find(call.model)
        if route is None:
            raise self._unknown(call.model, identity)
        if not route.targets and route.unpriced:
            raise PermissionDenied(
                f"the price of the model {route.alias!r} is not known, and its provider"
                " is configured to be used at known prices only",
                code="price_unknown",
            )
        if not route.targets:
            raise UpstreamUnavailable(
                "",
                f"every provider of the model {route.alias!r} is disabled",
                should_retry=False,
            )
        exchange.route = route
        targets = route.targets
        if identity.provider_lists:
            targets = _permitted(targets, identity, route.alias)
        exchange.targets = targets if len(targets) == 1 else self._ordered(targets)
        return None

    def _ordered(self, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        return tuple(sorted(targets, key=self._rank))

    def _rank(self, target: Target) -> tuple[int, float]:
        # Each waits for its first event at a rate of its weight: that one comes first
        # with a chance of its share, and so on among the rest. Weight 0 waits forever.
        wait = self._random.expovariate(target.weight) if target.weight else math.inf
        return target.priority, wait

    def _unknown(self, model: str, identity: Identity) -> NotFound:
        shown = model if len(model) <= MAX_NAME else f"{model[:MAX_NAME]}..."
        message = f"the model {shown!r} does not exist"
        # Only what the key may use is told: a guess must not reveal the others.
        usable = self._routes.models_for(identity)
        close = difflib.get_close_matches(model[:MAX_NAME], _around(model, usable))
        if close:
            message += f"; did you mean {' or '.join(map(repr, close))}?"
        elif not usable:
            message += ", and there is none that this key may use"
        else:
            message += "; GET /v1/models lists those that do"
        return NotFound(message, code="model_not_found")


def _permitted(
    targets: tuple[Target, ...], identity: Identity, alias: str
) -> tuple[Target, ...]:
    """Return the targets whose providers ``identity`` may use."""
    permitted = tuple(t for t in targets if identity.may_use_provider(t.provider))
    if not permitted:
        raise PermissionDenied(
            f"this api key may use none of the providers of the model {alias!r}",
            code="provider_not_allowed",
        )
    return permitted


def _around(model: str, names: list[str]) -> list[str]:
    """Return those of the sorted ``names`` that begin most like ``model``."""
    start = bisect.bisect(names, model) - MAX_COMPARED // 2
    start = max(0, min(start, len(names) - MAX_COMPARED))
    return names[start : start + MAX_COMPARED]
