"""From neutral messages to a system prompt and the turns that follow it.

Source: https://platform.claude.com/docs/en/api/messages/create, .../api/errors and
.../build-with-claude/mid-conversation-system-messages. Rules, and what is done where a
conversation of another dialect does not keep them:
- A system prompt stands at the top: what precedes the first other message is joined.
  Later ones stay where newer models take them, after a user's turn; for others they
  move to the top, as in Anthropic's own layer for OpenAI's SDK.
- Turns alternate and a user begins: neighbours are joined, and a conversation that the
  assistant begins gets a user's turn that says nothing.
- The results of a turn's tool calls begin the next turn, one for each call: they are
  moved there, and a call that nobody answered is said to have failed.
- Ids of calls are unique in a conversation: one that comes again is renamed.
- The last turn is a user's where a model does not go on with an assistant's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from gandalf.dialects.anthropic.models import Rules
from gandalf.dialects.anthropic.render_blocks import Block, Blocks, Losses, clean_id
from gandalf.dialects.conversation import Conversation, Feature, Message
from gandalf.dialects.mending import NO_RESULT
from gandalf.domain.errors import BadRequest

_SYSTEM = ("system", "developer")
_NOTHING_SAID: Block = {"type": "text", "text": "."}
_GO_ON: Block = {"type": "text", "text": "Continue from where you left off."}


class Turn(msgspec.Struct):
    """What one side says before the other does; ``system`` is between them."""

    role: str
    blocks: list[Block]

    def encoded(self) -> Block:
        """Return it as a member of ``messages``."""
        return {"role": self.role, "content": self.blocks}


class Rendered(msgspec.Struct):
    """A conversation's messages in Anthropic's order."""

    system: list[Block]
    turns: list[Turn]


def render_messages(
    conversation: Conversation, rules: Rules, losses: Losses
) -> Rendered:
    """Return the system prompt and the turns of ``conversation``.

    Raises:
        BadRequest: Nothing is said in it, or a result belongs to no call.
    """
    rendering = _Rendering(conversation, rules, losses)
    for message in conversation.messages:
        rendering.add(message)
    return rendering.finish()


class _Rendering:
    def __init__(
        self, conversation: Conversation, rules: Rules, losses: Losses
    ) -> None:
        self._blocks = Blocks(conversation.source, losses)
        self._rules = rules
        self._losses = losses
        self._system: list[Block] = []
        self._turns: list[Turn] = []
        self._late: list[Block] = []
        """System messages that wait for the end of a user's turn."""
        if len({m.role for m in conversation.messages} & set(_SYSTEM)) > 1:
            losses.approximated.add(Feature.DEVELOPER)

    def add(self, message: Message) -> None:
        if message.signature is not None:
            self._losses.dropped.add(Feature.THINKING_HISTORY)
        blocks = self._blocks.blocks(message.role, message.parts)
        if not blocks:
            return
        if message.role not in _SYSTEM:
            self._add_turn(message.role, blocks)
        elif not self._turns:
            self._system += blocks
        elif not self._rules.late_system:
            self._losses.approximated.add(Feature.LATE_SYSTEM)
            self._system += blocks
        elif self._turns[-1].role == "assistant":
            self._late += blocks
        else:
            self._join("system", blocks)

    def finish(self) -> Rendered:
        if self._late:
            # After the assistant's last turn there is no place for them.
            self._losses.approximated.add(Feature.LATE_SYSTEM)
            self._system += self._late
        if not self._turns and self._system:
            self._losses.approximated.add(Feature.SYSTEM)
            self._turns, self._system = [Turn("user", self._system)], []
        if not self._turns:
            raise BadRequest("no message says anything", param="messages")
        if self._turns[0].role != "user":
            self._turns.insert(0, Turn("user", [dict(_NOTHING_SAID)]))
        begun = self._turns[-1].role == "assistant"
        self._turns = _with_results_in_place(self._turns, self._losses)
        self._turns = self._with_system_in_place()
        if self._turns[-1].role == "assistant":
            self._end_with_assistant(begun=begun)
        return Rendered(self._system, self._turns)

    def _add_turn(self, role: str, blocks: list[Block]) -> None:
        if role == "user" and self._turns and self._turns[-1].role == "system":
            # A system message must not stand between two of the user's.
            self._late = self._turns.pop().blocks
        self._join(role, blocks)
        if role == "user" and self._late:
            self._losses.approximated.add(Feature.LATE_SYSTEM)
            self._join("system", self._late)
            self._late = []

    def _join(self, role: str, blocks: list[Block]) -> None:
        if self._turns and self._turns[-1].role == role:
            self._turns[-1].blocks += blocks
        else:
            self._turns.append(Turn(role, list(blocks)))

    def _with_system_in_place(self) -> list[Turn]:
        """Return the turns; what no longer follows a user's has moved to the top."""
        placed: list[Turn] = []
        for turn in self._turns:
            if turn.role == "system" and placed[-1].role != "user":
                self._losses.approximated.add(Feature.LATE_SYSTEM)
                self._system += turn.blocks
            else:
                placed.append(turn)
        return _joined(placed)

    def _end_with_assistant(self, *, begun: bool) -> None:
        """Have the model go on with the last turn, or say that it shall.

        Args:
            begun: Whether it was the last turn before results went to their calls.
        """
        if not begun or not self._rules.prefill:
            self._losses.approximated.add(Feature.PREFILL if begun else Feature.TOOLS)
            self._turns.append(Turn("user", [dict(_GO_ON)]))
            return
        block = self._turns[-1].blocks[-1]
        if block["type"] == "text" and block["text"] != block["text"].rstrip():
            # A prefill that ends in white space is refused.
            block["text"] = block["text"].rstrip()
            self._losses.approximated.add(Feature.PREFILL)


# Tool calls and their results.


class _Answers:
    """Matches results with calls, in the order in which both come."""

    def __init__(self) -> None:
        self._open: dict[str, deque[tuple[str, int]]] = {}
        self._ids: set[str] = set()

    def call(self, block: Block, turn: int) -> None:
        """Note a call in the ``turn``-th turn, and make its id unique."""
        unique = clean = clean_id(block["id"])
        number = 2
        while unique in self._ids:
            unique = f"{clean}_{number}"
            number += 1
        self._ids.add(unique)
        self._open.setdefault(block["id"], deque()).append((unique, turn))
        block["id"] = unique

    def result(self, block: Block) -> int:
        """Return the turn whose call ``block`` answers, and set the call's id."""
        waiting = self._open.get(block["tool_use_id"])
        if not waiting:
            raise BadRequest(
                f"a tool result answers no call: {block['tool_use_id']!r}",
                param="messages",
            )
        block["tool_use_id"], turn = waiting.popleft()
        return turn


def _with_results_in_place(turns: list[Turn], losses: Losses) -> list[Turn]:
    if not any(_has(turn, ("tool_use", "tool_result")) for turn in turns):
        return turns
    answers = _Answers()
    results: dict[int, list[Block]] = {}
    for number, turn in enumerate(turns):
        for block in turn.blocks:
            if block["type"] == "tool_use":
                answers.call(block, number)
            elif block["type"] == "tool_result":
                results.setdefault(answers.result(block), []).append(block)
    placed: list[Turn] = []
    owed: list[Block] = []
    for number, turn in enumerate(turns):
        rest = [b for b in turn.blocks if b["type"] != "tool_result"]
        if owed or rest:
            # After an assistant's turn comes a user's, or nothing.
            placed.append(Turn(turn.role, [*owed, *rest]))
        owed = _all_results(turn, results.get(number, []), losses)
    if owed:
        placed.append(Turn("user", owed))
    return _joined(placed)


def _all_results(turn: Turn, given: list[Block], losses: Losses) -> list[Block]:
    answered = {block["tool_use_id"] for block in given}
    missing = [
        _unanswered(block["id"])
        for block in turn.blocks
        if block["type"] == "tool_use" and block["id"] not in answered
    ]
    if missing:
        losses.approximated.add(Feature.TOOLS)
    return [*given, *missing]


def _unanswered(call: str) -> Block:
    return {
        "type": "tool_result",
        "tool_use_id": call,
        "content": NO_RESULT,
        "is_error": True,
    }


def _joined(turns: Iterable[Turn]) -> list[Turn]:
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].role == turn.role:
            joined[-1].blocks += turn.blocks
        else:
            joined.append(turn)
    return joined


def _has(turn: Turn, types: tuple[str, ...]) -> bool:
    return any(block["type"] in types for block in turn.blocks)
