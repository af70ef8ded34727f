"""The most that a request may use: prompt and answer in tokens, and its cost."""

from __future__ import annotations

from gandalf.actors.routes import Snapshot
from gandalf.dialects.base import Call
from gandalf.domain.routing import Route, Target

DEFAULT_OUTPUT_TOKENS = 4096
"""Reserved for an answer where neither request, route nor catalogue limits it."""

MEDIA_OUTPUT_TOKENS = 8192
"""Reserved for one image or piece of audio: OpenAI's largest image has 6,240."""

_TEXT = frozenset({"chat", "completions", "generate", "responses"})
_MEDIA = frozenset({"images", "audio"})


class Offer:
    """What the targets of a route cost, and the longest answer that they give.

    Args:
        targets: The targets.
        snapshot: Knows their prices and the limits of their models.
    """

    __slots__ = ("_prices", "output_limit", "unpriced")

    def __init__(self, targets: tuple[Target, ...], snapshot: Snapshot) -> None:
        prices = {target.name: snapshot.prices.get(target.name) for target in targets}
        self._prices = [price for price in prices.values() if price is not None]
        self.unpriced = next((n for n, price in prices.items() if price is None), "")
        """A target without any price."""
        limits = [_output_limit(target, snapshot) for target in targets]
        self.output_limit = max(limits, default=DEFAULT_OUTPUT_TOKENS)

    def dearest(
        self, input_tokens: int, output_tokens: int, at: int, media: bool
    ) -> tuple[int, str]:
        """Return the highest cost in nano-USD, and a target whose cost is not known."""
        most, unpriced = 0, self.unpriced
        for price in self._prices:
            cost = price.upper_bound(input_tokens, output_tokens, at=at, media=media)
            if cost is None:
                unpriced = price.target
            elif cost > most:
                most = cost
        return most, unpriced


class Bound:
    """The most that a request may use.

    Args:
        offer: Of its targets; None if nothing is generated.
        input_tokens: Estimate of the prompt.
        output_tokens: Limit of the answer.
        at: Unix time of the request.
        media: Whether it may hold images or audio.
    """

    __slots__ = (
        "_at",
        "_media",
        "_offer",
        "cost_nanousd",
        "input_tokens",
        "output_tokens",
        "tokens",
        "unpriced",
    )

    def __init__(
        self,
        offer: Offer | None,
        input_tokens: int,
        output_tokens: int,
        at: int,
        media: bool = False,
    ) -> None:
        self._offer = offer
        self._at = at
        self._media = media
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self.tokens = input_tokens + output_tokens
        self.cost_nanousd = 0
        self.unpriced = ""
        """A target without a known price."""
        if offer is not None:
            self.cost_nanousd, self.unpriced = offer.dearest(
                input_tokens, output_tokens, at, media
            )

    def step(self, output_tokens: int) -> Bound:
        """Return the bound for an answer of up to ``output_tokens``."""
        return Bound(
            self._offer, self.input_tokens, output_tokens, self._at, self._media
        )


def bound_of(call: Call, route: Route | None, offer: Offer, at: int) -> Bound:
    """Return the bound of a request over all of its targets.

    Args:
        call: The request's call.
        route: Its route; None if it is about an object.
        offer: Of its targets.
        at: Unix time of the request.
    """
    if not call.model:
        # About an object: nothing is generated.
        return Bound(None, call.estimated_tokens, 0, at)
    operation = call.operation
    if operation in _TEXT:
        output_tokens = call.max_tokens
        if output_tokens is None and route is not None:
            output_tokens = route.reserve_output_tokens
        if output_tokens is None:
            output_tokens = offer.output_limit
        return Bound(offer, call.estimated_tokens, output_tokens * call.n, at)
    if operation in _MEDIA:
        output_tokens = MEDIA_OUTPUT_TOKENS * call.n
        return Bound(offer, call.estimated_tokens, output_tokens, at, True)
    return Bound(offer, call.estimated_tokens, 0, at)


def _output_limit(target: Target, snapshot: Snapshot) -> int:
    provider = snapshot.providers.get(target.provider)
    limit = None if provider is None else provider.model(target.model).output_limit
    return DEFAULT_OUTPUT_TOKENS if limit is None else limit
