"""Amounts of money as text, exact: no float is near."""

from __future__ import annotations

from gandalf.domain.prices import NANO_PER_USD

_PER_MILLION = 10**6


def usd(nano: int) -> str:
    """Return ``nano`` nano-USD as decimal USD: ``0.00375``, ``12``.

    On the hot path: each whole answer tells its cost.
    """
    if nano < 0:
        return f"-{usd(-nano)}"
    whole, rest = divmod(nano, NANO_PER_USD)
    return f"{whole}.{rest:09d}".rstrip("0") if rest else str(whole)


def usd_per_million(pico: int) -> str:
    """Return the price of a million units, USD, if one costs ``pico`` pico-USD."""
    return _decimal(pico, _PER_MILLION, 6)


def usd_per_unit(pico: int) -> str:
    """Return the price of one unit, USD, if it costs ``pico`` pico-USD."""
    return _decimal(pico, 10**12, 12)


def _decimal(amount: int, scale: int, digits: int) -> str:
    whole, rest = divmod(amount, scale)
    return f"{whole}.{rest:0{digits}d}".rstrip("0") if rest else str(whole)
