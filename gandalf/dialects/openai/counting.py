"""A count of tokens, as OpenAI's API says one.

Source: https://platform.openai.com/docs/api-reference/responses/input-tokens. It counts
what the Responses API is sent, so that no chat can be counted there: ``COUNTS`` is
False, and these two are for whoever has a count nevertheless.
"""

from __future__ import annotations

import msgspec


class _Count(msgspec.Struct):
    input_tokens: int
    object: str = "response.input_tokens"


_decode = msgspec.json.Decoder(_Count).decode
_encode = msgspec.json.Encoder().encode


def parse_count(body: bytes) -> int:
    """Return the prompt's tokens. Raises one of ``UNREADABLE`` if it is none."""
    return _decode(body).input_tokens


def render_count(tokens: int) -> bytes:
    """Return the body that says ``tokens``."""
    return _encode(_Count(tokens))
