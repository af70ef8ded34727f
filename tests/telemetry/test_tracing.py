import subprocess
import sys
import threading
import time

import pytest
import trio
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

from gandalf.config import Tracing
from gandalf.telemetry.tracing import Tracer

from .builders import an_attempt
from .collector import collector

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
CALLER = f"00-{TRACE}-{SPAN}"


class FakeExporter(SpanExporter):
    """Keeps what it is given. Holds the SDK's thread while ``open`` is not set."""

    def __init__(self, result=SpanExportResult.SUCCESS):
        self.spans = []
        self.result = result
        self.open = threading.Event()
        self.open.set()
        self.asked = threading.Event()

    def export(self, spans):
        self.asked.set()
        self.open.wait(30)
        self.spans.extend(spans)
        return self.result

    def shutdown(self):
        pass


def a_tracer(exporter, *, rate=1.0, chance=lambda: 0.5, **options):
    return Tracer(
        Tracing(enabled=True, sample_rate=rate),
        exporter=exporter,
        chance=chance,
        **options,
    )


async def finish(tracer):
    tracer.close()
    await tracer.run()


def parts(headers):
    return dict(headers)[b"traceparent"].decode().split("-")


# Whether, and under whom.


async def test_a_sampled_request_is_a_server_span_with_a_client_span_per_attempt():
    exporter = FakeExporter()
    tracer = a_tracer(exporter)
    attempt = an_attempt(started=0.5, duration=1.0)

    trace = tracer.begin("POST /v1/chat/completions", {}, age=0.25)
    headers = trace.sending(attempt, "chat gpt-4o")
    trace.end_attempt(attempt, {"gen_ai.request.model": "gpt-4o"})
    trace.end({"http.response.status_code": 200})
    await finish(tracer)

    child, server = exporter.spans
    assert trace.recording
    assert (server.name, server.kind) == ("POST /v1/chat/completions", SpanKind.SERVER)
    assert (child.name, child.kind) == ("chat gpt-4o", SpanKind.CLIENT)
    assert server.parent is None
    assert child.parent.span_id == server.context.span_id
    assert child.attributes == {"gen_ai.request.model": "gpt-4o"}
    assert server.attributes == {"http.response.status_code": 200}
    assert child.start_time - server.start_time == 500_000_000
    assert child.end_time - child.start_time == 1_000_000_000
    assert parts(headers) == [
        "00",
        f"{server.context.trace_id:032x}",
        f"{child.context.span_id:016x}",
        "01",
    ]


async def test_a_span_begins_when_the_request_had_arrived():
    exporter = FakeExporter()
    tracer = a_tracer(exporter)

    before = time.time_ns()
    tracer.begin("x", {}, age=10.0).end({})
    await finish(tracer)

    (span,) = exporter.spans
    assert abs(span.start_time - (before - 10_000_000_000)) < 5_000_000_000


@pytest.mark.parametrize(("rate", "sampled"), [(0.0, 0), (0.5, 0), (0.51, 1), (1.0, 1)])
async def test_without_a_caller_the_sample_rate_decides(rate, sampled):
    exporter = FakeExporter()
    tracer = a_tracer(exporter, rate=rate)

    trace = tracer.begin("x", {}, age=0.0)
    flags = parts(trace.sending(an_attempt(), "y"))[3]
    trace.end({})
    await finish(tracer)

    assert trace.recording == bool(sampled)
    assert flags == f"0{sampled}"
    assert len(exporter.spans) == sampled


async def test_a_caller_that_samples_becomes_the_parent_whatever_the_rate():
    exporter = FakeExporter()
    tracer = a_tracer(exporter, rate=0.0)
    headers = {b"traceparent": f"{CALLER}-01".encode(), b"tracestate": b"v=1,w=2"}
    attempt = an_attempt()

    trace = tracer.begin("x", headers, age=0.0)
    sent = dict(trace.sending(attempt, "y"))
    trace.end_attempt(attempt, {})
    trace.end({})
    await finish(tracer)

    child, server = exporter.spans
    assert f"{server.context.trace_id:032x}" == TRACE
    assert f"{server.parent.span_id:016x}" == SPAN
    assert server.parent.is_remote
    assert server.context.trace_state.to_header() == "v=1,w=2"
    assert sent[b"tracestate"] == b"v=1,w=2"
    assert parts(sent.items()) == ["00", TRACE, f"{child.context.span_id:016x}", "01"]


async def test_a_caller_that_does_not_sample_is_passed_on_whatever_the_rate():
    tracer = a_tracer(FakeExporter(), rate=1.0)
    headers = {b"traceparent": f"{CALLER}-00".encode(), b"tracestate": b"v=1"}

    trace = tracer.begin("x", headers, age=0.0)

    assert not trace.recording
    assert dict(trace.sending(an_attempt(), "y")) == headers
    await finish(tracer)


async def test_a_later_version_is_understood_as_far_as_we_know_it():
    tracer = a_tracer(FakeExporter(), rate=1.0)

    later = {b"traceparent": f"cc-{TRACE}-{SPAN}-00-what-comes".encode()}

    sent = tracer.begin("x", later, age=0.0).sending(an_attempt(), "y")
    assert parts(sent) == ["00", TRACE, SPAN, "00"]
    await finish(tracer)


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "garbage",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"{CALLER}-01-more",
        f"{CALLER}-01, {CALLER}-01",
        f"{CALLER}-1",
    ],
)
async def test_a_caller_that_makes_no_sense_is_ignored_with_its_state(sent):
    tracer = a_tracer(FakeExporter(), rate=0.0)
    headers = {b"traceparent": sent.encode(), b"tracestate": b"v=1"}

    passed_on = dict(tracer.begin("x", headers, age=0.0).sending(an_attempt(), "y"))

    assert b"tracestate" not in passed_on
    version, trace_id, span_id, flags = parts(passed_on.items())
    assert (version, flags) == ("00", "00")
    assert trace_id not in {TRACE, "0" * 32}
    assert span_id not in {SPAN, "0" * 16}
    await finish(tracer)


async def test_a_state_beyond_all_measure_is_not_passed_on():
    tracer = a_tracer(FakeExporter())
    headers = {
        b"traceparent": f"{CALLER}-01".encode(),
        b"tracestate": b"v=" + b"1" * 5000,
    }

    sent = tracer.begin("x", headers, age=0.0).sending(an_attempt(), "y")

    assert [name for name, _ in sent] == [b"traceparent"]
    await finish(tracer)


# What spans say.


async def test_what_failed_is_marked_with_its_error_type_and_no_text():
    exporter = FakeExporter()
    tracer = a_tracer(exporter)
    attempt = an_attempt()

    trace = tracer.begin("x", {}, age=0.0)
    trace.sending(attempt, "y")
    trace.end_attempt(attempt, {}, "upstream_503")
    trace.end({}, "upstream_error")
    await finish(tracer)

    assert [s.attributes["error.type"] for s in exporter.spans] == [
        "upstream_503",
        "upstream_error",
    ]
    assert {s.status.status_code for s in exporter.spans} == {StatusCode.ERROR}
    assert {s.status.description for s in exporter.spans} == {None}


async def test_an_attempt_that_was_never_sent_is_an_event_and_no_span():
    exporter = FakeExporter()
    tracer = a_tracer(exporter)

    trace = tracer.begin("x", {}, age=0.0)
    trace.end_attempt(an_attempt(started=0.1), {"gandalf.attempt.number": 1})
    trace.end({})
    await finish(tracer)

    (server,) = exporter.spans
    (event,) = server.events
    assert event.name == "gandalf.attempt.not_sent"
    assert event.attributes == {"gandalf.attempt.number": 1}


async def test_the_service_is_named_unless_the_environment_names_it(monkeypatch):
    async def named():
        exporter = FakeExporter()
        tracer = a_tracer(exporter)
        tracer.begin("x", {}, age=0.0).end({})
        await finish(tracer)
        return exporter.spans[0].resource.attributes["service.name"]

    assert await named() == "gandalf"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=of-attributes")
    assert await named() == "of-attributes"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "of-name")
    assert await named() == "of-name"


# Collectors.


async def test_spans_beyond_the_bound_are_dropped_and_counted():
    exporter = FakeExporter()
    exporter.open.clear()
    tracer = a_tracer(exporter, max_waiting=10)

    for _ in range(10):
        tracer.begin("x", {}, age=0.0).end({})
    assert exporter.asked.wait(10)  # The SDK's thread holds these, and hangs.
    for _ in range(15):
        tracer.begin("x", {}, age=0.0).end({})

    assert tracer.waiting == 10
    assert tracer.dropped == 5
    exporter.open.set()
    await finish(tracer)
    assert len(exporter.spans) == 20
    assert tracer.waiting == 0


async def test_spans_that_the_collector_refuses_are_counted_as_dropped():
    tracer = a_tracer(FakeExporter(SpanExportResult.FAILURE))
    tracer.begin("x", {}, age=0.0).end({})
    await finish(tracer)
    assert tracer.dropped == 1


async def test_the_last_spans_reach_the_collector_with_the_credentials_of_the_environment(
    monkeypatch,
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=blue")
    with collector() as server:
        tracer = Tracer(Tracing(enabled=True, endpoint=server.url, sample_rate=1.0))
        tracer.begin("POST /v1/chat/completions", {}, age=0.0).end({})
        await finish(tracer)

        assert server.span_names == ["POST /v1/chat/completions"]
        (headers, _) = server.requests[0]
        assert headers["x-team"] == "blue"


async def test_a_collector_that_hangs_holds_up_the_stop_for_a_bounded_time():
    with collector(hangs=True) as server:
        tracer = Tracer(
            Tracing(enabled=True, endpoint=server.url, sample_rate=1.0),
            flush_within=0.2,
        )
        tracer.begin("x", {}, age=0.0).end({})

        started = trio.current_time()
        await finish(tracer)
        took = trio.current_time() - started

        assert server.asked.is_set()
        assert 0.15 < took < 5.0


SCRIPT = """
import sys, trio
from gandalf.config import Tracing
from gandalf.telemetry.tracing import Tracer

async def main():
    settings = Tracing(enabled=True, endpoint=sys.argv[1], sample_rate=1.0)
    tracer = Tracer(settings, flush_within=0.2)
    for _ in range(1000):
        tracer.begin("x", {}, age=0.0).end({})
    tracer.close()
    await tracer.run()

trio.run(main)
"""


@pytest.mark.parametrize("kind", ["hangs", "dead"])
def test_a_process_exits_whatever_its_collector_does(kind):
    with collector(hangs=True) as server:
        url = server.url if kind == "hangs" else "http://127.0.0.1:1/v1/traces"
        started = time.monotonic()
        process = subprocess.run(
            [sys.executable, "-c", SCRIPT, url], timeout=30, check=True
        )
        # The SDK alone would retry and wait for ten seconds and more.
        assert time.monotonic() - started < 8
    assert process.returncode == 0


def test_with_tracing_off_nothing_of_opentelemetry_is_imported():
    script = (
        "import sys, gandalf.app\n"
        "assert 'gandalf.pipeline.exchange' in sys.modules\n"
        "loaded = [m for m in sys.modules if m.startswith('opentelemetry')]\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
