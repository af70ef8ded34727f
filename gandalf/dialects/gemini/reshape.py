"""Whole answers as the stream that they stand for, and a stream as a whole answer.

For upstreams that answer in the other form than they were asked for: with one answer,
with server-sent events, or with the array of answers that Google sends where
``alt=sse`` is lost on the way.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.gemini.streams import GenerateStream
from gandalf.dialects.joining import pieces

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


def as_whole(body: bytes) -> bytes:
    """Return the answer that the stream ``body`` makes; b"" if it makes none."""
    answer: dict[str, Any] = {}
    candidates: dict[int, dict[str, Any]] = {}
    for event in pieces(GenerateStream(), body):
        for candidate in event.pop("candidates", None) or ():
            _add(candidate, candidates.setdefault(candidate.get("index", 0), {}))
        answer |= event
    if candidates:
        answer["candidates"] = [candidates[index] for index in sorted(candidates)]
    return msgspec.json.encode(answer) if answer else b""


def _add(candidate: dict[str, Any], whole: dict[str, Any]) -> None:
    """Add a piece of a candidate to the ``whole`` of it."""
    content = candidate.pop("content", None) or {}
    whole |= candidate
    kept = whole.setdefault("content", {"parts": []})
    kept |= {name: value for name, value in content.items() if name != "parts"}
    for part in content.get("parts") or ():
        last = kept["parts"][-1] if kept["parts"] else {}
        if _goes_on(last, part):
            last["text"] += part["text"]
        else:
            kept["parts"].append(part)


def _goes_on(last: dict[str, Any], part: dict[str, Any]) -> bool:
    """Return whether two parts differ in nothing but their text."""
    if not (isinstance(last.get("text"), str) and isinstance(part.get("text"), str)):
        return False
    return {**last, "text": ""} == {**part, "text": ""}
