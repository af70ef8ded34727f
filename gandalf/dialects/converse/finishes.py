"""Converse's stop reasons, to the neutral ones.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/
API_runtime_MessageStopEvent.html. The table of good ends is closed: what is not in it
stands for a failure, as ``malformed_model_output`` and ``malformed_tool_use`` do.
"""

from __future__ import annotations

from gandalf.dialects.conversation import Finish

GOOD_ENDS = {
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP_SEQUENCE,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "tool_use": Finish.TOOL_CALLS,
    "guardrail_intervened": Finish.CONTENT_FILTER,
    "content_filtered": Finish.CONTENT_FILTER,
}


def finish_of(reason: str) -> Finish | None:
    """Return the neutral finish; None if ``reason`` stands for a failure."""
    return GOOD_ENDS.get(reason)
