import json
import random

import pytest
from openai.types.responses import ResponseErrorEvent, ResponseStreamEvent
from pydantic import TypeAdapter

from gandalf.dialects import sse
from gandalf.dialects.openai.passthrough import Action, PassthroughCall, read_call
from gandalf.dialects.openai.responses import ResponsesStream, stream_error
from gandalf.domain.errors import BadRequest, UpstreamError
from gandalf.domain.objects import SeenObject
from gandalf.domain.usage import TokenUsage
from tests.dialects.openai_events import (
    COMPLETED,
    CONTENT,
    OPENING,
    RESPONSE_ID,
    STREAM,
    USAGE,
    a_response,
    event,
)

SPENT = TokenUsage(input=25, cache_read=7, cache_write=5, output=7, reasoning=4)


def a_call(**changes):
    seen = []
    call = PassthroughCall(operation="responses", model="m", body=b"", **changes)
    call.on_object = seen.append
    return call, seen


def run(data, *cuts, call=None):
    stream = ResponsesStream(call or a_call()[0])
    got = b""
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        got += stream.feed(data[start:end])
    return stream, got + stream.flush()


# A stream.


def test_a_stream_goes_on_as_it_came_and_its_last_event_is_its_ending():
    stream, got = run(STREAM)

    assert got + stream.ending == STREAM
    assert stream.ending == COMPLETED
    assert stream.done
    assert stream.usage == SPENT
    assert stream.finish_reason == "completed"
    assert stream.unread == {}


def test_the_sdk_takes_every_event_of_it():
    stream, got = run(STREAM)
    read = TypeAdapter(ResponseStreamEvent)

    kinds = [
        read.validate_json(sse.data_of(each)).type
        for each in sse.split(got + stream.ending)
    ]

    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


def test_any_chunking_gives_the_same():
    rng = random.Random(7)
    cuttings = [range(1, len(STREAM))]
    cuttings += [sorted(rng.sample(range(len(STREAM)), 30)) for _ in range(30)]
    for cuts in cuttings:
        stream, got = run(STREAM, *cuts)

        assert got + stream.ending == STREAM
        assert (stream.usage, stream.done) == (SPENT, True)


def test_a_stream_cut_anywhere_is_whole_or_not_done():
    for end in range(len(STREAM)):
        stream, got = run(STREAM[:end])

        if stream.done:
            # All but the blank line has come.
            assert end >= len(STREAM) - 2
            assert stream.usage == SPENT
        else:
            assert stream.usage is None
            assert stream.ending == b""
        assert STREAM.startswith(got) or got[:-2] == STREAM[: len(got) - 2]


def test_line_ends_of_windows_are_kept():
    data = STREAM.replace(b"\n", b"\r\n")

    stream, got = run(data, 100, 200, 5000)

    assert got + stream.ending == data
    assert stream.done


def test_an_incomplete_response_ends_the_stream_with_its_reason():
    last = event(
        "response.incomplete",
        8,
        response=a_response(
            "incomplete",
            incomplete_details={"reason": "max_output_tokens"},
            usage=USAGE,
        ),
    )

    stream, _ = run(b"".join([*OPENING, *CONTENT, last]))

    assert stream.done
    assert stream.ending == last
    assert stream.finish_reason == "max_output_tokens"
    assert stream.usage == SPENT


def failing(code, number=8):
    error = {"code": code, "message": "it broke"}
    return event(
        "response.failed",
        number,
        response=a_response("failed", error=error, usage=USAGE),
    )


def test_a_failure_of_the_upstream_before_content_is_no_answer():
    stream, _ = run(b"".join([*OPENING, failing("server_error")]))

    assert stream.failed is not None
    assert (stream.failed.status, stream.failed.message) == (500, "it broke")
    assert not stream.done


def test_a_rate_limit_before_content_is_told_as_one():
    stream, _ = run(b"".join([*OPENING, failing("rate_limit_exceeded")]))

    assert stream.failed is not None
    assert stream.failed.status == 429


def test_a_failure_after_content_is_no_complete_answer_but_has_its_usage():
    stream, got = run(b"".join([*OPENING, *CONTENT, failing("server_error")]))

    assert stream.failed is not None
    assert not stream.done
    assert got == b"".join([*OPENING, *CONTENT])
    assert stream.usage == SPENT


def test_a_failure_of_the_request_reaches_the_client_even_before_content():
    last = failing("invalid_prompt")

    stream, _ = run(b"".join([*OPENING, last]))

    assert stream.failed is None
    assert stream.ending == last


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"error","code":"server_error","message":"m","sequence_number":3}',
        b'{"type": "error", "error": {"code": "server_error", "message": "m"}}',
        b'{"error": {"code": "server_error", "message": "m"}}',
    ],
)
def test_an_error_event_is_a_failure(data):
    wrong = b"event: error\ndata: %b\n\n" % data

    stream, got = run(b"".join([*OPENING, *CONTENT, wrong, COMPLETED]))

    assert stream.failed is not None
    assert (stream.failed.message, stream.failed.status) == ("m", 500)
    assert not stream.done
    assert got == b"".join([*OPENING, *CONTENT])


def test_done_ends_nothing_and_is_left_out():
    stream, got = run(b"".join([*OPENING, *CONTENT, b"data: [DONE]\n\n"]))

    assert not stream.done
    assert got == b"".join([*OPENING, *CONTENT])


def test_what_follows_the_end_is_not_passed_on():
    stream, got = run(STREAM + b"data: [DONE]\n\n" + CONTENT[2])

    assert got + stream.ending == STREAM


def test_an_event_that_is_not_json_is_passed_on_and_counted():
    broken = b'event: x\ndata: {"type":\n\n'
    said = b"".join([*OPENING, broken, *CONTENT, broken, COMPLETED])

    stream, got = run(said)

    assert stream.unread == {"not_json": 2}
    assert got + stream.ending == said


def test_a_text_that_speaks_of_the_end_does_not_end():
    said = event(
        "response.output_text.delta",
        3,
        delta='{"type":"response.completed"} and "error" or response.failed',
    )

    stream, got = run(b"".join([*OPENING, *CONTENT, said]))

    assert not stream.done
    assert stream.failed is None
    assert got.endswith(said)


def test_there_is_no_content_until_something_is_made():
    stream = ResponsesStream(a_call()[0])

    stream.feed(b"".join([*OPENING, *CONTENT[:2]]))
    before = stream.content_seen
    stream.feed(CONTENT[2])

    assert (before, stream.content_seen) == (False, True)


def test_a_background_response_counts_from_its_announcement():
    queued = event("response.queued", 0, response=a_response("queued"))
    stream = ResponsesStream(a_call(background=True)[0])

    assert stream.feed(queued) == queued
    assert stream.content_seen


def test_a_comment_goes_on():
    stream, got = run(b": ping\n\n" + STREAM)

    assert got + stream.ending == b": ping\n\n" + STREAM


def test_a_response_is_told_of_when_it_begins_and_when_it_ends():
    call, seen = a_call()

    run(STREAM, call=call)

    begun = SeenObject(id=RESPONSE_ID, kind="response", usage_due=True)
    ended = SeenObject(id=RESPONSE_ID, kind="response")
    assert seen == [begun, begun, ended]


def test_a_response_that_is_not_stored_is_nothing_to_remember():
    call, seen = a_call()
    data = STREAM.replace(b'"store":true', b'"store":false')

    run(data, call=call)

    assert seen == []


def test_an_event_that_does_not_end_is_too_large(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    stream = ResponsesStream(a_call()[0])
    stream.feed(b"data: " + b"x" * 900)

    with pytest.raises(sse.EventTooLarge):
        stream.feed(b"x" * 200)


def test_the_gateways_own_error_is_one_to_the_sdk_and_to_the_documentation():
    told = stream_error(UpstreamError("openai", "the upstream ended early"), 9)

    data = sse.data_of(told)
    assert told.startswith(b"event: error\n")
    flat = ResponseErrorEvent.model_validate_json(data)
    assert (flat.message, flat.code, flat.sequence_number) == (
        "provider 'openai': the upstream ended early",
        "upstream_error",
        9,
    )
    assert json.loads(data)["error"]["message"] == flat.message


# A call.


def read(**fields):
    fields = {"model": "fast", "input": "hello", **fields}
    body = json.dumps(fields, separators=(",", ":")).encode()
    return read_call("responses", body, b"/responses")


def test_a_call_says_what_the_gateway_governs_by():
    call = read(stream=True, background=True, store=False, max_output_tokens=7)

    assert (call.model, call.stream, call.background) == ("fast", True, True)
    assert (call.stored, call.max_tokens) == (False, 7)
    assert call.action is Action.CREATE
    assert call.estimated_tokens > 0


def test_only_the_model_changes_on_its_way():
    body = b'{ "input":"m\\u00e9","x":[1.0, 2e3],\n "model" : "fast" , "stream":true}'

    call = read_call("responses", body, b"/responses")

    assert call.body_for("fast") == body
    assert call.body_for("gpt-4.1") == body.replace(b'"fast"', b'"gpt-4.1"')


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","input":"x","model":"b"}',
        b'{"model":"a","input":"x","mod\\u0065l":"b"}',
        b'{"model":"a","input":"x","Model":"b"}',
        b'{"model":"a","previous_response_id":"a","previous_response_id":"b"}',
    ],
)
def test_a_body_that_governs_itself_twice_is_refused(body):
    with pytest.raises(BadRequest) as caught:
        read_call("responses", body, b"/responses")

    assert caught.value.code == "duplicate_key"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"input":"x"}', "model"),
        (b'{"model":"","input":"x"}', "model"),
        (b'{"model":"a","stream":"yes"}', "stream"),
        (b'{"model":"a","conversation":7}', None),
        (b"[]", None),
        (b"", None),
        (b"\xff", None),
        (b'{"model":"a","input":' + b"[" * 100_000, None),
    ],
)
def test_a_body_that_is_no_request_is_refused(body, param):
    with pytest.raises(BadRequest) as caught:
        read_call("responses", body, b"/responses")

    assert caught.value.param == param


def test_what_a_request_refers_to_is_known():
    call = read(
        previous_response_id="resp_1",
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_file", "file_id": "file-1"},
                    {"type": "input_image", "file_id": "file-2"},
                ],
            }
        ],
        tools=[
            {"type": "code_interpreter", "container": {"file_ids": ["file-3"]}},
            {"type": "image_generation", "input_image_mask": {"file_id": "file-4"}},
        ],
    )

    assert set(call.references) == {"resp_1", "file-1", "file-2", "file-3", "file-4"}


@pytest.mark.parametrize("conversation", ["conv_1", {"id": "conv_1"}])
def test_a_conversation_is_a_reference(conversation):
    assert read(conversation=conversation).references == ("conv_1",)


def test_an_escape_does_not_hide_a_reference():
    body = b'{"model":"a","input":[{"\\u0066ile_id":"file-1"}]}'

    assert read_call("responses", body, b"/responses").references == ("file-1",)


def test_what_only_quotes_an_earlier_answer_is_no_reference():
    quoted = {"type": "file_citation", "file_id": "file-1"}
    call = read(
        input=[{"role": "assistant", "content": [{"annotations": [quoted]}]}],
        metadata={"file_id": "mine"},
        conversation=None,
    )

    assert call.references == ()


def test_more_references_than_may_be_looked_up_are_refused():
    files = [{"type": "input_file", "file_id": f"file-{n}"} for n in range(101)]

    with pytest.raises(BadRequest):
        read(input=[{"role": "user", "content": files}])


@pytest.mark.parametrize(
    ("method", "path", "action", "object_id"),
    [
        (b"POST", b"/responses", Action.CREATE, ""),
        (b"POST", b"/responses/compact", Action.CREATE, ""),
        (b"POST", b"/responses/input_tokens", Action.COUNT, ""),
        (b"GET", b"/responses/resp_1", Action.RETRIEVE, "resp_1"),
        (b"DELETE", b"/responses/resp_1", Action.DELETE, "resp_1"),
        (b"POST", b"/responses/resp_1/cancel", Action.CANCEL, "resp_1"),
        (b"GET", b"/responses/resp_1/input_items", Action.CONTENT, "resp_1"),
    ],
)
def test_the_path_says_what_is_to_be_done(method, path, action, object_id):
    body = b'{"model":"a","input":"x"}' if not object_id else b""

    call = read_call("responses", body, path, method)

    assert (call.action, call.object_id) == (action, object_id)
    assert call.model == ("" if object_id else "a")
