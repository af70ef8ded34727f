"""Anthropic, and its models at Vertex."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.fakes import anthropic_format as claude
from tests.fakes.upstream import Answer, Request, respond
from tests.sdk.said import Heard, Item, Said
from tests.sdk.speakers.base import UPSTREAM_KEY, Speaker


class Anthropic(Speaker):
    kind = dialect = "anthropic"
    model = "claude-sonnet-4-5-20250929"
    closing = 2
    config: ClassVar = {"type": "anthropic", "api_key": UPSTREAM_KEY}
    key_header = "x-api-key"
    key = UPSTREAM_KEY

    @property
    def base_url(self) -> str:
        return self.fake.url

    def why_not(self, request: Request) -> str:
        if not request.header("anthropic-version"):
            return "anthropic-version: header is required"
        return super().why_not(request)

    def paths(self, request: Request) -> tuple[str, ...]:
        return ("/v1/messages",)

    def body(self, said: Said) -> bytes:
        return claude.message(
            *_anthropic_blocks(said),
            stop_reason="tool_use" if said.calls else "end_turn",
            usage=_anthropic_usage(said),
        )

    def events(self, said: Said) -> list[bytes]:
        return claude.message_events(
            *_anthropic_blocks(said),
            stop_reason="tool_use" if said.calls else "end_turn",
            usage=_anthropic_usage(said),
            pieces=max(2, len(said.text)),
        )

    def refusal(self, status: int, message: str) -> Answer:
        return respond(claude.error(message, type=_ANTHROPIC_TYPES[status]), status)

    def hear(self, request: Request) -> Heard:
        body = request.json()
        heard = Heard(
            model=body.get("model", ""),
            stream=self.is_stream(request),
            system=_anthropic_text(body.get("system") or ""),
            tools={t["name"]: t["input_schema"] for t in body.get("tools", ())},
            schema=_anthropic_schema(body),
            thinking=body.get("thinking"),
        )
        assert body["max_tokens"] > 0
        for message in body["messages"]:
            content = message["content"]
            if isinstance(content, str):
                content = [claude.text(content)]
            for block in content:
                heard.add(message["role"], _anthropic_item(heard, block))
        return heard


_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


def _anthropic_blocks(said: Said) -> list[dict[str, Any]]:
    blocks = [claude.thinking(said.thinking)] if said.thinking else []
    if said.whole:
        blocks.append(claude.text(said.whole))
    return blocks + [
        claude.tool_use(call.name, call.arguments, f"toolu_{call.id}")
        for call in said.calls
    ]


def _anthropic_usage(said: Said) -> dict[str, Any]:
    return claude.usage(
        said.prompt,
        said.output + said.thought,
        cached=said.cached,
        thinking=said.thought,
    )


def _anthropic_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(block["text"] for block in content)


def _anthropic_schema(body: dict[str, Any]) -> Any:
    wanted = (body.get("output_config") or {}).get("format") or {}
    return (wanted or body.get("output_format") or {}).get("schema")


def _anthropic_item(heard: Heard, block: dict[str, Any]) -> Item:
    kind = block["type"]
    if kind == "text":
        return ("text", block["text"])
    if kind == "image":
        source = block["source"]
        return ("image", source["media_type"], source["data"])
    if kind == "thinking":
        heard.seals.append(block["signature"])
        return ("thinking", block["thinking"], block["signature"])
    if kind == "tool_use":
        return heard.call(block["id"], block["name"], block["input"])
    assert kind == "tool_result", block
    return heard.result(block["tool_use_id"], block.get("content", ""))


class VertexAnthropic(Anthropic):
    kind = "vertex-anthropic"
    model = "claude-sonnet-4-5@20250929"
    config: ClassVar = {
        "type": "anthropic",
        "hosting": "vertex",
        "region": "europe-west1",
        "project": "proj",
        "auth": {"type": "bearer", "api_key": UPSTREAM_KEY},
    }
    key_header = "authorization"
    key = f"Bearer {UPSTREAM_KEY}"

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.fake.port}"

    def why_not(self, request: Request) -> str:
        if request.json().get("anthropic_version") != "vertex-2023-10-16":
            return "anthropic_version"
        return Speaker.why_not(self, request)

    def paths(self, request: Request) -> tuple[str, ...]:
        action = "streamRawPredict" if self.is_stream(request) else "rawPredict"
        place = "/v1/projects/proj/locations/europe-west1"
        return (f"{place}/publishers/anthropic/models/{self.model}:{action}",)

    def hear(self, request: Request) -> Heard:
        heard = super().hear(request)
        assert not heard.model, "the model is in the URL only"
        heard.model = self.model
        return heard
