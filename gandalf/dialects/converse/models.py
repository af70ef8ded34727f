"""What Converse leaves to each model: its maker, known by the model's id.

Converse is one form for models of many makers, but not all of it is for all of them,
and what is not in its form goes through ``additionalModelRequestFields`` in the words
of each maker. Ids are ``[region.]maker.name`` or an ARN that ends so; an application's
own inference profile or a provisioned model has an ARN that says nothing.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html and
.../prompt-caching.html, https://docs.aws.amazon.com/nova/latest/nova2-userguide/
extended-thinking.html; for what a Claude refuses https://platform.claude.com/docs/en/
about-claude/models/migration-guide and build-with-claude/thinking-troubleshooting; for
OpenAI's models what others have measured,
https://github.com/anomalyco/opencode/pull/48195.
"""

from __future__ import annotations

import enum
import re
from typing import Any

import msgspec


class Family(enum.Enum):
    """Models that take the same fields."""

    CLAUDE = enum.auto()
    NOVA = enum.auto()
    NOVA_2 = enum.auto()
    GPT = enum.auto()
    GPT_OSS = enum.auto()
    GROK = enum.auto()
    COHERE = enum.auto()
    OTHER = enum.auto()
    OPAQUE = enum.auto()
    """The id does not say whose model it is."""


class Kind(msgspec.Struct, frozen=True):
    """Which models one is like."""

    family: Family
    version: tuple[int, int] = (0, 0)
    """Of a Claude; the highest there can be if its name has none."""
    line: str = ""
    """Of a Claude: ``opus``, ``sonnet``, ..."""

    @property
    def caches(self) -> bool:
        """Whether a cache point can be in its messages and system prompt."""
        return self.family in _CACHING

    @property
    def caches_tools(self) -> bool:
        """Whether a cache point can be among its tools."""
        return self.family in (Family.CLAUDE, Family.OPAQUE)

    @property
    def marks_tool_errors(self) -> bool:
        """Whether a tool result can have a status."""
        return self.family in _CACHING

    @property
    def seals(self) -> bool:
        """Whether it takes signed thinking back."""
        return self.family in (Family.CLAUDE, Family.OPAQUE)

    @property
    def hides(self) -> bool:
        """Whether it takes encrypted thinking back."""
        return self.family in _HIDING

    @property
    def adaptive(self) -> bool:
        """Whether it is a Claude that is told an effort instead of a budget."""
        return self.family is Family.CLAUDE and self.version >= (4, 6)

    @property
    def budgets(self) -> bool:
        """Whether it is a Claude that understands a budget."""
        return self.family is Family.CLAUDE and (3, 7) <= self.version < (4, 7)

    @property
    def off(self) -> str | None:
        """How a Claude that thinks unasked is told not to; None if it cannot be."""
        if self.line in ("fable", "mythos"):
            return None
        if self.version >= (5, 5) and self.line == "opus":
            return None
        if self.version >= (5, 5) and self.line == "sonnet":
            return "between_tools"
        return "disabled"

    @property
    def forces(self) -> bool:
        """Whether it can be made to call a tool."""
        if self.line in ("fable", "mythos"):
            return self.version < (5, 1)
        return not (self.line in ("opus", "sonnet") and self.version >= (5, 5))

    @property
    def holds_schemas(self) -> bool:
        """Whether it is known to hold its answer and its calls to a schema."""
        return self.family is Family.CLAUDE and self.version >= (4, 5)

    @property
    def samples(self) -> bool:
        """Whether it lets its sampling be set."""
        return self.family is not Family.CLAUDE or self.version < (4, 7)

    @property
    def one_sampler(self) -> bool:
        """Whether it takes a temperature or a top_p, but not both."""
        return self.family is Family.CLAUDE and self.version >= (4, 1)

    def top_k(self, value: int) -> dict[str, Any] | None:
        """Return the fields that say ``top_k``; None if it has no such thing."""
        match self.family:
            case Family.CLAUDE:
                return {"top_k": value}
            case Family.NOVA | Family.NOVA_2:
                return {"inferenceConfig": {"topK": value}}
            case Family.COHERE:
                return {"k": value}
            case _:
                return None


_CACHING = (Family.CLAUDE, Family.NOVA, Family.NOVA_2, Family.OPAQUE)
_HIDING = (Family.CLAUDE, Family.GPT, Family.GROK, Family.OPAQUE)

# The maker is the first part of the name, or the second after a region's.
_ID = re.compile(r"(?:[a-z-]+\.)?(anthropic|amazon|openai|xai|cohere)\.(.+)")
_MAKERS = {"xai": Family.GROK, "cohere": Family.COHERE}
# claude-3-7-sonnet-20250219-v1:0, claude-opus-4-20250514-v1:0, claude-sonnet-5
_VERSION = re.compile(
    r"claude-(?:([a-z]+)-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)(?:-([a-z]+))?"
)
_NEWEST = (99, 0)


def kind_of(model: str) -> Kind:
    """Return what is known of ``model`` by its id."""
    name = model.rpartition("/")[2]
    found = _ID.fullmatch(name)
    if found is None:
        return Kind(Family.OTHER if "." in name else Family.OPAQUE)
    maker, name = found.groups()
    if maker == "anthropic":
        return _claude(name)
    if maker == "amazon":
        return Kind(_amazons(name))
    if maker == "openai":
        return Kind(Family.GPT_OSS if name.startswith("gpt-oss") else Family.GPT)
    return Kind(_MAKERS[maker])


def without_region(model: str) -> str:
    """Return the id of the model that an inference profile of Amazon's own is for."""
    found = _ID.fullmatch(model)
    return f"{found[1]}.{found[2]}" if found is not None else model


def _amazons(name: str) -> Family:
    if not name.startswith("nova"):
        return Family.OTHER
    first = ("nova-micro", "nova-lite", "nova-pro", "nova-premier")
    return Family.NOVA if name.startswith(first) else Family.NOVA_2


def _claude(name: str) -> Kind:
    if name.startswith(("claude-v", "claude-instant")):
        return Kind(Family.CLAUDE, (2, 0))
    if name.startswith("claude-mythos-preview"):
        return Kind(Family.CLAUDE, (4, 6), "mythos")
    found = _VERSION.match(name)
    if found is None:
        return Kind(Family.CLAUDE, _NEWEST)
    line, major, minor, old_line = found.groups()
    return Kind(Family.CLAUDE, (int(major), int(minor or 0)), line or old_line or "")
