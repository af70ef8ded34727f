"""A whole answer as the stream that it stands for, and a stream as a whole answer.

For upstreams that answer in the other form than they were asked for. Nothing is lost:
members that the gateway does not know are kept, and ``message`` is the ``delta`` of the
only chunk, or is made of all of them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gandalf.dialects import sse
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.joining import Ambiguous, join_lists, pieces
from gandalf.dialects.openai.streams import ChatStream

_Members = dict[str, msgspec.Raw]

_decode_object = msgspec.json.Decoder(_Members).decode
_decode_objects = msgspec.json.Decoder(list[_Members]).decode
_encode = msgspec.json.Encoder().encode

_CHUNK = msgspec.Raw(b'"chat.completion.chunk"')
_NO_CHOICES = msgspec.Raw(b"[]")


def as_stream(body: bytes) -> bytes:
    """Return the stream that ``body`` stands for; b"" if it is no whole answer."""
    try:
        answer = _decode_object(body)
        choices = _decode_objects(answer.get("choices", _NO_CHOICES))
        deltas = [_delta_of(choice) for choice in choices]
    except UNREADABLE:
        return b""
    if not deltas:
        return b""
    if any("delta" in choice for choice in deltas):
        answer["object"] = _CHUNK
    usage = answer.pop("usage", None)
    events = [sse.event(_line({**answer, "choices": msgspec.Raw(_encode(deltas))}))]
    if usage is not None:
        last = {**answer, "choices": _NO_CHOICES, "usage": usage}
        events.append(sse.event(_line(last)))
    return b"".join([*events, b"data: [DONE]\n\n"])


def _delta_of(choice: _Members) -> _Members:
    """Return ``choice`` as a chunk has it; one of a legacy completion is the same."""
    if "message" not in choice:
        return choice
    message = _decode_object(choice.pop("message"))
    if bytes(message.get("tool_calls", b"")).startswith(b"["):
        calls = _decode_objects(message["tool_calls"])
        indexed = [
            {"index": msgspec.Raw(b"%d" % at), **call} for at, call in enumerate(calls)
        ]
        message["tool_calls"] = msgspec.Raw(_encode(indexed))
    return {**choice, "delta": msgspec.Raw(_encode(message))}


def _line(members: _Members) -> bytes:
    # Line ends stand between tokens only: in strings JSON escapes them.
    return _encode(members).replace(b"\n", b" ").replace(b"\r", b" ")


def as_whole(body: bytes) -> bytes:
    """Return the whole answer that the stream ``body`` makes; b"" if it makes none."""
    answer: dict[str, Any] = {}
    choices: list[Any] = []
    try:
        for event in pieces(ChatStream(strip_usage=False), body):
            choices = join_lists(choices, event.pop("choices", None) or [])
            # What describes the answer stands in each event; usage in the last one.
            answer |= {
                name: value for name, value in event.items() if value is not None
            }
    except Ambiguous:
        return b""
    if not choices:
        return b""
    for choice in choices:
        if "delta" in choice:
            choice["message"] = _without_indices(choice.pop("delta"))
            answer["object"] = "chat.completion"
    choices.sort(key=lambda choice: choice.get("index", 0))
    return _encode({**answer, "choices": choices})


def _without_indices(message: dict[str, Any]) -> dict[str, Any]:
    for call in message.get("tool_calls") or ():
        call.pop("index", None)
    return message
