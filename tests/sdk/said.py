"""What the model of an upstream says, and what it heard, in nobody's wire format.

A test writes ``Said`` and asserts on ``Heard``; ``speakers`` turns the one into each
upstream's format and reads the other from it. Uses nothing of gandalf.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.fakes.anthropic_format import SIGNATURE as ANTHROPIC_SEAL

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAA"
    "AABJRU5ErkJggg=="
)
"""A picture of one pixel, in base64."""

SEALS = {"anthropic": ANTHROPIC_SEAL, "gemini": "CiQBjz1rX2ZnFakeThoughtSignature+/AB"}


@dataclass(frozen=True)
class Calling:
    """A call of a tool."""

    name: str
    arguments: dict[str, Any]
    id: str = "call_0"


@dataclass(frozen=True, kw_only=True)
class Said:
    """One answer of a model, and what it counted."""

    text: tuple[str, ...] = ("Hello", " there")
    """In the pieces in which it is streamed."""
    thinking: str = ""
    calls: tuple[Calling, ...] = ()
    prompt: int = 20
    """Tokens of the prompt that were not read from a cache."""
    cached: int = 5
    output: int = 7
    """Tokens that can be seen."""
    reasoning: int = 3
    """Tokens of the thinking; none if there is none."""

    @property
    def whole(self) -> str:
        return "".join(self.text)

    @property
    def thought(self) -> int:
        return self.reasoning if self.thinking else 0


PLAIN = Said()
LONG = Said(text=tuple(f"word{n} " for n in range(100)))


Item = tuple[Any, ...]
"""``("text", text)``, ``("image", media type, base64)``, ``("thinking", text, seal)``,
``("call", name, arguments)`` or ``("result", name of the tool, text)``."""


@dataclass(kw_only=True)
class Heard:
    """One request, whatever the format. Turns of the same role are one."""

    model: str
    stream: bool
    system: str = ""
    turns: list[tuple[str, list[Item]]] = field(default_factory=list)
    tools: dict[str, Any] = field(default_factory=dict)
    """The schemas of the tools."""
    schema: Any = None
    """Of the JSON that is wanted."""
    thinking: Any = None
    """How thinking was asked for, as the format has it."""
    seals: list[str] = field(default_factory=list)
    """Every seal that came back, in order."""
    _called: dict[str, str] = field(default_factory=dict)

    def add(self, role: str, *items: Item) -> None:
        """Note parts of a turn; texts that follow each other are one."""
        if not items:
            return
        if not self.turns or self.turns[-1][0] != role:
            self.turns.append((role, []))
        turn = self.turns[-1][1]
        for item in items:
            if item[0] == "text" and turn and turn[-1][0] == "text":
                turn[-1] = ("text", turn[-1][1] + item[1])
            elif item != ("text", ""):
                turn.append(item)

    def call(self, id: str | None, name: str, arguments: Any) -> Item:
        """Return a call; its id must be new."""
        if id is not None:
            assert id not in self._called, f"two calls of the id {id}"
            self._called[id] = name
        return ("call", name, arguments)

    def result(self, id: str | None, content: Any, name: str = "") -> Item:
        """Return a result; it must be of a call that was made."""
        if id is not None:
            assert id in self._called, f"no call of the id {id}: {self._called}"
            assert name in ("", self._called[id])
            name = self._called[id]
        return ("result", name, _text_of(content))


def _text_of(result: Any) -> str:
    """The text of a result, without what a format or a client wraps it in."""
    if isinstance(result, str):
        try:
            decoded = json.loads(result)
        except ValueError:
            return result
        return _text_of(decoded) if isinstance(decoded, dict) else result
    if isinstance(result, dict) and len(result) == 1:
        return str(next(iter(result.values())))
    if isinstance(result, list):
        return "".join(part.get("text", "") for part in result)
    return json.dumps(result)


def kinds(items: Iterable[Item]) -> list[str]:
    """What ``items`` are."""
    return [item[0] for item in items]


def without_thinking(heard: Heard) -> Heard:
    """``heard`` as if no thinking had come back."""
    turns = [
        (role, [item for item in items if item[0] != "thinking"])
        for role, items in heard.turns
    ]
    return replace(heard, turns=turns)
