"""The neutral model: a request, an answer and a stream, in nobody's dialect.

Every dialect parses into it and renders from it, so that each needs to know only
itself. It holds what more than one of them can say, in the words of whichever says it
best; what only one can say is named in ``unknown`` and reported as lost elsewhere.

Rules for those who parse and render:
- Order is kept: of messages, of parts within a message, of tools.
- Nothing is invented: what was not said is None or empty.
- JSON that somebody else will read (tool arguments, schemas) is kept as text or as
  raw JSON exactly as it came, never decoded and encoded anew unless it must change.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from gandalf.domain.usage import TokenUsage


class Feature(enum.StrEnum):
    """One thing a request can ask for. The value names it in headers and docs.

    A dialect says of each what becomes of it there (``Treatment``). A parser notes in
    ``Conversation.used`` which ones a request uses, and what its field was called.
    """

    SYSTEM = "system"
    DEVELOPER = "developer"
    """A developer message, distinct from a system message."""
    LATE_SYSTEM = "late_system"
    """A system or developer message after the conversation has begun."""
    NAMES = "name"
    """Names of participants, on messages."""
    IMAGE_DATA = "image_data"
    IMAGE_URL = "image_url"
    IMAGE_DETAIL = "image_detail"
    DOCUMENT_DATA = "document_data"
    DOCUMENT_URL = "document_url"
    FILE_ID = "file_id"
    """A file uploaded to the provider before, by its id."""
    AUDIO_INPUT = "audio_input"
    AUDIO_OUTPUT = "audio_output"
    VIDEO_INPUT = "video_input"
    TOOLS = "tools"
    TOOL_STRICT = "tool_strict"
    TOOL_REFERENCES = "tool_references"
    """Tools whose declarations are loaded when a search has found them. Elsewhere all
    are declared from the beginning, and what was found is told as text."""
    SERVER_TOOLS = "server_tools"
    """Tools that the provider itself runs: web search, code execution."""
    TOOL_CHOICE = "tool_choice"
    PARALLEL_TOOL_CALLS = "parallel_tool_calls"
    TOOL_RESULT_PARTS = "tool_result_parts"
    """Tool results made of parts (images), not of text."""
    TOOL_RESULT_ERROR = "tool_result_error"
    THINKING = "thinking"
    """Asking for reasoning: an effort or a budget."""
    THINKING_HISTORY = "thinking_history"
    """Earlier thinking with its signature, given back."""
    JSON_MODE = "json_mode"
    JSON_SCHEMA = "json_schema"
    MAX_TOKENS = "max_tokens"
    TEMPERATURE = "temperature"
    TOP_P = "top_p"
    TOP_K = "top_k"
    MIN_P = "min_p"
    STOP = "stop"
    SEED = "seed"
    N = "n"
    PRESENCE_PENALTY = "presence_penalty"
    FREQUENCY_PENALTY = "frequency_penalty"
    REPEAT_PENALTY = "repeat_penalty"
    LOGIT_BIAS = "logit_bias"
    LOGPROBS = "logprobs"
    CACHE_MARKS = "cache_control"
    CITATIONS = "citations"
    USER = "user"
    METADATA = "metadata"
    SERVICE_TIER = "service_tier"
    SAFETY_SETTINGS = "safety_settings"
    PREFILL = "prefill"
    """A last message of the assistant that the answer is to continue."""


class Treatment(enum.StrEnum):
    """What becomes of a feature in a dialect."""

    MAPPED = "mapped"
    APPROXIMATED = "approximated"
    DROPPED = "dropped"
    REFUSED = "refused"


# Content.


class CacheMark(msgspec.Struct, frozen=True):
    """The prompt up to here is worth keeping in the provider's cache."""

    ttl: str | None = None
    """``5m`` or ``1h``; None: the provider's default."""


class Text(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    cache: CacheMark | None = None
    citations: tuple[dict[str, Any], ...] = ()
    """As the dialect of ``Conversation.source`` or of the answer writes them."""


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """An image, a document, a sound or a video: its bytes, its URL or its id."""

    kind: str
    """``image``, ``document``, ``audio``, ``video``."""
    media_type: str | None = None
    """``image/png``, ``application/pdf``, ``audio/wav``."""
    data: str | None = None
    """Base64, as it came."""
    url: str | None = None
    file_id: str | None = None
    text: str | None = None
    """A plain-text document's content."""
    name: str | None = None
    """File name or title."""
    detail: str | None = None
    cache: CacheMark | None = None


class Thinking(msgspec.Struct, frozen=True, kw_only=True):
    """What a model thought before it answered."""

    text: str = ""
    signature: str | None = None
    """The provider's seal; must come back byte for byte on the next turn."""
    redacted: str | None = None
    """Thinking that may not be read: opaque data in place of the text."""
    origin: str = ""
    """The dialect whose provider made the seal; it is worth nothing to any other. Empty
    if there is no seal. See ``gandalf.dialects.signatures``."""


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    arguments: str
    """JSON text of an object, as the model wrote it."""
    signature: str | None = None
    """Gemini's ``thoughtSignature`` of the part; must come back with it. None if the
    call was made by another provider's model."""
    cache: CacheMark | None = None


class ToolResult(msgspec.Struct, frozen=True, kw_only=True):
    call_id: str
    name: str | None = None
    """Of the tool; None if the dialect does not say (find it by ``call_id``)."""
    parts: tuple[Text | Media, ...] = ()
    is_error: bool = False
    cache: CacheMark | None = None


class Refusal(msgspec.Struct, frozen=True):
    text: str


Part = Text | Media | Thinking | ToolCall | ToolResult | Refusal


class Message(msgspec.Struct, frozen=True, kw_only=True):
    role: str
    """``system``, ``developer``, ``user`` or ``assistant``. Tool results are parts of
    user messages; a parser merges the results of one turn into one message."""
    parts: tuple[Part, ...]
    name: str | None = None
    signature: str | None = None
    """A Gemini thought signature of an assistant's text, if it has one."""


# Tools and wishes.


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    description: str | None = None
    schema: dict[str, Any] | None = None
    """JSON Schema of the arguments."""
    strict: bool | None = None
    cache: CacheMark | None = None


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    mode: str
    """``auto``, ``none``, ``required`` or ``named``."""
    names: tuple[str, ...] = ()


class JsonFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The answer is to be JSON; ``schema`` None: any object."""

    schema: dict[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """How much to think. Each dialect maps effort and budget to what it has."""

    effort: str | None = None
    """``none``, ``minimal``, ``low``, ``medium``, ``high``, ``xhigh``."""
    budget_tokens: int | None = None
    adaptive: bool = False
    """The model decides how much (Anthropic ``adaptive``, Gemini budget -1)."""
    visible: bool | None = None
    """Whether the thinking (or a summary of it) is wanted in the answer."""


class Conversation(msgspec.Struct, kw_only=True):
    """A request for the next message of a conversation."""

    source: str
    """The dialect that it was parsed from."""
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    json_format: JsonFormat | None = None
    reasoning: Reasoning | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    user: str | None = None
    """Opaque id of the end user."""
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    stream: bool = False
    used: dict[Feature, str] = {}
    """Which features the request uses, and what its own dialect calls each."""
    unknown: tuple[str, ...] = ()
    """Fields that have no place here; lost in every other dialect."""


# Answers.


class Finish(enum.StrEnum):
    """Why a model stopped."""

    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    PAUSE = "pause"
    """The provider paused a long turn; send the answer back to go on."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    parts: tuple[Part, ...] = ()
    finish: Finish | None = None
    stop_sequence: str | None = None
    signature: str | None = None
    """As ``Message.signature``."""
    logprobs: Any = None
    """In OpenAI's form."""


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    id: str = ""
    model: str = ""
    created: int | None = None
    """Unix time in seconds."""
    choices: tuple[Choice, ...] = ()
    usage: TokenUsage | None = None


# Embeddings.


class EmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to turn into vectors. Tokens instead of text can only pass natively."""

    inputs: tuple[str, ...]
    dimensions: int | None = None
    unknown: tuple[str, ...] = ()
    """Fields that have no place here; lost in every other dialect."""


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """One vector for each input, in their order."""

    model: str = ""
    vectors: tuple[tuple[float, ...], ...]
    usage: TokenUsage | None = None


# Streams. A stream is ``Started``, then deltas, ``Finished`` for each choice, usage
# whenever it is known (the last one counts), and ``Ended`` if the protocol's own end
# marker came.


class Started(msgspec.Struct, frozen=True, kw_only=True):
    id: str = ""
    model: str = ""
    created: int | None = None


class TextDelta(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    choice: int = 0
    logprobs: Any = None
    signature: str | None = None


class CitationDelta(msgspec.Struct, frozen=True, kw_only=True):
    citation: dict[str, Any]
    choice: int = 0


class ThinkingDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of thinking; the signature comes with the last piece of a block."""

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    origin: str = ""
    """As ``Thinking.origin``."""
    choice: int = 0


class RefusalDelta(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    choice: int = 0


class ToolCallStarted(msgspec.Struct, frozen=True, kw_only=True):
    call: int
    """Counts the calls of one choice from 0, in the order in which they began; given
    by the parser by the upstream's block or id, never by place in a chunk."""
    id: str
    name: str
    signature: str | None = None
    choice: int = 0


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True):
    call: int
    arguments: str
    choice: int = 0


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    finish: Finish
    stop_sequence: str | None = None
    choice: int = 0


class UsageReported(msgspec.Struct, frozen=True):
    usage: TokenUsage


class Ended(msgspec.Struct, frozen=True):
    """The upstream's protocol says that the stream is complete."""


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream's error in an answer whose status said that all was well."""

    message: str
    code: str | None = None
    status: int | None = None
    """The HTTP status that it stands for, if the upstream says or its type tells."""


class Unread(msgspec.Struct, frozen=True):
    """An event of the upstream that was skipped, as its protocol allows.

    Counted and named in the usage record.
    """

    why: str
    """``unknown_type`` or another short word: a label of a metric."""


Event = (
    Started
    | TextDelta
    | CitationDelta
    | ThinkingDelta
    | RefusalDelta
    | ToolCallStarted
    | ToolCallDelta
    | Finished
    | UsageReported
    | Ended
    | Failed
    | Unread
)
