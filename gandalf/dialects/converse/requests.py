"""A request.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/
API_runtime_Converse.html and API_runtime_CountTokens.html. Roles alternate, so
neighbours of one role become one message; the system prompt stands apart, so what is
said to the system later is moved there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gandalf.dialects.anthropic.schemas import fitted
from gandalf.dialects.base import Rendered
from gandalf.dialects.conversation import (
    Conversation,
    EmbeddingsRequest,
    Feature,
    JsonFormat,
    Treatment,
)
from gandalf.dialects.converse.blocks import Block, Blocks
from gandalf.dialects.converse.losses import Losses
from gandalf.dialects.converse.models import Family, Kind, kind_of
from gandalf.dialects.converse.thinking import thinking_of
from gandalf.dialects.converse.tools import (
    encoded,
    is_held_to_schema,
    plea_for,
    tools_of,
)
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model

_MAPPED = Treatment.MAPPED
_APPROXIMATED = Treatment.APPROXIMATED
_DROPPED = Treatment.DROPPED
_REFUSED = Treatment.REFUSED

TREATMENTS: Mapping[Feature, Treatment] = {
    Feature.SYSTEM: _MAPPED,
    Feature.DEVELOPER: _APPROXIMATED,
    Feature.LATE_SYSTEM: _APPROXIMATED,
    Feature.NAMES: _DROPPED,
    Feature.IMAGE_DATA: _MAPPED,
    Feature.IMAGE_URL: _REFUSED,
    Feature.IMAGE_DETAIL: _DROPPED,
    Feature.DOCUMENT_DATA: _MAPPED,
    Feature.DOCUMENT_URL: _REFUSED,
    Feature.FILE_ID: _REFUSED,
    Feature.AUDIO_INPUT: _MAPPED,
    Feature.AUDIO_OUTPUT: _REFUSED,
    Feature.VIDEO_INPUT: _MAPPED,
    Feature.TOOLS: _MAPPED,
    Feature.TOOL_STRICT: _MAPPED,
    Feature.TOOL_REFERENCES: _APPROXIMATED,
    Feature.SERVER_TOOLS: _REFUSED,
    Feature.TOOL_CHOICE: _MAPPED,
    Feature.PARALLEL_TOOL_CALLS: _DROPPED,
    Feature.TOOL_RESULT_PARTS: _MAPPED,
    Feature.TOOL_RESULT_ERROR: _MAPPED,
    Feature.THINKING: _MAPPED,
    Feature.THINKING_HISTORY: _MAPPED,
    Feature.JSON_MODE: _APPROXIMATED,
    Feature.JSON_SCHEMA: _MAPPED,
    Feature.MAX_TOKENS: _MAPPED,
    Feature.TEMPERATURE: _MAPPED,
    Feature.TOP_P: _MAPPED,
    Feature.TOP_K: _MAPPED,
    Feature.MIN_P: _DROPPED,
    Feature.STOP: _MAPPED,
    Feature.SEED: _DROPPED,
    Feature.N: _REFUSED,
    Feature.PRESENCE_PENALTY: _DROPPED,
    Feature.FREQUENCY_PENALTY: _DROPPED,
    Feature.REPEAT_PENALTY: _DROPPED,
    Feature.LOGIT_BIAS: _DROPPED,
    Feature.LOGPROBS: _DROPPED,
    Feature.CACHE_MARKS: _MAPPED,
    Feature.CITATIONS: _DROPPED,
    Feature.USER: _DROPPED,
    Feature.METADATA: _APPROXIMATED,
    Feature.SERVICE_TIER: _MAPPED,
    Feature.SAFETY_SETTINGS: _DROPPED,
    Feature.PREFILL: _MAPPED,
}
"""What most models take; what one model does not is told with each request."""

_SYSTEM_ROLES = ("system", "developer")
_TIERS = ("priority", "default", "flex", "reserved")
# What may label a request in the logs of Bedrock.
_LABEL = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}")
MAX_LABELS = 16
STOP_SEQUENCE_FIELD = "/stop_sequence"


def render_request(
    conversation: Conversation, model: Model, operation: str = "chat"
) -> Rendered:
    """Return the request for ``model``, whose name goes into the URL.

    Raises:
        BadRequest: It cannot be said to this model at all.
    """
    kind = kind_of(model)
    losses = Losses()
    body = _messages(conversation, kind, losses)
    wanted = conversation.json_format
    if wanted is not None and (plea := plea_for(wanted, model, kind, losses)):
        body["system"] = [*body.get("system", ()), {"text": plea}]
    tools = tools_of(conversation, model, kind, losses)
    if tools.config is not None:
        body["toolConfig"] = tools.config
    thinking = thinking_of(conversation, model, kind, losses, forced=tools.forced)
    sampling, own = _sampling(conversation, model, kind, losses, thinking)
    if fields := {**thinking, **own}:
        body["additionalModelRequestFields"] = fields
    if operation == "count_tokens":
        body = {"input": {"converse": body}}
    else:
        if sampling:
            body["inferenceConfig"] = sampling
        _add_wishes(body, conversation, model, kind, losses)
    return Rendered(
        body=encoded(body),
        json_tool=tools.json_tool,
        approximated=frozenset(losses.approximated),
        dropped=frozenset(losses.dropped),
    )


def render_embeddings_request(request: EmbeddingsRequest, model: Model) -> Rendered:
    """Raise BadRequest: Converse has no embeddings."""
    raise BadRequest(
        "embeddings are not to be had from the model's provider (converse)",
        code="unsupported_operation",
    )


def _messages(conversation: Conversation, kind: Kind, losses: Losses) -> Block:
    blocks = Blocks(kind, losses)
    system: list[Block] = []
    messages: list[Block] = []
    for message in conversation.messages:
        if message.role in _SYSTEM_ROLES:
            system += blocks.system(message)
        elif content := blocks.content(message):
            if messages and messages[-1]["role"] == message.role:
                messages[-1]["content"] += content
            else:
                messages.append({"role": message.role, "content": content})
    if not messages:
        raise BadRequest("there is nothing in the messages", param="messages")
    body: Block = {"messages": messages}
    if system:
        body["system"] = system
    return body


def _sampling(
    conversation: Conversation,
    model: Model,
    kind: Kind,
    losses: Losses,
    thinking: dict[str, Any],
) -> tuple[Block, Block]:
    """Return the ``inferenceConfig``, and fields of the model's own."""
    config: Block = {}
    own: Block = {}
    asked = _samplers(conversation, model, kind, losses, thinking)
    if conversation.max_tokens is not None:
        config["maxTokens"] = conversation.max_tokens
    if (temperature := asked.get(Feature.TEMPERATURE)) is not None:
        config["temperature"] = min(temperature, 1.0)
        if temperature > 1.0:
            losses.approximate(Feature.TEMPERATURE)
    if (top_p := asked.get(Feature.TOP_P)) is not None:
        config["topP"] = top_p
    if stop := [sequence for sequence in conversation.stop if sequence]:
        config["stopSequences"] = stop
    if conversation.top_k is not None and Feature.TOP_K in asked:
        own = kind.top_k(conversation.top_k) or {}
        if not own:
            losses.drop(Feature.TOP_K)
    return config, own


def _samplers(
    conversation: Conversation,
    model: Model,
    kind: Kind,
    losses: Losses,
    thinking: dict[str, Any],
) -> dict[Feature, float]:
    """Return those of the sampling parameters that the model takes."""
    asked = {
        Feature.TEMPERATURE: conversation.temperature,
        Feature.TOP_P: conversation.top_p,
        Feature.TOP_K: conversation.top_k,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    refused: set[Feature] = set()
    if model.temperature is False or not kind.samples:
        refused.update(given)
    elif kind.family is Family.CLAUDE and _thinks(thinking):
        # https://docs.aws.amazon.com/bedrock/latest/userguide/
        # claude-messages-extended-thinking.html, "Feature compatibility"
        refused.add(Feature.TOP_K)
        if given.get(Feature.TEMPERATURE) != 1.0:
            refused.add(Feature.TEMPERATURE)
        if not 0.95 <= given.get(Feature.TOP_P, 1.0) <= 1.0:
            refused.add(Feature.TOP_P)
    both = {Feature.TEMPERATURE, Feature.TOP_P}
    if kind.one_sampler and both <= given.keys() - refused:
        refused.add(Feature.TOP_P)
    for feature in refused & given.keys():
        losses.drop(feature)
        del given[feature]
    return given


def _thinks(thinking: dict[str, Any]) -> bool:
    return thinking.get("thinking", {}).get("type") in ("enabled", "adaptive")


def _add_wishes(
    body: Block,
    conversation: Conversation,
    model: Model,
    kind: Kind,
    losses: Losses,
) -> None:
    wanted = conversation.json_format
    if wanted is not None and is_held_to_schema(wanted, model, kind):
        body["outputConfig"] = {"textFormat": _text_format(wanted, losses)}
    if conversation.stop and kind.family is Family.CLAUDE:
        body["additionalModelResponseFieldPaths"] = [STOP_SEQUENCE_FIELD]
    if labels := _labels(conversation.metadata or {}, losses):
        body["requestMetadata"] = labels
    tier = conversation.service_tier
    if tier in _TIERS:
        body["serviceTier"] = {"type": tier}
    elif tier not in (None, "auto"):
        losses.drop(Feature.SERVICE_TIER)


def _text_format(wanted: JsonFormat, losses: Losses) -> Block:
    # Bedrock understands of JSON Schema what Anthropic does.
    schema, same = fitted(wanted.schema or {})
    if not same:
        losses.approximate(Feature.JSON_SCHEMA)
    described: Block = {"schema": encoded(schema).decode()}
    if wanted.name:
        described["name"] = wanted.name
    if wanted.description:
        described["description"] = wanted.description
    return {"type": "json_schema", "structure": {"jsonSchema": described}}


def _labels(metadata: dict[str, str], losses: Losses) -> dict[str, str]:
    labels = {
        name: value
        for name, value in metadata.items()
        if _LABEL.fullmatch(name) and (not value or _LABEL.fullmatch(value))
    }
    if labels != metadata or len(labels) > MAX_LABELS:
        losses.drop(Feature.METADATA)
    return dict(list(labels.items())[:MAX_LABELS])
