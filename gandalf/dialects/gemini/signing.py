"""Thought signatures: Gemini's own, and the seals of others in their place.

Source: https://ai.google.dev/gemini-api/docs/thought-signatures. Gemini 3 refuses a
function call of the current turn without one; for calls that it did not make itself,
its documentation names a value that it takes instead.

The field holds bytes, so Google's SDKs give it back in the base64 of URLs whatever they
got; a wrapped seal is put back into the usual alphabet before it is unwrapped.
"""

from __future__ import annotations

import re

from gandalf.dialects import signatures
from gandalf.dialects.conversation import Thinking, ThinkingDelta

OWN = "gemini"
NOT_OURS = "skip_thought_signature_validator"

# Of a wrapped seal, in a body as it was sent. Within a text the quotes are escaped.
_WRAPPED = b'"Z2FuZGFsZi'
_FOREIGN = re.compile(rb'("thought(?:S|_s)ignature"\s*:\s*)"Z2FuZGFsZi[^"]*"')

_REDACTED = "+redacted"
_TO_USUAL = str.maketrans("-_", "+/")


def own_of(signature: str | None) -> str | None:
    """Return ``signature`` if it is Gemini's own."""
    if not signature or signature == NOT_OURS:
        return None
    origin, _ = signatures.unwrap(signature.translate(_TO_USUAL), OWN)
    return signature if origin == OWN else None


def without_foreign(body: bytes) -> bytes:
    """Return ``body`` with the seals of others replaced by what Google takes."""
    if _WRAPPED not in body or not _FOREIGN.search(body):
        return body
    return _FOREIGN.sub(rb'\1"%b"' % NOT_OURS.encode(), body)


def thinking_of(text: str, signature: str | None) -> Thinking:
    """Return the thinking that a thought part with ``signature`` is."""
    if not signature:
        return Thinking(text=text)
    origin, seal = signatures.unwrap(signature.translate(_TO_USUAL), OWN)
    if origin == OWN:
        return Thinking(text=text, signature=signature, origin=OWN)
    if origin.endswith(_REDACTED):
        return Thinking(text=text, redacted=seal, origin=origin.removesuffix(_REDACTED))
    return Thinking(text=text, signature=seal, origin=origin)


def signature_of(thinking: Thinking | ThinkingDelta) -> str | None:
    """Return what a Gemini client gets as the signature of ``thinking``."""
    if thinking.redacted is not None:
        return signatures.wrap(thinking.origin + _REDACTED, thinking.redacted)
    if not thinking.signature or thinking.origin in ("", OWN):
        return thinking.signature
    return signatures.wrap(thinking.origin, thinking.signature)
