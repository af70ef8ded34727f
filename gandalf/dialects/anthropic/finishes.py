"""Anthropic's stop reasons, to the neutral ones and back.

Source: https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons and
``BetaStopReason`` of Anthropic's SDK. The table of good ends is closed: a reason that
is not in it stands for a failure.
"""

from __future__ import annotations

from gandalf.dialects.conversation import Finish

GOOD_ENDS = {
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP_SEQUENCE,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "tool_use": Finish.TOOL_CALLS,
    "pause_turn": Finish.PAUSE,
    "compaction": Finish.PAUSE,
    "refusal": Finish.REFUSAL,
}
_RENDERED = {
    Finish.STOP: "end_turn",
    Finish.STOP_SEQUENCE: "stop_sequence",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
    Finish.CONTENT_FILTER: "refusal",
    Finish.REFUSAL: "refusal",
    Finish.PAUSE: "pause_turn",
}


def finish_of(reason: str) -> Finish | None:
    """Return the neutral finish; None if ``reason`` stands for a failure."""
    return GOOD_ENDS.get(reason)


def reason_of(finish: Finish) -> str:
    """Return Anthropic's word."""
    return _RENDERED[finish]
