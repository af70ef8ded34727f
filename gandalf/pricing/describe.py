"""Prices of targets as people and programs read them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from gandalf.domain.prices import UnitPrices
from gandalf.pricing.amounts import usd_per_million, usd_per_unit
from gandalf.pricing.price import Period, Price

PER_UNIT = (
    "images",
    "audio_seconds",
    "requests",
    "web_searches",
    "file_searches",
    "rerank_searches",
)
"""Units whose prices are for one; those of the others are for a million."""


def describe(price: Price) -> dict[str, Any]:
    """Return how a target's price was found, and all of its unit prices, as USD."""
    return {
        "target": price.target,
        "match": price.match,
        "entry": price.entry,
        "version": price.version,
        "on_unknown_price": "refuse" if price.refuse else "allow",
        "cost_source": "provider" if price.reported else "prices",
        "prices": [row for period in price.periods for row in _rows(period)],
    }


def units(prices: UnitPrices) -> dict[str, str]:
    """Return the unit prices that there are, as USD for a million, or for one."""
    return {
        unit: usd_per_unit(pico) if unit in PER_UNIT else usd_per_million(pico)
        for unit in UnitPrices.__struct_fields__
        if (pico := getattr(prices, unit)) is not None
    }


def _rows(period: Period) -> Iterator[dict[str, Any]]:
    for name, tiers in period.tiers.items():
        for start, rates in tiers.all:
            row: dict[str, Any] = {"service_tier": name or "standard"}
            if start:
                row["above_prompt_tokens"] = start
            if period.starts_at:
                at = datetime.fromtimestamp(period.starts_at, UTC)
                row["from"] = at.date().isoformat()
            if period.hours is not None:
                row["hours"] = "-".join(map(_clock, period.hours))
            yield row | {"usd": units(rates.prices)}


def _clock(second: int) -> str:
    return f"{second // 3600:02d}:{second // 60 % 60:02d}"
