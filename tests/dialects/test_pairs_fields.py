"""No field that an official SDK can send is overlooked.

What the SDK's own types name is noted as used or as unknown, or refused, whatever
stands in it. What each dialect's corpus of features has is tested with that.
"""

import pytest
from anthropic.types import beta, message_create_params
from google.genai.types import GenerationConfig
from ollama._types import ChatRequest, Options
from openai.types.chat import completion_create_params

from gandalf.domain.errors import BadRequest

from .pairs_features import LEAST, PROBES
from .test_pairs_requests import parsed

# For each type of value there may be; what is of the wrong type is refused.
VALUES = (
    "x",
    1,
    0.5,
    True,
    ["x"],
    {"a": "b"},
    {"type": "x", "name": "y"},
    [{"type": "x"}],
)


def camel(name):
    first, *rest = name.split("_")
    return first + "".join(map(str.title, rest))


def named_in(*types):
    return sorted({name for each in types for name in each.__annotations__})


FIELDS = {
    "openai": {"": named_in(completion_create_params.CompletionCreateParamsBase)},
    "anthropic": {
        "": named_in(
            message_create_params.MessageCreateParamsBase,
            beta.message_create_params.MessageCreateParamsBase,
        )
    },
    "gemini": {"generationConfig": list(map(camel, GenerationConfig.model_fields))},
    "ollama": {
        "": list(ChatRequest.model_fields),
        "options": list(Options.model_fields),
    },
}
IDLE = {
    # Every upstream is asked for its own.
    "model",
    # How the gateway answers is not the upstream's business.
    "stream",
    "stream_options",
    # What these ask for more of is not asked for.
    "top_logprobs",
    "generationConfig.logprobs",
    # The answer is not to be JSON.
    "generationConfig.responseJsonSchema",
}
"""Fields that ask nothing by themselves."""


def told_of(client, body):
    conversation = parsed(client, body)
    return {*conversation.used.values(), *conversation.unknown}


def fields_of(client):
    in_corpus = {
        name.split(".")[-1]
        for probe in PROBES[client].values()
        for name in told_of(client, probe.asked)
    }
    for place, names in FIELDS[client].items():
        for name in names:
            full = f"{place}.{name}" if place else name
            if name not in in_corpus and name not in LEAST[client] and full not in IDLE:
                yield place, name


@pytest.mark.parametrize("client", FIELDS)
def test_no_field_of_the_official_sdk_is_overlooked(client):
    least = LEAST[client]
    before = told_of(client, least)
    overlooked = []

    for place, name in fields_of(client):
        for value in VALUES:
            added = {place: {name: value}} if place else {name: value}
            try:
                told = told_of(client, least | added)
            except BadRequest:
                continue
            if not told - before:
                overlooked.append((place, name, value))

    assert overlooked == []
    assert len(list(fields_of(client))) > 3
