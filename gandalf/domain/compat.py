"""What an OpenAI-compatible vendor takes and gives, where vendors differ.

One immutable row per vendor (``gandalf.config.presets``), corrected by ``compat`` in a
provider's configuration. The defaults are those of OpenAI itself.
"""

from __future__ import annotations

from typing import Literal

import msgspec

ThinkingSwitch = Literal[
    "reasoning_effort", "thinking", "enable_thinking", "chat_template_kwargs"
]


class Compat(msgspec.Struct, frozen=True, kw_only=True):
    """Rules of one vendor for Chat Completions."""

    reasoning_history: Literal["none", "reasoning_content", "reasoning"] = "none"
    """Member of an assistant message that hands earlier thinking back; ``none``: it is
    not handed back."""
    reasoning_required: bool = False
    """Whether each assistant message must have that member, if only as ``""``."""
    thinking_switch: ThinkingSwitch = "reasoning_effort"
    """Field that turns thinking on and off: ``thinking: {"type": ...}``,
    ``enable_thinking`` at the top or within ``chat_template_kwargs``, or an effort of
    ``none``."""
    efforts: tuple[str, ...] | None = None
    """Values of ``reasoning_effort``. ``null``: all; empty: the field is not sent."""
    tool_call_ids: Literal["any", "alphanumeric9"] = "any"
    """Form of tool-call ids: ``alphanumeric9`` is nine of a-z, A-Z, 0-9."""
    text_content: Literal["parts", "string"] = "parts"
    """Form of a content of several texts."""
    refused_fields: tuple[str, ...] = ()
    """Fields of a request that are left out: the vendor refuses them."""
    seed_field: str = "seed"
    """Name of the field for a seed."""
    prefill_field: Literal["none", "prefix", "partial"] = "none"
    """Member that marks the last assistant message as one to continue."""
    limit_field: Literal["by_model", "max_tokens", "max_completion_tokens"] = "by_model"
    """Field for the output limit; ``by_model``: by the model's name, as at OpenAI."""
    allowed_tools: bool = True
    """Whether ``tool_choice`` can name several tools."""
    developer_role: bool = True
    """Whether there is a role ``developer``; else it is ``system``."""
    late_system: bool = True
    """Whether a system message may follow another one; else it becomes the user's."""
    user_after_tool: bool = True
    """Whether a user message may follow a tool message."""


OPENAI = Compat()
"""What holds for OpenAI, and for a provider of which nothing else is known."""
