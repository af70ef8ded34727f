"""Whole answers, embeddings and counts, from OpenAI's form and into it."""

import base64
import json
import struct

import pytest
from openai.types import Completion as TextCompletion
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion

from gandalf.dialects import openai
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.conversation import (
    Choice,
    Completion,
    Embeddings,
    EmbeddingsRequest,
    Finish,
    Media,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model
from gandalf.domain.usage import TokenUsage
from tests.fakes import openai_format

CALL = openai.read_call("chat", b'{"model":"alias","messages":[]}')
LEGACY = openai.read_call("completions", b'{"model":"alias","prompt":"x"}')
FUNCTIONS = openai.read_call(
    "chat", b'{"model":"alias","messages":[],"functions":[{"name":"f"}]}'
)


def answer(message, finish="stop", **fields):
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = {
        "id": "chatcmpl-1",
        "created": 5,
        "model": "m",
        "choices": [choice],
        **fields,
    }
    return openai.parse_answer(json.dumps(body).encode())


def rendered(*parts, finish=Finish.STOP, call=CALL, usage=None, **choice):
    completion = Completion(
        id="x",
        model="m",
        created=5,
        choices=(Choice(parts=parts, finish=finish, **choice),),
        usage=usage,
    )
    return json.loads(openai.render_answer(completion, call))


def message(*parts, **fields):
    return rendered(*parts, **fields)["choices"][0]["message"]


# Parsing.


def test_a_plain_answer():
    # https://platform.openai.com/docs/api-reference/chat/object
    completion = openai.parse_answer(
        b"""{
        "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG", "object": "chat.completion",
        "created": 1741570283, "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": {"role": "assistant",
          "content": "The image shows a boardwalk.", "refusal": null,
          "annotations": []}, "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1117, "completion_tokens": 46, "total_tokens": 1163,
          "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
          "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}},
        "service_tier": "default", "system_fingerprint": "fp_fc9f1d7035"}"""
    )

    assert completion == Completion(
        id="chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
        model="gpt-4o-2024-08-06",
        created=1741570283,
        choices=(
            Choice(
                parts=(Text(text="The image shows a boardwalk."),),
                finish=Finish.STOP,
            ),
        ),
        usage=TokenUsage(
            input=1117,
            cache_read=0,
            audio_input=0,
            output=46,
            reasoning=0,
            audio_output=0,
        ),
    )


def test_calls_refusals_citations_sounds_and_thinking():
    note = {"type": "url_citation", "url_citation": {"url": "https://x", "title": "T"}}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    called = answer({"content": None, "tool_calls": [call]}, "tool_calls")
    refused = answer({"content": None, "refusal": "No."})
    cited = answer({"content": "x", "annotations": [note]})
    heard = answer(
        {"content": None, "audio": {"id": "a", "data": "UklG", "transcript": "Hi"}}
    )
    thought = answer({"content": "x", "reasoning_content": "Hm."}, "length")
    shown = answer(
        {"images": [{"image_url": {"url": "data:image/png;base64,AA"}}], "content": ""}
    )

    assert called.choices[0] == Choice(
        parts=(ToolCall(id="c", name="f", arguments="{}"),), finish=Finish.TOOL_CALLS
    )
    assert refused.choices[0] == Choice(parts=(Refusal("No."),), finish=Finish.REFUSAL)
    assert cited.choices[0].parts == (Text(text="x", citations=(note,)),)
    assert heard.choices[0].parts == (Text(text="Hi"), Media(kind="audio", data="UklG"))
    assert thought.choices[0] == Choice(
        parts=(Thinking(text="Hm."), Text(text="x")), finish=Finish.LENGTH
    )
    assert shown.choices[0].parts == (
        Media(kind="image", media_type="image/png", data="AA"),
    )


def test_choices_come_in_their_order_and_calls_without_an_id_get_one():
    function = {"name": "f", "arguments": None}
    stopped = {"finish_reason": "stop"}
    completion = openai.parse_answer(
        json.dumps(
            {
                "id": "chatcmpl-abc",
                "choices": [
                    {"index": 1, "message": {"content": "b"}, **stopped},
                    {"index": 0, "message": {"function_call": function}, **stopped},
                ],
            }
        ).encode()
    )

    assert [choice.parts for choice in completion.choices] == [
        (ToolCall(id="call_abc_0_0", name="f", arguments="{}"),),
        (Text(text="b"),),
    ]
    assert completion.choices[0].finish is Finish.STOP


def test_mistrals_thinking_is_a_part_of_the_content():
    # https://docs.mistral.ai/capabilities/reasoning/
    completion = answer(
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                {"type": "text", "text": "4"},
            ]
        }
    )

    assert completion.choices[0].parts == (Thinking(text="Hm."), Text(text="4"))


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", b'{"choices":[{}]}', b"\xff"]
)
def test_what_is_no_answer_is_unreadable(body):
    with pytest.raises(UNREADABLE):
        openai.parse_answer(body)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        # The SDK's PromptTokensDetails.cache_write_tokens.
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "prompt_tokens_details": {
                    "cached_tokens": 20,
                    "cache_write_tokens": 30,
                },
            },
            TokenUsage(input=50, cache_read=20, cache_write=30, output=5),
        ),
        # xAI counts reasoning beside the completion:
        # https://docs.x.ai/docs/guides/reasoning
        (
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            TokenUsage(input=32, output=9, reasoning=94),
        ),
        # Google's compatible endpoint has it in the total alone.
        (
            {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 119},
            TokenUsage(input=10, output=9, reasoning=100),
        ),
    ],
)
def test_usage_of_those_who_count_otherwise(usage, expected):
    assert answer({"content": "x"}, usage=usage).usage == expected


# Rendering.


def test_an_answer_has_openais_shape():
    body = rendered(
        Text(text="Hi"),
        ToolCall(id="c", name="f", arguments='{"a":1}'),
        finish=Finish.TOOL_CALLS,
        usage=TokenUsage(input=5, cache_read=3, cache_write=2, output=4, reasoning=6),
    )

    ChatCompletion.model_validate(body, strict=True)
    assert body == {
        "id": "x",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hi",
                    "refusal": None,
                    "tool_calls": [
                        {
                            "id": "c",
                            "type": "function",
                            "function": {"name": "f", "arguments": '{"a":1}'},
                        }
                    ],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 10,
            "total_tokens": 20,
            "prompt_tokens_details": {
                "cached_tokens": 3,
                "cache_write_tokens": 2,
                "cache_creation_tokens": 2,
            },
            "completion_tokens_details": {"reasoning_tokens": 6},
        },
    }


def test_an_answer_without_a_name_or_a_date_gets_them():
    completion = Completion(choices=(Choice(parts=(Text(text="x"),)),))

    body = json.loads(openai.render_answer(completion, CALL))

    assert body["model"] == "alias"
    assert body["id"].startswith("chatcmpl-")
    assert body["created"] > 1_700_000_000
    assert "usage" not in body


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        (Finish.STOP, "stop"),
        (Finish.STOP_SEQUENCE, "stop"),
        (Finish.LENGTH, "length"),
        (Finish.TOOL_CALLS, "tool_calls"),
        (Finish.CONTENT_FILTER, "content_filter"),
        (Finish.REFUSAL, "content_filter"),
        (Finish.PAUSE, "length"),
        (None, None),
    ],
)
def test_finish_reasons_are_of_those_that_clients_know(finish, reason):
    assert (
        rendered(Text(text=""), finish=finish)["choices"][0]["finish_reason"] == reason
    )


def test_a_refusal_in_words_is_a_stop():
    choice = rendered(Refusal("No."), finish=Finish.REFUSAL)["choices"][0]

    assert choice["finish_reason"] == "stop"
    assert (choice["message"]["content"], choice["message"]["refusal"]) == (None, "No.")


def test_thinking_and_its_seals_come_in_every_form_that_clients_keep():
    said = message(
        Thinking(text="Hm. ", signature="sig", origin="anthropic"),
        Thinking(redacted="opaque", origin="anthropic"),
        Text(text="Hi"),
        ToolCall(id="c", name="f", arguments="{}", signature="of call"),
        signature="of text",
    )

    assert said["reasoning_content"] == "Hm. "
    assert said["thinking_blocks"] == [
        {"type": "thinking", "thinking": "Hm. ", "signature": "sig"},
        {"type": "redacted_thinking", "data": "opaque"},
    ]
    assert said["reasoning_details"] == [
        {
            "type": "reasoning.text",
            "text": "Hm. ",
            "signature": "sig",
            "format": "anthropic-claude-v1",
        },
        {
            "type": "reasoning.encrypted",
            "data": "opaque",
            "format": "anthropic-claude-v1",
        },
        {
            "type": "reasoning.encrypted",
            "data": "of text",
            "format": "google-gemini-v1",
        },
        {
            "type": "reasoning.encrypted",
            "data": "of call",
            "id": "c",
            "format": "google-gemini-v1",
        },
    ]
    assert said["extra_content"] == {"google": {"thought_signature": "of text"}}
    assert said["tool_calls"][0]["extra_content"] == {
        "google": {"thought_signature": "of call"}
    }


def test_thinking_without_a_seal_is_text_and_no_more():
    said = message(Thinking(text="Hm."), Text(text="Hi"))

    assert said == {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "reasoning_content": "Hm.",
    }


@pytest.mark.parametrize(
    "kept", ["thinking_blocks", "reasoning_details", "extra_content"]
)
def test_seals_survive_a_client_that_keeps_one_form(kept):
    parts = (
        Thinking(text="Hm.", signature="sig", origin="anthropic"),
        Thinking(redacted="opaque", origin="else"),
        Text(text="Hi"),
        ToolCall(id="c", name="f", arguments="{}", signature="of call"),
    )
    said = message(*parts, signature="of text")
    sealed = {"thinking_blocks", "reasoning_details", "extra_content"}
    back = {k: v for k, v in said.items() if k not in sealed or k == kept}
    if kept != "extra_content":
        back["tool_calls"][0].pop("extra_content")
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}, back]}

    call = openai.read_call("chat", json.dumps(body).encode())
    parsed = openai.parse_request(call).messages[1]

    thoughts = [p for p in parsed.parts if isinstance(p, Thinking)]
    if kept == "extra_content":
        assert thoughts == [Thinking(text="Hm.")]
    elif kept == "thinking_blocks":
        assert thoughts == list(parts[:2])
    else:
        # OpenRouter knows no wrapped seals, but carries them.
        assert thoughts == list(parts[:2])
    if kept != "thinking_blocks":
        assert parsed.signature == "of text"
        assert parsed.parts[-1] == parts[-1]


def test_citations_of_web_pages_become_annotations():
    # Anthropic: https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/web-search-tool
    # Gemini: https://ai.google.dev/gemini-api/docs/google-search
    anthropics = {
        "type": "web_search_result_location",
        "url": "https://a",
        "title": "A",
        "cited_text": "...",
    }
    geminis = {"web": {"uri": "https://b", "title": "B"}}
    pages = {"type": "page_location", "document_index": 0}

    said = message(
        Text(text="Ab"),
        Text(text="cde", citations=(anthropics, pages)),
        Text(text="f", citations=(geminis,)),
    )

    assert said["content"] == "Abcdef"
    assert [note["url_citation"] for note in said["annotations"]] == [
        {"start_index": 2, "end_index": 5, "title": "A", "url": "https://a"},
        {"start_index": 5, "end_index": 6, "title": "B", "url": "https://b"},
    ]


def test_pictures_and_sounds():
    said = message(
        Media(kind="image", media_type="image/png", data="AA"),
        Media(kind="audio", media_type="audio/wav", data="UklG"),
    )

    assert said["images"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    ]
    assert said["audio"]["data"] == "UklG"


def test_a_client_of_legacy_functions_gets_a_function_call():
    choice = rendered(
        ToolCall(id="c", name="f", arguments="{}"),
        finish=Finish.TOOL_CALLS,
        call=FUNCTIONS,
    )["choices"][0]

    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert "tool_calls" not in choice["message"]


def test_a_legacy_completion_is_text():
    top = [{"token": "Hi", "logprob": -0.1, "bytes": None}]
    tokens = [
        {"token": "Hi", "logprob": -0.1, "bytes": None, "top_logprobs": top},
        {"token": "!", "logprob": -0.2, "bytes": None, "top_logprobs": []},
    ]

    body = rendered(
        Thinking(text="Hm."),
        Text(text="Hi!"),
        call=LEGACY,
        logprobs={"content": tokens, "refusal": None},
        usage=TokenUsage(input=1, output=2),
    )

    TextCompletion.model_validate(body)
    assert body["object"] == "text_completion"
    assert body["choices"] == [
        {
            "text": "Hi!",
            "index": 0,
            "logprobs": {
                "tokens": ["Hi", "!"],
                "token_logprobs": [-0.1, -0.2],
                "top_logprobs": [{"Hi": -0.1}, {}],
                "text_offset": [0, 2],
            },
            "finish_reason": "stop",
        }
    ]


def test_an_answer_of_openais_is_the_same_after_a_round():
    body = openai_format.completion(
        tool_calls=[
            {
                "id": "c",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
            }
        ],
        finish_reason="tool_calls",
    )
    completion = openai.parse_answer(body)

    assert openai.parse_answer(openai.render_answer(completion, CALL)) == completion


# Embeddings.


def embed(**fields):
    body = json.dumps({"model": "e", **fields}).encode()
    return openai.read_call("embeddings", body)


def test_embeddings_requests():
    # https://platform.openai.com/docs/api-reference/embeddings/create
    one = openai.parse_embeddings_request(
        embed(input="The food was delicious", encoding_format="float")
    )
    many = openai.parse_embeddings_request(
        embed(input=["a", "b"], dimensions=8, user="u")
    )

    assert one == EmbeddingsRequest(inputs=("The food was delicious",))
    assert many == EmbeddingsRequest(inputs=("a", "b"), dimensions=8, unknown=("user",))
    rendered = openai.render_embeddings_request(many, Model(name="up"))
    assert json.loads(rendered.body) == {
        "model": "up",
        "input": ["a", "b"],
        "dimensions": 8,
        "encoding_format": "float",
    }


@pytest.mark.parametrize("said", [[1, 2], [[1, 2]], [], {"a": 1}])
def test_tokens_can_only_be_embedded_natively(said):
    with pytest.raises(BadRequest) as refused:
        openai.parse_embeddings_request(embed(input=said))

    assert refused.value.param == "input"


def test_vectors_come_as_numbers_or_packed_and_in_their_order():
    packed = base64.b64encode(struct.pack("<2f", 0.5, -1.0)).decode()
    body = {
        "object": "list",
        "model": "e",
        "data": [
            {"index": 1, "embedding": [1, 2.5]},
            {"index": 0, "embedding": packed},
        ],
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }

    embeddings = openai.parse_embeddings(json.dumps(body).encode())

    assert embeddings == Embeddings(
        model="e", vectors=((0.5, -1.0), (1.0, 2.5)), usage=TokenUsage(input=8)
    )


@pytest.mark.parametrize("vector", ["!!", "AAA", "AAAAAAA="])
def test_what_is_no_vector_is_unreadable(vector):
    body = {"data": [{"index": 0, "embedding": vector}]}

    with pytest.raises(UNREADABLE):
        openai.parse_embeddings(json.dumps(body).encode())


@pytest.mark.parametrize("form", ["float", "base64", None])
def test_vectors_go_out_as_the_client_wants_them(form):
    embeddings = Embeddings(vectors=((0.5, -1.0),), usage=TokenUsage(input=3))
    call = embed(input="x", encoding_format=form)

    body = json.loads(openai.render_embeddings(embeddings, call))

    packed = base64.b64encode(struct.pack("<2f", 0.5, -1.0)).decode()
    assert body["data"][0]["embedding"] == (packed if form == "base64" else [0.5, -1.0])
    assert (body["model"], body["usage"]["total_tokens"]) == ("e", 3)
    if form != "base64":
        CreateEmbeddingResponse.model_validate(body)
