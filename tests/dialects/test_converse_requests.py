"""Requests in Converse: messages, sampling and all that has no file of its own."""

import base64
import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.dialects import converse
from gandalf.dialects.conversation import (
    CacheMark,
    Conversation,
    EmbeddingsRequest,
    Feature,
    JsonFormat,
    Media,
    Message,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Treatment,
)
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model
from tests.dialects.converse_requests import (
    CALL,
    CLAUDE,
    CLAUDE_3_5,
    CLAUDE_4_6,
    CLAUDE_5,
    COHERE,
    GPT,
    GPT_OSS,
    LLAMA,
    NOVA,
    NOVA_2,
    OPUS_5_5,
    PNG,
    PROFILE,
    SCHEMA,
    WEATHER,
    a_conversation,
    assistant,
    content_of,
    render,
    user,
)


def test_every_feature_has_its_treatment():
    assert set(converse.TREATMENTS) == set(Feature)
    assert set(converse.TREATMENTS.values()) <= set(Treatment)


# https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-examples.html
def test_a_request_as_the_documentation_has_it():
    conversation = a_conversation(
        Message(
            role="system",
            parts=(Text(text="You are an app that creates playlists."),),
        ),
        user("Create a list of 3 pop songs."),
        temperature=0.5,
        top_k=200,
    )

    rendered, body = render(conversation, CLAUDE_3_5)

    assert body == {
        "messages": [
            {"role": "user", "content": [{"text": "Create a list of 3 pop songs."}]}
        ],
        "system": [{"text": "You are an app that creates playlists."}],
        "inferenceConfig": {"temperature": 0.5},
        "additionalModelRequestFields": {"top_k": 200},
    }
    assert not rendered.dropped | rendered.approximated


def test_equal_conversations_give_equal_bytes():
    conversation = a_conversation(
        user("Hi"), tools=(WEATHER,), metadata={"b": "1", "a": "2"}, temperature=1
    )

    bodies = {render(conversation)[0].body for _ in range(3)}

    assert len(bodies) == 1


# --- messages ---


def test_neighbours_of_one_role_become_one_message():
    conversation = a_conversation(user("a"), user("b"), assistant("c"), user("d"))

    assert content_of(conversation) == [
        [{"text": "a"}, {"text": "b"}],
        [{"text": "c"}],
        [{"text": "d"}],
    ]


def test_what_is_said_to_the_system_later_is_moved_to_the_system_prompt():
    conversation = a_conversation(
        Message(role="developer", parts=(Text(text="one"),)),
        user("Hi"),
        Message(role="system", parts=(Text(text="two"),)),
        user("there"),
    )

    _, body = render(conversation)

    assert body["system"] == [{"text": "one"}, {"text": "two"}]
    assert len(body["messages"]) == 1


@pytest.mark.parametrize("blank", ["", " \n\t"])
def test_blank_text_is_left_out_for_it_would_be_refused(blank):
    conversation = a_conversation(
        Message(role="system", parts=(Text(text=blank),)),
        user(blank, "a"),
        assistant(blank),
        user(Refusal(text="b")),
    )

    _, body = render(conversation)

    assert "system" not in body
    assert body["messages"] == [
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}]}
    ]


def test_a_conversation_without_anything_in_it_is_refused():
    with pytest.raises(BadRequest) as raised:
        render(a_conversation(user(" ")))

    assert raised.value.param == "messages"


def test_a_picture_in_the_system_prompt_is_refused():
    picture = Media(kind="image", media_type="image/png", data=PNG)

    with pytest.raises(BadRequest):
        render(a_conversation(Message(role="system", parts=(picture,)), user("Hi")))


@pytest.mark.parametrize(
    ("kind", "media_type", "form"),
    [
        ("image", "image/png", "png"),
        ("image", "IMAGE/JPEG", "jpeg"),
        ("image", "image/webp; q=1", "webp"),
        ("video", "video/mp4", "mp4"),
        ("video", "video/3gpp", "three_gp"),
        ("audio", "audio/wav", "wav"),
        ("audio", "audio/mpeg", "mp3"),
    ],
)
def test_media_come_with_their_format_and_their_data_as_it_was(kind, media_type, form):
    media = Media(kind=kind, media_type=media_type, data=PNG)

    [[block, _]] = content_of(a_conversation(user(media, "What is it?")), NOVA)

    assert block == {kind: {"format": form, "source": {"bytes": PNG}}}


@pytest.mark.parametrize(
    "media",
    [
        Media(kind="image", media_type="image/tiff", data=PNG),
        Media(kind="image", data=PNG),
        Media(kind="image", media_type="image/png", url="https://example.com/a.png"),
        Media(kind="document", media_type="application/pdf", file_id="file-1"),
    ],
)
def test_media_that_bedrock_does_not_take_are_refused(media):
    with pytest.raises(BadRequest) as raised:
        render(a_conversation(user(media)))

    assert raised.value.code == "unsupported_media"


def test_documents_have_names_that_bedrock_allows_and_each_its_own():
    def pdf(name):
        return Media(kind="document", media_type="application/pdf", data=PNG, name=name)

    conversation = a_conversation(
        user("Sum up", pdf("a_b.v2 (x).pdf"), pdf("a/b v2 (x) pdf"), pdf(None), pdf(""))
    )

    [[_, *blocks]] = content_of(conversation)

    assert [block["document"]["name"] for block in blocks] == [
        "a b v2 (x) pdf",
        "a b v2 (x) pdf 2",
        "document",
        "document 2",
    ]
    assert blocks[0]["document"]["format"] == "pdf"


def test_a_document_of_text_is_sent_as_a_text_file():
    media = Media(kind="document", text="Grüße", name="note")

    [[block, _]] = content_of(a_conversation(user(media, "What?")))

    assert block["document"] == {
        "format": "txt",
        "name": "note",
        "source": {"bytes": base64.b64encode("Grüße".encode()).decode()},
    }


def test_a_document_without_a_word_is_given_its_name_for_one():
    media = Media(kind="document", media_type="text/csv", data=PNG, name="sales")

    rendered, body = render(a_conversation(user(media)))

    assert body["messages"][0]["content"][1] == {"text": "sales"}
    assert rendered.approximated == {Feature.DOCUMENT_DATA}


# --- sampling and limits ---


def test_limits_and_sampling():
    conversation = a_conversation(
        max_tokens=100, temperature=0.2, stop=("END", "", "STOP"), top_k=5
    )

    _, body = render(conversation, NOVA)

    assert body["inferenceConfig"] == {
        "maxTokens": 100,
        "temperature": 0.2,
        "stopSequences": ["END", "STOP"],
    }
    assert body["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 5}}


@pytest.mark.parametrize(
    ("model", "fields"),
    [(CLAUDE, {"top_k": 5}), (COHERE, {"k": 5}), (LLAMA, None), (PROFILE, None)],
)
def test_top_k_has_a_name_of_its_own_at_each_maker(model, fields):
    rendered, body = render(a_conversation(top_k=5), model)

    assert body.get("additionalModelRequestFields") == fields
    assert rendered.dropped == (set() if fields else {Feature.TOP_K})


def test_a_temperature_beyond_what_bedrock_allows_is_brought_down_to_it():
    rendered, body = render(a_conversation(temperature=1.7))

    assert body["inferenceConfig"] == {"temperature": 1.0}
    assert rendered.approximated == {Feature.TEMPERATURE}


def test_a_newer_claude_takes_a_temperature_or_a_top_p():
    conversation = a_conversation(temperature=0.5, top_p=0.9)
    model = "anthropic.claude-sonnet-4-5-20250929-v1:0"

    both, _ = render(conversation, CLAUDE_3_5)
    rendered, body = render(conversation, model)

    assert both.dropped == set()
    assert body["inferenceConfig"] == {"temperature": 0.5}
    assert rendered.dropped == {Feature.TOP_P}


def test_a_claude_that_thinks_takes_no_sampling():
    thinking = Reasoning(budget_tokens=2000)

    rendered, body = render(
        a_conversation(reasoning=thinking, temperature=0.3, top_p=0.5, top_k=3)
    )
    mild, _ = render(a_conversation(reasoning=thinking, temperature=1.0, top_p=None))

    assert "inferenceConfig" not in body
    assert "top_k" not in body["additionalModelRequestFields"]
    assert rendered.dropped == {Feature.TEMPERATURE, Feature.TOP_P, Feature.TOP_K}
    assert mild.dropped == set()


@pytest.mark.parametrize(("model", "known"), [(NOVA, False), (CLAUDE_5, None)])
def test_a_model_that_takes_no_sampling_gets_none(model, known):
    rendered, body = render(
        a_conversation(temperature=0.3, top_k=3), model, temperature=known
    )

    assert body.keys() == {"messages"}
    assert rendered.dropped == {Feature.TEMPERATURE, Feature.TOP_K}


def test_a_claude_tells_which_stop_sequence_it_was():
    conversation = a_conversation(stop=("END",))

    _, of_claude = render(conversation, CLAUDE)
    _, of_nova = render(conversation, NOVA)

    assert of_claude["additionalModelResponseFieldPaths"] == ["/stop_sequence"]
    assert "additionalModelResponseFieldPaths" not in of_nova


# --- the rest ---


@pytest.mark.parametrize(
    ("tier", "sent", "dropped"),
    [
        ("flex", {"type": "flex"}, set()),
        ("auto", None, set()),
        (None, None, set()),
        ("scale", None, {Feature.SERVICE_TIER}),
    ],
)
def test_service_tiers(tier, sent, dropped):
    rendered, body = render(a_conversation(service_tier=tier))

    assert body.get("serviceTier") == sent
    assert rendered.dropped == dropped


def test_metadata_label_the_request_as_far_as_they_may():
    good = {"team": "a b", "empty": ""}

    _, body = render(a_conversation(metadata=good))
    rendered, some = render(a_conversation(metadata={**good, "bad": "a\u20acb"}))
    many, most = render(
        a_conversation(metadata={f"n{number}": "x" for number in range(20)})
    )

    assert body["requestMetadata"] == some["requestMetadata"] == good
    assert len(most["requestMetadata"]) == 16
    assert rendered.dropped == many.dropped == {Feature.METADATA}


def test_cache_marks_stand_behind_what_they_mark():
    mark, long = CacheMark(), CacheMark(ttl="1h")
    conversation = a_conversation(
        Message(role="system", parts=(Text(text="s", cache=long),)),
        user(Text(text="a", cache=CacheMark(ttl="5m")), "b"),
        assistant(msgspec.structs.replace(CALL, cache=mark)),
        user(ToolResult(call_id="tooluse_1", cache=mark)),
        tools=(msgspec.structs.replace(WEATHER, cache=mark),),
    )

    rendered, body = render(conversation)

    point = {"cachePoint": {"type": "default"}}
    assert body["system"][1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert body["messages"][0]["content"] == [{"text": "a"}, point, {"text": "b"}]
    assert body["messages"][1]["content"][1] == point
    assert body["messages"][2]["content"][1] == point
    assert body["toolConfig"]["tools"][1] == point
    assert rendered.dropped == set()


def test_a_model_without_a_cache_gets_no_marks():
    conversation = a_conversation(
        user(Text(text="a", cache=CacheMark())),
        tools=(msgspec.structs.replace(WEATHER, cache=CacheMark()),),
    )

    plain, body = render(conversation, LLAMA)
    nova, of_nova = render(conversation, NOVA)

    assert body["messages"][0]["content"] == [{"text": "a"}]
    assert len(of_nova["messages"][0]["content"]) == 2
    assert len(of_nova["toolConfig"]["tools"]) == 1
    assert plain.dropped == nova.dropped == {Feature.CACHE_MARKS}


def test_counting_tokens_sends_what_has_tokens_and_no_more():
    conversation = a_conversation(
        Message(role="system", parts=(Text(text="s"),)),
        user("Hi"),
        tools=(WEATHER,),
        max_tokens=5000,
        temperature=0.5,
        metadata={"a": "b"},
        reasoning=Reasoning(budget_tokens=2000),
    )

    _, body = render(conversation, operation="count_tokens")

    assert body["input"]["converse"].keys() == {
        "messages",
        "system",
        "toolConfig",
        "additionalModelRequestFields",
    }


def test_embeddings_are_refused():
    with pytest.raises(BadRequest) as raised:
        converse.render_embeddings_request(
            EmbeddingsRequest(inputs=("a",)), Model(name=NOVA)
        )

    assert raised.value.code == "unsupported_operation"


def test_a_schema_that_is_nested_too_deeply_is_refused():
    schema = {}
    for _ in range(100_000):
        schema = {"a": schema}

    with pytest.raises(BadRequest):
        converse.render_request(
            a_conversation(tools=(Tool(name="f", schema=schema),)), Model(name=CLAUDE)
        )


# --- whatever comes ---

texts = st.text(max_size=6)
marks = st.none() | st.builds(CacheMark, ttl=st.sampled_from([None, "5m", "1h"]))
kinds = [
    ("image", "image/png"),
    ("document", "application/pdf"),
    ("video", "video/mp4"),
    ("audio", "audio/wav"),
]
media = st.one_of(
    st.builds(
        Media,
        kind=st.just(kind),
        media_type=st.just(media_type),
        data=st.just(PNG),
        text=st.none() | texts,
        name=st.none() | texts,
        cache=marks,
    )
    for kind, media_type in kinds
)
said = st.builds(Text, text=texts, cache=marks)
thoughts = st.builds(
    Thinking,
    text=texts,
    signature=st.none() | st.just("s"),
    redacted=st.none() | st.just("cmVk"),
    origin=st.sampled_from(["", "anthropic", "converse", "gemini"]),
)
calls = st.builds(
    ToolCall,
    id=texts,
    name=st.sampled_from(["f", "g"]),
    arguments=st.sampled_from(["", "{}", '{"a":1}']),
    signature=st.none() | st.just("s"),
    cache=marks,
)
results = st.builds(
    ToolResult,
    call_id=texts,
    parts=st.lists(said | media, max_size=2).map(tuple),
    is_error=st.booleans(),
    cache=marks,
)
conversations = st.builds(
    Conversation,
    source=st.just("openai"),
    messages=st.lists(
        st.builds(
            Message,
            role=st.sampled_from(["system", "developer"]),
            parts=st.tuples(said),
        )
        | st.builds(
            Message,
            role=st.sampled_from(["user", "assistant"]),
            parts=st.lists(
                said | media | thoughts | calls | results | st.builds(Refusal, texts),
                max_size=3,
            ).map(tuple),
        ),
        max_size=5,
    ).map(tuple),
    tools=st.lists(
        st.builds(
            Tool,
            name=st.sampled_from(["f", "g"]),
            description=st.none() | texts,
            schema=st.sampled_from([None, {}, SCHEMA]),
            strict=st.sampled_from([None, True, False]),
            cache=marks,
        ),
        max_size=2,
    ).map(tuple),
    tool_choice=st.none()
    | st.builds(
        ToolChoice,
        mode=st.sampled_from(["auto", "none", "required", "named"]),
        names=st.lists(st.sampled_from(["f", "g", "h"]), max_size=2).map(tuple),
    ),
    json_format=st.none()
    | st.builds(
        JsonFormat,
        schema=st.sampled_from([None, {}, SCHEMA, {"type": "array"}]),
        name=st.none() | texts,
    ),
    reasoning=st.none()
    | st.builds(
        Reasoning,
        effort=st.sampled_from([None, "none", "minimal", "low", "xhigh", "what"]),
        budget_tokens=st.sampled_from([None, -1, 0, 100, 20_000]),
        adaptive=st.booleans(),
        visible=st.sampled_from([None, True, False]),
    ),
    max_tokens=st.sampled_from([None, 1, 3000]),
    temperature=st.sampled_from([None, 0.0, 1.0, 2.0]),
    top_p=st.sampled_from([None, 0.0, 1.0]),
    top_k=st.sampled_from([None, 0, 5]),
    stop=st.lists(texts, max_size=2).map(tuple),
    metadata=st.none() | st.dictionaries(texts, texts, max_size=2),
    service_tier=st.sampled_from([None, "auto", "flex", "what"]),
)
ALL_MODELS = [
    CLAUDE,
    CLAUDE_3_5,
    CLAUDE_4_6,
    CLAUDE_5,
    OPUS_5_5,
    NOVA,
    NOVA_2,
    GPT,
    GPT_OSS,
    LLAMA,
    COHERE,
    PROFILE,
]


@given(
    conversations,
    st.sampled_from(ALL_MODELS),
    st.sampled_from([None, True, False]),
    st.sampled_from(["chat", "count_tokens"]),
)
def test_every_conversation_is_a_valid_request_or_refused(
    conversation, model, known, operation
):
    try:
        _, body = render(conversation, model, operation, structured_output=known)
    except BadRequest:
        return

    if operation == "count_tokens":
        body = body["input"]["converse"]
    roles = [message["role"] for message in body["messages"]]
    assert all(a != b for a, b in itertools.pairwise(roles))
    assert set(roles) <= {"user", "assistant"}
    assert all(message["content"] for message in body["messages"])
    blocks = [block for message in body["messages"] for block in message["content"]]
    assert all(block["text"].strip() for block in blocks if "text" in block)
    if any("toolUse" in block for block in blocks):
        assert body["toolConfig"]["tools"]
