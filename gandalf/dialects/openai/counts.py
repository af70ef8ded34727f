"""What OpenAI's other endpoints say they have used.

They count alike, with names that differ a little: ``input_tokens`` and
``output_tokens`` include the parts that ``*_details`` tell of. Source: the sections
Responses, Images, Audio and Batch of https://platform.openai.com/docs/api-reference,
and for ``rerank`` https://docs.cohere.com/reference/rerank (``meta``) and
https://api.jina.ai/redoc (``usage``).
"""

from __future__ import annotations

import msgspec

from gandalf.domain.usage import TokenUsage


class _WrittenDetails(msgspec.Struct):
    ttl_12h_tokens: int | None = None


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_tokens_details: _WrittenDetails | None = None
    audio_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


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


class MetaView(msgspec.Struct):
    """A member ``meta``, of Cohere's ``rerank``."""

    tokens: UsageView | None = None


def tokens_of(usage: UsageView | None, *, spoken: bool = False) -> TokenUsage | None:
    """Return the tokens that ``usage`` tells of; None if it tells of none.

    Args:
        usage: As it was said.
        spoken: Whether the output is speech.
    """
    if usage is None:
        return None
    prompt = _first(usage.input_tokens, usage.prompt_tokens, usage.total_tokens)
    if prompt is None:
        return None
    read = usage.input_tokens_details or usage.input_token_details or _InputDetails()
    made = usage.output_tokens_details or _OutputDetails()
    longer = read.cache_write_tokens_details
    written_longer = longer.ttl_12h_tokens if longer is not None else None
    reasoning = _first(made.reasoning_tokens, usage.reasoning_tokens)
    output = _rest(usage.output_tokens, reasoning, made.audio_tokens)
    return TokenUsage(
        input=_rest(
            prompt, read.cached_tokens, read.cache_write_tokens, read.audio_tokens
        ),
        cache_read=read.cached_tokens,
        cache_write=_rest(read.cache_write_tokens, written_longer),
        cache_write_1h=written_longer,
        audio_input=read.audio_tokens,
        output=None if spoken else output,
        reasoning=reasoning,
        audio_output=output if spoken else made.audio_tokens,
    )


def together(one: TokenUsage | None, other: TokenUsage | None) -> TokenUsage | None:
    """Return the sum of both, class by class; what neither tells stays untold."""
    if one is None or other is None:
        return one or other
    sums = {
        name: _sum(getattr(one, name), getattr(other, name))
        for name in TokenUsage.__struct_fields__
    }
    return TokenUsage(**sums)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _rest(total: int | None, *parts: int | None) -> int | None:
    if total is None:
        return None
    return max(0, total - sum(part or 0 for part in parts))
