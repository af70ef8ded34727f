"""docs/operations.md tells of every metric and log event, and of no other."""

import ast
import re
from pathlib import Path

import pytest

from gandalf.telemetry.metrics import Metrics
from gandalf.telemetry.series import Counter, Gauge, Histogram

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/operations.md").read_text()
KINDS = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}
METRIC = re.compile(r"^\| `(gandalf_\w+)` \| (\w+) \| (.*?) ?\| ", re.MULTILINE)
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def rows_of(heading):
    """The cells of the table below ``heading``, without its head."""
    section = re.split(r"^#+ ", PAGE.split(f"# {heading}\n")[1], flags=re.MULTILINE)[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[1:]]


def code(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_the_page_lists_every_metric_with_its_kind_and_labels():
    declared = {
        (series.name, KINDS[type(series)], series.label_names)
        for series in Metrics().declared()
    }

    documented = {
        (name, kind, tuple(code(labels))) for name, kind, labels in METRIC.findall(PAGE)
    }

    assert documented == declared


def test_what_is_collected_is_what_was_declared_and_each_of_it_once():
    metrics = Metrics()
    collected = [
        family.name
        for collector in metrics.collectors()
        for family in collector.collect()
    ]

    assert len(collected) == len(set(collected))
    assert {name for name in collected if "gandalf" in name} == {
        series.name.removesuffix("_total") for series in metrics.declared()
    }


@pytest.mark.parametrize("name", re.findall(r"gandalf_\w+", PAGE))
def test_no_metric_is_named_that_does_not_exist(name):
    name = name.removesuffix("_bucket")
    assert any(series.name == name for series in Metrics().declared())


def test_the_page_names_every_queue():
    source = (ROOT / "gandalf/app.py").read_text()
    watched = set(re.findall(r'watch_queue\(\s*"(\w+)"', source))
    row = next(line for line in PAGE.splitlines() if "| `gandalf_queue_depth`" in line)

    assert watched == set(code(row)) - {"gandalf_queue_depth", "queue"}


def logged_events():
    """Yield logger, level and unformatted message of every event in the source."""
    for path in sorted((ROOT / "gandalf").rglob("*.py")):
        source = path.read_text()
        named = re.search(
            r'^log = logging\.getLogger\("([\w.]+)"\)', source, re.MULTILINE
        )
        for node in ast.walk(ast.parse(source)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and ast.unparse(node.func.value) == "log"
                and node.func.attr in LEVELS
            ):
                assert named, f"{path} logs to a logger of unknown name"
                level = "error" if node.func.attr == "exception" else node.func.attr
                yield named[1], level, ast.literal_eval(node.args[0])


def documented_events():
    return {
        (code(logger)[0], level, event)
        for logger, level, events, _ in rows_of("Log events")
        if logger != "any"
        for event in code(events)
    }


def test_the_page_lists_every_log_event_and_no_other():
    assert documented_events() == set(logged_events())


def test_the_page_lists_every_member_of_a_requests_line():
    from gandalf.telemetry.access_log import RequestLine

    from .builders import a_record, an_attempt

    everything = a_record(error_code="x", attempts=(an_attempt(), an_attempt()))

    documented = {
        name for row in rows_of("The line of a request") for name in code(row[0])
    }
    assert documented == set(RequestLine(everything, "").fields)
