"""How Ollama writes what more than one side of this dialect reads.

Sources: https://docs.ollama.com/openapi.yaml, https://docs.ollama.com/api/chat,
``api/types.go`` of https://github.com/ollama/ollama (ToolCall.id, tool_call_id), and
``ollama/_types.py`` of the official Python client.
"""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import Annotated

import msgspec

from gandalf.dialects.arguments import text_of_raw
from gandalf.dialects.base import UNREADABLE
from gandalf.domain.usage import TokenUsage

ABSENT = msgspec.Raw(b"")

Whole = (
    Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    | Annotated[float, msgspec.Meta(ge=-(2.0**53), le=2.0**53)]
)
"""A whole number. Ollama, like JSON, takes 10.0 for one."""


class Function(msgspec.Struct):
    name: str = ""
    arguments: msgspec.Raw = ABSENT


class ToolCall(msgspec.Struct):
    function: Function
    id: str | None = None


class TokenLogprob(msgspec.Struct):
    token: str = ""
    logprob: float = 0.0
    bytes: list[int] | None = None
    top_logprobs: list[TokenLogprob] | None = None


_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def is_empty(raw: msgspec.Raw) -> bool:
    """Whether ``raw`` is absent, null, or a string or list of nothing."""
    # Whatever is longer holds something: nobody pads an empty list with that much.
    if len(raw) > 64:
        return False
    value = bytes(raw).strip()
    return value in (b"", b"null", b'""') or (
        value[:1] == b"[" and not value[1:-1].strip()
    )


def arguments_text(raw: msgspec.Raw) -> str:
    """Return a call's arguments as the neutral model has them: JSON text.

    Raises:
        UNREADABLE: They are no object, nor the text of one.
    """
    # Some servers in front of Ollama send text, as OpenAI does.
    return "{}" if is_empty(raw) else text_of_raw(raw)


def arguments_object(text: str) -> msgspec.Raw | None:
    """Return a call's arguments as Ollama has them; None if they are no JSON object.

    The text of the object stays as it is: numbers, order of keys, duplicates.
    """
    raw = text.strip().encode(errors="surrogatepass")
    if not raw:
        return msgspec.Raw(b"{}")
    try:
        _decode_object(raw)
    except UNREADABLE:
        return None
    return msgspec.Raw(raw)


def usage_of(
    prompt: int | None, cached: int | None, output: int | None
) -> TokenUsage | None:
    """Return the tokens of Ollama's counts, None if there are none.

    ``prompt`` includes the cached ones. Thinking is counted, but not apart.
    """
    if prompt is None and output is None:
        return None
    rest = prompt if prompt is None else max(0, prompt - (cached or 0))
    return TokenUsage(input=rest, cache_read=cached, output=output)


def counts_of(usage: TokenUsage | None) -> dict[str, int]:
    """Return Ollama's counts; what was not reported is left out."""
    if usage is None:
        return {}
    counts: dict[str, int] = {}
    if usage.prompt_tokens or usage.input is not None:
        counts["prompt_eval_count"] = usage.prompt_tokens
    if usage.cache_read is not None:
        counts["prompt_eval_cached_count"] = usage.cache_read
    if usage.completion_tokens or usage.output is not None:
        counts["eval_count"] = usage.completion_tokens
    return counts


# Times.

_SECONDS = re.compile(r"\.\d+")


def unix_time(created_at: str) -> int | None:
    """Return the second of an RFC 3339 time; None if it is none."""
    try:
        # Go writes nanoseconds, which Python before 3.11 could not read.
        return int(datetime.fromisoformat(_SECONDS.sub("", created_at)).timestamp())
    except (ValueError, OverflowError):
        return None


def rfc3339(created: int | None) -> str:
    """Return a time as Ollama writes it: ``created``, or else now to the nanosecond.

    Its clients require one, and other providers do not always say.
    """
    if created is not None:
        return f"{_utc(created)}Z"
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{_utc(seconds)}.{nanoseconds:09d}Z"


def _utc(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return "1970-01-01T00:00:00"
