"""Requests that cannot be read are refused in plain words, with the field named."""

import json

import pytest

from gandalf.dialects.openai.responses import stream_error
from gandalf.dialects.registry import ANTHROPIC, GEMINI, OLLAMA, OPENAI
from gandalf.domain.errors import BadRequest, UpstreamError


def refused(dialect, body, operation="chat", model=""):
    def read():
        dialect.parse_request(dialect.read_call(operation, body, model))

    with pytest.raises(BadRequest) as caught:
        read()
    return caught.value


@pytest.mark.parametrize(
    ("dialect", "body", "message", "param"),
    [
        (OPENAI, b'{"model":"m"}', "messages is required", "messages"),
        (
            ANTHROPIC,
            b'{"model":"m","max_tokens":1}',
            "messages is required",
            "messages",
        ),
        (GEMINI, b"{}", "contents is missing", "contents"),
        (OLLAMA, b'{"messages":[]}', "model is required", "model"),
        (
            OPENAI,
            b'{"model":"m","messages":"hi"}',
            "messages must be an array, not a string",
            "messages",
        ),
        (
            ANTHROPIC,
            b'{"model":"m","max_tokens":"x","messages":[]}',
            "max_tokens must be a whole number, not a string",
            "max_tokens",
        ),
        (
            OPENAI,
            b'{"model":"m","messages":[{"content":"hi"}]}',
            "messages[0].role is required",
            "messages[0].role",
        ),
        (OPENAI, b"[]", "the body must be an object, not an array", None),
    ],
)
def test_what_is_wrong_is_told_in_plain_words(dialect, body, message, param):
    error = refused(dialect, body, model="m" if dialect is GEMINI else "")

    assert (error.message, error.param) == (message, param)


@pytest.mark.parametrize(
    ("dialect", "place"),
    [
        (OPENAI, lambda told: told["error"]["request_id"]),
        (ANTHROPIC, lambda told: told["request_id"]),
        (GEMINI, lambda told: told["error"]["details"][-1]["requestId"]),
        (OLLAMA, lambda told: told["request_id"]),
    ],
)
def test_an_error_has_the_requests_id_whole_and_in_a_stream(dialect, place):
    error = UpstreamError("up", "it broke off")
    error.request_id = "r1"

    streamed = dialect.stream_error(error)

    assert place(json.loads(dialect.error_body(error))) == "r1"
    assert place(json.loads(streamed[streamed.index(b"{") :])) == "r1"


def test_an_error_in_a_stream_of_responses_has_the_requests_id():
    error = UpstreamError("up", "it broke off")
    error.request_id = "r1"

    told = stream_error(error)

    assert json.loads(told[told.index(b"{") :])["error"]["request_id"] == "r1"
