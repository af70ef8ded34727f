"""Unit prices in integer pico-USD, and the rating that a usage record keeps."""

from __future__ import annotations

import msgspec

PICO_PER_NANO = 1_000
PICO_PER_USD = 10**12
NANO_PER_USD = 10**9


class UnitPrices(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False
):
    """Published prices, pico-USD for one unit. None: no price of its own.

    One USD for a million tokens is 1,000,000 pico-USD for one token. A class without a
    price of its own is charged as ``gandalf.pricing.rates`` says.
    """

    input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    """Written to the prompt cache for the default lifetime (Anthropic: 5 minutes)."""
    cache_write_1h: int | None = None
    """Written for the longer lifetime."""
    output: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    audio_cache_read: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    image_cache_read: int | None = None
    video_input: int | None = None
    video_output: int | None = None
    citation: int | None = None
    images: int | None = None
    """One generated image."""
    audio_seconds: int | None = None
    """One second of audio sent in."""
    characters: int | None = None
    """One character sent in."""
    requests: int | None = None
    """One request, whatever it holds."""
    web_searches: int | None = None
    file_searches: int | None = None
    rerank_searches: int | None = None


class Rating(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The unit prices that a cost was computed with, so that it can be computed again.

    Kept as an array: whatever is added comes last and has a default.
    """

    source: str
    """Version and entry of the price list (``genai-prices 0.2.3 openai/gpt-4o``),
    ``config``, or ``provider`` if the provider itself reported the cost."""
    variant: str = ""
    """Service tier and prompt-length tier: ``batch``, ``priority``, ``>200000``."""
    unit_prices: UnitPrices = UnitPrices()
