"""What the gateway says, read by Anthropic's own client."""

import contextlib

import anthropic as sdk
import httpx2
import pytest

from gandalf.dialects import anthropic
from gandalf.dialects.conversation import (
    Finish,
    Finished,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from gandalf.domain.errors import (
    BadRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    Unauthenticated,
    UpstreamTimeout,
)
from gandalf.domain.usage import TokenUsage

CALL = anthropic.read_call(
    "chat",
    b'{"model":"alias","max_tokens":9,"messages":[{"role":"user","content":"x"}]}',
)
ASKED = {
    "model": "alias",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "x"}],
}


@contextlib.contextmanager
def client_of(body, status=200, content_type="application/json"):
    def answer(request):
        headers = {"content-type": content_type}
        return httpx2.Response(status, headers=headers, content=body)

    transport = httpx2.MockTransport(answer)
    with sdk.Anthropic(
        api_key="gnd_x",
        max_retries=0,
        http_client=httpx2.Client(transport=transport),
    ) as client:
        yield client


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BadRequest("x"), sdk.BadRequestError),
        (Unauthenticated("x"), sdk.AuthenticationError),
        (PermissionDenied("x"), sdk.PermissionDeniedError),
        (NotFound("x"), sdk.NotFoundError),
        (RateLimited("rpm", 2), sdk.RateLimitError),
        (Overloaded("x"), sdk.InternalServerError),
        (UpstreamTimeout("p", "idle", 3), sdk.InternalServerError),
    ],
)
def test_the_sdk_knows_our_errors(error, expected):
    with client_of(anthropic.error_body(error), error.status) as client:
        with pytest.raises(expected) as raised:
            client.messages.create(**ASKED)

    assert raised.value.api_message == error.message
    assert raised.value.error_code == error.code


def test_the_sdk_reads_our_streams():
    renderer = anthropic.stream_renderer(CALL)
    body = anthropic.KEEP_ALIVE + renderer.render(
        [
            Started(id="chatcmpl-1", model="gpt-4o"),
            TextDelta(text="Hel"),
            TextDelta(text="lo\u2028"),
            ToolCallStarted(call=0, id="c", name="f"),
            ToolCallDelta(call=0, arguments='{"a":1}'),
            Finished(finish=Finish.TOOL_CALLS),
            UsageReported(TokenUsage(input=3, output=4)),
        ]
    )

    with client_of(
        body + anthropic.KEEP_ALIVE + renderer.ending, content_type="text/event-stream"
    ) as client:
        with client.messages.stream(**ASKED) as stream:
            texts = list(stream.text_stream)
            message = stream.get_final_message()

    assert texts == ["Hel", "lo\u2028"]
    assert message.content[1].input == {"a": 1}
    assert (message.stop_reason, message.usage.output_tokens) == ("tool_use", 4)


def test_the_sdk_raises_for_an_error_in_a_stream():
    renderer = anthropic.stream_renderer(CALL)
    body = renderer.render([Started(id="x"), TextDelta(text="Hel")])
    failed = anthropic.stream_error(UpstreamTimeout("p", "idle", 3))

    with client_of(body + failed, content_type="text/event-stream") as client:
        with client.messages.stream(**ASKED) as stream:
            with pytest.raises(
                sdk.APIStatusError, match="provider 'p': sent nothing for 3 s"
            ):
                list(stream)


def test_the_sdk_reads_our_counts():
    with client_of(anthropic.render_count(12)) as client:
        counted = client.messages.count_tokens(model="m", messages=ASKED["messages"])

    assert counted.input_tokens == 12
