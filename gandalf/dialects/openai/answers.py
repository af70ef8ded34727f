"""What a whole answer says of itself."""

from __future__ import annotations

import msgspec

from gandalf.dialects.base import Answer
from gandalf.dialects.conversation import Failed
from gandalf.dialects.openai.errors import failed_of
from gandalf.domain.usage import TokenUsage


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    audio_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class _UsageView(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _ChoiceView(msgspec.Struct):
    index: int = 0
    finish_reason: str | None = None
    delta: dict[str, msgspec.Raw] | None = None
    text: str | None = None
    """Of a legacy completion."""


class AnswerView(msgspec.Struct):
    choices: list[_ChoiceView] = []
    usage: _UsageView | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


decode_answer = msgspec.json.Decoder(AnswerView).decode


def choices_answer(body: bytes) -> Answer:
    """Return what a whole answer says of itself. Raises UNREADABLE if it is none."""
    view = decode_answer(body)
    return Answer(
        usage=tokens_of(view.usage),
        finish_reason=view.choices[0].finish_reason if view.choices else None,
        failed=failed_in(view),
    )


def tokens_of(usage: _UsageView | None) -> TokenUsage | None:
    if usage is None or usage.prompt_tokens is None:
        return None
    prompt = usage.prompt_tokens_details or _PromptDetails()
    completion = usage.completion_tokens_details or _CompletionDetails()
    return TokenUsage(
        input=_rest(usage.prompt_tokens, prompt.cached_tokens, prompt.audio_tokens),
        cache_read=prompt.cached_tokens,
        audio_input=prompt.audio_tokens,
        output=_rest(
            usage.completion_tokens,
            completion.reasoning_tokens,
            completion.audio_tokens,
        ),
        reasoning=completion.reasoning_tokens,
        audio_output=completion.audio_tokens,
    )


def _rest(total: int | None, *parts: int | None) -> int | None:
    # OpenAI's totals include the parts; ours are disjoint.
    if total is None:
        return None
    return max(0, total - sum(part or 0 for part in parts))


def failed_in(view: AnswerView) -> Failed | None:
    """Return the error that ``view`` carries, if it does."""
    error = bytes(view.error)
    return failed_of(error) if error not in (b"", b"null") else None
