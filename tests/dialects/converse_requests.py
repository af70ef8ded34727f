"""Conversations to say in Converse, and what they are rendered to.

Every request that is rendered here is held to Amazon's own model of the service, as it
comes with botocore, so that a field of a wrong name or type cannot be in one.
"""

import base64
import json

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from gandalf.dialects import converse
from gandalf.dialects.conversation import Conversation, Message, Text, Tool, ToolCall
from gandalf.domain.model import Model

SERVICE = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))

CLAUDE = "anthropic.claude-sonnet-4-20250514-v1:0"
CLAUDE_3_5 = "anthropic.claude-3-5-sonnet-20240620-v1:0"
CLAUDE_4_6 = "us.anthropic.claude-opus-4-6-v1"
CLAUDE_5 = "global.anthropic.claude-sonnet-5"
OPUS_5_5 = "anthropic.claude-opus-5-5"
NOVA = "us.amazon.nova-pro-v1:0"
NOVA_2 = "us.amazon.nova-2-lite-v1:0"
GPT = "us.openai.gpt-5.6-terra"
GPT_OSS = "openai.gpt-oss-120b-1:0"
LLAMA = "meta.llama3-1-70b-instruct-v1:0"
COHERE = "cohere.command-r-plus-v1:0"
PROFILE = (
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abcdefgh1234"
)

PNG = base64.b64encode(b"\x89PNG").decode()


def user(*parts):
    return Message(role="user", parts=tuple(map(as_part, parts)))


def assistant(*parts, **more):
    return Message(role="assistant", parts=tuple(map(as_part, parts)), **more)


def as_part(part):
    return Text(text=part) if isinstance(part, str) else part


def a_conversation(*messages, **fields):
    return Conversation(source="openai", messages=messages or (user("Hi"),), **fields)


def render(conversation, model=CLAUDE, operation="chat", **known):
    """Return the rendered request and its body, which Amazon's model allows."""
    if not isinstance(model, Model):
        model = Model(name=model, **known)
    rendered = converse.render_request(conversation, model, operation)
    body = json.loads(rendered.body)
    name = "CountTokens" if operation == "count_tokens" else "Converse"
    shape = SERVICE.operation_model(name).input_shape
    report = ParamValidator().validate({**body, "modelId": model.name}, shape)
    assert not report.has_errors(), report.generate_report()
    return rendered, body


def content_of(conversation, model=CLAUDE):
    _, body = render(conversation, model)
    return [message["content"] for message in body["messages"]]


WEATHER = Tool(
    name="get_weather",
    description="The weather",
    schema={"type": "object", "properties": {"city": {"type": "string"}}},
)
CALL = ToolCall(id="tooluse_1", name="get_weather", arguments='{"city": "Bonn"}')
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
