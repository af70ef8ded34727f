"""How long an upstream asks to wait, in every form."""

import json
from email.utils import formatdate

import pytest

from gandalf.dialects.error_details import ErrorDetails, read_error
from gandalf.pipeline.retry_after import MAX_RETRY_AFTER, read_retry_after

NOW = 1_700_000_000.0


def read(headers, details=None, *, limited=True):
    return read_retry_after(headers, details, limited=limited, now=lambda: NOW)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({b"retry-after": b"3"}, 3.0),
        ({b"retry-after": b" 3 "}, 3.0),
        ({b"retry-after": b"0.5"}, 0.5),
        ({b"retry-after": b"30s"}, 30.0),
        ({b"retry-after": b"3, 3"}, 3.0),
        ({b"retry-after-ms": b"250", b"retry-after": b"3"}, 0.25),
        ({b"retry-after-ms": b"x", b"retry-after": b"3"}, 3.0),
        ({b"x-ms-retry-after-ms": b"1500"}, 1.5),
        ({b"retry-after": b"86400"}, MAX_RETRY_AFTER),
        ({b"retry-after": b"-1"}, None),
        ({b"retry-after": b"inf"}, None),
        ({b"retry-after": b"nan"}, None),
        ({b"retry-after": b"soon"}, None),
        ({b"retry-after": b""}, None),
        ({b"retry-after": b"\xff"}, None),
    ],
)
def test_a_number_is_seconds(headers, seconds):
    assert read(headers) == seconds


@pytest.mark.parametrize(
    "zone", ["GMT", "+0000", "-0000", "", "UTC", "GMT+0", "Z", "nonsense"]
)
def test_a_date_is_read_whatever_its_zone_says(zone):
    date = formatdate(NOW + 90).removesuffix("-0000") + zone

    assert read({b"retry-after": date.strip().encode()}) == 90.0


@pytest.mark.parametrize(
    "date",
    [
        b"Wed, 21 Oct 99999 07:28:00 GMT",
        b"Wed, 21 Oct 999999999999999999999 07:28:00 GMT",
        b"Wed, 21 Oct 0000 07:28:00 GMT",
        b"Wed, 21 Oct 2015 07:28:00 +9999999999999",
        b"Wed, 21 Oct 2015 07:28:00 +9999",
        b"Wed, 99 Oct 2015 99:28:00 GMT",
        b"0001-01-01T00:00:00+14:00",
        b"9999-12-31T23:59:59-14:00",
        b", ,",
    ],
)
def test_no_date_breaks_the_request(date):
    assert read({b"retry-after": date}) in (None, 0.0, MAX_RETRY_AFTER)


def test_a_date_that_has_passed_is_no_wait():
    assert read({b"retry-after": b"Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        # OpenAI, Azure.
        (
            {
                b"x-ratelimit-remaining-requests": b"9",
                b"x-ratelimit-reset-requests": b"8.64s",
                b"x-ratelimit-remaining-tokens": b"0",
                b"x-ratelimit-reset-tokens": b"6m0s",
            },
            360.0,
        ),
        ({b"x-ratelimit-reset-tokens": b"120ms"}, 0.12),
        ({b"x-ratelimit-reset-tokens": b"1h2m3.5s"}, 3600.0),
        ({b"x-ratelimit-reset-tokens": b"37"}, 37.0),
        ({b"x-ratelimit-reset-tokens": b"0"}, None),
        # Anthropic.
        (
            {
                b"anthropic-ratelimit-input-tokens-remaining": b"0",
                b"anthropic-ratelimit-input-tokens-reset": b"2023-11-14T22:13:50Z",
                b"anthropic-ratelimit-requests-remaining": b"49",
                b"anthropic-ratelimit-requests-reset": b"2023-11-14T22:14:20Z",
            },
            30.0,
        ),
        ({b"anthropic-ratelimit-unified-reset": b"1700000012"}, 12.0),
        # OpenRouter.
        ({b"x-ratelimit-reset": b"1700000045000"}, 45.0),
        ({b"x-ratelimit-reset-tokens": b"whenever"}, None),
    ],
)
def test_the_reset_of_a_used_up_limit_counts_for_a_429(headers, seconds):
    assert read(headers) == seconds
    assert read(headers, limited=False) is None


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached for gpt-4o. Please try again in 20s. Visit", 20.0),
        ("Please try again in 6m0s.", 360.0),
        ("Please try again in 120ms. Contact us", 0.12),
        ("Please retry after 37 seconds. Please contact", 37.0),
        ("Please retry in 46.720542s.", 46.720542),
        ("Too many requests; wait 5 sec.", 5.0),
        ("Try again in 1 minute and 30 seconds", 90.0),
        ("retry the request in 5 different ways", None),
        ("Please try again later", None),
    ],
)
def test_a_sentence_that_names_the_wait_is_read(message, seconds):
    assert read({}, ErrorDetails(message)) == seconds


@pytest.mark.parametrize(
    ("delay", "seconds"), [("31s", 31.0), ("1.5s", 1.5), ("soon", None), (4, 4.0)]
)
def test_geminis_retry_info_is_read(delay, seconds):
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    body = {"error": {"code": 429, "message": "m", "details": [info]}}

    assert read({}, read_error(json.dumps([body]).encode())) == seconds


def test_openrouters_headers_in_the_body_are_read():
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1700000007000"}
    body = {"error": {"code": 429, "message": "m", "metadata": {"headers": headers}}}

    assert read({}, read_error(json.dumps(body).encode())) == 7.0


def test_a_header_is_trusted_more_than_the_body():
    assert read({b"retry-after": b"2"}, ErrorDetails("try again in 20s")) == 2.0
