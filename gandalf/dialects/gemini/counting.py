"""Counts of a prompt's tokens.

Source: https://ai.google.dev/api/tokens.
"""

from __future__ import annotations

import msgspec


class _CountView(msgspec.Struct, rename="camel"):
    total_tokens: int


_decode_count = msgspec.json.Decoder(_CountView).decode


def parse_count(body: bytes) -> int:
    """Return the prompt's tokens. Raises one of ``UNREADABLE`` if it is none."""
    return _decode_count(body).total_tokens


def render_count(tokens: int) -> bytes:
    """Return the body that answers a ``countTokens``."""
    return msgspec.json.encode({"totalTokens": tokens})
