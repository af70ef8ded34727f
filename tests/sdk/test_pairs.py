"""Every official client with every provider: what it sees, what the upstream hears."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.processes.gateway_process import KEY
from tests.sdk.listeners import LISTENERS, Listener, Wishes
from tests.sdk.place import Place, client_of, everything
from tests.sdk.said import PLAIN, Said
from tests.sdk.speakers import DIRECT, HOSTED, Speaker


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with everything(tmp_path_factory.mktemp("pairs")) as running:
        yield running


@pytest.fixture(scope="module", params=LISTENERS, ids=lambda listener: listener.name)
def client(request: pytest.FixtureRequest, place: Place) -> Iterator[Listener[Any]]:
    with client_of(place, request.param) as listener:
        yield listener


@pytest.fixture(params=DIRECT, ids=lambda speaker: speaker.kind)
def upstream(request: pytest.FixtureRequest, place: Place) -> Speaker:
    return place.speakers[request.param.kind]


@pytest.fixture(params=(*DIRECT, *HOSTED), ids=lambda speaker: speaker.kind)
def anywhere(request: pytest.FixtureRequest, place: Place) -> Speaker:
    return place.speakers[request.param.kind]


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def streamed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def check_served(
    place: Place,
    client: Listener[Any],
    upstream: Speaker,
    said: Said,
    *,
    stream: bool = False,
) -> None:
    """Assert that one attempt was made and recorded, with what the model counted."""
    record = place.record(client)
    expected = {
        "operation": "chat",
        "dialect": client.dialect,
        "alias": upstream.kind,
        "provider": upstream.kind,
        "model": upstream.model,
        "stream": int(stream),
        "status": 200,
        "end_reason": "complete",
        "error_code": "",
        "usage_source": "provider",
        "key_id": "config:member",
        **upstream.tokens(said),
    }
    # Nothing reported is as good as nothing used, where there was nothing to report.
    found = {name: record[name] for name in expected}
    found["reasoning_tokens"] = found["reasoning_tokens"] or 0
    assert found == expected
    assert [(a["target"], a["status"]) for a in record["attempts"]] == [
        (f"{upstream.kind}/{upstream.model}", 200)
    ]
    assert client.headers["x-gandalf-target"] == f"{upstream.kind}/{upstream.model}"
    assert client.headers["x-gandalf-attempts"] == "1"
    raw = upstream.fake.requests[-1].raw
    assert KEY.encode() not in raw, "the client's key stays here"


def lost(client: Listener[Any]) -> dict[str, str]:
    """What the gateway says was lost on the way there."""
    return {
        name: client.headers[f"x-gandalf-{name}"]
        for name in ("dropped", "approximated")
        if f"x-gandalf-{name}" in client.headers
    }


def test_a_question_is_answered(
    place: Place, client: Listener[Any], anywhere: Speaker, streamed: bool
) -> None:
    anywhere.says(PLAIN)

    reply = client.ask(
        anywhere.kind,
        client.user("Hello?"),
        Wishes(system="Be brief."),
        stream=streamed,
    )

    assert (reply.text, reply.thinking, reply.calls) == ("Hello there", "", [])
    assert reply.finish == client.ends[0]
    assert (reply.prompt, reply.output) == (25, 7)
    heard = anywhere.heard()
    assert (heard.model, heard.stream) == (anywhere.model, streamed)
    assert heard.system == "Be brief."
    assert heard.turns == [("user", [("text", "Hello?")])]
    assert not lost(client)
    check_served(place, client, anywhere, PLAIN, stream=streamed)
