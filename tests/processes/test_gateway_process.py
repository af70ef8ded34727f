"""Signals, crashes and mistakes, of real processes with real clients."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes import openai_format as fmt
from tests.fakes.upstream import stream
from tests.processes.gateway_process import (
    KEY,
    GatewayProcess,
    chat,
    gateway,
    route,
    rows,
    settings,
    started,
    until,
    upstream_in_a_thread,
    write,
)

# A stream of ten seconds, of which a test takes as much as it likes.
TOKENS_PER_SECOND = 20
SLOW = {
    "name": "slow",
    "type": "simulated",
    "simulation": {"tokens_per_second": TOKENS_PER_SECOND, "completion_tokens": 200},
}


def slow_settings(shutdown_timeout: str = "30s") -> dict[str, Any]:
    return settings(
        server={"addr": "127.0.0.1:0", "shutdown_timeout": shutdown_timeout},
        providers=[SLOW],
        routes=[route("demo", "slow")],
    )


@contextmanager
def streaming(
    gw: GatewayProcess, **fields: Any
) -> Iterator[tuple[httpx.Response, Iterator[str]]]:
    """A stream that has begun: its response and the data of the events to come."""
    body = chat("demo", stream=True, **fields)
    with gw.client() as client:
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.status_code == 200
            lines = response.iter_lines()
            events = (line[6:] for line in lines if line.startswith("data: "))
            next(events)
            yield response, events


def refuses(gw: GatewayProcess) -> bool:
    """Whether a load balancer would send no more requests there."""
    try:
        answer = httpx.get(f"{gw.url}/readyz", trust_env=False, timeout=2)
    except httpx.TransportError:
        return True
    return answer.status_code == 503


def test_a_stream_that_runs_at_sigterm_is_finished_before_the_process_ends(
    tmp_path: Path,
) -> None:
    with gateway(tmp_path, slow_settings()) as gw:
        with streaming(gw, max_tokens=20) as (response, events):
            gw.signal(signal.SIGTERM)
            until(lambda: refuses(gw), 2)
            assert gw.process.poll() is None
            rest = list(events)
        assert rest[-1] == "[DONE]"
        chunks = [json.loads(event) for event in rest[:-1]]
        assert chunks[-1]["choices"][0]["finish_reason"] == "length"
        assert sum(1 for c in chunks if c["choices"][0]["delta"].get("content")) == 20
        assert gw.wait(5) == 0
        # What an orderly end leaves behind needs no restart to be complete.
        found = rows(
            tmp_path,
            "SELECT end_reason FROM usage_records WHERE request_id = ?",
            response.headers["x-request-id"],
        )
        assert found == [("complete",)]
        assert "stopped" in gw.log
        assert KEY not in gw.log


def test_a_stream_longer_than_the_shutdown_timeout_ends_with_an_error_event(
    tmp_path: Path,
) -> None:
    with gateway(tmp_path, slow_settings(shutdown_timeout="1s")) as gw:
        with streaming(gw) as (response, events):
            told_at = time.monotonic()
            gw.signal(signal.SIGTERM)
            rest: list[str] = []
            # A client that looks at the framing only is told as well.
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                rest.extend(events)
        assert "[DONE]" not in rest
        assert json.loads(rest[-1])["error"]["message"]
        assert gw.wait(4) == 0
        assert 0.9 < time.monotonic() - told_at < 5
    with gateway(tmp_path) as again:
        record = again.record(response.headers["x-request-id"])
    assert record["end_reason"] == "shutdown"
    assert rows(tmp_path, "SELECT end_reason FROM usage_records") == [("shutdown",)]


def test_a_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    with gateway(tmp_path, slow_settings()) as gw:
        with streaming(gw) as (_, events):
            gw.signal(signal.SIGTERM)
            until(lambda: refuses(gw), 2)
            gw.signal(signal.SIGTERM)
            assert gw.wait(2) == 1
            with pytest.raises(httpx.TransportError):
                list(events)


def test_sighup_takes_a_good_configuration_and_keeps_the_old_one_over_a_broken_one(
    tmp_path: Path,
) -> None:
    def asks(client: httpx.Client, model: str) -> int:
        return client.post("/v1/chat/completions", json=chat(model)).status_code

    with gateway(tmp_path, settings()) as gw, gw.client() as client:
        gw.config.write_text("routes: [{model_alias: new, targets: ")
        gw.signal(signal.SIGHUP)
        until(lambda: "is not valid YAML" in gw.log)
        assert asks(client, "demo") == 200
        assert asks(client, "new") == 404
        routes = [route("demo", "simulated"), route("new", "simulated")]
        write(tmp_path, settings(routes=routes))
        gw.signal(signal.SIGHUP)
        until(lambda: asks(client, "new") == 200)
        assert asks(client, "demo") == 200


def test_what_was_answered_before_a_kill_is_on_record_after_the_restart(
    tmp_path: Path,
) -> None:
    answered: list[str] = []

    def call(gw: GatewayProcess) -> None:
        with gw.client() as client:
            for n in itertools.count():
                body = chat("demo", f"{threading.get_ident()} {n}")
                try:
                    answer = client.post("/v1/chat/completions", json=body)
                except httpx.TransportError:
                    return
                assert answer.status_code == 200
                answered.append(answer.headers["x-request-id"])

    def missing() -> set[str]:
        found = rows(tmp_path, "SELECT request_id FROM usage_records")
        return set(answered) - {request_id for (request_id,) in found}

    # So seldom that only the journal knows of them when the end comes.
    config = settings(usage={"flush_every": "60s"})
    with gateway(tmp_path, config) as gw:
        callers = [threading.Thread(target=call, args=(gw,)) for _ in range(4)]
        for caller in callers:
            caller.start()
        until(lambda: len(answered) > 100, 10)
        gw.signal(signal.SIGKILL)
        assert gw.wait(5) == -signal.SIGKILL
        for caller in callers:
            caller.join(10)
            assert not caller.is_alive()
    assert missing() == set(answered)
    with gateway(tmp_path):
        until(lambda: not missing())


def test_the_upstream_hears_within_a_second_that_the_client_has_left(
    tmp_path: Path,
) -> None:
    with upstream_in_a_thread() as upstream:
        upstream.script(stream(*fmt.chat_events(*["word "] * 100), gap=0.1))
        fake = {"name": "fake", "type": "openai", "base_url": upstream.url}
        config = settings(providers=[fake], routes=[route("demo", "fake")])
        with gateway(tmp_path, config) as gw:
            with streaming(gw) as (response, events):
                next(events)
                request = upstream.requests[0]
                assert not request.client_left.is_set()
            until(request.client_left.is_set, 1)
            assert request.answered_at is None
            record = gw.record(response.headers["x-request-id"])
            assert record["end_reason"] == "client_disconnect"


def test_a_gateway_without_any_key_says_how_to_make_one_and_ends(
    tmp_path: Path,
) -> None:
    with started(tmp_path, settings(keys=[])) as gw:
        assert gw.wait(10) == 1
        assert "gandalf keys create --role admin" in gw.log
        assert "Traceback" not in gw.log


def test_a_port_that_is_taken_is_named_and_ends_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with started(tmp_path, settings(server={"addr": address})) as gw:
            assert gw.wait(10) == 1
            assert address in gw.log
            assert "in use" in gw.log
            assert "Traceback" not in gw.log
