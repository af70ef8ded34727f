"""What OpenAI's other endpoints say they have used.

They count alike, with names that differ a little: ``input_tokens`` and
``output_tokens`` include the parts that ``*_details`` tell of. Source: the sections
Responses, Images, Audio and Batch of https://platform.openai.com/docs/api-reference,
and for ``rerank`` https://docs.cohere.com/reference/rerank (``meta``) and
https://api.jina.ai/redoc (``usage``).
"""

from __future__ import annotations

import math

import msgspec

from gandalf.dialects.openai.answers import PRICED_TIERS
from gandalf.dialects.reported_cost import nano_of_cost, nano_of_ticks
from gandalf.domain.usage import OtherUsage, TokenUsage, add


class _WrittenDetails(msgspec.Struct):
    ttl_12h_tokens: int | None = None


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_tokens_details: _WrittenDetails | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class UsageView(msgspec.Struct):
    """A member ``usage``, whichever endpoint's."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    input_token_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None
    type: str | None = None
    seconds: float | None = None
    """Of a transcription that is charged by its duration."""
    cost: msgspec.Raw = msgspec.Raw(b"")
    cost_in_usd_ticks: int | None = None


class _BilledUnits(msgspec.Struct):
    search_units: float | None = None


class MetaView(msgspec.Struct):
    """A member ``meta``, of Cohere's ``rerank``."""

    tokens: UsageView | None = None
    billed_units: _BilledUnits | None = None

    @property
    def usage(self) -> TokenUsage | None:
        """What is told; None if nothing is."""
        tokens, billed = tokens_of(self.tokens), self.billed_units
        if billed is None or not billed.search_units:
            return tokens
        searches = OtherUsage(rerank_searches=math.ceil(billed.search_units))
        return add(tokens, TokenUsage(other=searches))


def tokens_of(
    usage: UsageView | None,
    *,
    spoken: bool = False,
    service_tier: str | None = None,
    web_searches: int = 0,
    file_searches: int = 0,
) -> TokenUsage | None:
    """Return what ``usage`` tells of; None if it tells of nothing.

    Args:
        usage: As it was said.
        spoken: Whether the output is speech.
        service_tier: Which the answer names beside it.
        web_searches: How many the provider has made for the answer.
        file_searches: The same, in stored files.
    """
    if usage is None:
        return None
    read = usage.input_tokens_details or usage.input_token_details or _InputDetails()
    made = usage.output_tokens_details or _OutputDetails()
    other = OtherUsage(
        image_input=read.image_tokens or 0,
        image_output=made.image_tokens or 0,
        audio_seconds=math.ceil(usage.seconds or 0),
        web_searches=web_searches,
        file_searches=file_searches,
        service_tier=service_tier or "" if service_tier in PRICED_TIERS else "",
        cost_nanousd=_cost(usage),
    )
    rest = None if other == _NOTHING else other
    prompt = _first(usage.input_tokens, usage.prompt_tokens, usage.total_tokens)
    if prompt is None:
        return None if rest is None else TokenUsage(other=rest)
    longer = read.cache_write_tokens_details
    written_longer = longer.ttl_12h_tokens if longer is not None else None
    reasoning = _first(made.reasoning_tokens, usage.reasoning_tokens)
    output = _rest(usage.output_tokens, reasoning, made.audio_tokens, made.image_tokens)
    return TokenUsage(
        input=_rest(
            prompt,
            read.cached_tokens,
            read.cache_write_tokens,
            read.audio_tokens,
            read.image_tokens,
        ),
        cache_read=read.cached_tokens,
        cache_write=_rest(read.cache_write_tokens, written_longer),
        cache_write_1h=written_longer,
        audio_input=read.audio_tokens,
        output=None if spoken else output,
        reasoning=reasoning,
        audio_output=output if spoken else made.audio_tokens,
        other=rest,
    )


_NOTHING = OtherUsage()


def _cost(usage: UsageView) -> int | None:
    if usage.cost_in_usd_ticks is not None:
        return nano_of_ticks(usage.cost_in_usd_ticks)
    return nano_of_cost(usage.cost)


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _rest(total: int | None, *parts: int | None) -> int | None:
    if total is None:
        return None
    return max(0, total - sum(part or 0 for part in parts))
