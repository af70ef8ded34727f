"""How many tokens a prompt has, roughly, without a tokenizer.

No tokenizer runs on the request path: it would block everybody for the length of the
longest prompt. The truth comes from the provider, afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

# A picture costs roughly this many tokens at most vendors, whatever its file's size.
IMAGE_TOKENS = 1000
BYTES_PER_TOKEN = 4

# A string of this length and more that is nothing but base64 is a file and no text.
_LONG = 4096
_BASE64 = re.compile(rb"(?:data:[^,\"]{0,100},)?(?:[A-Za-z0-9+/=_-]|\\/)*+")


def estimate_tokens(text: bytes | msgspec.Raw) -> int:
    """Return about how many tokens the JSON ``text`` holds, in time linear in bytes.

    Files in base64 count as a picture each, not as text.
    """
    raw = bytes(text)
    size = len(raw)
    pictures = 0
    if size > _LONG:
        for length in _files(raw):
            size -= length
            pictures += 1
    return max(1, size // BYTES_PER_TOKEN + pictures * IMAGE_TOKENS)


def _files(raw: bytes) -> Iterator[int]:
    """Yield the lengths of the strings in ``raw`` that are files.

    Between the quotes of two neighbours, or of a quote inside a string, stands nothing
    that long without being one.
    """
    start = raw.find(b'"')
    while start >= 0:
        end = raw.find(b'"', start + 1)
        if end - start > _LONG and _BASE64.fullmatch(raw, start + 1, end):
            yield end - start
        start = end
