"""The body of a request, as msgspec reads it.

Source: https://platform.openai.com/docs/api-reference/chat/create and, for what was
there before, .../api-reference/completions/create; exact names as in the official
SDK's ``openai.types.chat``. Beside OpenAI's own fields stand those that gateways and
vendors have made the custom for what other providers' models can do:

- ``cache_control`` on messages, parts and tools, ``thinking``, ``thinking_blocks``:
  https://docs.litellm.ai/docs/completion/input
- ``reasoning``, ``reasoning_details``, ``top_k``, ``min_p``, ``repetition_penalty``:
  https://openrouter.ai/docs/api-reference/parameters
- ``extra_content``, ``extra_body.google``: https://ai.google.dev/gemini-api/docs/openai
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from gandalf.dialects.openai.thinking import Carrier, ExtraContent


class CacheControl(msgspec.Struct):
    """Anthropic's ``cache_control`` or OpenAI's ``prompt_cache_breakpoint``."""

    type: str = "ephemeral"
    mode: str = "explicit"
    ttl: str | None = None


class Cacheable(msgspec.Struct):
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: CacheControl | None = None


# Content.


class TextPart(Cacheable, kw_only=True, tag_field="type", tag="text"):
    text: str


class ImageUrl(msgspec.Struct):
    url: str
    detail: str | None = None


class ImagePart(Cacheable, kw_only=True, tag_field="type", tag="image_url"):
    image_url: ImageUrl | str


class InputAudio(msgspec.Struct):
    data: str
    format: str


class AudioPart(Cacheable, kw_only=True, tag_field="type", tag="input_audio"):
    input_audio: InputAudio


class VideoUrl(msgspec.Struct):
    url: str


class VideoPart(Cacheable, kw_only=True, tag_field="type", tag="video_url"):
    video_url: VideoUrl | str


class File(msgspec.Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None
    format: str | None = None


class FilePart(Cacheable, kw_only=True, tag_field="type", tag="file"):
    file: File


class RefusalPart(msgspec.Struct, tag_field="type", tag="refusal"):
    refusal: str


ContentPart = TextPart | ImagePart | AudioPart | VideoPart | FilePart | RefusalPart


# Messages.


class FunctionCall(msgspec.Struct):
    name: str
    arguments: str


class ToolCall(msgspec.Struct):
    id: str
    type: str = "function"
    function: FunctionCall | None = None
    custom: Any = None
    extra_content: ExtraContent | None = None
    cache_control: CacheControl | None = None


class Message(Carrier, kw_only=True):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None
    tool_call_id: str | None = None
    annotations: list[dict[str, Any]] | None = None
    cache_control: CacheControl | None = None


# Tools and wishes.


class Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    cache_control: CacheControl | None = None


class Tool(msgspec.Struct):
    type: str = "function"
    function: Function | None = None
    cache_control: CacheControl | None = None


class Named(msgspec.Struct):
    name: str


class _AllowedTool(msgspec.Struct):
    type: str = "function"
    function: Named | None = None


class AllowedTools(msgspec.Struct):
    mode: Literal["auto", "required"]
    tools: list[_AllowedTool]


class ToolChoice(msgspec.Struct):
    type: str = "function"
    function: Named | None = None
    allowed_tools: AllowedTools | None = None


class JsonSchema(msgspec.Struct):
    name: str
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Thinking(msgspec.Struct):
    """Anthropic's."""

    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: int | None = None
    display: str | None = None


class Reasoning(msgspec.Struct):
    """OpenRouter's."""

    effort: str | None = None
    max_tokens: int | None = None
    exclude: bool | None = None
    enabled: bool | None = None


class ThinkingConfig(msgspec.Struct):
    """Google's."""

    thinking_budget: int | None = None
    thinking_level: str | None = None
    include_thoughts: bool | None = None


class _Google(msgspec.Struct):
    thinking_config: ThinkingConfig | None = None


class _ExtraBody(msgspec.Struct):
    google: _Google | None = None


class Sampling(msgspec.Struct, kw_only=True):
    """What chat and legacy completions have in common."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None


class Chat(Sampling, kw_only=True):
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    max_completion_tokens: int | None = None
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Function] | None = None
    function_call: str | Named | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    thinking: Thinking | None = None
    reasoning: Reasoning | None = None
    google: _Google | None = None
    extra_body: _ExtraBody | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    modalities: list[str] | None = None
    web_search_options: dict[str, Any] | None = None


class Completions(Sampling, kw_only=True):
    prompt: str | list[str | int | list[int]] | None = None
    logprobs: int | None = None


# What is in a body and not in its struct.

_IDLE: dict[str, Any] = {
    "store": False,
    "verbosity": "medium",
    "modalities": ["text"],
    "echo": False,
    "best_of": 1,
}
"""Fields without a place here, and the values that ask for nothing."""


def strays(value: dict[str, Any], known: type[msgspec.Struct]) -> list[str]:
    """Return the members of ``value`` that ``known`` has no field for."""
    return [
        name
        for name, said in value.items()
        if name not in known.__struct_fields__
        and name != "type"
        and said not in (None, "", [], {})
        and (name not in _IDLE or said != _IDLE[name])
    ]
