"""Error bodies in the forms of many vendors."""

import json

import pytest

from gandalf.dialects.error_details import MAX_MESSAGE, read_error

EXTRA = {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "WHY"}


@pytest.mark.parametrize(
    ("body", "message", "code", "param"),
    [
        # OpenAI, Anthropic, Gemini, Ollama.
        ({"error": {"message": "WHY", "code": "c", "param": "p"}}, "WHY", "c", "p"),
        ({"error": {"message": "WHY", "param": ["tools", 0]}}, "WHY", None, "tools.0"),
        ({"error": {"message": "WHY", "code": 400}}, "WHY", "400", None),
        (
            {"error": {"code": 429, "message": "WHY", "status": "RESOURCE_EXHAUSTED"}},
            "WHY",
            "RESOURCE_EXHAUSTED",
            None,
        ),
        ([{"error": {"code": 400, "message": "WHY"}}], "WHY", "400", None),
        ({"error": "WHY"}, "WHY", None, None),
        # Mistral, FastAPI, NVIDIA, RFC 9457.
        ({"message": {"detail": [EXTRA]}}, "seed: WHY", None, "seed"),
        ({"detail": [EXTRA]}, "seed: WHY", None, "seed"),
        (
            {"detail": [EXTRA, {**EXTRA, "msg": "b"}]},
            "seed: WHY; seed: b",
            None,
            "seed",
        ),
        ({"status": 404, "title": "Not Found", "detail": "WHY"}, "WHY", None, None),
        # Cloudflare, Hugging Face, TGI, vLLM, Cohere.
        (
            {"errors": [{"message": "WHY", "code": 5006}], "success": False},
            "WHY",
            "5006",
            None,
        ),
        ({"error": ["WHY"]}, "WHY", None, None),
        ({"error": "WHY", "error_type": "validation"}, "WHY", "validation", None),
        ({"object": "error", "message": "WHY", "code": 400}, "WHY", "400", None),
        # AWS, Azure, MiniMax, Apigee, xAI.
        (
            {"__type": "com.amazon#ThrottlingException", "message": "WHY"},
            "WHY",
            "ThrottlingException",
            None,
        ),
        ({"Message": "WHY"}, "WHY", None, None),
        ({"statusCode": 401, "message": "WHY"}, "WHY", None, None),
        ({"base_resp": {"status_code": 1004, "status_msg": "WHY"}}, "WHY", None, None),
        ({"fault": {"faultstring": "WHY"}}, "WHY", None, None),
        ({"code": "A sentence of its own", "error": "WHY"}, "WHY", None, None),
        # Nested once more, by proxies.
        ({"error": {"error": {"message": "WHY"}}}, "WHY", None, None),
        ({"error": {"message": "", "detail": "WHY"}}, "WHY", None, None),
        # A form that nobody knows is told as it is.
        ({"unknown": "WHY"}, '{"unknown": "WHY"}', None, None),
        ({}, "", None, None),
        ([], "", None, None),
        ({"error": None, "message": ""}, "", None, None),
    ],
)
def test_message_code_and_param_are_found(body, message, code, param):
    details = read_error(json.dumps(body).encode())

    assert (details.message, details.code, details.param) == (message, code, param)


def test_the_provider_behind_openrouter_is_heard():
    raw = json.dumps({"error": {"message": "WHY", "code": "context_length_exceeded"}})
    body = {
        "error": {
            "code": 400,
            "message": "Provider returned error",
            "metadata": {"provider_name": "X", "raw": raw},
        }
    }

    details = read_error(json.dumps(body).encode())

    assert details.message == "Provider returned error (WHY)"
    assert details.code == "context_length_exceeded"


def test_reasons_of_a_moderation_are_told():
    body = {"error": {"message": "flagged", "metadata": {"reasons": ["violence"]}}}

    assert read_error(json.dumps(body).encode()).message == "flagged (violence)"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"WHY", "WHY"),
        (b"  two\r\n lines ", "two lines"),
        (b"", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (
            b"<!DOCTYPE html><html><head><title>502 Bad\n Gateway</title></head>",
            "a web page, '502 Bad Gateway'",
        ),
        (b"<html><h1>Not &amp; found</h1></html>", "a web page, 'Not & found'"),
        (b"<html></html>", "a web page and no API error"),
    ],
)
def test_text_and_web_pages_are_told_in_one_line(body, message):
    assert read_error(body).message == message


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"error":' * 500 + b"1" + b"}" * 500, b'{"a":"\xff"}']
)
def test_no_body_breaks_the_reader(body):
    assert len(read_error(body).message) <= MAX_MESSAGE


def test_a_long_message_is_cut():
    body = json.dumps({"error": {"message": "x" * 100_000}}).encode()

    assert len(read_error(body).message) == MAX_MESSAGE
