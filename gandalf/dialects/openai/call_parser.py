"""The tool calls of one choice, from the chunks of a stream.

Clients of OpenAI put a call together by its ``index``; compatible servers count
carelessly, and name a call later than they begin it. Rules:

- A call begins once its name is known and its id, or its arguments, have come. What
  comes before waits.
- At an old index, another id with a name is another call; another id alone is a new
  id of the same one. Without ids, a name is another call if the arguments of the one
  before are a whole; without an index, any name or other id is.
- A call that never gets a name is a failure: it cannot be carried out.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gandalf.dialects.arguments import text_of
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import (
    Event,
    Failed,
    ToolCallDelta,
    ToolCallStarted,
)
from gandalf.dialects.openai import thinking

_NAMELESS = Failed(message="the upstream has sent a tool call without a name")


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, msgspec.Raw] | None = None
    """Text; an object from careless servers."""


class ToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: Function | None = None
    extra_content: thinking.ExtraContent | None = None


_NO_FUNCTION = Function()
_decode_any = msgspec.json.Decoder(Any).decode


class _Call:
    """One call under way."""

    __slots__ = ("argued", "id", "name", "pieces", "place", "signature")

    def __init__(self) -> None:
        self.id = ""
        """As the server gave it; empty if it has not."""
        self.name = ""
        self.signature: str | None = None
        self.pieces: list[str] = []
        """Arguments that wait for the call to begin, or all of them if it has no id."""
        self.argued = False
        """Whether any arguments have come."""
        self.place = -1
        """Its number once it has begun."""

    @property
    def whole(self) -> bool:
        """Whether its arguments are a JSON value."""
        try:
            _decode_any("".join(self.pieces))
        except UNREADABLE:
            return False
        return True


class CallParser:
    """Parses the calls of one choice.

    Args:
        choice: Its index.
        answer_id: Made-up ids are derived from it.
    """

    __slots__ = ("_answer_id", "_by_index", "_choice", "_count", "_last", "_waiting")

    def __init__(self, choice: int, answer_id: str) -> None:
        self._choice = choice
        self._answer_id = answer_id
        self._by_index: dict[int, _Call] = {}
        self._last: _Call | None = None
        self._count = 0
        self._waiting: list[_Call] = []
        """Calls that have not begun, in their order."""

    def parse(self, said: ToolCall, events: list[Event]) -> None:
        """Add what ``said`` means to ``events``."""
        function = said.function or _NO_FUNCTION
        call = self._known(said, function)
        if call is None:
            call = self._another(said)
        arguments = text_of(function.arguments)
        if call.place < 0:
            self._wait(call, said, function, arguments, events)
        elif arguments:
            call.argued = True
            if not call.id:
                call.pieces.append(arguments)
            events.append(
                ToolCallDelta(call=call.place, arguments=arguments, choice=self._choice)
            )

    def finish(self, events: list[Event]) -> None:
        """Add the calls that still wait, when their choice has ended."""
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            if call.name:
                self._begin(call, events)
            elif call.id or call.pieces:
                events.append(_NAMELESS)

    def _known(self, said: ToolCall, function: Function) -> _Call | None:
        """Return the call that ``said`` goes on with; None if it is another one."""
        index, name = said.index, function.name
        call = self._last if index is None else self._by_index.get(index)
        if call is None or said.id == call.id != "":
            return call
        if said.id and index is None:
            return None
        named = bool(name and call.name)
        if said.id and call.id:
            other = named and (name != call.name or call.argued)
        elif said.id or index is None:
            other = named
        else:
            other = named and not call.id and call.whole
        return None if other else call

    def _another(self, said: ToolCall) -> _Call:
        call = self._last = _Call()
        self._waiting.append(call)
        if said.index is not None:
            self._by_index[said.index] = call
        return call

    def _wait(
        self,
        call: _Call,
        said: ToolCall,
        function: Function,
        arguments: str,
        events: list[Event],
    ) -> None:
        call.id = said.id or call.id
        call.name = call.name or function.name or ""
        call.signature = call.signature or thinking.signature_of(said.extra_content)
        if arguments:
            call.argued = True
            call.pieces.append(arguments)
        if call.name and (call.id or call.pieces):
            self._waiting.remove(call)
            self._begin(call, events)

    def _begin(self, call: _Call, events: list[Event]) -> None:
        call.place = self._count
        self._count += 1
        call_id = call.id or made_up_id(self._answer_id, self._choice, call.place)
        events.append(
            ToolCallStarted(
                call=call.place,
                id=call_id,
                name=call.name,
                signature=call.signature,
                choice=self._choice,
            )
        )
        if call.pieces:
            arguments = "".join(call.pieces)
            events.append(
                ToolCallDelta(call=call.place, arguments=arguments, choice=self._choice)
            )


def made_up_id(answer_id: str, choice: int, call: int) -> str:
    """Return an id for a call that has none; the same whole and streamed.

    Args:
        answer_id: The id of the answer, or another text that no other answer has.
        choice: Which choice makes the call.
        call: How many the choice has made before.
    """
    return f"call_{answer_id.rpartition('-')[2]}_{choice}_{call}"
