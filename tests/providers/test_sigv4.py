import string
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from gandalf.providers.sigv4 import Signer


@dataclass(frozen=True)
class Keys:
    access_key: str = "AKIDEXAMPLE"
    secret_key: str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    token: str | None = None


# The test suite of AWS itself, "aws-sig-v4-test-suite".
SUITE = Signer("example.amazonaws.com", "us-east-1", "service")
AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("method", "target", "signature"),
    [
        # get-vanilla
        (
            b"GET",
            b"/",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        # post-vanilla
        (
            b"POST",
            b"/",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        # get-vanilla-query-order-key-case
        (
            b"GET",
            b"/?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
    ],
)
def test_signs_as_the_published_test_suite_says(method, target, signature):
    fields = SUITE.sign(Keys(), AT, method, target, [], b"")

    assert fields == [
        (b"x-amz-date", b"20150830T123600Z"),
        (
            b"authorization",
            b"AWS4-HMAC-SHA256 "
            b"Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
            b"SignedHeaders=host;x-amz-date, Signature=" + signature.encode(),
        ),
    ]


def botocores(keys, host, region, at, target, headers, body):
    """Return what botocore puts into the header fields of the same request."""
    request = AWSRequest(
        "POST", f"https://{host}{target.decode()}", dict(headers), body
    )
    signer = auth.SigV4Auth(
        BotocoreCredentials(keys.access_key, keys.secret_key, keys.token),
        "bedrock",
        region,
    )
    original = auth.get_current_datetime
    auth.get_current_datetime = lambda: datetime.fromtimestamp(int(at), UTC)
    try:
        signer.add_auth(request)
    finally:
        auth.get_current_datetime = original
    return {name.lower(): value for name, value in request.headers.items()}


letters = st.text(string.ascii_letters + string.digits + "/+=", min_size=1)
models = st.text(
    string.ascii_letters + string.digits + ".:/-_~@ %äß€()'!*$&,;=", min_size=1
)


@given(
    st.builds(Keys, letters, letters, st.none() | letters),
    st.sampled_from(["us-east-1", "eu-central-1", "us-gov-west-1"]),
    st.floats(0, 4e9),
    models.filter(lambda model: model not in (".", "..")),
    st.sampled_from(["", "/base", "/a~b"]),
    st.binary(max_size=200),
    st.sampled_from(
        [
            [],
            [(b"content-type", b"application/json")],
            [(b"x-amz-test", b"  a   b "), (b"content-type", b"text/plain")],
        ]
    ),
)
def test_signs_as_botocore_does(keys, region, at, model, prefix, body, headers):
    host = f"bedrock-runtime.{region}.amazonaws.com"
    target = f"{prefix}/model/{quote(model, safe='')}/converse".encode()

    fields = Signer(host, region, "bedrock").sign(
        keys, at, b"POST", target, headers, body
    )

    text = [(name.decode(), value.decode()) for name, value in headers]
    theirs = botocores(keys, host, region, at, target, text, body)
    ours = {name.decode(): value.decode() for name, value in fields}
    assert ours == {name: theirs[name] for name in ours}
    assert set(theirs) == {*ours, *(name for name, _ in text)}


def test_a_models_colon_is_encoded_twice_in_what_is_signed():
    model = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/a.b-v1:0"
    target = f"/model/{quote(model, safe='')}/invoke".encode()
    host = "bedrock-runtime.us-east-1.amazonaws.com"
    signer = Signer(host, "us-east-1", "bedrock")

    _, canonical = signer._canonical(b"POST", target, [], b"")

    path = canonical.splitlines()[1]
    assert path.startswith("/model/arn%253Aaws%253Abedrock%253Aus-east-1%253A123456")
    assert path.endswith("%253Ainference-profile%252Fa.b-v1%253A0/invoke")


def test_another_day_and_another_secret_have_keys_of_their_own():
    host, target = "h", b"/"
    one = Signer(host, "r", "bedrock")

    for keys, at in [
        (Keys(), AT),
        (Keys(), AT + 1),
        (Keys(), AT + 86400),
        (Keys(secret_key="other"), AT + 86400),
        (Keys(), AT),
    ]:
        fresh = Signer(host, "r", "bedrock")
        assert one.sign(keys, at, b"GET", target, [], b"") == fresh.sign(
            keys, at, b"GET", target, [], b""
        )


def test_signing_costs_little_more_than_the_hash_of_the_body():
    signer = Signer("bedrock-runtime.us-east-1.amazonaws.com", "us-east-1", "bedrock")
    target = b"/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke"
    headers = [(b"content-type", b"application/json")]

    def seconds(body, count=200):
        started = time.process_time()
        for _ in range(count):
            signer.sign(Keys(), AT, b"POST", target, headers, body)
        return (time.process_time() - started) / count

    # About 20 us; a limit that a busy machine keeps, and a slip by orders does not.
    assert min(seconds(b"{}") for _ in range(5)) < 0.0005
