"""How much to think in Converse, and earlier thinking given back."""

import msgspec
import pytest

from gandalf.dialects.conversation import (
    Feature,
    JsonFormat,
    Reasoning,
    Thinking,
    ToolChoice,
    ToolResult,
)
from tests.dialects.converse_requests import (
    CALL,
    CLAUDE,
    CLAUDE_3_5,
    CLAUDE_4_6,
    CLAUDE_5,
    GPT,
    GPT_OSS,
    LLAMA,
    NOVA,
    NOVA_2,
    OPUS_5_5,
    PROFILE,
    SCHEMA,
    WEATHER,
    a_conversation,
    assistant,
    render,
    user,
)

# --- thinking ---


@pytest.mark.parametrize(
    ("model", "wanted", "fields", "exact"),
    [
        (
            CLAUDE,
            Reasoning(budget_tokens=4000),
            {"thinking": {"type": "enabled", "budget_tokens": 4000}},
            True,
        ),
        (
            CLAUDE,
            Reasoning(effort="medium"),
            {"thinking": {"type": "enabled", "budget_tokens": 8192}},
            False,
        ),
        (
            CLAUDE,
            Reasoning(budget_tokens=100),
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            False,
        ),
        (CLAUDE, Reasoning(effort="none"), {"thinking": {"type": "disabled"}}, True),
        (
            CLAUDE_4_6,
            Reasoning(effort="high"),
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
            True,
        ),
        (
            CLAUDE_4_6,
            Reasoning(effort="xhigh"),
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
            False,
        ),
        (
            CLAUDE_4_6,
            Reasoning(adaptive=True),
            {"thinking": {"type": "adaptive"}},
            True,
        ),
        (
            CLAUDE_4_6,
            Reasoning(effort="none"),
            {"thinking": {"type": "disabled"}},
            True,
        ),
        (
            CLAUDE_4_6,
            Reasoning(budget_tokens=4000),
            {"thinking": {"type": "enabled", "budget_tokens": 4000}},
            True,
        ),
        (
            OPUS_5_5,
            Reasoning(effort="none"),
            {"output_config": {"effort": "low"}},
            False,
        ),
        (
            "anthropic.claude-sonnet-5-5",
            Reasoning(effort="none"),
            {"thinking": {"type": "between_tools"}},
            True,
        ),
        (
            CLAUDE_5,
            Reasoning(effort="xhigh", visible=True),
            {
                "thinking": {"type": "adaptive", "display": "summarized"},
                "output_config": {"effort": "xhigh"},
            },
            True,
        ),
        (
            CLAUDE_5,
            Reasoning(budget_tokens=30000),
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
            False,
        ),
        (
            NOVA_2,
            Reasoning(effort="low"),
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}},
            True,
        ),
        (
            NOVA_2,
            Reasoning(effort="max"),
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}},
            False,
        ),
        (GPT, Reasoning(effort="xhigh"), {"reasoning": {"effort": "xhigh"}}, True),
        (GPT, Reasoning(effort="none"), {"reasoning": {"effort": "none"}}, True),
        (GPT, Reasoning(effort="minimal"), {"reasoning": {"effort": "low"}}, False),
        (GPT_OSS, Reasoning(effort="medium"), {"reasoning_effort": "medium"}, True),
        (GPT_OSS, Reasoning(effort="none"), {"reasoning_effort": "low"}, False),
        (CLAUDE_5, Reasoning(visible=True), None, True),
    ],
)
def test_how_much_to_think_is_said_in_the_words_of_each_maker(
    model, wanted, fields, exact
):
    rendered, body = render(a_conversation(reasoning=wanted), model)

    assert body.get("additionalModelRequestFields") == fields
    assert rendered.approximated == (set() if exact else {Feature.THINKING})
    assert rendered.dropped == set()


@pytest.mark.parametrize("model", [NOVA, LLAMA, CLAUDE_3_5, PROFILE])
def test_a_model_that_is_not_known_to_think_is_not_asked_to(model):
    rendered, body = render(a_conversation(reasoning=Reasoning(effort="low")), model)

    assert "additionalModelRequestFields" not in body
    assert rendered.dropped == {Feature.THINKING}


@pytest.mark.parametrize(
    ("limit", "budget"), [(8193, 8192), (8000, 4000), (1500, 1024), (1024, None)]
)
def test_a_budget_fits_into_the_limit_of_the_answer(limit, budget):
    conversation = a_conversation(
        reasoning=Reasoning(budget_tokens=8192), max_tokens=limit
    )

    rendered, body = render(conversation)

    fields = body.get("additionalModelRequestFields")
    assert (fields and fields["thinking"]["budget_tokens"]) == budget
    assert (Feature.THINKING in rendered.dropped) == (budget is None)
    assert (Feature.THINKING in rendered.approximated) == (budget not in (None, 8192))


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": (WEATHER,), "tool_choice": ToolChoice(mode="required")},
        {"json_format": JsonFormat(schema=SCHEMA)},
    ],
)
def test_a_claude_that_must_call_a_tool_does_not_think(fields):
    conversation = a_conversation(reasoning=Reasoning(effort="low"), **fields)

    rendered, body = render(conversation)

    assert "additionalModelRequestFields" not in body
    assert Feature.THINKING in rendered.dropped


def test_a_claude_does_not_begin_to_think_between_a_call_and_its_answer():
    turn = [user("Hi"), assistant(CALL), user(ToolResult(call_id="tooluse_1"))]
    wanted = Reasoning(budget_tokens=2000)

    old, _ = render(a_conversation(*turn, reasoning=wanted))
    new, _ = render(a_conversation(*turn, reasoning=Reasoning(adaptive=True)), CLAUDE_5)
    after, _ = render(a_conversation(*turn, user("Go on"), reasoning=wanted))

    assert old.dropped == {Feature.THINKING}
    assert new.dropped == set()
    # The results and the text are one message: still the same turn.
    assert after.dropped == set()


def test_a_nova_that_thinks_hard_takes_no_limits():
    hard = Reasoning(effort="high")

    _, free = render(a_conversation(reasoning=hard), NOVA_2)
    rendered, limited = render(a_conversation(reasoning=hard, max_tokens=9), NOVA_2)

    def effort(body):
        fields = body["additionalModelRequestFields"]
        return fields["reasoningConfig"]["maxReasoningEffort"]

    assert (effort(free), effort(limited)) == ("high", "medium")
    assert rendered.approximated == {Feature.THINKING}


SIGNED = Thinking(text="hm", signature="s==", origin="anthropic")
HIDDEN = Thinking(redacted="cmVk", origin="converse")


@pytest.mark.parametrize(
    ("thinking", "model", "block"),
    [
        (
            SIGNED,
            CLAUDE,
            {"reasoningText": {"text": "hm", "signature": "s=="}},
        ),
        (
            SIGNED,
            PROFILE,
            {"reasoningText": {"text": "hm", "signature": "s=="}},
        ),
        (SIGNED, NOVA, None),
        (SIGNED, GPT_OSS, None),
        (HIDDEN, CLAUDE, {"redactedContent": "cmVk"}),
        (HIDDEN, GPT, {"redactedContent": "cmVk"}),
        (HIDDEN, LLAMA, None),
        (Thinking(text="hm"), CLAUDE, None),
        (Thinking(text="hm", signature="s", origin="gemini"), CLAUDE, None),
        (Thinking(redacted="r", origin="anthropic"), CLAUDE, None),
    ],
)
def test_thinking_comes_back_to_who_has_sealed_it_and_to_nobody_else(
    thinking, model, block
):
    conversation = a_conversation(user("Hi"), assistant(thinking, "Hello"), user("?"))

    rendered, body = render(conversation, model)

    sealed = [] if block is None else [{"reasoningContent": block}]
    assert body["messages"][1]["content"] == [*sealed, {"text": "Hello"}]
    assert rendered.dropped == (set() if block else {Feature.THINKING_HISTORY})


def test_geminis_seals_on_calls_and_texts_are_left_out():
    call = msgspec.structs.replace(CALL, signature="gemini's")

    for message in (assistant(call), assistant("a", signature="gemini's")):
        rendered, _ = render(a_conversation(user("Hi"), message))

        assert rendered.dropped == {Feature.THINKING_HISTORY}
