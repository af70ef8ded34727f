"""OpenAI, and its models at Azure."""

from __future__ import annotations

import json
from typing import Any, ClassVar
from urllib.parse import urlsplit

from tests.fakes import openai_format as gpt
from tests.fakes.upstream import Answer, Request, respond
from tests.sdk.said import Calling, Heard, Item, Said
from tests.sdk.speakers.base import UPSTREAM_KEY, Speaker


def _data_url(url: str) -> Item:
    head, _, data = url.partition(";base64,")
    return ("image", head.removeprefix("data:"), data)


class OpenAI(Speaker):
    kind = dialect = "openai"
    model = "gpt-5-mini"
    embedding_model = "text-embedding-3-small"
    closing = 3
    seals_thinking = False  # there is no field for it in what the vendor itself says
    config: ClassVar = {"type": "openai", "api_key": UPSTREAM_KEY}

    @property
    def base_url(self) -> str:
        return self.fake.url

    def paths(self, request: Request) -> tuple[str, ...]:
        return ("/v1/chat/completions", "/v1/embeddings")

    def body(self, said: Said) -> bytes:
        made = json.loads(
            gpt.completion(
                said.whole or None,
                model=self.model,
                finish_reason="tool_calls" if said.calls else "stop",
                tool_calls=[_openai_call(call) for call in said.calls],
                usage=_openai_usage(said),
            )
        )
        if said.thinking:
            made["choices"][0]["message"]["reasoning_content"] = said.thinking
        return json.dumps(made).encode()

    def events(self, said: Said) -> list[bytes]:
        chunks = [gpt.chunk(role="assistant")]
        for piece in filter(None, (said.thinking[:5], said.thinking[5:])):
            thought = gpt.chunk()
            thought["choices"][0]["delta"]["reasoning_content"] = piece
            chunks.append(thought)
        chunks += [gpt.chunk(text) for text in said.text if text]
        for index, call in enumerate(said.calls):
            begun = _openai_call(call) | {"index": index}
            arguments = begun["function"]["arguments"]
            begun["function"] |= {"arguments": ""}
            chunks.append(gpt.chunk(tool_calls=[begun]))
            chunks += [
                gpt.chunk(tool_calls=[{"index": index, "function": {"arguments": a}}])
                for a in (arguments[:4], arguments[4:])
            ]
        chunks.append(gpt.chunk(finish_reason="tool_calls" if said.calls else "stop"))
        chunks.append(gpt.usage_chunk(_openai_usage(said)))
        return [*map(gpt.event, chunks), gpt.DONE]

    def refusal(self, status: int, message: str) -> Answer:
        return respond(gpt.error(message, type="upstream_type"), status)

    def embeds(self, *vectors: tuple[float, ...]) -> None:
        self.script(respond(gpt.embeddings(*vectors)))

    def hear(self, request: Request) -> Heard:
        body = request.json()
        wanted = body.get("response_format") or {}
        heard = Heard(
            model=body.get("model", ""),
            stream=self.is_stream(request),
            schema=(wanted.get("json_schema") or {}).get("schema"),
            tools={
                tool["function"]["name"]: tool["function"]["parameters"]
                for tool in body.get("tools", ())
            },
            thinking=body.get("reasoning_effort"),
        )
        for message in body["messages"]:
            self._hear_message(heard, message)
        return heard

    def _hear_message(self, heard: Heard, message: dict[str, Any]) -> None:
        role, content = message["role"], message.get("content")
        if role in ("system", "developer"):
            heard.system += _openai_text(content)
        elif role == "tool":
            heard.add("user", heard.result(message["tool_call_id"], content))
        else:
            if thought := message.get("reasoning_content"):
                heard.add(role, ("thinking", thought, None))
            heard.add(role, *_openai_items(content))
            for call in message.get("tool_calls") or ():
                made = call["function"]
                arguments = json.loads(made["arguments"])
                heard.add(role, heard.call(call["id"], made["name"], arguments))


class Azure(OpenAI):
    kind = "azure"
    model = "deployed"
    config: ClassVar = {
        "type": "openai",
        "hosting": "azure",
        "api_version": "2024-10-21",
        "api_key": UPSTREAM_KEY,
    }
    key_header = "api-key"
    key = UPSTREAM_KEY

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.fake.port}"

    def paths(self, request: Request) -> tuple[str, ...]:
        assert urlsplit(request.target).query == "api-version=2024-10-21"
        deployment = "/openai/deployments/deployed"
        return (f"{deployment}/chat/completions", f"{deployment}/embeddings")

    def hear(self, request: Request) -> Heard:
        heard = super().hear(request)
        heard.model = self.model  # whatever the body says, the URL counts
        return heard


def _openai_call(call: Calling) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def _openai_usage(said: Said) -> dict[str, Any]:
    counted = gpt.usage(
        said.prompt + said.cached, said.output + said.thought, said.cached
    )
    counted["completion_tokens_details"]["reasoning_tokens"] = said.thought
    return counted


def _openai_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content or ())


def _openai_items(content: Any) -> list[Item]:
    if isinstance(content, str):
        return [("text", content)] if content else []
    return [
        _data_url(part["image_url"]["url"])
        if part["type"] == "image_url"
        else ("text", part["text"])
        for part in content or ()
    ]
