"""Consequences of failed attempts: the table of gandalf.pipeline.failure_policy."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gandalf.config import Provider
from gandalf.dialects import anthropic, converse, gemini, ollama, openai
from gandalf.dialects.conversation import Failed
from gandalf.domain.errors import (
    CredentialsRefused,
    Fault,
    Refusal,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
)
from gandalf.pipeline.failure_policy import (
    classify,
    error_of,
    in_band_error,
)
from gandalf.providers.registry import make_provider

BODY = b'{"error":{"message":"said so","code":"c","param":"p"}}'

TARGET, REQUEST = Fault.TARGET, Fault.REQUEST


@pytest.fixture
def provider():
    return make_provider(Provider(name="p", type="openai"))


class Speaking:
    """A provider of a dialect, as far as errors go."""

    name = "up"
    relays_errors = True

    def __init__(self, dialect=openai):
        self.dialect = dialect


def refused(status, error, dialect=openai, headers=None):
    body = error if isinstance(error, bytes) else json.dumps(error).encode()
    return error_of(Speaking(dialect), status, headers or {}, body)


def openais(message, code=None, type=None):
    return {"error": {"message": message, "type": type, "param": None, "code": code}}


def anthropics(message, type="invalid_request_error"):
    return {"type": "error", "error": {"type": type, "message": message}}


def googles(code, message, status, reason=None):
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]
    return {
        "error": {
            "code": code,
            "message": message,
            "status": status,
            "details": details if reason else [],
        }
    }


def test_no_connection_may_be_tried_elsewhere_and_again():
    policy = classify(UpstreamError("p", "reset"))

    assert (policy.failover, policy.retry, policy.fault) == (True, True, TARGET)


def test_a_silent_target_is_not_asked_again():
    policy = classify(UpstreamTimeout("p", "idle", 1.0))

    assert (policy.failover, policy.retry, policy.fault) == (True, False, TARGET)


def test_a_limit_of_the_gateway_fails_over_and_never_counts():
    for error in (
        UpstreamTimeout("p", "pool", 5.0, fault=Fault.GATEWAY),
        UpstreamError("p", "no files left", fault=Fault.GATEWAY),
    ):
        policy = classify(error)

        assert (policy.failover, policy.retry) == (True, False)


@pytest.mark.parametrize(
    ("status", "failover", "retry", "fault", "told"),
    [
        *((s, False, False, REQUEST, s) for s in (400, 404, 409, 413, 422, 424, 451)),
        *((s, True, True, TARGET, 502) for s in (302, 408, 425, 500, 504)),
        *((s, True, True, TARGET, 503) for s in (503, 529)),
        *((s, True, False, Fault.CREDENTIALS, 502) for s in (401, 402)),
        (403, True, False, REQUEST, 403),
        (429, True, True, Fault.RATE_LIMIT, 429),
    ],
)
def test_a_status_has_its_consequences(provider, status, failover, retry, fault, told):
    error = error_of(provider, status, {}, BODY)
    policy = classify(error)

    assert policy[:3] == (failover, retry, fault)
    assert error.status == told
    assert error.upstream_status == status
    assert error.message.startswith("provider 'p': ")
    assert "said so" in error.detail
    assert ("said so" in error.message) == (status != 401)


def test_a_refusal_keeps_what_the_upstream_said(provider):
    error = error_of(provider, 400, {}, BODY)

    assert isinstance(error, UpstreamRefused)
    assert (error.code, error.param, error.body) == ("c", "p", BODY)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html><title>Blocked</title>", "provider 'p': a web page, 'Blocked'"),
        (b"no such field", "provider 'p': no such field"),
        (b"", "provider 'p': it answered 400"),
    ],
)
def test_a_refusal_that_is_no_json_is_told_in_the_clients_format(
    provider, body, message
):
    error = error_of(provider, 400, {}, body)

    assert (error.body, error.message) == (b"", message)


@pytest.mark.parametrize(
    "body",
    [b'{"detail":"why"}', b'{"errors":[{"message":"why"}]}', b'[{"error":"why"}]'],
)
def test_a_refusal_in_any_form_of_json_is_relayed(provider, body):
    assert error_of(provider, 422, {}, body).body == body


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_wait_that_the_upstream_asks_for_is_kept(provider, status):
    error = error_of(provider, status, {b"retry-after": b"7"}, b"")

    assert error.retry_after == 7.0


# Signs in the body.


@pytest.mark.parametrize(
    ("status", "body", "dialect"),
    [
        # OpenRouter: moderation, guardrails, a request that the credit cannot pay.
        (403, openais("x/y requires moderation and your input was flagged"), openai),
        (403, openais("Blocked by guardrail: pii"), openai),
        (
            402,
            openais("This request requires more credits, or fewer max_tokens."),
            openai,
        ),
        # Azure, OpenAI, DeepSeek, Alibaba, Anthropic.
        (400, openais("The response was filtered", "content_filter"), openai),
        (400, openais("Content Exists Risk"), openai),
        (400, openais("unsafe", "data_inspection_failed"), openai),
        (400, anthropics("Output blocked by content filtering policy"), anthropic),
        # Too long.
        (400, openais("too long", "context_length_exceeded"), openai),
        (400, openais("This model's maximum context length is 8 tokens"), openai),
        (500, openais("the request exceeds the available context size"), openai),
        (400, anthropics("prompt is too long: 210000 tokens > 200000"), anthropic),
        (
            413,
            anthropics("Request exceeds the maximum size", "request_too_large"),
            anthropic,
        ),
        (400, {"message": "Input is too long for requested model."}, converse),
        (
            400,
            googles(400, "The input token count (9) exceeds the maximum", "INVALID"),
            gemini,
        ),
        # A server of the client's own.
        (
            424,
            openais(
                "Error retrieving tool list from MCP server: 'x'. Http status code: 424",
                "http_error",
                "external_connector_error",
            ),
            openai,
        ),
        (
            401,
            openais(
                "Error retrieving tool list from MCP server: 'x'. Http status code: 401",
                "http_error",
                "external_connector_error",
            ),
            openai,
        ),
        (400, anthropics("Invalid API key for the MCP server"), anthropic),
        # One request larger than a minute's limit.
        (413, openais("Request too large for model", "rate_limit_exceeded"), openai),
        (
            429,
            openais("Request too large for gpt-4o on TPM", "rate_limit_exceeded"),
            openai,
        ),
        # Plain ones.
        (409, anthropics("conflict", "conflict_error"), anthropic),
        (422, {"detail": [{"loc": ["body", "a"], "msg": "no"}]}, openai),
        (400, {"error": "invalid format"}, ollama),
        (400, {"message": "Malformed input request"}, converse),
    ],
)
def test_a_refusal_of_the_request_is_the_clients_and_never_counts(
    status, body, dialect
):
    error = refused(status, body, dialect)
    policy = classify(error)

    assert policy == (False, False, REQUEST)
    assert error.status == (status if status < 500 else 400)
    assert error.message.startswith("provider 'up': ")


@pytest.mark.parametrize(
    ("status", "body", "dialect"),
    [
        (401, openais("Incorrect API key provided: sk-x", "invalid_api_key"), openai),
        (400, openais("invalid api key"), openai),
        (403, openais("Missing scopes: model.request", "missing_scope"), openai),
        (401, anthropics("invalid x-api-key", "authentication_error"), anthropic),
        (400, googles(400, "API key not valid.", "X", "API_KEY_INVALID"), gemini),
        (403, googles(403, "Your API key was reported as leaked.", "X"), gemini),
        (401, {"error": "unauthorized"}, ollama),
        (403, {"__type": "UnrecognizedClientException", "message": "m"}, converse),
        (
            403,
            {"message": "The security token included in the request is expired"},
            converse,
        ),
    ],
)
def test_a_refusal_of_the_gateways_key_takes_out_the_provider(status, body, dialect):
    error = refused(status, body, dialect)

    assert classify(error) == (True, False, Fault.CREDENTIALS)
    assert isinstance(error, CredentialsRefused)
    assert error.message == "provider 'up': refused the gateway's credentials"
    assert error.detail != error.message
    assert (error.status, error.should_retry) == (502, False)


@pytest.mark.parametrize(
    ("status", "body", "dialect", "told"),
    [
        (402, openais("Insufficient Balance"), openai, 502),
        (402, openais("Insufficient credits"), openai, 502),
        (402, anthropics("no", "billing_error"), anthropic, 502),
        (429, openais("You exceeded your quota", "insufficient_quota"), openai, 429),
        (
            429,
            openais("You exceeded your quota", type="insufficient_quota"),
            openai,
            429,
        ),
        (400, anthropics("Your credit balance is too low to access"), anthropic, 502),
        (
            403,
            openais(
                "Country, region, or territory not supported",
                "unsupported_country_region_territory",
            ),
            openai,
            502,
        ),
        (401, openais("gone", "account_deactivated"), openai, 502),
        (403, googles(403, "m", "X", "CONSUMER_SUSPENDED"), gemini, 502),
        (400, googles(400, "User location is not supported", "X"), gemini, 502),
        (
            403,
            {
                "error": {
                    "message": "m",
                    "metadata": {"limit_source": "openrouter_key_limit"},
                }
            },
            openai,
            502,
        ),
    ],
)
def test_a_refusal_of_the_gateways_account_is_told_in_the_providers_words(
    status, body, dialect, told
):
    error = refused(status, body, dialect)

    assert classify(error).fault is Fault.CREDENTIALS
    assert classify(error).failover
    assert (error.status, error.should_retry) == (told, False)
    assert error.code == "upstream_account_refused"
    assert error.message.endswith(
        "(about the gateway's account, not about this request)"
    )


@pytest.mark.parametrize(
    ("status", "body", "dialect"),
    [
        (404, openais("The model `x` does not exist", "model_not_found"), openai),
        (404, anthropics("model: claude-x", "not_found_error"), anthropic),
        (
            403,
            anthropics("no permission for the resource", "permission_error"),
            anthropic,
        ),
        (404, googles(404, "models/x is not found for API version v1", "X"), gemini),
        (404, {"error": "model 'x' not found"}, ollama),
        (403, {"message": "You don't have access to the model with the ID"}, converse),
        (424, {"__type": "ModelErrorException", "message": "m"}, converse),
        (403, b"", openai),
    ],
)
def test_a_model_that_is_not_to_be_had_fails_over_and_never_counts(
    status, body, dialect
):
    error = refused(status, body, dialect)

    assert classify(error) == (True, False, REQUEST)
    assert error.status == status


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (400, {"message": "m"}, {b"x-amzn-errortype": b"ThrottlingException:http://x"}),
        (429, {"message": "Too many tokens, please wait before trying again."}, {}),
        (429, {"message": "m"}, {b"x-amzn-errortype": b"ModelNotReadyException"}),
        (
            429,
            googles(429, "You exceeded your current quota", "RESOURCE_EXHAUSTED"),
            {},
        ),
        (
            402,
            {"error": {"metadata": {"limit_source": "openrouter_in_flight_budget"}}},
            {},
        ),
    ],
)
def test_a_rate_limit_is_one_in_any_form(status, body, headers):
    error = refused(status, body, converse, headers)

    assert isinstance(error, UpstreamRateLimited)
    assert (error.status, classify(error).fault) == (429, Fault.RATE_LIMIT)


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ("prompt is too long", Refusal.CONTEXT_LENGTH),
        ("your input was flagged", Refusal.CONTENT_POLICY),
        ("another reason", Refusal.REQUEST),
    ],
)
def test_the_reason_of_a_refusal_is_known(message, refusal):
    assert refused(400, openais(message)).refusal is refusal


def test_awss_type_in_a_header_is_the_code_for_the_client():
    headers = {b"x-amzn-errortype": b"ValidationException:http://internal/"}

    error = refused(400, {"message": "no"}, converse, headers)

    assert (error.code, error.refusal) == ("ValidationException", Refusal.REQUEST)


# Errors inside answers.


@pytest.mark.parametrize(
    ("status", "told"), [(None, 502), (200, 502), (429, 429), (503, 503), (400, 400)]
)
def test_an_error_inside_an_answer_counts_as_its_status_does(provider, status, told):
    error = in_band_error(provider, Failed(message="inside", status=status))

    assert (error.status, error.message) == (told, "provider 'p': inside")


def test_an_error_inside_an_answer_says_nothing_of_our_credentials(provider):
    error = in_band_error(provider, Failed(message="bad key xyz", status=401))

    assert "xyz" not in error.message
    assert "xyz" in error.detail


def test_an_error_inside_an_answer_is_known_by_its_code(provider):
    failed = Failed(message="m", code="context_length_exceeded")

    assert in_band_error(provider, failed).refusal is Refusal.CONTEXT_LENGTH


def test_an_error_inside_an_answer_may_name_the_wait(provider):
    failed = Failed(message="Please try again in 20s.", status=429)

    assert in_band_error(provider, failed).retry_after == 20.0


# Secrets.


def test_what_a_hosting_says_is_not_relayed_as_the_dialects():
    class Hosted(Speaking):
        relays_errors = False

    body = b'{"error":{"code":404,"message":"no such file","status":"NOT_FOUND"}}'

    assert error_of(Speaking(gemini), 404, {}, body).body == body
    assert error_of(Hosted(gemini), 404, {}, body).body == b""


def test_the_operators_account_is_not_named_to_clients(provider):
    body = (
        b'{"error":{"message":"Limit reached for gpt-4o in organization org-Ab1 now"}}'
    )

    error = error_of(provider, 429, {}, body)

    assert error.message == (
        "provider 'p': Limit reached for gpt-4o in organization org-*** now"
    )


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_secrets_in_an_upstreams_words_reach_neither_client_nor_record(
    provider, status
):
    secret = "sk-proj-" + "a1" * 20
    body = json.dumps(openais(f"bad header: Bearer {secret} for org-{'x' * 24}"))

    error = error_of(provider, status, {}, body.encode())

    told = error.message + error.detail + getattr(error, "body", b"").decode()
    assert secret not in told
    assert "x" * 24 not in told


# Whatever an upstream sends.

_WORDS = st.sampled_from(
    ["error", "message", "detail", "details", "code", "param", "loc", "metadata", "raw"]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_WORDS | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)
_BODIES = st.binary(max_size=40) | _JSON.map(lambda value: json.dumps(value).encode())
_VALUES = st.binary(max_size=20) | st.dates().map(
    lambda date: date.strftime("%a, %d %b %Y 00:00:00 +9%H%M").encode()
)


@settings(deadline=None)
@given(
    status=st.sampled_from([302, 400, 401, 402, 403, 404, 429, 500, 529, 999]),
    body=_BODIES,
    retry_after=_VALUES,
    reset=_VALUES,
    dialect=st.sampled_from([anthropic, converse, gemini, ollama, openai]),
)
def test_no_error_of_an_upstream_breaks_the_gateway(
    status, body, retry_after, reset, dialect
):
    headers = {b"retry-after": retry_after, b"x-ratelimit-reset-tokens": reset}

    error = error_of(Speaking(dialect), status, headers, body)

    assert error.message.startswith("provider 'up': ")
    assert error.retry_after is None or 0 <= error.retry_after <= 3600
    classify(error)
