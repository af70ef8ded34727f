"""What targets cost, from the configuration and the price list."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from gandalf.cli.output import MISUSED, OK, fail, now, print_json, print_table

if TYPE_CHECKING:
    from gandalf.pricing.price import Price
    from gandalf.pricing.price_list import PriceList


def show(args: argparse.Namespace) -> int:
    """Show what each target costs."""
    from gandalf.actors.routes import build_routes, targets_of
    from gandalf.config import ConfigError, load
    from gandalf.pricing.price_list import PriceList
    from gandalf.pricing.resolve import price_targets

    try:
        config = load(args.config, os.environ)
        if args.vendors:
            _show_vendors(PriceList(config.prices.file))
            return OK
        routes = build_routes(config)
        if args.alias is not None and args.alias not in routes:
            return fail(f"there is no route {args.alias!r}")
        found = price_targets(config, targets_of(routes), now=now())
    except ConfigError as error:
        return fail(str(error), MISUSED)
    shown = [
        (alias, found[target.name])
        for alias, route in sorted(routes.items())
        for target in route.targets
        if args.alias in (None, alias)
    ]
    _show_prices(shown, as_json=args.json)
    return OK


def _show_vendors(prices: PriceList) -> None:
    rows = [[name, str(count)] for name, count in sorted(prices.vendors.items())]
    print_table(["VENDOR", "MODELS"], rows)


def _show_prices(prices: list[tuple[str, Price]], *, as_json: bool) -> None:
    from gandalf.pricing.describe import describe, units

    if as_json:
        print_json([{"alias": alias} | describe(price) for alias, price in prices])
        return
    at, rows = now(), []
    for alias, price in prices:
        rates = price.rates(0, at)
        usd = {} if rates is None else units(rates.prices)
        rest = [f"{u}={p}" for u, p in usd.items() if u not in ("input", "output")]
        sent, made = usd.get("input", "-"), usd.get("output", "-")
        row = [alias, price.target, price.match, price.entry or "-"]
        rows.append([*row, sent, made, " ".join(rest) or "-"])
    names = "ALIAS TARGET MATCH ENTRY INPUT OUTPUT OTHER"
    print_table(names.split(), rows)
