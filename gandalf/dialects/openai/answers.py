"""What a whole answer says of itself: how it ended and what it used."""

from __future__ import annotations

from typing import Any

import msgspec

from gandalf.dialects.base import UNREADABLE, Answer
from gandalf.dialects.conversation import Failed
from gandalf.dialects.ends import bad_end, lacks
from gandalf.dialects.openai.errors import failed_of
from gandalf.dialects.openai.finishes import is_good_end
from gandalf.dialects.openai.views import (
    NO_RAW,
    CompletionDetails,
    PromptDetails,
    UsageView,
    VectorsView,
    WholeChoice,
    WholeView,
    decode_object,
    decode_vectors,
    decode_whole,
)
from gandalf.dialects.reported_cost import nano_of_cost, nano_of_ticks
from gandalf.dialects.unread import read_whole
from gandalf.domain.usage import OtherUsage, TokenUsage

_NO_RAW = msgspec.Raw(b"")
_NO_PROMPT_DETAILS = PromptDetails()
_NO_COMPLETION_DETAILS = CompletionDetails()

PRICED_TIERS = frozenset({"batch", "fast", "flex", "priority"})
"""Service tiers with prices of their own; others cost what the standard one does."""


def chat_answer(body: bytes) -> Answer:
    """Return what a whole chat completion says of itself.

    Raises one of UNREADABLE if it is no answer.
    """
    return _choices_answer(body, chat=True)


def completions_answer(body: bytes) -> Answer:
    """Return what a whole legacy completion says of itself. Raises UNREADABLE."""
    return _choices_answer(body, chat=False)


def embeddings_answer(body: bytes) -> Answer:
    """Return what an answer with vectors says of itself. Raises UNREADABLE."""
    view, unread = read_whole(body, decode_vectors, VectorsView)
    failed = error_in(view.error)
    if failed is None and not view.data:
        failed = failure_in(body) or lacks("data")
    return Answer(tokens_of(view.usage), None, failed, unread)


def _choices_answer(body: bytes, *, chat: bool) -> Answer:
    view, unread = read_whole(body, decode_whole, WholeView)
    choices = view.choices
    failed = error_in(view.error) if view.error else None
    if failed is None:
        failed = _failed_choice(choices, chat=chat) if choices else _no_choices(body)
    reason = choices[0].finish_reason if choices else None
    return Answer(tokens_of(view.usage, view.service_tier), reason, failed, unread)


def _failed_choice(choices: list[WholeChoice], *, chat: bool) -> Failed | None:
    """Return why one of ``choices`` is no answer; None if all are."""
    for choice in choices:
        if choice.error and (failed := error_in(choice.error)) is not None:
            return failed
        if not is_good_end(choice.finish_reason):
            return bad_end(choice.finish_reason)
        if chat and not bytes(choice.message).startswith(b"{"):
            return lacks("message")
        if not chat and choice.text is None:
            return lacks("text")
    return None


def _no_choices(body: bytes) -> Failed:
    return failure_in(body) or lacks("choices")


def tokens_of(
    usage: UsageView | None, service_tier: str | None = None
) -> TokenUsage | None:
    """Return the tokens by class; None if they are not told.

    Args:
        usage: As it was said.
        service_tier: Which the answer names beside it.
    """
    if usage is None or usage.prompt_tokens is None:
        return None
    sent, answered, total = (
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
    )
    prompt = usage.prompt_tokens_details or _NO_PROMPT_DETAILS
    completion = usage.completion_tokens_details or _NO_COMPLETION_DETAILS
    cached, audio = prompt.cached_tokens, prompt.audio_tokens
    if cached is None:
        cached = usage.prompt_cache_hit_tokens
        if cached is None:
            cached = usage.cached_tokens
    written = prompt.cache_write_tokens
    if written is None:
        written = prompt.cache_creation_tokens
    reasoning, audio_output = completion.reasoning_tokens, completion.audio_tokens
    output: int | None = None
    if answered is not None:
        apart = 0 if total is None else total - sent - answered
        if usage.reasoning_tokens is not None and reasoning is None:
            # Perplexity has it beside the completion, and not in the total.
            reasoning = usage.reasoning_tokens
            output = answered - (audio_output or 0)
        elif apart > 0 and (not reasoning or reasoning == apart):
            # At OpenAI the completion's tokens have those of the reasoning among them;
            # at xAI and Google only the total has, and Google does not say in the
            # details what the rest of it is.
            reasoning = apart
            output = answered - (audio_output or 0)
        else:
            output = answered - (reasoning or 0) - (audio_output or 0)
    # OpenAI's totals include the parts; ours are disjoint.
    input_ = sent - (cached or 0) - (written or 0) - (audio or 0)
    return TokenUsage(
        input=max(0, input_),
        cache_read=cached,
        cache_write=written,
        audio_input=audio,
        output=output if output is None else max(0, output),
        reasoning=reasoning,
        audio_output=audio_output,
        other=_other(usage, service_tier),
    )


def _other(usage: UsageView, service_tier: str | None) -> OtherUsage | None:
    """Return what is rare, and what decides the price; None: nothing of it."""
    tier = service_tier if service_tier in PRICED_TIERS else None
    if (
        tier is None
        and usage.cost is NO_RAW
        and usage.cost_in_usd_ticks is None
        and not usage.citation_tokens
        and not usage.num_search_queries
    ):
        return None
    return OtherUsage(
        service_tier=tier or "",
        citation=usage.citation_tokens or 0,
        web_searches=usage.num_search_queries or 0,
        cost_nanousd=_cost(usage),
    )


def _cost(usage: UsageView) -> int | None:
    if usage.cost_in_usd_ticks is not None:
        return nano_of_ticks(usage.cost_in_usd_ticks)
    details = usage.cost_details if usage.is_byok else None
    more = None if details is None else details.upstream_inference_cost
    return nano_of_cost(usage.cost, more)


def usage_json(usage: TokenUsage) -> dict[str, Any]:
    """Return ``usage`` as OpenAI says it; classes not reported are left out."""
    prompt = {
        "cached_tokens": usage.cache_read,
        "audio_tokens": usage.audio_input,
        "cache_write_tokens": _written(usage),
        "cache_creation_tokens": _written(usage),
    }
    completion = {
        "reasoning_tokens": usage.reasoning,
        "audio_tokens": usage.audio_output,
    }
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        **_details("prompt_tokens_details", prompt),
        **_details("completion_tokens_details", completion),
    }


def _written(usage: TokenUsage) -> int | None:
    if usage.cache_write is None and usage.cache_write_1h is None:
        return None
    return (usage.cache_write or 0) + (usage.cache_write_1h or 0)


def _details(name: str, counts: dict[str, int | None]) -> dict[str, Any]:
    known = {kind: count for kind, count in counts.items() if count is not None}
    return {name: known} if known else {}


def error_in(member: msgspec.Raw) -> Failed | None:
    """Return the error that the value of a member ``error`` tells of, if it does."""
    error = bytes(member)
    return None if error in (b"", b"null") else failed_of(error)


def failure_in(data: bytes) -> Failed | None:
    """Return the error that ``data``, which has no choices, is in whatever form.

    vLLM writes ``{"object": "error", "message": ...}``, FastAPI ``{"detail": ...}``.
    """
    try:
        members = decode_object(data)
    except UNREADABLE:
        return None
    if (failed := error_in(members.get("error", _NO_RAW))) is not None:
        return failed
    kinds = [bytes(members[name]) for name in ("object", "type") if name in members]
    if b'"error"' in kinds or ("message" in members and "choices" not in members):
        return failed_of(data)
    for name in ("detail", "errors"):
        if name in members and "choices" not in members:
            return failed_of(bytes(members[name]))
    return None
