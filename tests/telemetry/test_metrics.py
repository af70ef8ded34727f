import math
import os
import subprocess
import sys

import trio
from prometheus_client.parser import text_string_to_metric_families

from gandalf.actors.breakers import BreakerState
from gandalf.domain.errors import NotFound, RateLimited
from gandalf.domain.usage import EndReason, TokenUsage, UsageSource
from gandalf.telemetry.metrics import BREAKER_STATES, Metrics

from .builders import a_record, an_attempt, an_exchange


def samples(metrics, name):
    page = metrics.render().decode()
    # Label values come in the alphabetical order of their names.
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name
    }


def test_a_served_request_is_counted_once_everywhere():
    metrics = Metrics()

    metrics.observe(an_exchange(), a_record(stream=True, cache="miss"))

    path = "/v1/chat/completions"
    assert samples(metrics, "gandalf_requests_total") == {("POST", path, "200"): 1}
    assert metrics.request_duration.count(("POST", path)) == 1
    assert metrics.overhead.count() == 1
    assert metrics.ttft.count(("fast", "openai/gpt-4o")) == 1
    assert metrics.upstream_duration.count(("openai/gpt-4o",)) == 1
    assert samples(metrics, "gandalf_attempts_total") == {
        ("served", "openai/gpt-4o"): 1
    }
    assert samples(metrics, "gandalf_stream_end_total") == {("complete",): 1}
    assert samples(metrics, "gandalf_cache_misses_total") == {(): 1}
    assert samples(metrics, "gandalf_cache_hits_total") == {(): 0}


def test_tokens_are_counted_by_alias_in_totals_and_in_disjoint_classes():
    metrics = Metrics()

    metrics.observe(an_exchange(), a_record())

    assert samples(metrics, "gandalf_tokens_processed_total") == {
        ("fast", "prompt"): 150,
        ("fast", "completion"): 25,
    }
    assert samples(metrics, "gandalf_tokens_by_class_total") == {
        ("input", "fast"): 100,
        ("cache_read", "fast"): 50,
        ("output", "fast"): 20,
        ("reasoning", "fast"): 5,
    }


def test_costs_are_added_up_by_alias_and_provider_and_shown_in_usd():
    metrics = Metrics()

    for cost in (2_500_000_000, 1, 0):
        metrics.observe(an_exchange(), a_record(cost_nanousd=cost))

    assert samples(metrics, "gandalf_cost_usd_total") == {
        ("fast", "openai"): 2.500000001
    }
    assert samples(metrics, "gandalf_unpriced_requests_total") == {}


def test_cost_and_tokens_are_added_up_by_organization():
    metrics = Metrics()
    failed = an_attempt(target="a/m", outcome="upstream_500", decision="failover")
    tokens = TokenUsage(input=3, output=4)

    metrics.observe(an_exchange(), a_record(cost_nanousd=2, tokens=tokens))
    metrics.observe(
        an_exchange(), a_record(cost_nanousd=3, tokens=tokens, org_id="acme")
    )
    metrics.observe(
        an_exchange(),
        a_record(
            cost_nanousd=5,
            tokens=tokens,
            org_id="acme",
            attempts=(failed, an_attempt()),
        ),
    )

    assert [metrics.org_cost.value((org,)) for org in ("default", "acme")] == [2, 8]
    assert metrics.org_tokens.value(("acme", "prompt")) == 6
    assert metrics.org_tokens.value(("default", "completion")) == 4


def test_a_request_without_a_known_cost_is_counted_by_its_target():
    metrics = Metrics()
    failed = an_attempt(target="a/m", outcome="upstream_500", decision="failover")

    metrics.observe(an_exchange(), a_record(cost_nanousd=None))
    metrics.observe(
        an_exchange(),
        a_record(cost_nanousd=None, attempts=(failed, an_attempt())),
    )

    assert samples(metrics, "gandalf_unpriced_requests_total") == {
        ("openai/gpt-4o",): 2
    }


def test_a_request_that_failed_after_it_was_billed_has_its_cost_too():
    metrics = Metrics()
    failed = an_attempt(target="a/m", outcome="upstream_500", decision="failover")

    metrics.observe(
        an_exchange(), a_record(cost_nanousd=7, attempts=(failed, an_attempt()))
    )

    assert metrics.cost.value(("fast", "openai")) == 7


def test_usage_that_was_never_reported_is_missing_and_not_zero():
    metrics = Metrics()
    record = a_record(
        tokens=TokenUsage(),
        usage_source=UsageSource.ESTIMATED,
        attempts=(
            an_attempt(outcome="client_disconnect"),
            an_attempt(target="b/m", outcome="breaker_open", decision="skipped"),
        ),
    )

    metrics.observe(an_exchange(), record)

    assert samples(metrics, "gandalf_tokens_processed_total") == {}
    assert samples(metrics, "gandalf_usage_missing_total") == {("openai/gpt-4o",): 1}


def test_a_model_name_without_a_route_never_becomes_a_label():
    metrics = Metrics()
    record = a_record(
        alias="whatever-clients-make-up",
        status=404,
        end_reason=EndReason.REFUSED,
        tokens=TokenUsage(),
        usage_source=UsageSource.NONE,
        attempts=(),
    )

    metrics.observe(an_exchange(route=None, error=NotFound("no such model")), record)

    assert b"whatever-clients-make-up" not in metrics.render()
    assert b'status="404"' in metrics.render()


def test_an_attempt_without_a_known_route_counts_as_unknown():
    metrics = Metrics()
    metrics.observe(an_exchange(route=None), a_record())
    assert metrics.ttft.count(("unknown", "openai/gpt-4o")) == 1


def test_a_target_skipped_by_its_breaker_is_a_reject_and_has_no_duration():
    metrics = Metrics()
    skipped = an_attempt(target="a/m", outcome="breaker_open", decision="skipped")

    metrics.observe(an_exchange(), a_record(attempts=(skipped, an_attempt())))

    assert samples(metrics, "gandalf_circuit_breaker_rejects_total") == {("a/m",): 1}
    assert metrics.upstream_duration.count(("a/m",)) == 0


def test_rate_limit_refusals_are_counted_by_what_ran_out():
    metrics = Metrics()
    refused = a_record(status=429, end_reason=EndReason.REFUSED, attempts=())

    metrics.observe(an_exchange(error=RateLimited("tpm", 3.0)), refused)

    assert samples(metrics, "gandalf_ratelimit_rejects_total") == {
        ("rpm",): 0,
        ("tpm",): 1,
    }


def test_a_cache_hit_counts_no_tokens():
    metrics = Metrics()
    hit = a_record(
        cache="hit", provider="", model="", usage_source=UsageSource.NONE, attempts=()
    )

    metrics.observe(an_exchange(), hit)

    assert samples(metrics, "gandalf_cache_hits_total") == {(): 1}
    assert samples(metrics, "gandalf_tokens_processed_total") == {}


def test_a_page_with_a_made_up_method_counts_as_other():
    metrics = Metrics()

    metrics.observe_page("GET", "/healthz", 200, 0.001)
    metrics.observe_page("BREW", "unmatched", 405, 0.001)

    assert samples(metrics, "gandalf_requests_total") == {
        ("GET", "/healthz", "200"): 1,
        ("other", "unmatched", "405"): 1,
    }


def test_owners_of_queues_are_asked_at_each_scrape():
    metrics = Metrics()
    waiting = [0]
    metrics.watch_queue("journal", lambda: waiting[0], lambda: 3)

    waiting[0] = 12

    assert samples(metrics, "gandalf_queue_depth") == {("journal",): 12}
    assert samples(metrics, "gandalf_queue_dropped_total") == {("journal",): 3}


def test_the_worst_lag_is_forgotten_once_scraped():
    metrics = Metrics()
    metrics.loop_lagged(0.3)
    metrics.loop_lagged(0.1)

    assert samples(metrics, "gandalf_event_loop_lag_max_seconds") == {(): 0.3}
    assert samples(metrics, "gandalf_event_loop_lag_max_seconds") == {(): 0}
    assert metrics.loop_lag.count() == 2


def test_breakers_are_asked_at_each_scrape_and_those_gone_are_gone():
    metrics = Metrics()
    states = {"a/m": BreakerState.OPEN, "b/m": BreakerState.HALF_OPEN}
    metrics.watch_breakers(states.items)

    name = "gandalf_circuit_breaker_state"
    assert samples(metrics, name) == {("a/m",): 1, ("b/m",): 2}
    states["b/m"] = BreakerState.CLOSED
    del states["a/m"]
    assert samples(metrics, name) == {("b/m",): 0}


def test_every_state_of_a_breaker_has_its_number():
    assert set(BREAKER_STATES) == set(BreakerState)


def test_reloads_are_counted_by_their_result():
    metrics = Metrics()

    metrics.config_version.set(2)
    metrics.config_reloaded(accepted=True)
    metrics.config_reloaded(accepted=False)

    assert samples(metrics, "gandalf_config_version") == {(): 2}
    assert samples(metrics, "gandalf_config_reload_total") == {
        ("accepted",): 1,
        ("rejected",): 1,
    }


def test_two_instances_share_nothing():
    one, other = Metrics(), Metrics()
    one.observe_page("GET", "/", 200, 0.1)
    assert samples(other, "gandalf_requests_total") == {}


def test_the_page_tells_version_and_process():
    page = Metrics().render()
    assert b'gandalf_build_info{python="' in page
    assert b"process_resident_memory_bytes" in page
    assert b"python_info{" in page


async def test_a_scrape_is_the_same_page_and_lets_others_run(nursery):
    metrics = Metrics()
    metrics.observe(an_exchange(), a_record())
    turns = 0

    async def neighbour():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    nursery.start_soon(neighbour)
    page = await metrics.scrape()
    nursery.cancel_scope.cancel()

    def ours(text):
        return [
            line for line in text.splitlines() if line.split(b" ")[0][:8] == b"gandalf_"
        ]

    assert ours(page) == ours(metrics.render())
    assert turns > 10


async def test_two_first_scrapes_at_once_are_two_pages():
    metrics, pages = Metrics(), []

    async def scrape():
        pages.append(await metrics.scrape())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scrape)
        nursery.start_soon(scrape)

    assert [page.count(b"# TYPE gandalf_build_info") for page in pages] == [1, 1]


def test_the_multiprocess_mode_of_the_library_is_not_used(tmp_path):
    # The library decides this when it is imported, so it takes a new process.
    script = (
        "from gandalf.telemetry.metrics import Metrics\n"
        "metrics = Metrics()\n"
        "metrics.observe_page('GET', '/', 200, 0.1)\n"
        "assert b'gandalf_requests_total{' in metrics.render()\n"
    )
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    subprocess.run([sys.executable, "-c", script], env=env, check=True)

    assert list(tmp_path.iterdir()) == []


def test_credentials_are_shown_as_they_are_when_somebody_looks():
    metrics = Metrics()
    health = [("azure", 1200.0, 0), ("vertex", -5.0, 3), ("static", math.inf, 0)]

    metrics.watch_credentials(lambda: health)

    assert samples(metrics, "gandalf_credential_expires_seconds") == {
        ("azure",): 1200.0,
        ("vertex",): -5.0,
        ("static",): math.inf,
    }
    assert samples(metrics, "gandalf_credential_failures")["vertex",] == 3
