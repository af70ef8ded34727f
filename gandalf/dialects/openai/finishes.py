"""Why a model stopped, in OpenAI's words and back."""

from __future__ import annotations

from gandalf.dialects.conversation import Finish

_PARSED = {
    "stop": Finish.STOP,
    "length": Finish.LENGTH,
    "tool_calls": Finish.TOOL_CALLS,
    "function_call": Finish.TOOL_CALLS,
    "content_filter": Finish.CONTENT_FILTER,
    # Compatible servers' own.
    "eos": Finish.STOP,
    "eos_token": Finish.STOP,
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP_SEQUENCE,
    "model_length": Finish.LENGTH,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "sensitive": Finish.CONTENT_FILTER,
}

GOOD_ENDS = frozenset(_PARSED)
"""Reasons with which an answer is complete. Every other one (``error``, ``abort``,
``network_error``, ...) says that it is not."""
_RENDERED = {
    Finish.STOP: "stop",
    Finish.STOP_SEQUENCE: "stop",
    Finish.LENGTH: "length",
    Finish.TOOL_CALLS: "tool_calls",
    Finish.CONTENT_FILTER: "content_filter",
    Finish.REFUSAL: "content_filter",
    Finish.PAUSE: "stop",
    Finish.OTHER: "stop",
}


def finish_of(reason: str, *, refused: bool) -> Finish:
    """Return the neutral finish. A refusal in words ends with OpenAI's ``stop``."""
    if refused and reason == "stop":
        return Finish.REFUSAL
    return _PARSED.get(reason, Finish.OTHER)


def reason_of(finish: Finish, *, refused: bool = False, functions: bool = False) -> str:
    """Return OpenAI's word.

    Args:
        finish: The neutral one.
        refused: Whether the refusal stands in the answer, in words.
        functions: Whether the client knows only legacy functions.
    """
    if finish is Finish.REFUSAL and refused:
        return "stop"
    if finish is Finish.TOOL_CALLS and functions:
        return "function_call"
    return _RENDERED[finish]
