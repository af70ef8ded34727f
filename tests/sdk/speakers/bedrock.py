"""Amazon Bedrock: Anthropic's models, and all others in Converse."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from tests.fakes import bedrock_format as bedrock
from tests.fakes import bedrock_server
from tests.fakes.upstream import Answer, Request, respond
from tests.sdk.said import Heard, Item, Said
from tests.sdk.speakers.anthropic import Anthropic
from tests.sdk.speakers.base import Speaker


class BedrockAnthropic(Anthropic):
    kind = "bedrock-anthropic"
    model = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
    config: ClassVar = {
        "type": "anthropic",
        "hosting": "bedrock",
        "region": bedrock_server.REGION,
        "auth": {
            "type": "aws_sigv4",
            "access_key_id": bedrock_server.ACCESS_KEY,
            "secret_access_key": bedrock_server.SECRET_KEY,
        },
    }
    _actions = ("invoke", "invoke-with-response-stream")

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.fake.port}"

    def why_not(self, request: Request) -> str:
        body = request.json()
        if body.get("anthropic_version") != "bedrock-2023-05-31":
            return "anthropic_version"
        extra = {"model", "stream"} & set(body)
        if extra:
            return f"Extra inputs are not permitted: {extra}"
        return _why_not_signed(self, request)

    def paths(self, request: Request) -> tuple[str, ...]:
        return tuple(f"/model/{self.model}/{action}" for action in self._actions)

    def is_stream(self, request: Request) -> bool:
        return request.target.endswith("-stream")

    def streamed(self, said: Said, gap: float = 0.0) -> Answer:
        datas = [event.partition(b"data: ")[2].strip() for event in self.events(said)]
        # A last event tells of metrics, as those of Bedrock do.
        return bedrock_server.event_stream(*map(bedrock.chunk, datas), gap=gap)

    def refusal(self, status: int, message: str) -> Answer:
        return bedrock_server.refusal(status, message, _BEDROCK_TYPES[status])

    def hear(self, request: Request) -> Heard:
        heard = super().hear(request)
        heard.model = self.model
        return heard


_BEDROCK_TYPES = {
    400: "ValidationException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
}


def _why_not_signed(speaker: Speaker, request: Request) -> str:
    if speaker.path_of(request) not in speaker.paths(request):
        return f"no such URL: {request.target}"
    return bedrock_server.why_not(request)


# Converse.


class Converse(BedrockAnthropic):
    kind = "bedrock"
    dialect = "bedrock"
    model = "eu.amazon.nova-pro-v1:0"
    counts_reasoning = False
    config: ClassVar = BedrockAnthropic.config | {"type": "bedrock"}
    _actions = ("converse", "converse-stream")

    def why_not(self, request: Request) -> str:
        return _why_not_signed(self, request)

    def of(self, said: Said) -> Answer:
        blocks: list[Any] = [said.whole] if said.whole else []
        for call in said.calls:
            made = {"toolUseId": f"tooluse_{call.id}", "name": call.name}
            blocks.append({"toolUse": {**made, "input": call.arguments}})
        return respond(
            bedrock.converse_answer(
                *blocks,
                stopReason="tool_use" if said.calls else "end_turn",
                usage=_converse_usage(said),
            )
        )

    def streamed(self, said: Said, gap: float = 0.0) -> Answer:
        blocks = [bedrock.text_block(0, *said.text)] if said.whole else []
        for call in said.calls:
            arguments = json.dumps(call.arguments)
            pieces = (arguments[:4], arguments[4:])
            call_id = f"tooluse_{call.id}"
            blocks.append(bedrock.tool_block(len(blocks), call_id, call.name, *pieces))
        events = bedrock.converse_events(
            *blocks,
            stop_reason="tool_use" if said.calls else "end_turn",
            usage=_converse_usage(said),
        )
        return bedrock_server.event_stream(*events, gap=gap)

    def hear(self, request: Request) -> Heard:
        body = request.json()
        specs = [
            tool["toolSpec"] for tool in body.get("toolConfig", {}).get("tools", ())
        ]
        heard = Heard(
            model=self.model,
            stream=self.is_stream(request),
            system="".join(block["text"] for block in body.get("system", ())),
            tools={spec["name"]: spec["inputSchema"]["json"] for spec in specs},
        )
        for message in body["messages"]:
            for block in message["content"]:
                heard.add(message["role"], _converse_item(heard, block))
        return heard


def _converse_usage(said: Said) -> dict[str, Any]:
    output = said.output + said.thought
    return {
        "inputTokens": said.prompt,
        "outputTokens": output,
        "totalTokens": said.prompt + said.cached + output,
        "cacheReadInputTokens": said.cached,
        "cacheWriteInputTokens": 0,
    }


def _converse_item(heard: Heard, block: dict[str, Any]) -> Item:
    ((kind, value),) = block.items()
    if kind == "text":
        return ("text", value)
    if kind == "toolUse":
        return heard.call(value["toolUseId"], value["name"], value["input"])
    assert kind == "toolResult", block
    return heard.result(value["toolUseId"], value["content"])
