"""Repairs of a translated request that every target needs in the same way.

What one API accepts another refuses. Where the meaning is clear the conversation is
changed before it is rendered, and the change is reported as an approximation:

- names of tools that the target refuses become valid names, the same each time; the
  answer's calls get the client's names back;
- each call gets exactly one result, right after its turn: a missing one is said to be
  missing, several become one, a late one moves. A result without a call, as a history
  has that was cut at its beginning, becomes the user's text;
- a turn of the assistant's that calls tools is not the first turn;
- a system message after the first turn becomes the user's where there is no such thing;
- a tool's schema is an object with ``properties`` and without alternatives at its root.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from gandalf.dialects.conversation import (
    Conversation,
    Feature,
    Message,
    Part,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)

NO_RESULT = "There is no result of this call."
_SYSTEM = ("system", "developer")
_NOTHING_SAID = Message(role="user", parts=(Text(text="."),))
_DIGEST_LENGTH = 8
_ALTERNATIVES = ("anyOf", "oneOf", "allOf")


class Rules(NamedTuple):
    """What a target requires of tools and histories."""

    name_pattern: str
    """Characters of a tool's name, as a regular expression for one."""
    name_start: str
    """The same for its first character."""
    name_length: int
    late_system: bool = True
    """Whether a system message may come after the first turn."""
    call_first: bool = True
    """Whether the first turn may be one that calls tools."""
    plain_root: bool = False
    """Whether the root of a tool's schema must have ``properties`` and must not have
    ``anyOf``, ``oneOf`` or ``allOf``."""


class Mended(NamedTuple):
    """A conversation that a target accepts."""

    conversation: Conversation
    names: Mapping[str, str]
    """The client's names of tools, by those that the target is told."""
    approximated: frozenset[Feature]


def mend(conversation: Conversation, rules: Rules) -> Mended:
    """Return ``conversation`` as a target with ``rules`` accepts it."""
    mending = _Mending(conversation, rules)
    return mending.mended()


class _Mending:
    def __init__(self, conversation: Conversation, rules: Rules) -> None:
        self._asked = conversation
        self._rules = rules
        self._approximated: set[Feature] = set()

    def mended(self) -> Mended:
        asked = self._asked
        changes: dict[str, Any] = {}
        messages = self._messages(asked.messages)
        if messages is not asked.messages:
            changes["messages"] = messages
        tools = tuple(map(self._tool, asked.tools))
        if any(new is not old for new, old in zip(tools, asked.tools, strict=True)):
            changes["tools"] = tools
        made = msgspec.structs.replace(asked, **changes) if changes else asked
        made, names = self._named(made)
        if self._approximated and Feature.TOOLS not in made.used:
            used = {**made.used, Feature.TOOLS: "tools"}
            made = msgspec.structs.replace(made, used=used)
        return Mended(made, names, frozenset(self._approximated))

    # Messages.

    def _messages(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        if Feature.LATE_SYSTEM in self._asked.used and not self._rules.late_system:
            messages = self._without_late_system(messages)
        if _has_tools(messages) and not _in_order(messages):
            messages = self._with_results(messages)
        if not self._rules.call_first and _begins_with_call(messages):
            self._approximated.add(Feature.TOOLS)
            start = _start(messages)
            messages = (*messages[:start], _NOTHING_SAID, *messages[start:])
        return messages

    def _without_late_system(
        self, messages: tuple[Message, ...]
    ) -> tuple[Message, ...]:
        """Return ``messages`` with late system messages as the user's, merged."""
        start = _start(messages)
        kept = list(messages[:start])
        for message in messages[start:]:
            if message.role not in _SYSTEM:
                kept.append(message)
                continue
            self._approximated.add(Feature.LATE_SYSTEM)
            if len(kept) > start and kept[-1].role == "user":
                parts = (*kept[-1].parts, *message.parts)
                kept[-1] = msgspec.structs.replace(kept[-1], parts=parts)
            else:
                kept.append(msgspec.structs.replace(message, role="user"))
        return tuple(kept)

    def _with_results(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Return ``messages`` with one result for each call, right after its turn."""
        answers = _Answers(messages)
        if answers.changed:
            self._approximated.add(Feature.TOOLS)
        placed: list[Message] = []
        for number, message in enumerate(messages):
            rest = _without_results(message, answers)
            if rest or len(rest) == len(message.parts):
                placed.append(_with_parts(message, rest))
            if results := answers.of_turn(number):
                placed.append(Message(role="user", parts=results))
        return tuple(_joined(placed))

    # Tools.

    def _tool(self, tool: Tool) -> Tool:
        if not self._rules.plain_root or tool.schema is None:
            return tool
        schema = plain_root(tool.schema)
        if schema is tool.schema:
            return tool
        if any(name in tool.schema for name in _ALTERNATIVES):
            self._approximated.add(Feature.TOOLS)
        return msgspec.structs.replace(tool, schema=schema)

    def _named(
        self, conversation: Conversation
    ) -> tuple[Conversation, Mapping[str, str]]:
        names = self._new_names(_names_in(conversation))
        if not names:
            return conversation, {}
        self._approximated.add(Feature.TOOLS)
        renamed = msgspec.structs.replace(
            conversation,
            tools=tuple(_renamed(tool, names) for tool in conversation.tools),
            messages=tuple(_calls_renamed(m, names) for m in conversation.messages),
        )
        if (choice := conversation.tool_choice) is not None:
            chosen = tuple(names.get(name, name) for name in choice.names)
            renamed.tool_choice = msgspec.structs.replace(choice, names=chosen)
        return renamed, {new: old for old, new in names.items()}

    def _new_names(self, names: Iterable[str]) -> dict[str, str]:
        """Return a valid name for each of the ``names`` that is not."""
        rules = self._rules
        valid = re.compile(
            f"{rules.name_start}{rules.name_pattern}{{0,{rules.name_length - 1}}}"
        )
        names = list(names)
        taken = set(names)
        found: dict[str, str] = {}
        for name in names:
            if not valid.fullmatch(name):
                found[name] = new = self._valid_name(name, taken)
                taken.add(new)
        return found

    def _valid_name(self, name: str, taken: set[str]) -> str:
        rules = self._rules
        clean = re.sub(f"(?!{rules.name_pattern}).", "_", name, flags=re.DOTALL)
        if not re.match(rules.name_start, clean):
            clean = f"_{clean}"
        if len(clean) <= rules.name_length and clean not in taken:
            return clean
        digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_LENGTH]
        return f"{clean[: rules.name_length - _DIGEST_LENGTH - 1]}_{digest}"


# Names.


def _names_in(conversation: Conversation) -> dict[str, None]:
    names = {tool.name: None for tool in conversation.tools}
    if conversation.tool_choice is not None:
        names |= dict.fromkeys(conversation.tool_choice.names)
    for message in conversation.messages:
        for part in message.parts:
            if isinstance(part, ToolCall | ToolResult) and part.name:
                names[part.name] = None
    return names


def _renamed(tool: Tool, names: Mapping[str, str]) -> Tool:
    new = names.get(tool.name)
    return tool if new is None else msgspec.structs.replace(tool, name=new)


def _calls_renamed(message: Message, names: Mapping[str, str]) -> Message:
    parts = tuple(
        msgspec.structs.replace(part, name=names[part.name or ""])
        if isinstance(part, ToolCall | ToolResult) and (part.name or "") in names
        else part
        for part in message.parts
    )
    return _with_parts(message, parts)


# Calls and results.


def _without_results(message: Message, answers: _Answers) -> tuple[Part, ...]:
    """Return the parts without the results that have calls; others become text."""
    rest: list[Part] = []
    for part in message.parts:
        if not isinstance(part, ToolResult):
            rest.append(part)
        elif id(part) not in answers.taken:
            rest += [Text(text=f"Result of the call {part.call_id}:"), *part.parts]
    return tuple(rest)


class _Answers:
    """Matches results with calls, in the order in which both come."""

    def __init__(self, messages: tuple[Message, ...]) -> None:
        self._calls: dict[int, list[tuple[ToolCall, list[ToolResult]]]] = {}
        self._open: dict[str, deque[list[ToolResult]]] = {}
        self._last: dict[str, list[ToolResult]] = {}
        self.taken: set[int] = set()
        """Identities of the results that have moved to their call's turn."""
        self.changed = False
        """Whether the results say something that the client's do not."""
        turn = -1
        said = False
        for number, message in enumerate(messages):
            for part in message.parts:
                if isinstance(part, ToolCall):
                    turn, said = number, False
                    self._add_call(number, part)
                elif isinstance(part, ToolResult):
                    self._add_result(part)
                    self.changed = self.changed or said
                elif number > turn:
                    said = True
        if any(not found for calls in self._calls.values() for _, found in calls):
            self.changed = True

    def _add_call(self, number: int, call: ToolCall) -> None:
        found: list[ToolResult] = []
        self._calls.setdefault(number, []).append((call, found))
        self._open.setdefault(call.id, deque()).append(found)

    def _add_result(self, result: ToolResult) -> None:
        waiting = self._open.get(result.call_id)
        if waiting:
            found = self._last[result.call_id] = waiting.popleft()
        elif result.call_id in self._last:
            # A second result of one call.
            found, self.changed = self._last[result.call_id], True
        else:
            self.changed = True
            return
        found.append(result)
        self.taken.add(id(result))

    def of_turn(self, number: int) -> tuple[Part, ...]:
        """Return the results of the calls of the message with this ``number``."""
        return tuple(
            _one_result(call, found) for call, found in self._calls.get(number, ())
        )


def _one_result(call: ToolCall, found: list[ToolResult]) -> ToolResult:
    if not found:
        return ToolResult(
            call_id=call.id,
            name=call.name,
            parts=(Text(text=NO_RESULT),),
            is_error=True,
        )
    if len(found) == 1:
        return found[0]
    parts = tuple(part for result in found for part in result.parts)
    return msgspec.structs.replace(found[-1], parts=parts)


def _has_tools(messages: tuple[Message, ...]) -> bool:
    return any(
        isinstance(part, ToolCall | ToolResult)
        for message in messages
        for part in message.parts
    )


def _in_order(messages: tuple[Message, ...]) -> bool:
    """Whether each turn's calls have their results in the next message, in order."""
    owed: list[str] = []
    for message in messages:
        given = [p.call_id for p in message.parts if isinstance(p, ToolResult)]
        if given != owed:
            return False
        owed = [part.id for part in message.parts if isinstance(part, ToolCall)]
    return not owed


def _begins_with_call(messages: tuple[Message, ...]) -> bool:
    start = _start(messages)
    return start < len(messages) and any(
        isinstance(part, ToolCall) for part in messages[start].parts
    )


def _start(messages: tuple[Message, ...]) -> int:
    """Return the number of system messages at the beginning."""
    start = 0
    while start < len(messages) and messages[start].role in _SYSTEM:
        start += 1
    return start


def _joined(messages: Iterable[Message]) -> list[Message]:
    """Return ``messages`` with results and the user's message after them as one."""
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if (
            last is not None
            and message.role == last.role == "user"
            and message.name is None
            and all(isinstance(part, ToolResult) for part in last.parts)
        ):
            joined[-1] = _with_parts(last, (*last.parts, *message.parts))
        else:
            joined.append(message)
    return joined


def _with_parts(message: Message, parts: tuple[Part, ...]) -> Message:
    if len(parts) == len(message.parts) and all(
        new is old for new, old in zip(parts, message.parts, strict=True)
    ):
        return message
    return msgspec.structs.replace(message, parts=parts)


# Schemas.


def plain_root(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a tool's ``schema`` as an object without alternatives at its root.

    The properties of all alternatives are put together. Of several alternatives only
    what all of them require is required.
    """
    if not any(name in schema for name in _ALTERNATIVES):
        if schema.get("type") == "object" and "properties" in schema:
            return schema
        return {"type": "object", **schema, "properties": schema.get("properties", {})}
    made = {name: v for name, v in schema.items() if name not in _ALTERNATIVES}
    properties: dict[str, Any] = {}
    required = list(_strings(schema.get("required")))
    for name in _ALTERNATIVES:
        branches = _branches(schema, name)
        for branch in branches:
            properties |= branch.get("properties") or {}
        needs = [_strings(branch.get("required")) for branch in branches]
        if name == "allOf":
            required += [each for needed in needs for each in needed]
        elif needs:
            required += [each for each in needs[0] if all(each in n for n in needs)]
    made["type"] = "object"
    made["properties"] = {**properties, **(schema.get("properties") or {})}
    if required:
        made["required"] = list(dict.fromkeys(required))
    return made


def _branches(schema: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the objects among the alternatives, with what a local ``$ref`` names."""
    found = []
    branches = schema.get(name)
    for branch in branches if isinstance(branches, list) else ():
        if isinstance(branch, dict) and isinstance(branch.get("$ref"), str):
            branch = _referenced(schema, branch["$ref"])
        if isinstance(branch, dict) and isinstance(branch.get("properties", {}), dict):
            found.append(branch)
    return found


def _referenced(schema: dict[str, Any], reference: str) -> object:
    value: object = schema
    for name in reference.removeprefix("#").strip("/").split("/"):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _strings(value: object) -> list[str]:
    if not isinstance(value, list):
        return []
    return [each for each in value if isinstance(each, str)]
