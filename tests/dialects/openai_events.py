"""Answers of OpenAI's other endpoints, as its documentation shows them.

https://platform.openai.com/docs/api-reference/responses-streaming and the pages named
below; field names checked against the types of the ``openai`` package.
"""

import json

RESPONSE_ID = "resp_67c9fdcecf488190bdd9a0409de3a1ec07b8b0ad4e5eb654"
MESSAGE_ID = "msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654"

USAGE = {
    "input_tokens": 37,
    "input_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 5},
    "output_tokens": 11,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 48,
}


def a_response(status="completed", **changes):
    """https://platform.openai.com/docs/api-reference/responses/object."""
    fields = {
        "id": RESPONSE_ID,
        "object": "response",
        "created_at": 1741290958,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": "You are a helpful assistant.",
        "max_output_tokens": None,
        "model": "gpt-4.1-2025-04-14",
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "metadata": {},
    }
    return fields | changes


def message(text):
    return {
        "id": MESSAGE_ID,
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }


def event(kind, number, **fields):
    data = {"type": kind, **fields, "sequence_number": number}
    return (
        f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
    )


def events(*pairs, start=0):
    return [event(kind, n, **fields) for n, (kind, fields) in enumerate(pairs, start)]


OPENING = events(
    ("response.created", {"response": a_response("in_progress")}),
    ("response.in_progress", {"response": a_response("in_progress")}),
)
PLACE = {"item_id": MESSAGE_ID, "output_index": 0, "content_index": 0}
CONTENT = events(
    (
        "response.output_item.added",
        {
            "output_index": 0,
            "item": {**message(""), "status": "in_progress", "content": []},
        },
    ),
    (
        "response.content_part.added",
        {**PLACE, "part": {"type": "output_text", "text": "", "annotations": []}},
    ),
    ("response.output_text.delta", {**PLACE, "delta": "Hi", "logprobs": []}),
    (
        "response.output_text.delta",
        {**PLACE, "delta": " là! \u2028\x1b", "logprobs": []},
    ),
    ("response.output_text.done", {**PLACE, "text": "Hi là!", "logprobs": []}),
    ("response.output_item.done", {"output_index": 0, "item": message("Hi là!")}),
    start=2,
)
COMPLETED = event(
    "response.completed",
    8,
    response=a_response(output=[message("Hi là!")], usage=USAGE),
)
STREAM = b"".join([*OPENING, *CONTENT, COMPLETED])

IMAGE_USAGE = {
    "total_tokens": 100,
    "input_tokens": 50,
    "output_tokens": 50,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
}


def an_image_event(kind, **fields):
    """https://platform.openai.com/docs/api-reference/images-streaming."""
    data = {
        "type": kind,
        "b64_json": "iVBORw0KGgo" * 300,
        "created_at": 1620000000,
        "size": "1024x1024",
        "quality": "high",
        "background": "transparent",
        "output_format": "png",
        **fields,
    }
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


PARTIAL_IMAGE = an_image_event("image_generation.partial_image", partial_image_index=0)
WHOLE_IMAGE = an_image_event("image_generation.completed", usage=IMAGE_USAGE)

# https://platform.openai.com/docs/api-reference/audio/transcript-text-done-event
TRANSCRIPT = [
    b'data: {"type":"transcript.text.delta","delta":"I"}\n\n',
    b'data: {"type":"transcript.text.delta","delta":" see"}\n\n',
    (
        b'data: {"type":"transcript.text.done","text":"I see","usage":{"type":"tokens"'
        b',"input_tokens":14,"input_token_details":{"text_tokens":2,"audio_tokens":12}'
        b',"output_tokens":45,"total_tokens":59}}\n\n'
    ),
]

# https://platform.openai.com/docs/api-reference/audio/speech-audio-done-event
SPEECH = [
    b'data: {"type":"speech.audio.delta","audio":"AAAA"}\n\n',
    (
        b'data: {"type":"speech.audio.done","usage":{"input_tokens":14,'
        b'"output_tokens":101,"total_tokens":115}}\n\n'
    ),
]

# https://platform.openai.com/docs/api-reference/files/object
FILE = {
    "id": "file-abc123",
    "object": "file",
    "bytes": 120000,
    "created_at": 1677610602,
    "expires_at": 1680202602,
    "filename": "salesOverview.jsonl",
    "purpose": "batch",
    "status": "processed",
}


def a_batch(status="validating", **changes):
    """https://platform.openai.com/docs/api-reference/batch/object."""
    fields = {
        "id": "batch_abc123",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "errors": None,
        "input_file_id": "file-abc123",
        "completion_window": "24h",
        "status": status,
        "output_file_id": None,
        "error_file_id": None,
        "created_at": 1711471533,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": None,
    }
    return fields | changes


def encoded(value):
    return json.dumps(value).encode()
