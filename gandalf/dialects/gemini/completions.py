"""Whole answers, from and for Gemini's own words.

Source: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any

import msgspec

from gandalf.dialects.arguments import fresh_call_id, named, text_of_raw
from gandalf.dialects.base import UNREADABLE, Call
from gandalf.dialects.conversation import (
    Choice,
    Completion,
    Finish,
    Media,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from gandalf.dialects.ends import AnswerFailed, bad_end
from gandalf.dialects.gemini.answers import (
    CandidateView,
    FunctionCallView,
    PartView,
    ResponseView,
    decode_response,
    failed_in,
    read_response,
    usage_metadata,
)
from gandalf.dialects.gemini.extras import (
    citation_metadata,
    citations_of,
    logprobs_of,
    logprobs_result,
)
from gandalf.dialects.gemini.finishes import finish_of, reason_of
from gandalf.dialects.gemini.signing import signature_of, thinking_of
from gandalf.dialects.lenient import checked

Json = dict[str, Any]

_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")
_MAX_ID = 24

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def parse_answer(body: bytes) -> Completion:
    """Return a whole answer.

    Raises:
        UNREADABLE: It is none.
        AnswerFailed: It reports a failure.
    """
    try:
        view = decode_response(checked(body))
    except UNREADABLE:
        view = read_response.view(body)
    if failed := failed_in(view, body):
        raise AnswerFailed(failed)
    if not view.candidates and view.blocked is None:
        raise msgspec.ValidationError("neither candidates nor a reason for having none")
    choices = tuple(
        _choice(view, candidate)
        for candidate in sorted(view.candidates or (), key=lambda each: each.index)
    )
    return Completion(
        id=view.response_id,
        model=view.model_version,
        choices=choices or (Choice(finish=Finish.CONTENT_FILTER),),
        usage=view.tokens,
    )


def render_answer(completion: Completion, call: Call) -> bytes:
    """Return the body that answers ``call``."""
    told: Json = {
        "candidates": [
            _candidate(choice, index) for index, choice in enumerate(completion.choices)
        ],
        "modelVersion": completion.model or call.model,
        "responseId": completion.id or new_response_id(),
    }
    if completion.usage is not None:
        told["usageMetadata"] = usage_metadata(completion.usage)
    return msgspec.json.encode(told)


def new_response_id() -> str:
    """Return an id for an answer whose upstream gives none."""
    return secrets.token_urlsafe(16)


def call_id(
    view: ResponseView, called: FunctionCallView, choice: int, count: int
) -> str:
    """Return the id of a function call; its own, or one that no other call has.

    Args:
        view: The answer it is in.
        called: The call.
        choice: Which candidate makes it.
        count: How many the candidate has made before.
    """
    if called.id:
        return called.id
    base = _NOT_IN_IDS.sub("", view.response_id)[-_MAX_ID:]
    if not base:
        return fresh_call_id()
    return f"call_{base}_{choice}_{count}" if choice else f"call_{base}_{count}"


def arguments_of(called: FunctionCallView) -> str:
    """Return a function call's arguments as JSON text.

    Without the indentation that whole answers have and streamed ones do not.
    """
    return msgspec.json.format(text_of_raw(called.args), indent=-1)


def function_call(call_id: str, name: str, arguments: str) -> Json | None:
    """Return a function call; None if ``arguments`` is no JSON object."""
    text = arguments.strip() or "{}"
    try:
        _decode_object(text)
    except UNREADABLE:
        return None
    return {"id": call_id, "name": name, "args": msgspec.Raw(text.encode())}


def malformed(name: str, arguments: str) -> Json:
    """Return how a candidate ends whose call cannot be given as such."""
    return {
        "finishReason": "MALFORMED_FUNCTION_CALL",
        "finishMessage": f"Malformed function call: {name}({arguments})",
    }


def _choice(view: ResponseView, candidate: CandidateView) -> Choice:
    parts: list[Part] = []
    signature: str | None = None
    calls = 0
    content = candidate.content
    for part in (content.parts if content is not None else None) or ():
        if part.function_call is not None:
            parts.append(_call(view, candidate, part, calls))
            calls += 1
            continue
        parts += _parts_of(part)
        if part.thought_signature and not part.thought:
            signature = part.thought_signature
    return Choice(
        parts=_with_citations(parts, citations_of(candidate)),
        finish=_finish(candidate, called=calls > 0),
        signature=signature,
        logprobs=logprobs_of(candidate),
    )


def _finish(candidate: CandidateView, *, called: bool) -> Finish:
    reason = candidate.finish_reason
    finish = finish_of(reason or "", called=called)
    if finish is None:
        raise AnswerFailed(bad_end(reason, candidate.finish_message or ""))
    return finish


def _call(
    view: ResponseView, candidate: CandidateView, part: PartView, count: int
) -> ToolCall:
    called = part.function_call or FunctionCallView()
    return ToolCall(
        id=call_id(view, called, candidate.index, count),
        name=named(called.name),
        arguments=arguments_of(called),
        signature=part.thought_signature,
    )


def _parts_of(part: PartView) -> Iterator[Part]:
    if part.thought:
        yield thinking_of(part.text or "", part.thought_signature)
    elif part.text:
        yield Text(text=part.text)
    elif part.inline_data is not None:
        blob = part.inline_data
        yield Media(
            kind=_kind_of(blob.mime_type), media_type=blob.mime_type, data=blob.data
        )
    elif part.file_data is not None:
        file = part.file_data
        yield Media(
            kind=_kind_of(file.mime_type or ""),
            media_type=file.mime_type,
            url=file.file_uri,
        )


def _kind_of(media_type: str) -> str:
    top = media_type.partition("/")[0]
    return top if top in ("image", "audio", "video") else "document"


def _with_citations(parts: list[Part], citations: list[Json]) -> tuple[Part, ...]:
    if citations:
        for at in range(len(parts) - 1, -1, -1):
            part = parts[at]
            if isinstance(part, Text):
                parts[at] = Text(text=part.text, citations=tuple(citations))
                break
    return tuple(parts)


def _candidate(choice: Choice, index: int) -> Json:
    parts: list[Json] = []
    ending: Json = {}
    if choice.finish is not None:
        ending["finishReason"] = reason_of(choice.finish)
    for part in choice.parts:
        if isinstance(part, ToolCall):
            called = function_call(part.id, part.name, part.arguments)
            if called is None:
                ending = malformed(part.name, part.arguments)
            else:
                parts.append(_signed({"functionCall": called}, part.signature))
        else:
            parts += _own_parts(part)
    if choice.signature:
        _sign(parts, choice.signature)
    candidate: Json = {
        # The SDKs' chats take a content without parts for a broken answer.
        "content": {"parts": parts or [{"text": ""}], "role": "model"},
        "index": index,
        "citationMetadata": citation_metadata(
            citation
            for part in choice.parts
            if isinstance(part, Text)
            for citation in part.citations
        ),
        "logprobsResult": logprobs_result(choice.logprobs),
        **ending,
    }
    return {name: value for name, value in candidate.items() if value is not None}


def _own_parts(part: Part) -> Iterator[Json]:
    if isinstance(part, (Text, Refusal)):
        if part.text:
            yield {"text": part.text}
    elif isinstance(part, Thinking):
        yield _signed({"text": part.text, "thought": True}, signature_of(part))
    elif isinstance(part, Media) and part.data is not None:
        media_type = part.media_type or "application/octet-stream"
        yield {"inlineData": {"mimeType": media_type, "data": part.data}}
    elif isinstance(part, Media) and part.url is not None:
        yield {"fileData": {"mimeType": part.media_type or "", "fileUri": part.url}}


def _signed(part: Json, signature: str | None) -> Json:
    return {**part, "thoughtSignature": signature} if signature else part


def _sign(parts: list[Json], signature: str) -> None:
    for part in reversed(parts):
        if "text" in part and "thought" not in part:
            part["thoughtSignature"] = signature
            return
    parts.append({"text": "", "thoughtSignature": signature})
