"""A whole answer: what it says, and what it says of itself.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/
API_runtime_Converse.html#API_runtime_Converse_ResponseSyntax. ``inputTokens`` are
those that were neither read from nor written to the cache:
https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gandalf.dialects.arguments import fresh_call_id, named, text_of_raw
from gandalf.dialects.base import UNREADABLE, Answer
from gandalf.dialects.conversation import (
    Choice,
    Completion,
    Embeddings,
    Finish,
    Part,
    Text,
    Thinking,
    ToolCall,
)
from gandalf.dialects.converse.blocks import NAME, SIGNER
from gandalf.dialects.converse.finishes import finish_of
from gandalf.dialects.ends import AnswerFailed, bad_end
from gandalf.dialects.lenient import Reader, checked
from gandalf.domain.usage import OtherUsage, TokenUsage


class _CacheDetail(msgspec.Struct, rename="camel"):
    ttl: str = ""
    input_tokens: int = 0


class UsageView(msgspec.Struct, rename="camel"):
    """What a request used."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cache_details: list[_CacheDetail] | None = None


class ExtraFields(msgspec.Struct):
    """The model's own fields that a request has asked for."""

    stop_sequence: str | None = None


class _ReasoningText(msgspec.Struct):
    text: str = ""
    signature: str | None = None


class _ReasoningContent(msgspec.Struct, rename="camel"):
    reasoning_text: _ReasoningText | None = None
    redacted_content: str | None = None


class _ToolUse(msgspec.Struct, rename="camel"):
    name: str = ""
    tool_use_id: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    type: str | None = None


class _Cited(msgspec.Struct):
    text: str = ""


class _CitationsContent(msgspec.Struct):
    content: list[_Cited] = []


class _Block(msgspec.Struct, rename="camel"):
    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _ReasoningContent | None = None
    citations_content: _CitationsContent | None = None


class _Message(msgspec.Struct):
    content: list[_Block]


class _Output(msgspec.Struct):
    message: _Message


class ServiceTier(msgspec.Struct):
    """A member ``serviceTier``: ``flex``, ``priority``, ``default``, ``reserved``."""

    type: str | None = None


class _AnswerView(msgspec.Struct, rename="camel"):
    output: _Output
    stop_reason: str
    usage: UsageView | None = None
    service_tier: ServiceTier | None = None
    additional_model_response_fields: ExtraFields | None = None


class _SelfView(msgspec.Struct, rename="camel"):
    output: msgspec.Raw
    stop_reason: str
    usage: UsageView | None = None
    service_tier: ServiceTier | None = None


class _CountView(msgspec.Struct, rename="camel"):
    input_tokens: int


ASIDE = ("usage", "serviceTier", "additionalModelResponseFields")
"""Members that hold nothing of the answer's own text; see ``lenient``."""

_decode_answer = msgspec.json.Decoder(_AnswerView).decode
_read_answer = Reader(_AnswerView, ASIDE).view
_decode_self = msgspec.json.Decoder(_SelfView).decode
_read_odd_self = Reader(_SelfView, ASIDE).view
_decode_count = msgspec.json.Decoder(_CountView).decode


# Counting tokens costs nothing.
_FREE = TokenUsage(input=0, output=0)


def _read_self(body: bytes) -> _SelfView:
    try:
        return _decode_self(checked(body))
    except UNREADABLE:
        return _read_odd_self(body)


def read_answer(operation: str, body: bytes) -> Answer | None:
    """Return what a whole answer says of itself; None if it is no answer at all."""
    try:
        if operation == "count_tokens":
            _decode_count(body)
            return Answer(usage=_FREE)
        view = _read_self(body)
    except UNREADABLE:
        return None
    tokens = tokens_of(view.usage, view.service_tier)
    return Answer(usage=tokens, finish_reason=view.stop_reason)


def parse_answer(body: bytes) -> Completion:
    """Return a whole answer.

    Raises:
        UNREADABLE: It is none.
        AnswerFailed: It reports a failure.
    """
    try:
        view = _decode_answer(checked(body))
    except UNREADABLE:
        view = _read_answer(body)
    extra = view.additional_model_response_fields or ExtraFields()
    choice = Choice(
        parts=tuple(_parts(view.output.message.content)),
        finish=_finish(view.stop_reason),
        stop_sequence=extra.stop_sequence,
    )
    tokens = tokens_of(view.usage, view.service_tier)
    return Completion(choices=(choice,), usage=tokens)


def parse_count(body: bytes) -> int:
    """Return the prompt's tokens. Raises one of ``UNREADABLE`` if it is none."""
    return _decode_count(body).input_tokens


def parse_embeddings(body: bytes) -> Embeddings:
    """Raise one of ``UNREADABLE``: there are never any."""
    raise msgspec.ValidationError("Converse has no embeddings")


def _finish(reason: str) -> Finish:
    finish = finish_of(reason)
    if finish is None:
        raise AnswerFailed(bad_end(reason))
    return finish


def tokens_of(
    usage: UsageView | None, service_tier: ServiceTier | None = None
) -> TokenUsage | None:
    """Return what was used, by our classes; None if nothing was reported.

    Args:
        usage: As it was said.
        service_tier: Which the answer names beside it.
    """
    if usage is None or usage.input_tokens is None:
        return None
    written = usage.cache_write_input_tokens
    long = [d.input_tokens for d in usage.cache_details or () if d.ttl == "1h"]
    if written is not None and long:
        written = max(0, written - sum(long))
    return TokenUsage(
        input=usage.input_tokens,
        cache_read=usage.cache_read_input_tokens,
        cache_write=written,
        cache_write_1h=sum(long) if long else None,
        output=usage.output_tokens,
        other=None if service_tier is None else _tier(service_tier),
    )


def _tier(said: ServiceTier) -> OtherUsage | None:
    # Reserved capacity is paid for by the month, and listed nowhere.
    tier = said.type if said.type in ("flex", "priority") else ""
    return OtherUsage(service_tier=tier) if tier else None


def _parts(blocks: list[_Block]) -> Iterator[Part]:
    for block in blocks:
        if block.text is not None:
            yield Text(text=block.text)
        elif block.tool_use is not None:
            # What the provider's own tools did is between the model and them.
            if block.tool_use.type is None:
                yield _tool_call(block.tool_use)
        elif block.reasoning_content is not None:
            yield _thinking(block.reasoning_content)
        elif block.citations_content is not None:
            text = "".join(cited.text for cited in block.citations_content.content)
            yield Text(text=text)


def _tool_call(use: _ToolUse) -> ToolCall:
    return ToolCall(
        id=use.tool_use_id or fresh_call_id(),
        name=named(use.name),
        arguments=text_of_raw(use.input),
    )


def _thinking(content: _ReasoningContent) -> Thinking:
    if content.redacted_content is not None:
        return Thinking(redacted=content.redacted_content, origin=NAME)
    said = content.reasoning_text or _ReasoningText()
    origin = SIGNER if said.signature else ""
    return Thinking(text=said.text, signature=said.signature or None, origin=origin)
