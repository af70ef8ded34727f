import json

import pytest

from gandalf.telemetry.redaction import redact

GATEWAY_KEY = "gnd_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE"
OPENAI_KEY = "sk-proj-abcDEF123456_7890-xyz"
GOOGLE_KEY = "AIzaSyA1234567890abcdefghijklmnopqrstuv"
AWS_KEY = "AKIAIOSFODNN7EXAMPLE"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"key {GATEWAY_KEY} refused", GATEWAY_KEY),
        (f"Incorrect API key provided: {OPENAI_KEY}.", OPENAI_KEY),
        (f"{OPENAI_KEY}", OPENAI_KEY),
        (f"GET /v1beta/models?key={GOOGLE_KEY}&alt=sse", GOOGLE_KEY),
        (f"found {GOOGLE_KEY}", GOOGLE_KEY),
        (f"Credential={AWS_KEY}/20260101/eu", AWS_KEY),
        ("Authorization: Bearer eyJhbGciOi.J9abc.def-_=", "eyJhbGciOi.J9abc.def-_="),
        ("authorization: bearer  abcdef0123456789", "abcdef0123456789"),
        ("b'authorization': b'Basic dXNlcjpwYXNz'", "dXNlcjpwYXNz"),
        ("POST /?key=hunter2secret HTTP/1.1", "hunter2secret"),
        ("api_key=hunter2secret", "hunter2secret"),
        ("?a=1&access_token=hunter2secret", "hunter2secret"),
        ("client_secret=hunter2secret", "hunter2secret"),
        ("x-api-key: hunter2secret", "hunter2secret"),
        ("{b'x-goog-api-key': b'hunter2secret'}", "hunter2secret"),
        ('{"api_key": "hunter2secret"}', "hunter2secret"),
        ("https://user:hunter2secret@proxy:3128/", "hunter2secret"),
        ("token ya29.a0AfH6SMBx-yz_123", "a0AfH6SMBx-yz_123"),
        ("bad key: sk-proj-********************abcd", "abcd"),
        ("key gsk_abcdefghijklmnop1234 is bad", "gsk_abcdefghijklmnop1234"),
        ("key xai-abcdefghijklmnop1234 is bad", "xai-abcdefghijklmnop1234"),
        ("key hf_abcdefghijklmnop1234 is bad", "hf_abcdefghijklmnop1234"),
        ("got eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl", "eyJhbGciOiJI"),
        ("in organization org-4BPQ2vglazP9PM7I0T2xn68U on", "4BPQ2vglazP9PM7I0T2xn68U"),
        ("User: arn:aws:sts::123456789012:assumed-role/x is not", "123456789012"),
        ("X-Amz-Signature=hunter2secret&X-Amz-Date=1", "hunter2secret"),
    ],
)
def test_a_secret_leaves_no_trace_plain_or_inside_json(text, secret):
    assert secret in text
    assert secret not in redact(text)
    # As in a traceback that became a member of a JSON line: after an escape.
    for before in ("\n", "\t", "\x1b", '"'):
        line = redact(json.dumps({"traceback": before + text}))
        assert secret not in line
        json.loads(line)


@pytest.mark.parametrize(
    "text",
    [
        "request key_id=0190b7a2 key_prefix=gnd_abcd1234 status=200",
        "target task-force/risk-model-large skipped",
        "event loop was blocked lag_ms=120",
        "ready on http://127.0.0.1:8080 https://[::1]:8443",
        "prompt_tokens=150 completion_tokens=23",
        "unknown key: providers.0.nmae",
        "org_id=org-acme and proj_x",
        "half_life of the hf_model",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redact(text) == text


def test_what_surrounds_a_secret_stays():
    assert (
        redact(f"GET /m?alt=sse&key={GOOGLE_KEY}&x=1") == "GET /m?alt=sse&key=***&x=1"
    )
