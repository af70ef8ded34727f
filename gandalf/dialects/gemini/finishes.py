"""Gemini's finish reasons, to the neutral ones and back.

Source: https://ai.google.dev/api/generate-content#FinishReason and ``FinishReason`` in
``google/genai/types.py``. The table of good ends is closed. A reason that is not in it
stands for a failure, as those do that say that model or service broke: ``OTHER``,
``MALFORMED_FUNCTION_CALL``, ``MALFORMED_RESPONSE``, ``UNEXPECTED_TOOL_CALL``,
``TOO_MANY_TOOL_CALLS``, ``MISSING_THOUGHT_SIGNATURE``, ``NO_IMAGE``, ``IMAGE_OTHER``.
"""

from __future__ import annotations

from gandalf.dialects.conversation import Finish

_FILTERS = (
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
    "ESCALATION",
)
GOOD_ENDS = {
    "STOP": Finish.STOP,
    "MAX_TOKENS": Finish.LENGTH,
    # The limit of one request; more would come with another one.
    "CONTINUATION": Finish.LENGTH,
    **dict.fromkeys(_FILTERS, Finish.CONTENT_FILTER),
}
_RENDERED = {
    Finish.LENGTH: "MAX_TOKENS",
    Finish.CONTENT_FILTER: "SAFETY",
    Finish.REFUSAL: "SAFETY",
    # More was to come, which "STOP" would deny.
    Finish.PAUSE: "MAX_TOKENS",
}


def finish_of(reason: str, *, called: bool) -> Finish | None:
    """Return the neutral finish; None if ``reason`` stands for a failure.

    Args:
        reason: Gemini's word.
        called: Whether the candidate has function calls, which end with ``STOP``.
    """
    finish = GOOD_ENDS.get(reason)
    return Finish.TOOL_CALLS if called and finish is Finish.STOP else finish


def reason_of(finish: Finish) -> str:
    """Return Gemini's word; ``STOP`` also after function calls."""
    return _RENDERED.get(finish, "STOP")
