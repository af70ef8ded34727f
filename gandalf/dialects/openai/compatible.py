"""What compatible servers write otherwise than OpenAI, in answers and in streams."""

from __future__ import annotations

import msgspec

ABSENT = msgspec.Raw(b"")

ASIDE = (
    "id",
    "model",
    "created",
    "usage",
    "service_tier",
    "logprobs",
    "annotations",
    "extra_content",
    "reasoning_details",
    "thinking_blocks",
)
"""Members that hold nothing of the answer's own text; see ``lenient``."""

KEEP_ALIVES = frozenset(
    (b"ping", b"pong", b"keep-alive", b"keepalive", b"heartbeat", b"null")
)
"""Data, or types, of events that only keep a connection open."""

_NO_ERROR = (b"", b"null", b'""', b"false")


def is_error(error: msgspec.Raw) -> bool:
    """Return whether a member ``error`` says that there is one."""
    return len(error) > 0 and bytes(error) not in _NO_ERROR
