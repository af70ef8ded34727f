"""Effort and budget: two ways to say how much a model shall think.

OpenAI takes an effort, older Anthropic and Gemini models a budget in tokens, newer ones
an effort of their own. The amounts are those of Google's OpenAI-compatible endpoint,
https://ai.google.dev/gemini-api/docs/openai#thinking, extended at both ends.
"""

from __future__ import annotations

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""From least to most."""

_BUDGETS = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 32768,
    "max": 32768,
}


def budget_of(effort: str) -> int:
    """Return the tokens that ``effort`` stands for; those of ``medium`` if unknown."""
    return _BUDGETS.get(effort, _BUDGETS["medium"])


def effort_of(budget_tokens: int) -> str:
    """Return the effort whose budget is nearest below ``budget_tokens``."""
    if budget_tokens <= 0:
        return "none"
    fitting = [e for e in ("low", "medium", "high") if _BUDGETS[e] <= budget_tokens]
    return fitting[-1] if fitting else "minimal"


def nearest(effort: str, allowed: tuple[str, ...]) -> str:
    """Return the one of ``allowed`` that is nearest to ``effort``."""
    if effort in allowed or effort not in EFFORTS:
        return effort if effort in allowed else allowed[len(allowed) // 2]
    place = EFFORTS.index(effort)
    return min(allowed, key=lambda other: abs(EFFORTS.index(other) - place))
