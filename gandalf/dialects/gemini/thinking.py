"""How much to think: a budget for Gemini 2.5, a level for Gemini 3 and later.

Sources: https://ai.google.dev/gemini-api/docs/thinking (budgets and their limits),
https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/thinking (levels
of each model), ``google/genai/types.py`` (``ThinkingConfig``). Both at once are
refused. Gemini 3 takes a budget too, so a model of an unknown name is sent that.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gandalf.dialects.conversation import Reasoning
from gandalf.dialects.gemini.fields import Fields
from gandalf.dialects.reasoning import budget_of, effort_of, nearest

_NAME = re.compile(r"gemini-(\d+)(?:\.(\d+))?-(flash-lite|flash|pro)?")
_DYNAMIC = -1
# From this version on, only Flash-Lite still thinks minimally.
_WITHOUT_MINIMAL = (3, 7)


class Family(NamedTuple):
    """What a model's name says of it."""

    major: int
    minor: int
    size: str
    """``pro``, ``flash``, ``flash-lite`` or empty."""


class Range(NamedTuple):
    """The budgets that a model takes, and whether it can do without thinking."""

    least: int
    most: int
    off: bool


_BUDGETS = {
    "pro": Range(128, 32768, off=False),
    "flash": Range(1, 24576, off=True),
    "flash-lite": Range(512, 24576, off=True),
}
_ANY = Range(1, 24576, off=True)


class Rendered(NamedTuple):
    """A thinking configuration, and whether it is only nearly what was asked for."""

    config: dict[str, object]
    inexact: bool = False


def family_of(model: str) -> Family | None:
    """Return what the name ``model`` says; None if it is no name of that kind."""
    found = _NAME.search(model)
    if found is None:
        return None
    return Family(int(found[1]), int(found[2] or 0), found[3] or "")


def thinks(model: str) -> bool:
    """Whether ``model`` may be able to think; what is not known may."""
    family = family_of(model)
    if family is None:
        return "gemma" not in model
    return (family.major, family.minor) >= (2, 5)


def is_third(model: str) -> bool:
    """Whether ``model`` is of Gemini 3 or later, or may be."""
    family = family_of(model)
    return family is None or family.major >= 3


def parse(config: Fields) -> Reasoning:
    """Return what a ``thinkingConfig`` asks for."""
    budget = config.integer("thinkingBudget")
    level = config.text("thinkingLevel")
    visible = config.flag("includeThoughts")
    config.close()
    if level in (None, "THINKING_LEVEL_UNSPECIFIED"):
        effort = "none" if budget == 0 else None
    else:
        effort = (level or "").lower()
    return Reasoning(
        effort=effort,
        budget_tokens=None if budget == _DYNAMIC else budget,
        adaptive=budget == _DYNAMIC,
        visible=visible,
    )


def render(reasoning: Reasoning, model: str) -> Rendered:
    """Return the ``thinkingConfig`` for ``model``, which can think."""
    family = family_of(model)
    leveled = family is not None and family.major >= 3
    rendered = _level(reasoning, family) if leveled else _budget(reasoning, family)
    if reasoning.visible is not None:
        rendered.config["includeThoughts"] = reasoning.visible
    return rendered


def _level(reasoning: Reasoning, family: Family | None) -> Rendered:
    if reasoning.budget_tokens is not None:
        wanted, inexact = effort_of(reasoning.budget_tokens), True
    elif reasoning.effort is not None:
        wanted, inexact = reasoning.effort, False
    else:
        return Rendered({})
    level = nearest(wanted, _levels_of(family))
    return Rendered({"thinkingLevel": level.upper()}, inexact or level != wanted)


def _levels_of(family: Family | None) -> tuple[str, ...]:
    if family is None or family == (3, 0, "pro"):
        return ("low", "high")
    early = (family.major, family.minor) < _WITHOUT_MINIMAL
    if family.size == "flash-lite" or (family.size == "flash" and early):
        return ("minimal", "low", "medium", "high")
    return ("low", "medium", "high")


def _budget(reasoning: Reasoning, family: Family | None) -> Rendered:
    limits = _BUDGETS.get(family.size, _ANY) if family else _ANY
    if reasoning.budget_tokens is not None:
        wanted = reasoning.budget_tokens
    elif reasoning.effort is not None:
        wanted = budget_of(reasoning.effort)
    elif reasoning.adaptive:
        return Rendered({"thinkingBudget": _DYNAMIC})
    else:
        return Rendered({})
    if wanted <= 0 and limits.off:
        return Rendered({"thinkingBudget": 0})
    budget = min(max(wanted, limits.least), limits.most)
    return Rendered({"thinkingBudget": budget}, budget != wanted)
