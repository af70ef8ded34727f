"""What a whole answer says of itself: how it ended and what it used."""

from __future__ import annotations

from typing import Any

from gandalf.dialects.base import Answer
from gandalf.dialects.conversation import Failed
from gandalf.dialects.openai.errors import failed_of
from gandalf.dialects.openai.views import (
    AnswerView,
    CompletionDetails,
    PromptDetails,
    UsageView,
    decode_answer,
)
from gandalf.domain.usage import TokenUsage

_NO_PROMPT_DETAILS = PromptDetails()
_NO_COMPLETION_DETAILS = CompletionDetails()


def choices_answer(body: bytes) -> Answer:
    """Return what a whole answer says of itself. Raises UNREADABLE if it is none."""
    view = decode_answer(body)
    choices = view.choices
    return Answer(
        tokens_of(view.usage),
        choices[0].finish_reason if choices else None,
        failed_in(view) if view.error else None,
    )


def tokens_of(usage: UsageView | None) -> TokenUsage | None:
    """Return the tokens by class; None if they are not told."""
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
    written = prompt.cache_write_tokens
    if written is None:
        written = prompt.cache_creation_tokens
    reasoning, audio_output = completion.reasoning_tokens, completion.audio_tokens
    output: int | None = None
    if answered is not None:
        apart = 0 if total is None else total - sent - answered
        if apart > 0 and (not reasoning or reasoning == apart):
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
    )


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


def failed_in(view: AnswerView) -> Failed | None:
    """Return the error that ``view`` carries, if it does."""
    if not view.error or (error := bytes(view.error)) == b"null":
        return None
    return failed_of(error)
