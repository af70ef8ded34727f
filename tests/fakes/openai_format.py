"""Builders of what an OpenAI-compatible upstream says. Uses nothing of gandalf."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

CREATED = 1_700_000_000
DONE = b"data: [DONE]\n\n"


def usage(prompt: int = 9, completion: int = 2, cached: int = 0) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def completion(
    content: str | None = "Hello there",
    *,
    model: str = "gpt-4o-2024-08-06",
    finish_reason: str = "stop",
    tool_calls: Sequence[dict[str, Any]] = (),
    usage: dict[str, Any] | None = usage(),  # noqa: B008 - only read
    **more: Any,
) -> bytes:
    """The body of a chat completion; ``usage=None`` leaves the usage out."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": content,
        "refusal": None,
        "annotations": [],
    }
    if tool_calls:
        message["tool_calls"] = list(tool_calls)
    body = {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": finish_reason,
            }
        ],
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }
    if usage is not None:
        body["usage"] = usage
    return json.dumps(body | more).encode()


def embeddings(*vectors: Sequence[float], model: str = "embed-fake") -> bytes:
    """The body of an embeddings answer."""
    data = [
        {"object": "embedding", "index": i, "embedding": list(v)}
        for i, v in enumerate(vectors or [(0.6, 0.8)])
    ]
    counted = {"prompt_tokens": 4, "total_tokens": 4}
    return json.dumps(
        {"object": "list", "data": data, "model": model, "usage": counted}
    ).encode()


def error(
    message: str = "The server had an error",
    *,
    type: str = "server_error",
    code: str | None = None,
    param: str | None = None,
) -> bytes:
    """An error body in OpenAI's shape."""
    return json.dumps(
        {"error": {"message": message, "type": type, "param": param, "code": code}}
    ).encode()


def event(data: Any, newline: bytes = b"\n") -> bytes:
    """One server-sent event: of bytes as they are, of anything else as JSON."""
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return b"data: " + text + newline + newline


def chunk(
    content: str | None = None,
    *,
    role: str | None = None,
    tool_calls: Sequence[dict[str, Any]] | None = None,
    finish_reason: str | None = None,
    index: int = 0,
    model: str = "gpt-4o-2024-08-06",
    **more: Any,
) -> dict[str, Any]:
    """One ``chat.completion.chunk`` with one choice."""
    delta: dict[str, Any] = {}
    if role is not None:
        delta = {"role": role, "content": "", "refusal": None}
    if content is not None:
        delta["content"] = content
    if tool_calls is not None:
        delta["tool_calls"] = list(tool_calls)
    choice = {
        "index": index,
        "delta": delta,
        "logprobs": None,
        "finish_reason": finish_reason,
    }
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
        "choices": [choice],
    } | more


def usage_chunk(usage: dict[str, Any]) -> dict[str, Any]:
    """The chunk without choices that ends a stream whose usage was asked for."""
    return chunk() | {"choices": [], "usage": usage}


def chat_events(
    *contents: str,
    usage: dict[str, Any] | None = usage(),  # noqa: B008 - only read
    usage_everywhere: bool = False,
    finish_reason: str | None = "stop",
    done: bool = True,
    newline: bytes = b"\n",
) -> list[bytes]:
    """The events of a streamed answer: role, contents, finish, usage, ``[DONE]``.

    ``usage=None``, ``finish_reason=None`` and ``done=False`` leave those out;
    ``usage_everywhere`` puts the usage into every chunk, as some servers do.
    """
    extra: dict[str, Any] = {}
    if usage is not None:
        extra = {"usage": usage if usage_everywhere else None}
    chunks = [chunk(role="assistant", **extra)]
    chunks += [chunk(content, **extra) for content in contents or ("Hello", " there")]
    if finish_reason is not None:
        chunks.append(chunk(finish_reason=finish_reason, **extra))
    if usage is not None and not usage_everywhere:
        chunks.append(usage_chunk(usage))
    events = [event(each, newline) for each in chunks]
    return [*events, event(b"[DONE]", newline)] if done else events
