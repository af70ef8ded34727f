"""What a failed attempt means: the table of gandalf.pipeline.verdict."""

import time
from email.utils import formatdate

import pytest

from gandalf.config import Provider
from gandalf.dialects import gemini
from gandalf.dialects.conversation import Failed
from gandalf.domain.errors import UpstreamError, UpstreamRefused, UpstreamTimeout
from gandalf.pipeline.verdict import (
    DEAD_KEY_BENCH,
    MAX_RETRY_AFTER,
    error_of,
    hidden_error,
    judge,
    read_retry_after,
)
from gandalf.providers.registry import make_provider

BODY = b'{"error":{"message":"said so","code":"c","param":"p"}}'


@pytest.fixture
def provider():
    return make_provider(Provider(name="p", type="openai"))


def test_no_connection_may_be_tried_elsewhere_and_again():
    assert judge(UpstreamError("p", "reset")) == (True, True, 1.0, 0.0)


def test_a_silent_target_is_not_asked_again():
    assert judge(UpstreamTimeout("p", "idle", 1.0)) == (True, False, 1.5, 0.0)


@pytest.mark.parametrize(
    ("status", "verdict", "told"),
    [
        *((status, (False, False, 0.0, 0.0), status) for status in (400, 404, 422)),
        *((status, (True, True, 1.0, 0.0), 502) for status in (408, 409, 425)),
        *((status, (True, True, 1.0, 0.0), 502) for status in (302, 500, 504)),
        *((status, (True, True, 1.0, 0.0), 503) for status in (503, 529)),
        *((status, (True, False, 0.0, DEAD_KEY_BENCH), 502) for status in (401, 402)),
        (403, (True, False, 0.0, 0.0), 502),
        (429, (True, True, 0.5, 0.0), 429),
    ],
)
def test_a_status_has_its_verdict_and_its_status_for_the_client(
    provider, status, verdict, told
):
    error = error_of(provider, status, {}, BODY)

    assert judge(error) == verdict
    assert error.status == told
    assert error.upstream_status == status
    assert ("said so" in error.message) == (status not in (401, 402, 403))


def test_a_refusal_keeps_what_the_upstream_said(provider):
    error = error_of(provider, 400, {}, BODY)

    assert isinstance(error, UpstreamRefused)
    assert (error.code, error.param, error.body) == ("c", "p", BODY)


def test_an_unreadable_refusal_is_not_relayed(provider):
    error = error_of(provider, 400, {}, b"<html>")

    assert error.body == b""
    assert error.message == "the provider answered 400"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_who_asks_for_a_pause_is_benched_for_it(provider, status):
    error = error_of(provider, status, {b"retry-after": b"7"}, b"")

    assert judge(error).bench == 7.0


@pytest.mark.parametrize(
    ("status", "told"), [(None, 502), (200, 502), (429, 429), (503, 503), (400, 400)]
)
def test_an_error_inside_an_answer_counts_as_its_status_does(provider, status, told):
    error = hidden_error(provider, Failed(message="inside", status=status))

    assert (error.status, error.message) == (told, "inside")


def test_an_error_inside_an_answer_says_nothing_of_our_credentials(provider):
    error = hidden_error(provider, Failed(message="bad key sk-1", status=401))

    assert "sk-1" not in error.message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({b"retry-after": b"3"}, 3.0),
        ({b"retry-after": b"0.5"}, 0.5),
        ({b"retry-after-ms": b"250", b"retry-after": b"3"}, 0.25),
        ({b"retry-after-ms": b"x", b"retry-after": b"3"}, 3.0),
        ({b"retry-after": b"86400"}, MAX_RETRY_AFTER),
        ({b"retry-after": b"-1"}, None),
        ({b"retry-after": b"inf"}, None),
        ({b"retry-after": b"nan"}, None),
        ({b"retry-after": b"soon"}, None),
        ({b"retry-after": b""}, None),
        ({b"retry-after": b"\xff"}, None),
        ({b"retry-after": b"Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_read(headers, seconds):
    assert read_retry_after(headers) == seconds


def test_retry_after_may_be_a_date(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    date = formatdate(1_000_090, usegmt=True).encode()

    assert read_retry_after({b"retry-after": date}) == 90.0


class Geminis:
    name = "gemini"
    dialect = gemini
    relays_errors = True


def test_a_dead_key_is_seen_behind_another_status():
    body = (
        b'{"error":{"code":400,"message":"API key not valid.","status":'
        b'"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc'
        b'.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}'
    )

    error = error_of(Geminis, 400, {}, body)

    assert judge(error).bench > 0
    assert "API key" not in error.message


def test_what_a_hosting_says_is_not_relayed_as_the_dialects():
    class Hosted(Geminis):
        relays_errors = False

    body = b'{"error":{"code":404,"message":"no such model","status":"NOT_FOUND"}}'

    assert error_of(Geminis, 404, {}, body).body == body
    assert error_of(Hosted, 404, {}, body).body == b""


def test_the_operators_account_is_not_named_to_clients(provider):
    body = (
        b'{"error":{"message":"Limit reached for gpt-4o in organization org-Ab1 now"}}'
    )

    error = error_of(provider, 429, {}, body)

    assert error.message == "Limit reached for gpt-4o in organization org-*** now"
