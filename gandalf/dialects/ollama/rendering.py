"""From a conversation to a chat with a model that Ollama runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gandalf.dialects.base import Rendered
from gandalf.dialects.conversation import (
    Conversation,
    Feature,
    JsonFormat,
    Media,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from gandalf.dialects.ollama.answers import rendered_calls
from gandalf.dialects.reasoning import effort_of, nearest
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model

_LEVELS = ("low", "medium", "high")

_encode = msgspec.json.Encoder().encode


def render_request(
    conversation: Conversation, model: Model, operation: str = "chat"
) -> Rendered:
    """Return the request for ``model``; what this dialect drops is left out.

    Raises:
        BadRequest: It cannot be said in this dialect at all.
    """
    return _Rendering(conversation, model).rendered()


class _Rendering:
    """One request on its way, and what it loses."""

    def __init__(self, conversation: Conversation, model: Model) -> None:
        self._conversation = conversation
        self._model = model
        self._approximated: set[Feature] = set()
        self._dropped: set[Feature] = set()
        self._names: dict[str, str] = {}
        """Of the tools that were called, by the ids of the calls."""

    def rendered(self) -> Rendered:
        conversation = self._conversation
        if conversation.n is not None and conversation.n > 1:
            raise BadRequest("Ollama gives one answer at a time", param="n")
        if not conversation.messages:
            # It would load the model, and answer with nothing.
            raise BadRequest("there are no messages", param="messages")
        body: dict[str, Any] = {
            "model": self._model.name,
            "messages": self._messages(conversation.messages),
            "stream": conversation.stream,
        }
        if tools := self._tools():
            body["tools"] = [_tool(tool) for tool in tools]
        if conversation.json_format is not None:
            body["format"] = _format(conversation.json_format)
        if conversation.reasoning is not None:
            body |= self._think(conversation.reasoning)
        if options := _options(conversation):
            body["options"] = options
        body |= _logprobs(conversation)
        return Rendered(
            body=_encoded(body),
            approximated=frozenset(self._approximated),
            dropped=frozenset(self._dropped),
        )

    # Messages.

    def _messages(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        rendered: list[dict[str, Any]] = []
        for message in messages:
            results = [part for part in message.parts if isinstance(part, ToolResult)]
            rendered += [self._result(result) for result in results]
            rest = [part for part in message.parts if not isinstance(part, ToolResult)]
            if message.signature is not None:
                self._dropped.add(Feature.THINKING_HISTORY)
            if rest or not results:
                rendered.append(self._message(message.role, rest))
        return rendered

    def _message(self, role: str, parts: Sequence[Part]) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "system" if role == "developer" else role,
            "content": _text(role, parts),
        }
        if thinking := self._thinking(parts):
            message["thinking"] = thinking
        if images := self._images(parts):
            message["images"] = images
        if calls := [part for part in parts if isinstance(part, ToolCall)]:
            self._add_calls(message, calls)
        return message

    def _add_calls(self, message: dict[str, Any], calls: Sequence[ToolCall]) -> None:
        self._names.update((call.id, call.name) for call in calls)
        if any(call.signature is not None for call in calls):
            self._dropped.add(Feature.THINKING_HISTORY)
        rendered, failed = rendered_calls(calls)
        message["content"] += "".join(failed)
        if rendered:
            message["tool_calls"] = rendered

    def _result(self, result: ToolResult) -> dict[str, Any]:
        content = _text("tool", result.parts)
        message: dict[str, Any] = {
            "role": "tool",
            "content": f"Error: {content}" if result.is_error else content,
        }
        if name := result.name or self._names.get(result.call_id):
            message["tool_name"] = name
        if result.call_id:
            message["tool_call_id"] = result.call_id
        if images := self._images(result.parts):
            message["images"] = images
        return message

    def _thinking(self, parts: Sequence[Part]) -> str:
        thought = [part for part in parts if isinstance(part, Thinking)]
        if any(part.redacted for part in thought):
            self._dropped.add(Feature.THINKING_HISTORY)
        elif any(part.signature for part in thought):
            # What was thought is told; that it is genuine, nobody here asks.
            self._approximated.add(Feature.THINKING_HISTORY)
        return "".join(part.text for part in thought)

    def _images(self, parts: Sequence[Part]) -> list[str]:
        return [_image(part) for part in parts if isinstance(part, Media)]

    # Tools and wishes.

    def _tools(self) -> Sequence[Tool]:
        """Return the tools to offer; there is no other way to say which to call."""
        conversation = self._conversation
        tools = conversation.tools
        if tools and conversation.parallel_tool_calls is False:
            self._dropped.add(Feature.PARALLEL_TOOL_CALLS)
        choice = conversation.tool_choice
        if choice is None or (choice.mode == "auto" and not choice.names):
            return tools
        if choice.mode == "none":
            return ()
        if choice.names:
            self._approximated.add(Feature.TOOL_CHOICE)
            return [tool for tool in tools if tool.name in choice.names]
        self._dropped.add(Feature.TOOL_CHOICE)
        return tools

    def _think(self, wish: Reasoning) -> dict[str, Any]:
        """Return the member ``think``: a level for models with levels, else whether."""
        if self._model.thinking is False:
            # Ollama refuses a request to think of a model that cannot.
            if wish.effort != "none" and wish.budget_tokens != 0:
                self._dropped.add(Feature.THINKING)
            return {}
        effort = wish.effort
        if effort is None and wish.budget_tokens is not None:
            effort = effort_of(wish.budget_tokens)
            if effort != "none":
                self._approximated.add(Feature.THINKING)
        if wish.visible is False and effort != "none":
            self._approximated.add(Feature.THINKING)
        if effort is None:
            return {"think": True} if wish.adaptive or wish.visible else {}
        return {"think": self._level(effort)}

    def _level(self, effort: str) -> bool | str:
        if "gpt-oss" not in self._model.name:
            if effort == "none":
                return False
            # That it thinks can be said, how much cannot.
            self._approximated.add(Feature.THINKING)
            return True
        # These know no other values, and always think.
        level = nearest(effort, _LEVELS)
        if level != effort:
            self._approximated.add(Feature.THINKING)
        return level


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return _encode(body)
    except RecursionError as error:
        # It could just be read: a few levels less deep than it is here.
        raise BadRequest("a schema is nested too deeply") from error


def _text(role: str, parts: Sequence[Part]) -> str:
    """Return the text of ``parts``; those of an assistant are one text in pieces."""
    texts = [part.text for part in parts if isinstance(part, Text | Refusal)]
    return ("" if role == "assistant" else "\n").join(texts)


def _image(media: Media) -> str:
    if media.kind == "image" and media.data is not None:
        return media.data
    if media.url is not None:
        raise BadRequest(
            f"Ollama takes no URL of an {media.kind}: send its data", param="messages"
        )
    raise BadRequest(
        f"Ollama takes images as data and nothing else, not this {media.kind}",
        param="messages",
    )


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.schema is None:
        # Required here, and what others mean by leaving it out.
        function["parameters"] = {"type": "object", "properties": {}}
    else:
        function["parameters"] = tool.schema
    return {"type": "function", "function": function}


def _format(wish: JsonFormat) -> str | dict[str, Any]:
    return "json" if wish.schema is None else wish.schema


_OPTIONS = (
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("min_p", "min_p"),
    ("seed", "seed"),
    ("num_predict", "max_tokens"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
    ("repeat_penalty", "repeat_penalty"),
)


def _options(conversation: Conversation) -> dict[str, Any]:
    options = {
        name: value
        for name, field in _OPTIONS
        if (value := getattr(conversation, field)) is not None
    }
    if conversation.stop:
        options["stop"] = list(conversation.stop)
    return options


def _logprobs(conversation: Conversation) -> dict[str, Any]:
    if not conversation.logprobs:
        return {}
    wish: dict[str, Any] = {"logprobs": True}
    if conversation.top_logprobs:
        wish["top_logprobs"] = conversation.top_logprobs
    return wish
