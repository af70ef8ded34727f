"""What is shown between two looks at the metrics."""

from gandalf.cli.top import parse, render

BEFORE = """
# HELP gandalf_requests_total Requests.
gandalf_requests_total{method="POST",path="/v1/chat",status="200"} 10
gandalf_tokens_processed_total{model="fast",type="input"} 100
gandalf_attempts_total{target="p/m",outcome="served"} 10
"""
AFTER = """
gandalf_requests_total{method="POST",path="/v1/chat",status="200"} 30
gandalf_requests_total{method="POST",path="/v1/chat",status="503"} 4
gandalf_active_requests 7
gandalf_tokens_processed_total{model="fast",type="input"} 300
gandalf_cost_usd_total{model="fast",provider="p"} 0.01
gandalf_attempts_total{target="p/m",outcome="served"} 30
gandalf_attempts_total{target="p/m",outcome="upstream_timeout"} 4
gandalf_circuit_breaker_state{provider="p/m"} 1
"""


def test_rates_are_the_differences_by_the_second():
    screen = render("http://g", parse(BEFORE), parse(AFTER), 2.0).splitlines()

    assert screen[1] == "requests/s 12.0   2xx 10.0  5xx 2.0"
    assert "in flight 7" in screen[2]
    assert "tokens/s 100" in screen[2]
    assert "USD/h 18.00" in screen[2]


def test_models_and_targets_are_listed_with_their_breakers():
    screen = render("http://g", parse(BEFORE), parse(AFTER), 2.0).splitlines()

    rows = [line.split() for line in screen]
    assert ["fast", "100", "18.00"] in rows
    assert ["p/m", "12.0", "2.0", "open"] in rows


def test_a_restart_between_two_looks_is_no_negative_rate():
    screen = render("http://g", parse(AFTER), parse(BEFORE), 2.0)

    assert "requests/s 0.0" in screen


def test_escaped_labels_cannot_move_the_cursor():
    page = 'gandalf_tokens_processed_total{model="a\x1b[2J",type="input"} 1'

    assert "\x1b" not in render("http://g", parse(""), parse(page), 1.0)
