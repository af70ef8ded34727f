"""Builders of what a Gemini upstream says. Uses nothing of gandalf."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

MODEL = "gemini-2.5-flash"
RESPONSE_ID = "fakeResponseId0"
SIGNATURE = "CiQBjz1rX2ZnFakeThoughtSignature+/AB=="


def usage(
    prompt: int = 9,
    candidates: int | None = 2,
    *,
    thoughts: int | None = None,
    cached: int | None = None,
    tool_use: int | None = None,
) -> dict[str, Any]:
    """A ``usageMetadata``; what is zero is left out, as proto JSON does."""
    counted: dict[str, Any] = {"promptTokenCount": prompt}
    if candidates is not None:
        counted["candidatesTokenCount"] = candidates
    counted["totalTokenCount"] = sum(
        (prompt, candidates or 0, thoughts or 0, tool_use or 0)
    )
    if cached is not None:
        counted["cachedContentTokenCount"] = cached
    counted["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": prompt}]
    if thoughts is not None:
        counted["thoughtsTokenCount"] = thoughts
    if tool_use is not None:
        counted["toolUsePromptTokenCount"] = tool_use
    return counted


def text(
    text: str, signature: str | None = None, *, thought: bool = False
) -> dict[str, Any]:
    """A part with text, or with a thought."""
    part: dict[str, Any] = {"text": text}
    if thought:
        part["thought"] = True
    if signature is not None:
        part["thoughtSignature"] = signature
    return part


def function_call(
    name: str,
    args: dict[str, Any] | None = None,
    *,
    id: str | None = None,
    signature: str | None = None,
) -> dict[str, Any]:
    """A part that calls a function; the real API gives no id before Gemini 3."""
    call: dict[str, Any] = {"name": name, "args": args or {}}
    if id is not None:
        call["id"] = id
    part: dict[str, Any] = {"functionCall": call}
    if signature is not None:
        part["thoughtSignature"] = signature
    return part


def inline_data(data: str, mime_type: str = "image/png") -> dict[str, Any]:
    """A part with a file in base64."""
    return {"inlineData": {"mimeType": mime_type, "data": data}}


def candidate(
    *parts: dict[str, Any] | str,
    finish_reason: str | None = "STOP",
    index: int = 0,
    **more: Any,
) -> dict[str, Any]:
    """One candidate; strings are parts with text."""
    written = [text(part) if isinstance(part, str) else part for part in parts]
    made: dict[str, Any] = {"content": {"parts": written, "role": "model"}}
    if not written:
        made["content"] = {"role": "model"}
    if finish_reason is not None:
        made["finishReason"] = finish_reason
    return made | {"index": index} | more


def response(
    *candidates: dict[str, Any],
    usage: dict[str, Any] | None = usage(),  # noqa: B008 - only read
    model: str = MODEL,
    response_id: str = RESPONSE_ID,
    **more: Any,
) -> dict[str, Any]:
    """One answer object: a whole answer, or one event of a stream."""
    made: dict[str, Any] = {"candidates": list(candidates)}
    if usage is not None:
        made["usageMetadata"] = usage
    return made | {"modelVersion": model, "responseId": response_id} | more


def completion(
    *parts: dict[str, Any] | str, finish_reason: str = "STOP", **more: Any
) -> bytes:
    """The body of a whole answer with one candidate."""
    made = candidate(*(parts or ("Hello there",)), finish_reason=finish_reason)
    return body(response(made, **more))


def blocked(reason: str = "PROHIBITED_CONTENT") -> dict[str, Any]:
    """The answer object for a prompt that is refused: no candidates at all."""
    return {
        "promptFeedback": {"blockReason": reason},
        "usageMetadata": usage(candidates=None),
        "modelVersion": MODEL,
        "responseId": RESPONSE_ID,
    }


def error(
    code: int = 500,
    message: str = "An internal error has occurred.",
    *,
    status: str = "INTERNAL",
    details: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """An error object, as the whole body or in a stream."""
    told: dict[str, Any] = {"code": code, "message": message, "status": status}
    if details:
        told["details"] = list(details)
    return {"error": told}


def bad_key() -> dict[str, Any]:
    """What the API says to a wrong key: its status is 400."""
    return error(
        400,
        "API key not valid. Please pass a valid API key.",
        status="INVALID_ARGUMENT",
        details=[
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
            }
        ],
    )


def body(answer: Any) -> bytes:
    """A whole body, indented as Google's are."""
    return json.dumps(answer, indent=2).encode()


def event(data: Any, newline: bytes = b"\r\n") -> bytes:
    """One server-sent event: of bytes as they are, of anything else as JSON."""
    said = data if isinstance(data, bytes) else json.dumps(data).encode()
    return b"data: " + said + newline + newline


def bare_error(**fields: Any) -> bytes:
    """An error within a stream: JSON over several lines, outside of any event."""
    return body(error(**fields)) + b"\r\n"


def stream_events(
    *contents: dict[str, Any] | str,
    usage: dict[str, Any] | None = usage(),  # noqa: B008 - only read
    finish_reason: str | None = "STOP",
    newline: bytes = b"\r\n",
    model: str = MODEL,
) -> list[bytes]:
    """The events of a streamed answer, one for each part; the last one finishes it.

    ``usage=None`` and ``finish_reason=None`` leave those out. Until the last event the
    usage has no candidates in it, as with the real API.
    """
    parts = list(contents or ("Hello", " there"))
    events = []
    for at, part in enumerate(parts):
        last = at == len(parts) - 1
        counted = usage
        if usage is not None and not last:
            counted = {"promptTokenCount": usage["promptTokenCount"]}
            counted["totalTokenCount"] = usage["promptTokenCount"]
        made = candidate(part, finish_reason=finish_reason if last else None)
        events.append(event(response(made, usage=counted, model=model), newline))
    return events


def array(*answers: Any) -> bytes:
    """A stream that was not asked for as server-sent events."""
    return b"[" + b",\r\n".join(map(body, answers)) + b"]"


def count(total: int = 7) -> bytes:
    """The body of a ``countTokens`` answer."""
    details = [{"modality": "TEXT", "tokenCount": total}]
    return body({"totalTokens": total, "promptTokensDetails": details})


def embedding(*vectors: Sequence[float], prompt: int | None = None) -> bytes:
    """The body of an embeddings answer: of one vector, or of a batch of several."""
    made = [{"values": list(vector)} for vector in vectors or [(0.6, 0.8)]]
    told: dict[str, Any] = (
        {"embeddings": made} if len(made) > 1 else {"embedding": made[0]}
    )
    if prompt is not None:
        told["usageMetadata"] = {"promptTokenCount": prompt, "totalTokenCount": prompt}
    return body(told)


def batch_embeddings(*vectors: Sequence[float]) -> bytes:
    """The body of a ``batchEmbedContents`` answer, also if it is of one."""
    return body({"embeddings": [{"values": list(vector)} for vector in vectors]})
