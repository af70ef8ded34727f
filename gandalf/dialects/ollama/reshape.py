"""A whole answer as the stream that it stands for, and a stream as a whole answer.

For upstreams that answer in the other form than they were asked for.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gandalf.dialects import ndjson, sse
from gandalf.dialects.joining import Ambiguous, join
from gandalf.dialects.ollama.streams import AnswerStream

# What goes on from line to line; of everything else the last line has the final value.
_CONTINUED = ("image", "logprobs", "message", "response", "thinking", "tool_calls")


def as_stream(body: bytes) -> bytes:
    """Return the stream that a whole answer stands for: it is a last line."""
    return ndjson.line(body)


def as_whole(body: bytes) -> bytes:
    """Return the answer that the stream ``body`` makes; b"" if it makes none."""
    stream = AnswerStream()
    try:
        kept = stream.feed(body) + stream.flush()
        if stream.failed is not None or stream.unread or not stream.done:
            return b""
        return msgspec.json.encode(_joined(kept + stream.ending))
    except (Ambiguous, sse.EventTooLarge):
        return b""


def _joined(lines: bytes) -> dict[str, Any]:
    continued: dict[str, Any] = {}
    last: dict[str, Any] = {}
    for line in ndjson.split(lines):
        last = json.loads(line)
        for name in _CONTINUED:
            if name in last:
                continued[name] = join(continued.get(name), last[name], name)
    return last | continued
