"""How much to think, in the words of each maker.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/
claude-messages-extended-thinking.html (the fields are Anthropic's own, and so are the
rules, which its dialect knows),
https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html; for
OpenAI's models see ``models``.
"""

from __future__ import annotations

from typing import Any

from gandalf.dialects.anthropic.models import Rules
from gandalf.dialects.anthropic.thinking import Circumstances, plan
from gandalf.dialects.conversation import (
    Conversation,
    Feature,
    Message,
    Reasoning,
    Thinking,
    ToolCall,
    ToolResult,
)
from gandalf.dialects.converse.losses import Losses
from gandalf.dialects.converse.models import Family, Kind
from gandalf.dialects.reasoning import effort_of, nearest
from gandalf.domain.model import Model

# Of two that are equally near to what is asked, the first is taken.
_EFFORTS: dict[Family, tuple[str, ...]] = {
    Family.NOVA_2: ("low", "medium", "high"),
    Family.GPT: ("low", "medium", "high", "xhigh", "max", "none"),
    Family.GPT_OSS: ("low", "medium", "high"),
}


def thinking_of(
    conversation: Conversation,
    model: Model,
    kind: Kind,
    losses: Losses,
    *,
    forced: bool,
) -> dict[str, Any]:
    """Return the fields that ask for the thinking that ``conversation`` wants.

    Args:
        conversation: What is asked.
        model: Who is asked.
        kind: What that model is like.
        losses: Where to note what cannot be had.
        forced: Whether the model must call a tool.
    """
    wanted = conversation.reasoning
    if wanted is None or not _says_how_much(wanted):
        return {}
    if kind.claude is not None:
        return _claudes(wanted, conversation, model, kind.claude, losses, forced=forced)
    if kind.family not in _EFFORTS or model.thinking is False:
        if not _is_off(wanted):
            losses.drop(Feature.THINKING)
        return {}
    if wanted.visible is not None:
        losses.approximate(Feature.THINKING)
    if kind.family is Family.NOVA_2:
        return _novas(wanted, conversation, losses)
    if wanted.adaptive and wanted.effort is None:
        return {}
    effort = _effort(wanted, _EFFORTS[kind.family], losses)
    if kind.family is Family.GPT:
        return {"reasoning": {"effort": effort}}
    return {"reasoning_effort": effort}


def _claudes(
    wanted: Reasoning,
    conversation: Conversation,
    model: Model,
    rules: Rules,
    losses: Losses,
    *,
    forced: bool,
) -> dict[str, Any]:
    last = conversation.messages[-1] if conversation.messages else None
    planned = plan(
        wanted,
        rules,
        Circumstances(
            max_tokens=conversation.max_tokens,
            output_limit=model.output_limit,
            forced=forced,
            prefill=last is not None and last.role == "assistant",
            sealed=not _resumes(conversation),
        ),
    )
    losses.approximated |= planned.approximated
    losses.dropped |= planned.dropped
    fields: dict[str, Any] = {}
    if planned.config is not None:
        fields["thinking"] = planned.config
    if planned.effort is not None:
        fields["output_config"] = {"effort": planned.effort}
    return fields


def _novas(
    wanted: Reasoning, conversation: Conversation, losses: Losses
) -> dict[str, Any]:
    if _is_off(wanted):
        return {}
    effort = _effort(wanted, _EFFORTS[Family.NOVA_2], losses)
    limits = (conversation.max_tokens, conversation.temperature, conversation.top_p)
    if effort == "high" and any(limit is not None for limit in limits):
        # With the highest effort none of them may be set.
        losses.approximate(Feature.THINKING)
        effort = "medium"
    return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}}


def _says_how_much(wanted: Reasoning) -> bool:
    return (
        wanted.effort is not None or wanted.budget_tokens is not None or wanted.adaptive
    )


def _is_off(wanted: Reasoning) -> bool:
    return wanted.effort == "none" or wanted.budget_tokens == 0


def _effort(wanted: Reasoning, allowed: tuple[str, ...], losses: Losses) -> str:
    asked = wanted.effort
    if asked is None:
        losses.approximate(Feature.THINKING)
        asked = "medium" if wanted.adaptive else effort_of(wanted.budget_tokens or 0)
    effort = nearest(asked, allowed)
    if effort != asked:
        losses.approximate(Feature.THINKING)
    return effort


def _resumes(conversation: Conversation) -> bool:
    """Whether the answer goes on from tool calls that were made without thinking.

    A Claude with a budget refuses to think in the middle of a turn that it has not
    begun with thinking of its own.
    """
    if not conversation.messages or not _is_result(conversation.messages[-1]):
        return False
    turns = [m for m in conversation.messages if m.role == "assistant"]
    if not turns:
        return False
    calls = any(isinstance(part, ToolCall) for part in turns[-1].parts)
    return calls and not any(map(_is_sealed, turns[-1].parts))


def _is_result(message: Message) -> bool:
    return any(isinstance(part, ToolResult) for part in message.parts)


def _is_sealed(part: object) -> bool:
    return isinstance(part, Thinking) and bool(part.origin)
