"""From the configuration to the price of each target, once for each snapshot."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from gandalf.config import Config, ModelPrice
from gandalf.config import Provider as ProviderConfig
from gandalf.domain.prices import UnitPrices
from gandalf.domain.routing import Target
from gandalf.pricing.price import Period, Price, Tiers
from gandalf.pricing.price_list import Found, PriceList, variant
from gandalf.pricing.rates import Rates
from gandalf.pricing.table import PriceTable
from gandalf.pricing.vendors import may_have_vendor, place_of, vendor_of

log = logging.getLogger("gandalf.pricing")

CONFIG = "config"
"""The version of a price that the configuration has set."""

_UNITS = UnitPrices.__struct_fields__


def price_targets(
    config: Config, targets: Iterable[Target], *, now: float = 0.0
) -> dict[str, Price]:
    """Return the price of each target, by the target's name (``provider/model``).

    Args:
        config: The configuration, checked.
        targets: Those of its routes.
        now: Unix time before which no request will be rated: prices that had been
            replaced by then are left out. 0: all of them.

    Raises:
        PriceListError: The price list, or an entry of it, cannot be read.
    """
    resolver = _Resolver(config, now)
    return {target.name: resolver.price(target) for target in targets}


def price_table(
    config: Config,
    targets: Iterable[Target],
    *,
    now: float,
    every_model: bool = False,
) -> PriceTable:
    """Return the prices for a snapshot of ``config``; see ``price_targets``.

    Models that no route names are found too, if a provider may hold batches: the price
    list then stays in memory, half a megabyte. ``every_model`` asks for it, too.
    """
    resolver = _Resolver(config, now)
    prices = {target.name: resolver.price(target) for target in targets}
    batches = any(section.allow_batches for section in config.providers)
    wanted = every_model or batches
    return PriceTable(prices, resolver.price if wanted else None)


class _Resolver:
    """Finds prices for one configuration; the price list is read when first needed."""

    def __init__(self, config: Config, now: float) -> None:
        self._sections = {section.name: section for section in config.providers}
        self._overrides = _by_model(config.prices.overrides)
        self._file = config.prices.file
        self._list: PriceList | None = None
        self._now = now

    def price(self, target: Target) -> Price:
        section = self._sections.get(target.provider)
        if section is None:
            return Price(target.name)
        reported = section.cost_source == "provider"
        refuse = section.on_unknown_price == "refuse"
        own = self._overrides.get((target.provider, target.model))
        own = own or self._overrides.get(("", target.model))
        if own:
            return Price(
                target.name,
                (_overridden(own),),
                entry=target.model,
                match="override",
                version=CONFIG,
                reported=reported,
                refuse=refuse,
            )
        found = self._found(section, target.model)
        if found is None:
            return Price(target.name, reported=reported, refuse=refuse)
        if found.match == "fuzzy":
            entry = f"{found.vendor}/{found.name}"
            log.info("the price of %s is that of %s (fuzzy)", target.name, entry)
        return Price(
            target.name,
            _from(self._prices.periods(found), self._now),
            entry=f"{found.vendor}/{found.name}",
            match=found.match,
            version=self._prices.version,
            reported=reported,
            refuse=refuse,
        )

    def _found(self, section: ProviderConfig, model: str) -> Found | None:
        if may_have_vendor(section):
            vendor, name = place_of(vendor_of(section, self._prices), section, model)
            return self._prices.find(vendor, name)
        return None

    @property
    def _prices(self) -> PriceList:
        if self._list is None:
            self._list = PriceList(self._file)
        return self._list


def _from(periods: tuple[Period, ...], now: float) -> tuple[Period, ...]:
    """Return ``periods`` without those that have been replaced before ``now``."""
    first = 0
    for i, period in enumerate(periods):
        if period.hours is None and period.starts_at <= now:
            first = i
    return periods[first:]


def _by_model(
    overrides: Iterable[ModelPrice],
) -> Mapping[tuple[str, str], list[ModelPrice]]:
    found: dict[tuple[str, str], list[ModelPrice]] = defaultdict(list)
    for override in overrides:
        found[override.provider, override.model].append(override)
    return found


def _overridden(overrides: Iterable[ModelPrice]) -> Period:
    by_tier: dict[str, list[ModelPrice]] = defaultdict(list)
    for override in overrides:
        by_tier[override.service_tier].append(override)
    return Period({tier: _tiers(tier, own) for tier, own in by_tier.items()})


def _tiers(name: str, overrides: list[ModelPrice]) -> Tiers:
    ordered = sorted(overrides, key=lambda override: override.above_prompt_tokens)
    starts = tuple(override.above_prompt_tokens for override in ordered[1:])
    rates = tuple(
        Rates(CONFIG, variant(name, override.above_prompt_tokens), _units(override))
        for override in ordered
    )
    return Tiers(rates, starts)


def _units(override: ModelPrice) -> UnitPrices:
    given = msgspec.structs.asdict(override)
    return UnitPrices(**{unit: given[unit] for unit in _UNITS})
