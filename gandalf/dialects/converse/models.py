"""What Converse leaves to each model: its maker, known by the model's id.

Converse is one form for models of many makers, but not all of it is for all of them,
and what is not in its form goes through ``additionalModelRequestFields`` in the words
of each maker. Ids are ``[region.]maker.name`` or an ARN that ends so; an application's
own inference profile or a provisioned model has an ARN that says nothing.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html and
.../prompt-caching.html, https://docs.aws.amazon.com/nova/latest/nova2-userguide/
extended-thinking.html; for OpenAI's models what others have measured,
https://github.com/anomalyco/opencode/pull/48195. What a Claude accepts is known to
Anthropic's own dialect.
"""

from __future__ import annotations

import enum
import re
from typing import Any

import msgspec

from gandalf.dialects.anthropic.models import Rules, rules_of
from gandalf.domain.model import Model


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
    claude: Rules | None = None
    """What it accepts, if it is a Claude."""

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
    def forces(self) -> bool:
        """Whether it can be made to call a tool."""
        return self.claude is None or self.claude.forcing

    @property
    def samples(self) -> bool:
        """Whether it lets its sampling be set."""
        return self.claude is None or self.claude.sampling

    @property
    def one_sampler(self) -> bool:
        """Whether it takes a temperature or a top_p, but not both."""
        return self.claude is not None and not self.claude.temperature_with_top_p

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


def kind_of(model: Model) -> Kind:
    """Return what is known of ``model`` by its id."""
    name = model.name.rpartition("/")[2]
    found = _ID.fullmatch(name)
    if found is None:
        return Kind(Family.OTHER if "." in name else Family.OPAQUE)
    maker, name = found.groups()
    if maker == "anthropic":
        return Kind(Family.CLAUDE, rules_of(model))
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
