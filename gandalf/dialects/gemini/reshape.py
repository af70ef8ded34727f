"""Whole answers as the stream that they stand for.

For upstreams that answer a request for server-sent events with JSON: with one answer,
or with the array of answers that Google sends where ``alt=sse`` is lost on the way.
"""

from __future__ import annotations

import msgspec

from gandalf.dialects.base import UNREADABLE

_decode = msgspec.json.Decoder(list[msgspec.Raw] | dict[str, msgspec.Raw]).decode


def as_stream(body: bytes) -> bytes:
    """Return the stream that ``body`` stands for; b"" if there is no answer in it."""
    try:
        answers = _decode(body)
    except UNREADABLE:
        return b""
    if isinstance(answers, dict):
        if not {"candidates", "promptFeedback"} & answers.keys():
            return b""
        return _event(body)
    return b"".join([_event(bytes(answer)) for answer in answers])


def _event(answer: bytes) -> bytes:
    # Line ends stand between tokens only: in strings JSON escapes them.
    line = answer.strip().replace(b"\n", b" ").replace(b"\r", b" ")
    return b"data: %b\r\n\r\n" % line
