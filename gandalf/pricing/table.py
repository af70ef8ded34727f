"""The prices of one snapshot of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from gandalf.domain.routing import Target
from gandalf.pricing.price import Price


class PriceTable(Mapping[str, Price]):
    """The price of each target, by the target's name.

    Args:
        prices: Of the targets of all routes.
        resolve: Finds the price of a model that no route names. None: such have none.
    """

    def __init__(
        self,
        prices: Mapping[str, Price] | None = None,
        resolve: Callable[[Target], Price] | None = None,
    ) -> None:
        self._prices = dict(prices or {})
        self._resolve = resolve

    def __getitem__(self, name: str) -> Price:
        return self._prices[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._prices)

    def __len__(self) -> int:
        return len(self._prices)

    def learn(self, target: Target) -> None:
        """Find the price of a target that a wildcard has made."""
        if target.name not in self._prices and self._resolve is not None:
            self._prices[target.name] = self._resolve(target)

    def of_model(self, provider: str, model: str) -> Price | None:
        """Return the price of a model that an answer of ``provider`` names.

        Batches, and responses that are made in the background, are asked about without
        naming a model; it need not be one of the targets.
        """
        target = Target(provider=provider, model=model)
        found = self._prices.get(target.name)
        if found is None and self._resolve is not None:
            found = self._resolve(target)
        return found
