"""Builders of what an Anthropic upstream says. Uses nothing of gandalf.

Shapes from https://platform.claude.com/docs/en/api/messages/create and
.../build-with-claude/streaming.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

MODEL = "claude-sonnet-4-5-20250929"
ID = "msg_01XFDUDYJgAACzvnptvVoYEL"
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds+=="


def usage(
    prompt: int = 9,
    completion: int = 2,
    *,
    cached: int = 0,
    written_5m: int = 0,
    written_1h: int = 0,
    thinking: int | None = None,
) -> dict[str, Any]:
    """Token counts; ``prompt`` is without what was read from or written to a cache."""
    counted: dict[str, Any] = {
        "input_tokens": prompt,
        "cache_creation_input_tokens": written_5m + written_1h,
        "cache_read_input_tokens": cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": written_5m,
            "ephemeral_1h_input_tokens": written_1h,
        },
        "output_tokens": completion,
        "service_tier": "standard",
    }
    if thinking is not None:
        counted["output_tokens_details"] = {"thinking_tokens": thinking}
    return counted


def text(content: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": content} | more


def thinking(content: str, signature: str = SIGNATURE) -> dict[str, Any]:
    return {"type": "thinking", "thinking": content, "signature": signature}


def redacted_thinking(data: str = "EmwKAhgBEgy3va3pzix") -> dict[str, Any]:
    return {"type": "redacted_thinking", "data": data}


def tool_use(
    name: str = "get_weather",
    input: dict[str, Any] | None = None,
    id: str = "toolu_01T1x1fJ34qAmk2tNTrN7Up6",
) -> dict[str, Any]:
    arguments = {"location": "Paris"} if input is None else input
    return {"type": "tool_use", "id": id, "name": name, "input": arguments}


def message(
    *content: str | dict[str, Any],
    model: str = MODEL,
    stop_reason: str | None = "end_turn",
    stop_sequence: str | None = None,
    usage: dict[str, Any] | None = usage(),  # noqa: B008 - only read
    **more: Any,
) -> bytes:
    """The body of an answer. Strings are blocks of text."""
    body: dict[str, Any] = {
        "model": model,
        "id": ID,
        "type": "message",
        "role": "assistant",
        "content": _blocks(content or ("Hello there",)),
        "stop_reason": stop_reason,
        "stop_sequence": stop_sequence,
    }
    if usage is not None:
        body["usage"] = usage
    return json.dumps(body | more).encode()


def count(tokens: int = 14) -> bytes:
    """The body that answers ``count_tokens``."""
    return json.dumps({"input_tokens": tokens}).encode()


def error(
    message: str = "Internal server error",
    *,
    type: str = "api_error",
    request_id: str | None = "req_011CSHoEeqs5C35K2UUqR7Fy",
) -> bytes:
    """An error body in Anthropic's shape."""
    body: dict[str, Any] = {
        "type": "error",
        "error": {"type": type, "message": message},
    }
    if request_id is not None:
        body["request_id"] = request_id
    return json.dumps(body).encode()


def event(data: dict[str, Any], newline: bytes = b"\n") -> bytes:
    """One server-sent event, named after the type of its data."""
    name = data["type"].encode()
    said = json.dumps(data, separators=(",", ":")).encode()
    return b"event: " + name + newline + b"data: " + said + newline + newline


def error_event(message: str = "Overloaded", type: str = "overloaded_error") -> bytes:
    """The event by which a stream fails."""
    return event({"type": "error", "error": {"type": type, "message": message}})


def message_start(
    model: str = MODEL,
    usage: dict[str, Any] | None = usage(completion=1),  # noqa: B008 - only read
) -> dict[str, Any]:
    started: dict[str, Any] = {
        "model": model,
        "id": ID,
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    if usage is not None:
        started["usage"] = usage
    return {"type": "message_start", "message": started}


def block_start(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def block_delta(index: int, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def block_stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def message_delta(
    stop_reason: str | None = "end_turn",
    stop_sequence: str | None = None,
    usage: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason, "stop_sequence": stop_sequence},
        "usage": usage or {"output_tokens": 2},
    }


def message_events(
    *content: str | dict[str, Any],
    model: str = MODEL,
    stop_reason: str | None = "end_turn",
    stop_sequence: str | None = None,
    usage: dict[str, Any] | None = usage(),  # noqa: B008 - only read
    pieces: int = 2,
    ping: bool = True,
    done: bool = True,
    newline: bytes = b"\n",
) -> list[bytes]:
    """The events of a streamed answer whose whole would be ``message(*content)``.

    Each block's text, thinking or input comes in ``pieces`` deltas. ``usage=None``,
    ``stop_reason=None`` and ``done=False`` leave those out.
    """
    first = None if usage is None else usage | {"output_tokens": 1}
    first = first and {k: v for k, v in first.items() if k != "output_tokens_details"}
    said = [event(message_start(model, first), newline)]
    for index, block in enumerate(_blocks(content or ("Hello there",))):
        said += [event(each, newline) for each in _block_events(index, block, pieces)]
        if index == 0 and ping:
            said.insert(2, PING.replace(b"\n", newline))
    if stop_reason is not None:
        last = message_delta(stop_reason, stop_sequence, _last(usage))
        said.append(event(last, newline))
    return [*said, STOP.replace(b"\n", newline)] if done else said


def _last(usage: dict[str, Any] | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        k: v for k, v in usage.items() if k not in ("cache_creation", "service_tier")
    }


def _blocks(content: Sequence[str | dict[str, Any]]) -> list[dict[str, Any]]:
    return [text(each) if isinstance(each, str) else each for each in content]


def _block_events(
    index: int, block: dict[str, Any], pieces: int
) -> list[dict[str, Any]]:
    kind = block["type"]
    begun, deltas = block, []
    if kind == "text":
        begun = {"type": "text", "text": ""}
        deltas = [
            {"type": "citations_delta", "citation": each}
            for each in block.get("citations", ())
        ]
        deltas += [
            {"type": "text_delta", "text": each} for each in _cut(block["text"], pieces)
        ]
    elif kind == "thinking":
        begun = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [
            {"type": "thinking_delta", "thinking": each}
            for each in _cut(block["thinking"], pieces)
        ]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    elif kind.endswith("tool_use"):
        begun = block | {"input": {}}
        said = json.dumps(block["input"])
        deltas = [{"type": "input_json_delta", "partial_json": ""}]
        deltas += [
            {"type": "input_json_delta", "partial_json": each}
            for each in _cut(said, pieces)
        ]
    return [
        block_start(index, begun),
        *(block_delta(index, **delta) for delta in deltas),
        block_stop(index),
    ]


def _cut(whole: str, pieces: int) -> list[str]:
    size = max(1, -(-len(whole) // pieces))
    return [whole[at : at + size] for at in range(0, len(whole), size)]
