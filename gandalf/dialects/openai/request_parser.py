"""A request of OpenAI's, into the neutral model; field names are in ``wire``.

What only OpenAI can do has no place there: custom tools are refused, for without them
it is another request; all else (``store``, ``prediction``, ``audio``, ...) is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gandalf.dialects.base import UNREADABLE, Call
from gandalf.dialects.conversation import (
    CacheMark,
    Conversation,
    Feature,
    JsonFormat,
    Message,
    Reasoning,
    Text,
    Tool,
    ToolChoice,
)
from gandalf.dialects.openai import wire
from gandalf.dialects.openai.message_parser import MessageParser
from gandalf.dialects.refusals import refusal
from gandalf.domain.errors import BadRequest

# Features that are one field of the body, and the values that ask for nothing.
_FIELDS: tuple[tuple[str, Feature, tuple[Any, ...]], ...] = (
    ("max_completion_tokens", Feature.MAX_TOKENS, ()),
    ("max_tokens", Feature.MAX_TOKENS, ()),
    ("temperature", Feature.TEMPERATURE, ()),
    ("top_p", Feature.TOP_P, ()),
    ("top_k", Feature.TOP_K, ()),
    ("min_p", Feature.MIN_P, ()),
    ("stop", Feature.STOP, ("", [])),
    ("seed", Feature.SEED, ()),
    ("n", Feature.N, (1,)),
    ("presence_penalty", Feature.PRESENCE_PENALTY, (0,)),
    ("frequency_penalty", Feature.FREQUENCY_PENALTY, (0,)),
    ("repetition_penalty", Feature.REPEAT_PENALTY, (1,)),
    ("logit_bias", Feature.LOGIT_BIAS, ({},)),
    ("safety_identifier", Feature.USER, ("",)),
    ("user", Feature.USER, ("",)),
    ("metadata", Feature.METADATA, ({},)),
    ("service_tier", Feature.SERVICE_TIER, ("auto",)),
    ("tool_choice", Feature.TOOL_CHOICE, ("auto",)),
    ("function_call", Feature.TOOL_CHOICE, ("auto",)),
    ("parallel_tool_calls", Feature.PARALLEL_TOOL_CALLS, (True,)),
    ("tools", Feature.TOOLS, ([],)),
    ("functions", Feature.TOOLS, ([],)),
    ("reasoning_effort", Feature.THINKING, ()),
    ("thinking", Feature.THINKING, ()),
    ("reasoning", Feature.THINKING, ({},)),
    ("logprobs", Feature.LOGPROBS, (False,)),
    ("web_search_options", Feature.SERVER_TOOLS, ()),
)

Body = dict[str, Any]
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def parse_request(call: Call) -> Conversation:
    """Return the conversation that ``call`` wants to go on.

    Raises:
        BadRequest: The body is not a valid request, or asks for what only OpenAI has.
    """
    try:
        body = _decode(call.body)
        if call.operation == "completions":
            return _completions(msgspec.convert(body, wire.Completions), body)
        return _chat(msgspec.convert(body, wire.Chat), body)
    except UNREADABLE as error:
        raise refusal(error) from error


def _chat(request: wire.Chat, body: Body) -> Conversation:
    used = _used(body)
    messages = MessageParser(used).parse(request.messages)
    tools = _tools(request, used)
    return Conversation(
        source="openai",
        messages=messages,
        tools=tools,
        tool_choice=_tool_choice(request),
        parallel_tool_calls=_parallel(request),
        json_format=_json_format(request.response_format, used),
        reasoning=_reasoning(request, used),
        logprobs=request.logprobs,
        top_logprobs=request.top_logprobs,
        metadata=request.metadata,
        service_tier=request.service_tier,
        used=used,
        unknown=tuple(dict.fromkeys(_unknown(request, body, used))),
        **_sampling(request, request.max_completion_tokens or request.max_tokens),
        user=request.safety_identifier or request.user,
    )


def _completions(request: wire.Completions, body: Body) -> Conversation:
    used = _used(body)
    wanted = request.logprobs
    if wanted is not None:
        # Of 0, too, come those of the tokens that were chosen.
        used[Feature.LOGPROBS] = "logprobs"
    return Conversation(
        source="openai",
        messages=(Message(role="user", parts=(Text(text=_prompt(request)),)),),
        logprobs=True if wanted is not None else None,
        top_logprobs=wanted,
        used=used,
        unknown=(
            *wire.strays(body, wire.Completions),
            *_unknown_options(request.stream_options, body),
        ),
        **_sampling(request, request.max_tokens),
        user=request.user,
    )


def _prompt(request: wire.Completions) -> str:
    prompt = request.prompt or ""
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        return prompt[0]
    if isinstance(prompt, list):
        raise BadRequest(
            "another provider can be asked one prompt at a time, and in text",
            code="unsupported_parameter",
            param="prompt",
        )
    return prompt


def _sampling(request: wire.Sampling, max_tokens: int | None) -> dict[str, Any]:
    stop = request.stop or ()
    return {
        "max_tokens": max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "min_p": request.min_p,
        "stop": (stop,) if isinstance(stop, str) else tuple(stop),
        "seed": request.seed,
        "n": request.n,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "repeat_penalty": request.repetition_penalty,
        "logit_bias": request.logit_bias or None,
        "stream": bool(request.stream),
    }


def _used(body: Mapping[str, Any]) -> dict[Feature, str]:
    used: dict[Feature, str] = {}
    for name, feature, idle in _FIELDS:
        value = body.get(name)
        if value is not None and value not in idle:
            used.setdefault(feature, name)
    return used


# Tools.


def _tools(request: wire.Chat, used: dict[Feature, str]) -> tuple[Tool, ...]:
    functions = [
        (tool.function, tool.cache_control)
        for tool in request.tools or ()
        if _is_function(tool, used)
    ]
    functions += [(function, None) for function in request.functions or ()]
    allowed = _allowed(request)
    return tuple(
        _tool(function, mark or function.cache_control, used)
        for function, mark in functions
        if function is not None and (allowed is None or function.name in allowed)
    )


def _is_function(tool: wire.Tool, used: dict[Feature, str]) -> bool:
    if tool.type == "function":
        if tool.function is None:
            raise BadRequest("a tool of type function needs one", param="tools")
        return True
    if tool.type == "custom":
        raise BadRequest(
            "custom tools cannot be said to another provider",
            code="unsupported_parameter",
            param="tools",
        )
    used.setdefault(Feature.SERVER_TOOLS, f"tools.{tool.type}")
    return False


def _tool(
    function: wire.Function,
    mark: wire.CacheControl | None,
    used: dict[Feature, str],
) -> Tool:
    if function.strict:
        used.setdefault(Feature.TOOL_STRICT, "tools.function.strict")
    if mark is not None:
        used.setdefault(Feature.CACHE_MARKS, "tools.cache_control")
    return Tool(
        name=function.name,
        description=function.description,
        schema=function.parameters,
        strict=function.strict,
        cache=CacheMark(ttl=mark.ttl) if mark is not None else None,
    )


def _allowed(request: wire.Chat) -> set[str] | None:
    """Return the names that ``allowed_tools`` limits the model to; None: no limit.

    The others are left out, which is the same to the model; OpenAI has the choice for
    the sake of its prompt cache.
    """
    choice = request.tool_choice
    if not isinstance(choice, wire.ToolChoice) or choice.allowed_tools is None:
        return None
    return {t.function.name for t in choice.allowed_tools.tools if t.function}


def _tool_choice(request: wire.Chat) -> ToolChoice | None:
    choice: str | wire.ToolChoice | wire.Named | None = request.tool_choice
    if choice is None:
        choice = request.function_call
    if isinstance(choice, wire.Named):
        return ToolChoice(mode="named", names=(choice.name,))
    if isinstance(choice, wire.ToolChoice):
        return _chosen(choice)
    if choice not in (None, "auto", "none", "required"):
        raise BadRequest(f"there is no tool choice {choice!r}", param="tool_choice")
    return ToolChoice(mode=choice) if choice is not None else None


def _parallel(request: wire.Chat) -> bool | None:
    # A message has one ``function_call`` at the most.
    if request.functions and not request.tools:
        return False
    return request.parallel_tool_calls


def _chosen(choice: wire.ToolChoice) -> ToolChoice:
    if choice.allowed_tools is not None:
        return ToolChoice(mode=choice.allowed_tools.mode)
    if choice.function is None:
        raise BadRequest(
            f"a tool choice of type {choice.type!r} names no function",
            param="tool_choice",
        )
    return ToolChoice(mode="named", names=(choice.function.name,))


# Wishes.


def _json_format(
    wish: wire.ResponseFormat | None, used: dict[Feature, str]
) -> JsonFormat | None:
    if wish is None or wish.type == "text":
        return None
    if wish.type == "json_object":
        used[Feature.JSON_MODE] = "response_format"
        return JsonFormat()
    if wish.json_schema is None:
        raise BadRequest("json_schema is missing", param="response_format.json_schema")
    used[Feature.JSON_SCHEMA] = "response_format"
    form = wish.json_schema
    return JsonFormat(
        schema=form.schema or {},
        name=form.name,
        description=form.description,
        strict=form.strict,
    )


def _reasoning(request: wire.Chat, used: dict[Feature, str]) -> Reasoning | None:
    """Return how much thinking is wanted; whoever speaks first, in this order, counts.

    OpenAI's own field, Anthropic's, OpenRouter's, Google's.
    """
    wishes = [
        *_effort(request.reasoning_effort),
        *_anthropics(request.thinking),
        *_openrouters(request.reasoning),
        *_googles(request, used),
    ]
    if not wishes:
        return None

    def first(name: str) -> Any:  # noqa: ANN401 - as the field has it
        said = (getattr(wish, name) for wish in wishes)
        return next((value for value in said if value is not None), None)

    return Reasoning(
        effort=first("effort"),
        budget_tokens=first("budget_tokens"),
        adaptive=any(wish.adaptive for wish in wishes),
        visible=first("visible"),
    )


def _effort(effort: str | None) -> Iterator[Reasoning]:
    if effort:
        yield Reasoning(effort=effort)


def _anthropics(wish: wire.Thinking | None) -> Iterator[Reasoning]:
    if wish is None:
        return
    visible = {"summarized": True, "omitted": False}.get(wish.display or "")
    if wish.type == "disabled":
        yield Reasoning(effort="none")
    else:
        yield Reasoning(
            budget_tokens=wish.budget_tokens,
            adaptive=wish.type == "adaptive",
            visible=visible,
        )


def _openrouters(wish: wire.Reasoning | None) -> Iterator[Reasoning]:
    if wish is None:
        return
    effort = "none" if wish.enabled is False else wish.effort
    if effort is None and wish.max_tokens is None and wish.enabled:
        effort = "medium"
    visible = None if wish.exclude is None else not wish.exclude
    yield Reasoning(effort=effort, budget_tokens=wish.max_tokens, visible=visible)


def _googles(request: wire.Chat, used: dict[Feature, str]) -> Iterator[Reasoning]:
    for name, body in (("google", request), ("extra_body.google", request.extra_body)):
        google = body.google if body is not None else None
        wish = google.thinking_config if google is not None else None
        if wish is None:
            continue
        used.setdefault(Feature.THINKING, f"{name}.thinking_config")
        budget = wish.thinking_budget
        yield Reasoning(
            effort=wish.thinking_level.lower() if wish.thinking_level else None,
            budget_tokens=budget if budget is None or budget >= 0 else None,
            adaptive=budget is not None and budget < 0,
            visible=wish.include_thoughts,
        )


# What has no place.


def _unknown(request: wire.Chat, body: Body, used: dict[Feature, str]) -> Iterator[str]:
    yield from wire.strays(body, wire.Chat)
    yield from _unknown_options(request.stream_options, body)
    if "audio" in (request.modalities or ()):
        used.setdefault(Feature.AUDIO_OUTPUT, "modalities")
    if set(request.modalities or ()) - {"text"}:
        yield "modalities"
    if request.web_search_options is not None:
        yield "web_search_options"
    yield from _unknown_of_tools(body)
    for message in body["messages"]:
        yield from _unknown_of_message(message)
    for name, google in (
        ("google", body),
        ("extra_body.google", body.get("extra_body")),
    ):
        settings = (google or {}).get("google") or {}
        yield from (
            f"{name}.{field}" for field in settings if field != "thinking_config"
        )
    extra = body.get("extra_body") or {}
    yield from (f"extra_body.{field}" for field in extra if field != "google")


def _unknown_options(options: wire.StreamOptions | None, body: Body) -> Iterator[str]:
    if options is None:
        return
    if options.include_obfuscation:
        yield "stream_options.include_obfuscation"
    for name in wire.strays(body["stream_options"], wire.StreamOptions):
        yield f"stream_options.{name}"


def _unknown_of_tools(body: Body) -> Iterator[str]:
    for tool in body.get("tools") or ():
        kind = tool.get("type", "function")
        if kind != "function":
            yield f"tools.{kind}"
            continue
        yield from _named("tools", wire.strays(tool, wire.Tool))
        stray = wire.strays(tool["function"], wire.Function)
        yield from _named("tools.function", stray)


# ``prefix`` says of an assistant's last message what PREFILL means anyway. OpenAI's own
# client leaves the other two in what it read: the content as an object, and the number
# that a call had in the stream.
_REDUNDANT = frozenset({"prefix", "parsed", "index"})


def _unknown_of_message(message: Body) -> Iterator[str]:
    stray = wire.strays(message, wire.Message)
    yield from _named("messages", _without_redundant(stray))
    content = message.get("content")
    if isinstance(content, list):
        for part in content:
            stray = wire.strays(part, wire.Cacheable)
            yield from _named(
                "messages.content", (name for name in stray if name != part["type"])
            )
    for call in message.get("tool_calls") or ():
        stray = wire.strays(call, wire.ToolCall)
        yield from _named("messages.tool_calls", _without_redundant(stray))


def _without_redundant(names: Sequence[str]) -> Iterator[str]:
    return (name for name in names if name not in _REDUNDANT)


def _named(place: str, names: Iterator[str] | Sequence[str]) -> Iterator[str]:
    return (f"{place}.{name}" for name in names)
