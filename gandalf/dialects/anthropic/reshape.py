"""A whole message as the stream that it stands for, and a stream as a whole message.

For upstreams that answer in the other form than they were asked for. In a stream that
is made of a message, each block comes in one piece: as deltas where its kind has them,
else whole in ``content_block_start``, as Anthropic sends the results of its own tools.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from gandalf.dialects import sse
from gandalf.dialects.anthropic.streams import MessagesStream
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.joining import Ambiguous, pieces

_Members = dict[str, msgspec.Raw]

_decode_object = msgspec.json.Decoder(_Members).decode
_decode_objects = msgspec.json.Decoder(list[_Members]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode

_NULL = msgspec.Raw(b"null")
_EMPTY_LIST = msgspec.Raw(b"[]")
_EMPTY_TEXT = msgspec.Raw(b'""')
_EMPTY_OBJECT = msgspec.Raw(b"{}")
_ENDS = ("stop_reason", "stop_sequence")


def as_stream(body: bytes) -> bytes:
    """Return the stream that ``body`` stands for; b"" if it is no whole answer."""
    try:
        message = _decode_object(body)
        if "content" not in message or "stop_reason" not in message:
            return b""
        blocks = _decode_objects(message["content"])
        return b"".join(_events(message, blocks))
    except UNREADABLE:
        return b""


def _events(message: _Members, blocks: list[_Members]) -> Iterator[bytes]:
    ends = {name: message.get(name, _NULL) for name in _ENDS}
    begun = {**message, "content": _EMPTY_LIST, **dict.fromkeys(_ENDS, _NULL)}
    yield _event("message_start", message=begun)
    for index, block in enumerate(blocks):
        opened, deltas = _opened(block)
        yield _event("content_block_start", index=index, content_block=opened)
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    usage = message.get("usage", _EMPTY_OBJECT)
    yield _event("message_delta", delta=ends, usage=usage)
    yield _event("message_stop")


def _opened(block: _Members) -> tuple[_Members, list[dict[str, object]]]:
    """Return a block as it begins, and the deltas that complete it."""
    kind = msgspec.json.decode(block.get("type", _NULL))
    if kind == "text" and "text" in block:
        deltas: list[dict[str, object]] = [_delta("text_delta", "text", block["text"])]
        citations = block.get("citations", _NULL)
        if bytes(citations) != b"null":
            deltas += [
                _delta("citations_delta", "citation", each)
                for each in _decode_list(citations)
            ]
        return {**block, "text": _EMPTY_TEXT}, deltas
    if kind == "thinking" and "thinking" in block:
        deltas = [_delta("thinking_delta", "thinking", block["thinking"])]
        if "signature" in block:
            deltas.append(_delta("signature_delta", "signature", block["signature"]))
        empty = dict.fromkeys(("thinking", "signature"), _EMPTY_TEXT)
        return {**block, **empty}, deltas
    if kind in ("tool_use", "server_tool_use", "mcp_tool_use") and "input" in block:
        text = bytes(block["input"]).decode()
        return {**block, "input": _EMPTY_OBJECT}, [
            _delta("input_json_delta", "partial_json", text)
        ]
    return block, []


def _delta(kind: str, name: str, value: object) -> dict[str, object]:
    return {"type": kind, name: value}


def _event(kind: str, **members: object) -> bytes:
    # Line ends stand between tokens only: in strings JSON escapes them.
    data = _encode({"type": kind, **members}).replace(b"\n", b" ").replace(b"\r", b" ")
    return sse.event(data, kind.encode())


def as_whole(body: bytes) -> bytes:
    """Return the message that the stream ``body`` makes; b"" if it makes none."""
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    try:
        for event in pieces(MessagesStream(), body):
            _add(event, message, blocks)
    except (Ambiguous, KeyError, TypeError, ValueError):
        return b""
    if not message:
        return b""
    for block in blocks.values():
        text = block.pop(_INPUT, "")
        if text:
            block["input"] = json.loads(text)
    return _encode({**message, "content": [blocks[at] for at in sorted(blocks)]})


_INPUT = "partial_json"
# The member of a block that a kind of delta continues.
_DELTA_MEMBERS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": _INPUT,
}


def _add(
    event: dict[str, Any], message: dict[str, Any], blocks: dict[int, dict[str, Any]]
) -> None:
    """Add what an event says. Raises Ambiguous if its kind is not known."""
    match event.get("type"):
        case "message_start":
            message |= event["message"]
        case "message_delta":
            message |= event["delta"]
            told = (event.get("usage") or {}).items()
            message.setdefault("usage", {}).update(
                {name: count for name, count in told if count is not None}
            )
        case "content_block_start":
            blocks[event["index"]] = event["content_block"]
        case "content_block_delta":
            _add_delta(event["delta"], blocks[event["index"]])
        case "content_block_stop" | "message_stop" | "ping":
            pass
        case other:
            raise Ambiguous(other)


def _add_delta(delta: dict[str, Any], block: dict[str, Any]) -> None:
    if delta["type"] == "citations_delta":
        block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        return
    member = _DELTA_MEMBERS.get(delta["type"])
    if member is None:
        raise Ambiguous(delta["type"])
    block[member] = block.get(member, "") + delta[member]
