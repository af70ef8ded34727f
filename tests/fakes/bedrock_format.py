"""Builders of what Amazon Bedrock says. Uses nothing of gandalf.

The framing is written from https://smithy.io/2.0/aws/amazon-eventstream.html; the
tests check it with botocore's own decoder.
"""

from __future__ import annotations

import base64
import json
import struct
import uuid
import zlib
from collections.abc import Mapping
from typing import Any

STREAM_CONTENT_TYPE = "application/vnd.amazon.eventstream"


class Short(int):
    """A number that is encoded in two bytes."""


class Byte(int):
    """A number that is encoded in one byte."""


class Long(int):
    """A number that is encoded in eight bytes."""


class Timestamp(int):
    """Milliseconds since 1970."""


def frame(payload: bytes = b"", headers: Mapping[str, Any] = {}) -> bytes:
    """One message."""
    section = b"".join(header(name, value) for name, value in headers.items())
    prelude = struct.pack(">II", 16 + len(section) + len(payload), len(section))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + section + payload
    return message + struct.pack(">I", zlib.crc32(message))


def header(name: str, value: Any) -> bytes:
    """One header, of the type that the value has."""
    raw = name.encode()
    return bytes([len(raw)]) + raw + _value(value)


def _value(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"\x00" if value else b"\x01"
    for number, kind, form in (
        (Byte, 2, ">b"),
        (Short, 3, ">h"),
        (Long, 5, ">q"),
        (Timestamp, 8, ">q"),
        (int, 4, ">i"),
    ):
        if isinstance(value, number):
            return bytes([kind]) + struct.pack(form, value)
    if isinstance(value, uuid.UUID):
        return b"\x09" + value.bytes
    kind, raw = (6, value) if isinstance(value, bytes) else (7, value.encode())
    return bytes([kind]) + struct.pack(">H", len(raw)) + raw


def event(name: str, data: Any) -> bytes:
    """A message that tells of an event."""
    return frame(
        json.dumps(data).encode(),
        {
            ":event-type": name,
            ":content-type": "application/json",
            ":message-type": "event",
        },
    )


def exception(name: str, message: str = "no", **more: Any) -> bytes:
    """A message that tells of an error which the service's model knows."""
    return frame(
        json.dumps({"message": message, **more}).encode(),
        {
            ":exception-type": name,
            ":content-type": "application/json",
            ":message-type": "exception",
        },
    )


def error(code: str, message: str) -> bytes:
    """A message that tells of any other error."""
    return frame(
        b"",
        {":error-code": code, ":error-message": message, ":message-type": "error"},
    )


# --- Anthropic's models ---


def chunk(anthropic_event: Mapping[str, Any] | bytes) -> bytes:
    """An event of Anthropic's in a stream of InvokeModel."""
    raw = anthropic_event
    if not isinstance(raw, bytes):
        raw = json.dumps(raw, separators=(",", ":")).encode()
    return event("chunk", {"bytes": base64.b64encode(raw).decode(), "p": "abcdefgh"})


METRICS = {
    "inputTokenCount": 9,
    "outputTokenCount": 2,
    "invocationLatency": 812,
    "firstByteLatency": 344,
}


def message_events(*texts: str) -> list[dict[str, Any]]:
    """The events of a streamed answer, as Anthropic's models at Bedrock send them."""
    message = {
        "model": "claude-sonnet-4-5-20250929",
        "id": "msg_bdrk_01fake",
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 1},
    }
    block = {"type": "text", "text": ""}
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": text},
            }
            for text in texts or ("Hello", " there")
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 2},
        },
        {"type": "message_stop", "amazon-bedrock-invocationMetrics": METRICS},
    ]


def message(text: str = "Hello there") -> bytes:
    """The body of a whole answer of an Anthropic model."""
    answer = {
        "model": "claude-sonnet-4-5-20250929",
        "id": "msg_bdrk_01fake",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 2},
    }
    return json.dumps(answer).encode()


# --- Converse ---


def usage(**more: Any) -> dict[str, Any]:
    return {"inputTokens": 9, "outputTokens": 2, "totalTokens": 11, **more}


def converse_answer(*blocks: Any, **more: Any) -> bytes:
    """The body of a whole answer; a string is a block of text."""
    content = [
        {"text": block} if isinstance(block, str) else block
        for block in blocks or ("Hello there",)
    ]
    answer = {
        "metrics": {"latencyMs": 551},
        "output": {"message": {"content": content, "role": "assistant"}},
        "stopReason": "end_turn",
        "usage": usage(),
    }
    return json.dumps({**answer, **more}).encode()


def text_block(index: int, *texts: str) -> list[bytes]:
    """A block of text of a stream; it has no start."""
    return [
        *(
            event(
                "contentBlockDelta",
                {"contentBlockIndex": index, "delta": {"text": text}, "p": "abcdef"},
            )
            for text in texts
        ),
        event("contentBlockStop", {"contentBlockIndex": index, "p": "abc"}),
    ]


def tool_block(index: int, call_id: str, name: str, *pieces: str) -> list[bytes]:
    """A block of a stream that calls a tool."""
    start = {"toolUse": {"toolUseId": call_id, "name": name}}
    return [
        event("contentBlockStart", {"contentBlockIndex": index, "start": start}),
        *(
            event(
                "contentBlockDelta",
                {"contentBlockIndex": index, "delta": {"toolUse": {"input": piece}}},
            )
            for piece in pieces
        ),
        event("contentBlockStop", {"contentBlockIndex": index}),
    ]


def thinking_block(index: int, *deltas: dict[str, str]) -> list[bytes]:
    """A block of a stream that is thought."""
    return [
        *(
            event(
                "contentBlockDelta",
                {"contentBlockIndex": index, "delta": {"reasoningContent": delta}},
            )
            for delta in deltas
        ),
        event("contentBlockStop", {"contentBlockIndex": index}),
    ]


def converse_events(
    *blocks: list[bytes],
    stop_reason: str = "end_turn",
    usage: dict[str, Any] = usage(),  # noqa: B008 - only read
    **stop: Any,
) -> list[bytes]:
    """The messages of a streamed answer."""
    parts = blocks or (text_block(0, "Hello", " there"),)
    return [
        event("messageStart", {"role": "assistant", "p": "abcd"}),
        *(message for block in parts for message in block),
        event("messageStop", {"stopReason": stop_reason, "p": "ab", **stop}),
        event("metadata", {"metrics": {"latencyMs": 551}, "usage": usage, "p": "a"}),
    ]
