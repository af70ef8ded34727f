"""From the text of a setting to its value, by the type that the setting has.

The type wanted decides, not what YAML would guess: ``no`` is text where text is
wanted and false where true or false is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from msgspec import inspect

from gandalf.domain.secret import Secret

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False}
_WORDS["off"] = False

_INTEGER = re.compile(r"[+-]?\d[\d_]{0,17}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_DURATION = re.compile(r"((\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h|d))+", re.ASCII)
_DURATION_PART = re.compile(r"([\d.]+)(\D+)", re.ASCII)
_PICO = {"usd": 10**12, "usd_per_million": 10**6}
"""What an amount of one is in pico-USD: of the unit, and of a million of them."""
_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}


def duration(text: str) -> float:
    """Return the seconds that ``text`` stands for: ``1m30s``, ``250ms`` or ``1.5``.

    Raises:
        ValueError: It is not a duration.
    """
    if _DURATION.fullmatch(text):
        return sum(
            float(number) * _UNITS[unit]
            for number, unit in _DURATION_PART.findall(text)
        )
    return _number(text)


def parse(text: str, kind: inspect.Type) -> Any:  # noqa: ANN401 - what ``kind`` says
    """Return the value of type ``kind`` that ``text`` stands for.

    Raises:
        ValueError: It is not one.
    """
    kind, unit = bare(kind)
    match kind:
        case inspect.StrType():
            return text
        case inspect.CustomType(cls=cls) if cls is Secret:
            return Secret(text)
        case inspect.BoolType():
            return _WORDS[text.lower()] if text.lower() in _WORDS else _fail()
        case inspect.LiteralType(values=values):
            return text if text in values else _fail()
        case inspect.EnumType(cls=enum):
            return enum(text)
        case inspect.IntType() if unit in _PICO:
            value: float = _pico(text, _PICO[unit])
        case inspect.IntType():
            value = int(text) if _INTEGER.fullmatch(text) else _fail()
        case inspect.FloatType():
            value = duration(text) if unit == "duration" else _number(text)
        case _:
            raise TypeError(f"no setting may have the type {kind}")
    return value if _within(value, kind) else _fail()


def describe(kind: inspect.Type) -> str:
    """Return what is expected of a setting of type ``kind``, as a noun phrase."""
    kind, unit = bare(kind)
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType(values=values):
            return "one of " + ", ".join(str(v) for v in values if v)
        case inspect.EnumType(cls=enum):
            return "one of " + ", ".join(enum)
        case inspect.IntType(le=most) if unit in _PICO and most is not None:
            per = " for a million units" if unit == "usd_per_million" else ""
            most //= _PICO[unit]
            return f"an amount of USD (0 to {most}{per}, in whole pico-USD a unit)"
        case inspect.IntType():
            noun = "a number of bytes" if unit == "bytes" else "a whole number"
            return noun + _bounds(kind)
        case inspect.FloatType() if unit == "duration":
            return f"a duration{_bounds(kind)} (30s, 1m30s, 250ms)"
        case inspect.FloatType():
            return "a number" + _bounds(kind)
        case inspect.StructType():
            return "a mapping"
        case inspect.VarTupleType():
            return "a list"
        case _:
            return "text"


def choices(kind: inspect.Type) -> tuple[str, ...]:
    """Return the words that a setting of type ``kind`` may be. Empty: any."""
    match bare(kind)[0]:
        case inspect.LiteralType(values=values):
            return tuple(str(value) for value in values if value)
        case inspect.EnumType(cls=enum):
            return tuple(enum)
        case _:
            return ()


def optional(kind: inspect.Type) -> tuple[inspect.Type, bool]:
    """Return ``kind`` without its None, and whether it had one."""
    if isinstance(kind, inspect.UnionType):
        (inner,) = (t for t in kind.types if not isinstance(t, inspect.NoneType))
        return inner, True
    return kind, False


def is_secret(kind: inspect.Type) -> bool:
    """Whether a setting of type ``kind`` is a secret."""
    return isinstance(kind, inspect.CustomType) and kind.cls is Secret


def bare(kind: inspect.Type) -> tuple[inspect.Type, str]:
    """Return ``kind`` without its metadata, and the unit that these name."""
    if isinstance(kind, inspect.Metadata):
        extra: Mapping[str, str] = kind.extra or {}
        return kind.type, extra.get("unit", "")
    return kind, ""


def _number(text: str) -> float:
    value = float(text) if _NUMBER.fullmatch(text) else _fail()
    return value if math.isfinite(value) else _fail()


def _pico(text: str, factor: int) -> int:
    """Return an amount of USD in pico-USD for one unit, without any float."""
    if not _NUMBER.fullmatch(text):
        _fail()
    pico = Decimal(text) * factor
    return int(pico) if pico == pico.to_integral_value() else _fail()


def _within(value: float, kind: inspect.IntType | inspect.FloatType) -> bool:
    return (
        (kind.ge is None or value >= kind.ge)
        and (kind.gt is None or value > kind.gt)
        and (kind.le is None or value <= kind.le)
    )


def _bounds(kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge:g} to {kind.le:g}"
    if kind.gt is not None:
        return f" above {kind.gt:g}"
    # That a duration or a count is not negative goes without saying.
    return f" of at least {kind.ge:g}" if kind.ge else ""


def _fail() -> Any:  # noqa: ANN401 - never returns, in the place of any value
    raise ValueError
