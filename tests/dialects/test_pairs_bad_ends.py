"""Ends that stand for a failure: no client of any dialect is told that all went well.

The table of good ends is closed in every dialect. Vendors' own words for failures, words
that nobody knows yet and ends without any word are not in it.
"""

import pytest

from gandalf.dialects.ends import AnswerFailed
from gandalf.dialects.translation import translate_answer
from tests.fakes import (
    anthropic_format,
    bedrock_format,
    gemini_format,
    ollama_format,
    openai_format,
)

from .pairs_clients import CALLS, CLIENTS, UPSTREAMS
from .test_pairs_answers import a_stream
from .test_pairs_cuts import received

BAD_ENDS = {
    "openai": (
        "error",
        "abort",
        "insufficient_system_resource",
        "network_error",
        "function_call_filter: MALFORMED_FUNCTION_CALL",
        "something_new",
        "",
        None,
    ),
    "anthropic": ("error", "something_new", "", None),
    "gemini": (
        "FINISH_REASON_UNSPECIFIED",
        "OTHER",
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "NO_IMAGE",
        "IMAGE_OTHER",
        "PUP_LIMITED_DISABLED",
        "SOMETHING_NEW",
        "",
        None,
    ),
    "ollama": ("error", "load", "something_new", ""),
    "converse": ("malformed_model_output", "malformed_tool_use", "something_new", ""),
}
CASES = [(name, reason) for name, reasons in BAD_ENDS.items() for reason in reasons]

bad_ends = pytest.mark.parametrize(("upstream", "reason"), CASES)
clients = pytest.mark.parametrize("client", CLIENTS)


def _openai_events(text, reason):
    chunks = [openai_format.chunk(role="assistant"), openai_format.chunk(text)]
    chunks.append(openai_format.chunk(finish_reason=reason))
    return [*map(openai_format.event, chunks), openai_format.DONE]


WHOLE = {
    "openai": lambda text, reason: openai_format.completion(text, finish_reason=reason),
    "anthropic": lambda text, reason: anthropic_format.message(
        text, stop_reason=reason
    ),
    "gemini": lambda text, reason: gemini_format.body(
        gemini_format.response(gemini_format.candidate(text, finishReason=reason))
    ),
    "ollama": lambda text, reason: ollama_format.chat(
        text, done_reason=None, counts={"done_reason": reason}
    ),
    "converse": lambda text, reason: bedrock_format.converse_answer(
        text, stopReason=reason
    ),
}
STREAM = {
    "openai": _openai_events,
    "anthropic": lambda text, reason: anthropic_format.message_events(
        text, stop_reason=reason
    ),
    "gemini": lambda text, reason: gemini_format.stream_events(
        text, finish_reason=reason
    ),
    "ollama": lambda text, reason: ollama_format.chat_lines(
        text, done_reason=None, counts={"done_reason": reason}
    ),
    "converse": lambda text, reason: bedrock_format.converse_events(
        bedrock_format.text_block(0, text), stop_reason=reason
    ),
}


@bad_ends
@clients
def test_a_whole_answer_with_a_bad_end_is_a_failure(upstream, reason, client):
    said = WHOLE[upstream]("Hi", reason)

    with pytest.raises(AnswerFailed) as caught:
        translate_answer(
            CALLS[client], said, spoken=UPSTREAMS[upstream], source=CLIENTS[client]
        )

    assert (reason or "") in caught.value.failed.message


@bad_ends
@clients
async def test_a_stream_with_a_bad_end_is_a_failure(upstream, reason, client):
    said = b"".join(STREAM[upstream]("Hi", reason))
    stream = a_stream(client, upstream)

    _, complete = await received(client, stream, said)

    assert not complete
    assert not stream.done


@bad_ends
@clients
def test_a_bad_end_before_any_content_leaves_the_way_to_another_target_open(
    upstream, reason, client
):
    stream = a_stream(client, upstream)

    for event in STREAM[upstream]("", reason):
        stream.feed(event)

    assert not stream.content_seen
