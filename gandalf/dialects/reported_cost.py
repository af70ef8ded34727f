"""The cost that some providers report with an answer, in integer nano-USD.

Sources: https://openrouter.ai/docs/use-cases/usage-accounting (``usage.cost`` in USD;
with a key of one's own the provider behind charges ``upstream_inference_cost`` too),
https://docs.x.ai/developers/cost-tracking (``cost_in_usd_ticks``, ten billion to the
USD), https://docs.perplexity.ai/guides/pricing (``usage.cost.total_cost`` in USD).
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

import msgspec

TICKS_PER_NANO = 10
# USD of one request; more is no cost, and would be an endless number of digits.
_MOST_DIGITS = 6


class CostDetails(msgspec.Struct):
    """A member ``cost_details``."""

    upstream_inference_cost: msgspec.Raw = msgspec.Raw(b"")


class _Total(msgspec.Struct):
    total_cost: msgspec.Raw = msgspec.Raw(b"")


_decode_total = msgspec.json.Decoder(_Total).decode


def nano_of_ticks(ticks: int) -> int:
    """Return xAI's ticks in nano-USD, rounded half to even."""
    nano, rest = divmod(ticks, TICKS_PER_NANO)
    return nano + (rest > 5 or (rest == 5 and nano & 1 == 1))


def nano_of_cost(cost: msgspec.Raw, more: msgspec.Raw | None = None) -> int | None:
    """Return a member ``cost`` in nano-USD; None if it is no amount.

    Args:
        cost: A number, or an object with ``total_cost``.
        more: Another amount to add to it.
    """
    said = bytes(cost)
    if said.startswith(b"{"):
        try:
            said = bytes(_decode_total(said).total_cost)
        except msgspec.MsgspecError:
            return None
    usd = _amount(said)
    if usd is None:
        return None
    added = None if more is None else _amount(bytes(more))
    nano = (usd + (added or 0)) * 10**9
    return int(nano.to_integral_value(ROUND_HALF_EVEN))


def _amount(said: bytes) -> Decimal | None:
    try:
        usd = Decimal(said.decode())
    except (InvalidOperation, ValueError):
        return None
    if not usd.is_finite() or usd < 0 or usd.adjusted() > _MOST_DIGITS:
        return None
    return usd
