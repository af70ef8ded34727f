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
# A longer one is not read all through: text betrays itself within a few words.
_SAMPLES = 16
_SAMPLE = 1024
# A cut may go through an escaped slash.
_PIECE = re.compile(rb"(?:data:[^,\"]{0,100},)?[A-Za-z0-9+/\\=_-]*+")


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
    that long without being one. Quotes that are closer are passed over, all but the
    last: who sends millions of them must not be waited for.
    """
    start = raw.find(b'"')
    while start >= 0:
        near = raw.rfind(b'"', start + 1, start + _LONG + 1)
        if near >= 0:
            start = near
            continue
        end = raw.find(b'"', start + _LONG + 1)
        if end >= 0 and _is_base64(raw, start + 1, end):
            yield end - start
        start = end


def _is_base64(raw: bytes, start: int, end: int) -> bool:
    """Whether what stands there is base64, as far as a few samples tell."""
    if end - start <= _SAMPLES * _SAMPLE:
        return _BASE64.fullmatch(raw, start, end) is not None
    stride = (end - start - _SAMPLE) // (_SAMPLES - 1)
    places = range(start, start + stride * _SAMPLES, stride)
    return all(_PIECE.fullmatch(raw, at, at + _SAMPLE) for at in places)
