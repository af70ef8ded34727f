"""What an answer says: its views, its usage, and how it ended.

Source: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse and
``google/genai/types.py``. A stream is made of the same objects as a whole answer.

The counts: ``promptTokenCount`` includes cached tokens, and not those of the results of
tools that the provider ran; ``candidatesTokenCount`` does not include thoughts. What is
zero is left out.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gandalf.dialects.base import UNREADABLE, Answer
from gandalf.dialects.conversation import Failed
from gandalf.dialects.ends import bad_end, lacks
from gandalf.dialects.gemini.errors import failed_of
from gandalf.dialects.gemini.finishes import GOOD_ENDS
from gandalf.dialects.lenient import Reader
from gandalf.dialects.unread import read_whole
from gandalf.domain.usage import OtherUsage, TokenUsage

NO_RAW = msgspec.Raw(b"")


class _Modality(msgspec.Struct, rename="camel"):
    modality: str = ""
    token_count: int = 0


class UsageView(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    prompt_tokens_details: list[_Modality] | None = None
    cache_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None
    traffic_type: str | None = None
    """Vertex: ``ON_DEMAND``, ``ON_DEMAND_PRIORITY``, ``ON_DEMAND_FLEX``, ..."""


class _Grounding(msgspec.Struct, rename="camel"):
    """What an answer is grounded on."""

    web_search_queries: list[str] | None = None


class FunctionCallView(msgspec.Struct):
    name: str = ""
    id: str = ""
    args: msgspec.Raw = NO_RAW


class BlobView(msgspec.Struct, rename="camel"):
    mime_type: str = ""
    data: str = ""


class FileView(msgspec.Struct, rename="camel"):
    file_uri: str = ""
    mime_type: str | None = None


class PartView(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    function_call: FunctionCallView | None = None
    inline_data: BlobView | None = None
    file_data: FileView | None = None
    executable_code: msgspec.Raw = NO_RAW
    code_execution_result: msgspec.Raw = NO_RAW
    tool_call: msgspec.Raw = NO_RAW
    tool_response: msgspec.Raw = NO_RAW

    @property
    def is_unknown(self) -> bool:
        """Whether it has nothing in it that any module here knows.

        The last four are of tools that the provider runs, and no part of the answer.
        """
        known = (
            self.text,
            self.function_call,
            self.inline_data,
            self.file_data,
            self.thought_signature,
        )
        own = (
            self.executable_code,
            self.code_execution_result,
            self.tool_call,
            self.tool_response,
        )
        return all(each is None for each in known) and not any(own)


class ContentView(msgspec.Struct):
    parts: list[PartView] | None = None


class CandidateView(msgspec.Struct, rename="camel"):
    content: ContentView | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int = 0
    citation_metadata: msgspec.Raw = NO_RAW
    grounding_metadata: msgspec.Raw = NO_RAW
    logprobs_result: msgspec.Raw = NO_RAW


class FeedbackView(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class ResponseView(msgspec.Struct, rename="camel"):
    candidates: list[CandidateView] | None = None
    prompt_feedback: FeedbackView | None = None
    usage_metadata: UsageView | None = None
    model_version: str = ""
    response_id: str = ""
    error: msgspec.Raw = NO_RAW

    @property
    def tokens(self) -> TokenUsage | None:
        """What it used, searches included; None if it does not say."""
        searches = _searches(self.model_version, self.candidates or ())
        return tokens_of(self.usage_metadata, web_searches=searches)

    @property
    def blocked(self) -> str | None:
        """Why the prompt was not answered at all; None if it was."""
        feedback = self.prompt_feedback
        if self.candidates or feedback is None:
            return None
        return feedback.block_reason


class EndView(msgspec.Struct, rename="camel"):
    """As much of a candidate as a passing answer is looked at for."""

    finish_reason: str | None = None
    index: int = 0
    content: msgspec.Raw = NO_RAW
    grounding_metadata: msgspec.Raw = NO_RAW


class PassingView(msgspec.Struct, rename="camel"):
    """As much of an answer as is read when it passes through untouched."""

    candidates: list[EndView] | None = None
    prompt_feedback: FeedbackView | None = None
    usage_metadata: UsageView | None = None
    model_version: str = ""
    error: msgspec.Raw = NO_RAW
    total_tokens: int | None = None
    """Of an answer to ``countTokens``."""
    embedding: msgspec.Raw = NO_RAW
    embeddings: msgspec.Raw = NO_RAW

    @property
    def tokens(self) -> TokenUsage | None:
        """What it used, searches included; None if it does not say."""
        searches = _searches(self.model_version, self.candidates or ())
        return tokens_of(self.usage_metadata, web_searches=searches)

    @property
    def blocked(self) -> str | None:
        feedback = self.prompt_feedback
        if self.candidates or feedback is None:
            return None
        return feedback.block_reason


ASIDE = (
    "responseId",
    "modelVersion",
    "usageMetadata",
    "finishMessage",
    "citationMetadata",
    "groundingMetadata",
    "logprobsResult",
)
"""Members that hold nothing of the answer's own text; see ``lenient``."""

decode_response = msgspec.json.Decoder(ResponseView).decode
read_response = Reader(ResponseView, ASIDE)
decode_passing = msgspec.json.Decoder(PassingView).decode
_decode_grounding = msgspec.json.Decoder(_Grounding | None).decode

# Counting tokens costs nothing.
_FREE = TokenUsage(input=0, output=0)


def read_answer(operation: str, body: bytes) -> Answer | None:
    """Return what a whole answer says of itself; None if it is no answer at all."""
    try:
        view, unread = read_whole(body, decode_passing, PassingView)
    except UNREADABLE:
        return None
    failed = failed_in(view, body) or _missing(operation, view)
    if operation == "count_tokens":
        return Answer(usage=_FREE, failed=failed, unread=unread)
    ends = view.candidates or []
    return Answer(
        usage=view.tokens,
        finish_reason=ends[0].finish_reason if ends else view.blocked,
        failed=failed,
        unread=unread,
    )


def _missing(operation: str, view: PassingView) -> Failed | None:
    """Return why an answer to ``operation`` is none; None if it is one."""
    if operation == "count_tokens":
        return None if view.total_tokens is not None else lacks("totalTokens")
    if operation in ("embeddings", "batch_embeddings"):
        # A translated request for one text may go to either method.
        filled = _is_filled(view.embedding) or _is_filled(view.embeddings)
        return None if filled else lacks("embeddings")
    if not view.candidates:
        return None if view.blocked else lacks("candidates")
    bad = [c.finish_reason for c in view.candidates if c.finish_reason not in GOOD_ENDS]
    return bad_end(bad[0]) if bad else None


def _is_filled(member: msgspec.Raw) -> bool:
    said = bytes(member)
    return said[:1] in (b"{", b"[") and said[1:].lstrip()[:1] not in (b"}", b"]")


def failed_in(view: PassingView | ResponseView, body: bytes) -> Failed | None:
    """Return the error that ``body``, seen as ``view``, carries, if it does."""
    return failed_of(body) if bytes(view.error) not in (b"", b"null") else None


def tokens_of(usage: UsageView | None, *, web_searches: int = 0) -> TokenUsage | None:
    """Return ``usage`` in disjoint classes.

    Args:
        usage: As it was said.
        web_searches: How many are charged for the answer.
    """
    if usage is None or usage.prompt_token_count is None:
        return None
    cached = usage.cached_content_token_count
    spoken_cached = _of("AUDIO", usage.cache_tokens_details) or 0
    spoken = _of("AUDIO", usage.prompt_tokens_details)
    if spoken is not None:
        spoken = max(0, spoken - spoken_cached)
    spoken_out = _of("AUDIO", usage.candidates_tokens_details)
    drawn = _of("IMAGE", usage.candidates_tokens_details) or 0
    text_in = max(0, usage.prompt_token_count - (cached or 0) - (spoken or 0))
    made = usage.candidates_token_count
    tier = _TIERS.get(usage.traffic_type or "", "")
    other = None
    if spoken_cached or drawn or web_searches or tier:
        other = OtherUsage(
            audio_cache_read=spoken_cached,
            image_output=drawn,
            web_searches=web_searches,
            service_tier=tier,
        )
    return TokenUsage(
        input=text_in + (usage.tool_use_prompt_token_count or 0),
        cache_read=None if cached is None else max(0, cached - spoken_cached),
        output=None if made is None else max(0, made - (spoken_out or 0) - drawn),
        reasoning=usage.thoughts_token_count,
        audio_input=spoken,
        audio_output=spoken_out,
        other=other,
    )


_TIERS = {
    "ON_DEMAND_PRIORITY": "priority",
    "ON_DEMAND_FLEX": "flex",
    "BATCH": "batch",
}


def _searches(model: str, candidates: Iterable[CandidateView | EndView]) -> int:
    """Return how many web searches are charged for an answer.

    Until Gemini 2.5 a prompt that was answered with searches, however many; each search
    from Gemini 3 on. Source: https://ai.google.dev/gemini-api/docs/google-search#pricing.
    """
    queries = 0
    for candidate in candidates:
        if candidate.grounding_metadata is not NO_RAW:
            try:
                said = _decode_grounding(candidate.grounding_metadata)
            except UNREADABLE:
                continue
            queries += len(said.web_search_queries or ()) if said is not None else 0
    return min(queries, 1) if model.startswith(("gemini-1", "gemini-2")) else queries


def usage_metadata(usage: TokenUsage) -> dict[str, object]:
    """Return ``usage`` in Gemini's words; what is not known is left out."""
    answer = _sum(usage.output, usage.audio_output)
    told: dict[str, object] = {
        "promptTokenCount": usage.prompt_tokens,
        "candidatesTokenCount": answer,
        "totalTokenCount": usage.total_tokens,
        "cachedContentTokenCount": usage.cache_read,
        "thoughtsTokenCount": usage.reasoning,
    }
    if usage.audio_input is not None:
        rest = usage.prompt_tokens - usage.audio_input
        told["promptTokensDetails"] = _by_modality(rest, usage.audio_input)
    if usage.audio_output is not None:
        told["candidatesTokensDetails"] = _by_modality(
            usage.output or 0, usage.audio_output
        )
    return {name: value for name, value in told.items() if value is not None}


def _by_modality(text: int, audio: int) -> list[dict[str, object]]:
    return [
        {"modality": "TEXT", "tokenCount": text},
        {"modality": "AUDIO", "tokenCount": audio},
    ]


def _of(modality: str, details: list[_Modality] | None) -> int | None:
    if not details:
        return None
    counts = [each.token_count for each in details if each.modality == modality]
    return sum(counts) if counts else None


def _sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
