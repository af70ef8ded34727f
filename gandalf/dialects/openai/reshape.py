"""A whole answer as the stream that it stands for.

For upstreams that answer a request for a stream with one JSON body. Nothing is lost:
the chunk has every member of the answer, with ``message`` renamed to ``delta``.
"""

from __future__ import annotations

import msgspec

from gandalf.dialects import sse
from gandalf.dialects.base import UNREADABLE

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
