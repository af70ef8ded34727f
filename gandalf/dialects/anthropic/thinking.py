"""How much to think, in what the model understands, and what thinking rules out.

Sources: https://platform.claude.com/docs/en/build-with-claude/extended-thinking and
.../thinking, .../effort. Rules:
- Newer models take ``adaptive`` and an effort, older ones ``enabled`` and a budget of
  1024 tokens at least and less than ``max_tokens``; ``gandalf.dialects.reasoning``
  turns the one into the other.
- Thinking that is asked for excludes forcing a tool, ``temperature`` (but 1), ``top_k``
  and a ``top_p`` below 0.95. A forced tool is a contract and thinking a wish: the tool
  wins, and the effort stays where there is one. Else thinking wins.
- ``enabled`` wants the assistant's last turn to begin with its sealed thinking if it
  calls a tool, and excludes prefill. Without that, thinking is left out.
- Models that always think get the least effort if none is wanted.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gandalf.dialects.anthropic.models import Rules
from gandalf.dialects.conversation import Feature, Reasoning
from gandalf.dialects.reasoning import budget_of, effort_of, nearest

MIN_BUDGET = 1024
# What is left for the answer itself, where the limit is ours to choose.
ANSWER_TOKENS = 4096
# Without a limit of the client's or one known of the model. Every Claude writes it.
DEFAULT_MAX_TOKENS = 4096


class Plan(msgspec.Struct, kw_only=True):
    """What a request says of thinking."""

    max_tokens: int
    config: dict[str, Any] | None = None
    """The member ``thinking``."""
    effort: str | None = None
    """Of ``output_config``."""
    approximated: set[Feature] = msgspec.field(default_factory=set)
    dropped: set[Feature] = msgspec.field(default_factory=set)

    @property
    def on(self) -> bool:
        """Whether thinking is asked for."""
        return self.config is not None and self.config["type"] in _ON

    def less(self) -> None:
        """Note that it is not just what was asked for."""
        self.approximated.add(Feature.THINKING)

    def none(self) -> None:
        """Note that there will be no thinking."""
        self.dropped.add(Feature.THINKING)


_ON = ("enabled", "adaptive")


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """What in a request bears upon thinking."""

    max_tokens: int | None
    output_limit: int | None
    forced: bool
    """Whether a tool must be called."""
    prefill: bool
    sealed: bool
    """Whether the last turn's tool calls, if there are any, have their thinking."""


def plan(reasoning: Reasoning | None, rules: Rules, given: Circumstances) -> Plan:
    """Return what to say to a model with ``rules`` of the ``reasoning`` asked for."""
    limit = given.max_tokens
    if limit is None:
        limit = given.output_limit or DEFAULT_MAX_TOKENS
    made = Plan(max_tokens=limit)
    if reasoning is None:
        return made
    if not rules.thinking:
        if not _unwanted(reasoning):
            made.none()
    elif _unwanted(reasoning):
        _turn_off(made, rules)
    elif _adaptively(reasoning, rules):
        _adapt(made, reasoning, rules, given)
    else:
        _enable(made, reasoning, rules, given)
    if made.on and reasoning.visible is not None and made.config is not None:
        made.config["display"] = "summarized" if reasoning.visible else "omitted"
    return made


def _unwanted(reasoning: Reasoning) -> bool:
    return reasoning.effort == "none" or (
        reasoning.budget_tokens == 0 and not reasoning.adaptive
    )


def _turn_off(made: Plan, rules: Rules) -> None:
    if rules.off is not None:
        made.config = {"type": rules.off}
    else:
        made.effort = rules.efforts[0]
        made.less()


def _adaptively(reasoning: Reasoning, rules: Rules) -> bool:
    if not rules.adaptive:
        return False
    # Where both are understood, a budget that was given is taken literally.
    return not rules.budget or reasoning.budget_tokens is None


def _adapt(
    made: Plan, reasoning: Reasoning, rules: Rules, given: Circumstances
) -> None:
    effort = reasoning.effort
    if effort is None and reasoning.budget_tokens is not None:
        effort = effort_of(reasoning.budget_tokens)
        made.less()
    if effort is not None:
        made.effort = nearest(effort, rules.efforts)
        if made.effort != effort:
            made.less()
    if not given.forced:
        made.config = {"type": "adaptive"}
    elif not rules.thinks:
        made.none()


def _enable(
    made: Plan, reasoning: Reasoning, rules: Rules, given: Circumstances
) -> None:
    effort, budget = reasoning.effort, reasoning.budget_tokens
    if budget is None:
        budget = budget_of(effort or "medium")
        made.less()
    elif effort is not None and rules.efforts:
        made.effort = nearest(effort, rules.efforts)
    fitting = _fitting(made, max(budget, MIN_BUDGET), given)
    if fitting is None or given.forced or given.prefill or not given.sealed:
        made.none()
        return
    if reasoning.budget_tokens not in (None, fitting):
        made.less()
    made.config = {"type": "enabled", "budget_tokens": fitting}


def _fitting(made: Plan, budget: int, given: Circumstances) -> int | None:
    """Return the budget that leaves room for an answer; None if none does.

    A limit that the client has set stands; one that is ours may grow.
    """
    if budget < made.max_tokens:
        return budget
    if given.max_tokens is None and given.output_limit is None:
        made.max_tokens = budget + ANSWER_TOKENS
        return budget
    half = made.max_tokens // 2
    if half >= MIN_BUDGET:
        return half
    return MIN_BUDGET if made.max_tokens > MIN_BUDGET else None
