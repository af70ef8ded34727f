"""Ollama's done reasons, to the neutral ones and back.

Source: ``llm/server.go`` (``DoneReason``) and ``server/routes.go`` of
https://github.com/ollama/ollama. Servers before 0.1.38 give none: there ``done`` alone
ends an answer. The table of good ends is closed: a reason that is not in it stands for
a failure.
"""

from __future__ import annotations

from gandalf.dialects.conversation import Finish

GOOD_ENDS = {
    "stop": Finish.STOP,
    "length": Finish.LENGTH,
    # Other words of this gateway, which may itself be the upstream.
    "content_filter": Finish.CONTENT_FILTER,
    "refusal": Finish.REFUSAL,
}
IDLE_ENDS = frozenset({"load", "unload"})
"""Ends of answers to requests that only load or unload a model."""
_RENDERED = {
    Finish.LENGTH: "length",
    Finish.CONTENT_FILTER: "content_filter",
    Finish.REFUSAL: "refusal",
    # More was to come, which "stop" would deny.
    Finish.PAUSE: "length",
}


def is_good_end(reason: str) -> bool:
    """Return whether an answer to any request of Ollama's ends with ``reason``."""
    return reason in GOOD_ENDS or reason in IDLE_ENDS


def finish_of(reason: str | None, *, called: bool) -> Finish | None:
    """Return the neutral finish; None if ``reason`` stands for a failure.

    Args:
        reason: Ollama's word; None from a server that gives none.
        called: Whether the answer has tool calls, which end with ``stop``.
    """
    finish = Finish.STOP if reason is None else GOOD_ENDS.get(reason)
    return Finish.TOOL_CALLS if called and finish is Finish.STOP else finish


def reason_of(finish: Finish | None) -> str:
    """Return the ``done_reason``."""
    return "stop" if finish is None else _RENDERED.get(finish, "stop")
