import json

import pytest
from openai.types import Batch, FileObject, ImageGenCompletedEvent
from openai.types.audio import TranscriptionTextDoneEvent

from gandalf.dialects import sse
from gandalf.dialects.conversation import Failed
from gandalf.dialects.openai.media import MediaStream, OpaqueStream
from gandalf.dialects.openai.passthrough import Action, PassthroughCall, read_call
from gandalf.dialects.openai.passthrough_answers import (
    Shape,
    broken_off,
    follow,
    passed_headers,
    read_answer,
    shape_by,
    shape_of,
)
from gandalf.dialects.openai.responses import ResponsesStream
from gandalf.domain.errors import BadRequest, UpstreamError
from gandalf.domain.objects import SeenObject
from gandalf.domain.usage import OtherUsage, TokenUsage, add
from tests.dialects.openai_events import (
    FILE,
    IMAGE_USAGE,
    PARTIAL_IMAGE,
    RESPONSE_ID,
    SPEECH,
    TRANSCRIPT,
    USAGE,
    WHOLE_IMAGE,
    a_batch,
    a_response,
    encoded,
)
from tests.fakes import openai_format

# What an answer to each must have, beside what a test is about.
NEEDED = {
    "audio": {"text": "x"},
    "images": {"data": [{"b64_json": "iVBO"}]},
    "moderations": {"results": [{}]},
    "rerank": {"results": []},
}

# 40 of the 50 tokens sent in are those of an image.
IMAGE_TOKENS = TokenUsage(input=10, output=50, other=OtherUsage(image_input=40))


def a_call(operation, action=Action.CREATE, **changes):
    seen = []
    call = PassthroughCall(
        operation=operation, model="m", body=b"", action=action, **changes
    )
    call.on_object = seen.append
    return call, seen


def answer_to(operation, body, action=Action.CREATE, **changes):
    call, seen = a_call(operation, action, **changes)
    body = body if isinstance(body, bytes) else encoded(body)
    return read_answer(call, body), seen


def run(stream, data, *cuts):
    got = b""
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        got += stream.feed(data[start:end])
    return got + stream.flush()


# Calls.


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("moderations", {"model": "a", "input": ["x", "y"]}),
        ("images", {"model": "a", "prompt": "a cat", "n": 2}),
        ("audio", {"model": "a", "input": "hello", "voice": "alloy"}),
        ("rerank", {"model": "a", "query": "q", "documents": ["x", {"text": "y"}]}),
    ],
)
def test_a_call_is_the_clients_but_for_the_model(operation, body):
    sent = encoded(body)

    call = read_call(operation, sent, b"/" + operation.encode())

    assert (call.model, call.n) == ("a", body.get("n", 1))
    assert call.body_for("b") == sent.replace(b'"a"', b'"b"', 1)
    assert call.estimated_tokens > 0


def test_the_model_of_a_moderation_may_be_left_out():
    call = read_call("moderations", b'{"input":"x"}', b"/moderations")

    assert call.model == "omni-moderation-latest"
    assert call.body_for("omni-moderation-latest") == b'{"input":"x"}'
    assert json.loads(call.body_for("local")) == {"model": "local", "input": "x"}


def test_a_model_is_put_even_into_an_empty_object():
    call = read_call("moderations", b"{ }", b"/moderations")

    assert json.loads(call.body_for("local")) == {"model": "local"}


def test_an_image_without_a_model_is_refused():
    with pytest.raises(BadRequest) as caught:
        read_call("images", b'{"prompt":"a cat"}', b"/images/generations")

    assert caught.value.param == "model"


def test_speech_may_be_asked_for_as_events():
    body = b'{"model":"a","input":"x","stream_format":"sse"}'

    assert read_call("audio", body, b"/audio/speech").stream


def test_a_batch_refers_to_its_input():
    body = b'{"input_file_id":"file-1","endpoint":"/v1/responses"}'

    call = read_call("batches", body, b"/batches")

    assert (call.model, call.references) == ("", ("file-1",))
    assert call.body_for("") == body


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"input_file_id":"a","input_file_id":"b"}', b'{"input_file_id":7}'],
)
def test_a_batch_without_exactly_one_input_is_refused(body):
    with pytest.raises(BadRequest):
        read_call("batches", body, b"/batches")


@pytest.mark.parametrize(
    ("method", "path", "action", "object_id"),
    [
        (b"GET", b"/files", Action.LIST, ""),
        (b"GET", b"/files/file-1", Action.RETRIEVE, "file-1"),
        (b"DELETE", b"/files/file-1", Action.DELETE, "file-1"),
        (b"GET", b"/files/file-1/content", Action.CONTENT, "file-1"),
        (b"GET", b"/batches", Action.LIST, ""),
        (b"GET", b"/batches/batch_1", Action.RETRIEVE, "batch_1"),
        (b"POST", b"/batches/batch_1/cancel", Action.CANCEL, "batch_1"),
    ],
)
def test_what_is_asked_about_objects_needs_no_body(method, path, action, object_id):
    call = read_call("files", b"", path, method)

    assert (call.action, call.object_id, call.model) == (action, object_id, "")
    assert call.content_type == b""


# The shape of an answer.


@pytest.mark.parametrize(
    ("operation", "action", "status", "content_type", "shape"),
    [
        ("responses", Action.CREATE, 200, b"application/json", Shape.WHOLE),
        ("responses", Action.CREATE, 200, b"text/event-stream", Shape.EVENTS),
        ("responses", Action.RETRIEVE, 200, b"Text/Event-Stream; x", Shape.EVENTS),
        ("responses", Action.DELETE, 204, b"", Shape.OPAQUE),
        ("images", Action.CREATE, 201, b"application/json; charset=utf-8", Shape.WHOLE),
        ("rerank", Action.CREATE, 200, b"text/html", Shape.WHOLE),
        ("audio", Action.CREATE, 200, b"application/json", Shape.WHOLE),
        ("audio", Action.CREATE, 200, b"text/plain; charset=utf-8", Shape.OPAQUE),
        ("audio", Action.CREATE, 200, b"text/vtt", Shape.OPAQUE),
        ("audio", Action.CREATE, 200, b"audio/mpeg", Shape.OPAQUE),
        ("audio", Action.CREATE, 200, b"text/event-stream", Shape.EVENTS),
        ("files", Action.CONTENT, 200, b"application/json", Shape.OPAQUE),
        ("files", Action.CONTENT, 200, b"text/event-stream", Shape.OPAQUE),
        ("files", Action.RETRIEVE, 200, b"application/json", Shape.WHOLE),
    ],
)
def test_an_answer_is_dealt_with_by_its_type(
    operation, action, status, content_type, shape
):
    call, _ = a_call(operation, action)

    assert shape_of(call, status, content_type) is shape


def test_a_stream_is_followed_by_what_it_is_of():
    assert isinstance(follow(a_call("responses")[0], Shape.EVENTS), ResponsesStream)
    assert isinstance(follow(a_call("images")[0], Shape.EVENTS), MediaStream)
    assert isinstance(follow(a_call("audio")[0], Shape.OPAQUE), OpaqueStream)


def test_only_what_is_about_the_body_is_passed_of_the_headers():
    headers = {
        b"content-type": b"audio/mpeg",
        b"content-length": b"7",
        b"content-disposition": b"attachment",
        b"set-cookie": b"a=b",
        b"openai-organization": b"ours",
    }

    assert passed_headers(headers) == [(b"content-disposition", b"attachment")]


def test_what_breaks_off_is_told_of_only_where_it_can_be():
    error = UpstreamError("openai", "ended early")

    assert broken_off(a_call("audio")[0], Shape.OPAQUE, error) == b""
    assert b'"sequence_number"' in broken_off(
        a_call("responses")[0], Shape.EVENTS, error
    )
    assert broken_off(a_call("images")[0], Shape.EVENTS, error).startswith(
        b'event: error\ndata: {"error":'
    )


# Whole answers.


def test_the_usage_of_a_response_is_split_into_classes():
    answer, seen = answer_to("responses", a_response(usage=USAGE))

    assert answer.usage == TokenUsage(
        input=25, cache_read=7, cache_write=5, output=7, reasoning=4
    )
    assert answer.finish_reason == "completed"
    assert seen == [SeenObject(id=RESPONSE_ID, kind="response")]


def test_a_response_under_way_owes_its_usage():
    answer, seen = answer_to("responses", a_response("queued"), background=True)

    assert answer.usage is None
    assert seen == [SeenObject(id=RESPONSE_ID, kind="response", usage_due=True)]


def test_a_new_response_that_the_upstream_failed_is_no_answer():
    error = {"code": "server_error", "message": "m"}

    answer, _ = answer_to("responses", a_response("failed", error=error))

    assert answer.failed.status == 500


def test_a_failed_response_that_is_asked_for_is_an_answer():
    error = {"code": "server_error", "message": "m"}

    answer, seen = answer_to(
        "responses",
        a_response("failed", error=error),
        Action.RETRIEVE,
        object_id=RESPONSE_ID,
    )

    assert answer.failed is None
    assert seen == [SeenObject(id=RESPONSE_ID, kind="response")]


def test_an_answer_about_another_object_than_asked_for_is_not_believed():
    _, responses = answer_to(
        "responses", a_response(), Action.RETRIEVE, object_id="resp_1"
    )
    _, files = answer_to("files", FILE, Action.RETRIEVE, object_id="file-1")
    _, batches = answer_to("batches", a_batch(), Action.RETRIEVE, object_id="b")

    assert (responses, files, batches) == ([], [], [])


def test_what_is_deleted_is_told_of():
    body = b'{"id":"file-1","object":"file","deleted":true}'

    _, seen = answer_to("files", body, Action.DELETE, object_id="file-1")

    assert seen == [SeenObject(id="file-1", kind="file", deleted=True)]


def test_the_parts_of_a_response_and_a_count_are_no_usage():
    items = b'{"object":"list","data":[{"id":"msg_1","status":"completed"}]}'
    count = b'{"object":"response.input_tokens","input_tokens":11}'

    listed, _ = answer_to("responses", items, Action.CONTENT, object_id="resp_1")
    counted, seen = answer_to("responses", count, Action.COUNT)

    assert (listed.usage, counted.usage, seen) == (None, None, [])


def test_a_file_is_remembered_as_it_is_described():
    FileObject.model_validate(FILE)

    _, seen = answer_to("files", FILE)

    assert seen == [SeenObject(id=FILE["id"], kind="file", shown=json.dumps(FILE))]


def test_a_batch_tells_of_its_files_and_of_its_usage_when_it_has_ended():
    done = a_batch("completed", output_file_id="file-2", error_file_id="file-3")
    done["usage"] = USAGE
    Batch.model_validate(a_batch())

    begun, begun_seen = answer_to("batches", a_batch("in_progress", usage=USAGE))
    ended, seen = answer_to("batches", done, Action.RETRIEVE, object_id="batch_abc123")

    assert begun.usage is None
    assert [one.usage_due for one in begun_seen] == [True]
    assert ended.usage.total_tokens == 48
    assert [(one.id, one.usage_due) for one in seen] == [
        ("batch_abc123", False),
        ("file-2", False),
        ("file-3", False),
    ]


@pytest.mark.parametrize(
    ("operation", "body", "usage"),
    [
        ("images", {"data": [], "usage": IMAGE_USAGE}, IMAGE_TOKENS),
        (
            "images",
            {
                "usage": IMAGE_USAGE,
                "svg_usage": {
                    "input_tokens": 3,
                    "output_tokens": 9,
                    "reasoning_tokens": 4,
                },
            },
            TokenUsage(
                input=13, output=55, reasoning=4, other=OtherUsage(image_input=40)
            ),
        ),
        (
            "audio",
            {
                "text": "I see",
                "usage": {
                    "type": "tokens",
                    "input_tokens": 14,
                    "input_token_details": {"text_tokens": 2, "audio_tokens": 12},
                    "output_tokens": 45,
                },
            },
            TokenUsage(input=2, audio_input=12, output=45),
        ),
        (
            "audio",
            {"text": "x", "usage": {"type": "duration", "seconds": 2.5}},
            TokenUsage(other=OtherUsage(audio_seconds=3)),
        ),
        (
            "rerank",
            {"results": [], "usage": {"total_tokens": 38}},
            TokenUsage(input=38),
        ),
        (
            "rerank",
            {"usage": {"prompt_tokens": 5, "total_tokens": 5}},
            TokenUsage(input=5),
        ),
        (
            "rerank",
            {
                "meta": {
                    "billed_units": {"search_units": 1},
                    "tokens": {"input_tokens": 30, "output_tokens": 2},
                }
            },
            TokenUsage(input=30, output=2, other=OtherUsage(rerank_searches=1)),
        ),
        (
            "rerank",
            {"meta": {"billed_units": {"search_units": 1}}},
            TokenUsage(other=OtherUsage(rerank_searches=1)),
        ),
        ("moderations", {"id": "modr-1", "results": [{"flagged": False}]}, None),
    ],
)
def test_usage_is_read_wherever_it_stands(operation, body, usage):
    answer, seen = answer_to(operation, {**body, **NEEDED[operation]})

    assert answer.usage == usage
    assert answer.failed is None
    assert seen == []


@pytest.mark.parametrize("operation", ["images", "rerank", "files", "batches"])
def test_an_error_in_the_place_of_an_answer_is_a_failure(operation):
    answer, _ = answer_to(operation, {"error": {"message": "m", "code": 503}})

    assert (answer.failed.message, answer.failed.status) == ("m", 503)


@pytest.mark.parametrize("operation", ["responses", "images", "files", "batches"])
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"usage":7,"id":8}', b"\xff"]
)
def test_what_cannot_be_read_is_no_answer(operation, body):
    answer, _ = answer_to(operation, body)

    assert answer is None or answer.failed is not None


@pytest.mark.parametrize(
    ("operation", "action", "body", "missing"),
    [
        ("images", Action.CREATE, {"created": 1, "data": []}, "data"),
        ("audio", Action.CREATE, {"duration": 3}, "text"),
        ("moderations", Action.CREATE, {"id": "m", "results": []}, "results"),
        ("rerank", Action.CREATE, {"id": "r"}, "results"),
        ("responses", Action.CREATE, {"id": "resp_1", "status": "completed"}, "output"),
        ("responses", Action.RETRIEVE, {"object": "response"}, "id"),
        (
            "responses",
            Action.COUNT,
            {"object": "response.input_tokens"},
            "input_tokens",
        ),
        ("responses", Action.CONTENT, {"object": "list"}, "data"),
        ("files", Action.CREATE, {"object": "file"}, "id"),
        ("files", Action.LIST, {"object": "list"}, "data"),
        ("batches", Action.LIST, {"object": "list"}, "data"),
    ],
)
def test_an_answer_without_what_it_must_have_is_a_failure(
    operation, action, body, missing
):
    answer, _ = answer_to(operation, body, action=action)

    assert answer.failed == Failed(message=f"the answer has no {missing}")


@pytest.mark.parametrize(
    ("reason", "failed"),
    [("stop", None), ("error", "the answer ended with 'error'")],
)
def test_a_chat_completion_in_the_place_of_a_response_is_an_answer(reason, failed):
    body = openai_format.completion("Hello", finish_reason=reason)

    answer, _ = answer_to("responses", body)

    assert answer.usage.output == 2
    assert (answer.failed and answer.failed.message) == failed


def test_a_response_with_a_status_that_nobody_knows_is_a_failure():
    body = {"id": "resp_1", "status": "something_new", "output": []}

    assert answer_to("responses", body)[0].failed is not None


@pytest.mark.parametrize(
    ("beginning", "label", "shape"),
    [
        (b"event: x\ndata: {}", Shape.WHOLE, Shape.EVENTS),
        (b"\xef\xbb\xbf {", Shape.EVENTS, Shape.WHOLE),
        (b"<html>", Shape.EVENTS, Shape.EVENTS),
        (b"", Shape.WHOLE, Shape.WHOLE),
    ],
)
def test_the_first_bytes_of_an_answer_count_for_more_than_its_label(
    beginning, label, shape
):
    assert shape_by(label, beginning) is shape


# Streams of images and sound.


def test_a_stream_of_an_image_is_passed_on_and_its_last_event_held_back():
    ImageGenCompletedEvent.model_validate_json(sse.data_of(WHOLE_IMAGE))
    stream = MediaStream()

    got = run(stream, PARTIAL_IMAGE * 2 + WHOLE_IMAGE)

    assert got == PARTIAL_IMAGE * 2
    assert stream.ending == WHOLE_IMAGE
    assert stream.done
    assert stream.usage == IMAGE_TOKENS


def test_all_images_of_a_stream_reach_the_client():
    stream = MediaStream(2)

    got = stream.feed(WHOLE_IMAGE)
    early = stream.finished(1)
    got += stream.feed(PARTIAL_IMAGE) + stream.feed(WHOLE_IMAGE)

    assert (early, stream.finished(1)) == (False, True)
    assert got == WHOLE_IMAGE + PARTIAL_IMAGE
    assert stream.flush() == b""
    assert stream.ending == WHOLE_IMAGE
    assert stream.usage == add(IMAGE_TOKENS, IMAGE_TOKENS)


@pytest.mark.parametrize(
    ("events", "usage"),
    [
        (TRANSCRIPT, TokenUsage(input=2, audio_input=12, output=45)),
        (SPEECH, TokenUsage(input=14, audio_output=101)),
    ],
)
def test_sound_is_followed_to_its_usage_in_any_pieces(events, usage):
    data = b"".join(events)
    TranscriptionTextDoneEvent.model_validate_json(sse.data_of(TRANSCRIPT[-1]))

    for cuts in [(), range(1, len(data)), (10, 50, 51)]:
        stream = MediaStream()
        got = run(stream, data, *cuts)

        assert got + stream.ending == data
        assert (stream.done, stream.usage) == (True, usage)


def test_a_media_stream_cut_anywhere_is_whole_or_not_done():
    data = b"".join(TRANSCRIPT)

    for end in range(len(data)):
        stream = MediaStream()
        run(stream, data[:end])

        assert stream.done == (end >= len(data) - 2)


def test_done_completes_a_media_stream_only_if_something_was_completed():
    begun, ended = MediaStream(), MediaStream()

    begun.feed(TRANSCRIPT[0] + b"data: [DONE]\n\n")
    ended.feed(b"".join(TRANSCRIPT) + b"data: [DONE]\n\n")

    assert (begun.done, ended.done) == (False, True)
    assert ended.ending == TRANSCRIPT[-1]


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"error","error":{"message":"m","code":"moderation_blocked"}}',
        b'{"error":{"message":"m","code":"moderation_blocked"}}',
        b'{"type":"error","message":"m"}',
    ],
)
def test_an_error_among_images_is_a_failure(data):
    stream = MediaStream()

    got = run(stream, PARTIAL_IMAGE + b"data: %b\n\n" % data + WHOLE_IMAGE)

    assert got == PARTIAL_IMAGE
    assert stream.failed.message == "m"
    assert not stream.done


def test_bytes_go_through_untouched_and_are_whole_when_they_end():
    stream = OpaqueStream()

    assert stream.feed(b"\x00\xffdata: {\n\n") == b"\x00\xffdata: {\n\n"
    assert (stream.content_seen, stream.done) == (True, False)
    assert stream.flush() == b""
    assert (stream.done, stream.finished(1), stream.ending) == (True, True, b"")


@pytest.mark.parametrize("unit", [b"[],", b'{"a":1},', b'"",'])
def test_nobody_waits_for_files_to_be_found_in_a_body_of_millions(unit):
    values = unit * (8_000_000 // len(unit))
    body = b'{"model":"m","input":[{"file_id":"f"},%b1]}' % values

    with pytest.raises(BadRequest) as caught:
        read_call("responses", body, b"/responses")

    assert caught.value.code == "ambiguous_body"


def test_a_large_file_beside_a_reference_is_no_such_body():
    data = b"A" * 8_000_000
    body = b'{"model":"m","input":[{"file_id":"f"},{"data":"%b"}]}' % data

    assert read_call("responses", body, b"/responses").references == ("f",)
