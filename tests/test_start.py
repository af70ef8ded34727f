"""What a process loads, and what it does not before somebody needs it."""

import subprocess
import sys

import pytest

HEAVY = (
    "asyncio",
    "backports",
    "botocore",
    "brotli",
    "google",
    "h2",
    "httpx",
    "hypercorn",
    "jinja2",
    "opentelemetry",
    "prometheus_client",
    "quart",
    "requests",
    "trio.testing",
    "werkzeug",
)
"""Megabytes and tenths of seconds each, and most gateways have no use for most."""


def loaded(statement):
    program = f"import sys; {statement}; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


@pytest.mark.parametrize("module", HEAVY)
def test_a_gateway_starts_without(module, modules):
    assert module not in modules


@pytest.fixture(scope="module")
def modules():
    return loaded("import gandalf.app")


def test_the_pages_take_quart():
    assert "quart" in loaded("import gandalf.http.application")
