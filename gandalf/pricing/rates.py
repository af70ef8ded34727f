"""The cost of a usage at one set of unit prices, in integers.

A cost is summed in pico-USD and rounded once, half to even, to nano-USD.

A token class without a price of its own is charged as the class that it is part of:
what is read from a cache as input, reasoning as output, images and video as text. Audio
is not, for it may cost ten times as much as text, nor is a cache write for the longer
lifetime, which is dearer than one for the shorter. A used unit that has no price at all
makes the cost unknown.
"""

from __future__ import annotations

from gandalf.domain.prices import PICO_PER_NANO, Rating, UnitPrices
from gandalf.domain.usage import OtherUsage, TokenUsage

MAX_COST_NANOUSD = 2**53 - 1
"""9 million USD: the most that one record may cost, whatever an upstream reports.
SQLite and JSON keep it exactly."""

UNPRICED = -1
"""Stands for a price that is not known, where comparing with None takes longer."""


class Rates:
    """One set of unit prices with every token class resolved. Immutable.

    Args:
        source: Where the prices come from; see ``Rating.source``.
        variant: Service tier and prompt-length tier; see ``Rating.variant``.
        prices: What was published.
    """

    def __init__(self, source: str, variant: str, prices: UnitPrices) -> None:
        self.rating = Rating(source, variant, prices)
        """What a usage record keeps of these prices."""
        self.prices = prices
        # A model that is charged by the search has no charge for its tokens.
        free = None if prices.rerank_searches is None else 0
        self.input = _first(prices.input, free)
        self.cache_read = _first(prices.cache_read, prices.input)
        self.cache_write = _first(prices.cache_write, prices.input)
        # Models without a charge for writing to the cache have none for keeping it.
        unwritten = prices.input if prices.cache_write is None else None
        self.cache_write_1h = _first(prices.cache_write_1h, unwritten)
        self.output = _first(prices.output, free)
        self.reasoning = _first(prices.reasoning, prices.output)
        self.audio_input = _first(prices.audio_input)
        self.audio_output = _first(prices.audio_output)
        sent = max(self.input, self.cache_write, self.cache_write_1h)
        made = max(self.output, self.reasoning)
        self._dearest = (sent, made)
        self._dearest_media = (
            max(sent, self.audio_input, _first(prices.image_input)),
            max(made, self.audio_output, _first(prices.image_output)),
        )

    def cost(self, usage: TokenUsage) -> int | None:
        """Return what ``usage`` costs in nano-USD; None if a used unit has no price."""
        pico = self.pico(usage)
        return None if pico is None else min(nano_of(pico), MAX_COST_NANOUSD)

    def pico(self, usage: TokenUsage) -> int | None:
        """Return what ``usage`` costs in pico-USD; None if a used unit has no price."""
        prices = self.prices
        total = prices.requests or 0
        if (count := usage.input or 0) > 0:
            if self.input < 0:
                return None
            total += count * self.input
        if (count := usage.output or 0) > 0:
            if self.output < 0:
                return None
            total += count * self.output
        if (count := usage.cache_read or 0) > 0:
            if self.cache_read < 0:
                return None
            total += count * self.cache_read
        if (count := usage.reasoning or 0) > 0:
            if self.reasoning < 0:
                return None
            total += count * self.reasoning
        if (count := usage.cache_write or 0) > 0:
            if self.cache_write < 0:
                return None
            total += count * self.cache_write
        if (count := usage.cache_write_1h or 0) > 0:
            if self.cache_write_1h < 0:
                return None
            total += count * self.cache_write_1h
        if (count := usage.audio_input or 0) > 0:
            if self.audio_input < 0:
                return None
            total += count * self.audio_input
        if (count := usage.audio_output or 0) > 0:
            if self.audio_output < 0:
                return None
            total += count * self.audio_output
        other = usage.other
        if other is None:
            return total
        rest = self._pico_of_other(other)
        return None if rest is None else total + rest

    def upper_bound(
        self, prompt_tokens: int, max_output_tokens: int, *, media: bool = False
    ) -> int | None:
        """Return the most that a request may cost, nano-USD; None if not known.

        Args:
            prompt_tokens: Tokens sent in, at the most.
            max_output_tokens: Tokens generated, at the most, reasoning included.
            media: Whether any of them may be audio or images.
        """
        sent, made = self._dearest_media if media else self._dearest
        if (sent < 0 < prompt_tokens) or (made < 0 < max_output_tokens):
            return None
        pico = self.prices.requests or 0
        # Not max(): it takes several times as long.
        if sent > 0:
            pico += prompt_tokens * sent
        if made > 0:
            pico += max_output_tokens * made
        return -(-pico // PICO_PER_NANO)

    def _pico_of_other(self, other: OtherUsage) -> int | None:
        prices = self.prices
        parts = (
            (other.image_input, _first(prices.image_input, prices.input)),
            (other.image_output, _first(prices.image_output, prices.output)),
            (other.video_input, _first(prices.video_input, prices.input)),
            (other.video_output, _first(prices.video_output, prices.output)),
            (
                other.audio_cache_read,
                _first(prices.audio_cache_read, prices.audio_input),
            ),
            (
                other.image_cache_read,
                _first(prices.image_cache_read, prices.cache_read, prices.image_input),
            ),
            (other.citation, _first(prices.citation)),
            (other.images, _first(prices.images)),
            (other.audio_seconds, _first(prices.audio_seconds)),
            (other.characters, _first(prices.characters)),
            (other.web_searches, _first(prices.web_searches)),
            (other.file_searches, _first(prices.file_searches)),
            (other.rerank_searches, _first(prices.rerank_searches)),
        )
        total = 0
        for count, price in parts:
            if count > 0:
                if price < 0:
                    return None
                total += count * price
        return total

    def __repr__(self) -> str:
        return f"<Rates {self.rating.source} {self.rating.variant}>"


def nano_of(pico: int) -> int:
    """Return ``pico`` pico-USD in nano-USD, rounded half to even."""
    nano, rest = divmod(pico, PICO_PER_NANO)
    half = PICO_PER_NANO // 2
    return nano + (rest > half or (rest == half and nano & 1 == 1))


def _first(*prices: int | None) -> int:
    return next((price for price in prices if price is not None), UNPRICED)
