import logging

import pytest

from gandalf.domain.usage import EndReason, TokenUsage, UsageSource
from gandalf.telemetry.access_log import UNKNOWN_PER_SECOND, AccessLog
from gandalf.telemetry.log_lines import ConsoleLines, JsonLines, pairs
from gandalf.telemetry.observed import Refused

from .builders import a_record, an_attempt, an_exchange


@pytest.fixture
def logged(caplog):
    """Whatever was logged. The level is that of the gateway's own events."""
    caplog.set_level(logging.INFO, "gandalf")
    return []


@pytest.fixture
def log_request(logged):
    return AccessLog(logged.append).observe


@pytest.fixture
def lines(logged):
    return lambda: [event.fields for event in logged]


def test_a_request_is_one_line_that_says_who_what_and_how_it_ended(log_request, lines):
    log_request(an_exchange(), a_record(stream=True, cache="miss"))

    (fields,) = lines()
    assert fields == {
        "request_id": "c1",
        "key_id": "k1",
        "key_prefix": "gnd_abcd",
        "operation": "chat",
        "alias": "fast",
        "target": "openai/gpt-4o",
        "status": 200,
        "end": "complete",
        "stream": True,
        "cache": "miss",
        "attempts": 1,
        "latency_ms": 1250.0,
        "overhead_ms": 0.4,
        "ttft_ms": 400.0,
        "prompt_tokens": 150,
        "completion_tokens": 25,
    }


def test_a_refused_request_names_its_error_and_no_tokens(log_request, lines):
    record = a_record(
        client_request_id="",
        key_id="",
        provider="",
        model="",
        status=401,
        end_reason=EndReason.REFUSED,
        error_code="invalid_api_key",
        tokens=TokenUsage(),
        usage_source=UsageSource.NONE,
        ttft=None,
        attempts=(),
    )

    log_request(an_exchange(identity=None, route=None), record)

    fields = lines()[0]
    assert fields["request_id"] == "r1"
    assert fields["error"] == "invalid_api_key"
    assert fields["target"] == fields["key_prefix"] == ""
    assert not {"ttft_ms", "prompt_tokens", "completion_tokens"} & fields.keys()


def test_after_a_failover_the_line_tells_what_was_tried(log_request, lines):
    failed = an_attempt(target="a/m", outcome="upstream_503", decision="failover")

    log_request(an_exchange(), a_record(attempts=(failed, an_attempt())))

    assert lines()[0]["tried"] == "a/m:upstream_503 openai/gpt-4o:served"


def test_what_the_client_chose_can_neither_leak_nor_forge(log_request, lines):
    key = "gnd_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE"
    record = a_record(alias=f"m\n{key}" + "a" * 5000, client_request_id=key)

    log_request(an_exchange(), record)

    fields = lines()[0]
    assert fields["alias"].startswith("m\\u000agnd_***")
    assert len(fields["alias"]) < 1100
    assert fields["request_id"] == "gnd_***"


def test_a_line_stays_within_its_budget_of_bytes(log_request, logged):
    log_request(an_exchange(), a_record(stream=True, cache="miss", error_code="x"))

    for form in (JsonLines(), ConsoleLines()):
        assert len(form.ready(logged[0])) < 600


def test_a_line_tells_when_the_request_was_over(log_request, logged):
    log_request(an_exchange(), a_record(received_at=60.0, latency=0.25))

    line = ConsoleLines().ready(logged[0])
    assert line.startswith(
        b"1970-01-01T00:01:00.250Z INFO    gandalf.access: request request_id=c1 "
    )


def test_nothing_is_made_when_nothing_is_logged(log_request, logged, caplog):
    caplog.set_level(logging.WARNING, "gandalf")
    log_request(an_exchange(), a_record())
    assert logged == []


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stream": True, "cache": "hit"},
        {"usage_source": UsageSource.NONE, "tokens": TokenUsage()},
        {"provider": "", "model": ""},
        {"client_request_id": ""},
        {"ttft": None},
        {"alias": "two words"},
        {"alias": 'a="b'},
        {"key_id": "config:a b"},
        {"error_code": "upstream_error"},
        {"attempts": (an_attempt(), an_attempt())},
    ],
)
def test_the_quick_way_to_a_line_says_what_the_long_one_does(
    log_request, logged, changes
):
    log_request(an_exchange(), a_record(**changes))

    (event,) = logged
    assert event.pairs() == pairs({**event.fields, "overhead_ms": "0.400"})


def test_an_error_is_told_in_the_words_of_whoever_said_it(log_request, lines):
    words = "provider 'up': Country, region, or territory not supported"

    log_request(
        an_exchange(), a_record(status=502, error_code="c", error_message=words)
    )

    (fields,) = lines()
    assert (fields["error"], fields["error_message"]) == ("c", words)


def test_a_request_without_a_record_is_a_line_of_its_own(logged, lines):
    secret = "gnd_" + "a" * 40
    refused = Refused("r1", "GET", f"/{secret}\n", 404, "not_found", "there is no x")

    AccessLog(logged.append).refused(refused)

    (fields,) = lines()
    assert fields == {
        "request_id": "r1",
        "key_id": "",
        "key_prefix": "",
        "method": "GET",
        "path": "/gnd_***\\u000a",
        "status": 404,
        "error": "not_found",
        "error_message": "there is no x",
    }
    assert logged[0].event == "refused"


def test_requests_without_a_valid_key_are_logged_by_the_sample(caplog):
    now = [0.0]
    lines = []
    access = AccessLog(lines.append, clock=lambda: now[0])
    caplog.set_level(logging.INFO)

    for _ in range(1000):
        access.observe(an_exchange(identity=None), a_record(status=401))
    now[0] = 1.0
    access.observe(an_exchange(identity=None), a_record(status=401))

    assert len(lines) == UNKNOWN_PER_SECOND + 1
    assert "990 requests without a valid key were not logged" in caplog.text
