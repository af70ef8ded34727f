"""What is sent and answered in a benchmark, and the check of every answer.

Client, upstream and checks share this page, and nothing of it is the gateway's.
"""

from __future__ import annotations

import json

CLIENT_KEY = "gnd_bench-client-key-0123456789abcdefghijklmnopq"
UPSTREAM_KEY = "sk-bench-upstream"

# The gateway is asked for the alias and must ask the upstream for the model.
ALIAS, MODEL = "bench", "gpt-bench"
SLOW_ALIAS, SLOW_MODEL = "bench-slow", "gpt-bench-slow"
# A model whose provider speaks Anthropic's dialect, asked for in OpenAI's.
CLAUDE_ALIAS, CLAUDE = "bench-claude", "claude-bench"

EVENTS = 64
"""Events of a stream, ``[DONE]`` and usage not counted."""
SLOW_GAP = 0.05
"""Seconds between two events of a slow stream."""

PROMPT = [
    {"role": "system", "content": "You answer in one short paragraph, without lists."},
    {
        "role": "user",
        "content": "Explain to a new colleague what a gateway in front of several "
        "language model providers is good for, and what it should never do.",
    },
]
WORDS = [f" word{number:02d}" for number in range(EVENTS - 2)]
TEXT = "".join(WORDS)
USAGE = {
    "prompt_tokens": 52,
    "completion_tokens": EVENTS - 2,
    "total_tokens": 52 + EVENTS - 2,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
_HEAD = {"id": "chatcmpl-bench", "created": 1_700_000_000, "model": MODEL}
_TAIL = {"service_tier": "default", "system_fingerprint": "fp_bench"}


class Wrong(Exception):
    """An answer is not the one that was due."""


def request_body(model: str, *, stream: bool) -> bytes:
    """Return a chat request that no cache may answer, since it is not deterministic."""
    body = {"model": model, "messages": PROMPT, "temperature": 0.7, "max_tokens": 512}
    if stream:
        body["stream"] = True
    return json.dumps(body).encode()


def request(model: str, key: str, *, stream: bool) -> bytes:
    """Return the whole HTTP request, with the headers that the OpenAI SDK sends."""
    body = request_body(model, stream=stream)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\n"
        "Host: 127.0.0.1\r\n"
        "Accept: application/json\r\n"
        "Content-Type: application/json\r\n"
        "User-Agent: OpenAI/Python bench\r\n"
        "X-Stainless-Lang: python\r\n"
        "X-Stainless-Retry-Count: 0\r\n"
        f"Authorization: Bearer {key}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def answer() -> bytes:
    """Return the body of the answer to a request that is not streamed."""
    message: dict[str, object] = {
        "role": "assistant",
        "content": TEXT,
        "refusal": None,
        "annotations": [],
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": "stop",
    }
    return _dump(
        {**_HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE}
        | _TAIL
    )


def events(*, with_usage: bool) -> list[bytes]:
    """Return the server-sent events of a streamed answer, ``[DONE]`` last."""
    deltas = [{"role": "assistant", "content": "", "refusal": None}]
    deltas += [{"content": word} for word in WORDS]
    deltas += [{}]
    usage = {"usage": None} if with_usage else {}
    chunks = [
        {
            **_HEAD,
            "object": "chat.completion.chunk",
            **_TAIL,
            "choices": [
                {
                    "index": 0,
                    "delta": delta,
                    "logprobs": None,
                    "finish_reason": None if delta else "stop",
                }
            ],
            **usage,
        }
        for delta in deltas
    ]
    if with_usage:
        chunks.append({**chunks[0], "choices": [], "usage": USAGE})
    lines = [b"data: " + _dump(chunk) + b"\n\n" for chunk in chunks]
    return [*lines, b"data: [DONE]\n\n"]


def anthropic_events() -> list[bytes]:
    """Return the events of the same answer as Anthropic streams it."""
    usage = {"input_tokens": 52, "output_tokens": 1}
    message = {
        "id": "msg_bench",
        "type": "message",
        "role": "assistant",
        "model": CLAUDE,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    block = {"index": 0, "content_block": {"type": "text", "text": ""}}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    said = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", **block},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": word},
            }
            for word in WORDS
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": end,
            "usage": {"output_tokens": EVENTS - 2},
        },
        {"type": "message_stop"},
    ]
    return [
        b"event: %b\ndata: %b\n\n" % (str(each["type"]).encode(), _dump(each))
        for each in said
    ]


def check_answer(status: int, body: bytes) -> None:
    """Raise Wrong unless this is the answer to a request that is not streamed."""
    if status != 200:
        raise Wrong(f"status {status}: {body[:200]!r}")
    said = json.loads(body)
    if said["choices"][0]["message"]["content"] != TEXT or said["usage"] != USAGE:
        raise Wrong(f"another answer: {body[:200]!r}")


def check_stream(status: int, body: bytes) -> None:
    """Raise Wrong unless this is the whole stream, and nothing but the stream."""
    if status != 200:
        raise Wrong(f"status {status}: {body[:200]!r}")
    lines = [each for each in body.split(b"\n\n") if each and each[:1] != b":"]
    if not lines or lines.pop() != b"data: [DONE]":
        raise Wrong("a stream without [DONE]")
    chunks = [json.loads(line.removeprefix(b"data: ")) for line in lines]
    if len(chunks) != EVENTS:
        raise Wrong(f"{len(chunks)} events instead of {EVENTS}")
    choices = [chunk["choices"][0] for chunk in chunks]
    if "".join(choice["delta"].get("content", "") for choice in choices) != TEXT:
        raise Wrong("a stream that says something else")
    if choices[-1]["finish_reason"] != "stop":
        raise Wrong("a stream without a finish_reason")


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
