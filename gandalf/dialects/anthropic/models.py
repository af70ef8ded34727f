"""What Claude models accept, where the API refuses what another model takes.

Nothing but the name tells: neither the catalogue of models nor an upstream's error
does so in time. Sources, as of November 2026, all at https://platform.claude.com/docs/en:

thinking  build-with-claude/thinking-troubleshooting#rejected-configurations
effort    build-with-claude/effort
sampling  models/haiku-5-5/migration-guide#remove-sampling-parameters and its like:
          refused from 4.7 on; ``temperature`` or ``top_p``, not both, from 4.1 on
prefill   api/errors#prefill-not-supported: refused from 4.6 on
forcing   models/opus-5-5/whats-new-opus-5-5#forced-tool-use-is-not-supported: refused
          by Fable and Mythos 5.1 and later, Opus 5.5 and Sonnet 5.5
late      build-with-claude/mid-conversation-system-messages: from Opus 4.8 on, but
          Sonnet 5
schemas   build-with-claude/structured-outputs: from 4.5 on

A model newer than all in the table is taken for the newest of its line; one whose name
does not say what it is, for one that accepts everything that any of them does.
"""

from __future__ import annotations

import re

import msgspec

from gandalf.domain.model import Model

_NAME = re.compile(
    r"claude-(?:(?P<line>opus|sonnet|haiku|fable|mythos)-)?(?P<major>\d)"
    r"(?:[-.](?P<minor>\d{1,2}))?(?!\d)(?:-(?P<old_line>opus|sonnet|haiku))?"
)


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What one model accepts. The defaults are those of Claude 4.5."""

    budget: bool = True
    """Thinking with ``budget_tokens`` (``enabled``)."""
    adaptive: bool = False
    off: str | None = "disabled"
    """The type that turns thinking off; None if nothing does."""
    thinks: bool = False
    """Whether it thinks if nothing is said."""
    efforts: tuple[str, ...] = ()
    sampling: bool = True
    temperature_with_top_p: bool = False
    prefill: bool = False
    forcing: bool = True
    """``tool_choice`` ``any`` and ``tool``."""
    late_system: bool = False
    """System messages among the others."""
    schemas: bool = True
    """``output_config.format`` and strict tools."""

    @property
    def thinking(self) -> bool:
        """Whether it can think at all."""
        return self.budget or self.adaptive


_LOW_TO_MAX = ("low", "medium", "high", "max")
_ALL = ("low", "medium", "high", "xhigh", "max")

_CLAUDE_3 = Rules(
    budget=False, off=None, temperature_with_top_p=True, prefill=True, schemas=False
)
_CLAUDE_3_7 = Rules(temperature_with_top_p=True, prefill=True, schemas=False)
_CLAUDE_4_1 = Rules(prefill=True, schemas=False)
_CLAUDE_4_5 = Rules(prefill=True)
_OPUS_4_5 = Rules(prefill=True, efforts=("low", "medium", "high"))
_CLAUDE_4_6 = Rules(adaptive=True, efforts=_LOW_TO_MAX)
_OPUS_4_7 = Rules(budget=False, adaptive=True, efforts=_ALL, sampling=False)
_OPUS_4_8 = msgspec.structs.replace(_OPUS_4_7, late_system=True)
_SONNET_5 = msgspec.structs.replace(_OPUS_4_7, thinks=True)
_OPUS_5 = msgspec.structs.replace(_OPUS_4_8, thinks=True)
_FABLE_5 = msgspec.structs.replace(_OPUS_5, off=None)
_OPUS_5_5 = msgspec.structs.replace(_FABLE_5, forcing=False)
_SONNET_5_5 = msgspec.structs.replace(_OPUS_5, off="between_tools", forcing=False)
_MYTHOS_PREVIEW = Rules(adaptive=True, efforts=_LOW_TO_MAX, off=None, thinks=True)

_UNKNOWN = Rules(
    adaptive=True,
    efforts=_ALL,
    prefill=True,
    temperature_with_top_p=True,
    schemas=False,
)

# Of each line, from which version on which rules hold.
_SINCE: dict[str, tuple[tuple[tuple[int, int], Rules], ...]] = {
    "opus": (
        ((3, 0), _CLAUDE_3),
        ((4, 0), _CLAUDE_3_7),
        ((4, 1), _CLAUDE_4_1),
        ((4, 5), _OPUS_4_5),
        ((4, 6), _CLAUDE_4_6),
        ((4, 7), _OPUS_4_7),
        ((4, 8), _OPUS_4_8),
        ((5, 0), _OPUS_5),
        ((5, 5), _OPUS_5_5),
    ),
    "sonnet": (
        ((3, 0), _CLAUDE_3),
        ((3, 7), _CLAUDE_3_7),
        ((4, 5), _CLAUDE_4_5),
        ((4, 6), _CLAUDE_4_6),
        ((5, 0), _SONNET_5),
        ((5, 5), _SONNET_5_5),
    ),
    "haiku": (((3, 0), _CLAUDE_3), ((4, 5), _CLAUDE_4_5), ((5, 5), _OPUS_5)),
    "fable": (((5, 0), _FABLE_5), ((5, 1), _OPUS_5_5)),
    "mythos": (((5, 0), _FABLE_5), ((5, 1), _OPUS_5_5)),
}


def rules_of(model: Model) -> Rules:
    """Return what ``model`` accepts: by what is known of it, else by its name."""
    rules = _by_name(model.name)
    known: dict[str, bool] = {}
    if model.structured_output is not None:
        known["schemas"] = model.structured_output
    if model.temperature is False:
        known["sampling"] = False
    if model.thinking is False:
        known |= {"budget": False, "adaptive": False, "thinks": False}
    return msgspec.structs.replace(rules, **known) if known else rules


def _by_name(name: str) -> Rules:
    if "claude-mythos-preview" in name:
        return _MYTHOS_PREVIEW
    found = _NAME.search(name)
    if found is None:
        return _UNKNOWN
    line = found["line"] or found["old_line"]
    if line is None:
        return _UNKNOWN
    version = (int(found["major"]), int(found["minor"] or 0))
    fitting = [rules for since, rules in _SINCE[line] if since <= version]
    return fitting[-1] if fitting else _CLAUDE_3
