"""The official ``openai`` client at OpenAI's other endpoints, through a gateway.

The upstream shares no code with the gateway. What an organisation keeps at a provider
is reached by its own keys only.
"""

from __future__ import annotations

import io
import json

import openai
import pytest

from tests.dialects.openai_events import (
    COMPLETED,
    CONTENT,
    FILE,
    OPENING,
    PARTIAL_IMAGE,
    RESPONSE_ID,
    STREAM,
    TRANSCRIPT,
    USAGE,
    WHOLE_IMAGE,
    a_batch,
    a_response,
    encoded,
    message,
)
from tests.fakes.upstream import respond, status, stream
from tests.processes.gateway_process import (
    KEY,
    gateway,
    route,
    settings,
    until,
    upstream_in_a_thread,
)

OTHER_KEY = "gnd_member_of_another_org"
LIMITED_KEY = "gnd_member_with_a_limit"
FAST = "chat-fake"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with upstream_in_a_thread() as upstream:
        fake = {
            "name": "fake",
            "type": "openai",
            "base_url": upstream.url,
            "allow_batches": True,
        }
        base = settings()
        others = [
            {"name": "other", "key": OTHER_KEY, "org_id": "other"},
            {"name": "limited", "key": LIMITED_KEY, "tpm_limit": 100_000},
            {"name": "listed", "key": "gnd_listed", "allowed_models": ["x"]},
        ]
        config = base | {
            "providers": [{"name": "simulated"}, fake],
            "routes": [route(FAST, "fake"), route("simulated", "simulated")],
            "keys": [*base["keys"], *others],
            "circuit_breaker": {"enabled": False},
        }
        with gateway(tmp_path_factory.mktemp("sdk"), config) as process:
            yield process, upstream


@pytest.fixture
def process(running):
    return running[0]


@pytest.fixture
def fake(running):
    return running[1]


@pytest.fixture
def client(process):
    with sdk(process) as client:
        yield client


def sdk(process, key=KEY):
    return openai.OpenAI(
        base_url=f"{process.url}/v1",
        api_key=key,
        max_retries=0,
        timeout=10,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    )


def recorded(process, raw):
    request_id = raw.headers["x-request-id"]
    return until(lambda: process.record(request_id))


def test_a_response_is_made_asked_for_and_deleted(client, process, fake):
    answer = encoded(a_response(output=[message("Hi")], usage=USAGE))
    fake.script(*[respond(answer)] * 2)

    raw = client.responses.with_raw_response.create(model=FAST, input="hello")
    made = raw.parse()
    got = client.responses.with_raw_response.retrieve(made.id)
    fake.script(
        respond(encoded({"id": made.id, "object": "response", "deleted": True}))
    )
    client.responses.delete(made.id)

    assert made.output_text == "Hi"
    assert json.loads(fake.requests[-3].body)["model"] == "m-1"
    assert fake.requests[-2].target.endswith(f"/v1/responses/{RESPONSE_ID}")
    record = recorded(process, raw)
    assert (record["input_tokens"], record["cache_read_tokens"]) == (25, 7)
    assert (record["output_tokens"], record["reasoning_tokens"]) == (7, 4)
    assert recorded(process, got)["input_tokens"] is None
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_a_response_is_streamed_as_it_came(client, process, fake):
    fake.script(stream(STREAM).chopped(100))

    with client.responses.with_streaming_response.create(
        model=FAST, input="hello", stream=True
    ) as raw:
        got = raw.read()

    assert got == STREAM
    record = recorded(process, raw)
    assert (record["end_reason"], record["input_tokens"]) == ("complete", 25)


def test_the_sdk_follows_a_streamed_response(client, fake):
    fake.script(stream(*OPENING, *CONTENT, COMPLETED))

    kinds = [
        e.type for e in client.responses.create(model=FAST, input="x", stream=True)
    ]

    assert kinds[-1] == "response.completed"


def test_a_streamed_response_that_breaks_off_is_an_error(client, fake):
    fake.script(stream(*OPENING, *CONTENT))

    with pytest.raises(openai.APIError, match="ended the stream early"):
        list(client.responses.create(model=FAST, input="x", stream=True))


def test_a_response_of_somebody_else_is_not_to_be_had(client, process, fake):
    fake.script(respond(encoded(a_response(id="resp_mine"))))
    client.responses.create(model=FAST, input="hello")
    before = len(fake.requests)

    with sdk(process, OTHER_KEY) as other:
        for ask in (
            lambda: other.responses.retrieve("resp_mine"),
            lambda: other.responses.cancel("resp_mine"),
            lambda: other.responses.delete("resp_mine"),
            lambda: other.responses.input_items.list("resp_mine"),
            lambda: other.responses.create(
                model=FAST, input="x", previous_response_id="resp_mine"
            ),
        ):
            with pytest.raises(openai.NotFoundError):
                ask()

    assert len(fake.requests) == before


def test_a_response_goes_on_from_the_former_one(client, fake):
    fake.script(*[respond(encoded(a_response(id=f"resp_{n}"))) for n in "ab"])

    client.responses.create(model=FAST, input="hello")
    client.responses.create(model=FAST, input="x", previous_response_id="resp_a")

    assert json.loads(fake.requests[-1].body)["previous_response_id"] == "resp_a"


def test_files_and_batches(client, process, fake):
    fake.script(respond(encoded(FILE | {"expires_at": None})))
    file = client.files.create(
        file=("in.jsonl", b'{"custom_id":1}\n' * 99), purpose="batch"
    )
    fake.script(respond(encoded(a_batch())))
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/responses", completion_window="24h"
    )
    done = a_batch("completed", output_file_id="file-out", usage=USAGE)
    fake.script(respond(encoded(done)))
    raw = client.batches.with_raw_response.retrieve(batch.id)
    fake.script(respond(b'{"error":{"message":"in the file"}}\n'))
    content = client.files.content("file-out")

    assert b'name="purpose"' in fake.requests[-4].body
    assert recorded(process, raw)["input_tokens"] == 25
    assert content.read() == b'{"error":{"message":"in the file"}}\n'
    assert {one.id for one in client.files.list()} == {file.id, "file-out"}
    assert [one.status for one in client.batches.list()] == ["completed"]
    with sdk(process, OTHER_KEY) as other:
        assert list(other.files.list()) == []
        with pytest.raises(openai.NotFoundError):
            other.files.content("file-out")
        with pytest.raises(openai.NotFoundError):
            other.batches.cancel(batch.id)


def test_a_limited_key_makes_no_batches(client, process, fake):
    fake.script(respond(encoded(FILE)))
    client.files.create(file=("in.jsonl", b"x"), purpose="batch")

    for key in (LIMITED_KEY, "gnd_listed"):
        with sdk(process, key) as limited, pytest.raises(openai.PermissionDeniedError):
            limited.batches.create(
                input_file_id=FILE["id"],
                endpoint="/v1/responses",
                completion_window="24h",
            )


def test_a_key_with_a_list_of_models_is_held_to_it(process, fake):
    with sdk(process, "gnd_listed") as listed:
        with pytest.raises(openai.PermissionDeniedError):
            listed.audio.transcriptions.create(model=FAST, file=("a.wav", b"x"))
        with pytest.raises(openai.PermissionDeniedError):
            listed.responses.create(model=FAST, input="x")


def test_a_transcription_is_uploaded_with_the_targets_model(client, process, fake):
    sound = b"\x00\xff\r\n--" * 400_000
    usage = {
        "type": "tokens",
        "input_tokens": 14,
        "output_tokens": 45,
        "total_tokens": 59,
    }
    fake.script(respond(encoded({"text": "I see", "usage": usage})))

    raw = client.audio.transcriptions.with_raw_response.create(
        model=FAST, file=("a.wav", sound)
    )

    assert raw.parse().text == "I see"
    body = fake.requests[-1].body
    assert b'name="model"\r\n\r\nm-1\r\n' in body
    assert body.count(sound) == 1
    assert recorded(process, raw)["output_tokens"] == 45


def test_subtitles_are_text(client, fake):
    fake.script(respond("WEBVTT\n", content_type="text/vtt"))

    text = client.audio.transcriptions.create(
        model=FAST, file=("a.wav", b"x"), response_format="vtt"
    )

    assert text == "WEBVTT\n"


def test_a_transcription_is_streamed(client, fake):
    fake.script(stream(*TRANSCRIPT))

    events = list(
        client.audio.transcriptions.create(
            model=FAST, file=("a.wav", b"x"), stream=True
        )
    )

    assert [e.type for e in events][-1] == "transcript.text.done"


def test_speech_is_bytes(client, process, fake):
    fake.script(respond(b"ID3\x00\xff" * 1000, content_type="audio/mpeg").chopped(999))

    raw = client.audio.speech.with_raw_response.create(
        model=FAST, input="Hi", voice="alloy"
    )

    assert raw.content == b"ID3\x00\xff" * 1000
    assert raw.headers["content-type"] == "audio/mpeg"
    assert recorded(process, raw)["usage_source"] == "estimated"


def test_speech_that_breaks_off_does_not_look_whole(client, fake):
    fake.script(respond(b"ID3" * 1000, content_type="audio/mpeg").cut(900))

    with pytest.raises(
        Exception, match=r"peer closed|incomplete|APIConnection|onnection"
    ):
        client.audio.speech.create(model=FAST, input="Hi", voice="alloy").read()


def test_images_are_streamed(client, process, fake):
    fake.script(stream(PARTIAL_IMAGE, WHOLE_IMAGE))

    images = client.images.generate(model=FAST, prompt="a cat", stream=True)

    assert [e.type for e in images][-1] == "image_generation.completed"


def test_an_edit_is_uploaded(client, fake):
    fake.script(respond(encoded({"created": 1, "data": [{"b64_json": "AAAA"}]})))

    answer = client.images.edit(
        model=FAST, image=io.BytesIO(b"png"), prompt="a cat", n=1
    )

    assert answer.data[0].b64_json == "AAAA"
    assert b"m-1" in fake.requests[-1].body


def test_a_moderation_names_its_model(client, fake):
    fake.script(respond(encoded({"id": "modr-1", "model": "m", "results": [{}]})))

    assert client.moderations.create(model=FAST, input="x").id == "modr-1"


def test_an_upstreams_refusal_is_the_clients_to_see(client, fake):
    fake.script(status(400, "no such voice"))

    with pytest.raises(openai.BadRequestError, match="no such voice"):
        client.audio.speech.create(model=FAST, input="Hi", voice="nobody")


def test_a_simulated_provider_has_none_of_it(client):
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="simulated", input="x")


# What the upstream says cannot be taken for whole.


def test_speech_without_an_end_that_can_be_told_is_no_answer(client, fake):
    endless = respond(b"ID3" * 9, content_type="audio/mpeg", framing="close")
    fake.script(endless, endless, endless)

    with pytest.raises(openai.InternalServerError):
        client.audio.speech.create(model=FAST, input="Hi", voice="alloy").read()


def test_a_stream_that_was_asked_for_is_one_or_an_error(client, fake):
    fake.script(*[respond(b'{"created":1,"data":[]}')] * 3)

    with pytest.raises(openai.InternalServerError):
        list(client.images.generate(model=FAST, prompt="a cat", stream=True))


def test_what_a_failed_target_says_of_its_body_is_not_said_of_the_next_ones(
    client, fake
):
    said = (("content-disposition", "attachment; filename=first"),)
    broken = respond(b"ID3" * 9, content_type="audio/mpeg", headers=said).cut(0)
    fake.script(broken, respond(b"ID3", content_type="audio/mpeg"))

    raw = client.audio.speech.with_raw_response.create(
        model=FAST, input="Hi", voice="alloy"
    )

    assert raw.content == b"ID3"
    assert "content-disposition" not in raw.headers
