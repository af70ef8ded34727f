"""Builders of what an Ollama server says. Uses nothing of gandalf.

Field for field as its Go server writes it (``api/types.go``): numbers of zero are left
out, ``message.role`` and ``message.content`` never are, and the objects of a stream end
with LF. https://docs.ollama.com/api/chat, .../generate, .../embed, .../errors.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

CREATED_AT = "2025-10-17T23:14:07.414671123Z"
CREATED = 1_760_742_847
"""The same, in seconds of Unix time."""
STREAM_TYPE = "application/x-ndjson"
WHOLE_TYPE = "application/json; charset=utf-8"


def metrics(
    prompt: int = 11, output: int = 18, cached: int | None = None
) -> dict[str, Any]:
    """What the last object of an answer says of tokens and nanoseconds."""
    counts = {"prompt_eval_count": prompt, "eval_count": output}
    times = {
        "total_duration": 174_560_334,
        "load_duration": 101_397_084,
        "prompt_eval_duration": 13_074_791,
        "eval_duration": 52_479_709,
    }
    if cached is not None:
        # Unlike the others it is there when it is 0: since 2026.
        times["prompt_eval_cached_count"] = cached
    return {name: count for name, count in counts.items() if count} | times


def tool_call(
    name: str,
    arguments: dict[str, Any] | None = None,
    *,
    id: str | None = None,
    index: int = 0,
) -> dict[str, Any]:
    """One call of a tool; older servers give it no id, and some each the index 0."""
    function = {"index": index, "name": name, "arguments": arguments or {}}
    return ({"id": id} if id else {}) | {"function": function}


def message(
    content: str = "",
    *,
    thinking: str = "",
    tool_calls: Sequence[dict[str, Any]] = (),
    **more: Any,
) -> dict[str, Any]:
    """A message of the assistant, or a piece of it."""
    said: dict[str, Any] = {"role": "assistant", "content": content}
    if thinking:
        said["thinking"] = thinking
    if tool_calls:
        said["tool_calls"] = list(tool_calls)
    return said | more


def chat(
    content: str = "Hello there",
    *,
    model: str = "llama3.2",
    thinking: str = "",
    tool_calls: Sequence[dict[str, Any]] = (),
    done_reason: str | None = "stop",
    counts: dict[str, Any] | None = metrics(),  # noqa: B008 - only read
    **more: Any,
) -> bytes:
    """The body of a whole answer to ``/api/chat``."""
    body = {
        "model": model,
        "created_at": CREATED_AT,
        "message": message(content, thinking=thinking, tool_calls=tool_calls),
        "done": True,
    }
    if done_reason:
        body["done_reason"] = done_reason
    return json.dumps(body | (counts or {}) | more).encode()


def generation(
    response: str = "Hello there",
    *,
    model: str = "llama3.2",
    thinking: str = "",
    done_reason: str = "stop",
    counts: dict[str, Any] | None = metrics(),  # noqa: B008 - only read
    **more: Any,
) -> bytes:
    """The body of a whole answer to ``/api/generate``."""
    body: dict[str, Any] = {
        "model": model,
        "created_at": CREATED_AT,
        "response": response,
    }
    if thinking:
        body["thinking"] = thinking
    body |= {"done": True, "done_reason": done_reason, "context": [1, 2, 3]}
    return json.dumps(body | (counts or {}) | more).encode()


def loaded(
    model: str = "llama3.2", *, reason: str = "load", chat: bool = True
) -> bytes:
    """The answer to a request without messages or prompt; never a stream."""
    said = {"message": message()} if chat else {"response": ""}
    body = {"model": model, "created_at": CREATED_AT, **said}
    return json.dumps(body | {"done": True, "done_reason": reason}).encode()


def embedded(
    *vectors: Sequence[float], model: str = "embeddinggemma", prompt: int = 4
) -> bytes:
    """The body of an answer to ``/api/embed``."""
    body = {
        "model": model,
        "embeddings": [list(vector) for vector in vectors or [(0.6, 0.8)]],
        "total_duration": 14_143_917,
        "load_duration": 1_019_500,
        "prompt_eval_count": prompt,
    }
    return json.dumps(body).encode()


def legacy_embedded(vector: Sequence[float] = (0.6, 0.8)) -> bytes:
    """The body of an answer to ``/api/embeddings``."""
    return json.dumps({"embedding": list(vector)}).encode()


def error(text: str = "model 'nope' not found") -> bytes:
    """An error body; a line of a stream with LF."""
    return json.dumps({"error": text}).encode()


def line(value: dict[str, Any] | bytes, end: bytes = b"\n") -> bytes:
    """One object of a stream: of bytes as they are, of anything else as Go writes it."""
    if isinstance(value, bytes):
        return value + end
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + end


def piece(content: str = "", *, model: str = "llama3.2", **more: Any) -> dict[str, Any]:
    """An object of a streamed chat before the last; ``more`` is of its message."""
    return {
        "model": model,
        "created_at": CREATED_AT,
        "message": message(content, **more),
        "done": False,
    }


def last(
    *,
    model: str = "llama3.2",
    done_reason: str | None = "stop",
    counts: dict[str, Any] | None = metrics(),  # noqa: B008 - only read
    **more: Any,
) -> dict[str, Any]:
    """The last object of a streamed chat."""
    end = {
        "model": model,
        "created_at": CREATED_AT,
        "message": message(**more),
        "done": True,
    }
    if done_reason:
        end["done_reason"] = done_reason
    return end | (counts or {})


def chat_lines(
    *contents: str,
    thinking: Sequence[str] = (),
    tool_calls: Sequence[dict[str, Any]] = (),
    done: bool = True,
    end: bytes = b"\n",
    **more: Any,
) -> list[bytes]:
    """The lines of a streamed chat: thinking, contents, each call, the last one.

    ``more`` is of the last one (see ``last``); ``done=False`` leaves it out.
    """
    objects = [piece(thinking=thought) for thought in thinking]
    if not (tool_calls and not contents):
        objects += [piece(content) for content in contents or ("Hello", " there")]
    objects += [piece(tool_calls=[call]) for call in tool_calls]
    if done:
        objects.append(last(**more))
    return [line(each, end) for each in objects]


def generate_lines(
    *responses: str, model: str = "llama3.2", done: bool = True
) -> list[bytes]:
    """The lines of a streamed generation."""
    frame = {"model": model, "created_at": CREATED_AT}
    lines = [
        line(frame | {"response": response, "done": False})
        for response in responses or ("Hello", " there")
    ]
    if done:
        end = {"response": "", "done": True, "done_reason": "stop", "context": [1, 2]}
        lines.append(line(frame | end | metrics()))
    return lines


def tags(*names: str) -> bytes:
    """The answer of ``/api/tags``."""
    details = {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "3.2B",
        "quantization_level": "Q4_K_M",
    }
    models = [
        {
            "name": name,
            "model": name,
            "modified_at": CREATED_AT,
            "size": 2_019_393_189,
            "digest": "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72",
            "details": details,
        }
        for name in names or ("llama3.2:latest",)
    ]
    return json.dumps({"models": models}).encode()
