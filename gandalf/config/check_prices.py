"""Checks of the sections ``prices`` that one field alone cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from gandalf.config.check_hosting import Complain
from gandalf.config.settings import ModelPrice, Prices
from gandalf.domain.prices import UnitPrices

_UNITS = UnitPrices.__struct_fields__


def check_prices(
    prices: Prices,
    providers: Collection[str],
    complain: Complain,
    broken: Callable[[str], bool],
) -> None:
    """Check the price file's path and every override.

    Args:
        prices: The section.
        providers: Names of all providers.
        complain: Called with the path and the message of every problem.
        broken: Whether a path that this expression matches has a problem already.
    """
    if prices.file and not Path(prices.file).is_file():
        complain("prices.file", "there is no such file")
    seen: dict[tuple[str, str, str, int], int] = {}
    for i, one in enumerate(prices.overrides):
        path = f"prices.overrides[{i}]"
        if one.provider and one.provider not in providers:
            complain(f"{path}.provider", "there is no such provider")
        found = broken(rf"prices\.overrides\[{i}\]\..*")
        if not found and all(getattr(one, unit) is None for unit in _UNITS):
            complain(path, "names no price; a model that is free has input: 0")
        name = (one.provider, one.model, one.service_tier, one.above_prompt_tokens)
        if name in seen:
            complain(path, f"is for the same as prices.overrides[{seen[name]}]")
        seen.setdefault(name, i)
        if missing := _missing(one, prices.overrides):
            complain(path, missing)


def _missing(one: ModelPrice, overrides: Iterable[ModelPrice]) -> str:
    """Return what else ``one`` needs beside it; "" if nothing is missing."""
    names = {_name(other) for other in overrides}
    if (one.provider, one.model, "", 0) not in names:
        return "the model also needs prices without service_tier and for all prompts"
    if (one.provider, one.model, one.service_tier, 0) not in names:
        return f"the service tier {one.service_tier} also needs prices for all prompts"
    return ""


def _name(one: ModelPrice) -> tuple[str, str, str, int]:
    return one.provider, one.model, one.service_tier, one.above_prompt_tokens
