"""The price list: one JSON file of vendors, their models, and what each unit costs.

``gandalf/pricing/prices.json`` is the built-in one, which ``make prices`` writes;
``prices.file`` names another. Only the entries that are asked for are decoded: the file
is read in about a millisecond, and nothing of it stays but the prices of targets.

An entry is found by its id (``exact``) or by another name that the list has for it
(``alias``). Else by the patterns of the list, or without what vendors add to the name
of a model, such as a date (``fuzzy``, which is logged).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import msgspec

from gandalf.config import ConfigError, Problem
from gandalf.domain.prices import UnitPrices
from gandalf.pricing.price import Period, Tiers
from gandalf.pricing.rates import Rates

Amount = int | tuple[int, ...]
"""Pico-USD for one unit. Of several: prompt tokens and the price above them follow."""


class PriceListError(ConfigError):
    """The price list cannot be read."""

    def __init__(self, file: str, message: str) -> None:
        super().__init__([Problem(file, None, "", message)])


class Found(NamedTuple):
    """An entry of the price list."""

    vendor: str
    name: str
    match: str
    """``exact``, ``alias`` or ``fuzzy``."""


class _Names(msgspec.Struct):
    """Names that an entry is for, all in lower case; patterns besides ``is_``."""

    is_: tuple[str, ...] = msgspec.field(default=(), name="is")
    starts: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()
    all: tuple[tuple[_Names, ...], ...] = ()
    """Each a list of which all must match."""

    def matches(self, name: str) -> bool:
        return (
            name in self.is_
            or name.startswith(self.starts)
            or name.endswith(self.ends)
            or any(part in name for part in self.contains)
            or any(re.search(pattern, name) for pattern in self.regex)
            or any(all(each.matches(name) for each in group) for group in self.all)
        )


class _Named(msgspec.Struct):
    match: _Names = msgspec.field(default_factory=_Names)


class _Period(msgspec.Struct):
    tiers: dict[str, dict[str, Amount]]
    from_: str = msgspec.field(default="", name="from")
    hours: tuple[int, int] | None = None


class _Entry(msgspec.Struct):
    periods: tuple[_Period, ...]


class _Vendor(msgspec.Struct):
    models: dict[str, msgspec.Raw]
    url: str = ""
    fallback: tuple[str, ...] = ()


class _File(msgspec.Struct):
    version: str
    vendors: dict[str, _Vendor]


_decode_file = msgspec.json.Decoder(_File).decode
_decode_named = msgspec.json.Decoder(_Named).decode
_decode_entry = msgspec.json.Decoder(_Entry).decode

# What vendors add to the name of a model without making it another one.
_ADDED = re.compile(
    r"^(models/|publishers/[^/]+/models/)"
    r"|(@\w+|-latest|-\d{8}|-\d{4}-\d\d-\d\d)$"
)


class PriceList:
    """The prices of one file.

    Raises:
        PriceListError: The file cannot be read, or is no price list.
    """

    def __init__(self, path: str = "") -> None:
        source = Path(path) if path else files("gandalf.pricing") / "prices.json"
        try:
            content = _decode_file(source.read_bytes())
        except (OSError, msgspec.MsgspecError) as error:
            raise PriceListError(str(source), str(error)) from error
        self._file = str(source)
        self.version = content.version
        self._vendors = content.vendors
        self._names: dict[str, dict[str, _Names]] = {}

    @property
    def vendors(self) -> Mapping[str, int]:
        """The vendors of the list, each with how many models it has."""
        return {name: len(vendor.models) for name, vendor in self._vendors.items()}

    def vendor_at(self, base_url: str) -> str:
        """Return the vendor whose API is at ``base_url``; "" if it is nobody's."""
        for name, vendor in self._vendors.items():
            if vendor.url and re.match(vendor.url, base_url):
                return name
        return ""

    def find(self, vendor: str, model: str) -> Found | None:
        """Return the entry of ``model`` at ``vendor``; None if there is none."""
        section = self._vendors.get(vendor)
        if section is None:
            return None
        places = [vendor, *(v for v in section.fallback if v in self._vendors)]
        name = model.lower()
        for place in places:
            if found := self._named(place, name):
                return found
        for candidate in _candidates(name):
            for place in places:
                if found := self._like(place, candidate):
                    return found
        return None

    def periods(self, found: Found) -> tuple[Period, ...]:
        """Return the prices of an entry.

        Raises:
            PriceListError: It cannot be read.
        """
        raw = self._vendors[found.vendor].models[found.name]
        source = f"{self.version} {found.vendor}/{found.name}"
        try:
            return tuple(_periods(source, _decode_entry(raw)))
        except (ValueError, KeyError, TypeError) as error:
            # msgspec's errors are ValueErrors.
            raise PriceListError(self._file, f"{source}: {error}") from error

    def _named(self, vendor: str, name: str) -> Found | None:
        models = self._vendors[vendor].models
        if name in models:
            return Found(vendor, name, "exact")
        for known, names in self._names_of(vendor).items():
            if known.lower() == name:
                return Found(vendor, known, "exact")
            if name in names.is_:
                return Found(vendor, known, "alias")
        return None

    def _like(self, vendor: str, name: str) -> Found | None:
        for known, names in self._names_of(vendor).items():
            if known.lower() == name or names.matches(name):
                return Found(vendor, known, "fuzzy")
        return None

    def _names_of(self, vendor: str) -> dict[str, _Names]:
        names = self._names.get(vendor)
        if names is None:
            models = self._vendors[vendor].models
            try:
                names = {name: _decode_named(raw).match for name, raw in models.items()}
            except msgspec.MsgspecError as error:
                raise PriceListError(self._file, f"{vendor}: {error}") from error
            self._names[vendor] = names
        return names


def _candidates(name: str) -> Iterator[str]:
    """Yield ``name``, with its date as others write it, and shorter and shorter."""
    yield name
    dashed = re.sub(r"-(20\d\d)(\d\d)(\d\d)$", r"-\1-\2-\3", name)
    if dashed != name:
        yield dashed
    while (shorter := _ADDED.sub("", name)) != name:
        yield (name := shorter)


def _periods(source: str, entry: _Entry) -> Iterator[Period]:
    for period in entry.periods:
        standard = period.tiers[""]
        tiers = {
            name: _tiers(source, name, {**standard, **units})
            for name, units in period.tiers.items()
        }
        starts_at = (
            datetime.fromisoformat(period.from_).replace(tzinfo=UTC).timestamp()
            if period.from_
            else 0.0
        )
        yield Period(tiers, starts_at=starts_at, hours=period.hours)


def _tiers(source: str, name: str, units: Mapping[str, Amount]) -> Tiers:
    starts = sorted({start for amount in units.values() for start in _starts(amount)})
    rates = tuple(
        Rates(
            source,
            variant(name, start),
            UnitPrices(**{unit: _above(start, a) for unit, a in units.items()}),
        )
        for start in (0, *starts)
    )
    return Tiers(rates, tuple(starts))


def variant(service_tier: str, start: int) -> str:
    """Return the name of a service tier and a prompt-length tier together."""
    return f"{service_tier}{f' >{start}' if start else ''}".strip()


def _starts(amount: Amount) -> Iterable[int]:
    return () if isinstance(amount, int) else amount[1::2]


def _above(start: int, amount: Amount) -> int:
    """Return the price that holds for prompts longer than ``start`` tokens."""
    if isinstance(amount, int):
        return amount
    price = amount[0]
    for begin, later in zip(amount[1::2], amount[2::2], strict=True):
        if begin <= start:
            price = later
    return price
