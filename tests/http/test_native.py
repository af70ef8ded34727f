"""The endpoints of every dialect, both ways: keys, errors, models, and what is lost."""

import json

import pytest

from gandalf.dialects import anthropic
from gandalf.dialects.signatures import wrap
from gandalf.domain.identity import Role
from gandalf.http.endpoints import RULES, find, take_key
from tests.http.test_application import bearer, client, gateway, key  # noqa: F401

SAYS = [{"role": "user", "content": "hi"}]
MESSAGES = {"model": "fast", "max_tokens": 9, "messages": SAYS}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
GENERATE = "/v1beta/models/fast:generateContent"
STREAM = "/v1beta/models/fast:streamGenerateContent"

# One endpoint of each dialect: its path, a body, and where its clients put their key.
NATIVE = {
    "openai": ("/v1/chat/completions", {"model": "fast", "messages": SAYS}, None),
    "azure": (
        "/openai/deployments/fast/chat/completions",
        {"messages": SAYS},
        "api-key",
    ),
    "anthropic": ("/v1/messages", MESSAGES, "x-api-key"),
    "gemini": (GENERATE, CONTENTS, "x-goog-api-key"),
    "ollama": (
        "/api/chat",
        {"model": "fast", "stream": False, "messages": SAYS},
        None,
    ),
}
KEY_HEADERS = ("x-api-key", "x-goog-api-key", "api-key")

every_dialect = pytest.mark.parametrize("name", NATIVE)


def concrete(pattern):
    return pattern.replace("{model}", "fast").replace("{id}", "obj_1")


async def ask(client, path, body, **headers):  # noqa: F811
    headers = headers or bearer()
    return await client.post(path, headers=headers, data=json.dumps(body))


# Keys.


@every_dialect
async def test_a_key_may_stand_where_the_dialects_clients_put_it(client, name):  # noqa: F811
    path, body, header = NATIVE[name]

    as_bearer = await ask(client, path, body)
    in_header = await ask(client, path, body, **{header or "authorization": "-"})

    assert as_bearer.status_code == 200
    assert in_header.status_code == 401
    if header is not None:
        own = await ask(client, path, body, **{header: key(Role.MEMBER)})
        assert own.status_code == 200


@every_dialect
async def test_another_dialects_key_header_counts_for_nothing(client, name):  # noqa: F811
    path, body, header = NATIVE[name]

    for other in KEY_HEADERS:
        if other != header:
            answer = await ask(client, path, body, **{other: key(Role.MEMBER)})
            assert answer.status_code == 401


@pytest.mark.parametrize("name", [n for n, (_, _, h) in NATIVE.items() if h])
async def test_two_keys_must_be_one(client, name):  # noqa: F811
    path, body, header = NATIVE[name]

    same = await ask(client, path, body, **bearer(), **{header: key(Role.MEMBER)})
    two = await ask(client, path, body, **bearer(), **{header: key(Role.ADMIN)})

    assert (same.status_code, two.status_code) == (200, 401)


@every_dialect
async def test_a_key_in_the_url_is_geminis_way_only(client, name):  # noqa: F811
    path, body, _ = NATIVE[name]
    path += f"?key={key(Role.MEMBER)}"

    answer = await client.post(path, data=json.dumps(body))

    assert answer.status_code == (200 if name == "gemini" else 401)


async def statuses(client, **headers):  # noqa: F811
    """What each endpoint answers to a request without a body."""
    found = {}
    for rule in RULES:
        method = rule.method.decode()
        answer = await client.open(
            concrete(rule.pattern), method=method, headers=headers
        )
        assert await answer.get_json(), rule
        found[method, rule.pattern] = answer.status_code
    return found


async def test_nobody_gets_in_without_a_key(client):  # noqa: F811
    assert set((await statuses(client)).values()) == {401}


async def test_a_viewer_reaches_no_upstream(client):  # noqa: F811
    found = await statuses(client, **bearer(Role.VIEWER))

    # Whether the empty body or the role is looked at first is the pipeline's business.
    assert set(found.values()) <= {400, 403}


@pytest.mark.parametrize(
    ("query", "rest", "taken"),
    [
        (b"", b"", b""),
        (b"alt=sse", b"alt=sse", b""),
        (b"key=gnd_x&alt=sse", b"alt=sse", b"gnd_x"),
        (b"alt=sse&k%65y=gnd%5Fx", b"alt=sse", b"gnd_x"),
        (b"key=a&key=a", b"", b"a"),
        (b"key=a&key=b", b"", b""),
        (b"monkey=a", b"monkey=a", b""),
    ],
)
def test_a_key_in_the_url_goes_no_further(query, rest, taken):
    assert take_key(query) == (rest, taken)


# URLs.


@pytest.mark.parametrize(
    ("method", "path", "model"),
    [
        (b"POST", b"/v1beta/models/a%2Fb:generateContent", "a/b"),
        (b"POST", b"/v1beta/models/a/b:c:generateContent", "a/b:c"),
        (b"POST", b"/v1/models/m:streamGenerateContent", "m"),
        (b"POST", b"/v1beta/tunedModels/mine:generateContent", "tunedModels/mine"),
        (b"POST", b"/openai/deployments/gpt%204o/embeddings", "gpt 4o"),
    ],
)
def test_a_model_in_the_url_is_read(method, path, model):
    assert find(method, path).model == model


@pytest.mark.parametrize(
    "path",
    [
        b"/v1beta/models/:generateContent",
        b"/v1beta/models/m:selfDestruct",
        b"/openai/deployments//chat/completions",
        b"/v1/files/a/b",
    ],
)
def test_what_is_no_endpoint_is_not_found(path):
    assert find(b"POST", path) is None


# Errors.


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/chat/completions", {"error"}),
        ("/v1/messages", {"type", "error", "request_id"}),
        (GENERATE, {"error"}),
        ("/api/chat", {"error", "request_id"}),
        ("/v1beta/nowhere", {"error"}),
        ("/api/nowhere", {"error", "request_id"}),
    ],
)
async def test_an_error_has_its_dialects_shape(client, path, shape):  # noqa: F811
    answer = await client.post(path, headers=bearer(), data="{")

    told = await answer.get_json()
    assert answer.status_code in (400, 404)
    assert set(told) == shape
    if path.startswith("/api"):
        assert isinstance(told["error"], str)
    if path.startswith("/v1beta"):
        assert told["error"]["status"] in ("INVALID_ARGUMENT", "NOT_FOUND")


# What is lost, and what is guessed.


async def test_what_is_lost_in_translation_is_told(client):  # noqa: F811
    lossy = MESSAGES | {"top_k": 3}

    told = await ask(client, "/v1/messages", lossy)
    strict = await ask(client, "/v1/messages", lossy, **bearer(), **STRICT)
    exact = await ask(client, "/v1/messages", MESSAGES, **bearer(), **STRICT)

    assert told.headers["x-gandalf-dropped"] == "top_k"
    assert strict.status_code == 400
    assert "top_k" in (await strict.get_json())["error"]["message"]
    assert exact.status_code == 200


STRICT = {"x-gandalf-strict": "true"}


async def test_tokens_are_guessed_where_the_target_cannot_count(client):  # noqa: F811
    body = {"model": "fast", "messages": SAYS}

    counted = await ask(client, "/v1/messages/count_tokens", body)
    gemini = await ask(client, "/v1beta/models/fast:countTokens", CONTENTS)

    assert (await counted.get_json())["input_tokens"] > 0
    assert counted.headers["x-gandalf-approximated"] == "tokens"
    assert counted.headers["x-gandalf-attempts"] == "0"
    assert (await gemini.get_json())["totalTokens"] > 0


# Streams.


async def test_gemini_streams_events_or_an_array_as_asked(client):  # noqa: F811
    events = await ask(client, STREAM + "?alt=sse", CONTENTS)
    array = await ask(client, STREAM, CONTENTS)

    assert (await events.get_data()).startswith(b"data: {")
    assert array.headers["content-type"] == "application/json"
    pieces = json.loads(await array.get_data())
    assert pieces[-1]["candidates"][0]["finishReason"] == "STOP"


async def test_ollama_streams_unless_told_not_to(client):  # noqa: F811
    answer = await ask(client, "/api/chat", {"model": "fast", "messages": SAYS})

    lines = (await answer.get_data()).splitlines()
    assert json.loads(lines[-1])["done"] is True
    assert len(lines) > 1


async def test_anthropics_clients_find_the_id_where_they_look(client):  # noqa: F811
    answer = await ask(client, "/v1/messages", MESSAGES)

    assert answer.headers["request-id"] == answer.headers["x-request-id"]


# Models.


async def test_each_dialect_lists_the_models_in_its_own_words(client):  # noqa: F811
    async def listed(path, **headers):
        answer = await client.get(path, headers={**bearer(), **headers})
        return await answer.get_json()

    version = {"anthropic-version": "2023-06-01"}
    openai = await listed("/v1/models")
    anthropic = await listed("/v1/models", **version)
    gemini = await listed("/v1beta/models")
    ollama = await listed("/api/tags")

    assert [m["id"] for m in openai["data"]] == ["fast", "slow"]
    assert [m["type"] for m in anthropic["data"]] == ["model", "model"]
    assert [m["name"] for m in gemini["models"]] == ["models/fast", "models/slow"]
    assert [m["name"] for m in ollama["models"]] == ["fast", "slow"]
    assert (await listed("/v1beta/models/fast"))["name"] == "models/fast"
    assert (await listed("/v1/models/fast", **version))["id"] == "fast"


async def test_ollama_shows_a_model_to_whom_may_use_it(client):  # noqa: F811
    known = await ask(client, "/api/show", {"model": "fast"})
    unknown = await ask(client, "/api/show", {"model": "nope"})
    forbidden = await client.post(
        "/api/show", headers=bearer("few"), data=json.dumps({"model": "slow"})
    )

    assert "completion" in (await known.get_json())["capabilities"]
    assert (unknown.status_code, forbidden.status_code) == (404, 404)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-goog-api-key": key(Role.MEMBER)},
        {**bearer(), "x-goog-api-client": "google-genai-sdk/3.6.1"},
    ],
)
async def test_googles_sdk_lists_models_below_v1(client, headers):  # noqa: F811
    listed = await client.get("/v1/models", headers=headers)
    one = await client.get("/v1/models/fast", headers=headers)

    assert (await listed.get_json())["models"][0]["name"] == "models/fast"
    assert (await one.get_json())["name"] == "models/fast"


# What only its own provider takes.


def wrapped_history():
    seal = wrap("gemini", "c2VhbA==")
    thought = {"type": "thinking", "thinking": "hm", "signature": seal}
    said = [thought, {"type": "text", "text": "hello"}]
    return MESSAGES | {
        "messages": [*SAYS, {"role": "assistant", "content": said}, *SAYS]
    }


def test_what_no_provider_of_the_dialect_takes_is_named():
    body = json.dumps(wrapped_history()).encode()

    call = anthropic.read_call("chat", body)

    assert b"hm" not in call.body_for("claude")
    assert call.lost == ("thinking",)
    plain = anthropic.read_call("chat", json.dumps(MESSAGES).encode())
    plain.body_for("claude")
    assert plain.lost == ()


async def test_a_body_of_millions_of_values_is_not_translated(client):  # noqa: F811
    vast = MESSAGES | {"metadata": {"x": [[]] * 300_000}}

    refused = await ask(client, "/v1/messages", vast)

    assert refused.status_code == 400
    assert "too many values" in (await refused.get_json())["error"]["message"]
