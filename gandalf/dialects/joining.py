"""The pieces of a streamed answer put together, for clients that asked for it whole.

Works on JSON values, so that members which the gateway does not know are kept. A stream
is put together only if it is complete, was read in full, and is unambiguous.
"""

from __future__ import annotations

import json
from typing import Any

from gandalf.dialects import sse
from gandalf.dialects.base import Follower

# Members whose text goes on from piece to piece.
_TEXTS = frozenset(
    {
        "arguments",
        "content",
        "data",
        "input",
        "reasoning",
        "reasoning_content",
        "refusal",
        "response",
        "signature",
        "summary",
        "text",
        "thinking",
        "transcript",
    }
)
# Members that are told once, and may be empty before or after.
_NAMES = frozenset(
    {"finishReason", "finish_reason", "id", "name", "object", "role", "type"}
)


class Ambiguous(ValueError):
    """A member has two values, and nothing says which of them counts."""


def pieces(follower: Follower, body: bytes) -> list[dict[str, Any]]:
    """Return the events of the stream ``body``; none unless it is a good whole one.

    Args:
        follower: Of a stream of server-sent events; not used before.
        body: All of the stream.
    """
    try:
        kept = follower.feed(body) + follower.flush()
    except sse.EventTooLarge:
        return []
    complete = follower.done or follower.finished(1)
    if follower.failed is not None or follower.unread or not complete:
        return []
    data = map(sse.data_of, sse.split(kept + follower.ending))
    return [json.loads(each) for each in data if each and each.strip() != b"[DONE]"]


def join(before: Any, piece: Any, name: str = "") -> Any:  # noqa: ANN401 - any JSON
    """Return the value that ``piece`` continues ``before`` to.

    Lists are continued, objects member by member; elements of a list that have an
    ``index`` are matched by it.

    Args:
        before: The value so far; None if there is none yet.
        piece: What has come now; None says nothing.
        name: Of the member.

    Raises:
        Ambiguous: Both are texts of a member that may be continued, or replaced.
    """
    if piece is None or before is None:
        return before if piece is None else piece
    if isinstance(before, dict) and isinstance(piece, dict):
        for member, value in piece.items():
            before[member] = join(before.get(member), value, member)
        return before
    if isinstance(before, list) and isinstance(piece, list):
        return join_lists(before, piece)
    if isinstance(before, str) and isinstance(piece, str):
        return _join_texts(before, piece, name)
    return piece


def join_lists(before: list[Any], more: list[Any]) -> list[Any]:
    """Return ``before`` continued by ``more``, whose elements may have an ``index``."""
    places = {
        element["index"]: at
        for at, element in enumerate(before)
        if isinstance(element, dict) and "index" in element
    }
    for element in more:
        index = element.get("index") if isinstance(element, dict) else None
        if index in places:
            before[places[index]] = join(before[places[index]], element)
            continue
        if index is not None:
            places[index] = len(before)
        before.append(element)
    return before


def _join_texts(before: str, piece: str, name: str) -> str:
    if name in _TEXTS:
        return before + piece
    if name in _NAMES or before == piece:
        return before or piece
    raise Ambiguous(name)
