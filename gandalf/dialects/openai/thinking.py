"""Thinking and its seals in Chat Completions, which has no field for them.

OpenAI never shows what its models think, so others have added fields, and clients
send them back with the history. All are read; an answer has each that says something.

reasoning_content  plain text; DeepSeek, vLLM, LiteLLM and most others; ``reasoning``
                   at OpenRouter. https://api-docs.deepseek.com/guides/reasoning_model
thinking_blocks    LiteLLM's copy of Anthropic's blocks, with signature or redacted
                   data. https://docs.litellm.ai/docs/reasoning_content
reasoning_details  OpenRouter's; ``format`` tells whose the seal is.
                   https://openrouter.ai/docs/use-cases/reasoning-tokens
content            a list, at Mistral, with parts that are thinking.
                   https://docs.mistral.ai/capabilities/reasoning/
extra_content      Google's: the thought signature of a call or of a text.
                   https://ai.google.dev/gemini-api/docs/thought-signatures

Of a message that has several of them the blocks count before the details, and those
before the text. A seal of a provider that a field was not made for is wrapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from gandalf.dialects.conversation import Part, Thinking, ToolCall
from gandalf.dialects.signatures import unwrap, wrap

_ANTHROPIC = "anthropic"
_GEMINI = "gemini"
_FORMATS = {_ANTHROPIC: "anthropic-claude-v1", _GEMINI: "google-gemini-v1"}


class Block(msgspec.Struct):
    type: str = "thinking"
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class Detail(msgspec.Struct):
    type: str = "reasoning.text"
    text: str | None = None
    summary: str | None = None
    data: str | None = None
    signature: str | None = None
    id: str | None = None
    format: str | None = None


class _Google(msgspec.Struct):
    thought_signature: str | None = None


class ExtraContent(msgspec.Struct):
    google: _Google | None = None


class Piece(msgspec.Struct):
    """A part of the content where thinking is one of them."""

    type: str = ""
    text: str = ""
    thinking: str | list[Piece] = ""


class Carrier(msgspec.Struct):
    """A message or a piece of one that may carry thinking."""

    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking_blocks: list[Block] | None = None
    reasoning_details: list[Detail] | None = None
    extra_content: ExtraContent | None = None


# Reading.


def thoughts_of(carrier: Carrier) -> tuple[Thinking, ...]:
    """Return what ``carrier`` says of the thinking before its text."""
    if carrier.thinking_blocks:
        return tuple(map(_of_block, carrier.thinking_blocks))
    details = carrier.reasoning_details or ()
    if thoughts := tuple(_of_details(details)):
        return thoughts
    text = carrier.reasoning_content or carrier.reasoning
    return (Thinking(text=text),) if text else ()


def field_of(carrier: Carrier) -> str | None:
    """Return the name of the field that ``thoughts_of`` has read; None if none."""
    for name in (
        "thinking_blocks",
        "reasoning_details",
        "reasoning_content",
        "reasoning",
    ):
        if getattr(carrier, name):
            return name
    return None


def thought_in(piece: Piece) -> str | None:
    """Return the thinking that ``piece`` is; None if it is text."""
    if piece.type != "thinking":
        return None
    if isinstance(piece.thinking, str):
        return piece.thinking
    return "".join(each.text for each in piece.thinking)


def signature_of(extra: ExtraContent | None) -> str | None:
    """Return Google's thought signature."""
    return extra.google.thought_signature if extra and extra.google else None


def call_signatures(details: Sequence[Detail]) -> dict[str | None, str]:
    """Return Google's thought signatures among ``details`` by the call's id.

    None stands for the one that belongs to no call, but to the text.
    """
    return {
        detail.id: detail.data
        for detail in reversed(details)
        if detail.data and _is_call_seal(detail)
    }


def _of_block(block: Block) -> Thinking:
    if block.data:
        origin, seal = unwrap(block.data, _ANTHROPIC)
        return Thinking(redacted=seal, origin=origin)
    return _sealed(block.thinking or "", block.signature, _ANTHROPIC)


def _of_details(details: Iterable[Detail]) -> Iterator[Thinking]:
    for detail in details:
        if _is_call_seal(detail):
            continue
        origin = _origin_of(detail)
        if detail.data:
            origin, seal = unwrap(detail.data, origin)
            yield Thinking(redacted=seal, origin=origin)
        elif text := detail.text or detail.summary or "":
            yield _sealed(text, detail.signature, origin)
        elif detail.signature:
            yield _sealed("", detail.signature, origin)


def _sealed(text: str, signature: str | None, own: str) -> Thinking:
    if not signature:
        return Thinking(text=text)
    origin, seal = unwrap(signature, own)
    return Thinking(text=text, signature=seal, origin=origin)


def _is_call_seal(detail: Detail) -> bool:
    return detail.type == "reasoning.encrypted" and _origin_of(detail) == _GEMINI


def _origin_of(detail: Detail) -> str:
    maker = (detail.format or _FORMATS[_ANTHROPIC]).partition("-")[0]
    return _GEMINI if maker == "google" else maker


# Writing.


def blocks_of(thoughts: Iterable[Thinking]) -> list[dict[str, Any]]:
    """Return ``thinking_blocks``: of those thoughts that bear a seal."""
    return [_block(thought) for thought in thoughts if _has_seal(thought)]


def details_of(
    thoughts: Iterable[Thinking],
    parts: Iterable[Part] = (),
    signature: str | None = None,
) -> list[dict[str, Any]]:
    """Return ``reasoning_details``: of all that bears a seal.

    Args:
        thoughts: What was thought.
        parts: Where calls may be with a thought signature.
        signature: The thought signature of the text.
    """
    details = [_detail(thought) for thought in thoughts if _has_seal(thought)]
    if signature:
        details.append(call_seal(signature))
    details += [
        call_seal(part.signature, part.id)
        for part in parts
        if isinstance(part, ToolCall) and part.signature
    ]
    return details


def extra_content(signature: str) -> dict[str, Any]:
    """Return the member that holds a thought signature of Google's."""
    return {"google": {"thought_signature": signature}}


def _has_seal(thought: Thinking) -> bool:
    return bool(thought.signature or thought.redacted)


def _block(thought: Thinking) -> dict[str, Any]:
    if thought.redacted:
        data = _bare(thought.redacted, thought.origin, _ANTHROPIC)
        return {"type": "redacted_thinking", "data": data}
    signature = _bare(thought.signature or "", thought.origin, _ANTHROPIC)
    return {"type": "thinking", "thinking": thought.text, "signature": signature}


def _detail(thought: Thinking) -> dict[str, Any]:
    form = _FORMATS.get(thought.origin, "unknown")
    own = thought.origin if thought.origin == _ANTHROPIC else ""
    if thought.redacted:
        data = _bare(thought.redacted, thought.origin, own)
        return {"type": "reasoning.encrypted", "data": data, "format": form}
    signature = _bare(thought.signature or "", thought.origin, own)
    return {
        "type": "reasoning.text",
        "text": thought.text,
        "signature": signature,
        "format": form,
    }


def call_seal(signature: str, call_id: str | None = None) -> dict[str, Any]:
    """Return the detail that holds a thought signature of Google's."""
    named = {"id": call_id} if call_id else {}
    return {
        "type": "reasoning.encrypted",
        "data": signature,
        **named,
        "format": _FORMATS[_GEMINI],
    }


def _bare(seal: str, origin: str, own: str) -> str:
    return seal if origin == own else wrap(origin, seal)
