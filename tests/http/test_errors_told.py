"""Errors as an app developer meets them: each names the cause and the way out."""

import json

import pytest

from gandalf.domain.errors import (
    CredentialsRefused,
    NotFound,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from gandalf.domain.identity import Role
from gandalf.http.front import Front
from gandalf.http.refused_paths import not_found
from gandalf.http.responder import error_headers
from tests.http.test_application import (  # noqa: F401 - fixtures
    CHAT,
    bearer,
    client,
    gateway,
    key,
)
from tests.http.test_front import SystemPages
from tests.wire.edge_server import edge_server, get, post

WEBSOCKET = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def never():
    raise AssertionError("the application was loaded")


# Paths.


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/messages", "/v1/messages"),
        ("/messages", "/v1/messages"),
        ("/models", "/v1/models"),
        ("/models/m:generateContent", "/v1/models/m:generateContent"),
        ("/v1/api/chat", "/api/chat"),
        ("/chat", "/api/chat"),
        ("/v1beta/openai/chat/completions", "/v1/chat/completions"),
        ("/v1/nothing-like-it", ""),
        ("/favicon.ico", ""),
        ("/", ""),
        ("/" + "a" * 10_000, ""),
    ],
)
def test_an_unknown_path_is_told_as_sent_with_what_may_have_been_meant(path, meant):
    told = not_found(path).message

    assert told.startswith(f"there is no {path[:200]}")
    end = path if len(path) <= 200 else "..."
    assert told.endswith(f"; did you mean {meant}?" if meant else end)


@pytest.mark.parametrize("path", ["/v1/chat/completion", "/chat/completions"])
async def test_the_hint_reaches_the_client(client, path):  # noqa: F811
    answer = await client.post(path, headers=bearer(), data=json.dumps(CHAT))

    error = (await answer.get_json())["error"]
    assert answer.status_code == 404
    assert error["message"].startswith("there is no ")
    assert error["message"].endswith("; did you mean /v1/chat/completions?")
    assert error["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "headers", "shape"),
    [
        (
            "/v1/files",
            {"x-goog-api-key": "k"},
            {"code", "message", "status", "details"},
        ),
        ("/v1beta/files", {}, {"code", "message", "status", "details"}),
        (
            "/v1/files",
            {"anthropic-version": "2023-06-01", "x-api-key": "k"},
            {"type", "message", "details"},
        ),
    ],
)
async def test_another_apis_files_are_not_found_in_its_own_format(
    client,  # noqa: F811
    path,
    headers,
    shape,
):
    answer = await client.get(path, headers=headers)

    assert answer.status_code == 404
    assert set((await answer.get_json())["error"]) == shape


@pytest.mark.parametrize("path", ["/v1/responses", "/openai/v1/responses"])
async def test_a_websocket_is_told_to_use_http(client, path):  # noqa: F811
    answer = await client.get(path, headers=WEBSOCKET)

    assert answer.status_code == 426
    error = (await answer.get_json())["error"]
    assert error["code"] == "websocket_not_supported"
    assert error["message"] == (
        f"{path} is not served over WebSocket; send a POST request"
    )


async def test_a_websocket_where_nothing_is_stays_a_404(client):  # noqa: F811
    answer = await client.get("/v1/nothing", headers=WEBSOCKET)

    assert answer.status_code == 404


# One line in the log for each, under the id that the client has.


@pytest.mark.parametrize("asked", [get("/nowhere"), post("//v1/chat")])
async def test_a_path_that_is_not_there_is_logged_under_its_id(asked):
    lines = []
    front = Front(SystemPages(), {}, never, lines.append)
    async with edge_server(app=front) as edge:
        response = await edge.ask(asked)

    (line,) = lines
    assert line.request_id == response.headers[b"x-request-id"].decode()
    assert line.request_id == response.error["request_id"]
    assert (line.status, line.error) == (404, "not_found")
    assert line.message == response.error["message"]
    assert line.message.startswith(f"there is no {line.path}")
    assert line.path in ("/nowhere", "//v1/chat")


@pytest.mark.parametrize(
    ("sent", "status", "path"),
    [
        (
            post("/v1/chat/completions?key=x", b"x" * 2000),
            413,
            "/v1/chat/completions",
        ),
        (
            b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx: %b\r\n\r\n" % (b"y" * 20_000),
            431,
            "/v1/models",
        ),
        (b"nonsense\r\n\r\n", 400, ""),
    ],
)
async def test_what_is_refused_half_read_is_logged_under_its_id(sent, status, path):
    lines = []
    limits = {"max_header_bytes": 4096, "max_body_bytes": 1000}
    async with edge_server(on_refused=lines.append, **limits) as edge:
        client = edge.connect()
        await client.send(sent)
        response = await client.response()

    (line,) = lines
    assert response.status == line.status == status
    assert line.request_id
    assert line.request_id == response.headers[b"x-request-id"].decode()
    assert line.request_id == response.error["request_id"]
    assert line.path == path


async def test_wrong_methods_and_refused_admin_pages_are_logged(gateway):  # noqa: F811
    lines = []
    gateway._on_refused = lines.append
    client = gateway.application().test_client()  # noqa: F811

    wrong = await client.get("/v1/chat/completions", headers=bearer())
    denied = await client.get("/admin/v1/routes", headers=bearer(Role.MEMBER))

    assert [line.status for line in lines] == [405, 403]
    assert [line.request_id for line in lines] == [
        wrong.headers["x-request-id"],
        denied.headers["x-request-id"],
    ]
    assert lines[1].key_id == "config:member"


# Keys.


async def test_a_model_that_a_key_may_not_use_is_named_with_those_it_may(
    client,  # noqa: F811
):
    headers = {"authorization": f"Bearer {key('few')}"}
    data = json.dumps({**CHAT, "model": "slow"})

    answer = await client.post("/v1/chat/completions", headers=headers, data=data)

    error = (await answer.get_json())["error"]
    assert (answer.status_code, error["code"]) == (403, "model_not_allowed")
    assert error["message"] == (
        "this api key may not use the model 'slow'; it may use: fast"
    )


async def test_a_permission_that_is_missing_is_named_with_the_roles_that_have_it(
    client,  # noqa: F811
):
    answer = await client.get("/admin/v1/providers", headers=bearer(Role.MEMBER))
    chat = await client.post(
        "/v1/chat/completions", headers=bearer(Role.VIEWER), data=json.dumps(CHAT)
    )

    assert (await answer.get_json())["error"]["message"] == (
        "insufficient permissions: this takes manage_providers, which the role admin"
        " has; this api key has the role member"
    )
    assert (await chat.get_json())["error"]["message"] == (
        "insufficient permissions: this takes use_models, which the roles admin,"
        " member and service_account have; this api key has the role viewer"
    )


@pytest.mark.parametrize("role", [Role.SERVICE_ACCOUNT, Role.MEMBER])
async def test_a_key_may_see_its_own_requests_and_no_others(
    client,  # noqa: F811
    gateway,  # noqa: F811
    role,
):
    records = {
        "own": {"key_id": f"config:{role}"},
        "other": {"key_id": "config:admin"},
    }

    class Records:
        async def find(self, request_id, **_):
            return records.get(request_id)

    gateway.records.find = Records().find

    own = await client.get("/admin/v1/requests/own", headers=bearer(role))
    other = await client.get("/admin/v1/requests/other", headers=bearer(role))

    assert (own.status_code, other.status_code) == (200, 404)


# Upstreams.


def test_a_client_is_told_which_provider_did_not_answer_in_time():
    assert UpstreamTimeout("up", "response_headers", 2).message == (
        "provider 'up': did not begin to answer within 2 s"
    )


def test_a_wait_names_the_provider_that_asks_for_it():
    error = UpstreamRateLimited.waiting("up", 12.3)

    assert error.status == 429
    assert error.message == (
        "provider 'up': its rate limit is reached; it asks to wait 12 s"
    )
    assert error_headers(error) == [(b"retry-after", b"13")]


def test_sdks_are_told_not_to_repeat_what_cannot_succeed():
    headers = error_headers(CredentialsRefused("up"))

    assert (b"x-should-retry", b"false") in headers
    assert error_headers(NotFound("x")) == []
