"""Finish reasons of OpenAI and of compatible servers, to the neutral ones and back.

Source: https://platform.openai.com/docs/api-reference/chat/object
(``choices.finish_reason``). The table of good ends is closed: ``error`` (OpenRouter,
Mistral), ``abort`` (vLLM, SGLang), ``insufficient_system_resource`` (DeepSeek),
``network_error`` (Z.ai) and any word that is not in it stand for a failure.
"""

from __future__ import annotations

from gandalf.dialects.conversation import Finish

GOOD_ENDS = {
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
    "tool_call": Finish.TOOL_CALLS,
    "tool_use": Finish.TOOL_CALLS,
    "refusal": Finish.REFUSAL,
    "safety": Finish.CONTENT_FILTER,
    "recitation": Finish.CONTENT_FILTER,
    "sensitive": Finish.CONTENT_FILTER,
}
_RENDERED = {
    Finish.STOP: "stop",
    Finish.STOP_SEQUENCE: "stop",
    Finish.LENGTH: "length",
    Finish.TOOL_CALLS: "tool_calls",
    Finish.CONTENT_FILTER: "content_filter",
    Finish.REFUSAL: "content_filter",
    # More was to come, which "stop" would deny.
    Finish.PAUSE: "length",
}


def is_good_end(reason: str | None) -> bool:
    """Return whether an answer that ends with ``reason`` is complete."""
    return reason in GOOD_ENDS or (reason is not None and finish_of(reason) is not None)


def finish_of(reason: str, *, refused: bool = False) -> Finish | None:
    """Return the neutral finish; None if ``reason`` stands for a failure.

    Google's compatible endpoint writes ``content_filter: SAFETY``, and some servers
    write upper case.

    Args:
        reason: The server's word.
        refused: Whether a refusal came in words; such an answer ends with ``stop``.
    """
    finish = GOOD_ENDS.get(reason)
    if finish is None:
        finish = GOOD_ENDS.get(reason.partition(":")[0].strip().lower())
    return Finish.REFUSAL if refused and finish is Finish.STOP else finish


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
