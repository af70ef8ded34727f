"""From the neutral completion to an answer of Anthropic's.

Source: https://platform.claude.com/docs/en/api/messages/create (the response). A seal
that another provider made is wrapped; a Gemini signature on a tool call or a text, for
which there is no place here, travels in a thinking block without text that stands
before the call or the text (``parse_blocks`` puts it back).
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from gandalf.dialects import signatures
from gandalf.dialects.anthropic.finishes import reason_of
from gandalf.dialects.anthropic.parse_blocks import CARRIED, OF_CALL, OF_TEXT
from gandalf.dialects.base import Call
from gandalf.dialects.conversation import (
    Choice,
    Completion,
    Finish,
    Media,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from gandalf.domain.usage import TokenUsage

NAME = "anthropic"

_CITATIONS = frozenset(
    (
        "char_location",
        "page_location",
        "content_block_location",
        "web_search_result_location",
        "search_result_location",
    )
)

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def render_answer(completion: Completion, call: Call) -> bytes:
    """Return the body that answers ``call``."""
    choice = completion.choices[0] if completion.choices else Choice()
    return msgspec.json.encode(
        {
            "id": completion.id or new_id(),
            "type": "message",
            "role": "assistant",
            "model": completion.model or call.model,
            "content": _content(choice),
            "stop_reason": _stop_reason(choice),
            "stop_sequence": choice.stop_sequence,
            "usage": usage_of(completion.usage),
        }
    )


def new_id() -> str:
    """Return an id for an answer whose upstream gives none.

    Agents merge the messages of one id, so that no two answers may have the same.
    """
    return f"msg_{uuid.uuid4().hex[:24]}"


def render_count(tokens: int) -> bytes:
    """Return the body that answers a ``count_tokens``."""
    return b'{"input_tokens":%d}' % tokens


def usage_of(usage: TokenUsage | None) -> dict[str, Any]:
    """Return ``usage`` as Anthropic counts; what must be there but is unknown is 0."""
    tokens = usage or TokenUsage()
    counted: dict[str, Any] = {
        "input_tokens": (tokens.input or 0) + (tokens.audio_input or 0),
        "output_tokens": tokens.completion_tokens,
    }
    if tokens.cache_read is not None:
        counted["cache_read_input_tokens"] = tokens.cache_read
    if tokens.cache_write is not None or tokens.cache_write_1h is not None:
        short, long = tokens.cache_write or 0, tokens.cache_write_1h or 0
        counted["cache_creation_input_tokens"] = short + long
        counted["cache_creation"] = {
            "ephemeral_5m_input_tokens": short,
            "ephemeral_1h_input_tokens": long,
        }
    if tokens.reasoning is not None:
        counted["output_tokens_details"] = {"thinking_tokens": tokens.reasoning}
    return counted


def is_own_citation(citation: dict[str, Any]) -> bool:
    """Whether an Anthropic client understands ``citation``."""
    return citation.get("type") in _CITATIONS


def sealed(origin: str, seal: str) -> str:
    """Return a seal as an Anthropic client shall give it back."""
    return seal if origin == NAME else signatures.wrap(origin, seal)


def carried(owner: str, signature: str) -> str:
    """Return the seal that carries a part's ``signature``.

    Args:
        owner: ``OF_CALL`` or ``OF_TEXT``.
        signature: What is to come back with the part.
    """
    return signatures.wrap(CARRIED, owner + signature)


def _content(choice: Choice) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for part in choice.parts:
        if isinstance(part, ToolCall) and part.signature is not None:
            blocks.append(_carrier(OF_CALL, part.signature))
        block = _block(part)
        if block is not None:
            blocks.append(block)
    if choice.signature is not None:
        _carry_before_text(blocks, choice.signature)
    return blocks


def _carry_before_text(blocks: list[dict[str, Any]], signature: str) -> None:
    """Insert the block with the signature of the text.

    Never as the last block, which agents take for the result.
    """
    texts = [at for at, block in enumerate(blocks) if block["type"] == "text"]
    blocks.insert(texts[-1] if texts else 0, _carrier(OF_TEXT, signature))


def _carrier(owner: str, signature: str) -> dict[str, Any]:
    seal = carried(owner, signature)
    return {"type": "thinking", "thinking": "", "signature": seal}


def _block(part: Part) -> dict[str, Any] | None:
    match part:
        case Text():
            return _text(part)
        case Media() if part.kind == "image":
            # There is no block for an image in an answer: as in a stream, Markdown
            # shows it.
            data = f"data:{part.media_type or 'image/png'};base64,{part.data}"
            return {"type": "text", "text": f"![]({part.url or data})"}
        case Thinking():
            return _thinking(part)
        case ToolCall():
            return _tool_use(part)
        case Refusal():
            return {"type": "text", "text": part.text}
    # Models answer in words and calls; there is no block for what they draw or say.
    return None


def _text(part: Text) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": part.text}
    citations = [each for each in part.citations if is_own_citation(each)]
    if citations:
        block["citations"] = citations
    return block


def _thinking(part: Thinking) -> dict[str, Any]:
    if part.redacted is not None:
        data = sealed(part.origin, part.redacted)
        return {"type": "redacted_thinking", "data": data}
    signature = sealed(part.origin, part.signature) if part.signature else ""
    return {"type": "thinking", "thinking": part.text, "signature": signature}


def _tool_use(part: ToolCall) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": part.id,
        "name": part.name,
        "input": _input(part.arguments),
    }


def _input(arguments: str) -> msgspec.Raw | dict[str, str]:
    raw = (arguments.strip() or "{}").encode()
    try:
        _decode_object(raw)
    except (msgspec.MsgspecError, RecursionError):
        return {"arguments": arguments}
    return msgspec.Raw(raw)


def _stop_reason(choice: Choice) -> str:
    finish = choice.finish or Finish.STOP
    if finish is Finish.STOP and any(isinstance(p, ToolCall) for p in choice.parts):
        finish = Finish.TOOL_CALLS
    return reason_of(finish)
