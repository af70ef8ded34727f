"""Writes the price list of the package from ``genai-prices``. Run by ``make prices``.

    python catalogue/make_prices.py gandalf/pricing/prices.json

Needs an interpreter that has genai-prices, which the gateway itself does not. The price
at a moment and for a service tier is asked of that package, so that its rules need not
be repeated here; the file has the answers only. docs/money.md describes its format.

Prices become integer pico-USD for one unit. One that is no whole number of pico-USD is
rounded half to even, and is listed under ``rounded``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from genai_prices import types
from genai_prices.data import providers

# Units by their names in genai-prices, which has prices for so many of them at a time,
# and what one USD for these is in pico-USD for one.
UNITS = {
    "input_mtok": ("input", 10**6),
    "cache_read_mtok": ("cache_read", 10**6),
    "cache_write_mtok": ("cache_write", 10**6),
    "cache_write_1h_mtok": ("cache_write_1h", 10**6),
    "output_mtok": ("output", 10**6),
    "output_reasoning_mtok": ("reasoning", 10**6),
    "input_audio_mtok": ("audio_input", 10**6),
    "output_audio_mtok": ("audio_output", 10**6),
    "cache_audio_read_mtok": ("audio_cache_read", 10**6),
    "input_image_mtok": ("image_input", 10**6),
    "output_image_mtok": ("image_output", 10**6),
    "cache_image_read_mtok": ("image_cache_read", 10**6),
    "input_video_mtok": ("video_input", 10**6),
    "output_video_mtok": ("video_output", 10**6),
    "output_citation_mtok": ("citation", 10**6),
    "input_mchars": ("characters", 10**6),
    "input_audio_hours": ("audio_seconds", Fraction(10**12, 3600)),
    "audio_hours": ("audio_seconds", Fraction(10**12, 3600)),
    "requests_kcount": ("requests", 10**9),
    "web_searches_kcount": ("web_searches", 10**9),
    "storage_searches_kcount": ("file_searches", 10**9),
    "rerank_searches_kcount": ("rerank_searches", 10**9),
}
# What a request or its answer says of the tier that it is charged at.
TIERS = ("processing", "service_tier", "speed")

# Longer than any list of models was valid: the moment before the first start date.
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


class Maker:
    """Turns models of genai-prices into entries, and notes what was rounded."""

    def __init__(self) -> None:
        self.rounded: list[str] = []
        self.derived: list[str] = []

    def entry(self, vendor: str, model: Any) -> dict[str, Any] | None:
        """Return the entry of ``model``; None if no unit of it is priced here."""
        name = f"{vendor}/{model.id}"
        periods: list[dict[str, Any]] = []
        for start, hours, moment in _moments(model):
            tiers = self._tiers(name, model, moment)
            period: dict[str, Any] = {"tiers": tiers}
            if start > BEGINNING:
                period["from"] = start.date().isoformat()
            if hours is not None:
                period["hours"] = hours
            same = periods and hours is None and "hours" not in periods[-1]
            if not (same and periods[-1]["tiers"] == tiers):
                periods.append(period)
        if not any(period["tiers"][""] for period in periods):
            return None
        entry: dict[str, Any] = {"match": _match(model.match), "periods": periods}
        entry["context"] = model.context_window
        return {key: value for key, value in entry.items() if value}

    def _tiers(self, name: str, model: Any, moment: datetime) -> dict[str, Any]:
        standard = self._units(name, model, model.get_prices(moment))
        tiers = {"": standard}
        for variant in model.price_variants or ():
            if len(variant.when) != 1 or not set(variant.when) <= set(TIERS):
                continue
            [(_, tier)] = variant.when.items()
            units = self._units(name, model, model.get_prices(moment, variant.when))
            if units != standard:
                # Only what differs: the rest is the standard price.
                changed = {u: p for u, p in units.items() if standard.get(u) != p}
                tiers.setdefault(tier, changed)
        return tiers

    def _units(self, name: str, model: Any, prices: Any) -> dict[str, Any]:
        units: dict[str, Any] = {}
        for key, (unit, factor) in UNITS.items():
            price = getattr(prices, key)
            if price is not None and unit not in units:
                units[unit] = self._price(f"{name} {unit}", price, factor)
        if "claude" in model.id and "cache_write_1h" not in units:
            self._derive(name, units)
        for medium, text in _spoken_as_text(name):
            if text in units:
                units.setdefault(medium, units[text])
        return units

    def _derive(self, name: str, units: dict[str, Any]) -> None:
        """Add Anthropic's price of the longer cache lifetime: twice the input's.

        Its resellers do not publish it. Only where the shorter lifetime costs what it
        does at Anthropic, 5/4 of the input.
        """
        sent, written = units.get("input"), units.get("cache_write")
        if type(sent) is not type(written) or sent is None:
            return
        pairs = (
            [(sent, written)]
            if isinstance(sent, int)
            else list(zip(_amounts(sent), _amounts(written), strict=False))
        )
        if any(4 * write != 5 * read for read, write in pairs):
            return
        units["cache_write_1h"] = (
            2 * sent
            if isinstance(sent, int)
            else [n if i % 2 else 2 * n for i, n in enumerate(sent)]
        )
        if name not in self.derived:
            self.derived.append(name)

    def _price(self, name: str, price: Any, factor: Any) -> Any:
        if not isinstance(price, types.TieredPrices):
            return self._pico(name, price, factor)
        found = [self._pico(name, price.base, factor)]
        for tier in price.tiers:
            found += [tier.start, self._pico(name, tier.price, factor)]
        return found

    def _pico(self, name: str, usd: Decimal, factor: Any) -> int:
        exact = Fraction(usd) * factor
        pico = round(exact)  # half to even
        if pico != exact and name not in self.rounded:
            self.rounded.append(name)
        return pico


def _spoken_as_text(name: str) -> list[tuple[str, str]]:
    """Return the classes of audio that are priced as text, with that of the text.

    Google lists audio apart only where it costs something else. What text-to-speech
    models put out is audio, and the list has it as output.
    """
    if name.startswith("google/"):
        return [("audio_input", "input"), ("audio_output", "output")]
    return [("audio_output", "output")] if "-tts" in name else []


def _amounts(price: list[int]) -> list[int]:
    return price[::2]


def _moments(model: Any) -> Iterator[tuple[datetime, list[int] | None, datetime]]:
    """Yield from when, during which seconds of the day, and a moment of that time."""
    dates, hours = {BEGINNING}, []
    for each in _conditions(model):
        if isinstance(each, types.StartDateConstraint):
            dates.add(datetime.combine(each.start_date, time(), UTC))
        elif isinstance(each, types.TimeOfDateConstraint):
            span = (_second(each.start_time), _second(each.end_time))
            if span not in hours:
                hours.append(span)
    for date in sorted(dates):
        outside = next(s for s in range(0, 86_400, 900) if not _within(s, hours))
        yield date, None, date + timedelta(seconds=outside)
        for first, end in hours:
            yield date, [first, end], date + timedelta(seconds=first)


def _conditions(model: Any) -> Iterable[Any]:
    if isinstance(model.prices, list):
        yield from (each.constraint for each in model.prices)
    yield from (each.constraint for each in model.price_variants or ())


def _second(at: time) -> int:
    at = datetime.combine(BEGINNING.date(), at, at.tzinfo or UTC).astimezone(UTC).time()
    return at.hour * 3600 + at.minute * 60 + at.second


def _within(second: int, hours: list[tuple[int, int]]) -> bool:
    return any(
        first <= second < end if first <= end else second >= first or second < end
        for first, end in hours
    )


def _match(clause: Any) -> dict[str, Any]:
    """Return which names a clause matches: ``is``, or one of the fuzzy ones."""
    match clause:
        case types.ClauseEquals():
            return {"is": [clause.equals.lower()]}
        case types.ClauseStartsWith():
            return {"starts": [clause.starts_with.lower()]}
        case types.ClauseEndsWith():
            return {"ends": [clause.ends_with.lower()]}
        case types.ClauseContains():
            return {"contains": [clause.contains.lower()]}
        case types.ClauseRegex():
            return {"regex": [clause.regex]}
        case types.ClauseAnd():
            return {"all": [[_match(each) for each in clause.and_]]}
        case types.ClauseOr():
            joined: dict[str, Any] = {}
            for each in clause.or_:
                for key, values in _match(each).items():
                    joined[key] = joined.get(key, []) + values
            return joined
    raise TypeError(f"no such clause: {clause!r}")


def main(path: Path) -> None:
    maker = Maker()
    vendors = {}
    for provider in providers:
        models = {
            model.id: maker.entry(provider.id, model) for model in provider.models
        }
        vendors[provider.id] = {
            "url": provider.api_pattern,
            "fallback": provider.fallback_model_providers or [],
            "models": {name: entry for name, entry in models.items() if entry},
        }
    package = distribution("genai-prices")
    [licence] = [f for f in package.files or () if f.name == "LICENSE"]
    head = {
        "version": f"genai-prices {package.version}",
        "notice": Path(str(package.locate_file(licence))).read_text(),
        "rounded": maker.rounded,
        "derived": maker.derived,
    }
    path.write_text(_text(head, vendors))


def _text(head: dict[str, Any], vendors: dict[str, Any]) -> str:
    """Return the file: JSON with one line for each model, so that diffs can be read."""
    lines = [f"{json.dumps(k)}:{_dump(v)}," for k, v in head.items()]
    blocks = []
    for name, vendor in sorted(vendors.items()):
        models = ",\n".join(
            f"{json.dumps(m)}:{_dump(entry)}" for m, entry in vendor["models"].items()
        )
        rest = f'"url":{_dump(vendor["url"])},"fallback":{_dump(vendor["fallback"])}'
        blocks.append(f'{json.dumps(name)}:{{{rest},"models":{{\n{models}\n}}}}')
    return "{" + "\n".join(lines) + '\n"vendors":{\n' + ",\n".join(blocks) + "\n}}\n"


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
