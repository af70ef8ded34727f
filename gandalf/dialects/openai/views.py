"""What is read of OpenAI's requests and answers where they pass through, and no more.

Apart from who reads it, so that those modules can be compiled: msgspec needs the
annotations of what it decodes, and compiled classes have lost them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from gandalf.dialects.reported_cost import CostDetails

NO_RAW = msgspec.Raw(b"")

# Requests.


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatView(msgspec.Struct):
    model: str
    messages: msgspec.Raw
    stream: bool | None = None
    stream_options: StreamOptions | msgspec.UnsetType | None = msgspec.UNSET
    n: int | None = None
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: msgspec.Raw = msgspec.Raw(b"")
    functions: msgspec.Raw = msgspec.Raw(b"")


class CompletionsView(msgspec.Struct):
    model: str
    # One prompt or many, each a text or tokens.
    prompt: str | list[str | int | list[int]] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | msgspec.UnsetType | None = msgspec.UNSET
    n: int | None = None
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None


class EmbeddingsView(msgspec.Struct):
    model: str
    input: msgspec.Raw


class ModelView(msgspec.Struct):
    model: str | msgspec.UnsetType | None = msgspec.UNSET


class MessagesView(msgspec.Struct):
    messages: Any = None


decode_chat = msgspec.json.Decoder(ChatView).decode
decode_completions = msgspec.json.Decoder(CompletionsView).decode
decode_embeddings = msgspec.json.Decoder(EmbeddingsView).decode
decode_messages = msgspec.json.Decoder(MessagesView).decode
decode_model = msgspec.json.Decoder(ModelView).decode


# Answers, and the events of their streams.


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    audio_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_tokens: int | None = None
    """What gateways called it before OpenAI had it."""


class CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class UsageView(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek, before it had the details."""
    cached_tokens: int | None = None
    """Moonshot, before it had the details."""
    reasoning_tokens: int | None = None
    """Perplexity: beside the completion."""
    citation_tokens: int | None = None
    """Perplexity: beside prompt and completion."""
    num_search_queries: int | None = None
    """Perplexity."""
    cost: msgspec.Raw = NO_RAW
    """OpenRouter: USD. Perplexity: an object."""
    cost_details: CostDetails | None = None
    is_byok: bool | None = None
    """OpenRouter: whether the provider behind charges a key of one's own."""
    cost_in_usd_ticks: int | None = None
    """xAI."""


class ChoiceView(msgspec.Struct):
    index: int = 0
    finish_reason: str | None = None
    delta: dict[str, msgspec.Raw] | None = None
    text: str | None = None
    """Of a legacy completion."""
    error: msgspec.Raw = msgspec.Raw(b"")
    """OpenRouter's, if the model's provider failed."""
    usage: UsageView | None = None
    """Moonshot's, in the last event of a stream."""


class AnswerView(msgspec.Struct):
    choices: list[ChoiceView] = []
    usage: UsageView | None = None
    service_tier: str | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


class Frame(msgspec.Struct, forbid_unknown_fields=True):
    """An event that says nothing but usage: all else stands in each event."""

    usage: msgspec.Raw
    choices: msgspec.Raw = msgspec.Raw(b"[]")
    created: msgspec.Raw = msgspec.Raw(b"")
    id: msgspec.Raw = msgspec.Raw(b"")
    model: msgspec.Raw = msgspec.Raw(b"")
    object: msgspec.Raw = msgspec.Raw(b"")
    obfuscation: msgspec.Raw = msgspec.Raw(b"")
    provider: msgspec.Raw = msgspec.Raw(b"")
    service_tier: msgspec.Raw = msgspec.Raw(b"")
    system_fingerprint: msgspec.Raw = msgspec.Raw(b"")


decode_answer = msgspec.json.Decoder(AnswerView).decode
decode_frame = msgspec.json.Decoder(Frame).decode


class WholeChoice(ChoiceView):
    message: msgspec.Raw = msgspec.Raw(b"")


class WholeView(msgspec.Struct):
    choices: list[WholeChoice] = []
    usage: UsageView | None = None
    service_tier: str | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


class Vector(msgspec.Struct):
    embedding: msgspec.Raw


class VectorsView(msgspec.Struct):
    """An answer to a request for embeddings."""

    data: list[Vector] = []
    usage: UsageView | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


decode_whole = msgspec.json.Decoder(WholeView).decode
decode_vectors = msgspec.json.Decoder(VectorsView).decode
decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class PlainChoice(msgspec.Struct):
    # As AnswerView has it: what it would not take must not pass for plain. The first
    # choice only, so that one that begins later is noticed.
    index: Literal[0] = 0
    finish_reason: None = None
    delta: dict[str, msgspec.Raw] | None = None
    text: str | None = None
    error: None = None
    usage: None = None


class Plain(msgspec.Struct):
    """An event that says nothing but content."""

    # Without any it may be an error of whatever shape.
    choices: Annotated[list[PlainChoice], msgspec.Meta(min_length=1)]
    usage: None = None
    error: None = None


_plain = msgspec.json.Decoder(Plain)
decode_plain = _plain.decode
decode_plain_lines = _plain.decode_lines
