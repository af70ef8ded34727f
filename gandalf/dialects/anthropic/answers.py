"""What a whole answer says of itself, and how Anthropic counts.

Source: https://platform.claude.com/docs/en/api/messages/create (the response) and
https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance:
``input_tokens`` are those that were neither read from nor written to the cache;
``cache_creation`` splits what was written by its lifetime; ``output_tokens`` include
``output_tokens_details.thinking_tokens``.
"""

from __future__ import annotations

import msgspec

from gandalf.dialects.anthropic.errors import ErrorDetail, failed_of, read_error
from gandalf.dialects.anthropic.finishes import GOOD_ENDS
from gandalf.dialects.base import UNREADABLE, Answer
from gandalf.dialects.conversation import Failed
from gandalf.dialects.ends import bad_end, lacks
from gandalf.dialects.unread import (
    read_leniently,
    read_whole,
)
from gandalf.domain.usage import OtherUsage, TokenUsage


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class _ServerToolUse(msgspec.Struct):
    web_search_requests: int | None = None


class UsageView(msgspec.Struct):
    """Usage as an answer, ``message_start`` or ``message_delta`` has it."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    output_tokens_details: _OutputDetails | None = None
    server_tool_use: _ServerToolUse | None = None
    service_tier: str | None = None
    speed: str | None = None


class _AnswerView(msgspec.Struct):
    type: str | None = None
    content: msgspec.Raw = msgspec.Raw(b"")
    stop_reason: str | None = None
    usage: UsageView | None = None
    error: msgspec.Raw = msgspec.Raw(b"")
    input_tokens: int | None = None
    """Of an answer to ``count_tokens``."""


class _ErrorView(msgspec.Struct):
    error: ErrorDetail = msgspec.field(default_factory=ErrorDetail)


_decode_answer = msgspec.json.Decoder(_AnswerView).decode

# Counting tokens costs nothing.
_FREE = TokenUsage(input=0, output=0)


def read_answer(operation: str, body: bytes) -> Answer | None:
    """Return what a whole answer says of itself; None if it is no answer at all."""
    try:
        view, unread = read_whole(body, _decode_answer, _AnswerView)
    except UNREADABLE:
        return None
    failed = _failed(operation, view, body)
    if operation == "count_tokens":
        return Answer(usage=_FREE, failed=failed, unread=unread)
    return Answer(
        usage=tokens_of(view.usage),
        finish_reason=view.stop_reason,
        failed=failed,
        unread=unread,
    )


def failure_in(body: bytes) -> Failed:
    """Return what an error inside an answer or a stream tells, whatever its shape."""
    view = read_leniently(body, _ErrorView)
    detail = ErrorDetail() if view is None else view.error
    if detail.message is None:
        detail.message = read_error(body).message
    return failed_of(detail)


def has_error(data: bytes) -> bool:
    """Return whether ``data`` has a member ``error`` that is not null."""
    view = read_leniently(data, _AnswerView)
    return view is not None and bytes(view.error) not in (b"", b"null")


def _failed(operation: str, view: _AnswerView, body: bytes) -> Failed | None:
    """Return why ``body`` is no answer to ``operation``; None if it is one."""
    if view.type == "error" or bytes(view.error) not in (b"", b"null"):
        return failure_in(body)
    if operation == "count_tokens":
        return None if view.input_tokens is not None else lacks("input_tokens")
    if not bytes(view.content).startswith(b"["):
        return lacks("content")
    if view.stop_reason not in GOOD_ENDS:
        return bad_end(view.stop_reason)
    return None


def tokens_of(usage: UsageView | None) -> TokenUsage | None:
    """Return the tokens of a whole answer by class; None if it does not tell."""
    if usage is None or usage.input_tokens is None:
        return None
    write, write_1h = _written(usage)
    thinking = (usage.output_tokens_details or _OutputDetails()).thinking_tokens
    output = usage.output_tokens
    if output is not None and thinking is not None:
        output = max(0, output - thinking)
    return TokenUsage(
        input=usage.input_tokens,
        cache_read=usage.cache_read_input_tokens,
        cache_write=write,
        cache_write_1h=write_1h,
        output=output,
        reasoning=thinking,
        other=_other(usage),
    )


def _other(usage: UsageView) -> OtherUsage | None:
    """Return searches, and the tier that is charged; None: none, and the standard one.

    Both are said of the prices: the tier (``batch``, ``priority``) and the speed
    (``fast``). Searches cost the same whatever they are.
    """
    tools = usage.server_tool_use
    searches = 0 if tools is None else tools.web_search_requests or 0
    tier = "fast" if usage.speed == "fast" else usage.service_tier or ""
    if tier == "standard":
        tier = ""
    if not tier and not searches:
        return None
    return OtherUsage(service_tier=tier, web_searches=searches)


def prompt_of(usage: UsageView | None) -> UsageView | None:
    """Return the usage in a ``message_start``, whose output is no count yet."""
    if usage is not None:
        usage.output_tokens = None
    return usage


def updated(before: UsageView | None, now: UsageView) -> UsageView:
    """Return the usage after a ``message_delta``: its counts are totals.

    What it does not repeat still holds.
    """
    if before is None:
        return now
    for field in UsageView.__struct_fields__:
        if getattr(now, field) is None:
            setattr(now, field, getattr(before, field))
    return now


def _written(usage: UsageView) -> tuple[int | None, int | None]:
    """Return what was written to the cache for five minutes, and for an hour."""
    total, parts = usage.cache_creation_input_tokens, usage.cache_creation
    if parts is None:
        return total, None
    hour = parts.ephemeral_1h_input_tokens
    if total is None:
        return parts.ephemeral_5m_input_tokens, hour
    # The total of a ``message_delta`` is newer than the parts of ``message_start``.
    return max(0, total - (hour or 0)), hour
